"""Small graphs for the tests, made in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from gather.evidence import (
    Annotation,
    Candidate,
    Contradiction,
    CoverageWarning,
    EdgeRef,
    EvidenceItem,
    GeneSupport,
    Walk,
)
from vckg.graph import Graph

PREFIX = {
    "HGNC": "Gene",
    "CL": "Cell",
    "UBERON": "AnatomicalEntity",
    "GO": "BiologicalProcess",
    "REACT": "Pathway",
    "MONDO": "Disease",
    "PR": "Protein",
    "CHEMBL.COMPOUND": "Drug",
}
SOURCES = {
    "toy": {"title": "Toy", "release": "1", "licence": "CC0-1.0", "knowledge_level": "knowledge_assertion"},
    "other": {"title": "Other", "release": "2", "licence": "CC-BY-4.0", "knowledge_level": "observation"},
}


def graph_of(
    edges: Iterable[tuple[str, str, str]] | Iterable[Mapping[str, Any]],
    *,
    names: Mapping[str, str] | None = None,
    nodes: Iterable[str] = (),
) -> Graph:
    """A graph of (subject, relation, object) rows; categories follow from the prefixes."""
    rows = [
        dict(zip(("subject", "relation", "object"), e, strict=True)) if isinstance(e, tuple) else dict(e)
        for e in edges
    ]
    for row in rows:
        row.setdefault("source", "toy")
    ids = sorted({*nodes, *(r["subject"] for r in rows), *(r["object"] for r in rows), *(names or {})})
    frame = pd.DataFrame(
        {
            "id": ids,
            "category": [PREFIX[i.rpartition(":")[0]] for i in ids],
            "name": [(names or {}).get(i, i.replace(":", "")) for i in ids],
        }
    )
    columns = ["subject", "relation", "object", "source"]
    edge_frame = pd.DataFrame(rows, columns=[*columns, *sorted({k for r in rows for k in r} - set(columns))])
    return Graph.from_frames(
        frame, edge_frame, sources={s: SOURCES.get(s, {}) for s in edge_frame["source"].unique()}
    )


@pytest.fixture(scope="session")
def make_graph():
    """`graph_of`, for tests that make their own graphs."""
    return graph_of


def annotation_of(cell_set: str = "0", **changes: Any) -> Annotation:
    """An annotation of six genes, two candidates and one convergence node; `changes` replace its fields."""
    edge = EdgeRef(
        "HGNC:1673",
        "CD3D",
        "is_marker_for",
        "biolink:expressed_in",
        "CL:0000084",
        "T cell",
        "cellmarker",
        "CellMarker 2.0",
        "2.0",
        "CC-BY-4.0",
        ("PMID:1", "PMID:2"),
        3,
        "knowledge_assertion",
        "manual_agent",
        0,
        ("UBERON:0000178",),
    )
    step = replace(edge, relation="participates_in", object="GO:0050852", object_name="TCR signalling")
    back = replace(edge, subject="CL:0000084", subject_name="T cell", relation="capable_of")
    back = replace(back, object="GO:0050852", object_name="TCR signalling", source="cl", publications=())
    gene = GeneSupport("HGNC:1673", "CD3D", "CD3D", 0, 1.0, 2.5, (1, 2))
    other = replace(gene, curie="HGNC:1674", symbol="CD3E", name_in_file="CD3E", rank=1, contribution=1.5)
    direct = Walk("HGNC:1673", ("HGNC:1673", "CL:0000084"), ("CD3D", "T cell"), ((edge,),), 0.5)
    long = Walk(
        "HGNC:1673",
        ("HGNC:1673", "GO:0050852", "CL:0000084"),
        ("CD3D", "TCR signalling", "T cell"),
        ((step,), (back,)),
        0.1,
    )
    t_cell = EvidenceItem(
        "E1",
        "CL:0000084",
        "T cell",
        "Cell",
        "A lymphocyte.",
        4.0,
        1e-9,
        1e-7,
        2,
        (gene, other),
        (direct, long),
    )
    b_cell = replace(
        t_cell,
        id="E2",
        curie="CL:0000236",
        name="B cell",
        score=0.4,
        p=0.2,
        fdr=0.4,
        genes=(),
        n_genes=0,
        walks=(),
    )
    process = replace(
        t_cell,
        id="E3",
        curie="GO:0050852",
        name="TCR signalling",
        category="BiologicalProcess",
        walks=(direct,),
    )
    annotation = Annotation(
        cell_set=cell_set,
        n_cells=100,
        status="named",
        label="T cell",
        curie="CL:0000084",
        confidence=0.9,
        fdr=1e-7,
        candidates=(
            Candidate(1, "CL:0000084", "T cell", 4.0, 1e-9, 1e-7, 0.9, 2),
            Candidate(2, "CL:0000236", "B cell", 0.4, 0.2, 0.4, 0.05, 1),
        ),
        evidence=(t_cell, b_cell),
        convergence=(process,),
        contradictions=(
            Contradiction("CL:0000084", "HGNC:1678", "CD4", "expected_absent", 0.02, 0.4, (edge,)),
        ),
        coverage=(
            CoverageWarning("CL:0000815", "regulatory T cell", ("FOXP3",), 1, 2, "FOXP3 not measured"),
        ),
        query_genes=("CD3D", "CD3E", "IL7R", "LTB", "TRAC", "LDHB"),
    )
    return replace(annotation, **changes)


@pytest.fixture(scope="session")
def make_annotation():
    """`annotation_of`, for tests of what is done with answers."""
    return annotation_of
