"""``python -m benchmarks.choice --graph GRAPH --data MIRROR``: choose the recipe with whole study groups left out.

A variant is a weight of the second stage and whether publications count in the evidence weights. For each study
group the variant that is best on all other groups answers the group's cell sets; only those answers are reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import typer

from gather.benchmark.suite import LEFT_OUT, SENTENCE_TOP, Said, Suite, Unit, by_group
from gather.benchmark.suite_data import Block
from gather.benchmark.suite_data import suite as blocks_of
from gather.labelling.decide import Labeller
from gather.retrieval.evidence_weights import CITED, Weights
from gather.retrieval.query import DEFAULT_TOP, make_query
from vckg.base.console import run
from vckg.base.resources import default_cache
from vckg.build.default_graph import load
from vckg.graph.graph import Graph

Floats = npt.NDArray[np.float64]

SEPARATIONS = (0.0, 0.25, 0.5, 1.0)
PUBLICATIONS = (0.0, 0.25)
MODES = ("label groups", "clusters", "profiles", "sentences")
COUNTED = 4
"""Leading metrics of a unit whose mean is the composite: exact, relation, adjusted Lin, lineage."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Weight of the second stage, and the exponent of ``1 + publications`` in the evidence weights."""

    separation: float
    publications: float

    def __str__(self) -> str:
        stage = f"two stages, weight {self.separation:g}" if self.separation else "first stage only"
        return stage + (f", publications^{self.publications:g}" if self.publications else "")


def with_publications(graph: Graph, weights: Weights, power: float) -> Weights:
    """Return the shipped evidence weights with another exponent of ``1 + publications`` than `CITED`."""
    rows = np.arange(graph.m)[graph.rows("is_marker_for")]
    pairs = sp.coo_array(
        (graph.n_publications[rows].astype(float), (graph.subject[rows], graph.object[rows]))
    )
    key = pairs.row.astype(np.int64) * graph.n + pairs.col
    order = np.lexsort((pairs.data, key))
    last = np.append(np.flatnonzero(np.diff(key[order])), len(order) - 1)
    known, most = key[order][last], pairs.data[order][last]
    direct = weights.direct.tocoo()
    asked = direct.row.astype(np.int64) * graph.n + weights.nodes[direct.col]
    place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    count = np.where(known[place] == asked, most[place], 0.0)
    scaled = sp.csr_array(
        (direct.data * (1 + count) ** (power - CITED), (direct.row, direct.col)), shape=direct.shape
    )
    return replace(weights, direct=scaled)


def measure(graph: Graph, blocks: Sequence[Block]) -> dict[Variant, list[Unit]]:
    """Return the units of every variant on the human blocks: the best candidate of the open set."""
    found: dict[Variant, list[Unit]] = {}
    shipped = Suite(graph)
    chosen = [b for b in blocks if b.species == "human" and b.mode in MODES and b.study not in LEFT_OUT]
    for power in PUBLICATIONS:
        weights = shipped.base.weights
        suite = Suite(graph, weights=with_publications(graph, weights, power))
        labellers = {Variant(s, power): Labeller(suite.ontology, separation=s) for s in SEPARATIONS}
        for block in chosen:
            panel, retriever = suite.panel(block), suite.retriever(block, False)
            said: dict[Variant, list[Said]] = {variant: [] for variant in labellers}
            top = SENTENCE_TOP if block.mode == "sentences" else DEFAULT_TOP
            for cell_set in suite.cell_sets(block):
                convergence = retriever.scored(make_query(panel, cell_set, top=top))
                for variant, labeller in labellers.items():
                    best = retriever.nodes[labeller.best(convergence, 5)].tolist()
                    ranked = tuple(graph.ids[node] for node in best)
                    said[variant].append(Said(ranked, next(iter(ranked), "")))
            for variant, answers in said.items():
                found.setdefault(variant, []).extend(suite.units(block, answers, str(variant), False))
    return found


def grouped(units: Sequence[Unit]) -> dict[str, dict[str, Floats]]:
    """Return the mean metrics by mode and study group."""
    return grouped_by(units, MODES)


