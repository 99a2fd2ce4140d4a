"""The output of a reader: terms, names and statements before grounding, and rejected rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vckg.base.types import Bools, Longs, SignedBytes, Singles
from vckg.graph.edge_table import distinct
from vckg.graph.string_array import texts, whole

Column = Any  # pa.Array | pa.ChunkedArray of strings: pyarrow carries no types
EXAMPLES = 3
UNSTATED = ("", "NA", "N/A", "nan", "NaN", "null", "-", ".")
"""Cells that state nothing."""


class End(NamedTuple):
    """One way to name the subject or object of every row: a namespace and the names, empty where absent."""

    space: str
    """``genes``, ``cells``, ``anatomy``, ``diseases`` for names of any kind; ``curie`` for ids alone."""
    names: Column


@dataclass(slots=True)
class Rejections:
    """Counts of rejected rows by reason, with a few examples of each."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, count: int, examples: Iterable[str] = ()) -> None:
        """Count rows under a reason; keep the alphabetically first examples."""
        if count:
            self.counts[reason] = self.counts.get(reason, 0) + count
            kept = {*self.examples.get(reason, []), *(str(e)[:120] for e in examples)}
            self.examples[reason] = sorted(kept)[:EXAMPLES]


@dataclass(frozen=True, slots=True)
class Statements:
    """Rows of one relation. An end may be named in several ways; the first one that grounds decides."""

    relation: str
    subject: tuple[End, ...]
    object: tuple[End, ...]
    sign: SignedBytes | None = None
    weight: Singles | None = None
    specificity: Singles | None = None
    publications: pa.Array | None = None
    """list<string> of CURIEs, one list per row."""
    tissue: End | None = None
    evidence: Column | None = None
    """One kind of evidence per row, empty where not stated."""
    part: Column | str = ""
    """The part of the source of each row; it becomes the source ``name:part``."""

    def __len__(self) -> int:
        return len(self.subject[0].names)


class Names(NamedTuple):
    """Names of one kind (see `vckg.graph.grounding.NAME_KINDS`) and the nodes that they mean."""

    kind: str
    names: pa.Array
    targets: pa.Array
    """CURIEs, or gene symbols where `by_symbol`."""
    by_symbol: bool = False
    """Whether targets are gene symbols; names that are known already are skipped."""


@dataclass(slots=True)
class Reading:
    """The content of one source."""

    rows: int = 0
    """Number of data rows of the file (of terms of an ontology)."""
    nodes: list[pa.Table] = field(default_factory=list)
    """Tables of `TERM_COLUMNS`; see `term_table`."""
    names: list[Names] = field(default_factory=list)
    """More names for grounding."""
    mapped: list[pa.Table] = field(default_factory=list)
    """Columns label, id: cell type labels that the source maps to the Cell Ontology."""
    obsolete: set[str] = field(default_factory=set)
    """CURIEs of obsolete terms, which are reported apart from unknown names."""
    statements: list[Statements] = field(default_factory=list)
    relation_labels: dict[str, str] = field(default_factory=dict)
    """Labels of relation ids, for the reasons of rejected rows."""
    rejected: Rejections = field(default_factory=Rejections)
    """Statements that the reader rejects: another species, a NOT annotation."""
    rejected_terms: Rejections = field(default_factory=Rejections)
    unread: Rejections = field(default_factory=Rejections)
    """Values that their row goes without: the row itself is kept."""

    def state(self, relation: str, subject: tuple[End, ...], object: tuple[End, ...], **columns: Any) -> None:
        """Add statements; the other `columns` are those of `Statements`."""
        self.statements.append(Statements(relation, subject, object, **columns))


def keep(table: pa.Table, mask: Bools, reason: str, rejected: Rejections, example: str) -> pa.Table:
    """Return the rows of `mask` and count the others as rejected; `example` is the column to quote."""
    lost = int((~mask).sum())
    if not lost:
        return table
    quoted = pc.unique(table[example].filter(pa.array(~mask))).slice(0, 200).to_pylist()
    rejected.add(reason, lost, (str(q) for q in quoted))
    return table.filter(pa.array(mask))


def as_mask(values: Column) -> Bools:
    """Return an Arrow boolean column as bool[m]; null counts as False."""
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), dtype=bool)


def equals(column: Column, value: str) -> Bools:
    """Return where a column equals a text: bool[m]."""
    return as_mask(pc.equal(column, value))


def one_of(column: Column, values: Sequence[str]) -> Bools:
    """Return where a column equals one of several texts: bool[m]."""
    return as_mask(pc.is_in(column, value_set=pa.array(list(values), pa.string())))


