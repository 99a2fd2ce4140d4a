"""SC-Arena's public data as virtual cells: repaired, or untouched for comparison with published figures.

What is repaired (`compat` leaves all of it as it is):

- the screen is CRISPR activation (Norman et al. 2019, K562), not the CRISPRi knockdown its prompt says: of
the
  perturbed genes 97 rise and 17 fall;
- its candidates stood in one permutation on every row, so that a position gave the direction away (0.861);
- species and tissue are two things; ``others`` is no tissue, ``pan-cancer`` is a tumour;
- Ensembl ids in cell sentences become symbols, markers approved human symbols, each once;
- passages that swallowed other questions with their answers are cut before them;
- PubMed ids are read out of Windows paths; fourteen stray question types are mapped.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arena.datasets.lineages import CellTerms
from arena.datasets.virtual_cell import Interaction, Question, VirtualCell
from vckg.base.errors import SourceError
from vckg.graph.graph import Graph

SCREEN = "scarena/test_perturbation.json"
"""Path of the screen in a mirror."""
COMMIT = "f4480a220fa4872c4c747f52f8fc784401c592fc"

KINDS = ("Cell-Environment Inference", "Marker Reasoning", "Experimental Design")
_KIND_OF_STRAY = {
    "Cell-Environment Interaction Focus": "Cell-Environment Inference",
    "Cell–Environment Interaction": "Cell-Environment Inference",
    "Gene-Environment Interaction Analysis": "Cell-Environment Inference",
    "Single-Cell Biology Application": "Experimental Design",
    "Single-Cell Biology Relevance": "Experimental Design",
}
OTHER_KIND = "Other"
_TISSUES = {"others": "", "pan-cancer": "tumour"}
_SWALLOWED = re.compile(r"\s*(?:\n-{3,}\s*)?\n#{2,}\s*\[|\n\s*\**Question:", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9(\"'])")


@dataclass(frozen=True, slots=True)
class Files:
    """Where the four files are."""

    cells: Path
    perturbation: Path
    qa: Path
    markers: Path


def read_cells(files: Files, graph: Graph, *, compat: bool = False) -> list[VirtualCell]:
    """All virtual cells: 608 with expression, 138 perturbed ones, 100 papers.

    Raises
    ------
    SourceError
        A file is not of the form its rows should have.
    """
    dataset = "sc-arena-compat" if compat else "sc-arena"
    terms = CellTerms(graph)
    markers = read_markers(files.markers)
    cells = [
        *_typed_cells(files.cells, markers, terms, compat=compat),
        *screened_cells(files.perturbation, compat=compat),
        *_papers(files.qa, compat=compat),
    ]
    return [replace(cell, dataset=dataset) for cell in cells]


def read_markers(path: Path) -> dict[str, list[str]]:
    """Marker names by Cell Ontology id, in file order, as printed."""
    markers: dict[str, list[str]] = defaultdict(list)
    with path.open(encoding="utf-8") as lines:
        header = next(lines, "").rstrip("\n").split("\t")
        if header != ["Specific_Cell_Ontology_ID", "Cell_Marker"]:
            raise SourceError(
                path, f"header is {header}, wanted Specific_Cell_Ontology_ID, Cell_Marker", line=1
            )
        for line in lines:
            cell, _, marker = line.rstrip("\n").partition("\t")
            if marker:
                markers[cell].append(marker)
    return dict(markers)


# ---- cells with expression ------------------------------------------------------------------------------


def _typed_cells(
    path: Path, markers: Mapping[str, list[str]], terms: CellTerms, *, compat: bool
) -> Iterator[VirtualCell]:
    for number, row in _json_lines(path, ("tissue", "cell_type", "cell_ontology_id", "cell_sentence")):
        genes = row["cell_sentence"].split()
        printed = markers.get(row["cell_ontology_id"], [])
        known = terms.approved_symbols(printed)
        term = terms.describe(row["cell_ontology_id"])
        cell = VirtualCell(
            id=row["cell_ontology_id"],
            dataset="",
            cell_type=row["cell_type"],
            cl_id=row["cell_ontology_id"],
            tissue=row["tissue"],
            expression=tuple(genes),
            description=term.description,
            markers=tuple(printed),
            lineage=term.lineage,
            cluster=term.parent,
            wording=f"a {row['tissue']} cell",
            provenance={"file": path.name, "row": number, "commit": COMMIT},
        )
        if not compat:
            cell = replace(
                cell,
                tissue=_TISSUES.get(row["tissue"], row["tissue"]),
                species="human",
                expression=tuple(dict.fromkeys(terms.symbols_of_ensembl(genes))),
                markers=tuple(known),
                wording="",
                provenance={**cell.provenance, "markers_printed": len(printed), "markers_kept": len(known)},
            )
        yield cell


# ---- perturbed cells ------------------------------------------------------------------------------------


def screened_cells(path: Path, *, compat: bool = False) -> Iterator[VirtualCell]:
    """Yield the perturbed cells of a file."""
    keys = ("cell_type", "condition", "up_genes", "down_genes", "ctrl_sentence", "pert_sentence")
    for number, row in enumerate(_json_list(path, keys)):
        regulators = tuple(gene for gene in row["condition"].split("+") if gene != "ctrl")
        candidates = row["up_genes"] + row["down_genes"]
        if compat:  # the published loop resets its seed on every row: one permutation for all of them
            random.Random(42).shuffle(candidates)
        interaction = Interaction(
            regulators=regulators,
            effect="knockdown" if compat else "activation",
            up=tuple(row["up_genes"]),
            down=tuple(row["down_genes"]),
            control=tuple(row["ctrl_sentence"].split()),
            outcome=tuple(row["pert_sentence"].split()),
            listed=tuple(candidates) if compat else (),
        )
        yield VirtualCell(
            id=row["condition"],
            dataset="",
            tissue="" if compat else "the K562 erythroleukaemia line",
            species="" if compat else "human",
            wording=f"a {row['cell_type']} cell" if compat else "",
            interactions=(interaction,),
            provenance={
                "file": path.name,
                "row": number,
                "commit": COMMIT,
                "cell_type_printed": row["cell_type"],
            },
        )


# ---- papers ---------------------------------------------------------------------------------------------


def _papers(path: Path, *, compat: bool) -> Iterator[VirtualCell]:
    for number, row in enumerate(_json_list(path, ("PMID", "title", "abstract", "response"))):
        pmid = re.search(r"\d{5,9}", row["PMID"])
        if pmid is None:
            raise SourceError(path, f"paper {number}: no PubMed id in {row['PMID']!r}")
        publication = f"PMID:{pmid[0]}"
        questions = tuple(_question(q, row, publication, compat=compat) for q in row["response"])
        yield VirtualCell(
            id=pmid[0],
            dataset="",
            cluster=publication,
            questions=questions,
            provenance={"file": path.name, "row": number, "commit": COMMIT},
        )


def _question(
    row: Mapping[str, Any], paper: Mapping[str, Any], publication: str, *, compat: bool
) -> Question:
    kind, text, passage = row["type"], row["question"], row["relevant_passage"]
    if not compat:
        kind = kind if kind in KINDS else _KIND_OF_STRAY.get(kind, OTHER_KIND)
        text = text.strip().lstrip("*").strip()
        passage = cut_swallowed(passage)
    return Question(
        kind=kind,
        text=text,
        answer=row["answer"],
        claims=tuple(sentences(row["answer"])),
        title=paper["title"],
        abstract=paper["abstract"],
        passage=passage,
        publications=(publication,),
        provenance={"type_printed": row["type"], "passage_cut": passage != row["relevant_passage"]},
    )


def cut_swallowed(passage: str) -> str:
    """The passage before the first other question that it swallowed."""
    found = _SWALLOWED.search(passage)
    return passage[: found.start()].rstrip(" -\n") if found else passage.strip()


def sentences(text: str) -> list[str]:
    """Sentences of a prose answer, each one claim."""
    return [s.strip() for s in _SENTENCE_END.split(text.strip()) if len(s.split()) >= 3]


# ---- JSON with the place of what is wrong ---------------------------------------------------------------


def _json_lines(path: Path, keys: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise SourceError(path, f"not JSON ({error.msg})", line=number) from None
                _want_keys(row, keys, path, number)
                yield number, row


def _json_list(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise SourceError(path, f"not JSON ({error.msg})", line=error.lineno) from None
    if not isinstance(rows, list):
        raise SourceError(path, f"wanted a JSON list, found {type(rows).__name__}")
    for number, row in enumerate(rows):
        _want_keys(row, keys, path, number)
    return rows


def _want_keys(row: object, keys: tuple[str, ...], path: Path, number: int) -> None:
    missing = set(keys) - set(row if isinstance(row, dict) else ())
    if missing:
        raise SourceError(path, f"row {number} has no {sorted(missing)[0]!r}")
