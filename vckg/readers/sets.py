"""Read gene sets and annotations: GMT files, GAF, tables of gene and term."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vckg.base.errors import SourceError
from vckg.graph.statements import End, Reading, equals, exploded, keep, one_of, pmids, term_table
from vckg.readers._csv import read_columns, read_mapping, read_text
from vckg.readers._json import read_json

Parts = Mapping[str, Path]

_ASPECT = {
    "P": "participates_in",
    "F": "enables",
    "C": "located_in",
    "Process": "participates_in",
    "Function": "enables",
    "Component": "located_in",
}
#: GAF 2.1 and 2.2: 17 columns, no header.
GAF_COLUMNS = (
    "db",
    "db_id",
    "symbol",
    "qualifier",
    "go_id",
    "reference",
    "evidence",
    "with_from",
    "aspect",
    "name",
    "synonym",
    "type",
    "taxon",
    "date",
    "by",
    "extension",
    "form",
)


def read_gmt(parts: Parts, *, prefix: str, category: str = "Pathway", id_column: int = 0) -> Reading:
    """Read gene sets, one a line: name, description, genes, separated by tabs.

    Parameters
    ----------
    id_column
        Column of the id, 0 or 1. The other column is the name, unless it is a link.
    """
    path = parts["main"]
    reading = Reading()
    ids: dict[str, int] = {}
    names, members = [], []
    for number, fields, several in gmt_lines(path):
        reading.rows += 1
        local, other = fields[id_column], fields[1 - id_column]
        if not local:
            raise SourceError(path, "the set has no id", line=number)
        described = other if other and "://" not in other else local
        curie = f"{prefix}:{local}"
        if curie in ids:
            raise SourceError(path, f"the set {curie} is repeated, first in line {ids[curie]}", line=number)
        ids[curie] = number
        names.append(described.replace("_", " "))
        members.append(several)
    owner, genes = exploded(members)
    reading.nodes.append(term_table([*ids], category, names))
    sets = pa.array([*ids], type=pa.string()).take(pa.array(owner))
    reading.state("participates_in", (End("genes", genes),), (End("curie", sets),))
    return reading


def gmt_lines(path: Path) -> Iterator[tuple[int, tuple[str, str], list[str]]]:
    """Yield the number, both names and the genes, ascending, of each line of a GMT file that is not blank."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) >= 3:
            yield number, (fields[0], fields[1]), sorted({*fields[2:]} - {""})
        elif any(fields):
            raise SourceError(
                path, f"{len(fields)} columns, name, description and genes expected", line=number
            )


def read_gaf(parts: Parts) -> Reading:
    """Read a GO annotation file (GAF 2.1 or 2.2); reject NOT rows and other species, keep evidence codes."""
    wanted = ["db_id", "symbol", "qualifier", "go_id", "reference", "evidence", "aspect", "taxon"]
    table = read_columns(parts["main"], wanted, header=GAF_COLUMNS, comment=b"!")
    reading = Reading(rows=table.num_rows)
    negated = np.asarray(
        pc.match_substring_regex(table["qualifier"], r"(^|\|)NOT(\||$)").to_numpy(False), dtype=bool
    )
    table = keep(table, ~negated, "NOT annotation", reading.rejected, "symbol")
    human = np.asarray(pc.starts_with(table["taxon"], "taxon:9606").to_numpy(False), dtype=bool)
    table = keep(table, human, "not human", reading.rejected, "symbol")
    part = pc.if_else(pc.equal(table["evidence"], "IEA"), "electronic", "")
    references = pmids(table["reference"], "|")
    evidence = pc.binary_join_element_wise(pa.scalar("ECO"), table["evidence"], ":")
    of_aspect = {letter: np.flatnonzero(equals(table["aspect"], letter)) for letter in ("P", "F", "C")}
    reading.rejected.add("aspect is none of P, F, C", table.num_rows - sum(map(len, of_aspect.values())))
    for letter, rows in of_aspect.items():
        indices = pa.array(rows)
        reading.state(
            _ASPECT[letter],
            (End("genes", table["symbol"].take(indices)), End("genes", table["db_id"].take(indices))),
            (End("curie", table["go_id"].take(indices)),),
            publications=references.take(indices),
            evidence=evidence.take(indices),
            part=part.take(indices),
        )
    return reading


def read_gene_terms(parts: Parts, *, gene: str, term: str, aspect: str) -> Reading:
    """Read a table of gene and GO term with the term's aspect."""
    table = read_columns(parts["main"], [gene, term, aspect])
    reading = Reading(rows=table.num_rows)
    table = keep(table, one_of(table[aspect], list(_ASPECT)), "aspect unknown", reading.rejected, aspect)
    for value, relation in _ASPECT.items():
        rows = table.filter(pa.array(equals(table[aspect], value)))
        if rows.num_rows:
            reading.state(relation, (End("genes", rows[gene]),), (End("curie", rows[term]),))
    return reading


def read_diseases(parts: Parts) -> Reading:
    """Read a channel of JensenLab DISEASES: no header; protein, gene, disease, name, source, evidence, stars."""
    header = ["protein", "gene", "disease", "disease_name", "source", "evidence", "confidence"]
    table = read_columns(parts["main"], header, header=header)
    reading = Reading(rows=table.num_rows)
    confidence = pd.to_numeric(pd.Series(table["confidence"].to_pandas()), errors="coerce")
    reading.state(
        "associated_with",
        (End("genes", table["gene"]),),
        (End("diseases", table["disease"]),),
        weight=confidence.to_numpy(dtype=np.float32),
        evidence=table["source"],
    )
    return reading


def read_cell_signatures(parts: Parts, *, form: str = "gmt", most_lists: int | None = None) -> Reading:
    """Read signatures of cell types: a GMT file, or JSON with a list of genes by name.

    The part ``cells`` has the class of each name; an empty id says that no class has that meaning.

    Parameters
    ----------
    form
        ``gmt`` or ``json``.
    most_lists
        Leave out genes that more than this many lists hold; None keeps all.
    """
    reading = Reading()
    cells = read_mapping(parts["cells"], "name", "cl_id")
    names, members = [], []
    lists = dict(_signatures(parts["main"], form))
    counts = Counter(gene for genes in lists.values() for gene in genes)
    for name, genes in lists.items():
        reading.rows += len(genes)
        if most_lists is not None:
            kept = [g for g in genes if counts[g] <= most_lists]
            reading.rejected.add(
                f"in more than {most_lists} list{'s' * (most_lists > 1)}", len(genes) - len(kept), [name]
            )
            genes = kept
        if cells.get(name):
            names.append(cells[name])
            members.append(genes)
        else:
            reading.rejected.add("no class of that meaning in the Cell Ontology", len(genes), [name])
    owner, genes = exploded(members)
    types = pa.array(names, type=pa.string()).take(pa.array(owner))
    reading.state("is_marker_for", (End("genes", genes),), (End("curie", types),))
    return reading


def _signatures(path: Path, form: str) -> Iterator[tuple[str, list[str]]]:
    if form == "json":
        for name, genes in read_json(path, dict[str, list[str]]).items():
            yield name, sorted({*genes} - {""})
        return
    for _number, (name, _), genes in gmt_lines(path):
        yield name, genes
