"""The graph card: one page that says what a graph holds, where it is from, and what is missing.

Everything is computed here; the template draws it and the script only highlights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vckg.base.html import TEMPLATES, render, write
from vckg.graph.convert import metagraph
from vckg.graph.graph import Graph
from vckg.graph.schema import CATEGORIES, RELATION_NAMES
from vckg.quality.audit import audit
from vckg.quality.checks import degrees

#: Broad classes that together cover most of the Cell Ontology; a type may be below several.
LINEAGES = (
    "CL:0000988",  # hematopoietic cell
    "CL:0000066",  # epithelial cell
    "CL:0002319",  # neural cell
    "CL:0000187",  # muscle cell
    "CL:0000115",  # endothelial cell
    "CL:0002320",  # connective tissue cell
    "CL:0000151",  # secretory cell
    "CL:0000034",  # stem cell
    "CL:0000586",  # germ cell
)
WELL_MARKED = 10
"""A cell type with this many marker genes or more counts as well marked."""
SHOWN_HUBS = 40
SHOWN_TISSUES = 24


class Bar(NamedTuple):
    """One bar of a histogram: nodes whose degree lies in ``[low, high]``."""

    low: int
    high: int
    nodes: int
    share: float
    """Of the tallest bar."""


class Distribution(NamedTuple):
    """How many edges touch the nodes of a category."""

    category: str
    nodes: int
    median: int
    most: int
    alone: int
    """Nodes no edge touches."""
    bars: tuple[Bar, ...]


class Coverage(NamedTuple):
    """How many cell types of a group have markers."""

    id: str
    name: str
    types: int
    well: int
    """With at least `WELL_MARKED` marker genes."""
    some: int
    """With one to `WELL_MARKED` - 1."""

    @property
    def none(self) -> int:
        """Without any."""
        return self.types - self.well - self.some


class Tissue(NamedTuple):
    """Marker statements that were observed in one tissue."""

    id: str
    name: str
    types: int
    genes: int
    edges: int


class Hub(NamedTuple):
    """A node that very many edges touch."""

    id: str
    name: str
    category: str
    edges: int
    relation: str
    """The relation most of them have."""


def write_card(graph: Graph, path: Path | str) -> Path:
    """Write the card of a graph as one self-contained HTML file and return its path."""
    path = Path(path)
    write(path, card(graph))
    return path


def card(graph: Graph) -> str:
    """The HTML of the card of a graph."""
    report = audit(graph)
    marked = marker_genes(graph)
    profile = graph.manifest.get("parameters", {}).get("profile")
    return render(
        TEMPLATES / "card.html.j2",
        title=f"Knowledge graph, profile {profile}" if profile else "Knowledge graph",
        styles=[TEMPLATES / "card.css"],
        scripts=[TEMPLATES / "card.js"],
        graph=graph,
        categories=category_counts(graph),
        sources=source_rows(graph),
        kinds=[(*key, count) for key, count in metagraph(graph).items()],
        drawing=drawing(graph),
        distributions=distributions(graph),
        hubs=hubs(graph),
        whole=coverage_of(graph, "", "all cell types", graph.nodes_of("Cell"), marked),
        lineages=lineage_coverage(graph, marked),
        tissues=tissue_coverage(graph),
        licences=licence_rows(graph),
        rejects=reject_rows(graph),
        report=report,
        well_marked=WELL_MARKED,
    )


# ---- counts ----------------------------------------------------------------------------------------------------


def category_counts(graph: Graph) -> list[dict[str, Any]]:
    """Nodes and edges touching them by category, most nodes first."""
    nodes = np.bincount(graph.category, minlength=len(CATEGORIES))
    touched = np.zeros(len(CATEGORIES), dtype=np.int64)
    np.add.at(touched, graph.category, degrees(graph))
    rows = [
        {"name": name, "nodes": int(nodes[code]), "ends": int(touched[code])}
        for code, name in enumerate(CATEGORIES)
    ]
    return sorted((r for r in rows if r["nodes"]), key=lambda r: -r["nodes"])


def source_rows(graph: Graph) -> list[dict[str, Any]]:
    """What the manifest says of each source with its edges, most edges first; parts count with their source."""
    said = graph.manifest["sources"]
    found: dict[str, dict[str, Any]] = {}
    for name, edges, relations in _edges_by_source(graph):
        whole = said.get(name, {}).get("part_of") or name
        row = found.setdefault(whole, _described(whole, said.get(whole, {})))
        row["edges"] += edges
        row["parts"] += whole != name
        row["counts"] += relations
    for row in found.values():
        counts = row.pop("counts")
        row["relations"] = [RELATION_NAMES[r] for r in np.argsort(-counts, kind="stable") if counts[r]]
    return sorted(found.values(), key=lambda r: (-r["edges"], r["name"]))


def _described(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("title", "release", "licence", "redistribute", "citation")
    zero = np.zeros(len(RELATION_NAMES), dtype=np.int64)
    return {"name": name, "edges": 0, "parts": 0, "counts": zero, **{k: said.get(k) for k in keys}}


def _edges_by_source(graph: Graph) -> list[tuple[str, int, npt.NDArray[np.int64]]]:
    """Name, edges, and edges by relation of every source and part that has edges."""
    per_kind = np.zeros((len(graph.sources), len(RELATION_NAMES)), dtype=np.int64)
    np.add.at(per_kind, (graph.source, graph.relation), 1)
    return [
        (name, int(counts.sum()), counts)
        for name, counts in zip(graph.sources, per_kind, strict=True)
        if counts.any()
    ]


def licence_rows(graph: Graph) -> list[dict[str, Any]]:
    """Sources, parts and edges by licence, most edges first; None where a source states none."""
    said = graph.manifest["sources"]
    found: dict[tuple[str | None, bool | None], dict[str, Any]] = {}
    for name, edges, _ in _edges_by_source(graph):
        key = (said.get(name, {}).get("licence") or None, said.get(name, {}).get("redistribute"))
        row = found.setdefault(key, {"licence": key[0], "redistribute": key[1], "sources": {}, "edges": 0})
        whole = said.get(name, {}).get("part_of") or name
        row["sources"][said.get(whole, {}).get("title") or whole] = None
        row["edges"] += edges
    return sorted(found.values(), key=lambda r: -r["edges"])


def reject_rows(graph: Graph) -> list[dict[str, Any]]:
    """Rows and terms that the build turned away, by source and reason, most first."""
    rows = [
        {
            "source": said.get("title") or name,
            "reason": f"term {reason}" if kind == "rejected_terms" else reason,
            "rows": int(lost),
            "read": int(said.get("rows" if kind == "rejected_terms" else "read") or 0),
            "examples": (said.get("examples") or {}).get(reason, []),
        }
        for name, said in graph.manifest["sources"].items()
        for kind in ("rejected", "rejected_terms")
        for reason, lost in (said.get(kind) or {}).items()
    ]
    return sorted(rows, key=lambda r: (-r["rows"], r["source"], r["reason"]))


# ---- degrees ---------------------------------------------------------------------------------------------------


def distributions(graph: Graph, *, least: int = 20) -> list[Distribution]:
    """Degree histograms in doubling bins, of the categories with at least `least` nodes, in the schema's order."""
    touching = degrees(graph)
    found = []
    for category in CATEGORIES:
        mine = touching[graph.nodes_of(category)]
        if mine.size >= least:
            some = mine[mine > 0]
            found.append(
                Distribution(
                    category,
                    int(mine.size),
                    int(np.median(mine)),
                    int(mine.max()),
                    int((mine == 0).sum()),
                    _bars(some),
                )
            )
    return found


