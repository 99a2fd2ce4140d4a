"""Compare language models and KG-RAG methods with the same genes, candidates, answer prompt and counted model.

`compare` runs the methods. `render` makes the table: calls, tokens and seconds of a query, metrics with intervals,
and paired tests against GATHER. `claim` tests the central claim: the same step with convergence nodes, with
multi-hop paths, with both and with neither, at equal tokens and at equal numbers of items.

A missing answer counts as wrong. The row ``gather`` falls back to the label of retrieval, as it does for users. The
other rows do not, so that retrieval cannot answer in the model's place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gather.annotation import Annotation
from gather.benchmark.baselines import pog, rog, tog, tog2
from gather.benchmark.baselines.graph_view import GraphView
from gather.benchmark.baselines.interface import Method, Outcome, Question, attempt
from gather.llm.base import Counted, Counters, Model, estimate_tokens
from gather.llm.client import concurrently
from gather.llm.evidence_text import KINDS, EvidenceKind, evidence_text
from gather.llm.label import Term, label_with_llm, shared_candidates
from gather.metrics.labels import (
    LabelScores,
    adjusted,
    bootstrap,
    lin_expected,
    paired_difference,
    paired_permutation,
    score_label,
)
from gather.metrics.multiple_testing import holm
from gather.ontology import Ontology

if TYPE_CHECKING:
    from gather.labelling.annotator import Annotator
    from gather.retrieval.query import CellSet
    from vckg.graph.graph import Graph

KG_RAG: Mapping[str, ModuleType] = {"tog": tog, "tog2": tog2, "rog": rog, "pog": pog}
REFERENCE = "gather"
DEFAULT_SEEDS = 10
SEED_CAPS = (5, 10, 20, 50)
BUDGETS, ITEMS = (200, 400, 800), (5, 10)
"""Limits of the evidence in the table of the central claim: tokens, items."""
METRICS = ("exact", "related", "hierarchical_f1", "lin", "lineage")


@dataclass(frozen=True)
class Case:
    """Question with its truth: the annotation of retrieval and the grounded genes."""

    dataset: str
    annotation: Annotation
    genes: tuple[int, ...]
    symbols: tuple[str, ...]
    truth: str


@dataclass(frozen=True)
class Result:
    """Answers of one method to all cases, and their cost."""

    method: str
    curies: tuple[str | None, ...]
    counters: Counters
    seconds: float
    peak_mb: float = 0.0
    """Peak memory of this process so far, without the model's server."""
    misread: int = 0
    fell_back: int = 0

    @property
    def unanswered(self) -> int:
        """Cases without a usable answer; they are wrong."""
        return sum(curie is None for curie in self.curies)


Cases = Callable[["Graph"], list[Case]]


def make_cases(
    annotator: Annotator, cell_sets: Sequence[CellSet], truths: Sequence[str], *, dataset: str
) -> list[Case]:
    """Annotate cell sets by retrieval and pair them with their truths."""
    from gather.retrieval.query import make_query

    cases = []
    for cell_set, truth in zip(cell_sets, truths, strict=True):
        query = make_query(annotator.panel, cell_set, top=annotator.parameters.top)
        symbols = tuple(annotator.graph.names[int(gene)] for gene in query.genes)
        genes = tuple(int(gene) for gene in query.genes)
        annotation = replace(annotator.annotate_one(cell_set), query_genes=symbols)
        cases.append(Case(dataset, annotation, genes, symbols, truth))
    return cases


# --- running ----------------------------------------


def compare(
    cases: Cases,
    graph: Graph,
    model: Model,
    *,
    methods: Iterable[str] | None = None,
    candidates: Sequence[Term] | None = None,
    seeds: int = DEFAULT_SEEDS,
    seed: int = 0,
    workers: int = 4,
    done: Callable[[float], None] = lambda _steps: None,
) -> list[Result]:
    """Run methods on the same cases.

    Parameters
    ----------
    cases
        Function from a graph to cases; the rewired control calls it again.
    methods
        Some of `method_names`; all by default.
    candidates
        A closed list; by default the shared list of the open run, for all methods.
    seeds
        Most genes that are topic entities of the KG-RAG methods.
    """
    own_cases = cases(graph)
    annotations = [c.annotation for c in own_cases]
    terms = list(candidates) if candidates is not None else shared_candidates(annotations)
    view = GraphView(graph)
    questions = [Question(c.genes, c.symbols, tuple(terms), seeds=seeds, seed=seed) for c in own_cases]
    results = []
    for name in methods or method_names():
        counted = Counted(model)
        start = time.perf_counter()
        if name in KG_RAG:
            result = _kg_rag(KG_RAG[name].answer, questions, view, counted, workers)
        elif name == "retrieval":
            result = Result(name, tuple(_retrieved(c.annotation) for c in own_cases), Counters(), 0.0)
        else:
            result = _labels(name, _fed(name, own_cases, cases, graph, seed), counted, terms, workers)
        took = time.perf_counter() - start
        peak = peak_memory_mb()
        results.append(replace(result, method=name, counters=counted.counters, seconds=took, peak_mb=peak))
        done(1)
    return results


