"""Denial, several answers, order of words, polarity and copied input count; no trick earns more than half a truth."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from arena.datasets import make_cells
from arena.judging.meta_eval import check
from arena.judging.tricks import TRICKS, tricks
from arena.scoring import metrics, wording
from arena.scoring.grounding import Names, names_of
from arena.tasks import TASKS
from arena.tasks.samples import make_samples
from arena.types import Sample
from vckg.graph.graph import Graph

CELL: dict[str, Any] = {"genes": ["CD3D", "CD3E", "TRAC", "MALAT1"], "tissue": "blood", "species": "human"}
GOLD = {"cell_type": "T cell", "cl_id": "CL:0000084", "caption": "A lymphocyte with a T cell receptor."}
TYPED = Sample("t/annotation/1", "annotation", {}, GOLD, CELL, "c", {}, {})
CLAIM = "KLF1 activates HBG1 in red cells. TP53 loss raises the number of dividing blood cells."
PAPER = "We studied KLF1 by sequencing and saw that HBG1 rose with it in every culture of red cells we made."
ASKED = Sample(
    "t/qa/1",
    "qa",
    {},
    {"answer": CLAIM, "claims": CLAIM.split(". ")},
    {
        "question": "What does KLF1 do?",
        "title": "On KLF1",
        "abstract": PAPER,
        "passage": "",
        "publications": [],
    },
    "c",
    {},
    {},
)


def lin(text: str, graph: Graph) -> float | None:
    return metrics.annotation(TYPED, {"cell_type": text}, names_of(graph))[0]["lin"]


@pytest.mark.parametrize(
    "text",
    ["not a T cell", "non-T cell", "anything but a T cell", "unknown (not a T cell)", "It isn't a T cell."],
)
def test_a_denied_type_is_not_named(text: str, blood: Graph) -> None:
    assert lin(text, blood) == 0


@pytest.mark.parametrize(
    "text", ["T cell", "T cell, not a B cell", "not a B cell but a T cell", "lymphocyte, T cell"]
)
def test_denying_another_type_costs_nothing(text: str, blood: Graph) -> None:
    assert lin(text, blood) == 1


def test_several_types_say_what_is_above_them_all(blood: Graph) -> None:
    assert lin("T cell, B cell", blood) == lin("B cell or T cell", blood) == lin("lymphocyte", blood)
    assert (lin("T cell, neuron", blood) or 0) == 0


NODES = [
    {"id": f"CL:000000{i}", "category": "Cell", "name": name}
    for i, name in enumerate(("cell", "somatic cell"))
]
EDGES = [{"subject": "CL:0000001", "relation": "subclass_of", "object": "CL:0000000", "source": "cl"}]
NAMES = Names(Graph.from_frames(pd.DataFrame(NODES), pd.DataFrame(EDGES)))
"""Of a graph that knows no name of these answers: they are read by their words."""


def coverage(text: str) -> float:
    return metrics.qa(ASKED, {"answer": text}, NAMES)[0]["claim_coverage"] or 0.0


def test_a_name_counts_only_in_the_place_that_the_question_asks_for() -> None:
    """Two names in a form: a claim is the place and the name, and neither alone is two thirds of it."""
    question = "Which factor is missing in each? Answer in this form: First: NAME. Second: NAME."
    gold = {"answer": "First: WT1. Second: ATF3.", "claims": ["First: WT1", "Second: ATF3"]}
    form = replace(ASKED, gold=gold, fields={**ASKED.fields, "question": question, "abstract": ""})

    def scored(text: str) -> float:
        return metrics.qa(form, {"answer": text}, NAMES)[0]["claim_coverage"] or 0.0

    assert scored("First: WT1. Second: ATF3.") == scored("The first is WT1 and the second ATF3.") == 1
    assert scored("First: WT1.") == scored("First: WT1. ATF3. Second:") == 0.5
    assert scored("ATF3. First: Second: WT1.") == scored("WT1, ATF3") == 0
    assert scored("First: ATF3. Second: WT1.") == 0


def test_a_short_answer_whose_words_are_sorted_already_is_no_trick(blood: Graph) -> None:
    sample = replace(ASKED, gold={"answer": "First: PAX5. Second: YY1.", "claims": []})
    assert "words sorted" not in tricks(sample, names_of(blood))
    assert "words backwards" in tricks(sample, names_of(blood))


def test_the_order_direction_and_denial_of_claims_count_and_copies_do_not() -> None:
    assert coverage(CLAIM) == 1
    half = coverage(CLAIM.split(". ")[0] + ".")
    assert 0.4 < half < 0.7
    for trick in (
        CLAIM.replace("activates", "represses").replace("raises", "reduces"),
        f"It is not true that {CLAIM}",
        " ".join(sorted(CLAIM.split())),
        " ".join(CLAIM.split()[::-1]),
        f"What does KLF1 do? {PAPER}",
    ):
        assert coverage(trick) <= half, trick
    assert coverage(f"What does KLF1 do? {PAPER}") == 0


def test_the_order_counts_where_a_claim_adds_one_word_to_the_question() -> None:
    claims = ["MYC activates CD4", "MYC represses CD8A"]
    question = "What does MYC do to CD4 and CD8A?"
    short = replace(
        ASKED,
        gold={"answer": ". ".join(claims), "claims": claims},
        fields={**ASKED.fields, "question": question, "title": "", "abstract": ""},
    )

    def of(text: str) -> float:
        return metrics.qa(short, {"answer": text}, NAMES)[0]["claim_coverage"] or 0.0

    assert of(". ".join(claims)) == of(". ".join(claims[::-1])) == 1
    assert of(claims[0]) == 0.5
    words = " ".join(claims).split()
    assert of(" ".join(words[::-1])) <= 0.5
    assert of(" ".join(sorted(words))) < 1


def test_what_the_reference_says_in_the_papers_words_is_no_copy() -> None:
    said = "HBG1 rose with it in every culture of red cells we made."
    quoted = replace(ASKED, gold={"answer": said, "claims": [said]})
    assert metrics.qa(quoted, {"answer": said}, NAMES)[0]["claim_coverage"] == 1


def test_common_order_is_the_longest_common_subsequence() -> None:
    assert wording.common_in_order("abcbdab", "bdcaba") == 4  # the textbook's example (Cormen et al.)
    assert wording.common_in_order("", "abc") == 0


def test_a_trick_above_half_a_truth_is_found(blood: Graph) -> None:
    captioned = replace(TYPED, id="t/captioning/1", task="captioning")
    for sample in (TYPED, captioned, ASKED):
        assert len(tricks(sample, names_of(blood))) >= 12
    found = check(blood, samples=[TYPED])
    assert {t.task for t in found.tricks} == {"annotation"}
    assert all(t.half is not None for t in found.tricks)
    assert [(t.task, t.trick) for t in found.fooled] == []
    assert replace(found.tricks[0], judged=1.0).above
    assert replace(found.tricks[0], deterministic=1.0).above


@pytest.mark.data
@pytest.mark.parametrize("limit", [8, pytest.param(20, marks=pytest.mark.slow)])
def test_no_trick_of_any_task_earns_more_than_half_a_truth(
    core_graph: Graph, mirror: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Some samples of each task of the public data, at least twelve tricks each."""
    monkeypatch.setenv("VCKG_MIRROR", str(mirror))
    _, cells = make_cells("sc-arena", core_graph, seed=0)
    made = make_samples(cells, TASKS, seed=0, limit=limit)
    assert set(made) == set(TRICKS)
    found = check(core_graph, samples=[s for listed in made.values() for s in listed])
    for task in TASKS:
        assert sum(t.task == task for t in found.tricks) >= 12
    assert [(t.task, t.trick, t.judged, t.half) for t in found.fooled] == []
