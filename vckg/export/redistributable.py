"""The part of a graph that may be passed on, as a graph of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from vckg.base.errors import InputError
from vckg.base.types import Bools
from vckg.export.export import closed_sources, open_selection
from vckg.graph.graph import Graph
from vckg.graph.grounding import NAME_KINDS
from vckg.graph.subgraph import cut

_WRITTEN = ("format", "format_version", "files", "seal", "content_hash", "nodes", "edges")


def redistributable(graph: Graph, version: str) -> Graph:
    """Return the graph without what may not be passed on; its manifest counts what was left out.

    Left out are the edges of every source whose licence forbids passing them on, or that states none; the nodes that
    only such edges touch; and the cell type labels that marker tables map, since no record says whose each one is.

    Raises
    ------
    InputError
        Nothing may be passed on.
    """
    closed = closed_sources(graph)
    selection = open_selection(graph, closed)
    rows = selection.rows
    if not rows.size:
        raise InputError(
            "no source of this graph states a licence that allows passing it on; nothing to release"
        )
    inside = np.zeros(graph.n, dtype=bool)
    inside[selection.nodes] = True
    inside[graph.list_codes("tissues").take(rows).codes] = True
    mapped = np.asarray(graph.name_table.kind == NAME_KINDS.index("cells.mapped"))
    left_out = {
        "edges": int(graph.m - rows.size),
        "nodes": int(graph.n - inside.sum()),
        "names": int((mapped & inside[graph.name_table.node]).sum()),
    }
    return cut(graph, inside, rows, _manifest(graph, closed, version, left_out), mapped)


def _manifest(graph: Graph, closed: Bools, version: str, left_out: dict[str, int]) -> dict[str, Any]:
    manifest = {k: v for k, v in graph.manifest.items() if k not in _WRITTEN}
    edges = np.bincount(graph.source, minlength=len(closed))
    sources = graph.manifest["sources"]
    gone = {name: code for code, name in enumerate(graph.sources) if closed[code]}
    kept = {
        name: entry
        for name, entry in sources.items()
        if name not in gone and (name in graph.sources or entry.get("redistribute") is True)
    }
    absent = {
        n: "may not be passed on: " + sources.get(n, {}).get("licence", "no licence stated") for n in gone
    }
    return manifest | {
        "source_names": [name for name in graph.sources if name not in gone],
        "sources": kept,
        "absent": dict(manifest.get("absent", {})) | absent,
        "released": {
            "version": version,
            "of": graph.content_hash,
            "left_out": left_out | {"sources": {name: int(edges[code]) for name, code in gone.items()}},
        },
    }