def _retrieved(annotation: Annotation) -> str | None:
    """Return the answer of retrieval; a closed set always has its best candidate."""
    best = annotation.candidates[:1] if annotation.closed else ()
    return annotation.curie or next((candidate.curie for candidate in best), None)


def peak_memory_mb() -> float:
    """Return the peak memory of this process so far, in MB."""
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e3)


def method_names() -> tuple[str, ...]:
    """Every method of the table, in its order."""
    return ("retrieval", "llm alone", "llm shuffled", REFERENCE, "gather strict", "gather rewired", *KG_RAG)


def _fed(name: str, own: list[Case], cases: Cases, graph: Graph, seed: int) -> list[Case]:
    """Return the cases of a method: as they are, from a rewired graph, or each with the genes of the next."""
    if name == "gather rewired":
        from vckg.quality.rewire import rewired

        return cases(rewired(graph, seed))
    if name == "llm shuffled":
        genes = [c.annotation.query_genes for c in own]
        others = genes[1:] + genes[:1]
        return [
            replace(c, annotation=replace(c.annotation, query_genes=g))
            for c, g in zip(own, others, strict=True)
        ]
    return own


def _labels(
    name: str,
    cases: Sequence[Case],
    model: Counted,
    terms: Sequence[Term],
    workers: int,
    *,
    kind: EvidenceKind | None = None,
    budget_tokens: int = 1500,
    most_items: int | None = None,
) -> Result:
    run = label_with_llm(
        [c.annotation for c in cases],
        model,
        candidates=terms,
        kind=kind or ("neither" if name.startswith("llm") else "both"),
        budget_tokens=budget_tokens,
        most_items=most_items,
        needs_support=name == REFERENCE and not any(c.annotation.closed for c in cases),
        workers=workers,
    )
    trusted = ("llm", "fallback", "retrieval") if name == REFERENCE else ("llm",)
    curies = tuple((a.curie or None) if a.decided_by in trusted else None for a in run.annotations)
    return Result(name, curies, model.counters, 0.0, fell_back=sum(run.fallbacks.values()))


def _kg_rag(
    method: Method, questions: Sequence[Question], kg: GraphView, model: Counted, workers: int
) -> Result:
    def ask(question: Question) -> Outcome:
        return attempt(method, question, kg, model)

    outcomes = concurrently(ask, questions, workers=workers, model=model)
    return Result(
        "", tuple(o.curie for o in outcomes), model.counters, 0.0, misread=sum(o.misread for o in outcomes)
    )


@dataclass(frozen=True)
class ClaimRow:
    """Result of the model's step with one kind of evidence under one limit."""

    limit: str
    kind: EvidenceKind
    evidence_tokens: float
    """Mean estimated tokens of the evidence of a query."""
    items: float
    result: Result


def claim(
    cases: Sequence[Case],
    model: Model,
    *,
    candidates: Sequence[Term] | None = None,
    budgets: Sequence[int] = BUDGETS,
    items: Sequence[int] = ITEMS,
    workers: int = 4,
    done: Callable[[float], None] = lambda _steps: None,
) -> list[ClaimRow]:
    """Feed the same step with each kind of evidence at equal tokens, then at equal numbers of items."""
    annotations = [c.annotation for c in cases]
    terms = list(candidates) if candidates is not None else shared_candidates(annotations)
    limits: list[tuple[str, int, int | None]] = [(f"{budget} tokens", budget, None) for budget in budgets]
    limits += [(f"{most} items", 10_000, most) for most in items]
    rows = []
    for limit, budget, most in limits:
        for kind in KINDS:
            counted = Counted(model)
            options: dict[str, Any] = {"kind": kind, "budget_tokens": budget, "most_items": most}
            start = time.perf_counter()
            result = _labels("claim", cases, counted, terms, workers, **options)
            result = replace(result, counters=counted.counters, seconds=time.perf_counter() - start)
            texts = [evidence_text(a, **options) for a in annotations]
            tokens = sum(map(estimate_tokens, texts)) / max(len(texts), 1)
            lines = sum(len(text.splitlines()) for text in texts) / max(len(texts), 1)
            rows.append(ClaimRow(limit, kind, tokens, lines, result))
            done(1)
    return rows


# --- tables ----------------------------------------


def scores(result: Result, cases: Sequence[Case], ontology: Ontology) -> list[LabelScores]:
    """Score the answers of a method against the truths."""
    return [score_label(ontology, curie, c.truth) for curie, c in zip(result.curies, cases, strict=True)]


