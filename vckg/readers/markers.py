"""Marker tables: which gene marks which cell type, where, according to whom."""

from __future__ import annotations

import sqlite3
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vckg.base.errors import SourceError
from vckg.graph.name_keys import normal_keys
from vckg.graph.statements import (
    End,
    Names,
    Reading,
    equals,
    exploded,
    keep,
    numbers,
    one_of,
    pmids,
)
from vckg.graph.string_array import texts
from vckg.readers._csv import read_columns, read_mapping
from vckg.readers._json import Atlas, AtlasCell, read_json

Parts = Mapping[str, Path]


class _Species(NamedTuple):
    """How statements about one species are made."""

    word: str
    """What the tables call it."""
    space: str
    marker: str
    negative: str


_HUMAN = _Species("Human", "genes", "is_marker_for", "is_negative_marker_for")
_MOUSE = _Species("Mouse", "mouse_genes", "is_ortholog_marker_for", "is_negative_ortholog_marker_for")
_OTHER_SPECIES = "neither human nor mouse"


def _of_both(reading: Reading, table: pa.Table) -> Iterator[tuple[_Species, pa.Table]]:
    """Yield the rows of each species by the column ``species``; count the others as rejected."""
    both = one_of(table["species"], [_HUMAN.word, _MOUSE.word])
    table = keep(table, both, _OTHER_SPECIES, reading.rejected, "species")
    for species in (_HUMAN, _MOUSE):
        yield species, table.filter(pa.array(equals(table["species"], species.word)))


def read_cellmarker(parts: Parts, *, separator: str = "\t") -> Reading:
    """Read Cell_marker_All of CellMarker 2.0: rows with a CL id; cancer rows are the part ``cancer``.

    A gene is named by symbol, else the marker as the paper printed it; a human one also by NCBI Gene or UniProt id.
    """
    columns = ["species", "tissue_type", "uberonongology_id", "cancer_type", "cell_name", "cellontology_id"]
    columns += ["marker", "Symbol", "GeneID", "UNIPROTID", "technology_seq", "marker_source", "PMID"]
    table = read_columns(parts["main"], columns, separator=separator, quoted=separator == ",")
    reading = Reading(rows=table.num_rows)
    for species, rows in _of_both(reading, table):
        papers = pc.binary_join_element_wise("PMID:", rows["PMID"], "")
        where = [papers, rows["tissue_type"]]
        stated = _corrected(parts, rows["cell_name"], _underscored(rows["cellontology_id"]), where=where)
        if species is _HUMAN:
            reading.mapped.append(_mapped(rows["cell_name"], stated))
        rows = rows.append_column("cell", stated)
        rows = keep(rows, ~equals(stated, ""), "no cell type id", reading.rejected, "cell_name")
        cancer = ~equals(rows["cancer_type"], "Normal")
        named_by = ("Symbol", "GeneID", "UNIPROTID", "marker") if species is _HUMAN else ("Symbol", "marker")
        reading.state(
            species.marker,
            tuple(End(species.space, _blank_na(rows[c])) for c in named_by),
            (End("curie", rows["cell"]),),
            publications=pmids(rows["PMID"]),
            tissue=End("curie", _right_tissue(parts, rows["tissue_type"], rows["uberonongology_id"])),
            evidence=rows["marker_source"],
            part=texts(np.where(cancer, "cancer", "")),
        )
    return reading


