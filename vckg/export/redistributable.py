"""The part of a graph that may be passed on, as a graph of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vckg.base.errors import InputError
from vckg.export.export import closed_sources, open_selection
from vckg.graph.assemble import assemble
from vckg.graph.edge_table import LIST_NAMES, EdgeTable, Lists
from vckg.graph.graph import Graph
from vckg.graph.grounding import NAME_KINDS, NameRows, NameTable

_COLUMNS = ("subject", "object", "relation", "source", "sign", "evidence_count", "weight", "specificity")
_WRITTEN = ("format", "format_version", "files", "seal", "content_hash", "nodes", "edges")
_MAPPED = NAME_KINDS.index("cells.mapped")
Positions = npt.NDArray[np.int64]


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
    lists = {name: graph.list_codes(name).take(rows) for name in LIST_NAMES}
    nodes = np.union1d(selection.nodes, lists["tissues"].codes).astype(np.int64)
    new_node = _positions(nodes, graph.n)
    new_source = _positions(np.flatnonzero(~closed), len(closed))
    columns: dict[str, Any] = {name: np.asarray(graph.parts.arrays[name])[rows] for name in _COLUMNS}
    for end in ("subject", "object"):
        columns[end] = new_node[columns[end]].astype(np.int32)
    columns["source"] = new_source[columns["source"]].astype(np.uint8)
    dictionaries: dict[str, pa.Array] = {}
    for name in ("publications", "evidence"):
        lists[name], dictionaries[name] = _used(lists[name], graph.parts.dictionaries[name])
    lists["tissues"] = Lists(lists["tissues"].indptr, new_node[lists["tissues"].codes].astype(np.int32))
    names, names_left_out = _names(graph, new_node)
    left_out = {
        "edges": int(graph.m - rows.size),
        "nodes": int(graph.n - nodes.size),
        "names": names_left_out,
    }
    parts = assemble(
        graph.node_table.take(pa.array(nodes)),
        np.asarray(graph.category)[nodes],
        EdgeTable(**columns, lists=lists),
        dictionaries,
        names,
        _manifest(graph, closed, version, left_out),
    )
    return Graph(parts)


def _positions(kept: Positions, size: int) -> Positions:
    """Where each old index lies among the kept ones; -1 where it is left out."""
    new = np.full(size, -1, dtype=np.int64)
    new[kept] = np.arange(kept.size)
    return new


def _used(lists: Lists, words: pa.Array) -> tuple[Lists, pa.Array]:
    """Lists over the words that they use, and these words, still ascending."""
    used = np.unique(lists.codes)
    return Lists(lists.indptr, np.searchsorted(used, lists.codes).astype(np.int32)), words.take(
        pa.array(used)
    )


def _names(graph: Graph, new_node: Positions) -> tuple[NameTable, int]:
    """The names of the nodes that stay, and how many mapped labels are left out."""
    arrays = graph.parts.arrays
    owner = np.repeat(np.arange(len(arrays["name_indptr"]) - 1), np.diff(arrays["name_indptr"]))
    kind, node = np.asarray(arrays["name_kind"]), new_node[arrays["name_node"]]
    stays = (node >= 0) & (kind != _MAPPED)
    keys = graph.parts.dictionaries["names"].take(pa.array(owner[stays]))
    rows = NameRows(keys, kind[stays], node[stays].astype(np.int32))
    return NameTable.build(rows), int(((node >= 0) & (kind == _MAPPED)).sum())


def _manifest(
    graph: Graph, closed: npt.NDArray[np.bool_], version: str, left_out: dict[str, int]
) -> dict[str, Any]:
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
