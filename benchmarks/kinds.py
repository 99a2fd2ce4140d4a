"""``python -m benchmarks.kinds --data MIRROR --graph STANDARD --graph CORE``: when a class gives way to a kind of it.

A variant is the exponent of `gather.labelling.decide.kind_instead`; 0 is no such rule. For each study group the
exponent that is best on all other groups answers the group's cell sets: best by the mean over graphs and species.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.choice import COUNTED, Floats, composite, difference, grouped_by
from gather.benchmark.suite import LEFT_OUT, Said, Suite, Unit
from gather.benchmark.suite_data import suite as blocks_of
from gather.labelling.decide import Labeller
from gather.retrieval.query import make_query
from gather.species import graph_for
from vckg.base.console import run
from vckg.base.resources import default_cache
from vckg.build.default_graph import load

EXPONENTS = (0.0, 0.125, 0.25, 0.35, 0.5, 0.75, 1.0)
MODES = ("label groups", "clusters", "profiles", "profile files")
Scores = dict[str, dict[str, Floats]]


def measure(path: Path, data: Path, species: str) -> dict[float, Scores]:
    """Return the mean metrics of the best candidate by exponent, mode and study group."""
    whole = load(path)
    blocks = [b for b in blocks_of(whole, data, default_cache()) if b.species == species and b.mode in MODES]
    suite = Suite(graph_for(whole, species))
    labellers = {power: Labeller(suite.ontology, known=power) for power in EXPONENTS}
    found: dict[float, list[Unit]] = {power: [] for power in EXPONENTS}
    for block in (b for b in blocks if b.study not in LEFT_OUT):
        panel, retriever = suite.panel(block), suite.retriever(block, False)
        said: dict[float, list[Said]] = {power: [] for power in EXPONENTS}
        for cell_set in suite.cell_sets(block):
            convergence = retriever.scored(make_query(panel, cell_set))
            for power, labeller in labellers.items():
                best = retriever.nodes[labeller.best(convergence, 5)].tolist()
                ranked = tuple(suite.graph.ids[node] for node in best)
                said[power].append(Said(ranked, next(iter(ranked), "")))
        for power, answers in said.items():
            found[power] += suite.units(block, answers, str(power), False)
    return {power: grouped_by(units, MODES) for power, units in found.items()}


def left_out(found: dict[str, dict[float, Scores]]) -> tuple[dict[str, Scores], Counter[float]]:
    """Return the scores of each study group by the exponent chosen on the others, and how often each was chosen."""
    groups = sorted({g for by in found.values() for modes in by[0.0].values() for g in modes})
    made: dict[str, Scores] = {name: {mode: {} for mode in by[0.0]} for name, by in found.items()}
    chosen: Counter[float] = Counter()
    for group in groups:
        others = [g for g in groups if g != group]
        power = max(EXPONENTS, key=lambda p: np.mean([composite(by[p], others) for by in found.values()]))
        chosen[power] += 1
        for name, by in found.items():
            for mode, values in by[power].items():
                made[name][mode] |= {group: values[group]} if group in values else {}
    return made, chosen


def lines(found: dict[str, dict[float, Scores]]) -> Iterator[str]:
    """Yield a table of the exponents, the left-out scores, and how often each exponent was chosen."""
    yield f"| graph, species | exponent | {' | '.join(MODES)} | composite | minus no such rule |"
    yield "|---|---|" + "---|" * (len(MODES) + 2)
    made, chosen = left_out(found)
    for name, by in found.items():
        rows = [(f"{power:g}" if power else "none", scores) for power, scores in by.items()]
        for power, scores in [*rows, ("**chosen on the other groups**", made[name])]:
            cells = [
                " / ".join(f"{x:.2f}" for x in np.nanmean(np.array(list(values.values())), axis=0)[:COUNTED])
                for values in scores.values()
            ]
            delta, low, high = difference(scores, by[0.0])
            total = composite(scores, sorted({g for values in scores.values() for g in values}))
            change = f"{delta:+.4f} [{low:+.4f}, {high:+.4f}]"
            yield f"| {name} | {power} | {' | '.join(cells)} | {total:.4f} | {change} |"
    yield ""
    yield "Chosen: " + "; ".join(f"{power:g}, {n} times" for power, n in chosen.most_common()) + "."


app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def kinds(
    data: Annotated[Path, typer.Option(envvar="VCKG_MIRROR", help="Folder with h5ad/ and profiles/ in it.")],
    graph: Annotated[list[Path], typer.Option("--graph", "-g", help="Graph folder; may be given again.")],
) -> None:
    """Print the exponents on the sets of the suite, with whole study groups left out."""
    found = {
        f"{path.name}, {species}": measure(path, data, species)
        for path in graph
        for species in ("human", "mouse")
    }
    for line in lines(found):
        typer.echo(line)


if __name__ == "__main__":
    run(app, "benchmarks.kinds")
