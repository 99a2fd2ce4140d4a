"""Read the original files of publishers: STRING, NCBI Gene, GTF, CellGuide, regulon sets, OWL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vckg.base.errors import SourceError
from vckg.graph.statements import End, Names, Reading, as_mask, equals, exploded, keep, numbers
from vckg.readers._csv import line_of, read_bytes, read_columns
from vckg.readers._json import CellGuide, read_json
from vckg.readers.sets import gmt_lines

Parts = Mapping[str, Path]


def read_string(parts: Parts, *, at_least: int) -> Reading:
    """Read STRING's protein.links and protein.info: pairs of proteins with a combined score (0 to 1000).

    The file has each pair in both directions; one is kept. Proteins become genes by their preferred name.
    """
    links = read_columns(parts["main"], ["protein1", "protein2", "combined_score"], separator=" ")
    info = read_columns(parts["info"], ["#string_protein_id", "preferred_name"])
    reading = Reading(rows=links.num_rows)
    forward = as_mask(pc.less(links["protein1"], links["protein2"]))
    links = keep(links, forward, "the same pair in the other direction", reading.rejected, "protein1")
    score = numbers(links["combined_score"])
    strong = np.asarray(score >= at_least, dtype=bool)
    links = keep(links, strong, f"combined score below {at_least}", reading.rejected, "protein1")
    ends = []
    for column in ("protein1", "protein2"):
        rows = pc.index_in(links[column], value_set=info["#string_protein_id"].combine_chunks())
        names = (
            info["preferred_name"]
            .combine_chunks()
            .take(rows.combine_chunks() if links.num_rows else pa.array([], pa.int32()))
        )
        ends.append((End("genes", pc.fill_null(names, "")),))
    reading.state("interacts_with", ends[0], ends[1], weight=score[strong] / np.float32(1000))
    return reading


def read_gene_info(parts: Parts) -> Reading:
    """Read names from gene_info of NCBI, for genes with an HGNC id in dbXrefs."""
    table = read_columns(parts["main"], ["#tax_id", "GeneID", "Synonyms", "dbXrefs"])
    reading = Reading(rows=table.num_rows)
    table = keep(table, equals(table["#tax_id"], "9606"), "not human", reading.rejected_terms, "#tax_id")
    named = pc.match_substring_regex(table["dbXrefs"], r"(^|\|)HGNC:HGNC:[0-9]+")
    table = keep(table, as_mask(named), "no HGNC id", reading.rejected_terms, "GeneID")
    ids = pc.replace_substring_regex(
        table["dbXrefs"], r"^(?:.*\|)?HGNC:(HGNC:[0-9]+).*$", r"\1"
    ).combine_chunks()
    reading.names.append(Names("genes.entrez", table["GeneID"].combine_chunks(), ids))
    lists = pc.split_pattern(table["Synonyms"], "|").combine_chunks()
    aliases, owner = lists.flatten(), pc.list_parent_indices(lists)
    stated = pc.invert(pc.is_in(aliases, value_set=pa.array(["-", ""])))
    reading.names.append(Names("genes.alias", aliases.filter(stated), ids.take(owner.filter(stated))))
    return reading


def _named(kind: str, names: pd.Series[Any], targets: pd.Series[Any], *, by_symbol: bool = False) -> Names:
    texts, ends = (pa.array(s.to_numpy(dtype=object), pa.string()) for s in (names, targets))
    return Names(kind, texts, ends, by_symbol)


_GTF = ["seqname", "source", "feature", "start", "end", "score", "strand", "frame", "attributes"]


def read_gtf(parts: Parts) -> Reading:
    """Read Ensembl ids from a GTF of GENCODE or Ensembl as names of the gene of ``hgnc_id`` or of the symbol."""
    table = read_columns(parts["main"], ["feature", "attributes"], header=_GTF, comment=b"#")
    genes = table.filter(pa.array(equals(table["feature"], "gene")))
    reading = Reading(rows=genes.num_rows)
    text = pd.Series(genes["attributes"].to_pandas(), dtype=object)
    frame = pd.DataFrame(
        {
            "name": text.str.extract(r'gene_id "([^".]+)', expand=False),
            "symbol": text.str.extract(r'gene_name "([^"]+)"', expand=False),
            "id": text.str.extract(r'hgnc_id "?(HGNC:\d+)', expand=False),
        }
    ).dropna(subset="name")
    by_id, by_symbol = frame.dropna(subset="id"), frame[frame["id"].isna()].dropna(subset="symbol")
    reading.names += [
        _named("genes.ensembl", by_id["name"], by_id["id"]),
        _named("genes.ensembl", by_symbol["name"], by_symbol["symbol"], by_symbol=True),
    ]
    nameless = len(genes) - len(by_id) - len(by_symbol)
    reading.rejected_terms.add("gene without a symbol", nameless)
    return reading


def read_cellguide(parts: Parts, *, organism: str) -> Reading:
    """Read the computational markers of CellGuide: by organism, tissue and cell type, with score and specificity."""
    content = read_json(parts["main"], CellGuide)
    rows = [
        (organism, gene.gene, cell, tissue, gene.marker_score, gene.specificity)
        for organism, tissues in content.items()
        for tissue, cells in tissues.items()
        for cell, genes in cells.items()
        for gene in genes
    ]
    reading = Reading(rows=len(rows))
    ours = [r for r in rows if r[0] == organism]
    reading.rejected.add(f"not {organism}", len(rows) - len(ours), {r[0] for r in rows} - {organism})
    gene, cell, tissue = (pa.array([r[i] for r in ours], pa.string()) for i in (1, 2, 3))
    reading.state(
        "is_marker_for",
        (End("genes", gene),),
        (End("curie", cell),),
        weight=np.array([r[4] for r in ours], dtype=np.float32),
        specificity=np.array([r[5] for r in ours], dtype=np.float32),
        tissue=End("anatomy", tissue),
    )
    return reading


def read_regulon_sets(parts: Parts) -> Reading:
    """Read regulons from a GMT of target sets that start with their factor (``ATF3_K562_hg19``): ChEA3, JASPAR."""
    factors, targets = [], []
    for _number, (name, _), genes in gmt_lines(parts["main"]):
        factors.append(name.split("_")[0].split(" ")[0])
        targets.append(sorted({gene.split(",")[0] for gene in genes} - {""}))
    owner, genes = exploded(targets)
    factor = pa.array(factors, pa.string()).take(pa.array(owner))
    reading = Reading(rows=len(factors))
    reading.state("regulates", (End("genes", factor),), (End("genes", genes),))
    return reading


_OBO, _RDF = "{http://purl.obolibrary.org/obo/}", "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_OWL, _RDFS = "{http://www.w3.org/2002/07/owl#}", "{http://www.w3.org/2000/01/rdf-schema#}"


def read_marker_owl(parts: Parts) -> Reading:
    """Read the Cell Ontology's NS-Forest component: classes with a characterising marker set (RO:0015004).

    The weight is the F-beta confidence of the set (STATO:0000663); genes are Ensembl ids.
    """
    path = parts["main"]
    try:
        root = ElementTree.fromstring(read_bytes(path))
    except ElementTree.ParseError as error:
        raise SourceError(path, f"not XML: {error.msg}", line=error.position[0]) from error
    sets: dict[str, tuple[list[str], float]] = {}
    pairs: set[tuple[str, str]] = set()
    for owl_class in root.findall(f"{_OWL}Class"):
        about = _local(owl_class.get(f"{_RDF}about", ""))
        fillers = list(_fillers(owl_class))
        if about.startswith("CLM:"):
            score = owl_class.findtext(f"{_OBO}STATO_0000663")
            sets[about] = ([f for r, f in fillers if r == "BFO:0000051"], _number(path, score))
        pairs |= {(about, f) for r, f in fillers if r == "RO:0015004"}
    rows = [(g, cell, sets[s][1]) for cell, s in sorted(pairs) if s in sets for g in sorted(sets[s][0])]
    reading = Reading(rows=len(sets))
    reading.state(
        "is_marker_for",
        (End("genes", pa.array([r[0] for r in rows], pa.string())),),
        (End("curie", pa.array([r[1] for r in rows], pa.string())),),
        weight=np.array([r[2] for r in rows], dtype=np.float32),
    )
    return reading


def _fillers(owl_class: ElementTree.Element) -> Iterator[tuple[str, str]]:
    for restriction in owl_class.iter(f"{_OWL}Restriction"):
        on, some = restriction.find(f"{_OWL}onProperty"), restriction.find(f"{_OWL}someValuesFrom")
        if on is not None and some is not None:
            yield _local(on.get(f"{_RDF}resource", "")), _local(some.get(f"{_RDF}resource", ""))


def _local(address: str) -> str:
    """Return ``http://purl.obolibrary.org/obo/CL_1`` as ``CL:1``, an identifiers.org address as its last part."""
    last = address.rpartition("/")[2]
    return last.replace("_", ":", 1) if "/obo/" in address else last


def _number(path: Path, text: str | None) -> float:
    try:
        return float(text) if text else float("nan")
    except ValueError as error:
        data = read_bytes(path)
        line = line_of(data, data.find(f">{text}<".encode()))
        raise SourceError(path, f"confidence {text!r} is not a number", line=line) from error
