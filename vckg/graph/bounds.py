"""Check every index of a graph folder once, when it is verified; later code relies on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vckg.base.types import Array
from vckg.graph.grounding import NAME_KINDS
from vckg.graph.manifest import FILES
from vckg.graph.parts import ARRAYS, EDGE_ARRAYS, NODE_COLUMNS, Parts
from vckg.graph.schema import CATEGORIES, RELATION_NAMES
from vckg.graph.string_array import whole

_LISTS = ("synonyms", "xrefs")
_OWN_FILE = {name.rpartition("/")[2].partition(".")[0]: name for name in FILES}


Faults = Iterator[tuple[str, str]]


def first_fault(
    nodes: pa.Table, texts: Mapping[str, pa.Table], arrays: Mapping[str, Array], manifest: dict[str, Any]
) -> str | None:
    """Return the first fault as ``file: reason``, or None where every index, text and order is valid.

    Parameters
    ----------
    texts
        Tables of one column each, by the names in `DICTIONARIES`.
    """
    faults = _texts({"nodes": nodes, **texts})
    if (fault := next(faults, None)) is None:
        parts = Parts(nodes, arrays, {name: texts[name][name].combine_chunks() for name in texts}, manifest)
        later = (fault for check in (_sizes, _codes, _order, _neighbours, _names) for fault in check(parts))
        fault = next(later, None)
    return None if fault is None else f"{_OWN_FILE[fault[0]]}: {fault[1]}"


def _texts(tables: Mapping[str, pa.Table]) -> Faults:
    """Check columns, types, missing values and, by Arrow's own check, offsets and UTF-8."""
    for name, table in tables.items():
        wanted = NODE_COLUMNS if name == "nodes" else (name,)
        if tuple(table.column_names) != wanted:
            yield name, f"columns {', '.join(table.column_names)}, {', '.join(wanted)} expected"
            continue
        try:
            table.validate(full=True)
        except pa.ArrowInvalid as error:
            yield name, f"damaged ({error})"
            continue
        for column in wanted:
            yield from ((name, reason) for reason in _odd_column(column, table[column]))


def _odd_column(name: str, values: pa.ChunkedArray) -> Iterator[str]:
    if name in _LISTS:
        if not (pa.types.is_list(values.type) and pa.types.is_string(values.type.value_type)):
            yield f"{name} is of type {values.type}, lists of strings expected"
        elif values.null_count or pc.list_flatten(values).null_count:
            yield f"{name} has missing values"
    elif not pa.types.is_string(values.type):
        yield f"{name} is of type {values.type}, strings expected"
    elif values.null_count:
        yield f"{name} has missing values"


def _sizes(parts: Parts) -> Faults:
    n, m = parts.manifest["nodes"], parts.manifest["edges"]
    if parts.nodes.num_rows != n:
        yield "nodes", f"{parts.nodes.num_rows} nodes, {n} expected"
    arrays = parts.arrays
    wanted = dict.fromkeys(EDGE_ARRAYS, m) | {"category": n, "relation_start": len(RELATION_NAMES) + 1}
    wanted |= {"out_rows": m, "in_rows": m, "out_indptr": n + 1, "in_indptr": n + 1}
    wanted |= {f"{name}_indptr": m + 1 for name in ("publications", "tissues", "evidence")}
    wanted |= {"name_indptr": len(parts.dictionaries["names"]) + 1, "name_node": arrays["name_kind"].size}
    for name, dtype in ARRAYS.items():
        array = arrays[name]
        if array.dtype.str != dtype or array.ndim != 1:
            yield name, f"{array.ndim} dimensions of {array.dtype.str}, one of {dtype} expected"
        elif array.size != wanted.get(name, array.size):
            yield name, f"{array.size} values, {wanted[name]} expected"


def _codes(parts: Parts) -> Faults:
    arrays, n, m = parts.arrays, parts.manifest["nodes"], parts.manifest["edges"]
    below = {
        "subject": n,
        "object": n,
        "category": len(CATEGORIES),
        "relation": len(RELATION_NAMES),
        "source": len(parts.manifest["source_names"]),
        "out_rows": m,
        "in_rows": m,
        "publications_codes": len(parts.dictionaries["publications"]),
        "evidence_codes": len(parts.dictionaries["evidence"]),
        "tissues_codes": n,
        "name_kind": len(NAME_KINDS),
        "name_node": n,
    }
    for name, top in below.items():
        if arrays[name].size and not 0 <= int(arrays[name].min()) <= int(arrays[name].max()) < top:
            odd = next(int(v) for v in arrays[name] if not 0 <= v < top)
            yield name, f"holds {odd}, a value from 0 to {top - 1} expected"
    sign = arrays["sign"]
    if sign.size and not -1 <= int(sign.min()) <= int(sign.max()) <= 1:
        yield "sign", "holds a value other than -1, 0 and 1"
    ends = {f"{name}_indptr": f"{name}_codes" for name in ("publications", "tissues", "evidence")}
    ends |= {"out_indptr": "out_rows", "in_indptr": "in_rows", "name_indptr": "name_node"}
    for name, pointed in ends.items():
        indptr = arrays[name]
        if indptr[0] != 0 or indptr[-1] != arrays[pointed].size or (indptr[1:] < indptr[:-1]).any():
            yield name, f"does not ascend from 0 to the {arrays[pointed].size} values of {pointed}"


def _order(parts: Parts) -> Faults:
    relation = parts.arrays["relation"]
    if (relation[1:] < relation[:-1]).any():
        yield "relation", "does not ascend"
    starts = np.searchsorted(relation, np.arange(len(RELATION_NAMES) + 1))
    if not np.array_equal(starts, parts.arrays["relation_start"]):
        yield "relation_start", "is not where the relations start"
    for name, words in (("nodes", whole(parts.nodes["id"])), ("names", parts.dictionaries["names"])):
        if len(words) > 1 and not pc.all(pc.less(words[:-1], words[1:])).as_py():
            yield name, "does not ascend, or holds a text twice"


def _neighbours(parts: Parts) -> Faults:
    """Check that the rows of each node are the rows of its edges, ascending."""
    n = parts.manifest["nodes"]
    for way, ends in (("out", "subject"), ("in", "object")):
        rows, indptr = parts.arrays[f"{way}_rows"], parts.arrays[f"{way}_indptr"]
        owner = np.repeat(np.arange(n, dtype=np.int32), np.diff(indptr))
        same = owner[1:] == owner[:-1]
        if not np.array_equal(parts.arrays[ends][rows], owner) or (np.diff(rows)[same] <= 0).any():
            yield f"{way}_rows", f"are not the edges of each {ends}"


def _names(parts: Parts) -> Faults:
    if (parts.arrays["name_indptr"][1:] == parts.arrays["name_indptr"][:-1]).any():
        yield "name_indptr", "holds a name that leads nowhere"