def _bars(touching: npt.NDArray[np.int64]) -> tuple[Bar, ...]:
    if not touching.size:
        return ()
    bins = np.floor(np.log2(touching)).astype(int)
    counts = np.bincount(bins)
    return tuple(Bar(2**b, 2 ** (b + 1) - 1, int(c), float(c / counts.max())) for b, c in enumerate(counts))


def hubs(graph: Graph) -> list[Hub]:
    """The nodes that the most edges touch, most first."""
    touching = degrees(graph)
    top = np.argsort(-touching, kind="stable")[:SHOWN_HUBS]
    return [_hub(graph, int(i), int(touching[i])) for i in top if touching[i]]


def _hub(graph: Graph, node: int, edges: int) -> Hub:
    rows = np.concatenate([graph.out_edges(node), graph.in_edges(node)])
    most = int(np.bincount(graph.relation[rows]).argmax())
    return Hub(
        graph.ids[node], graph.names[node], CATEGORIES[graph.category[node]], edges, RELATION_NAMES[most]
    )


# ---- coverage of the Cell Ontology ------------------------------------------------------------------------------


def marker_genes(graph: Graph) -> npt.NDArray[np.int64]:
    """Number of distinct marker genes of each node: int64[n]."""
    return np.asarray(graph.adjacency("is_marker_for").sum(axis=0)).ravel().astype(np.int64)


