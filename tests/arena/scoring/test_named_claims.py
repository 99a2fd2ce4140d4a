"""Claims of one name each: a synonym is the name, a name in the other place is none."""

from typing import Any

import pytest

from arena.judging.graph_judge import knowledge_scores
from arena.scoring import metrics
from arena.scoring.grounding import names_of
from arena.types import Answer, Sample
from vckg.graph.graph import Graph


def asking(first: str, second: str) -> Sample:
    question = "Which is each? Answer in this form: First: NAME. Second: NAME."
    paper: dict[str, Any] = {"kind": "k", "title": "", "abstract": "", "passage": "", "publications": []}
    gold = {
        "answer": f"First: {first}. Second: {second}.",
        "claims": [f"First: {first}", f"Second: {second}"],
    }
    return Sample("t/qa/1", "qa", {}, gold, {"question": question, **paper}, "c", {}, {})


TYPES = ("T cell", "neuron")
GENES = ("KLF1", "TP53")


@pytest.mark.parametrize(
    ("wanted", "said", "earned"),
    [
        (TYPES, "First: T cell. Second: neuron.", 1.0),
        (TYPES, "First: T lymphocyte; Second: nerve cells", 1.0),
        (TYPES, "**First:** T-cell\n**Second:** a neuron", 1.0),
        (TYPES, "The first is a T cell, the second is a nerve cell.", 1.0),
        (TYPES, "First: neuron. Second: T cell.", 0.0),
        (TYPES, "First: B cell. Second: neuron.", 0.5),  # shares a word with T cell, and is none
        (TYPES, "First: T cell.", 0.5),
        (TYPES, "First: not a T cell. Second: neuron.", 0.5),
        (TYPES, "neuron, T cell", 0.0),
        (GENES, "First: KLF1. Second: TP53.", 1.0),
        (GENES, "First: TP53. Second: KLF1.", 0.0),
        (GENES, "First: KLF1 or GATA1. Second: TP53.", 0.75),
        (GENES, "First: KLF1. Second: CD14.", 0.5),
        (GENES, "The first is KLF1, and the second TP53.", 1.0),
        (
            GENES,
            f"First: CD14. {'word ' * 100} First: KLF1. Second: TP53.",
            0.0,
        ),  # read so far and no further
    ],
)
def test_a_name_earns_its_place(wanted: tuple[str, str], said: str, earned: float, blood: Graph) -> None:
    sample = asking(*wanted)
    found = metrics.qa(sample, {"answer": said}, names_of(blood))[0]["claim_coverage"]
    assert found == pytest.approx(earned)
    answer = Answer(sample.id, "m", "qa", said, {"answer": said}, True, False)
    judged = {s.dimension: s.value for s in knowledge_scores(sample, answer, blood)}
    assert judged["total"] == pytest.approx(earned)


@pytest.mark.parametrize(
    ("right", "named", "least", "most"),
    [
        ("T cell", "CD4-positive, alpha-beta T cell", 1.0, 1.0),  # entails the right one
        ("lymphocyte", "T cell", 1.0, 1.0),
        ("T cell", "lymphocyte", 0.01, 0.5),  # says less
        ("CD4-positive, alpha-beta T cell", "T cell", 0.01, 0.5),
        ("T cell", "B cell", 0.0, 0.0),
        ("CD4-positive, alpha-beta T cell", "CD8-positive, alpha-beta T cell", 0.0, 0.0),
        ("T cell", "T cell or B cell", 0.01, 0.5),  # what is above both
    ],
)
def test_a_kind_of_the_right_type_is_right_and_one_above_earns_at_most_half(
    right: str, named: str, least: float, most: float, blood: Graph
) -> None:
    sample = asking(right, "neuron")
    found = metrics.qa(sample, {"answer": f"First: {named}. Second: neuron."}, names_of(blood))[0]
    assert found["claim_coverage"] is not None
    assert least <= 2 * found["claim_coverage"] - 1 <= most


@pytest.mark.parametrize(
    ("right", "answered", "earned"),
    [
        ("muscle cell", "skeletal muscle cell", 1.0),
        ("dendritic cell", "plasmacytoid DC", 1.0),
        ("plasmacytoid dendritic cell", "plasmacytoid DCs (pDC)", 1.0),
        ("pancreatic A cell", "islet alpha cell", 1.0),
        ("retinal rod cell", "rod photoreceptor", 1.0),
    ],
)
def test_a_usual_name_of_a_type_earns_its_place(
    right: str, answered: str, earned: float, core_graph: Graph
) -> None:
    sample = asking(right, "neuron")
    text = f"First: {answered}. Second: neuron."
    found = metrics.qa(sample, {"answer": text}, names_of(core_graph))[0]["claim_coverage"]
    assert found == pytest.approx((1 + earned) / 2)


@pytest.mark.parametrize(
    ("answered", "earned"),
    [
        ("p53 (TP53)", 1.0),
        ("TP-53, a tumor suppressor", 1.0),
        ("tumor protein p53", 1.0),
        ("Trp-53 or IRF-1", 0.0),
        ("TP53 or IRF-1", 0.5),
        ("IRF1", 0.0),
    ],
)
def test_a_usual_name_of_a_gene_earns_its_place(answered: str, earned: float, core_graph: Graph) -> None:
    sample = asking("TP53", "KLF1")
    text = f"First: {answered}. Second: KLF1."
    found = metrics.qa(sample, {"answer": text}, names_of(core_graph))[0]["claim_coverage"]
    assert found == pytest.approx((1 + earned) / 2)
