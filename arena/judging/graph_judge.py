"""The judge that needs no model: the rubric's dimensions computed from the graph and the deterministic metrics.

It is the embedded default, costs nothing, gives the same rating every time and cannot be talked to. What it
cannot do is read: on captions and questions it compares names, words and directions, not meaning.

annotation, captioning
    `identity` follows the rubric's steps, each capped by Lin similarity so that a "direct parent" that says
    nothing earns nothing; `specificity` is the ratio of information contents, never above `identity`;
    `support` compares the marker edges of the named type among the cell's genes with those of the reference.
generation
    Marker recall, overlap with a real cell above random, and the list's form.
perturbation
    Direction accuracy, and agreement with the signed regulations of the graph.
qa
    Agreement of the genes, cell types and words in their order, less what contradicts the reference; claim
    coverage; and the share of the answer's words that the question, the reference or the paper holds, never above
    the better of the other two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from arena.judging.evidence import TOP_GENES, marker_rows, named_type
from arena.judging.rubric import RUBRICS, TOP, total
from arena.scoring import metrics, wording
from arena.scoring.gene_lists import Values
from arena.scoring.grounding import Names, names_of
from arena.scoring.named_claims import named_claims
from arena.tasks import OWN
from arena.types import Answer, Sample, Score, TaskName
from vckg.graph.graph import Graph

SCORER: Final = "knowledge"
Ratings = dict[str, float | None]

_STEP_CAPS: Final = {"direct": (4.0, 5.0), "related": (3.0, 4.0), "lineage": (2.0, 4.0), "far": (1.0, 4.0)}
"""For each step of `identity`: its rating at most, and the factor by which Lin similarity limits it."""
_LOSS = re.compile(r"knock|inhibit|repress|silenc|delet|loss|interfer", re.IGNORECASE)


def knowledge_scores(sample: Sample, answer: Answer, graph: Graph) -> list[Score]:
    """Rate one answer in every dimension of its rubric and in total, all in 0..1.

    A reply without an answer is 0; a call that failed, or a dimension on which nothing is known, is unscored.
    """
    names = names_of(graph)
    values = {s.dimension: s.value for s in metrics.score(sample, answer, graph)}
    rubric = [d.name for d in RUBRICS[sample.task]]
    if known := answer.without_reading:
        ratings, reason = dict.fromkeys(rubric, known[0]), known[1]
    else:
        ratings, reason = RATERS[sample.task](sample, answer, values, names), ""
    scored = {name: None if r is None else r / TOP for name, r in ratings.items()}
    return [
        Score.of(answer, SCORER, dimension, value, reason)
        for dimension, value in {**scored, "total": total(sample.task, ratings)}.items()
    ]


# ---- cell types -------------------------------------------------------------------------------------------


def _annotation(sample: Sample, answer: Answer, values: Values, names: Names) -> Ratings:
    truth, named = names.truth(sample), named_type(sample, answer, names)
    if truth is None:
        return {"identity": None, "support": None, "specificity": None}
    if named is None:
        return {"identity": 0.0, "support": 0.0, "specificity": 0.0}
    identity = _identity(named, truth, names)
    support = _support(sample, named, truth, names)
    if support is not None and _above(named, truth, names):
        support = max(support, identity)  # what marks a type marks all types above it
    return {
        "identity": identity,
        "support": support,
        "specificity": min(identity, TOP * _information_ratio(named, truth, names)),
    }


def _above(named: str, truth: str, names: Names) -> bool:
    ontology = names.ontology
    return ontology.relation(ontology.position(named), ontology.position(truth)) == "ancestor"


def _identity(named: str, truth: str, names: Names) -> float:
    ontology = names.ontology
    a, b = ontology.position(named), ontology.position(truth)
    relation = ontology.relation(a, b)
    if relation == "exact":
        return float(TOP)
    lineage = ontology.lineage(a)
    if a in ontology.parents(b) or b in ontology.parents(a):
        step = "direct"
    elif relation != "other":
        step = "related"
    else:
        step = "lineage" if lineage is not None and lineage == ontology.lineage(b) else "far"
    most, factor = _STEP_CAPS[step]
    return min(most, factor * ontology.lin(a, b))


def _information_ratio(named: str, truth: str, names: Names) -> float:
    a, b = (float(names.ontology.information[names.ontology.position(c)]) for c in (named, truth))
    return min(a, b) / max(a, b) if max(a, b) > 0 else 0.0


def _support(sample: Sample, named: str, truth: str, names: Names) -> float | None:
    """Marker evidence of the named type relative to the reference's; unscored where the graph has neither."""
    if named == truth:
        return float(TOP)
    genes = names.gene_keys(sample.fields["genes"][:TOP_GENES])
    mine, theirs = (_marker_strength(curie, genes, names) for curie in (named, truth))
    if theirs == 0:
        return None
    return TOP * min(1.0, mine / theirs)


