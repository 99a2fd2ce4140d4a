"""Edges as columns: the order they are kept in and how rows that say the same thing are merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vckg.base.errors import GraphError

MOST_SOURCES = 256
"""A source code is one byte."""
IntArray = npt.NDArray[np.integer]


class Lists(NamedTuple):
    """One short list of codes per edge, in CSR form."""

    indptr: npt.NDArray[np.int64]
    """int64[m + 1]; the codes of edge e are ``codes[indptr[e]:indptr[e + 1]]``."""
    codes: npt.NDArray[np.int32]
    """int32[k], ascending within an edge, without repeats."""

    def take(self, rows: IntArray) -> Lists:
        """The lists of some rows, in the order given."""
        lengths = self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
        return Lists(indptr, np.asarray(self.codes[np.repeat(self.indptr[rows], lengths) + within]))


class Pairs(NamedTuple):
    """The same before merging: which row carries which code, in any order, repeats allowed."""

    row: npt.NDArray[np.int64]
    code: npt.NDArray[np.int32]


def distinct(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The distinct values, ascending; sorting integers is ten times faster than the hashing of ``np.unique``."""
    values = np.sort(values)
    return values[np.concatenate(([True], values[1:] != values[:-1]))] if values.size else values


LIST_NAMES = ("publications", "tissues", "evidence")


@dataclass(frozen=True, slots=True)
class EdgeRows:
    """Rows as the sources state them, m of them, ends already node indices."""

    subject: IntArray
    object: IntArray
    relation: IntArray
    source: IntArray
    sign: IntArray
    evidence_count: IntArray
    weight: npt.NDArray[np.float32]
    """float32[m], the source's own score of the statement; NaN where it has none."""
    specificity: npt.NDArray[np.float32]
    """float32[m], the source's own measure of how exclusive the statement is; NaN where it has none."""
    lists: Mapping[str, Pairs] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EdgeTable:
    """Merged edges, ascending by (relation, subject, object, source, sign), m of them."""

    subject: npt.NDArray[np.int32]
    object: npt.NDArray[np.int32]
    relation: npt.NDArray[np.uint8]
    source: npt.NDArray[np.uint8]
    sign: npt.NDArray[np.int8]
    evidence_count: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float32]
    specificity: npt.NDArray[np.float32]
    lists: Mapping[str, Lists]


def merge(rows: EdgeRows) -> EdgeTable:
    """Return one edge per (relation, subject, object, source, sign).

    Evidence counts add up, publications, tissues and evidence kinds are united, of several weights the
    largest stays.

    Raises
    ------
    GraphError
        More than 256 sources, a sign other than -1, 0 and 1, or an evidence count that int32 cannot hold.
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
    """Refuse what the columns of an `EdgeTable` and the packed key cannot hold."""
    if int(rows.source.max(initial=0)) >= MOST_SOURCES:
        raise GraphError(
            f"{int(rows.source.max()) + 1} sources and parts, {MOST_SOURCES} at most; leave some out, or join them"
        )
    odd = (rows.sign < -1) | (rows.sign > 1)
    if odd.any():
        raise GraphError(f"sign {rows.sign[odd][0]} of an edge; give -1, 0 or 1")


def _packed_key(rows: EdgeRows) -> npt.NDArray[np.uint64]:
    """The sort key as one integer per row: sorting it is several times faster than a five-column lexsort."""
    node_bits = int(max(rows.subject.max(initial=0), rows.object.max(initial=0))).bit_length()
    widths = ((rows.subject, node_bits), (rows.object, node_bits), (rows.source, 8), (rows.sign + 1, 2))
    assert 8 + sum(bits for _, bits in widths) <= 64, "more nodes than the packed sort key holds"
    key = rows.relation.astype(np.uint64)
    for column, bits in widths:
        key = (key << np.uint64(bits)) | column.astype(np.uint64)
    return key


def _reduce(ufunc: np.ufunc, values: npt.NDArray[Any], starts: IntArray) -> npt.NDArray[Any]:
    return ufunc.reduceat(values, starts) if starts.size else values[:0]


def _gather(pairs: Pairs, group: IntArray, n_groups: int) -> Lists:
    """Unite the codes of the rows that became one edge."""
    packed = distinct((group[pairs.row].astype(np.int64) << 32) | pairs.code.astype(np.int64))
    owner = packed >> 32
    indptr = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=n_groups)))).astype(np.int64)
    return Lists(indptr, (packed & 0xFFFFFFFF).astype(np.int32))
