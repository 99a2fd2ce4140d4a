"""SC-Arena's screen as fresh samples: each perturbation once, and no gene whose direction is that of the screen.

Most genes of a screen move one way under most perturbations. Who knows this drift names three directions of four
without a word about the perturbed gene (systematic variation: Viñas Torné et al. 2025,
doi:10.1038/s41587-025-02777-8). So a sample asks for the genes that go against the drift, and for as many that go
with it; genes of which the screen has no drift stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from arena.datasets import scarena
from arena.datasets.admission import CANARY, DRIFT, POWERLESS, TWICE, Admission
from arena.datasets.virtual_cell import Interaction, VirtualCell, item_rng
from vckg.graph.graph import Graph

LEAST: Final = 2
"""Genes of either direction that a sample asks for."""


def screen(graph: Graph, mirrors: Sequence[Path], entry: Admission) -> Iterator[VirtualCell]:
    """Yield the perturbations of the screen that can be answered, where its file is available.

    ``A+ctrl`` and ``ctrl+A`` are one perturbation, of which the first by name is kept. A gene that no resource names
    as a regulator changes others by what the screen does to any cell.
    """
    path = next((p for folder in mirrors if (p := folder / scarena.SCREEN).is_file()), None)
    if path is None:
        return
    cells = sorted(
        scarena.screened_cells(path), key=lambda cell: cell.id, reverse=True
    )  # the first by name is last
    screened = {
        frozenset(gene for one in cell.interactions for gene in one.regulators): cell for cell in cells
    }
    entry.rejected[TWICE] += len(cells) - len(screened)
    acting = set(graph.subject[graph.rows("regulates")].tolist())
    found = graph.genes.ground(sorted(frozenset[str]().union(*screened)))  # some symbols are out of use
    regulators = {g.name for g in found if g.curie and graph.index(g.curie) in acting}
    answerable = {perturbed: cell for perturbed, cell in screened.items() if regulators & perturbed}
    entry.rejected[POWERLESS] += len(screened) - len(answerable)
    drift = drift_of([_without_regulators(one) for cell in answerable.values() for one in cell.interactions])
    for cell in sorted(answerable.values(), key=lambda cell: cell.id):
        asked = [balanced(_without_regulators(one), drift, entry.seed, cell.id) for one in cell.interactions]
        if kept := tuple(one for one in asked if one):
            provenance = {**cell.provenance, "canary": CANARY}
            yield replace(cell, dataset="fresh", interactions=kept, provenance=provenance)
        else:
            entry.rejected[DRIFT] += 1


def _without_regulators(asked: Interaction) -> Interaction:
    """Leave out the activated genes: the question says that they rise, and the screen has 17 of them falling."""
    kept = [tuple(g for g in side if g not in asked.regulators) for side in (asked.up, asked.down)]
    return replace(asked, up=kept[0], down=kept[1])


def drift_of(screened: Sequence[Interaction]) -> Counter[str]:
    """Return by gene in how many perturbations more it rises than falls."""
    drift: Counter[str] = Counter()
    for one in screened:
        drift.update(one.up)
        drift.subtract(one.down)
    return drift


def balanced(asked: Interaction, drift: Counter[str], seed: int, item: str) -> Interaction | None:
    """Return the perturbation with as many genes that go with the drift of all others as against it.

    None where no gene goes against it, or fewer than `LEAST` of a direction are left. Which of the genes with the
    drift stay is drawn by seed and item.
    """
    sign = dict.fromkeys(asked.up, 1) | dict.fromkeys(asked.down, -1)
    agrees = {gene: way * (drift[gene] - way) for gene, way in sign.items()}  # the drift of the others
    against = [gene for gene, sum_ in agrees.items() if sum_ < 0]
    along = sorted(gene for gene, sum_ in agrees.items() if sum_ > 0)
    drawn = item_rng(seed, f"drift {item}").permutation(len(along))[: len(against)]
    left_out = {*along} - {along[i] for i in drawn}
    up, down = (tuple(g for g in side if g not in left_out) for side in (asked.up, asked.down))
    if not against or min(len(up), len(down)) < LEAST:
        return None
    return replace(asked, up=up, down=down)
