"""Make the parts of a graph from frames or columns: codes, order, neighbour lists, dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vckg.base.errors import GraphError, did_you_mean
from vckg.base.types import Array, Bytes, Ints, Longs
from vckg.graph.edge_table import VALUE_COLUMNS, EdgeRows, EdgeTable, Pairs, merge
from vckg.graph.grounding import NameRows, NameTable, names_of_nodes
from vckg.graph.parts import Parts, content_hash
from vckg.graph.schema import CATEGORY_CODE, RELATION_CODE, RELATION_NAMES, RELATIONS
from vckg.graph.statements import term_table
from vckg.graph.string_array import Strings

TEXT_LISTS = ("publications", "evidence")


def parts_from_frames(
    nodes: pd.DataFrame,
    edges: pd.DataFrame,
    sources: Mapping[str, Mapping[str, Any]],
    names: pd.DataFrame | None,
) -> Parts:
    """Return the parts of the graph of two frames; `Graph.from_frames` documents the columns."""
    _check_columns("nodes", nodes, ("id", "category"), ("name",))
    _check_columns("edges", edges, ("subject", "relation", "object", "source"))
    table, category = node_table(_node_columns(nodes))
    ids = Strings(table["id"])
    ends = {end: _codes_of(ids, edges[end], end) for end in ("subject", "object")}
    source_names = sorted(set(edges["source"]))
    m = len(edges)
    rows = EdgeRows(
        subject=ends["subject"],
        object=ends["object"],
        relation=_known(edges["relation"], RELATION_CODE, "relation"),
        source=pd.Categorical(edges["source"], categories=source_names).codes.astype(np.int64),
        sign=_column(edges, "sign", 0, np.int64),
        evidence_count=_column(edges, "evidence_count", 1, np.int64),
        weight=_column(edges, "weight", np.nan, np.float32),
        specificity=_column(edges, "specificity", np.nan, np.float32),
    )
    dictionaries: dict[str, pa.Array] = {}
    lists: dict[str, Pairs] = {}
    for name in TEXT_LISTS:
        row, words = _exploded(edges, name, m)
        vocabulary, codes = np.unique(words, return_inverse=True)
        dictionaries[name] = pa.array(vocabulary.tolist(), type=pa.string())
        lists[name] = Pairs(row, codes.astype(np.int32))
    row, words = _exploded(edges, "tissues", m)
    lists["tissues"] = Pairs(row, _codes_of(ids, pd.Series(words, dtype=object), "tissue").astype(np.int32))
    merged = merge(orient(replace(rows, lists=lists)))
    known = names_of_nodes(table, category)
    if names is not None:
        known = NameRows.joined([known, NameRows.of_frame(names, ids)])
    manifest = {
        "sources": {s: dict(sources.get(s, {})) for s in sorted({*sources, *source_names})},
        "source_names": source_names,
    }
    return assemble(table, category, merged, dictionaries, NameTable.build(known), manifest)


def assemble(
    nodes: pa.Table,
    category: Bytes,
    edges: EdgeTable,
    dictionaries: Mapping[str, pa.Array],
    names: NameTable,
    manifest: dict[str, Any],
) -> Parts:
    """Return the parts of a graph from sorted nodes, merged edges and the name table."""
    n, m = nodes.num_rows, edges.subject.size
    arrays: dict[str, Array] = {"category": category}
    for name in ("subject", "object", *VALUE_COLUMNS):
        arrays[name] = getattr(edges, name)
    arrays["n_publications"] = np.diff(edges.lists["publications"].indptr).astype(np.int32)
    arrays |= neighbour_lists(edges.relation, edges.subject, edges.object, n)
    for name, lists in edges.lists.items():
        arrays[f"{name}_indptr"], arrays[f"{name}_codes"] = lists
    arrays |= {"name_indptr": names.indptr, "name_kind": names.kind, "name_node": names.node}
    manifest = manifest | {"nodes": n, "edges": m}
    parts = Parts(nodes, arrays, {**dictionaries, "names": names.keys.arrow}, manifest)
    manifest["content_hash"] = content_hash(parts)
    return parts


def neighbour_lists(relation: Bytes, subject: Ints, target: Ints, n: int) -> dict[str, Array]:
    """Return where each relation starts among m edges, and the rows that leave and reach each of n nodes."""
    starts = np.searchsorted(relation, np.arange(len(RELATION_NAMES) + 1))
    arrays: dict[str, Array] = {"relation_start": starts.astype(np.int64)}
    for way, ends in (("out", subject), ("in", target)):
        degrees = np.bincount(ends, minlength=n)
        arrays[f"{way}_indptr"] = np.concatenate(([0], np.cumsum(degrees))).astype(np.int64)
        arrays[f"{way}_rows"] = np.argsort(ends, kind="stable").astype(np.int32)
    return arrays


def node_table(nodes: pa.Table) -> tuple[pa.Table, Bytes]:
    """Return nodes (`vckg.graph.statements.TERM_COLUMNS`) in CURIE order, and their category codes: uint8[n]."""
    order = pc.array_sort_indices(nodes["id"].combine_chunks())
    nodes = nodes.take(order).combine_chunks()
    ids = nodes["id"].combine_chunks()
    again = pc.equal(ids[1:], ids[:-1]).index(True).as_py() if len(ids) else -1
    if again >= 0:
        raise GraphError(f"node {ids[again].as_py()!r} is given twice; every CURIE is one node")
    named = nodes["category"].combine_chunks().dictionary_encode()
    codes = _known(pd.Series(named.dictionary.to_pylist(), dtype=object), CATEGORY_CODE, "category")
    category = codes[named.indices.to_numpy()].astype(np.uint8)
    return nodes.drop_columns("category"), category


def _check_columns(
    what: str, frame: pd.DataFrame, full: tuple[str, ...], may_lack: tuple[str, ...] = ()
) -> None:
    for name in (*full, *may_lack):
        if name not in frame:
            raise GraphError(f"{what}: no column {name!r} in {', '.join(map(str, frame.columns))}")
        if name in full and frame[name].isna().any():
            raise GraphError(f"{what}: the column {name!r} has missing values")


def _node_columns(nodes: pd.DataFrame) -> pa.Table:
    """Return a frame of nodes as a term table, with empty values for missing columns."""
    return term_table(
        nodes["id"].tolist(),
        nodes["category"].tolist(),
        nodes["name"].fillna("").tolist(),
        descriptions=_texts(nodes, "description"),
        synonyms=_list_column(nodes, "synonyms"),
        xrefs=_list_column(nodes, "xrefs"),
    )


def orient(rows: EdgeRows) -> EdgeRows:
    """Make the lower node index the subject of every edge of a symmetric relation."""
    symmetric = np.array([r.symmetric for r in RELATIONS])[rows.relation]
    swap = symmetric & (rows.subject > rows.object)
    subject = np.where(swap, rows.object, rows.subject)
    target = np.where(swap, rows.subject, rows.object)
    return replace(rows, subject=subject, object=target)


def _known(values: pd.Series[Any], codes: Mapping[str, int], what: str) -> Longs:
    mapped = values.map(codes)
    if mapped.isna().any():
        odd = str(values[mapped.isna()].iloc[0])
        raise GraphError(f"no {what} {odd!r}{did_you_mean(odd, codes)}; known: {', '.join(codes)}")
    return np.asarray(mapped, dtype=np.int64)


def _codes_of(ids: Strings, values: pd.Series[Any], what: str) -> Longs:
    codes = ids.positions(values).astype(np.int64)
    if (codes < 0).any():
        raise GraphError(
            f"{what} {values.iloc[int(np.flatnonzero(codes < 0)[0])]!r} of an edge is not a node"
        )
    return np.asarray(codes, dtype=np.int64)


def _column(frame: pd.DataFrame, name: str, default: float, dtype: Any) -> Array:
    if name not in frame:
        return np.full(len(frame), default, dtype=dtype)
    values = frame[name].fillna(default)
    if np.issubdtype(dtype, np.integer) and (values != np.floor(values)).any():
        raise GraphError(
            f"{name} {values[values != np.floor(values)].iloc[0]} of an edge; give whole numbers"
        )
    return values.to_numpy(dtype=dtype)


def _exploded(frame: pd.DataFrame, name: str, m: int) -> tuple[Longs, Array]:
    if name not in frame:
        return np.zeros(0, np.int64), np.zeros(0, dtype=object)
    column = frame[name].reset_index(drop=True).explode().dropna()
    return column.index.to_numpy(dtype=np.int64), column.to_numpy(dtype=object).astype(str)


def _texts(frame: pd.DataFrame, name: str) -> list[str]:
    return frame[name].fillna("").tolist() if name in frame else [""] * len(frame)


def _list_column(frame: pd.DataFrame, name: str) -> list[list[str]]:
    if name not in frame:
        return [[] for _ in range(len(frame))]
    lists = (list, tuple, np.ndarray)
    return [list(v) if isinstance(v, lists) else [v] if isinstance(v, str) else [] for v in frame[name]]