def read_accordion(parts: Parts) -> Reading:
    """Read the Cell Marker Accordion; each underlying resource is a part of the source.

    Weight is the evidence consistency score (ECs, how many resources agree), specificity the SPs.
    """
    columns = [
        "species",
        "original_tissue",
        "Uberon_ID",
        "original_celltype",
        "CL_ID",
        "marker",
        "marker_type",
    ]
    table = read_columns(parts["main"], [*columns, "resource", "ECs_global", "SPs_global"])
    reading = Reading(rows=table.num_rows)
    for species, rows in _of_both(reading, table):
        where = [rows["original_tissue"]]
        stated = _corrected(parts, rows["original_celltype"], _underscored(rows["CL_ID"]), where=where)
        if species is _HUMAN:
            reading.mapped.append(_mapped(rows["original_celltype"], stated))
        rows = rows.append_column("cell", stated)
        known = one_of(rows["marker_type"], ["positive", "negative"])
        rows = keep(rows, known, "neither positive nor negative", reading.rejected, "marker_type")
        for kind, relation in (("positive", species.marker), ("negative", species.negative)):
            of_kind = rows.filter(pa.array(equals(rows["marker_type"], kind)))
            tissue = _right_tissue(parts, of_kind["original_tissue"], of_kind["Uberon_ID"])
            reading.state(
                relation,
                (End(species.space, of_kind["marker"]),),
                (End("curie", of_kind["cell"]),),
                weight=numbers(of_kind["ECs_global"]),
                specificity=numbers(of_kind["SPs_global"]),
                tissue=End("curie", tissue),
                part=pc.replace_substring(of_kind["resource"], " ", "_"),
            )
    return reading


def read_panglaodb(parts: Parts) -> Reading:
    """Read PanglaoDB; a row may hold for both species. Its cell types are names; the part ``cells`` has their classes.

    Weight is the sensitivity in the species, specificity one minus its `specificity`, which PanglaoDB defines as the
    fraction of other types that express the gene. Genes have human symbols: those of mouse are found in any case.
    """
    columns = ["species", "official gene symbol", "cell type", "organ"]
    figures = [f"{figure}_{word}" for word in ("human", "mouse") for figure in ("sensitivity", "specificity")]
    table = read_columns(parts["main"], [*columns, *figures])
    reading = Reading(rows=table.num_rows)
    words = [set(cell.split()) for cell in table["species"].to_pylist()]
    either = np.array([bool(w & {"Hs", "Mm"}) for w in words], dtype=bool)
    table = keep(table, either, _OTHER_SPECIES, reading.rejected, "species")
    named = read_mapping(parts["cells"], "name", "cl_id")
    exact = np.array([named.get(c) != "" for c in table["cell type"].to_pylist()], dtype=bool)
    table = keep(table, exact, "no class of that meaning in the Cell Ontology", reading.rejected, "cell type")
    for species, word in ((_HUMAN, "Hs"), (_MOUSE, "Mm")):
        inside = [word in cell.split() for cell in table["species"].to_pylist()]
        rows = table.filter(pa.array(inside, pa.bool_()))
        given = texts(named.get(c, "") for c in rows["cell type"].to_pylist())
        if species is _HUMAN:
            reading.mapped.append(_mapped(rows["cell type"], given))
        suffix = species.word.lower()
        reading.state(
            species.marker,
            (End(species.space, rows["official gene symbol"]),),
            (End("curie", given), End("cells", rows["cell type"])),
            weight=numbers(rows[f"sensitivity_{suffix}"]),
            specificity=1 - numbers(rows[f"specificity_{suffix}"]),
            tissue=End("anatomy", rows["organ"]),
        )
    return reading


def read_cellmatch(parts: Parts) -> Reading:
    """Read CellMatch (scCATCH); a subtype is looked up as ``subtype celltype``, never dropped."""
    columns = [
        "species",
        "tissue",
        "cancer",
        "subtype1",
        "subtype2",
        "subtype3",
        "celltype",
        "gene",
        "resource",
    ]
    table = read_columns(parts["main"], [*columns, "pmid"])
    reading = Reading(rows=table.num_rows)
    for species, rows in _of_both(reading, table):
        frame: pd.DataFrame = rows.to_pandas()
        first, second, third = (frame[f"subtype{i}"].replace("NA", "") for i in (1, 2, 3))
        subtypes = first + " " + second + " " + third
        label = (subtypes + " " + frame["celltype"]).str.split().str.join(" ")
        unbracketed = frame["celltype"].str.replace(r"\s*\([^)]*\)", "", regex=True)
        bare = unbracketed.where(subtypes.str.strip() == "", "")
        cancer = frame["cancer"] != "Normal"
        reading.state(
            species.marker,
            (End(species.space, rows["gene"]),),
            (End("cells", texts(label)), End("cells", texts(bare))),
            publications=pmids(rows["pmid"]),
            tissue=End("anatomy", rows["tissue"]),
            evidence=rows["resource"],
            part=texts(np.where(cancer, "cancer", "")),
        )
    return reading


