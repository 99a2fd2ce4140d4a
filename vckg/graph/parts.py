"""The parts of a graph: node texts, arrays, dictionaries and the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from vckg.base.types import Array
from vckg.graph.string_array import whole

NODE_COLUMNS = ("id", "name", "description", "synonyms", "xrefs")
EDGE_ARRAYS: Mapping[str, str] = {
    "subject": "<i4",
    "object": "<i4",
    "relation": "|u1",
    "source": "|u1",
    "sign": "|i1",
    "evidence_count": "<i4",
    "n_publications": "<i4",
    "weight": "<f4",
    "specificity": "<f4",
}
"""Arrays of one entry per edge, and their types."""
ARRAYS: Mapping[str, str] = {
    **EDGE_ARRAYS,
    "category": "|u1",
    "relation_start": "<i8",
    "out_indptr": "<i8",
    "out_rows": "<i4",
    "in_indptr": "<i8",
    "in_rows": "<i4",
    "publications_indptr": "<i8",
    "publications_codes": "<i4",
    "tissues_indptr": "<i8",
    "tissues_codes": "<i4",
    "evidence_indptr": "<i8",
    "evidence_codes": "<i4",
    "name_indptr": "<i4",
    "name_kind": "|u1",
    "name_node": "<i4",
}
"""All arrays of a graph and their types; docs/graph-format.md describes them."""
DICTIONARIES = ("publications", "evidence", "names")


class Parts(NamedTuple):
    """The parts that `vckg.graph.assemble` makes and `vckg.graph.folder` reads and writes."""

    nodes: pa.Table
    """n rows of `NODE_COLUMNS`, ascending by CURIE."""
    arrays: Mapping[str, Array]
    """The arrays named in `ARRAYS`."""
    dictionaries: Mapping[str, pa.Array]
    """The texts named in `DICTIONARIES`."""
    manifest: dict[str, Any]
    """The keys of `vckg.graph.manifest`; ``source_names`` lists the names of the source codes."""


def content_hash(parts: Parts) -> str:
    """Return the sha256 over arrays, texts and source names; equal graphs have equal hashes."""
    digest = hashlib.sha256()
    for name in sorted(parts.arrays):
        array = np.ascontiguousarray(parts.arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    texts = {f"nodes.{c}": parts.nodes[c] for c in NODE_COLUMNS} | dict(parts.dictionaries)
    for name in sorted(texts):
        digest.update(f"{name} {len(texts[name])}\n".encode())
        _hash_strings(digest, texts[name])
    digest.update("\n".join(parts.manifest["source_names"]).encode())
    return digest.hexdigest()


def _hash_strings(digest: Any, values: pa.Array | pa.ChunkedArray) -> None:
    flat = whole(values)
    if pa.types.is_list(flat.type):
        digest.update(np.diff(flat.offsets.to_numpy()).astype("<i4").tobytes())
        flat = flat.flatten()
    offsets = np.frombuffer(flat.buffers()[1], np.int32)[flat.offset : flat.offset + len(flat) + 1]
    digest.update(np.diff(offsets).tobytes())
    if len(flat) and (data := flat.buffers()[2]) is not None:
        digest.update(data[int(offsets[0]) : int(offsets[-1])])
