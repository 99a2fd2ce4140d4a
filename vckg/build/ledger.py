"""The build's ledger: every statement's ends become nodes, or the row is counted under a reason."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vckg.base.errors import BuildError, did_you_mean
from vckg.build.source_table import Taken
from vckg.build.sssom import Mappings
from vckg.graph.edge_table import EdgeRows, Pairs
from vckg.graph.grounding import ABSENT, AMBIGUOUS, OBSOLETE, UNKNOWN, BulkGrounder
from vckg.graph.schema import CATEGORIES, CATEGORY_CODE, RELATION_CODE, RELATIONS
from vckg.graph.statements import End, Reading, Rejections, Statements
from vckg.graph.string_array import Strings, whole

_RELATION_ID = re.compile(r"\b(?:RO|BFO):\d{7}\b")
Codes = npt.NDArray[np.int32]
#: Relations of markers, and the relation of the tissue in which one was observed.
_EXPRESSED = {"is_marker_for": "expressed_in", "is_ortholog_marker_for": "ortholog_expressed_in"}

_WHAT = {
    "genes": "gene",
    "mouse_genes": "mouse gene",
    "cells": "cell type",
    "anatomy": "tissue",
    "diseases": "disease",
    "curie": "id",
    "terms": "term",
}
_WHY = {
    UNKNOWN: "not known",
    AMBIGUOUS: "ambiguous",
    OBSOLETE: "obsolete, not replaced",
    ABSENT: "not stated",
}


@dataclass(slots=True)
class _Batch:
    """Grounded rows of one statement block."""

    subject: Codes
    object: Codes
    relation: npt.NDArray[np.uint8]
    source: npt.NDArray[np.int64]
    """Code of the source or part, a position in `Grounding.labels`."""
    sign: npt.NDArray[np.int8]
    weight: npt.NDArray[np.float32]
    specificity: npt.NDArray[np.float32]
    publications: pa.Array | None
    tissue: Codes
    evidence: pa.Array | None


class Grounding:
    """Grounded rows, rejections and mappings, source by source."""

    def __init__(
        self,
        grounder: BulkGrounder,
        category: npt.NDArray[np.uint8],
        ids: Strings,
        relation_labels: Mapping[str, str],
    ) -> None:
        self._grounder, self._category, self._ids = grounder, category, ids
        self._relation_labels = relation_labels
        self._batches: list[_Batch] = []
        self.labels: list[str] = []
        self.mappings = Mappings(ids)
        self.rejected: dict[str, Rejections] = {}
        self.kept: dict[str, int] = {}
        self.kept_by_part: dict[str, int] = {}
        self.read: dict[str, int] = {}

    def add(self, name: str, reading: Reading, excluded_parts: Collection[str]) -> None:
        """Ground all statements of one source."""
        rejected = Rejections()
        for reason, count in reading.rejected.counts.items():
            worded = _RELATION_ID.sub(self._worded, reason)
            rejected.add(worded, count, reading.rejected.examples[reason])
        self.rejected[name] = rejected
        self.read[name] = sum(map(len, reading.statements)) + sum(reading.rejected.counts.values())
        self.kept[name] = 0
        for statements in reading.statements:
            if len(statements):
                self._ground(name, statements, rejected, excluded_parts)

    def _worded(self, match: re.Match[str]) -> str:
        label = self._relation_labels.get(match.group())
        return f"{label} ({match.group()})" if label else match.group()

    def _ground(
        self, name: str, statements: Statements, rejected: Rejections, excluded_parts: Collection[str]
    ) -> None:
        if statements.relation not in RELATION_CODE:
            hint = did_you_mean(statements.relation, RELATION_CODE) or f"; one of {', '.join(RELATION_CODE)}"
            raise BuildError(f"source {name}: no relation {statements.relation!r}{hint}")
        relation = RELATIONS[RELATION_CODE[statements.relation]]
        part = self._parts(name, statements)
        excluded = [i for i, label in enumerate(self.labels) if label in excluded_parts]
        good = ~np.isin(part, excluded)
        rejected.add("part excluded", int((~good).sum()), [self.labels[i] for i in excluded])
        target = self._end(name, statements.object, good, rejected, relation.objects)
        subject = self._end(name, statements.subject, good, rejected, relation.subjects)
        if relation.subjects == relation.objects:
            itself = good & (subject == target)
            rejected.add(
                "a node with itself", int(itself.sum()), self._ids.pick(np.unique(subject[itself])[:9])
            )
            good &= ~itself
        rows = np.flatnonzero(good)
        self.kept[name] += rows.size
        for code, count in enumerate(np.bincount(part[rows])):
            if count:
                label = self.labels[code]
                self.kept_by_part[label] = self.kept_by_part.get(label, 0) + int(count)
        batch = _Batch(
            subject=subject[rows],
            object=target[rows],
            relation=np.full(rows.size, RELATION_CODE[statements.relation], np.uint8),
            source=part[rows],
            sign=_or(statements.sign, len(part), 0, np.int8)[rows],
            weight=_or(statements.weight, len(part), np.nan, np.float32)[rows],
            specificity=_or(statements.specificity, len(part), np.nan, np.float32)[rows],
            publications=_take(statements.publications, rows),
            tissue=self._tissue(name, statements, rows),
            evidence=_take(statements.evidence, rows),
        )
        self._batches.append(batch)
        if statements.relation in _EXPRESSED:
            self._batches.append(_expressed_in(batch, _EXPRESSED[statements.relation]))

    def _end(
        self,
        name: str,
        ends: tuple[End, ...],
        good: npt.NDArray[np.bool_],
        rejected: Rejections,
        categories: tuple[str, ...],
    ) -> Codes:
        """Node of every row, the first of the ways to name it that answers; clears `good` where none does."""
        code = np.full(good.size, ABSENT, dtype=np.int32)
        kind = np.zeros(good.size, dtype=np.uint8)
        way = np.zeros(good.size, dtype=np.int8)
        for i, end in enumerate(ends):
            if end.space not in _WHAT:
                hint = did_you_mean(end.space, _WHAT) or f"; one of {', '.join(_WHAT)}"
                raise BuildError(f"source {name}: no space {end.space!r} of names{hint}")
            rows = np.flatnonzero(code < 0)
            names = whole(end.names)
            node, node_kind = self._grounder.ground(end.space, names.take(pa.array(rows)) if i else names)
            better = (node >= 0) | ((code[rows] == ABSENT) & (node != ABSENT))
            rows = rows[better]
            code[rows], kind[rows], way[rows] = node[better], node_kind[better], i
        for value, why in _WHY.items():
            lost = good & (code == value)
            for i in np.unique(way[lost]):
                rows = lost & (way == i)
                quoted = pc.unique(whole(ends[i].names).filter(pa.array(rows))).slice(0, 100).to_pylist()
                rejected.add(f"{_WHAT[ends[i].space]} {why}", int(rows.sum()), quoted)
        allowed = np.isin(self._category, [CATEGORY_CODE[c] for c in categories])
        other = good & (code >= 0) & ~allowed[np.maximum(code, 0)]
        for c in np.unique(self._category[code[other]]):
            rows = other & (self._category[np.maximum(code, 0)] == c)
            reason = f"a {CATEGORIES[c]} where {' or '.join(categories[:3])} belongs"
            rejected.add(reason, int(rows.sum()), self._ids.pick(np.unique(code[rows])[:9]))
        good &= (code >= 0) & ~other
        for i, end in enumerate(ends):
            rows = good & (way == i)
            if end.space != "curie" and rows.any():
                self.mappings.add(name, end, rows, code, kind)
        return code

    def _parts(self, name: str, statements: Statements) -> npt.NDArray[np.int64]:
        """Code of the source or part of every row."""
        if isinstance(statements.part, str):
            words, index = [statements.part], np.zeros(len(statements), np.int64)
        else:
            encoded = whole(statements.part).dictionary_encode()
            words, index = encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)
        labels = [f"{name}:{w}" if w else name for w in words]
        self.labels += [label for label in labels if label not in self.labels]
        return np.array([self.labels.index(label) for label in labels], dtype=np.int64)[index]

    def _tissue(self, name: str, statements: Statements, rows: npt.NDArray[np.int64]) -> Codes:
        """Anatomical node of every kept row; a tissue that is not known costs the row nothing but the tissue."""
        if statements.tissue is None:
            return np.full(rows.size, UNKNOWN, dtype=np.int32)
        space, names = statements.tissue
        names = whole(names).take(pa.array(rows))
        code, kind = self._grounder.ground(space, names)
        anatomy = self._category == CATEGORY_CODE["AnatomicalEntity"]
        code = np.where((code >= 0) & anatomy[np.maximum(code, 0)], code, np.where(code >= 0, UNKNOWN, code))
        if space != "curie":
            self.mappings.add(name, End(space, names), code >= 0, code, kind)
        lost = (code < 0) & (code != ABSENT)
        self.mappings.unknown_tissues[name] = self.mappings.unknown_tissues.get(name, 0) + int(lost.sum())
        return code.astype(np.int32)

    def check(self, taken: Mapping[str, Taken], excluded_parts: Collection[str]) -> None:
        """Raise BuildError where a source kept none of its statements, or lacks a part that was to be left out."""
        for part in sorted(excluded_parts):
            name = part.partition(":")[0]
            if name not in taken:
                continue
            own = {label for label in self.labels if label.startswith(f"{name}:")}
            own |= {f"{name}:{declared}" for declared in taken[name].source.parts}
            if part not in own:
                hint = did_you_mean(part, own) or f"; parts: {', '.join(sorted(own)) or 'none'}"
                raise BuildError(f"no part {part!r} to leave out{hint}")
        for name, count in self.kept.items():
            if self.read[name] and not count:
                reasons = ", ".join(f"{n:,} {r}" for r, n in sorted(self.rejected[name].counts.items()))
                files = ", ".join(p.name for p in taken[name].files.values())
                raise BuildError(
                    f"source {name} ({files}): none of {self.read[name]:,} rows kept: {reasons}; "
                    f"check its release in the source table, or leave it out with --exclude-source {name}"
                )

    def source_names(self) -> set[str]:
        """Names of the sources and parts that have rows."""
        return set(self.kept_by_part)

    def rows(self, source_names: Sequence[str]) -> tuple[EdgeRows, dict[str, pa.Array]]:
        """All rows of all sources, and the dictionaries their publications and evidence codes point into."""
        batches = [b for b in self._batches if b.subject.size]
        code = np.array([source_names.index(s) if s in source_names else 0 for s in self.labels], np.int32)
        offsets = np.cumsum([0, *(b.subject.size for b in batches)])[:-1]
        tissue = _concat([b.tissue for b in batches], np.int32)
        placed = np.flatnonzero(tissue >= 0)
        publications, cited = _coded([b.publications for b in batches], offsets)
        evidence, kinds = _coded([b.evidence for b in batches], offsets)
        rows = EdgeRows(
            subject=_concat([b.subject for b in batches], np.int32),
            object=_concat([b.object for b in batches], np.int32),
            relation=_concat([b.relation for b in batches], np.uint8),
            source=_concat([code[b.source] for b in batches], np.int32),
            sign=_concat([b.sign for b in batches], np.int8),
            evidence_count=np.ones(tissue.size, dtype=np.int32),
            weight=_concat([b.weight for b in batches], np.float32),
            specificity=_concat([b.specificity for b in batches], np.float32),
            lists={"tissues": Pairs(placed, tissue[placed]), "publications": cited, "evidence": kinds},
        )
        return rows, {"publications": publications, "evidence": evidence}


def _expressed_in(batch: _Batch, relation: str) -> _Batch:
    """What a marker observed in a tissue says besides: the gene is expressed there."""
    rows = np.flatnonzero(batch.tissue >= 0)
    return _Batch(
        subject=batch.subject[rows],
        object=batch.tissue[rows],
        relation=np.full(rows.size, RELATION_CODE[relation], np.uint8),
        source=batch.source[rows],
        sign=batch.sign[rows],
        weight=np.full(rows.size, np.nan, np.float32),
        specificity=np.full(rows.size, np.nan, np.float32),
        publications=_take(batch.publications, rows),
        tissue=np.full(rows.size, UNKNOWN, np.int32),
        evidence=_take(batch.evidence, rows),
    )


def _coded(columns: Sequence[pa.Array | None], offsets: npt.NDArray[np.int64]) -> tuple[pa.Array, Pairs]:
    """A dictionary of all words of text or list columns, ascending, and which row carries which."""
    owners, words = [np.zeros(0, np.int64)], [pa.array([], pa.string())]
    for column, offset in zip(columns, offsets, strict=True):
        if column is None:
            continue
        if pa.types.is_list(column.type):
            owners.append(pc.list_parent_indices(column).to_numpy().astype(np.int64) + offset)
            words.append(pc.list_flatten(column))
        else:
            stated = np.asarray(pc.not_equal(column, "").to_numpy(zero_copy_only=False), dtype=bool)
            owners.append(np.flatnonzero(stated) + offset)
            words.append(column.filter(pa.array(stated)))
    every = pa.concat_arrays(words).dictionary_encode()
    order = pc.array_sort_indices(every.dictionary)
    rank = np.empty(len(order), dtype=np.int32)
    rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    codes = rank[every.indices.to_numpy(zero_copy_only=False)] if len(every) else np.zeros(0, np.int32)
    return every.dictionary.take(order), Pairs(np.concatenate(owners), codes)


def _take(column: Any, rows: npt.NDArray[np.int64]) -> pa.Array | None:
    return None if column is None else whole(column).take(pa.array(rows))


def _or(column: npt.NDArray[Any] | None, size: int, default: float, dtype: Any) -> npt.NDArray[Any]:
    return np.full(size, default, dtype=dtype) if column is None else column.astype(dtype)


def _concat(arrays: Sequence[npt.NDArray[Any]], dtype: Any) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *arrays]).astype(dtype)
