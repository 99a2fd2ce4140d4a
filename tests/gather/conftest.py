"""Small graphs for the tests, made in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from gather.annotation import (
    Annotation,
    Candidate,
    Contradiction,
    CoverageWarning,
    EdgeRef,
    EvidenceItem,
    GeneSupport,
    Walk,
)
from tests.gather.eight_genes import EDGES
from vckg.graph.graph import Graph

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
            Candidate(2, "CL:0000236", "B cell", 0.4, 0.002, 0.01, 0.05, 1),
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


MARKERS = {
    "CL:0000084": ("T cell", ["CD3D", "CD3E", "CD2", "IL7R", "LCK", "TRAC"]),
    "CL:0000236": ("B cell", ["CD79A", "MS4A1", "CD19", "CD79B", "BLK", "BANK1"]),
    "CL:0000576": ("monocyte", ["CD14", "LYZ", "FCN1", "S100A8", "VCAN", "CSF1R"]),
}


@pytest.fixture(scope="session")
def blood_graph():
    """Three cell types of blood with six markers each, two of them from two sources, below one parent."""
    symbols = sorted({g for _, genes in MARKERS.values() for g in genes})
    hgnc = {symbol: f"HGNC:{i}" for i, symbol in enumerate(symbols, start=1)}
    nodes = [
        {"id": hgnc[s], "category": "Gene", "name": s, "xrefs": [f"ENSEMBL:ENSG{i:011}"]}
        for i, s in enumerate(symbols, 1)
    ]
    nodes += [
        {"id": cell, "category": "Cell", "name": name, "xrefs": []} for cell, (name, _) in MARKERS.items()
    ]
    nodes += [
        {"id": "CL:0000000", "category": "Cell", "name": "cell", "xrefs": []},
        {"id": "CL:0000988", "category": "Cell", "name": "hematopoietic cell", "xrefs": []},
        {"id": "CL:0000540", "category": "Cell", "name": "neuron", "xrefs": []},
        {"id": "UBERON:0000178", "category": "AnatomicalEntity", "name": "blood", "xrefs": []},
        {"id": "GO:0006955", "category": "BiologicalProcess", "name": "immune response", "xrefs": []},
    ]
    edges = []
    for cell, (_, genes) in MARKERS.items():
        edges.append(
            {
                "subject": cell,
                "relation": "subclass_of",
                "object": "CL:0000988",
                "source": "toy",
                "publications": [],
            }
        )
        for rank, gene in enumerate(genes):
            one = {
                "subject": hgnc[gene],
                "relation": "is_marker_for",
                "object": cell,
                "publications": [f"PMID:{rank + 1}"],
            }
            edges += [one | {"source": "toy"}, one | {"source": "other"}]
            edges.append(
                {
                    "subject": hgnc[gene],
                    "relation": "participates_in",
                    "object": "GO:0006955",
                    "source": "toy",
                    "publications": [],
                }
            )
    for child in ("CL:0000988", "CL:0000540"):
        edges.append(
            {
                "subject": child,
                "relation": "subclass_of",
                "object": "CL:0000000",
                "source": "toy",
                "publications": [],
            }
        )
    edges.append(
        {
            "subject": "CL:0000576",
            "relation": "part_of",
            "object": "UBERON:0000178",
            "source": "toy",
            "publications": [],
        }
    )
    edges.append(
        {
            "subject": hgnc["CD19"],
            "relation": "is_negative_marker_for",
            "object": "CL:0000084",
            "source": "toy",
            "publications": ["PMID:9"],
        }
    )
    return Graph.from_frames(pd.DataFrame(nodes), pd.DataFrame(edges), sources=SOURCES)


@pytest.fixture
def blood_cells(blood_graph):
    """Ninety cells of three types as counts, thirty genes with twelve that no graph knows; obs['group']
    names the truth."""
    import anndata as ad
    import numpy as np

    rng = np.random.default_rng(0)
    genes = [g for _, markers in MARKERS.values() for g in markers] + [f"unheard-of-{i}" for i in range(12)]
    counts = rng.poisson(0.3, (90, len(genes)))
    groups = np.repeat(["T cells", "B cells", "monocytes"], 30)
    for i, (_, markers) in enumerate(MARKERS.values()):
        columns = [genes.index(g) for g in markers]
        counts[np.ix_(range(30 * i, 30 * i + 30), columns)] += rng.poisson(6, (30, len(markers)))
    adata = ad.AnnData(
        X=counts.astype(np.float32),
        obs=pd.DataFrame(
            {"group": pd.Categorical(groups, categories=["T cells", "B cells", "monocytes", "unused"])},
            index=[f"c{i}" for i in range(90)],
        ),
        var=pd.DataFrame(index=genes),
    )
    adata.obsm["X_umap"] = rng.normal(size=(90, 2)).astype(np.float32)
    adata.layers["counts"] = adata.X.copy()
    return adata


@pytest.fixture
def source(blood_cells, tmp_path):
    """The ninety cells as a file."""
    path = tmp_path / "in.h5ad"
    blood_cells.write_h5ad(path)
    return path


@pytest.fixture(scope="session")
def eight_genes() -> Graph:
    """The graph of `tests.gather.eight_genes`."""
    return graph_of(EDGES)