def rows(
    results: Sequence[Result], cases: Sequence[Case], ontology: Ontology, candidates: Iterable[str]
) -> list[dict[str, Any]]:
    """Return one dictionary for each method: metrics with intervals, costs, and the paired test against GATHER.

    The test is a sign-flip permutation of hierarchical F1 over the cases, with Holm's adjustment over the methods.
    Means are macro means over the data sets.
    """
    strata = [c.dataset for c in cases]
    chance = lin_expected(ontology, [c.truth for c in cases], [c for c in candidates if c in ontology])
    scored = {r.method: scores(r, cases, ontology) for r in results}
    f1 = {name: [s.hierarchical_f1 for s in found] for name, found in scored.items()}
    others = [name for name in scored if name != REFERENCE and REFERENCE in scored]
    p = holm([paired_permutation(f1[name], f1[REFERENCE], strata=strata) for name in others])
    tests = dict(zip(others, p.tolist(), strict=True))
    table = []
    for result in results:
        found = scored[result.method]
        n = max(len(cases), 1)
        row: dict[str, Any] = {"method": result.method}
        for metric in METRICS:
            row[metric] = bootstrap([getattr(s, metric) for s in found], strata=strata)
        row["adjusted_lin"] = adjusted(row["lin"].value, chance)
        row |= {
            "calls": result.counters.asked / n,
            "prompt_tokens": result.counters.prompt_tokens / n,
            "completion_tokens": result.counters.completion_tokens / n,
            "seconds": result.seconds / n,
            "peak_mb": result.peak_mb,
            "cached": result.counters.cached,
            "unanswered": result.unanswered,
            "fell_back": result.fell_back,
            "misread": result.misread,
            "p_vs_gather": tests.get(result.method),
        }
        table.append(row)
    return table


def render(table: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the table as lines of Markdown."""
    yield (
        "| method | exact | related | hierarchical F1 | adjusted Lin | lineage | calls | tokens in | tokens out "
        "| s | MB | no answer | fell back | misread | p |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    for row in table:
        p = row["p_vs_gather"]
        cells = [
            row["method"],
            *(str(row[metric]) for metric in ("exact", "related", "hierarchical_f1")),
            f"{row['adjusted_lin']:.3f}",
            str(row["lineage"]),
            f"{row['calls']:.1f}",
            f"{row['prompt_tokens']:.0f}",
            f"{row['completion_tokens']:.0f}",
            f"{row['seconds']:.2f}" + ("\\*" if row["cached"] else ""),
            f"{row['peak_mb']:.0f}",
            *(str(row[count]) for count in ("unanswered", "fell_back", "misread")),
            "" if p is None else f"{p:.3f}",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "Calls, tokens and seconds a query; tokens at list price. \\* some replies came from the cache."
    yield "MB: most memory of this process by the end of the row, without the model's server."
    yield "p: sign-flip permutation of hierarchical F1 against `gather`, Holm over the rows."


def render_claim(table: Sequence[ClaimRow], cases: Sequence[Case], ontology: Ontology) -> Iterator[str]:
    """Yield the table of the central claim as lines of Markdown, each kind paired with paths and with retrieval."""
    strata = [c.dataset for c in cases]
    retrieved = [score_label(ontology, _retrieved(c.annotation), c.truth).hierarchical_f1 for c in cases]
    yield (
        "| limit | evidence | tokens | prompt | items | exact | hierarchical F1 | F1 above paths | p "
        "| F1 above retrieval | p | no answer |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for limit in dict.fromkeys(row.limit for row in table):
        of_limit = {row.kind: row for row in table if row.limit == limit}
        scored = {kind: scores(row.result, cases, ontology) for kind, row in of_limit.items()}
        f1 = {kind: [s.hierarchical_f1 for s in found] for kind, found in scored.items()}
        for kind, row in of_limit.items():
            with_paths = ["", ""] if kind == "paths" else _paired(f1[kind], f1["paths"], strata)
            cells = [
                limit,
                kind,
                f"{row.evidence_tokens:.0f}",
                f"{row.result.counters.prompt_tokens / max(row.result.counters.asked, 1):.0f}",
                f"{row.items:.1f}",
                str(bootstrap([s.exact for s in scored[kind]], strata=strata)),
                str(bootstrap(f1[kind], strata=strata)),
                *with_paths,
                *_paired(f1[kind], retrieved, strata),
                str(row.result.unanswered),
            ]
            yield f"| {' | '.join(cells)} |"
    yield ""
    yield "tokens: of the evidence, estimated; prompt: of the whole prompt, as the endpoint counts; means a query."
    yield "above: mean paired difference with its bootstrap interval; p: sign-flip permutation of the same pairs."


def _paired(ours: Sequence[float], theirs: Sequence[float], strata: Sequence[str]) -> list[str]:
    """Return the paired difference with its interval, and p."""
    difference = paired_difference(ours, theirs, strata=strata)
    shown = f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    return [shown, f"{paired_permutation(ours, theirs, strata=strata):.4f}"]


def render_costs() -> Iterator[str]:
    """Yield what each KG-RAG method may call at most for several seed caps, as lines of Markdown."""
    yield "| method | " + " | ".join(f"{n} genes" for n in SEED_CAPS) + " |"
    yield "|---|" + "---|" * len(SEED_CAPS)
    for name, module in KG_RAG.items():
        yield f"| {name} | " + " | ".join(str(module.calls_at_most(n)) for n in SEED_CAPS) + " |"
    yield ""
    yield "Calls a query at most, by formula. `pog` sets no width: its row assumes three relations and three entities."
