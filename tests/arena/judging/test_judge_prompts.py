"""What a judge is shown, and in which order: a server with a prefix cache computes what is new."""

import operator
import random
import re
from dataclasses import replace
from itertools import takewhile

import pytest

from arena.judging.evidence import evidence
from arena.judging.llm_judge import answer_text
from arena.judging.rubric import RUBRICS
from arena.types import Answer, Sample
from tests.arena.judging.judge_toys import QUESTION, SAMPLE, Toy, answer, honest, rate, verdict
from vckg.graph.graph import Graph


def test_prompts_of_a_task_begin_alike_up_to_the_question(blood: Graph) -> None:
    """What does not depend on the sample comes first: a server with a prefix cache reads it once a task."""
    asked = Toy(honest)
    other = replace(SAMPLE, id="other", fields={**SAMPLE.fields, "genes": ["MS4A1"]})
    for name in ("T cell", "B cell"):
        for sample in (SAMPLE, other):
            rate(asked, answer(name), blood, sample)
    assert len(set(asked.prompts)) == 4
    (beginning,) = {prompt.partition("QUESTION\n")[0] for prompt in asked.prompts}
    assert all(d.name in beginning for d in RUBRICS["annotation"])


def test_every_task_can_be_shown_to_a_judge(blood: Graph) -> None:
    cell = {"cell_type": "T cell", "cl_id": "CL:0000084"}
    generation = Sample(
        "g",
        "generation",
        {},
        {**cell, "markers": ["CD3D", "CD3E"], "sentences": []},
        {**cell, "description": "d", "tissue": "", "species": "", "length": 5},
        "c",
        {},
        {},
    )
    perturbation = Sample(
        "p",
        "perturbation",
        {},
        {"up": ["HBG1"], "down": [], "sentence": []},
        {
            "perturbed": ["KLF1"],
            "effect": "activation",
            "candidates": ["HBG1"],
            "control": [],
            "context": "a cell",
        },
        "c",
        {},
        {},
    )
    parsed = {"g": {"genes": ["CD3D"]}, "p": {"up": ["HBG1"], "down": []}}
    for sample in (generation, perturbation):
        to = Answer(sample.id, "m", sample.task, "", parsed[sample.id], True, False)
        toy = Toy(lambda p, task=sample.task: verdict(p, 3, task))  # type: ignore[misc]
        assert rate(toy, to, blood, sample)["total"].value == pytest.approx(0.6)
        assert answer_text(to) in toy.prompts[0]
    assert "KLF1 activates HBG1 (collectri; PMID:77)" in toy.prompts[0]
    assert "erythrocyte differentiation" in toy.prompts[0]


def test_evidence_of_the_sample_comes_first_and_is_the_same_for_every_answer(blood: Graph) -> None:
    first, again = (evidence(SAMPLE, answer("B cell"), blood) for _ in range(2))
    assert first == again
    assert [e.id for e in first] == [f"E{i}" for i in range(1, len(first) + 1)]
    right, wrong = evidence(SAMPLE, answer("CD4-positive, alpha-beta T cell"), blood), first
    of_sample = [e for e in right if "the same type as" not in e.text]
    assert len(of_sample) > 2
    assert list(wrong[: len(of_sample)]) == of_sample


def tokens_computed(prompts: list[str]) -> int:
    """Tokens that a server with a prefix cache computes: of each prompt, what no earlier one begins with."""
    computed, before = 0, []
    for prompt in prompts:
        tokens = re.findall(r"\w+|[^\w\s]", prompt)
        shared = (sum(takewhile(bool, map(operator.eq, tokens, other))) for other in before)
        computed += len(tokens) - max(shared, default=0)
        before.append(tokens)
    return computed


def evidence_last(prompt: str, turn: int) -> str:
    """The prompt as it was laid out before: reference, answer, and then the evidence in another order each turn."""
    head, rest = prompt.split("EVIDENCE\n")
    lines, behind = rest.split("\n\n", 1)
    shuffled = lines.split("\n")
    random.Random(f"{turn} {head}").shuffle(shuffled)
    return f"{head}{behind}\n\nEVIDENCE (in no particular order)\n" + "\n".join(shuffled)


def test_four_ratings_of_an_answer_are_computed_for_little_more_than_one(blood: Graph) -> None:
    """A paper of 500 words, as an abstract and a passage are."""
    toy = Toy(lambda p: verdict(p, 3, "qa"))
    for number in range(6):
        paper = " ".join(f"w{number}x{i}" for i in range(500))
        sample = replace(QUESTION, id=f"t/qa/{number}", fields={**QUESTION.fields, "abstract": paper})
        said = " ".join(f"said{number}x{i}" for i in range(100))
        rate(toy, answer(said, sample), blood, sample, repeats=4)
    assert len(toy.prompts) == 24
    after = tokens_computed(toy.prompts)
    before = tokens_computed([evidence_last(p, i) for i, p in enumerate(toy.prompts)])
    assert before / after > 2.0, (before, after)
