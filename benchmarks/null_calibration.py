"""How often chance reaches a p-value: ``python -m benchmarks.null_calibration -g GRAPH [--output FILE]``.

Genes are drawn from a panel one after the other, none twice. Counted is how often the closed form of
`gather.retrieval.null.Null` calls such a list as rare as each level. The table has the observed rate over the nominal
one, at the last level with the half width of its 95 % interval (from blocks of draws, each with its own seed). A
statistic of few genes takes few values, and then no valid test reaches the level. The best attainable rate is the
largest share of draws that is at most the level. Where it is under .95 of the nominal one, brackets show it. A
rate should lie between .8 and 1.25. Where the attainable rate is below .8, it should be at least .8 of that.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from numba import njit

from gather.retrieval.null import Null
from gather.retrieval.query import rank_weights
from gather.retrieval.scores import Retriever
from vckg.graph.graph import Graph

Floats = npt.NDArray[np.float64]
LEVELS = np.array([0.05, 0.01, 1e-3, 1e-4])
LENGTHS = (2, 5, 10, 50, 200, 400)
PANELS = (200, 1_000, 5_000, 20_000)
CANDIDATES = 48
"""Cell types a panel is tried with, from those of few genes to those of many."""
MARKERS = 4_000
"""Panels below this size are drawn from so many genes that mark most types, as panels are made of markers."""
LEAST_ATTAINABLE = 0.95
WANTED = (0.8, 1.25)
BLOCKS = 20


class Cell(NamedTuple):
    """Rates of one list length on one panel, over the nominal ones, float64[levels], and the observed one's error."""

    observed: Floats
    attainable: Floats
    error: Floats

    def outside(self) -> npt.NDArray[np.bool_]:
        """Which rates are out of the range, bool[levels]."""
        least = np.where(self.attainable < WANTED[0], WANTED[0] * self.attainable, WANTED[0])
        return (self.observed < least) | (self.observed > WANTED[1])


