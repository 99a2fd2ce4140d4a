"""Scores on lists and sentences, open and closed, with intervals and paired tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from benchmarks.annotation.comparison_scores import ComparisonRetriever
from benchmarks.annotation.data_sets import Question
from gather.labelling.decide import Decision, Labeller
from gather.metrics.labels import (
    ROOTS,
    Interval,
    adjusted,
    bootstrap,
    lin_expected,
    paired_difference,
    paired_permutation,
    reliability,
    score_label,
)
from gather.ontology import Ontology
from gather.retrieval.query import GeneQuery, Panel
from gather.retrieval.scores import Retriever

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

Floats = npt.NDArray[np.float64]
METRICS = ("exact", "relation", "adjusted Lin", "lineage")
RANKED = 15


@dataclass(frozen=True)
class Answer:
    """Answer of one method to one question: ranked candidates, the label or "", and the confidence."""

    ranked: tuple[str, ...]
    label: str
    confidence: float
    status: str = "named"


@dataclass(frozen=True)
class Scored:
    """Answers of one method with their metrics; all arrays follow `questions`."""

    method: str
    closed: bool
    questions: Sequence[Question]
    answers: Sequence[Answer]
    values: Mapping[str, Floats]
    extra: Mapping[str, float] = field(default_factory=dict)

    def where(self, keep: Callable[[Question], bool]) -> Scored:
        """Return the part with the questions that pass."""
        kept = [i for i, q in enumerate(self.questions) if keep(q)]
        return Scored(
            self.method,
            self.closed,
            [self.questions[i] for i in kept],
            [self.answers[i] for i in kept],
            {name: v[kept] for name, v in self.values.items()},
        )

    def part(self, **fields: str) -> Scored:
        """Return the part with given fields of the questions, e.g. ``part(mode="clusters")``."""
        return self.where(lambda q: all(getattr(q, name) == value for name, value in fields.items()))

    def interval(self, metric: str) -> Interval:
        """Macro mean over data sets with a bootstrap interval over cell sets."""
        return bootstrap(self.values[metric], strata=[q.data_set for q in self.questions])


class Judge:
    """Scores answers against the truth of one ontology."""

    def __init__(self, ontology: Ontology, open_set: Iterable[str]) -> None:
        self.ontology, self.open_set = ontology, tuple(open_set)
        self._expected: dict[tuple[str, bool], float] = {}

    def expected(self, questions: Sequence[Question], closed: bool) -> dict[str, float]:
        """Return the expected Lin of a random candidate, by data set."""
        for name in {q.data_set for q in questions}:
            if (name, closed) not in self._expected:
                of_set = [q for q in questions if q.data_set == name]
                candidates = of_set[0].closed if closed else self.open_set
                self._expected[name, closed] = lin_expected(
                    self.ontology, (q.truth for q in of_set), candidates
                )
        return {q.data_set: self._expected[q.data_set, closed] for q in questions}

    def score(
        self, method: str, questions: Sequence[Question], answers: Sequence[Answer], *, closed: bool = False
    ) -> Scored:
        """Return the metrics of answers; an answer without a label is wrong in every one."""
        chance = self.expected(questions, closed)
        rows = []
        for question, answer in zip(questions, answers, strict=True):
            s = score_label(self.ontology, answer.label, question.truth)
            lin = adjusted(s.lin, chance[question.data_set])
            rows.append((s.exact, s.related, lin, s.lineage, s.hierarchical_f1, s.lin))
        names = (*METRICS, "hierarchical F1", "Lin")
        columns = np.array(rows, dtype=float).reshape(len(rows), len(names)).T
        return Scored(method, closed, questions, answers, dict(zip(names, columns, strict=True)))


class Bench:
    """Answers questions with our own scores.

    Parameters
    ----------
    graph
        Graph with the evidence.
    exclude
        Sources to leave out, e.g. those computed from data of the benchmark.
    """

    def __init__(self, graph: Graph, *, exclude: Iterable[str] = ()) -> None:
        self.graph = graph
        self.exclude = tuple(exclude)
        self.ontology = Ontology.of_cells(graph)
        self._retrievers: dict[tuple[str, int, int, tuple[str, ...]], Retriever] = {}

    @cached_property
    def judge(self) -> Judge:
        """Metrics. A random label of the open set is any cell type with a marker."""
        nodes = self.retriever("calibrated", None).nodes
        return Judge(self.ontology, [self.graph.ids[i] for i in nodes.tolist()])

    def retriever(
        self, score: str, panel: Panel | None, *, hops: int = 2, closed: tuple[str, ...] = ()
    ) -> Retriever:
        """Return the retriever of a score for one file; the other cell sets of the file share it."""
        key = (score, hops, id(panel), closed)
        if key not in self._retrievers:
            candidates = [self.graph.index(c) for c in closed] or None
            weights = next((r.weights for r in self._retrievers.values()), None)
            self._retrievers[key] = ComparisonRetriever(
                self.graph, score=score, hops=hops, panel=panel, candidates=candidates, exclude=self.exclude,
                weights=weights,
            )  # fmt: skip
        return self._retrievers[key]

    @cached_property
    def labeller(self) -> Labeller:
        """The label step of the open set."""
        return Labeller(self.ontology)

    def best(
        self, score: str, questions: Sequence[Question], *, hops: int = 2, closed: bool = False
    ) -> list[Answer]:
        """Answer every question with the best candidate, without a label step."""
        answers = []
        for q in questions:
            retriever = self.retriever(score, q.panel, hops=hops, closed=q.closed if closed else ())
            scored = retriever.scored(q.query)
            order = self.labeller.best(scored, RANKED) if score == "calibrated" else scored.best(RANKED)
            ranked = tuple(self.graph.ids[i] for i in retriever.nodes[order].tolist())
            answers.append(Answer(ranked, ranked[0] if ranked else "", 1.0))
        return answers

    def labelled(
        self, questions: Sequence[Question], *, closed: bool = False, labeller: Labeller | None = None
    ) -> list[Answer]:
        """Answer as ``gather annotate`` does: named, backed off or unknown, with confidence."""
        labeller = labeller or Labeller(self.ontology, back_off=not closed)
        return [_answer(self.decide(q, labeller, closed=closed)) for q in questions]

    def decide(self, question: Question, labeller: Labeller, *, closed: bool = False) -> Decision:
        """Return the label step's decision for one question."""
        retriever = self.retriever("calibrated", question.panel, closed=question.closed if closed else ())
        return decide(retriever, labeller, question.query)


