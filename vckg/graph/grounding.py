"""Names to nodes: gene symbols and ids to HGNC, cell type labels to the Cell Ontology. Nothing is guessed.

Every name a graph knows lies in one ascending table (`NameTable`); a name leads to (kind, node) pairs and the
kinds are asked in a fixed order. Where the first kind that answers gives several nodes, the name is ambiguous
and stays so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vckg.graph.edge_table import distinct
from vckg.graph.name_keys import case_key, case_keys, gene_key, label_key, label_keys, normal_key, normal_keys
from vckg.graph.schema import CATEGORY_CODE
from vckg.graph.string_array import Strings

#: Kinds of name, by namespace, in the order they are asked.
GENE_KINDS = (
    "id",
    "symbol",
    "ensembl",
    "entrez",
    "uniprot",
    "replaced",
    "previous",
    "alias",
    "excel",
    "case",
)
#: Of the label kinds the first five are looked up by `label_key`, the others by `normal_key`.
LABEL_KINDS = (
    "id",
    "label",
    "exact_synonym",
    "replaced",
    "xref",
    "normalised",
    "normalised_synonym",
    "abbreviation",
    "mapped",
)
LABEL_SPACES = ("cells", "anatomy", "diseases", "terms")
NAME_KINDS = tuple(
    [f"genes.{k}" for k in GENE_KINDS] + [f"{space}.{k}" for space in LABEL_SPACES for k in LABEL_KINDS]
)
UNKNOWN, AMBIGUOUS, OBSOLETE, ABSENT = -1, -2, -3, -4
assert len(NAME_KINDS) < 64, "six bits hold a kind where names are packed for sorting"
_KIND_CODE = {kind: code for code, kind in enumerate(NAME_KINDS)}
_SPACES = {"Cell": "cells", "AnatomicalEntity": "anatomy", "Disease": "diseases"}
_XREF_KINDS = {"ENSEMBL": "ensembl", "NCBIGene": "entrez", "UniProtKB": "uniprot"}


#: So many names at once are worth hashing the whole table (half a second); fewer are found by bisection.
HASHED_FROM = 2000


class Grounded(NamedTuple):
    """What became of a name."""

    name: str
    curie: str | None
    """None where the name is ambiguous or unknown."""
    how: str
    """The kind of name that decided, or ``ambiguous`` or ``unknown``."""
    candidates: tuple[str, ...] = ()
    """The nodes an ambiguous name could mean, ascending."""


class NameRows(NamedTuple):
    """Names and the nodes they lead to, in any order, repeats allowed."""

    name: pa.Array
    kind: npt.NDArray[np.uint8]
    """Codes into `NAME_KINDS`."""
    node: npt.NDArray[np.int32]

    @classmethod
    def joined(cls, parts: Sequence[NameRows]) -> NameRows:
        """All rows of several."""
        names = pa.concat_arrays([p.name for p in parts])
        return cls(names, np.concatenate([p.kind for p in parts]), np.concatenate([p.node for p in parts]))

    def where(self, mask: npt.NDArray[np.bool_]) -> NameRows:
        """Some of the rows."""
        return NameRows(self.name.filter(pa.array(mask)), self.kind[mask], self.node[mask])

    @classmethod
    def of_frame(cls, frame: pd.DataFrame, ids: Strings) -> NameRows:
        """The rows of a frame with the columns name, kind and id; -1 for an id that is no node's."""
        kind = np.array([_KIND_CODE[k] for k in frame["kind"]], dtype=np.uint8)
        return cls(_strings(frame["name"]), kind, ids.positions(_strings(frame["id"])))


def name_rows(kind: str, names: pa.Array, node: npt.NDArray[np.int32]) -> NameRows:
    """Rows of one kind."""
    return NameRows(names, np.full(len(names), _KIND_CODE[kind], dtype=np.uint8), node)