def read_singlecellbase(parts: Parts) -> Reading:
    """Read SingleCellBase; `gene_symbol` is a comma list; types by sub-type name, else name."""
    columns = ["species", "cell_type", "gene_symbol", "cell_subtype", "tissue_type", "pubmed_id"]
    table = read_columns(parts["main"], columns, quoted=True)
    reading = Reading(rows=table.num_rows)
    genes = [[g.strip() for g in cell.split(",") if g.strip()] for cell in table["gene_symbol"].to_pylist()]
    owner, symbols = exploded(genes)
    wide = table.take(pa.array(owner)).append_column("gene", symbols)
    latin = {"Homo sapiens": _HUMAN.word, "Mus musculus": _MOUSE.word}
    words = texts(latin.get(w, w) for w in wide["species"].to_pylist())
    wide = wide.set_column(wide.schema.get_field_index("species"), "species", words)
    for species, rows in _of_both(reading, wide):
        reading.state(
            species.marker,
            (End(species.space, rows["gene"]),),
            (End("cells", rows["cell_subtype"]),),
            publications=pmids(rows["pubmed_id"]),
            tissue=End("anatomy", rows["tissue_type"]),
        )
    return reading


def read_marker_atlas(parts: Parts) -> Reading:
    """Read celltypepilot's curated atlas: tissues of cell types, nested, with CL ids and evidence per marker."""
    atlas = read_json(parts["main"], Atlas)
    rows = [
        row for tissue, said in atlas.tissues.items() for row in _atlas_rows(tissue, said.cell_types or {})
    ]
    reading = Reading(rows=len(rows))
    for polarity, relation in (("positive", "is_marker_for"), ("negative", "is_negative_marker_for")):
        chosen = [r for r in rows if r["polarity"] == polarity]
        reading.state(
            relation,
            (End("genes", texts(r["gene"] for r in chosen)),),
            (End("curie", texts(r["cl_id"] for r in chosen)),),
            publications=pa.array([r["publications"] for r in chosen], pa.list_(pa.string())),
            tissue=End("anatomy", texts(r["tissue"] for r in chosen)),
        )
    return reading


def _atlas_rows(tissue: str, cells: Mapping[str, AtlasCell]) -> Iterator[dict[str, Any]]:
    for cell in cells.values():
        evidence = {
            (e.gene, e.polarity): sorted({f"PMID:{s.pmid}" for s in e.sources if s.pmid})
            for e in cell.marker_evidence or []
        }
        stated = (("positive", cell.positive_markers), ("negative", cell.negative_markers))
        for polarity, genes in stated:
            for gene in genes or []:
                yield {
                    "gene": gene,
                    "cl_id": cell.cl_id or "",
                    "polarity": polarity,
                    "tissue": tissue,
                    "publications": evidence.get((gene, polarity), []),
                }
        yield from _atlas_rows(tissue, cell.subtypes or {})


_CELLTYPIST = """
    SELECT m.name, c.ontology, c.name, '{part}',
           (SELECT group_concat(d.pubmed_id, ';') FROM cell_type_datasets l JOIN datasets d USING (id_dataset)
            WHERE l.id_low = c.id_low)
    FROM {table} m JOIN low_herarchy_cell_types c USING (id_low) ORDER BY 2, 1
"""


def read_celltypist(parts: Parts) -> Reading:
    """Read the CellTypist encyclopedia (SQLite): curated markers, and the models' top ten as the part ``top10``."""
    path = parts["main"]
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        try:
            rows = [
                row
                for table, part in (("curated_markers", ""), ("top_10", "top10"))
                for row in connection.execute(_CELLTYPIST.format(table=table, part=part))
            ]
        finally:
            connection.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise SourceError(path, f"not the encyclopedia's database: {error}") from error
    reading = Reading(rows=len(rows))
    frame = pd.DataFrame(rows, columns=["gene", "cl", "name", "part", "pmids"]).fillna("").astype(str)
    stated = _corrected(parts, texts(frame["name"]), texts(frame["cl"].str.strip()))
    reading.mapped.append(_mapped(texts(frame["name"]), stated))
    reading.state(
        "is_marker_for",
        (End("genes", texts(frame["gene"])),),
        (End("curie", stated),),
        publications=pmids(texts(frame["pmids"])),
        part=texts(frame["part"]),
    )
    return reading


