"""The ablation: the default score with one thing changed at a time, and the plain recipe it started from.

A variant is a `Retriever` whose evidence weights or formula differ; everything else of the benchmark is the
same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from benchmarks.annotation.data_sets import Question
from benchmarks.annotation.scores import Answer, Bench, Scored
from gather.retrieval.evidence_weights import LONE_CLAIM, Weights
from gather.retrieval.query import GeneQuery
from gather.retrieval.scores import Convergence, Retriever

Floats = npt.NDArray[np.float64]
Formula = Callable[[Retriever, GeneQuery], Floats]


@dataclass(frozen=True)
class Variant:
    """One row of the table: what is changed about the weights, the formula, or the query."""

    name: str
    weights: Callable[[Bench, Weights], Weights] = lambda _bench, weights: weights
    formula: Formula = lambda retriever, query: retriever._calibrated(query)
    query: Callable[[GeneQuery], GeneQuery] = lambda query: query
    exclude: tuple[str, ...] = ()
    by_score: bool = False


def length_exponent(exponent: float) -> Formula:
    """The default formula with another exponent of the length."""

    def formula(retriever: Retriever, query: GeneQuery) -> Floats:
        length = retriever.length
        return np.divide(
            retriever.statistic(query), length**exponent, out=np.zeros(len(length)), where=length > 0
        )

    return formula


def _no_inheritance(_bench: Bench, weights: Weights) -> Weights:
    return replace(weights, share=sp.eye_array(len(weights.nodes), format="csr"))


def _inherit_more(_bench: Bench, weights: Weights) -> Weights:
    """Half instead of about a third: the off-diagonal part scaled."""
    identity = sp.eye_array(len(weights.nodes), format="csr")
    return replace(weights, share=identity + (weights.share - identity) * (0.5 / 0.35))


def _from_below(_bench: Bench, weights: Weights) -> Weights:
    """Also lift half of what the kinds of a term have, averaged over them."""
    identity = sp.eye_array(len(weights.nodes), format="csr")
    up = (weights.share - identity).T.tocsr()
    count = np.maximum(np.asarray((up > 0).sum(axis=0)).ravel(), 1)
    return replace(weights, share=weights.share + up @ sp.diags_array(0.5 / count))


def _values(change: Callable[[Floats], Floats]) -> Callable[[Bench, Weights], Weights]:
    """Change the number of resources behind each weight."""

    def weights_of(_bench: Bench, weights: Weights) -> Weights:
        return replace(
            weights, direct=_with_data(weights.direct, change(weights.resources.data) * _specificity(weights))
        )

    return weights_of


def _specificity(weights: Weights) -> Floats:
    """``ln(targets / df)`` of every direct edge."""
    return np.asarray(weights.direct.data / (weights.resources.data - LONE_CLAIM), dtype=np.float64)


def _with_data(matrix: Any, data: Floats) -> Any:
    return sp.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def _binary(_bench: Bench, weights: Weights) -> Weights:
    return replace(weights, direct=_with_data(weights.direct, np.ones(len(weights.direct.data))))


def _with_publications(bench: Bench, weights: Weights) -> Weights:
    """``ln(1 + publications + resources)`` times specificity: the plain recipe's weight."""
    graph = bench.graph
    rows = graph.rows("is_marker_for")
    papers = sp.csr_array(
        (graph.n_publications[rows].astype(float), (graph.subject[rows], graph.object[rows])),
        shape=(graph.n, graph.n),
    )[:, weights.nodes]
    pattern = weights.resources.tocoo()
    count = np.asarray(papers[pattern.row, pattern.col]).ravel()
    worth = np.log1p(count + weights.resources.data) * _specificity(weights)
    return replace(weights, direct=_with_data(weights.direct, worth))


def _branches(bench: Bench, weights: Weights) -> Weights:
    """A gene that marks a type and kinds of it marks one branch: only types without a marked ancestor count in df."""
    ontology = bench.ontology
    at = np.searchsorted(ontology.nodes, weights.nodes)
    above = sp.csr_array(ontology.closure[np.ix_(at, at)] & ~np.eye(len(at), dtype=bool), dtype=np.float64)
    marked = sp.csr_array(weights.resources > 0, dtype=np.float64)
    below = (marked @ above.T).multiply(marked)
    df = np.maximum((marked > 0).sum(axis=1) - (below > 0).sum(axis=1), 1)
    rows = np.repeat(np.arange(marked.shape[0]), np.diff(weights.resources.indptr))
    specificity = np.log(max(int(weights.own.sum()), 2) / np.asarray(df).ravel()[rows])
    return replace(
        weights, direct=_with_data(weights.direct, (weights.resources.data - LONE_CLAIM) * specificity)
    )


