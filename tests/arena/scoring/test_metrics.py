"""Gold answers score 1, nonsense scores 0, and nothing cheap scores high."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena import rankings
from arena.scoring import metrics
from arena.scoring.grounding import names_of
from arena.types import Answer, Sample, TaskName
from vckg.graph.graph import Graph

TCELL = {"cell_type": "CD4-positive, alpha-beta T cell", "cl_id": "CL:0000624"}
GENES = ["CD3D", "CD4", "IL7R", "ACTB", "MALAT1", "TRAC"]


def sample(task: TaskName, gold: Mapping[str, Any], **fields: Any) -> Sample:
    return Sample(f"t/{task}/1", task, {}, gold, fields, "c", {}, {})


ANNOTATION = sample("annotation", TCELL, genes=GENES, tissue="blood", species="human")
CAPTION = sample("captioning", {**TCELL, "caption": "A T cell that carries CD4."}, genes=GENES)
GENERATION = sample(
    "generation", {**TCELL, "markers": ["CD4", "IL7R", "CD3D", "CD3E"], "sentences": [GENES]}, length=6
)
PERTURBATION = sample(
    "perturbation",
    {"up": ["HBG1", "GATA1"], "down": ["SPI1"], "sentence": ["HBG1", "ACTB", "SPI1", "TP53"]},
    candidates=["SPI1", "HBG1", "GATA1"],
    control=["ACTB", "SPI1", "TP53", "HBG1"],
)
QA = sample(
    "qa",
    {
        "answer": "KLF1 activates HBG1. It acts in erythroid cells.",
        "claims": ["KLF1 activates HBG1", "It acts in erythroid cells"],
    },
)
ALL = [ANNOTATION, CAPTION, GENERATION, PERTURBATION, QA]


def answer(to: Sample, parsed: Mapping[str, Any] | None, **more: Any) -> Answer:
    settings_ = {"format_ok": parsed is not None, "refused": False, **more}
    return Answer(to.id, "me", to.task, "", parsed, **settings_)


def values(
    to: Sample, parsed: Mapping[str, Any] | None, graph: Graph, **more: Any
) -> dict[str, float | None]:
    return {s.dimension: s.value for s in metrics.score(to, answer(to, parsed, **more), graph)}


@pytest.mark.parametrize("to", ALL, ids=lambda s: s.task)
def test_a_gold_answer_scores_1_in_every_dimension_that_applies(to: Sample, blood: Graph) -> None:
    found = values(to, metrics.gold_answer(to), blood)
    assert tuple(found) == metrics.DIMENSIONS[to.task]
    assert found[metrics.HEADLINE[to.task]] == pytest.approx(1.0)
    assert [v for v in found.values() if v is not None] == pytest.approx(
        [1.0] * sum(v is not None for v in found.values())
    )


@pytest.mark.parametrize("to", ALL, ids=lambda s: s.task)
def test_a_reply_without_an_answer_is_0_and_a_failed_call_is_unscored(to: Sample, blood: Graph) -> None:
    assert set(values(to, None, blood).values()) == {0.0}
    assert set(values(to, None, blood, error="timed out").values()) == {None}


@pytest.mark.parametrize(
    ("text", "curie", "how"),
    [
        ("T cell", "CL:0000084", "label"),
        ("CL_0000084", "CL:0000084", "id"),
        ("T lymphocyte", "CL:0000084", "exact_synonym"),
        ("B cell (CD19+)", "CL:0000236", "word_order"),
        ("B cell (one of many in the node)", "CL:0000236", "brackets"),
        ("fibroblsat", "CL:0000057", "spelling"),
        ("CD6-positive, alpha-beta T cell", "CL:0000084", "mention"),  # never taken for CD4 or CD8
        ("Most likely a B lymphocyte.", "CL:0000236", "mention"),
        ("a thing", None, "unknown"),
        ("", None, "unknown"),
    ],
)
def test_names_are_resolved_and_the_way_is_told(text: str, curie: str | None, how: str, blood: Graph) -> None:
    found = names_of(blood).resolve(text)
    assert (found.curie, found.how) == (curie, how)


def test_nearer_in_the_ontology_scores_higher_and_cell_scores_nothing(blood: Graph) -> None:
    order = [
        "CD4-positive, alpha-beta T cell",
        "CD8-positive, alpha-beta T cell",
        "B cell",
        "monocyte",
        "neuron",
    ]
    lin = [values(ANNOTATION, {"cell_type": name}, blood)["lin"] for name in order]
    assert lin == sorted(lin, key=lambda v: -(v or 0))
    assert len(set(lin)) == len(lin)
    assert values(ANNOTATION, {"cell_type": "cell"}, blood)["lin"] == 0


def test_naming_several_types_to_be_safe_gains_nothing(blood: Graph) -> None:
    names = names_of(blood)
    assert names.claimed_type("A B cell or maybe a T cell or a monocyte").curie == "CL:0000236"
    assert names.claimed_type("A lymphocyte, most likely a T cell").curie == "CL:0000084"
    assert names.claimed_type("This cell is a neuron.").curie == "CL:0000540"


def test_what_a_cell_becomes_or_is_contrasted_with_is_not_claimed(blood: Graph) -> None:
    names = names_of(blood)
    assert (
        names.claimed_type("A T cell that differentiates into a CD8-positive, alpha-beta T cell").curie
        == "CL:0000084"
    )
    assert (
        names.claimed_type("T cell: it comes as CD4-positive, alpha-beta T cell, too.").curie == "CL:0000084"
    )
    assert names.claimed_type("Not a B cell but T cells.").curie == "CL:0000084"


def test_a_name_that_the_ontology_has_changed_since_is_still_right(blood: Graph) -> None:
    renamed = sample("annotation", {"cell_type": "T4 cell of old", "cl_id": "CL:0000624"}, genes=GENES)
    assert values(renamed, {"cell_type": "T4 Cell of old"}, blood)["exact"] == 1


def test_a_caption_pays_for_markers_the_cell_does_not_show(blood: Graph) -> None:
    found = values(
        CAPTION, {"caption": "A T cell, CD4-positive, with CD3D and TRAC but also CD19 and LYZ."}, blood
    )
    assert found["marker_precision"] == pytest.approx(0.5)  # CD4-positive is part of a name, not a claim
    assert found["type_exact"] == 0


def test_a_generated_list_pays_for_repeats_inventions_and_length(blood: Graph) -> None:
    repeated = values(GENERATION, {"genes": GENES[:3] * 2}, blood)
    assert (repeated["uniqueness"], repeated["validity"]) == (0.5, 1.0)
    invented = values(GENERATION, {"genes": [*GENES[:3], "FOO1", "BAR2", "BAZ3"]}, blood)
    assert invented["validity"] == 0.5
    assert values(GENERATION, {"genes": GENES[:3]}, blood)["count"] == 0.5
    assert values(GENERATION, {"genes": []}, blood)["fidelity"] == 0
    best = values(GENERATION, {"genes": GENES}, blood)["fidelity"]
    assert best is not None
    assert all(found["fidelity"] < best for found in (repeated, invented) if found["fidelity"] is not None)


def test_without_a_real_cell_a_list_is_judged_by_its_markers(blood: Graph) -> None:
    bare = sample("generation", {**TCELL, "markers": ["CD4", "IL7R"], "sentences": []}, length=200)
    assert values(bare, metrics.gold_answer(bare), blood)["fidelity"] == 1
    assert values(bare, {"genes": ["CD4", "ACTB"]}, blood)["marker_recall"] == 0.5
    assert values(bare, {"genes": ["CD4", "ACTB"]}, blood)["rbo"] is None


def test_copying_the_control_overlaps_much_and_changes_nothing(blood: Graph) -> None:
    found = values(PERTURBATION, {"up": [], "down": [], "sentence": PERTURBATION.fields["control"]}, blood)
    assert found["sentence_jaccard"] == 1
    assert found["delta_correlation"] == 0
    assert found["direction_accuracy"] == 0


def test_a_candidate_on_both_sides_or_on_none_is_wrong(blood: Graph) -> None:
    both = values(PERTURBATION, {"up": ["HBG1", "SPI1"], "down": ["HBG1", "SPI1"], "sentence": []}, blood)
    assert both["direction_accuracy"] == 0
    half = values(PERTURBATION, {"up": ["hbg1"], "down": ["SPI1"], "sentence": []}, blood)
    assert half["direction_accuracy"] == pytest.approx(2 / 3)
    assert half["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)


def test_mcc_of_one_direction_only_is_unscored(blood: Graph) -> None:
    one = sample(
        "perturbation", {"up": ["HBG1"], "down": [], "sentence": []}, candidates=["HBG1"], control=[]
    )
    assert values(one, {"up": ["HBG1"], "down": []}, blood)["mcc"] is None
    flipped = values(PERTURBATION, {"up": ["SPI1"], "down": ["HBG1", "GATA1"], "sentence": []}, blood)
    assert flipped["mcc"] == pytest.approx(-1)
    assert values(PERTURBATION, {"up": [], "down": [], "sentence": []}, blood)["mcc"] == 0
    called = values(PERTURBATION, {"up": ["HBG1"], "down": ["SPI1"], "sentence": []}, blood)
    assert called["mcc"] == pytest.approx(2 / 3)  # two of three, both right


def test_a_long_answer_is_read_no_further_than_three_times_the_reference(blood: Graph) -> None:
    padding = " ".join(f"word{i}" for i in range(200))
    late = values(QA, {"answer": f"{padding} KLF1 activates HBG1"}, blood)
    early = values(QA, {"answer": f"KLF1 activates HBG1 {padding}"}, blood)
    assert late["claim_coverage"] == 0
    assert early["claims_covered"] == 0.5
    assert (early["rouge_l"] or 0) < 0.1


def by_the_definition(first: list[int], second: list[int], p: float, depth: int) -> float:
    """Sum of p^(d-1) (1-p) times agreement at d, both lists continued with unshared items at their last
    overlap."""
    total, n = 0.0, len(first)
    for d in range(1, depth + 1):
        agreement = len(set(first[:d]) & set(second[:d])) / d if d <= n else len(set(first) & set(second)) / n
        total += (1 - p) * p ** (d - 1) * agreement
    return total


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(8)), st.permutations(range(12)), st.floats(0.5, 0.95))
def test_rank_biased_overlap_agrees_with_its_infinite_sum(a: list[int], b: list[int], p: float) -> None:
    first, second = [str(i) for i in a], [str(i) for i in b[:8]]
    expected = by_the_definition(a, b[:8], p, 2000)
    assert rankings.rank_biased_overlap(first, second, p) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 30), unique=True), st.lists(st.integers(0, 30), unique=True))
def test_rank_biased_overlap_is_symmetric_and_within_0_and_1(a: list[int], b: list[int]) -> None:
    first, second = [str(i) for i in a], [str(i) for i in b]
    found = rankings.rank_biased_overlap(first, second)
    assert 0 <= found <= 1
    assert found == pytest.approx(rankings.rank_biased_overlap(second, first))
    assert rankings.rank_biased_overlap(first, first) == pytest.approx(1.0 if first else 0.0)


def test_overlap_at_the_top_counts_more_than_at_the_end() -> None:
    ranks = [str(i) for i in range(100)]
    top = ranks[:10] + [f"x{i}" for i in range(90)]
    end = [f"x{i}" for i in range(90)] + ranks[90:]
    assert rankings.rank_biased_overlap(ranks, top) > 3 * rankings.rank_biased_overlap(ranks, end)


def test_delta_correlation_sees_the_direction_of_change() -> None:
    control = [f"g{i}" for i in range(20)]
    outcome = list(np.random.default_rng(0).permutation(control))
    assert rankings.delta_correlation(control, outcome, outcome) == pytest.approx(1)
    assert rankings.delta_correlation(control, outcome, control) == 0
    assert (
        abs(rankings.delta_correlation(control, outcome, list(np.random.default_rng(1).permutation(control))))
        < 0.8
    )


def test_an_answer_to_another_sample_is_a_bug_not_a_score(blood: Graph) -> None:
    with pytest.raises(ValueError, match="put to sample"):
        metrics.score(QA, answer(ANNOTATION, {"cell_type": "T cell"}), blood)


@pytest.mark.parametrize(
    ("tissue", "state", "gene", "applies"),
    [
        ("blood", "", "ACTB", {"tissue": True, "state": False}),  # the definition says blood
        ("skin", "tumour", "ACTB", {"tissue": False, "state": False}),
        ("skin", "fetal", "ACTB", {"tissue": False, "state": False}),
        ("skin", "fetal", "Hbb-y", {"tissue": False, "state": True}),
        ("", "newborn", "HBG1", {"tissue": False, "state": False}),
    ],
)
def test_what_no_gene_and_no_definition_tells_is_not_asked_of_a_caption(
    tissue: str, state: str, gene: str, applies: dict[str, bool], blood: Graph
) -> None:
    gold = {**TCELL, "caption": "A T cell of the blood.", "definition": "A T cell of the blood."}
    to = sample("captioning", {**gold, "tissue": tissue, "state": state}, genes=[*GENES, gene])
    said = values(to, {"caption": f"A {state} T cell of the {tissue}."}, blood)
    assert {name: said[name] is not None for name in applies} == applies
    assert all(said[name] == 1.0 for name, asked in applies.items() if asked)
