"""Names to nodes: gene symbols and ids to genes, cell type labels to the Cell Ontology. Names are never guessed.

Human names lead to human genes, mouse names to mouse genes, and rat names to the human orthologue.

All names of a graph are in one ascending table (`NameTable`), which maps a name to (kind, node) pairs. The first kind
with a pair, in a fixed order, decides; where it gives several nodes, the name is ambiguous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vckg.base.errors import GraphError, did_you_mean
from vckg.base.types import Bools, Bytes, Ints
from vckg.graph.edge_table import distinct
from vckg.graph.name_keys import case_key, case_keys, gene_key, label_key, label_keys, normal_key, normal_keys
from vckg.graph.schema import CATEGORY_CODE
from vckg.graph.string_array import Strings, texts

#: Kinds of gene names, in order of precedence.
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
#: Namespaces of genes besides ``genes``, by species, and the kinds of their names.
SPECIES_SPACES = {"mouse": "mouse_genes", "rat": "rat_genes"}
_SPECIES_KINDS = ("id", "symbol", "ensembl", "alias", "case")
GENE_SPACES = ("genes", *SPECIES_SPACES.values())
#: Kinds of labels, in order of precedence. The first five are looked up by `label_key`, the others by `normal_key`.
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
    [f"genes.{k}" for k in GENE_KINDS]
    + [f"{space}.{k}" for space in LABEL_SPACES for k in LABEL_KINDS]
    + [f"{space}.{k}" for space in SPECIES_SPACES.values() for k in _SPECIES_KINDS]
)
UNKNOWN, AMBIGUOUS, OBSOLETE, ABSENT = -1, -2, -3, -4
assert len(NAME_KINDS) < 64, "six bits hold a kind where names are packed for sorting"
_KIND_CODE = {kind: code for code, kind in enumerate(NAME_KINDS)}
_SPACES = {"Cell": "cells", "AnatomicalEntity": "anatomy", "Disease": "diseases"}
_XREF_KINDS = {"ENSEMBL": "ensembl", "NCBIGene": "entrez", "UniProtKB": "uniprot"}


#: From this number of names on, hash the whole table (half a second); search fewer names by bisection.
HASHED_FROM = 400


class Grounded(NamedTuple):
    """Result of grounding one name: a CURIE, ambiguous, or unknown."""

    name: str
    curie: str | None
    """None where the name is ambiguous or unknown."""
    how: str
    """The kind of name that decided, or ``ambiguous``, or ``unknown``."""
    candidates: tuple[str, ...] = ()
    """The CURIEs that an ambiguous name may mean, ascending."""


class NameRows(NamedTuple):
    """Names and their nodes, in any order, repeats allowed."""

    name: pa.Array
    kind: Bytes
    """Codes into `NAME_KINDS`."""
    node: Ints

    @classmethod
    def joined(cls, parts: Sequence[NameRows]) -> NameRows:
        """Concatenate rows."""
        names = pa.concat_arrays([p.name for p in parts])
        return cls(names, np.concatenate([p.kind for p in parts]), np.concatenate([p.node for p in parts]))

    def where(self, mask: Bools) -> NameRows:
        """Return the rows of `mask`."""
        return NameRows(self.name.filter(pa.array(mask)), self.kind[mask], self.node[mask])

    @classmethod
    def of_frame(cls, frame: pd.DataFrame, ids: Strings) -> NameRows:
        """Return the rows of a frame with columns name, kind and id; an unknown id becomes node -1."""
        if unknown := sorted({*frame["kind"]} - {*_KIND_CODE}):
            raise GraphError(f"no kind of name {unknown[0]!r}{did_you_mean(unknown[0], NAME_KINDS)}")
        kind = np.array([_KIND_CODE[k] for k in frame["kind"]], dtype=np.uint8)
        return cls(texts(frame["name"]), kind, ids.positions(texts(frame["id"])))


def name_rows(kind: str, names: pa.Array, node: Ints) -> NameRows:
    """Return rows of one kind."""
    return NameRows(names, np.full(len(names), _KIND_CODE[kind], dtype=np.uint8), node)


@dataclass(frozen=True, slots=True)
class NameTable:
    """All names of a graph: ``keys[i]`` means ``(kind, node)[indptr[i]:indptr[i + 1]]``."""

    keys: Strings
    indptr: Ints
    kind: Bytes
    node: Ints

    @classmethod
    def build(cls, rows: NameRows) -> NameTable:
        """Return the table of rows; leave out rows without a node or a name."""
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
        """Return the (kind, node) pairs of each key, in order of precedence; an empty list for an unknown key."""
        if len(keys) > HASHED_FROM:
            positions = self.keys.positions(keys).tolist()
        else:
            positions = [-1 if (p := self.keys.position(k)) is None else p for k in keys]
        return [[] if a < 0 else self._pairs(a) for a in positions]

    def resolved(self, space: str) -> tuple[Ints, Bytes]:
        """Return for every key its node in a namespace (or UNKNOWN, AMBIGUOUS) and the kind that decided."""
        owner = np.repeat(np.arange(len(self.keys)), np.diff(self.indptr))
        codes = [c for c, kind in enumerate(NAME_KINDS) if kind.startswith(f"{space}.")]
        in_space = np.isin(self.kind, codes)
        owner, kind, node = owner[in_space], self.kind[in_space], self.node[in_space]
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

    def _pairs(self, position: int) -> list[tuple[str, int]]:
        span = slice(self.indptr[position], self.indptr[position + 1])
        return [(NAME_KINDS[k], int(i)) for k, i in zip(self.kind[span], self.node[span], strict=True)]


class Grounder:
    """Ground names and ids of one namespace: of the genes of a species, or of one kind of ontology term.

    Kinds of gene names by precedence: CURIE, approved symbol, Ensembl id (without version), NCBI Gene id, UniProt id,
    previous symbol, alias, names that spreadsheets turn into dates, and all of these in any case (``how`` is then
    ``case``; mouse symbols are often found so). A symbol in another case goes before an alias. Kinds of labels by
    precedence: CURIE (also ``CL_0000084``), label, exact synonym, CURIE of a replaced term, normalised label,
    abbreviation. A part of a name never matches.

    Examples
    --------
    >>> import vckg
    >>> graph = vckg.example_graph()
    >>> graph.genes.ground(["CD20", "cd3d", "CD99"])
    [Grounded(name='CD20', curie='HGNC:7315', how='alias', candidates=()),
     Grounded(name='cd3d', curie='HGNC:1673', how='case', candidates=()),
     Grounded(name='CD99', curie=None, how='unknown', candidates=())]
    >>> [answer.how for answer in graph.cells.ground(["T-lymphocyte", "B cells", "CL_0000084"])]
    ['exact_synonym', 'normalised', 'id']
    """

    def __init__(self, table: NameTable, ids: Strings, space: str) -> None:
        self._table, self._ids, self._space = table, ids, space

    def ground(self, names: Iterable[str]) -> list[Grounded]:
        """Return the result of each name, in order."""
        names = list(names)
        exact, loose = (
            self._table.candidates([key(name) for name in names]) for key in _keys_of(self._space)
        )
        return [
            resolve(name, [*first, *later], self._space, self._ids)
            for name, first, later in zip(names, exact, loose, strict=True)
        ]


def _keys_of(space: str) -> tuple[Callable[[str], str], Callable[[str], str]]:
    """Return the lookup keys of a namespace, in the order of asking."""
    return (gene_key, case_key) if space in GENE_SPACES else (label_key, normal_key)


class BulkGrounder:
    """Ground whole columns of names to node indices, by the rules of `Grounder`; the build uses it.

    Sources write symbols in their case, so that an alias goes before a symbol in another case.
    """

    def __init__(self, table: NameTable, ids: Strings, obsolete: set[str]) -> None:
        self._table, self._obsolete = table, obsolete
        self._spaces: dict[str, tuple[dict[str, int], Ints, Bytes]] = {}
        self._index = {curie: i for i, curie in enumerate(ids)}

    def ground(self, space: str, names: pa.Array) -> tuple[Ints, Bytes]:
        """Return (node or a negative code, kind) per row of a text column; look up each distinct name once."""
        encoded = names.dictionary_encode() if not pa.types.is_dictionary(names.type) else names
        words = encoded.dictionary.to_pylist()
        node, kind = self._curies(words) if space == "curie" else self._words(space, words)
        empty = np.array([not w.strip() for w in words], dtype=bool)
        node[empty] = ABSENT
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        return node[codes], kind[codes]

    def _space(self, space: str) -> tuple[dict[str, int], Ints, Bytes]:
        """Return the names of a namespace with their positions, and the node and deciding kind of each."""
        if space not in self._spaces:
            answer, decided = self._table.resolved(space)
            known = np.flatnonzero(answer != UNKNOWN)
            keys = dict(zip(self._table.keys.pick(known), range(known.size), strict=True))
            self._spaces[space] = keys, answer[known], decided[known]
        return self._spaces[space]

    def _words(self, space: str, words: list[str]) -> tuple[Ints, Bytes]:
        # most gene names are keys unchanged: to try that first saves two thirds of the work
        plain: Callable[[str], str] = str
        keys = (*([plain] if space in GENE_SPACES else []), *_keys_of(space))
        position, answer, decided = self._space(space)
        node = np.full(len(words), UNKNOWN, dtype=np.int32)
        kind = np.zeros(len(words), dtype=np.uint8)
        for key in keys:
            open_ = np.flatnonzero(node == UNKNOWN)
            positions = np.array([position.get(key(words[i]), -1) for i in open_], dtype=np.int64)
            known = positions >= 0
            node[open_[known]] = answer[positions[known]]
            kind[open_[known]] = decided[positions[known]]
        self._mark_obsolete(words, node)
        return node, kind

    def _curies(self, words: list[str]) -> tuple[Ints, Bytes]:
        node = np.array([self._index.get(word, UNKNOWN) for word in words], dtype=np.int32)
        kind = np.full(len(words), _KIND_CODE["terms.id"], dtype=np.uint8)
        for i in np.flatnonzero(node < 0):
            for name, index in self._table.candidates([words[i]])[0]:
                if name.endswith(".replaced"):
                    node[i], kind[i] = index, _KIND_CODE[name]
        self._mark_obsolete(words, node)
        return node, kind

    def _mark_obsolete(self, words: list[str], node: Ints) -> None:
        for i in np.flatnonzero(node == UNKNOWN):
            if words[i] in self._obsolete:
                node[i] = OBSOLETE


def resolve(name: str, pairs: list[tuple[str, int]], space: str, ids: Strings) -> Grounded:
    """Decide one name by its (kind, node) pairs: the first kind with a pair decides, or is ambiguous.

    A symbol in another case goes before an alias: ``FAS`` of a mouse is Fas, not Fasn.
    """
    answers = [(k.partition(".")[2], i) for k, i in pairs if k.startswith(f"{space}.")]
    if not answers:
        return Grounded(name, None, "unknown")
    kind = answers[0][0]
    if kind == "alias" and any(k == "case" for k, _ in answers):
        kind = "case"
    nodes = sorted({i for k, i in answers if k == kind})
    if len(nodes) == 1:
        return Grounded(name, ids[nodes[0]], kind)
    return Grounded(name, None, "ambiguous", tuple(ids[i] for i in nodes))


def names_of_nodes(table: pa.Table, category: Bytes) -> NameRows:
    """Return the names in the texts of the nodes.

    Genes: CURIE, symbol, synonyms as aliases, xrefs with the prefixes ENSEMBL, NCBIGene and UniProtKB (of other
    species ENSEMBL alone). Cells, anatomy and diseases: CURIE, label, synonyms as exact synonyms.
    """
    parts = _gene_names(_Texts.of(table, category, "Gene"), "genes", _XREF_KINDS)
    mouse = {"ENSEMBL": _XREF_KINDS["ENSEMBL"]}
    parts += _gene_names(_Texts.of(table, category, "OrthologGene"), SPECIES_SPACES["mouse"], mouse)
    for name, space in _SPACES.items():
        parts += _label_names(_Texts.of(table, category, name), space)
    return NameRows.joined(parts)


class _Texts(NamedTuple):
    """The texts of the nodes of one category."""

    node: Ints
    id: pa.Array
    name: pa.Array
    synonyms: pa.Array
    xrefs: pa.Array

    @classmethod
    def of(cls, table: pa.Table, category: Bytes, name: str) -> _Texts:
        node = np.flatnonzero(category == CATEGORY_CODE[name]).astype(np.int32)
        columns = (table[c].combine_chunks() for c in cls._fields[1:])
        return cls(node, *(c.take(pa.array(node)) for c in columns))

    def several(self, column: str) -> tuple[pa.Array, Ints]:
        """Return the words of a column of lists, and the node of each."""
        lists = getattr(self, column)
        return lists.flatten(), self.node[pc.list_parent_indices(lists).to_numpy()]


def _gene_names(genes: _Texts, space: str, xref_kinds: Mapping[str, str]) -> list[NameRows]:
    parts = [
        name_rows(f"{space}.id", genes.id, genes.node),
        name_rows(f"{space}.symbol", genes.name, genes.node),
        name_rows(f"{space}.alias", *genes.several("synonyms")),
        name_rows(f"{space}.case", case_keys(genes.name), genes.node),
    ]
    xrefs, owner = genes.several("xrefs")
    for prefix, kind in xref_kinds.items():
        of_prefix = pc.starts_with(xrefs, f"{prefix}:")
        curies, node = xrefs.filter(of_prefix), owner[of_prefix.to_numpy(zero_copy_only=False)]
        local = pc.utf8_slice_codeunits(curies, start=len(prefix) + 1)
        parts += [name_rows(f"{space}.{kind}", names, node) for names in (curies, local)]
    return parts


def _label_names(terms: _Texts, space: str) -> list[NameRows]:
    synonyms, owner = terms.several("synonyms")
    parts = [
        name_rows(f"{space}.id", terms.id, terms.node),
        name_rows(f"{space}.label", label_keys(terms.name), terms.node),
        name_rows(f"{space}.exact_synonym", label_keys(synonyms), owner),
    ]
    if space == "diseases":  # every source names diseases by id: 100,000 synonyms need no normalised key
        return parts
    return [
        *parts,
        name_rows(f"{space}.normalised", normal_keys(terms.name), terms.node),
        name_rows(f"{space}.normalised_synonym", normal_keys(synonyms), owner),
    ]