@njit(nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def _drawn(indptr, indices, data, w, accept, alias, n_columns, draws, seed):  # type: ignore[no-untyped-def]
    """Statistics of lists drawn by the chances of an alias table, none twice, float32[columns, draws]."""
    np.random.seed(seed)
    n = len(accept)
    out = np.zeros((n_columns, draws), np.float32)
    last = np.full(n, -1, np.int64)
    for draw in range(draws):
        for rank in range(len(w)):
            while True:
                gene = np.random.randint(0, n)
                if np.random.random() >= accept[gene]:
                    gene = alias[gene]
                if last[gene] != draw:
                    break
            last[gene] = draw
            for k in range(indptr[gene], indptr[gene + 1]):
                out[indices[k], draw] += np.float32(w[rank] * data[k])
    return out


@njit(nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def _shuffled(indptr, indices, data, w, n, n_columns, draws, seed):  # type: ignore[no-untyped-def]
    """Statistics of lists in which all genes are as likely, none twice, float32[columns, draws]."""
    np.random.seed(seed)
    order = np.arange(n)
    out = np.zeros((n_columns, draws), np.float32)
    for draw in range(draws):
        for rank in range(len(w)):
            other = np.random.randint(rank, n)
            order[rank], order[other] = order[other], order[rank]
            gene = order[rank]
            for k in range(indptr[gene], indptr[gene + 1]):
                out[indices[k], draw] += np.float32(w[rank] * data[k])
    return out


def _alias(chance: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Walker's table: draw a gene uniformly, keep it with `accept`, else take its alias."""
    accept, alias = chance * len(chance), np.arange(len(chance))
    small, large = (np.flatnonzero(side).tolist() for side in (accept < 1, accept >= 1))
    while small and large:
        low, high = small.pop(), large[-1]
        alias[low] = high
        accept[high] -= 1.0 - accept[low]
        if accept[high] < 1.0:
            small.append(large.pop())
    accept[small + large] = 1.0
    return accept, alias


def rates(null: Null, length: int, draws: int, seed: int) -> Cell:
    """Simulate one cell of the table, pooled over the candidates of `null`."""
    w, rows, block = rank_weights(length), null.rows, draws // BLOCKS
    n, columns = rows.shape
    table = (rows.indptr, rows.indices, rows.data, w)
    drawn = []
    for at in range(BLOCKS):
        if null.chance is None:
            drawn.append(_shuffled(*table, n, columns, block, seed * BLOCKS + at))
        else:
            drawn.append(_drawn(*table, *_alias(null.chance), columns, block, seed * BLOCKS + at))
    critical, draws = null.critical(w, LEVELS), block * BLOCKS
    observed, attainable = np.zeros((BLOCKS, len(LEVELS))), np.zeros(len(LEVELS))
    most = np.floor(LEVELS * draws).astype(int)
    for column in range(columns):
        values = np.stack([one[column] for one in drawn])
        observed += np.stack([(values >= at * (1 - 1e-6)).sum(axis=1) for at in critical[:, column]], axis=1)
        top = np.sort(np.partition(values, draws - most[0] - 1, axis=None)[draws - most[0] - 1 :])[::-1]
        edge = top[most] * (1 + 1e-6)  # what is no more than the first value beyond the level is tied with it
        attainable += np.searchsorted(-top, -edge, side="left")
    of_block = observed / (LEVELS * block * columns)
    error = 1.96 * of_block.std(axis=0, ddof=1) / np.sqrt(BLOCKS)
    return Cell(of_block.mean(axis=0), attainable / (LEVELS * draws * columns), error)


def panel_null(retriever: Retriever, size: int, *, weighted: bool, seed: int) -> Null:
    """The null of a panel of `size` genes for some candidates, by detection rates like a file's or uniform."""
    rng = np.random.default_rng(seed)
    genes = retriever.graph.nodes_of("Gene")
    spoken = np.diff(retriever.matrix.indptr)[genes]
    most = genes[np.argsort(-spoken, kind="stable")][: max(size, MARKERS)]
    panel = np.sort(rng.choice(most, size, replace=False)).astype(np.int32)
    background = np.zeros(retriever.graph.n)
    background[panel] = rng.beta(0.6, 2.0, size)
    null = Null.of(retriever.matrix, panel, background if weighted else None)
    speak = np.diff(sp.csc_array(null.rows).indptr)
    order = np.argsort(speak, kind="stable")
    order = order[speak[order] > 0]
    kept = np.sort(order[np.linspace(0, len(order) - 1, min(CANDIDATES, len(order))).astype(int)])
    return Null(sp.csr_array(null.rows[:, kept]), null.chance)


def _text(cell: Cell) -> list[str]:
    errors = ["", "", "", f" ± {cell.error[-1]:.2f}"]
    return [
        f"{seen:.2f}{error}" + ("" if best >= LEAST_ATTAINABLE else f" ({best:.2f})")
        for seen, best, error in zip(cell.observed, cell.attainable, errors, strict=True)
    ]


def table(retriever: Retriever, draws: int, *, weighted: bool) -> tuple[str, list[str], int]:
    """One table in Markdown, the rates that are out of the range, and how many there are in all.

    Lists longer than a panel, or than half of a weighted one, are left out.
    """
    lines = [
        "| panel | list | " + " | ".join(f"{level:g}" for level in LEVELS) + " |",
        "|---|---|---|---|---|---|",
    ]
    outside = []
    for size in PANELS:
        null = panel_null(retriever, size, weighted=weighted, seed=size)
        for length in LENGTHS:
            if length <= (size // 2 if weighted else size - 1):
                cell = rates(null, length, draws, seed=length)
                lines.append(f"| {size:,} | {length} | " + " | ".join(_text(cell)) + " |")
                sys.stderr.write(lines[-1] + "\n")
                outside += [
                    f"{length} of {size:,} at {LEVELS[k]:g} ({cell.observed[k]:.2f})"
                    for k in np.flatnonzero(cell.outside()).tolist()
                ]
    return "\n".join(lines), outside, len(LEVELS) * (len(lines) - 2)


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.null_calibration", description=__doc__)
    parser.add_argument("-g", "--graph", type=Path, required=True, help="folder of a graph")
    parser.add_argument("--draws", type=int, default=1_000_000, help="lists drawn for each row of the table")
    parser.add_argument("--output", type=Path, help="also write the page there")
    asked = parser.parse_args()
    graph = Graph.load(asked.graph)
    retriever = Retriever(graph)
    tables = [table(retriever, asked.draws, weighted=weighted) for weighted in (False, True)]
    said = [
        f"{len(outside)} of {total} rates are out of the range"
        + (": " + ", ".join(outside) if outside else "")
        + "."
        for _lines, outside, total in tables
    ]
    profile = graph.manifest["parameters"].get("profile", "")
    text = f"""# Are p-values honest?

{__doc__}
Graph: profile {profile} ({graph.content_hash[:12]}), {len(retriever.genes):,} genes that speak. {asked.draws:,} lists a
row, pooled over {CANDIDATES} cell types that range from those of few genes to those of many.

## All genes as likely

{tables[0][0]}

{said[0]}

## Genes as likely as a file detects them

{tables[1][0]}

{said[1]}
"""
    sys.stdout.write(text)
    if asked.output:
        asked.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
