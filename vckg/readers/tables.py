"""Read any delimited table of statements; the row of the source names the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vckg.base.errors import BuildError
from vckg.base.types import Bools, SignedBytes
from vckg.graph.statements import End, Reading, as_mask, keep, numbers, one_of, pmids, term_table
from vckg.graph.string_array import whole
from vckg.readers._csv import read_columns

Parts = Mapping[str, Path]


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A way to name an end of every row: a column, with text to remove from and to put before its cells."""

    space: str
    column: str
    prefix: str = ""
    strip: str = ""
    """Regular expression to remove from the cells."""


class Only(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows to keep: the cell is one of `values` (or not empty); `reason` is for the others."""

    column: str
    reason: str
    values: tuple[str, ...] = ()
    at_least: float | None = None


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nodes that the table describes: a column of ids and a column of names."""

    column: str
    category: str
    name: str
    prefix: str = ""
    strip: str = ""


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column with words for activation and for repression."""

    column: str
    plus: tuple[str, ...]
    minus: tuple[str, ...]


def read_table(
    parts: Parts,
    *,
    relation: str,
    subject: Sequence[Names],
    object: Sequence[Names],
    separator: str = "\t",
    header: Sequence[str] | None = None,
    quoted: bool | None = None,
    comment: str = "",
    only: Sequence[Only] = (),
    terms: Terms | None = None,
    sign: Signed | None = None,
    publications: str = "",
    publication_separator: str = "",
    weight: str = "",
    evidence: str = "",
    tissue: Names | None = None,
) -> Reading:
    """Read a table of statements; the options are keys of the source table (see docs/sources.md).

    Publications are separated by ``;`` or ``|`` unless `publication_separator` names another. Fields may be in double
    quotes where the separator is a comma, unless `quoted` states it.
    """
    wanted = [n.column for n in (*subject, *object, *only, tissue, sign, terms) if n]
    wanted += [c for c in (publications, weight, evidence, terms.name if terms else "") if c]
    table = read_columns(
        parts["main"],
        list(dict.fromkeys(wanted)),
        separator=separator,
        header=header,
        quoted=separator == "," if quoted is None else quoted,
        comment=comment.encode(),
    )
    reading = Reading(rows=table.num_rows)
    for rule in only:
        table = keep(table, _kept(table, rule), rule.reason, reading.rejected, rule.column)
    if terms:
        reading.nodes.append(_nodes(table, terms))
    reading.state(
        relation,
        tuple(_end(table, n) for n in subject),
        tuple(_end(table, n) for n in object),
        sign=_signs(table, sign) if sign else None,
        weight=numbers(table[weight], reading.unread) if weight else None,
        publications=_cited(table[publications], publication_separator, reading) if publications else None,
        tissue=_end(table, tissue) if tissue else None,
        evidence=table[evidence] if evidence else None,
    )
    return reading


def _cells(table: pa.Table, column: str, prefix: str, strip: str) -> pa.Array:
    cells = pc.utf8_trim_whitespace(table[column])
    if strip:
        try:
            cells = pc.replace_substring_regex(cells, strip, "")
        except pa.ArrowInvalid as error:
            raise BuildError(f"source table: strip {strip!r} of column {column!r}: {error}") from error
    if prefix:
        cells = pc.if_else(pc.equal(cells, ""), "", pc.binary_join_element_wise(prefix, cells, ""))
    return whole(cells)


def _end(table: pa.Table, names: Names) -> End:
    return End(names.space, _cells(table, names.column, names.prefix, names.strip))


def _kept(table: pa.Table, rule: Only) -> Bools:
    if rule.at_least is not None:
        return np.asarray(numbers(table[rule.column]) >= rule.at_least, dtype=bool)
    if rule.values:
        return one_of(table[rule.column], rule.values)
    return as_mask(pc.not_equal(table[rule.column], ""))


def _nodes(table: pa.Table, described: Terms) -> pa.Table:
    """Return the distinct nodes of a table, each with its alphabetically first name."""
    ids = _cells(table, described.column, described.prefix, described.strip)
    named = pa.table({"id": ids, "name": table[described.name]}).group_by("id").aggregate([("name", "min")])
    named = named.filter(pc.not_equal(named["id"], ""))
    return term_table(named["id"], described.category, named["name_min"])


def _signs(table: pa.Table, signed: Signed) -> SignedBytes:
    cells = table[signed.column]
    return one_of(cells, signed.plus).astype(np.int8) - one_of(cells, signed.minus).astype(np.int8)


def _cited(column: Any, separator: str, reading: Reading) -> pa.Array:
    """Return the PubMed ids of each cell, also of ``PUBMED:1`` and ``pmid: 1``; other publications are counted."""
    if not separator:
        column = pc.replace_substring(column, "|", ";")
    return pmids(
        pc.replace_substring_regex(column, r"(?i)(pubmed|pmid):\s*", ""), separator or ";", reading.unread
    )
