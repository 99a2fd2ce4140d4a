"""The official form of the prompt: what it holds, and which replies count."""

from dataclasses import replace

import pytest

from benchmarks.annotation.official_form import KINDS, Form, predicted, prompt_of
from gather.annotation import Annotation
from gather.benchmark.llm import Case
from gather.llm.base import Scripted

NAMES = ["T follicular helper cell", "CD16-positive, CD56-dim natural killer cell, human"]
CASE = Case("immune", Annotation("0", 1, "unknown", "unknown", "", 0.0, 1.0), (1,), ("CD3D", "IL21"), "CL:1")


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ("[Predicted_Cell_Type: T follicular helper cell]", NAMES[0]),
        ("So it is [Predicted_Cell_Type:  t FOLLICULAR-helper cell ].", NAMES[0]),
        ("[Predicted_Cell_Type: CD16 positive CD56 dim natural killer cell human]", NAMES[1]),
        ("[Predicted_Cell_Type: T cell]", None),
        ("T follicular helper cell", None),
        ("", None),
    ],
)
def test_a_reply_counts_in_the_bracket_and_on_the_list(reply: str, wanted: str | None) -> None:
    assert predicted(reply, NAMES) == wanted


def test_the_prompt_shows_genes_candidates_and_knowledge_where_there_is_some() -> None:
    bare, fed = (prompt_of(CASE, text, "immune", NAMES) for text in ("", "E1 T cell"))
    assert "CD3D IL21" in bare
    assert f"2. {NAMES[1]}\n" in bare
    assert "Knowledge" not in bare
    assert "## Knowledge\nE1 T cell\n" in fed
    assert bare.endswith("[Predicted_Cell_Type: <your answer>]\n")


def test_every_cell_is_asked_once_and_an_unusable_reply_is_none() -> None:
    def say(messages: object, *_: object) -> str:
        return "[Predicted_Cell_Type: T follicular helper cell]" if "IL21" in str(messages) else "a T cell"

    form = Form(Scripted(say), "immune", dict(zip(NAMES, ["CL:1", "CL:2"], strict=True)), 2)
    row = form.row([CASE, replace(CASE, symbols=("CD8A",))], KINDS[-1], 400)
    assert row.result.curies == ("CL:1", None)
    assert row.result.counters.asked == 2
    assert (row.evidence_tokens, row.items) == (0, 0)