@dataclass(frozen=True, slots=True)
class NameTable:
    """All names of a graph: ``keys[i]`` leads to ``(kind, node)[indptr[i]:indptr[i + 1]]``."""

    keys: Strings
    indptr: npt.NDArray[np.int32]
    kind: npt.NDArray[np.uint8]
    node: npt.NDArray[np.int32]

    @classmethod
    def build(cls, rows: NameRows) -> NameTable:
        """Return the table of some rows; those without a node or a name stay out."""
        encoded = rows.name.dictionary_encode()
        order = pc.array_sort_indices(encoded.dictionary)
        rank = np.empty(len(order), dtype=np.int64)
        rank[order.to_numpy()] = np.arange(len(order))
        words = encoded.dictionary.take(order)
        word = rank[encoded.indices.to_numpy(zero_copy_only=False)]
        good = (rows.node >= 0) & (word != words.index("").as_py())
        packed = distinct((word[good] << 37) | (rows.kind[good].astype(np.int64) << 31) | rows.node[good])
        owner = packed >> 37
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        return cls(
            Strings(words.take(pa.array(owner[starts]))),
            np.append(starts, packed.size).astype(np.int32),
            ((packed >> 31) & 0x3F).astype(np.uint8),
            (packed & 0x7FFFFFFF).astype(np.int32),
        )

    def candidates(self, keys: Sequence[str]) -> list[list[tuple[str, int]]]:
        """(kind, node) pairs of each key, in kind order; an empty list for an unknown key."""
        if len(keys) > HASHED_FROM:
            at = self.keys.positions(keys).tolist()
        else:
            at = [-1 if (p := self.keys.position(k)) is None else p for k in keys]
        return [[] if a < 0 else self._pairs(a) for a in at]

    def resolved(self, space: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """For every key the node it means in a namespace, or UNKNOWN or AMBIGUOUS, and the kind that decided."""
        owner = np.repeat(np.arange(len(self.keys)), np.diff(self.indptr))
        codes = [c for c, kind in enumerate(NAME_KINDS) if kind.startswith(f"{space}.")]
        mine = np.isin(self.kind, codes)
        owner, kind, node = owner[mine], self.kind[mine], self.node[mine]
        answer = np.full(len(self.keys), UNKNOWN, dtype=np.int32)
        decided = np.zeros(len(self.keys), dtype=np.uint8)
        first = np.full(len(self.keys), 255, dtype=np.uint8)
        np.minimum.at(first, owner, kind)
        deciding = kind == first[owner]
        owner, kind, node = owner[deciding], kind[deciding], node[deciding]
        answer[owner[::-1]] = node[::-1]
        decided[owner] = kind
        answer[owner[node != answer[owner]]] = AMBIGUOUS
        return answer, decided

    def _pairs(self, at: int) -> list[tuple[str, int]]:
        span = slice(self.indptr[at], self.indptr[at + 1])
        return [(NAME_KINDS[k], int(i)) for k, i in zip(self.kind[span], self.node[span], strict=True)]


class GeneGrounder:
    """Gene names of any kind to the genes of one graph."""

    def __init__(self, table: NameTable, ids: Strings) -> None:
        self._table, self._ids = table, ids

    def ground(self, names: Iterable[str]) -> list[Grounded]:
        """What became of each name, in order.

        Asked in turn: CURIE, approved symbol, Ensembl id (its version is ignored), NCBI Gene id, UniProt id,
        previous symbol, alias, the table of names that spreadsheets turn into dates, and last the same names
        without regard to case (``how`` is then ``case``: mouse symbols look like that).
        """
        names = list(names)
        exact = self._table.candidates([gene_key(name) for name in names])
        folded = self._table.candidates([case_key(name) for name in names])
        return [
            resolve(name, [*first, *later], "genes", self._ids)
            for name, first, later in zip(names, exact, folded, strict=True)
        ]


class LabelGrounder:
    """Labels and ids of one kind of ontology term to the terms of one graph."""

    def __init__(self, table: NameTable, ids: Strings, space: str) -> None:
        self._table, self._ids, self._space = table, ids, space

    def ground(self, names: Iterable[str]) -> list[Grounded]:
        """What became of each name, in order.

        Asked in turn: CURIE (also ``CL_0000084``), label, exact synonym, CURIE of a term that was replaced,
        normalised label, abbreviation. Never by a part of the name.
        """
        names = list(names)
        exact = self._table.candidates([label_key(name) for name in names])
        loose = self._table.candidates([normal_key(name) for name in names])
        return [
            resolve(name, [*first, *later], self._space, self._ids)
            for name, first, later in zip(names, exact, loose, strict=True)
        ]


class BulkGrounder:
    """Whole columns of names to node indices, for the build: the same rules as the grounders of one graph."""

    def __init__(self, table: NameTable, ids: Strings, obsolete: set[str]) -> None:
        self._table, self._obsolete = table, obsolete
        self._spaces: dict[str, tuple[dict[str, int], npt.NDArray[np.int32], npt.NDArray[np.uint8]]] = {}
        self._index = {curie: i for i, curie in enumerate(ids)}

    def ground(self, space: str, names: pa.Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """Return (node or a negative code, kind) per row of a text column, looking each distinct name up once."""
        encoded = names.dictionary_encode() if not pa.types.is_dictionary(names.type) else names
        words = encoded.dictionary.to_pylist()
        node, kind = self._curies(words) if space == "curie" else self._words(space, words)
        empty = np.array([not w.strip() for w in words], dtype=bool)
        node[empty] = ABSENT
        at = encoded.indices.to_numpy(zero_copy_only=False)
        return node[at], kind[at]

    def _space(self, space: str) -> tuple[dict[str, int], npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """Where the names of a namespace stand, and for every name the node it means there and how."""
        if space not in self._spaces:
            answer, decided = self._table.resolved(space)
            mine = np.flatnonzero(answer != UNKNOWN)
            keys = dict(zip(self._table.keys.pick(mine), range(mine.size), strict=True))
            self._spaces[space] = keys, answer[mine], decided[mine]
        return self._spaces[space]

    def _words(self, space: str, words: list[str]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        # most gene names are keys as they stand: asking that first spares two thirds of the work
        keys = (str, gene_key, case_key) if space == "genes" else (label_key, normal_key)
        position, answer, decided = self._space(space)
        node = np.full(len(words), UNKNOWN, dtype=np.int32)
        kind = np.zeros(len(words), dtype=np.uint8)
        for key in keys:
            open_ = np.flatnonzero(node == UNKNOWN)
            at = np.array([position.get(key(words[i]), -1) for i in open_], dtype=np.int64)
            found = at >= 0
            node[open_[found]] = answer[at[found]]
            kind[open_[found]] = decided[at[found]]
        self._mark_obsolete(words, node)
        return node, kind

    def _curies(self, words: list[str]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        node = np.array([self._index.get(word, UNKNOWN) for word in words], dtype=np.int32)
        kind = np.full(len(words), _KIND_CODE["terms.id"], dtype=np.uint8)
        for i in np.flatnonzero(node < 0):
            for name, index in self._table.candidates([words[i]])[0]:
                if name.endswith(".replaced"):
                    node[i], kind[i] = index, _KIND_CODE[name]
        self._mark_obsolete(words, node)
        return node, kind

    def _mark_obsolete(self, words: list[str], node: npt.NDArray[np.int32]) -> None:
        for i in np.flatnonzero(node == UNKNOWN):
            if words[i] in self._obsolete:
                node[i] = OBSOLETE


def resolve(name: str, pairs: list[tuple[str, int]], space: str, ids: Strings) -> Grounded:
    """Decide one name from its (kind, node) pairs: the first kind that answers decides or stays ambiguous."""
    mine = [(k.partition(".")[2], i) for k, i in pairs if k.startswith(f"{space}.")]
    if not mine:
        return Grounded(name, None, "unknown")
    kind = mine[0][0]
    nodes = sorted({i for k, i in mine if k == kind})
    if len(nodes) == 1:
        return Grounded(name, ids[nodes[0]], kind)
    return Grounded(name, None, "ambiguous", tuple(ids[i] for i in nodes))


def names_of_nodes(table: pa.Table, category: npt.NDArray[np.uint8]) -> NameRows:
    """The names that nodes themselves carry.

    Genes: CURIE, symbol, synonyms as aliases, xrefs with the prefixes ENSEMBL, NCBIGene and UniProtKB. Cells,
    anatomy and diseases: CURIE, label, synonyms as exact synonyms.
    """
    parts = _gene_names(_Told.of(table, category, "Gene"))
    for name, space in _SPACES.items():
        parts += _label_names(_Told.of(table, category, name), space)
    return NameRows.joined(parts)


class _Told(NamedTuple):
    """What the nodes of one category say of themselves."""

    node: npt.NDArray[np.int32]
    id: pa.Array
    name: pa.Array
    synonyms: pa.Array
    xrefs: pa.Array

    @classmethod
    def of(cls, table: pa.Table, category: npt.NDArray[np.uint8], name: str) -> _Told:
        node = np.flatnonzero(category == CATEGORY_CODE[name]).astype(np.int32)
        columns = (table[c].combine_chunks() for c in cls._fields[1:])
        return cls(node, *(c.take(pa.array(node)) for c in columns))

    def several(self, column: str) -> tuple[pa.Array, npt.NDArray[np.int32]]:
        """The words of a column of lists, and whose they are."""
        lists = getattr(self, column)
        return lists.flatten(), self.node[pc.list_parent_indices(lists).to_numpy()]


def _gene_names(genes: _Told) -> list[NameRows]:
    parts = [
        name_rows("genes.id", genes.id, genes.node),
        name_rows("genes.symbol", genes.name, genes.node),
        name_rows("genes.alias", *genes.several("synonyms")),
        name_rows("genes.case", case_keys(genes.name), genes.node),
    ]
    xrefs, owner = genes.several("xrefs")
    for prefix, kind in _XREF_KINDS.items():
        mine = pc.starts_with(xrefs, f"{prefix}:")
        curies, node = xrefs.filter(mine), owner[mine.to_numpy(zero_copy_only=False)]
        local = pc.utf8_slice_codeunits(curies, start=len(prefix) + 1)
        parts += [name_rows(f"genes.{kind}", names, node) for names in (curies, local)]
    return parts


def _label_names(terms: _Told, space: str) -> list[NameRows]:
    synonyms, owner = terms.several("synonyms")
    parts = [
        name_rows(f"{space}.id", terms.id, terms.node),
        name_rows(f"{space}.label", label_keys(terms.name), terms.node),
        name_rows(f"{space}.exact_synonym", label_keys(synonyms), owner),
    ]
    if space == "diseases":  # named by id in every source; a hundred thousand synonyms less to normalise
        return parts
    return [
        *parts,
        name_rows(f"{space}.normalised", normal_keys(terms.name), terms.node),
        name_rows(f"{space}.normalised_synonym", normal_keys(synonyms), owner),
    ]


def _strings(series: pd.Series[str]) -> pa.Array:
    return pa.array(series.to_numpy(dtype=object), type=pa.string())
