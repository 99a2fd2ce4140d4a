"""Parts of the KG-RAG methods: BM25, the budget, and how choices are read."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gather.benchmark.baselines.interface import Dialogue, Question
from gather.benchmark.baselines.ranking import bm25, within_budget
from gather.llm.base import Scripted

TERMS = (("CL:0000084", "T cell"), ("CL:0000236", "B cell"))


def plain_bm25(query: str, texts: list[str]) -> list[float]:
    words = [re.findall(r"[a-z]+", t.lower()) for t in texts]
    mean = sum(map(len, words)) / len(words)
    out = []
    for document in words:
        total = 0.0
        for word in set(re.findall(r"[a-z]+", query.lower())):
            n = sum(word in w for w in words)
            idf = np.log(1 + (len(words) - n + 0.5) / (n + 0.5))
            tf = document.count(word)
            total += idf * tf * 2.5 / (tf + 1.5 * (0.25 + 0.75 * len(document) / mean))
        out.append(total)
    return out


def test_bm25_agrees_with_its_definition() -> None:
    texts = ["a T cell of the blood", "blood blood vessel", "neuron", "cell cell of a T lineage, in blood"]
    assert bm25("T cell blood", texts) == pytest.approx(plain_bm25("T cell blood", texts))
    assert bm25("x", []) == []


@given(st.lists(st.text(min_size=1), max_size=20), st.integers(0, 100))
def test_a_budget_keeps_a_beginning(lines: list[str], budget: int) -> None:
    kept = within_budget(lines, budget)
    assert kept == lines[: len(kept)]


@pytest.mark.parametrize(
    ("reply", "picked"),
    [
        ('{"chosen": [2, 1]}', [(0, 1.0), (1, 1.0)]),
        ('{"chosen": [{"number": "2", "score": "0.9"}, {"number": 1, "score": 0.1}]}', [(1, 0.9), (0, 0.1)]),
        ('{"chosen": [{"number": 1, "score": 0}, {"number": 2, "score": 1}]}', [(1, 1.0)]),
        ('{"chosen": [{"number": 1, "score": "NaN"}, 2]}', [(1, 1.0)]),
        ('{"chosen": []}', []),
    ],
)
def test_choices_are_read_in_the_forms_models_give(reply: str, picked: list[tuple[int, float]]) -> None:
    talk = Dialogue(Question((), (), TERMS), Scripted(lambda _: reply))
    assert talk.pick("tog2-topics", ["a", "b"], scored=False) == picked
    assert talk.misread == 0
