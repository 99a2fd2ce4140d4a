"""Write the graph card: one page with the content, the sources and the gaps of a graph.

This module computes all numbers; the template prints them and the script highlights rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vckg.base.atomic import write_text
from vckg.base.html import TEMPLATES, render
from vckg.base.types import Ints, Longs
from vckg.graph.graph import Graph
from vckg.graph.metapaths import metagraph
from vckg.graph.schema import CATEGORIES, RELATION_NAMES
from vckg.quality.audit import audit
from vckg.quality.checks import degrees
from vckg.quality.metagraph_drawing import drawing

#: Broad classes that together cover most of the Cell Ontology; a cell type may be below several.
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
"""Least number of marker genes of a well-marked cell type."""
SHOWN_HUBS = 40
SHOWN_TISSUES = 24


class Coverage(NamedTuple):
    """Numbers of cell types of a group with and without markers."""

    id: str
    name: str
    types: int
    well: int
    """Number with at least `WELL_MARKED` marker genes."""
    some: int
    """Number with one to `WELL_MARKED` - 1."""

    @property
    def none(self) -> int:
        """Number without markers."""
        return self.types - self.well - self.some


class Tissue(NamedTuple):
    """Marker statements observed in one tissue."""

    id: str
    name: str
    types: int
    genes: int
    edges: int


class Hub(NamedTuple):
    """A node with very many edges."""

    id: str
    name: str
    category: str
    edges: int
    relation: str
    """Most frequent relation of the edges."""


def write_card(graph: Graph, path: Path | str) -> Path:
    """Write the card of a graph as one self-contained HTML file and return its path."""
    path = Path(path)
    write_text(path, card(graph))
    return path


def card(graph: Graph) -> str:
    """Return the card of a graph as HTML."""
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
    """Return nodes, their edge ends and nodes without edges by category, most nodes first."""
    touching = degrees(graph)
    rows = []
    for name in CATEGORIES:
        ends = touching[graph.nodes_of(name)]
        if ends.size:
            median, alone = int(np.median(ends)), int((ends == 0).sum())
            rows.append(
                {"name": name, "nodes": ends.size, "ends": int(ends.sum()), "median": median, "alone": alone}
            )
    return sorted(rows, key=lambda r: -r["nodes"])


def source_rows(graph: Graph) -> list[dict[str, Any]]:
    """Return each source with its manifest entry and edges, most edges first; parts count with their source."""
    described = graph.manifest["sources"]
    rows: dict[str, dict[str, Any]] = {}
    for name, edges, relations in _edges_by_source(graph):
        whole = described.get(name, {}).get("part_of") or name
        row = rows.setdefault(whole, _described(whole, described.get(whole, {})))
        row["edges"] += edges
        row["parts"] += whole != name
        row["counts"] += relations
    for row in rows.values():
        counts = row.pop("counts")
        row["relations"] = [RELATION_NAMES[r] for r in np.argsort(-counts, kind="stable") if counts[r]]
    return sorted(rows.values(), key=lambda r: (-r["edges"], r["name"]))


def _described(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("title", "release", "licence", "redistribute", "citation")
    zero = np.zeros(len(RELATION_NAMES), dtype=np.int64)
    return {"name": name, "edges": 0, "parts": 0, "counts": zero, **{k: entry.get(k) for k in keys}}


def _edges_by_source(graph: Graph) -> list[tuple[str, int, Longs]]:
    """Return name, edges, and edges by relation of every source and part with edges."""
    per_kind = np.zeros((len(graph.sources), len(RELATION_NAMES)), dtype=np.int64)
    np.add.at(per_kind, (graph.source, graph.relation), 1)
    return [
        (name, int(counts.sum()), counts)
        for name, counts in zip(graph.sources, per_kind, strict=True)
        if counts.any()
    ]


def licence_rows(graph: Graph) -> list[dict[str, Any]]:
    """Return sources and edges by licence, most edges first; the licence is None where none is stated."""
    described = graph.manifest["sources"]
    rows: dict[tuple[str | None, bool | None], dict[str, Any]] = {}
    for name, edges, _ in _edges_by_source(graph):
        key = (described.get(name, {}).get("licence") or None, described.get(name, {}).get("redistribute"))
        row = rows.setdefault(key, {"licence": key[0], "redistribute": key[1], "sources": {}, "edges": 0})
        whole = described.get(name, {}).get("part_of") or name
        row["sources"][described.get(whole, {}).get("title") or whole] = None
        row["edges"] += edges
    return sorted(rows.values(), key=lambda r: -r["edges"])


def reject_rows(graph: Graph) -> list[dict[str, Any]]:
    """Return rejected rows and terms by source and reason, most first."""
    rows = [
        {
            "source": entry.get("title") or name,
            "reason": f"term: {reason}" if kind == "rejected_terms" else reason,
            "rows": int(lost),
            "read": int(entry.get("rows" if kind == "rejected_terms" else "read") or 0),
            "examples": (entry.get("examples") or {}).get(reason, []),
        }
        for name, entry in graph.manifest["sources"].items()
        for kind in ("rejected", "rejected_terms")
        for reason, lost in (entry.get(kind) or {}).items()
    ]
    return sorted(rows, key=lambda r: (-r["rows"], r["source"], r["reason"]))


# ---- hubs ------------------------------------------------------------------------------------------------------


def hubs(graph: Graph) -> list[Hub]:
    """Return the nodes with the most edges, most first."""
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


def marker_genes(graph: Graph) -> Longs:
    """Return the number of distinct marker genes of each node: int64[n]."""
    return np.asarray(graph.adjacency("is_marker_for").sum(axis=0)).ravel().astype(np.int64)


def coverage_of(graph: Graph, curie: str, name: str, nodes: Ints, marked: Longs) -> Coverage:
    """Return the coverage of the given cell types (int32[k]) from the marker counts `marked` (int64[n])."""
    counts = marked[nodes]
    well = int((counts >= WELL_MARKED).sum())
    return Coverage(curie, name, int(nodes.size), well, int((counts > 0).sum()) - well)


def lineage_coverage(graph: Graph, marked: Longs) -> list[Coverage]:
    """Return the coverage of the `LINEAGES` in the graph, most types first, and of types in none of them."""
    rest = set(graph.nodes_of("Cell").tolist())
    rows = []
    for curie in LINEAGES:
        index = graph.get(curie)
        if index is not None:
            below = np.append(graph.descendants(index), np.int32(index))
            rest -= set(below.tolist())
            rows.append(coverage_of(graph, curie, graph.names[index], below, marked))
    rows.sort(key=lambda c: (-c.types, c.id))
    if rows and rest:
        rows.append(
            coverage_of(graph, "", "in none of these", np.array(sorted(rest), dtype=np.int32), marked)
        )
    return rows


def tissue_coverage(graph: Graph) -> list[Tissue]:
    """Return the tissues with markers of the most cell types, most first."""
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


def _distinct(tissue: Longs, node: Ints, n: int) -> Longs:
    """Return the number of distinct nodes with each tissue: int64[n]."""
    pairs = np.unique(tissue * n + node) if tissue.size else tissue
    return np.bincount(pairs // n, minlength=n)