def coverage_of(
    graph: Graph, curie: str, name: str, nodes: npt.NDArray[np.int32], marked: npt.NDArray[np.int64]
) -> Coverage:
    """Coverage of the given cell types."""
    counts = marked[nodes]
    well = int((counts >= WELL_MARKED).sum())
    return Coverage(curie, name, int(nodes.size), well, int((counts > 0).sum()) - well)


def lineage_coverage(graph: Graph, marked: npt.NDArray[np.int64]) -> list[Coverage]:
    """Coverage of the broad lineages (`LINEAGES`) the graph has, most types first, and of what is in none."""
    rest = set(graph.nodes_of("Cell").tolist())
    found = []
    for curie in LINEAGES:
        at = graph.get(curie)
        if at is not None:
            below = np.append(graph.descendants(at), np.int32(at))
            rest -= set(below.tolist())
            found.append(coverage_of(graph, curie, graph.names[at], below, marked))
    found.sort(key=lambda c: (-c.types, c.id))
    if found and rest:
        found.append(
            coverage_of(graph, "", "in none of these", np.array(sorted(rest), dtype=np.int32), marked)
        )
    return found


def tissue_coverage(graph: Graph) -> list[Tissue]:
    """The tissues that most cell types have markers from, most first."""
    span = graph.rows("is_marker_for")
    rows = np.arange(span.start, span.stop)
    lists = graph.list_codes("tissues").take(rows)
    owner = np.repeat(rows, np.diff(lists.indptr))
    codes = lists.codes.astype(np.int64)
    edges = np.bincount(codes, minlength=graph.n)
    types = _distinct(codes, graph.object[owner], graph.n)
    genes = _distinct(codes, graph.subject[owner], graph.n)
    top = np.argsort(-types, kind="stable")[:SHOWN_TISSUES]
    return [
        Tissue(graph.ids[i], graph.names[i], int(types[i]), int(genes[i]), int(edges[i]))
        for i in top.tolist()
        if types[i]
    ]


def _distinct(tissue: npt.NDArray[np.int64], node: npt.NDArray[np.int32], n: int) -> npt.NDArray[np.int64]:
    """How many different nodes occur with each tissue: int64[n]."""
    pairs = np.unique(tissue * n + node) if tissue.size else tissue
    return np.bincount(pairs // n, minlength=n)


# ---- the drawing of the metagraph --------------------------------------------------------------------------------

#: Where each category stands on a canvas of 960 x 590: genes and cell types in the middle, the rest around them.
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
}


class Disc(NamedTuple):
    """One category of the drawing."""

    category: str
    x: float
    y: float
    radius: float
    nodes: int
    label_y: float


class Ribbon(NamedTuple):
    """All relations from one category to another, drawn as one line."""

    subject: str
    object: str
    path: str
    width: float
    edges: int
    relations: str


def drawing(graph: Graph) -> dict[str, list[Any]]:
    """Discs and ribbons of the metagraph; areas and widths grow with the logarithm of the counts."""
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
        _ribbon(discs[a], discs[b], found, (b, a) in bundles) for (a, b), found in sorted(bundles.items())
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
    """A loop above the disc; beside it in the lower half, where the label of another disc may stand above."""
    spread, far = disc.radius * 0.72, disc.radius + 44
    if disc.y < 400:
        ends = (-spread, -spread), (-spread - 22, -far), (spread + 22, -far), (spread, -spread)
    else:
        ends = (spread, -spread), (far, -spread - 22), (far, spread + 22), (spread, spread)
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = ((disc.x + x, disc.y + y) for x, y in ends)
    return f"M{x0:.1f},{y0:.1f} C{x1:.1f},{y1:.1f} {x2:.1f},{y2:.1f} {x3:.1f},{y3:.1f}"


def _curve(start: Disc, end: Disc, bend: float) -> str:
    """A quadratic curve from rim to rim, bent to its left so that both directions stay apart."""
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
