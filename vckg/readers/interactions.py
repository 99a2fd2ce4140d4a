"""Read gene-gene and gene-drug statements: regulons, interactions, ligands and receptors, DGIdb."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vckg.base.types import SignedBytes
from vckg.graph.statements import (
    End,
    Reading,
    equals,
    exploded,
    keep,
    numbers,
    one_of,
    pmids,
    term_table,
)
from vckg.readers._csv import read_columns

Parts = Mapping[str, Path]
_SIGNS = {"Activation": 1, "Repression": -1}


def read_pairs(
    parts: Parts, *, a: str, b: str, relation: str = "interacts_with", separator: str = "\t"
) -> Reading:
    """Read a table of gene pairs; reject a gene with itself."""
    table = read_columns(parts["main"], [a, b], separator=separator, quoted=separator == ",")
    reading = Reading(rows=table.num_rows)
    distinct = np.asarray(pc.not_equal(table[a], table[b]).to_numpy(zero_copy_only=False), dtype=bool)
    table = keep(table, distinct, "a gene with itself", reading.rejected, a)
    reading.state(relation, (End("genes", table[a]),), (End("genes", table[b]),))
    return reading


def read_collectri(parts: Parts) -> Reading:
    """Read CollecTRI: source, target, weight (+1 or -1), PMID separated by semicolons.

    AP1 and NFKB are families in CollecTRI, not genes; their rows have an unknown gene.
    """
    table = read_columns(parts["main"], ["source", "target", "weight", "PMID"], separator=",", quoted=True)
    reading = Reading(rows=table.num_rows)
    sign = np.sign(numbers(table["weight"]))
    reading.state(
        "regulates",
        (End("genes", table["source"]),),
        (End("genes", table["target"]),),
        sign=np.nan_to_num(sign).astype(np.int8),
        publications=pmids(table["PMID"]),
    )
    return reading


def read_dorothea(parts: Parts, *, levels: Sequence[str]) -> Reading:
    """Read DoRothEA (tf, confidence, target, mor); keep rows of the given confidence levels."""
    table = read_columns(parts["main"], ["tf", "confidence", "target", "mor"])
    reading = Reading(rows=table.num_rows)
    wanted = one_of(table["confidence"], levels)
    table = keep(table, wanted, f"confidence not {', '.join(levels)}", reading.rejected, "tf")
    reading.state(
        "regulates",
        (End("genes", table["tf"]),),
        (End("genes", table["target"]),),
        sign=np.nan_to_num(np.sign(numbers(table["mor"]))).astype(np.int8),
        evidence=pc.binary_join_element_wise(pa.scalar("confidence"), table["confidence"], " "),
    )
    return reading


def read_trrust(parts: Parts) -> Reading:
    """Read TRRUST v2: TF, target, Activation|Repression|Unknown, PMIDs; the official file has no header."""
    header = ["TF", "Target", "Regulation", "Reference"]
    table = read_columns(parts["main"], header, header=header)
    if table.num_rows and table["TF"][0].as_py() == "TF":
        table = table.slice(1)
    reading = Reading(rows=table.num_rows)
    sign = np.array([_SIGNS.get(r, 0) for r in table["Regulation"].to_pylist()], dtype=np.int8)
    reading.state(
        "regulates",
        (End("genes", table["TF"]),),
        (End("genes", table["Target"]),),
        sign=sign,
        publications=pmids(table["Reference"]),
    )
    return reading


def read_cellphonedb(parts: Parts) -> Reading:
    """Read the interaction, complex and gene tables of CellPhoneDB; partners are UniProt ids or names of complexes."""
    genes = _csv(parts["gene"], ["uniprot", "hgnc_symbol"])
    symbol = dict(zip(genes["uniprot"].to_pylist(), genes["hgnc_symbol"].to_pylist(), strict=True))
    subunits = [f"uniprot_{i}" for i in range(1, 6)]
    complexes = _csv(parts["complex"], ["complex_name", *subunits])
    names = complexes["complex_name"].to_pylist()
    rows = _csv(
        parts["interaction"], ["partner_a", "partner_b", "source", "annotation_strategy", "classification"]
    )
    reading = Reading(rows=rows.num_rows)
    reading.nodes.append(
        term_table([*map(_complex_id, names)], "ProteinComplex", [n.replace("_", " ") for n in names])
    )
    members = [
        [u for u in row if u] for row in zip(*(complexes[s].to_pylist() for s in subunits), strict=True)
    ]
    owner, proteins = exploded(members)
    complex_ids = pa.array([_complex_id(names[i]) for i in owner], pa.string())
    reading.state("has_component", (End("curie", complex_ids),), _product(proteins, symbol))
    known = set(names)
    ends = [_partner(rows[f"partner_{side}"], known, symbol) for side in "ab"]
    reading.state(
        "ligand_receptor",
        ends[0],
        ends[1],
        publications=pmids(pc.replace_substring_regex(rows["source"], r"[,\s]+", ";")),
        evidence=rows["classification"],
    )
    return reading


def _complex_id(name: str) -> str:
    """Return the CURIE of a complex by its name, with an underscore for each character that no CURIE may hold."""
    return "CPDB:" + re.sub(r"[\s:/|()<>]", "_", name)


def _csv(path: Path, columns: list[str]) -> pa.Table:
    return read_columns(path, columns, separator=",", quoted=True)


def _product(proteins: pa.Array, symbol: Mapping[str, str]) -> tuple[End, ...]:
    """Return a protein as the gene of its UniProt id, else as the gene of its symbol in the source."""
    symbols = pa.array([symbol.get(p, "") for p in proteins.to_pylist()], pa.string())
    return (End("genes", proteins), End("genes", symbols))


def _partner(column: Any, complexes: set[str], symbol: Mapping[str, str]) -> tuple[End, ...]:
    names = column.to_pylist()
    as_complex = pa.array([_complex_id(n) if n in complexes else "" for n in names], pa.string())
    as_protein = pa.array(["" if n in complexes else n for n in names], pa.string())
    return (End("curie", as_complex), *_product(as_protein, symbol))


def read_liana(parts: Parts, *, human: Sequence[str]) -> Reading:
    """Read omni_resource of liana: source, target (UniProt or COMPLEX:...), their symbols, resource."""
    columns = ["source", "target", "source_genesymbol", "target_genesymbol", "resource"]
    table = _csv(parts["main"], columns)
    reading = Reading(rows=table.num_rows)
    resource = np.array(table["resource"].to_pylist(), dtype=object)
    table = keep(
        table, np.isin(resource, list(human)), "resource of mouse genes", reading.rejected, "resource"
    )
    ends = []
    members: dict[str, list[str]] = {}
    for side in ("source", "target"):
        ids, symbols = table[side].to_pylist(), table[f"{side}_genesymbol"].to_pylist()
        is_complex = [i.startswith("COMPLEX:") or "_" in s for i, s in zip(ids, symbols, strict=True)]
        names = [
            f"COMPLEX:{'_'.join(sorted(s.split('_')))}" if c else ""
            for c, s in zip(is_complex, symbols, strict=True)
        ]
        members |= {n: sorted(set(s.split("_"))) for n, s in zip(names, symbols, strict=True) if n}
        genes = [("" if c else s) for c, s in zip(is_complex, symbols, strict=True)]
        proteins = [("" if c else i) for c, i in zip(is_complex, ids, strict=True)]
        texts = [pa.array(values, pa.string()) for values in (names, genes, proteins)]
        ends.append((End("curie", texts[0]), End("genes", texts[1]), End("genes", texts[2])))
    order = sorted(members)
    reading.nodes.append(term_table(order, "ProteinComplex", [" + ".join(members[n]) for n in order]))
    owner, genes_of = exploded([members[n] for n in order])
    complex_ids = pa.array([order[i] for i in owner], pa.string())
    reading.state("has_component", (End("curie", complex_ids),), (End("genes", genes_of),))
    reading.state("ligand_receptor", ends[0], ends[1], part=table["resource"])
    return reading


#: CURIE prefixes by DGIdb's prefixes of drug concept ids.
_DRUG_PREFIX = {"chembl": "CHEMBL.COMPOUND", "rxcui": "RXCUI", "drugbank": "DRUGBANK", "ncit": "NCIT"}


def read_dgidb(parts: Parts, *, cut_off: bool = False) -> Reading:
    """Read interactions.tsv of DGIdb; reject rows without a concept id of the drug.

    Parameters
    ----------
    cut_off
        Whether the file may end in the middle of a line.
    """
    columns = [
        "gene_name",
        "entrez_id",
        "interaction_claim_source",
        "interaction_types",
        "drug_name",
        "drug_claim_name",
        "drug_concept_id",
        "interaction_group_score",
        "PMIDs",
    ]
    reading = Reading()
    table = read_columns(parts["main"], columns, cut_off=reading.rejected if cut_off else None)
    reading.rows = table.num_rows + sum(reading.rejected.counts.values())
    table = keep(
        table, ~equals(table["drug_concept_id"], ""), "drug without id", reading.rejected, "drug_claim_name"
    )
    parted = [str(raw).partition(":") for raw in table["drug_concept_id"].to_pylist()]
    curies = [
        f"{_DRUG_PREFIX[p]}:{local}" if colon and p in _DRUG_PREFIX else None for p, colon, local in parted
    ]
    curie = pd.Series(curies, dtype=object)
    table = keep(
        table, curie.notna().to_numpy(), "drug id of another registry", reading.rejected, "drug_concept_id"
    )
    curie = curie[curie.notna()]
    names = pd.DataFrame({"id": curie.to_numpy(), "name": table["drug_name"].to_pandas().to_numpy()})
    names = names.sort_values(["id", "name"]).drop_duplicates("id", keep="last")
    names["name"] = names["name"].where(names["name"] != "", names["id"])
    reading.nodes.append(term_table(names["id"].tolist(), "Drug", names["name"].tolist()))
    reading.state(
        "targets",
        (End("curie", pa.array(curie.to_numpy(dtype=object), pa.string())),),
        (End("genes", table["gene_name"]), End("genes", table["entrez_id"])),
        sign=_drug_sign(table["interaction_types"]),
        weight=numbers(table["interaction_group_score"]),
        publications=pmids(table["PMIDs"], ","),
        evidence=table["interaction_types"],
    )
    return reading


_ACTIVATES = {"agonist", "activator", "positive modulator", "partial agonist", "inducer", "stimulator"}
_INHIBITS = {
    "inhibitor",
    "antagonist",
    "blocker",
    "negative modulator",
    "inverse agonist",
    "suppressor",
    "antisense",
}


def _drug_sign(types: Any) -> SignedBytes:
    """Return +1 where every type activates, -1 where every type inhibits, else 0: int8[m]."""

    def sign(cell: str) -> int:
        words = {w.strip() for w in cell.split(",")} - {""}
        return int(bool(words) and words <= _ACTIVATES) - int(bool(words) and words <= _INHIBITS)

    return np.array([sign(cell) for cell in types.to_pylist()], dtype=np.int8)