def pmids(column: Column, separator: str = ";", unread: Rejections | None = None) -> pa.Array:
    """Return the PubMed ids of each cell as ``PMID:`` CURIEs, without values that are not numbers.

    `unread` counts the rows with such a value.
    """
    encoded = whole(column).dictionary_encode()
    lists = pc.split_pattern(encoded.dictionary, separator)
    words = pc.replace_substring_regex(pc.utf8_trim_whitespace(lists.flatten()), "^PMID:", "")
    good = pc.match_substring_regex(words, "^[0-9]+$")
    if unread is not None:
        other = pc.and_(pc.invert(good), pc.invert(pc.is_in(words, value_set=pa.array(UNSTATED))))
        cells = np.unique(pc.list_parent_indices(lists).filter(other).to_numpy())
        rows = np.isin(encoded.indices.to_numpy(zero_copy_only=False), cells)
        unread.add("publication not a PubMed id", int(rows.sum()), pc.unique(words.filter(other)).to_pylist())
    owner = pc.list_parent_indices(lists).filter(good).to_numpy()
    curies = pc.binary_join_element_wise("PMID:", words.filter(good), "")
    return ascending_lists(owner, curies, len(lists)).take(encoded.indices)


def ascending_lists(owner: Longs, words: pa.Array, n: int) -> pa.Array:
    """Return n lists of distinct words, ascending; ``words[i]`` belongs to the list ``owner[i]``."""
    encoded = words.dictionary_encode()
    order = pc.array_sort_indices(encoded.dictionary)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order.to_numpy()] = np.arange(len(order))
    packed = distinct((owner.astype(np.int64) << 32) | rank[encoded.indices.to_numpy(zero_copy_only=False)])
    ends = np.concatenate(([0], np.cumsum(np.bincount(packed >> 32, minlength=n)))).astype(np.int32)
    values = encoded.dictionary.take(order).take(pa.array(packed & 0xFFFFFFFF))
    return pa.ListArray.from_arrays(pa.array(ends), values)


def numbers(column: Column, unread: Rejections | None = None) -> Singles:
    """Return a text column as float32[m], NaN where it is empty or no number; `unread` counts the latter."""
    series = pd.to_numeric(pd.Series(column.to_pandas()), errors="coerce")
    values = series.to_numpy(dtype=np.float32)
    if unread is not None:
        words = pc.utf8_trim_whitespace(column)
        other = np.isnan(values) & ~one_of(words, UNSTATED)
        unread.add(
            "weight not a number", int(other.sum()), pc.unique(words.filter(pa.array(other))).to_pylist()
        )
    return values


def exploded(lists: Sequence[Sequence[str]]) -> tuple[Longs, pa.Array]:
    """Return (owner row of each word, words) of a list per row."""
    owner = np.repeat(np.arange(len(lists)), [len(words) for words in lists])
    return owner, pa.array([w for words in lists for w in words], type=pa.string())


TERM_COLUMNS = ("id", "category", "name", "description", "synonyms", "xrefs")


def term_table(
    ids: Column | Sequence[str],
    category: str | Sequence[str],
    names: Column | Sequence[str],
    *,
    descriptions: Column | Sequence[str] | None = None,
    synonyms: Column | Sequence[Sequence[str]] | None = None,
    xrefs: Column | Sequence[Sequence[str]] | None = None,
) -> pa.Table:
    """Return n nodes as a table of `TERM_COLUMNS`; `category` is one text for all, or n texts."""
    n = len(ids)
    nothing = pa.ListArray.from_arrays(pa.array(np.zeros(n + 1, np.int32)), pa.array([], pa.string()))
    columns = [
        texts(ids),
        pa.repeat(category, n) if isinstance(category, str) else texts(category),
        texts(names),
        pa.repeat("", n) if descriptions is None else texts(descriptions),
        nothing if synonyms is None else _text_lists(synonyms),
        nothing if xrefs is None else _text_lists(xrefs),
    ]
    return pa.table(columns, names=list(TERM_COLUMNS))


def _text_lists(values: Column | Sequence[Sequence[str]]) -> Column:
    return values if isinstance(values, pa.Array) else pa.array(values, pa.list_(pa.string()))


def name_pairs(kind: str, pairs: Iterable[tuple[str, str]]) -> Names:
    """Return names of one kind from pairs of name and CURIE."""
    ordered = sorted(set(pairs))
    return Names(kind, *(pa.array([p[i] for p in ordered], pa.string()) for i in range(2)))
