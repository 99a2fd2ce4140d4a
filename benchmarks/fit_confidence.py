"""``python -m benchmarks.fit_confidence``: fit the confidence, check it on studies left out, write it and its page.

One calibration serves every graph, species and panel: those given are fitted together, on the development suite's
open sets. Right is a best candidate that is the truth, or above or below it. Studies weigh alike from twelve sets on. A
set counts where its best candidate is significant: the gate of the false discovery rate stands before the confidence,
so that lists of random genes need not be among the questions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from gather.benchmark.suite import GROUPS, LEFT_OUT, Suite
from gather.benchmark.suite_data import Block
from gather.benchmark.suite_data import suite as blocks_of
from gather.labelling.decide import MAX_FDR, Calibration, Decision, default_calibration, logit
from gather.metrics.labels import (
    FloatsLike,
    expected_calibration_error,
    reliability,
    score_label,
)
from gather.retrieval.query import GeneQuery, make_query, rank_weights
from gather.retrieval.scores import Retriever
from gather.species import graph_for
from vckg.base.atomic import write_text
from vckg.base.console import out, run
from vckg.base.resources import default_cache, resource

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

Floats = npt.NDArray[np.float64]

SHARPNESS, VAGUE = 8.0, 0.15
THRESHOLD = 0.65
"""A wrong answer costs about twice what a right one is worth: below it a more general term is the better answer."""
RIDGE = 0.1
MOST_SETS = 12
"""Sets of one study and mode that count in full; more share their weight."""
FITTED = ("label groups", "clusters", "profiles", "panel 300", "panel 1000", "50 cells")
"""Modes of the sets that the fit is made on."""
LISTS, LIST_GENES = 1000, 50
PERFECT = 500
"""Draws of outcomes that are as likely as the confidences say."""
QUESTION, SHUFFLED, LIST = "cell set", "cell set of a shuffled file", "random list"


@dataclass(frozen=True, slots=True)
class Sample:
    """What the fit sees of one best candidate, whether it was right, and whether it was an answer."""

    graph: str
    species: str
    mode: str
    group: str
    targeted: bool
    kind: str
    features: tuple[float, float, float]
    fdr: float
    right: float
    answered: bool


def samples(name: str, suite: Suite, blocks: Sequence[Block], *, seed: int = 0) -> Iterator[Sample]:
    """Yield the sample of each open set, of the same sets where the file's genes have changed names, and of lists."""
    rng = np.random.default_rng(seed)
    for block in blocks:
        if block.study in LEFT_OUT or block.mode not in FITTED:
            continue
        mixed = replace(block, genes=tuple(rng.permutation(block.genes).tolist()))
        for asked, kind in ((block, QUESTION), (mixed, SHUFFLED)):
            panel = suite.panel(asked)
            if kind == QUESTION or panel.detected is not None:  # names that all count alike may change places
                retriever = suite.retriever(asked, False)
            group = GROUPS.get(block.group, block.group)
            about = (name, block.species, block.mode, group, retriever.targeted)
            for i, cell_set in enumerate(suite.cell_sets(asked)):
                truth = block.truth[i] if kind == QUESTION else ""
                if kind == SHUFFLED or (truth in suite.ontology and block.flag[i] != "qc"):
                    yield _sample(suite, retriever, make_query(panel, cell_set), about, kind, truth)
    for k in range(LISTS):
        genes = rng.choice(suite.base.genes, LIST_GENES, replace=False).astype(np.int32)
        query = GeneQuery(str(k), genes, rank_weights(LIST_GENES), tuple(map(str, genes.tolist())))
        yield _sample(suite, suite.base, query, (name, "human", "list", "lists", False), LIST, "")


def _sample(
    suite: Suite,
    retriever: Retriever,
    query: GeneQuery,
    about: tuple[str, str, str, str, bool],
    kind: str,
    truth: str,
) -> Sample:
    labeller, found = suite.open_labeller, retriever.converge([query])[0]
    support, best = retriever.support(query), labeller.best(found, 1)
    decision: Decision = labeller.decide(found, support)
    if not len(best):
        return Sample(*about, kind, (float(logit(np.zeros(1))[0]), 0.0, 0.0), 1.0, 0.0, False)
    positions = labeller.positions(found)
    belief = labeller.on_line(labeller.spread(found.score, positions), positions[best])
    first = decision.candidates[0].curie
    standing = next(s for s in decision.standings if s.curie == first)
    features = (float(logit(belief)[0]), float(support.similarity[best[0]]), float(support.share[best[0]]))
    right = float(score_label(suite.ontology, first, truth).related) if truth else 0.0
    return Sample(*about, kind, features, standing.fdr, right, bool(decision.curie))


