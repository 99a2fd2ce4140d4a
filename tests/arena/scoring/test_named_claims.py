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


def test_a_type_above_or_below_the_right_one_earns_at_most_half(blood: Graph) -> None:
    sample = asking("T cell", "neuron")
    for kin in ("lymphocyte", "CD4-positive, alpha-beta T cell"):
        text = f"First: {kin}. Second: neuron."
        found = metrics.qa(sample, {"answer": text}, names_of(blood))[0]["claim_coverage"]
        assert found is not None
        assert 0.5 < found <= 0.75