def _marker_strength(curie: str, genes: Sequence[str], names: Names) -> float:
    """Markers among the genes over the root of all markers: a type with thousands does not win by number."""
    graph = names.graph
    rows = graph.in_edges(graph.index(curie), "is_marker_for")
    known = len(set(graph.subject[rows].tolist()))
    return len(marker_rows(curie, genes, names)) / math.sqrt(known) if known else 0.0


def _captioning(sample: Sample, answer: Answer, values: Values, names: Names) -> Ratings:
    assert answer.parsed is not None
    rated = _annotation(sample, answer, values, names)
    precision = values["marker_precision"]
    definition = wording.listed_words(str(sample.gold["caption"]))
    words = wording.listed_words(wording.affirmed(str(answer.parsed["caption"])))
    complete = TOP * wording.common_in_order(definition, words) / len(definition) if definition else None
    identity = rated["identity"]
    # Genes support the type that a caption claims: pasted back without one they support nothing.
    support = None if precision is None else min(TOP * precision, TOP if identity is None else identity)
    return {"identity": identity, "support": support, "completeness": complete}


# ---- genes ------------------------------------------------------------------------------------------------


def _generation(sample: Sample, answer: Answer, values: Values, names: Names) -> Ratings:
    form = [v for name in ("validity", "uniqueness", "count") if (v := values[name]) is not None]
    ratings = {
        "markers": _times_top(values["marker_recall"]),
        "plausibility": _times_top(values["likeness"]),
    }
    # A faultless list of any genes is not yet a cell: form earns little where nothing else does.
    most = 1 + max(r or 0.0 for r in ratings.values())
    return {**ratings, "form": min(most, TOP * sum(form) / len(form))}


def _perturbation(sample: Sample, answer: Answer, values: Values, names: Names) -> Ratings:
    return {
        "direction": _times_top(values["direction_accuracy"]),
        "mechanism": _times_top(_mechanism(sample, answer, names)),
    }


def _mechanism(sample: Sample, answer: Answer, names: Names) -> float | None:
    """Share of signed regulations of the perturbed genes that the called directions agree with."""
    assert answer.parsed is not None
    graph = names.graph
    effect = -1 if _LOSS.search(str(sample.fields["effect"])) else 1
    called = {
        **dict.fromkeys(names.gene_keys(answer.parsed["up"]), 1),
        **dict.fromkeys(names.gene_keys(answer.parsed["down"]), -1),
    }
    candidates = names.genes(sample.fields["candidates"])
    agreed: list[bool] = []
    for key in names.gene_keys(sample.fields["perturbed"]):
        at = graph.get(key)
        for row in graph.out_edges(at, "regulates").tolist() if at is not None else ():
            target, sign = graph.ids[graph.object[row]], int(graph.sign[row])
            if sign and target in candidates:
                agreed.append(called.get(target, 0) == sign * effect)
    return sum(agreed) / len(agreed) if agreed else None


def _times_top(value: float | None) -> float | None:
    return None if value is None else TOP * value


# ---- papers -----------------------------------------------------------------------------------------------


def _qa(sample: Sample, answer: Answer, values: Values, names: Names) -> Ratings:
    assert answer.parsed is not None
    if named_claims([str(claim) for claim in sample.gold["claims"]], names):
        # Names in their places are all there is to say: two that are exchanged are two that are wrong.
        covered = _times_top(values["claim_coverage"])
        return {"correctness": covered, "completeness": covered, "grounding": covered}
    text, reference = metrics.answered_text(sample, answer.parsed), str(sample.gold["answer"])
    known = wording.content_words(
        " ".join(str(sample.fields[key]) for key in ("question", "title", "abstract", "passage"))
        + " "
        + reference
    )
    words = wording.content_words(text)
    # Names alone are a list of words: they earn no more than twice what the order of the words earns.
    ordered = values["rouge_l"] or 0.0
    named = _entity_f1(text, reference, names)
    agreed = [ordered] if named is None else [min(named, 2 * ordered), ordered]
    correctness = TOP * (values["consistency"] or 0.0) * sum(agreed) / len(agreed)
    completeness = TOP * (values["claim_coverage"] or 0.0)
    # Words that any paper holds ground nothing: an answer is grounded no further than it answers.
    grounding = TOP * len(words & known) / len(words) if words else 0.0
    return {
        "correctness": correctness,
        "completeness": completeness,
        "grounding": min(grounding, max(correctness, completeness)),
    }


def _entity_f1(text: str, reference: str, names: Names) -> float | None:
    """F1 of the genes and cell types named; None where the reference names none."""
    mine, theirs = (names.claimed_genes(t) | set(names.mentions(t)) for t in (text, reference))
    return wording.token_f1(mine, theirs) if theirs else None


Rater = Callable[[Sample, Answer, Values, Names], Ratings]


def _rated_by(dimension: str) -> Rater:
    return lambda _sample, _answer, values, _names: {dimension: _times_top(values[dimension])}


RATERS: Final[Mapping[TaskName, Rater]] = {
    "annotation": _annotation,
    "captioning": _captioning,
    "generation": _generation,
    "perturbation": _perturbation,
    "qa": _qa,
    **{task: _rated_by(own.dimensions[0]) for task, own in OWN.items()},
}