def decide(retriever: Retriever, labeller: Labeller, query: GeneQuery) -> Decision:
    """Score and decide one query."""
    return labeller.decide(retriever.converge([query])[0], retriever.support(query))


def _answer(decision: Decision) -> Answer:
    ranked = tuple(c.curie for c in decision.candidates)
    return Answer(ranked, decision.curie, decision.confidence, decision.status)


# ---- tables
# -----------------------------------------------------------------------------------------------------


def table(rows: Sequence[Scored]) -> list[str]:
    """Return a Markdown table: a method a line, macro means over data sets with 95 % intervals."""
    lines = [f"| method | set | n | {' | '.join(METRICS)} |", "|---|---|--:|" + "---|" * len(METRICS)]
    for row in rows:
        kind = "closed" if row.closed else "open"
        cells = " | ".join(str(row.interval(m)) for m in METRICS)
        lines.append(f"| {row.method} | {kind} | {len(row.questions)} | {cells} |")
    return lines


def comparison(ours: Scored, others: Sequence[Scored], metrics: Sequence[str] = METRICS) -> list[str]:
    """Return a Markdown table of paired differences, ours minus theirs, with intervals and permutation p."""
    strata = [q.data_set for q in ours.questions]
    lines = [f"| {ours.method} minus | {' | '.join(metrics)} |", "|---|" + "---|" * len(metrics)]
    for other in others:
        cells = []
        for metric in metrics:
            a, b = ours.values[metric], other.values[metric]
            p = paired_permutation(a, b, strata=strata)
            cells.append(f"{paired_difference(a, b, strata=strata)}, p {p:.2g}")
        lines.append(f"| {other.method} | {' | '.join(cells)} |")
    return lines


def rank_of_truth(
    ontology: Ontology, ranked: Sequence[str], truth: str, *, ancestors: bool = False
) -> int | None:
    """Rank (from 1) of the truth, or with `ancestors` of the truth or a term above it; None where it is
    absent.
    """
    t = ontology.position(truth)
    for rank, curie in enumerate(ranked, start=1):
        if curie not in ontology:
            continue
        relation = ontology.relation(ontology.position(curie), t)
        if relation == "exact" or (ancestors and relation == "ancestor" and curie not in ROOTS):
            return rank
    return None


def hit_at(ranks: Iterable[int | None], k: int) -> float:
    """Return the share of items with a rank of at most `k`."""
    hits = [rank is not None and rank <= k for rank in ranks]
    return float(np.mean(hits)) if hits else float("nan")


def mean_reciprocal_rank(ranks: Iterable[int | None]) -> float:
    """Mean of ``1 / rank``, 0 where the truth is absent."""
    values = [1.0 / rank if rank else 0.0 for rank in ranks]
    return float(np.mean(values)) if values else float("nan")


def retrieval_line(row: Scored, ontology: Ontology) -> str:
    """Hit@1, 5, 15 and MRR of the truth and of the truth or a term above it, as one line."""
    pairs = list(zip(row.questions, row.answers, strict=True))
    exact = [rank_of_truth(ontology, a.ranked, q.truth) for q, a in pairs]
    above = [rank_of_truth(ontology, a.ranked, q.truth, ancestors=True) for q, a in pairs]
    hits = ", ".join(f"Hit@{k} {hit_at(exact, k):.3f} ({hit_at(above, k):.3f})" for k in (1, 5, 15))
    return f"{row.method}: {hits}, MRR {mean_reciprocal_rank(exact):.3f} ({mean_reciprocal_rank(above):.3f})"


def reliability_table(row: Scored) -> list[str]:
    """Return the reliability diagram of the answers as Markdown: equal-width bins, a bar of ten for accuracy."""
    kept = [i for i, a in enumerate(row.answers) if a.label]
    confidence = [row.answers[i].confidence for i in kept]
    lines = ["| confidence | answers | mean confidence | related to the truth | |", "|---|--:|--:|--:|---|"]
    for n, said, right in reliability(confidence, row.values["relation"][kept]):
        low = min(int(said * 10), 9) / 10
        bar = "█" * round(10 * right) + "·" * (10 - round(10 * right))
        lines.append(f"| {low:.1f} to {low + 0.1:.1f} | {n} | {said:.2f} | {right:.2f} | `{bar}` |")
    return lines