def counted(found: Sequence[Sample]) -> list[Sample]:
    """Return the samples that the fit and its check are about."""
    return [s for s in found if s.kind == QUESTION and s.fdr <= MAX_FDR]


def fit(found: Sequence[Sample]) -> Calibration:
    """Return the calibration of least weighted log loss, with a light ridge on the slopes, none of them negative."""
    from scipy.optimize import minimize

    x, y = np.array([s.features for s in found]), np.array([s.right for s in found])
    keys = [(s.group, s.mode, s.species) for s in found]
    w = np.array([min(1.0, MOST_SETS / keys.count(key)) for key in keys])

    def loss(parameters: Floats) -> float:
        z = parameters[0] + x @ parameters[1:]
        return float((w * (np.logaddexp(0.0, z) - y * z)).sum() + 0.5 * RIDGE * (parameters[1:] ** 2).sum())

    bounds = [(None, None), (0, None), (0, None), (0, None)]
    best = minimize(loss, np.zeros(4), method="L-BFGS-B", bounds=bounds)
    intercept, belief, similarity, support = (round(float(v), 4) for v in best.x)
    return Calibration(SHARPNESS, intercept, belief, similarity, support, THRESHOLD, VAGUE)


def confidences(model: Calibration, found: Sequence[Sample]) -> Floats:
    """Return the confidence of each sample, float64[samples]."""
    x = np.array([s.features for s in found]).reshape(-1, 3)
    z = model.intercept + x @ np.array([model.belief, model.similarity, model.support])
    return np.asarray(1.0 / (1.0 + np.exp(-z)), dtype=np.float64)


def error_of_perfect(sure: Floats, *, seed: int = 0) -> float:
    """Return the mean calibration error of outcomes that are drawn with the stated confidences."""
    draws = np.random.default_rng(seed).random((PERFECT, len(sure))) < sure
    return float(np.mean([expected_calibration_error(sure, right) for right in draws.astype(float)]))


def left_out(found: Sequence[Sample]) -> Floats:
    """Return each sample's confidence by the fit on the other study groups, float64[samples]."""
    sure = np.zeros(len(found))
    for group in sorted({s.group for s in found}):
        inside = [i for i, s in enumerate(found) if s.group == group]
        sure[inside] = confidences(fit([s for s in found if s.group != group]), [found[i] for i in inside])
    return sure


def page(found: Sequence[Sample]) -> Iterator[str]:
    """Yield the results page."""
    asked = counted(found)
    sure = left_out(asked)
    shipped = confidences(default_calibration(), asked)
    yield "# Confidence"
    yield ""
    yield "`python -m benchmarks.fit_confidence --data MIRROR --graph A --graph B --output docs/results/confidence.md`"
    yield "prints this page."
    yield ""
    yield from (__doc__ or "").split("\n\n", 1)[1].strip().splitlines()
    yield ""
    yield "## Calibration error of the best candidate, each study by the fit on the others"
    yield ""
    yield "| graph | species | sets | n | mean confidence | right | ECE left out | ECE shipped fit | ECE of perfect |"
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|"
    for graph in dict.fromkeys(s.graph for s in asked):
        for species in ("human", "mouse"):
            for name, wanted in _PARTS.items():
                at = [
                    i for i, s in enumerate(asked) if (s.graph, s.species) == (graph, species) and wanted(s)
                ]
                if len(at) < 5:
                    continue
                right = [asked[i].right for i in at]
                cells = (sure[at].mean(), np.mean(right), expected_calibration_error(sure[at], right))
                last = expected_calibration_error(shipped[at], right)
                shown = " | ".join(f"{v:.3f}" for v in (*cells, last, error_of_perfect(sure[at])))
                yield f"| {graph} | {species} | {name} | {len(at)} | {shown} |"
    yield ""
    yield "Rows of few sets are rough. *ECE of perfect* is what a faultless confidence would print: the mean error"
    yield f"where each set is right as likely as its confidence says ({PERFECT:,} draws)."
    yield ""
    yield from _curves(asked, sure)
    yield from _chance(found)


_PARTS: dict[str, Callable[[Sample], bool]] = {
    "all": lambda s: True,
    "label groups": lambda s: s.mode == "label groups",
    "clusters": lambda s: s.mode == "clusters",
    "profiles": lambda s: s.mode == "profiles",
    "panel 300": lambda s: s.mode == "panel 300",
    "panel 1000": lambda s: s.mode == "panel 1000",
    "50 cells": lambda s: s.mode == "50 cells",
    "fewer than 1,000 measured genes": lambda s: s.targeted,
}