def grouped_by(units: Sequence[Unit], modes: Sequence[str]) -> dict[str, dict[str, Floats]]:
    """Return the mean metrics of the given modes by study group."""
    return {mode: by_group([u for u in units if u.mode == mode]) for mode in modes}


def composite(scores: dict[str, dict[str, Floats]], groups: Sequence[str]) -> float:
    """Return the mean over modes of the mean over some study groups of the four metrics; a group may repeat."""
    modes = []
    for by in scores.values():
        rows = [by[g] for g in groups if g in by]
        if rows:
            modes.append(float(np.nanmean(np.nanmean(np.array(rows)[:, :COUNTED], axis=0))))
    return float(np.mean(modes))


def left_out(found: dict[Variant, list[Unit]]) -> tuple[dict[str, dict[str, Floats]], dict[str, Variant]]:
    """Return the scores of each study group by the variant chosen on the others, and which variant that was."""
    scores = {variant: grouped(units) for variant, units in found.items()}
    groups = sorted({u.group for u in next(iter(found.values()))})
    made: dict[str, dict[str, Floats]] = {mode: {} for mode in MODES}
    choice = {}
    for group in groups:
        others = [g for g in groups if g != group]
        choice[group] = max(scores, key=lambda v: composite(scores[v], others))
        for mode, by in scores[choice[group]].items():
            if group in by:
                made[mode][group] = by[group]
    return made, choice


def difference(
    a: dict[str, dict[str, Floats]], b: dict[str, dict[str, Floats]], *, replicates: int = 2000
) -> tuple[float, float, float]:
    """Return the composite of `a` minus that of `b` with its 95 % bootstrap interval over study groups."""
    groups = sorted({g for by in a.values() for g in by})
    rng, draws = np.random.default_rng(0), []
    for _ in range(replicates):
        drawn = [groups[i] for i in rng.integers(0, len(groups), len(groups))]
        draws.append(composite(a, drawn) - composite(b, drawn))
    low, high = np.quantile(draws, [0.025, 0.975])
    return composite(a, groups) - composite(b, groups), float(low), float(high)


def lines(found: dict[Variant, list[Unit]]) -> Iterator[str]:
    """Yield the table of variants, then the left-out score."""
    shown = {variant: grouped(units) for variant, units in found.items()}
    first = next(v for v in shown if not v.separation and not v.publications)
    groups = sorted({u.group for u in found[first]})
    yield f"| variant | {' | '.join(MODES)} | composite | minus first stage |"
    yield "|---|" + "---|" * (len(MODES) + 2)
    made, choice = left_out(found)
    rows = [(str(v), s) for v, s in shown.items()] + [("**chosen on the other groups**", made)]
    for name, scores in rows:
        cells = [
            " / ".join(f"{x:.2f}" for x in np.nanmean(np.array(list(by.values())), axis=0)[:COUNTED])
            for by in scores.values()
        ]
        delta, low, high = difference(scores, shown[first], replicates=1000)
        change = f"{delta:+.3f} [{low:+.3f}, {high:+.3f}]"
        yield f"| {name} | {' | '.join(cells)} | {composite(scores, groups):.3f} | {change} |"
    counts = {str(v): sum(c == v for c in choice.values()) for v in shown}
    yield ""
    often = "; ".join(f"{name}: {n}" for name, n in counts.items() if n)
    yield f"How often each variant was chosen, of {len(choice)} study groups: {often}."


app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def choice(
    data: Annotated[Path, typer.Option(envvar="VCKG_MIRROR", help="Folder with h5ad/ and scarena/ in it.")],
    graph: Annotated[Path | None, typer.Option("--graph", "-g", help="Graph folder.")] = None,
) -> None:
    """Print variants of the recipe on the human sets of the suite, with whole study groups left out."""
    loaded = load(graph)
    for line in lines(measure(loaded, blocks_of(loaded, data, default_cache()))):
        typer.echo(line)


if __name__ == "__main__":
    run(app, "benchmarks.choice")
