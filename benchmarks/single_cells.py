"""``python -m benchmarks.single_cells --graph GRAPH --data MIRROR``: how the genes of one cell are best asked.

Each variant ranks a cell's genes in one way, and lets all its genes speak in a second stage or not. Scored are the
labelled cells of the development suite, best candidate of the open set. For each study group the variant that is best
on all other groups answers the group's cells. A last table tells how often `gather annotate --groupby cell` answers
cells, and how often shuffled ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.choice import composite, difference
from gather.benchmark.suite import CELLS, LEFT_OUT, METRICS, Floats, Said, Suite, Unit, by_group
from gather.benchmark.suite_data import Block
from gather.benchmark.suite_data import suite as blocks_of
from gather.labelling.annotator import Parameters
from gather.labelling.decide import SEPARATION, Labeller
from gather.retrieval.query import DEFAULT_TOP, CellSet, detection_contrasts, make_query
from gather.species import graph_for
from vckg.base.console import run
from vckg.base.resources import default_cache
from vckg.build.default_graph import load
from vckg.graph.graph import Graph

RANKINGS = ("TF-IDF", "expression times root of IDF", "difference from the mean", "expression")
COUNTED = METRICS[:4]
Variant = tuple[str, float]


def strengths(block: Block, ranking: str) -> Floats:
    """Return what ranks the genes of each cell, float64[cells, genes]; 0 where the cell does not express the gene."""
    x, detected = block.mean.astype(np.float64), block.background.astype(np.float64)
    rarity = np.log(1 / np.maximum(detected, 1e-9))
    found = {
        "TF-IDF": x * rarity,
        "expression times root of IDF": x * np.sqrt(rarity),
        "difference from the mean": np.maximum(x - x.mean(axis=0), 0.0),
        "expression": x + 1e-4 * (1 - detected),  # equals the rarer first
    }
    return np.asarray(np.where(x > 0, found[ranking], 0.0), dtype=np.float64)


def measure(graph: Graph, blocks: Sequence[Block], species: str) -> dict[Variant, list[Unit]]:
    """Return the units of every variant."""
    suite = Suite(graph_for(graph, species))
    labellers = {weight: Labeller(suite.ontology, separation=weight) for weight in (0.0, SEPARATION)}
    found: dict[Variant, list[Unit]] = {}
    for block in (b for b in blocks if b.mode == CELLS and b.species == species and b.study not in LEFT_OUT):
        retriever, panel = suite.retriever(block, False), suite.panel(block)
        lacks, has = detection_contrasts(block.background.astype(np.float64))
        for ranking in RANKINGS:
            ranked = replace(block, strength=strengths(block, ranking).astype(np.float32))
            said: dict[float, list[Said]] = {weight: [] for weight in labellers}
            for i, name in enumerate(block.names):
                genes = tuple(block.genes[c] for c in ranked.ranked(i, DEFAULT_TOP).tolist())
                contrast = np.where(block.mean[i] > 0, has, lacks)
                query = make_query(panel, CellSet(name, genes, contrast=contrast), top=DEFAULT_TOP)
                convergence = retriever.scored(query)
                for weight, labeller in labellers.items():
                    best = retriever.nodes[labeller.best(convergence, 5)].tolist()
                    terms = tuple(suite.graph.ids[node] for node in best)
                    said[weight].append(Said(terms, next(iter(terms), "")))
            for weight, answers in said.items():
                found.setdefault((ranking, weight), []).extend(suite.units(block, answers, "", False))
    return found


def lines(found: dict[Variant, list[Unit]]) -> Iterator[str]:
    """Yield the table of variants, with the one chosen on the other study groups."""
    scores = {variant: {CELLS: by_group(units)} for variant, units in found.items()}
    groups = sorted(next(iter(scores.values()))[CELLS])
    rows = {
        f"{name}, {'two stages' if weight else 'one stage'}": scores[name, weight] for name, weight in scores
    }
    chosen: dict[Variant, int] = {}
    if len(groups) > 1:
        left_out = {}
        for group in groups:
            others = [g for g in groups if g != group]
            best = max(scores, key=lambda v: composite(scores[v], others))
            chosen[best] = chosen.get(best, 0) + 1
            left_out[group] = scores[best][CELLS][group]
        rows["**chosen on the other groups**"] = {CELLS: left_out}
    yield f"| genes by | {' | '.join(COUNTED)} | mean | minus TF-IDF, one stage |"
    yield "|---|" + "--:|" * (len(COUNTED) + 1) + "---|"
    for name, score in rows.items():
        values = np.nanmean(np.array(list(score[CELLS].values()))[:, : len(COUNTED)], axis=0)
        delta, low, high = difference(score, scores[RANKINGS[0], 0.0], replicates=1000)
        cells = " | ".join(f"{v:.2f}" for v in values)
        yield f"| {name} | {cells} | {composite(score, groups):.3f} | {delta:+.3f} [{low:+.3f}, {high:+.3f}] |"
    if chosen:
        often = "; ".join(f"{name}, weight {weight:g}: {n}" for (name, weight), n in chosen.items())
        yield ""
        yield f"Chosen, of {len(groups)} study groups: {often}."


def answered(suite: Suite, block: Block) -> str:
    """Return the row of one study: which share of its cells is answered, of these right, and of shuffled cells."""
    from gather.cells.per_cell import CellAnnotator
    from gather.cells.row_blocks import Rows

    rng, cells = np.random.default_rng(0), block.mean
    within = np.stack([cell[rng.permutation(len(cell))] for cell in cells])
    over = np.stack([gene[rng.permutation(len(gene))] for gene in cells.T], axis=1)
    said = CellAnnotator(suite.graph, suite.panel(block), Rows(cells), Parameters()).annotate(cells)
    shares = [float((said.term >= 0).mean())]
    for shuffled in (within, over):
        annotator = CellAnnotator(suite.graph, suite.panel(block), Rows(shuffled), Parameters())
        shares.append(float((annotator.annotate(shuffled).term >= 0).mean()))
    truth = [suite.ontology.position(t) if t in suite.ontology else -1 for t in block.truth]
    right = [
        term in suite.relatives.near(t)
        for term, t in zip(said.term.tolist(), truth, strict=True)
        if term >= 0 <= t
    ]
    of_them = f"{np.mean(right):.2f}" if right else "-"
    return f"| {block.study} | {shares[0]:.2f} | {of_them} | {shares[1]:.3f} | {shares[2]:.3f} |"


app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def single_cells(
    data: Annotated[Path, typer.Option(envvar="VCKG_MIRROR", help="Folder with h5ad/ in it.")],
    graph: Annotated[Path | None, typer.Option("--graph", "-g", help="Graph folder.")] = None,
) -> None:
    """Print ways to ask the genes of a cell, with whole study groups left out."""
    loaded = load(graph)
    blocks = blocks_of(loaded, data, default_cache())
    for species in ("human", "mouse"):
        typer.echo(f"{species.capitalize()}, graph {loaded.content_hash[:12]}:\n")
        for line in lines(measure(loaded, blocks, species)):
            typer.echo(line)
        typer.echo("")
    typer.echo(
        "| study | answered | of these related | answered, genes of each cell shuffled | ... of all cells |"
    )
    typer.echo("|---|--:|--:|--:|--:|")
    suites = {species: Suite(graph_for(loaded, species)) for species in ("human", "mouse")}
    for block in (b for b in blocks if b.mode == CELLS and b.study not in LEFT_OUT):
        typer.echo(answered(suites[block.species], block))


if __name__ == "__main__":
    run(app, "benchmarks.single_cells")