def _curves(asked: Sequence[Sample], sure: Floats) -> Iterator[str]:
    """Yield reliability and selective accuracy of each graph, human."""
    for graph in dict.fromkeys(s.graph for s in asked):
        at = [i for i, s in enumerate(asked) if s.graph == graph and s.species == "human"]
        right = np.array([asked[i].right for i in at])
        yield f"## Reliability and selective accuracy, {graph}, human, left out"
        yield ""
        yield "| confidence | sets | right | | kept, surest first | least confidence | right |"
        yield "|--:|--:|--:|---|--:|--:|--:|"
        order = np.argsort(-sure[at], kind="stable")
        for k, (n, confidence, share) in enumerate(reliability(sure[at], right)):
            kept = max(len(at) * (k + 1) // 10, 1)
            least, part = sure[at][order[kept - 1]], right[order[:kept]].mean()
            yield f"| {confidence:.2f} | {n} | {share:.2f} | | {kept / len(at):.0%} | {least:.2f} | {part:.2f} |"
        yield ""
        yield f"Area under the risk-coverage curve: {area_under_risk_coverage(sure[at], right):.3f}."
        yield ""


def area_under_risk_coverage(confidence: FloatsLike, correct: FloatsLike) -> float:
    """Mean error over all coverages when the most confident answers come first (AURC, lower is better).

    Ties in confidence share their mean error, so the order of the input does not matter.
    """
    c, y = np.asarray(confidence, float), np.asarray(correct, float)
    if not len(c):
        return float("nan")
    levels, which = np.unique(-c, return_inverse=True)
    mean_in_level = np.bincount(which, weights=1.0 - y) / np.bincount(which)
    order = np.argsort(which, kind="stable")
    errors = mean_in_level[which[order]]
    del levels
    return float((np.cumsum(errors) / np.arange(1, len(c) + 1)).mean())


def _chance(found: Sequence[Sample]) -> Iterator[str]:
    yield "## Answers to chance and to cell sets"
    yield ""
    yield f"Lists hold {LIST_GENES} genes, each gene of the graph as likely. In a shuffled file the genes have changed"
    yield "names at random. Answered: named or backed off, shipped threshold."
    yield ""
    yield "| graph | question | panel | n | answered |"
    yield "|---|---|---|--:|--:|"
    for graph in dict.fromkeys(s.graph for s in found):
        for kind in (LIST, SHUFFLED, QUESTION):
            for targeted in (False, True):
                part = [s.answered for s in found if (s.graph, s.kind, s.targeted) == (graph, kind, targeted)]
                if part:
                    size = "fewer than 1,000 genes" if targeted else "1,000 genes and more"
                    yield f"| {graph} | {kind} | {size} | {len(part)} | {np.mean(part):.1%} |"


def stored(found: Sequence[Sample]) -> dict[str, Any]:
    """Return what `data/confidence.json` holds."""
    asked = counted(found)
    human = [i for i, s in enumerate(asked) if s.species == "human"]
    sure = left_out(asked)
    error = expected_calibration_error(sure[human], [asked[i].right for i in human])
    return {
        "format": "gather-confidence",
        "format_version": 1,
        "command": "python -m benchmarks.fit_confidence --data FOLDER --graph STANDARD --graph CORE",
        "fitted_on": sorted({f"{s.graph}, {s.species}, {s.mode}" for s in asked}),
        "questions": len(asked),
        "left_out_calibration_error_human": round(error, 4),
        "parameters": asdict(fit(asked)),
    }


def main() -> None:
    """Entry point of ``python -m benchmarks.fit_confidence``."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

    @app.command()
    def calibrate(
        data: Annotated[Path, typer.Option(help="Folder with h5ad/, h5ad_more/ and profiles/.")],
        graph: Annotated[list[Path], typer.Option(help="Graph folders, fitted together.")],
        output: Annotated[Path | None, typer.Option(help="Where to write the page.")] = None,
        *,
        write: Annotated[bool, typer.Option("--write", help="Replace data/confidence.json.")] = False,
    ) -> None:
        """Fit the confidence and print it; write the page, and data/confidence.json, where that is wanted."""
        import vckg

        found: list[Sample] = []
        for folder in graph:
            loaded: Graph = vckg.load(folder)
            blocks = blocks_of(loaded, data, default_cache())
            for species in dict.fromkeys(block.species for block in blocks):
                suite = Suite(graph_for(loaded, species))
                found += samples(
                    folder.name.partition("-")[0], suite, [b for b in blocks if b.species == species]
                )
        entry = stored(found)
        if write:
            write_text(resource("data", "confidence.json"), json.dumps(entry, indent=1) + "\n")
            default_calibration.cache_clear()
        if output is not None:
            write_text(output, "\n".join(page(found)) + "\n")
        out().print_json(json.dumps(entry))

    run(app, "benchmarks.fit_confidence")


if __name__ == "__main__":
    main()