def _z(retriever: Retriever, query: GeneQuery) -> Floats:
    """Closed-form z with its spread shrunk halfway towards the median."""
    mean, variance = retriever.null.moments(query.weights)
    spread = np.sqrt(np.maximum(variance, 0.0))
    typical = float(np.median(spread[spread > 0])) if (spread > 0).any() else 1.0
    z = (retriever.statistic(query) - mean) / (0.5 * spread + 0.5 * typical)
    return np.asarray(np.maximum(z, 0.0), dtype=np.float64)


def _minus_log_p(retriever: Retriever, query: GeneQuery) -> Floats:
    return -np.log10(np.maximum(retriever.p_values(query), 1e-300))


def _first(n: int) -> Callable[[GeneQuery], GeneQuery]:
    return lambda q: replace(q, genes=q.genes[:n], weights=q.weights[:n], names=q.names[:n])


def _flat(query: GeneQuery) -> GeneQuery:
    return replace(query, weights=np.ones(len(query.weights)))


def _plain(bench: Bench, weights: Weights) -> Weights:
    return _no_inheritance(bench, _with_publications(bench, weights))


VARIANTS = (
    Variant("default (calibrated)"),
    Variant(
        "plain recipe: ln(1 + publications + resources), length^0.7, no inheritance",
        _plain,
        length_exponent(0.7),
    ),
    Variant("greatest score instead of greatest expected similarity", by_score=True),
    Variant("no inheritance", _no_inheritance),
    Variant("inheritance 0.5 instead of 0.35", _inherit_more),
    Variant("evidence of kinds lifted to their parents too", _from_below),
    Variant("a lone claim counts in full: resources instead of resources - 1/2", _values(np.asarray)),
    Variant("resources^1.5", _values(lambda resources: resources**1.5)),
    Variant("ln(1 + publications + resources)", _with_publications),
    Variant("ln(1 + resources)", _values(np.log1p)),
    Variant("binary edges", _binary),
    Variant("kinds of a marked type do not count in df", _branches),
    Variant("no length correction", formula=length_exponent(0.0)),
    Variant("length^0.6", formula=length_exponent(0.6)),
    Variant("length^0.7", formula=length_exponent(0.7)),
    Variant("length^0.9", formula=length_exponent(0.9)),
    Variant("length^1 (cosine)", formula=length_exponent(1.0)),
    Variant("closed-form z, spread shrunk", formula=_z),
    Variant("-log10 p of the closed-form null", formula=_minus_log_p),
    Variant("query of 20 genes", query=_first(20)),
    Variant("query of 50 genes (differs for sentences only)", query=_first(50)),
    Variant("query genes weigh the same", query=_flat),
    Variant("without the accordion's CELLxGENE rows", exclude=("accordion:CELLxGENE",)),
    Variant("without the accordion", exclude=("accordion",)),
)


def answer(bench: Bench, variant: Variant, questions: Sequence[Question], *, closed: bool) -> list[Answer]:
    """Answer every question with the best candidate of a variant."""
    base = Bench(bench.graph, exclude=variant.exclude) if variant.exclude else bench
    weights = variant.weights(base, base.retriever("calibrated", None).weights)
    retrievers: dict[tuple[int, tuple[str, ...]], Retriever] = {}
    answers = []
    for q in questions:
        key = (id(q.panel), q.closed if closed else ())
        if key not in retrievers:
            candidates = [bench.graph.index(c) for c in key[1]] or None
            retrievers[key] = Retriever(
                bench.graph, panel=q.panel, candidates=candidates, exclude=variant.exclude, weights=weights
            )
        retriever = retrievers[key]
        score = variant.formula(retriever, variant.query(q.query))
        ones = np.ones(len(score))
        found = Convergence(q.query, retriever.target.name, retriever.nodes, score, ones, ones)
        order = found.best(1) if variant.by_score else bench.labeller.best(found, 1)
        best = tuple(bench.graph.ids[i] for i in retriever.nodes[order].tolist())
        answers.append(Answer(best, best[0] if best else "", 1.0))
    return answers


def ablate(
    bench: Bench, parts: Mapping[str, tuple[Sequence[Question], bool]], variants: Sequence[Variant] = VARIANTS
) -> Iterator[tuple[Variant, dict[str, Scored]]]:
    """Yield every variant with its scores on each named part (questions, closed)."""
    for variant in variants:
        yield (
            variant,
            {
                name: bench.judge.score(
                    variant.name, questions, answer(bench, variant, questions, closed=closed), closed=closed
                )
                for name, (questions, closed) in parts.items()
            },
        )


__all__ = ["VARIANTS", "Variant", "ablate", "answer", "length_exponent"]