def read_cell_labels(parts: Parts) -> Reading:
    """Read the shipped table of customary cell type names: columns label, cl_id, cl_label."""
    table = read_columns(parts["main"], ["label", "cl_id"], comment=b"#")
    labels, ids = (table[c].combine_chunks() for c in ("label", "cl_id"))
    names = Names("cells.abbreviation", normal_keys(labels), ids)
    return Reading(rows=table.num_rows, names=[names])


#: What openpyxl raises on files that are no sound workbook: it checks little before it reads.
_NO_WORKBOOK = (
    ValueError,
    OSError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    RuntimeError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_sctype(parts: Parts) -> Reading:
    """Read ScTypeDB_full.xlsx: comma lists of positive (geneSymbolmore1) and negative (geneSymbolmore2) markers."""
    path = parts["main"]
    try:
        frame = pd.read_excel(path, dtype=str, engine="openpyxl", keep_default_na=False)
    except _NO_WORKBOOK as error:
        raise SourceError(path, f"not a readable workbook: {error}") from error
    wanted = ["tissueType", "cellName", "geneSymbolmore1", "geneSymbolmore2"]
    if missing := [c for c in wanted if c not in frame]:
        raise SourceError(path, f"no column {missing[0]!r} in {', '.join(map(str, frame.columns))}", line=1)
    reading = Reading(rows=len(frame))
    columns = (("geneSymbolmore1", "is_marker_for"), ("geneSymbolmore2", "is_negative_marker_for"))
    for column, relation in columns:
        lists = [sorted({g.strip() for g in cell.split(",")} - {""}) for cell in frame[column].fillna("")]
        owner, genes = exploded(lists)
        rows = frame.iloc[owner]
        reading.state(
            relation,
            (End("genes", genes),),
            (End("cells", texts(rows["cellName"])),),
            tissue=End("anatomy", texts(rows["tissueType"])),
        )
    return reading


def _underscored(column: Any) -> Any:
    """``CL_0000235`` as a CURIE; what is not of that form as an empty text."""
    text = pc.utf8_trim_whitespace(column)
    right = pc.match_substring_regex(text, r"^[A-Za-z]+[_:]\d+$")
    return pc.if_else(right, pc.replace_substring(text, "_", ":"), "")


def _corrected(
    parts: Parts,
    names: Any,
    stated: Any,
    part: str = "corrections",
    right: str = "cl_id",
    where: Sequence[Any] = (),
) -> Any:
    """Replace ids listed in the corrections table; a row with a ``where`` holds for the rows of one tissue or paper."""
    if part not in parts:
        return stated
    table = read_columns(parts[part], ["name", "stated", right, *(["where"] if where else [])], comment=b"#")
    keys = [table[name] for name in ("name", "stated", "where") if name in table.column_names]
    wrong = pc.binary_join_element_wise(*keys, "\t").combine_chunks()
    asked = [[names, stated, text] for text in (*where, "")] if where else [[names, stated]]
    rows = [pc.index_in(pc.binary_join_element_wise(*key, "\t"), value_set=wrong) for key in asked]
    return pc.coalesce(*(pc.take(table[right].combine_chunks(), row) for row in rows), stated)


def _right_tissue(parts: Parts, names: Any, stated: Any) -> Any:
    """Return Uberon ids as CURIEs, corrected by the part ``tissues``."""
    return _corrected(parts, names, _underscored(stated), "tissues", "uberon_id")


def _blank_na(column: Any) -> Any:
    return pc.if_else(pc.equal(column, "NA"), "", column)


def _mapped(labels: Any, ids: Any) -> pa.Table:
    pairs = pa.table({"label": labels, "id": ids}).group_by(["label", "id"]).aggregate([])
    return pairs.filter(pc.and_(pc.not_equal(pairs["label"], ""), pc.starts_with(pairs["id"], "CL:")))
