"""The metagraph as a drawing: a disc per category, a ribbon per pair of categories that relations join."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from vckg.graph.graph import Graph
from vckg.graph.metapaths import metagraph
from vckg.graph.schema import CATEGORIES

#: Centre of each category on a canvas of 960 x 590.
PLACES: Mapping[str, tuple[int, int]] = {
    "Gene": (370, 285),
    "Cell": (640, 285),
    "MolecularActivity": (300, 66),
    "BiologicalProcess": (505, 84),
    "CellularComponent": (130, 122),
    "Pathway": (84, 250),
    "GeneSet": (92, 370),
    "ProteinComplex": (176, 478),
    "Drug": (318, 508),
    "SmallMolecule": (432, 470),
    "Disease": (552, 506),
    "PhenotypicFeature": (706, 512),
    "AnatomicalEntity": (852, 424),
    "Protein": (800, 110),
    "OrthologGene": (262, 380),
}


class Disc(NamedTuple):
    """One category of the drawing: its circle and the height of its label."""

    category: str
    x: float
    y: float
    radius: float
    nodes: int
    label_y: float


class Ribbon(NamedTuple):
    """All relations from one category to another, as one line."""

    subject: str
    object: str
    path: str
    width: float
    edges: int
    relations: str


def drawing(graph: Graph) -> dict[str, list[Any]]:
    """Return the discs and ribbons of the metagraph; sizes grow with the logarithm of the counts."""
    counts = np.bincount(graph.category, minlength=len(CATEGORIES))
    discs = {
        category: Disc(
            category, x, y, radius := _radius(int(counts[code])), int(counts[code]), y + radius + 16
        )
        for code, category in enumerate(CATEGORIES)
        if counts[code]
        for x, y in [PLACES[category]]
    }
    bundles: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for (subject, relation, target), count in metagraph(graph).items():
        bundles.setdefault((subject, target), []).append((relation, count))
    ribbons = [
        _ribbon(discs[a], discs[b], relations, (b, a) in bundles)
        for (a, b), relations in sorted(bundles.items())
    ]
    return {"discs": list(discs.values()), "ribbons": sorted(ribbons, key=lambda r: -r.width)}


def _radius(nodes: int) -> float:
    return round(9 + 5.2 * math.log10(nodes + 1), 1)


def _ribbon(start: Disc, end: Disc, relations: Iterable[tuple[str, int]], both_ways: bool) -> Ribbon:
    relations = list(relations)
    edges = sum(count for _, count in relations)
    width = round(1 + 1.15 * math.log10(edges + 1), 2)
    words = ", ".join(f"{name} {count:,}" for name, count in relations)
    path = _loop(start) if start.category == end.category else _curve(start, end, 0.16 if both_ways else 0.07)
    return Ribbon(start.category, end.category, path, width, edges, words)


def _loop(disc: Disc) -> str:
    """Return a loop above the disc; in the lower half a loop at its side, clear of the labels above."""
    spread, far = disc.radius * 0.72, disc.radius + 44
    if disc.y < 400:
        ends = (-spread, -spread), (-spread - 22, -far), (spread + 22, -far), (spread, -spread)
    else:
        ends = (spread, -spread), (far, -spread - 22), (far, spread + 22), (spread, spread)
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = ((disc.x + x, disc.y + y) for x, y in ends)
    return f"M{x0:.1f},{y0:.1f} C{x1:.1f},{y1:.1f} {x2:.1f},{y2:.1f} {x3:.1f},{y3:.1f}"


def _curve(start: Disc, end: Disc, bend: float) -> str:
    """Return a quadratic curve from rim to rim, bent to the left so that both directions stay apart."""
    dx, dy = end.x - start.x, end.y - start.y
    length = math.hypot(dx, dy)
    cx, cy = (start.x + end.x) / 2 - dy * bend, (start.y + end.y) / 2 + dx * bend
    ends = []
    for disc, gap in ((start, 1.0), (end, 5.0)):
        to = math.hypot(cx - disc.x, cy - disc.y) or length
        reach = disc.radius + gap
        ends.append((disc.x + (cx - disc.x) * reach / to, disc.y + (cy - disc.y) * reach / to))
    (x0, y0), (x1, y1) = ends
    return f"M{x0:.1f},{y0:.1f} Q{cx:.1f},{cy:.1f} {x1:.1f},{y1:.1f}"
