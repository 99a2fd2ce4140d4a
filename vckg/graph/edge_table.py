"""Edges as columns: their order, and the merging of rows with the same statement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from vckg.base.errors import GraphError
from vckg.base.types import Array, Bytes, Indices, Ints, Longs, SignedBytes, Singles, UnsignedLongs

MOST_SOURCES = 256
"""Limit of source codes, which are one byte."""


class Lists(NamedTuple):
    """A list of codes per edge, in CSR form."""

    indptr: Longs
    """int64[m + 1]; the codes of edge e are ``codes[indptr[e]:indptr[e + 1]]``."""
    codes: Ints
    """int32[k], ascending within an edge, without repeats."""

    def take(self, rows: Indices) -> Lists:
        """Return the lists of the given rows, in their order."""
        lengths = self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
        return Lists(indptr, np.asarray(self.codes[np.repeat(self.indptr[rows], lengths) + within]))


class Pairs(NamedTuple):
    """Codes of rows before merging, as pairs in any order, repeats allowed."""

    row: Longs
    code: Ints


def distinct(values: Longs) -> Longs:
    """Return the distinct values, ascending; sorting is ten times faster than the hashing of ``np.unique``."""
    values = np.sort(values)
    return values[np.concatenate(([True], values[1:] != values[:-1]))] if values.size else values


LIST_NAMES = ("publications", "tissues", "evidence")


@dataclass(frozen=True, slots=True)
class EdgeRows:
    """The m rows of the sources, with node indices as ends."""

    subject: Indices
    object: Indices
    relation: Indices
    source: Indices
    sign: Indices
    evidence_count: Indices
    weight: Singles
    """float32[m], score of the source; NaN where it has none."""
    specificity: Singles
    """float32[m], how exclusive the source finds the statement; NaN where it has no measure."""
    lists: Mapping[str, Pairs] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EdgeTable:
    """The m merged edges, ascending by (relation, subject, object, source, sign)."""

    subject: Ints
    object: Ints
    relation: Bytes
    source: Bytes
    sign: SignedBytes
    evidence_count: Ints
    weight: Singles
    specificity: Singles
    lists: Mapping[str, Lists]


def merge(rows: EdgeRows) -> EdgeTable:
    """Return one edge per (relation, subject, object, source, sign).

    Evidence counts are summed; publications, tissues and kinds of evidence are united; the largest weight is kept.

    Raises
    ------
    GraphError
        There are more than 256 sources, a sign is not -1, 0 or 1, or an evidence count exceeds int32.
    """
    _check_ranges(rows)
    key = _packed_key(rows)
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = (
        np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1]))) if key.size else np.zeros(0, np.int64)
    )
    first = order[starts]
    group = np.empty(key.size, dtype=np.int64)  # row -> merged edge
    group[order] = np.repeat(np.arange(starts.size), np.diff(np.append(starts, key.size)))
    lists = {
        name: _gather(
            rows.lists.get(name, Pairs(np.zeros(0, np.int64), np.zeros(0, np.int32))), group, starts.size
        )
        for name in LIST_NAMES
    }
    evidence = _reduce(np.add, rows.evidence_count[order].astype(np.int64), starts)
    if int(evidence.max(initial=0)) >= 2**31:
        raise GraphError(f"evidence count {evidence.max()} of an edge; {2**31 - 1} at most")
    return EdgeTable(
        subject=rows.subject[first].astype(np.int32),
        object=rows.object[first].astype(np.int32),
        relation=rows.relation[first].astype(np.uint8),
        source=rows.source[first].astype(np.uint8),
        sign=rows.sign[first].astype(np.int8),
        evidence_count=evidence.astype(np.int32),
        weight=_reduce(np.fmax, rows.weight[order], starts).astype(np.float32),
        specificity=_reduce(np.fmax, rows.specificity[order], starts).astype(np.float32),
        lists=lists,
    )


def _check_ranges(rows: EdgeRows) -> None:
    """Raise GraphError for values that an `EdgeTable` or the packed key cannot hold."""
    if int(rows.source.max(initial=0)) >= MOST_SOURCES:
        raise GraphError(
            f"{int(rows.source.max()) + 1} sources and parts, {MOST_SOURCES} at most; leave some out, or join them"
        )
    odd = (rows.sign < -1) | (rows.sign > 1)
    if odd.any():
        raise GraphError(f"sign {rows.sign[odd][0]} of an edge; give -1, 0 or 1")


def _packed_key(rows: EdgeRows) -> UnsignedLongs:
    """Return the sort key as one integer per row, several times faster to sort than five columns."""
    node_bits = int(max(rows.subject.max(initial=0), rows.object.max(initial=0))).bit_length()
    widths = ((rows.subject, node_bits), (rows.object, node_bits), (rows.source, 8), (rows.sign + 1, 2))
    assert 8 + sum(bits for _, bits in widths) <= 64, "more nodes than the packed sort key holds"
    key = rows.relation.astype(np.uint64)
    for column, bits in widths:
        key = (key << np.uint64(bits)) | column.astype(np.uint64)
    return key


def _reduce(ufunc: np.ufunc, values: Array, starts: Indices) -> Array:
    return ufunc.reduceat(values, starts) if starts.size else values[:0]


def _gather(pairs: Pairs, group: Indices, n_groups: int) -> Lists:
    """Unite the codes of the rows that are merged into one edge."""
    packed = distinct((group[pairs.row].astype(np.int64) << 32) | pairs.code.astype(np.int64))
    owner = packed >> 32
    indptr = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=n_groups)))).astype(np.int64)
    return Lists(indptr, (packed & 0xFFFFFFFF).astype(np.int32))
