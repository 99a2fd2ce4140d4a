"""A graph of a few blood cells that the arena's scoring tests share."""

import pandas as pd
import pytest

from vckg.graph import Graph

CELLS = {  # id -> (label, parent, synonyms, definition)
    "CL:0000000": ("cell", None, (), ""),
    "CL:0000738": ("leukocyte", "CL:0000000", ("white blood cell",), "An achromatic cell of the blood."),
    "CL:0000542": ("lymphocyte", "CL:0000738", (), "A leukocyte of the lymphoid line."),
    "CL:0000084": (
        "T cell",
        "CL:0000542",
        ("T lymphocyte", "T-cell"),
        "A lymphocyte with a T cell receptor.",
    ),
    "CL:0000624": ("CD4-positive, alpha-beta T cell", "CL:0000084", (), "A T cell that carries CD4."),
    "CL:0000625": ("CD8-positive, alpha-beta T cell", "CL:0000084", (), "A T cell that carries CD8."),
    "CL:0000236": ("B cell", "CL:0000542", ("B lymphocyte", "B-cell"), "A lymphocyte that makes antibodies."),
    "CL:0000576": ("monocyte", "CL:0000738", (), "A leukocyte that becomes a macrophage."),
    "CL:0000057": ("fibroblast", "CL:0000000", (), "A cell of connective tissue."),
    "CL:0000540": ("neuron", "CL:0000000", ("nerve cell",), "The cell of the nervous system."),
}
MARKERS = {
    "CL:0000084": ("CD3D", "CD3E", "TRAC"),
    "CL:0000624": ("CD4", "IL7R"),
    "CL:0000625": ("CD8A", "CD8B"),
    "CL:0000236": ("CD19", "MS4A1", "CD79A"),
    "CL:0000576": ("CD14", "LYZ"),
    "CL:0000057": ("COL1A1", "DCN"),
}
OTHER_GENES = ("GATA1", "KLF1", "HBG1", "SPI1", "ACTB", "MALAT1", "TP53", "CDKN1A")
REGULATES = (("KLF1", "HBG1", 1), ("TP53", "CDKN1A", 1), ("GATA1", "SPI1", -1))


@pytest.fixture(scope="session")
def blood() -> Graph:
    """Ten cell types, their markers with publications, three signed regulations."""
    genes = sorted({*OTHER_GENES, *(g for markers in MARKERS.values() for g in markers)})
    curie = {gene: f"HGNC:{i}" for i, gene in enumerate(genes, start=100)}
    nodes = pd.DataFrame(
        [
            *(
                {"id": i, "category": "Cell", "name": n, "synonyms": s, "description": d}
                for i, (n, _, s, d) in CELLS.items()
            ),
            *(
                {"id": curie[g], "category": "Gene", "name": g, "synonyms": (), "description": ""}
                for g in genes
            ),
            {
                "id": "GO:0030218",
                "category": "BiologicalProcess",
                "name": "erythrocyte differentiation",
                "synonyms": (),
                "description": "",
            },
        ]
    )
    edges = [
        *(
            (child, "subclass_of", parent, "cl", 0, ())
            for child, (_, parent, _, _) in CELLS.items()
            if parent
        ),
        *(
            (curie[g], "is_marker_for", cell, "cellmarker2", 0, (f"PMID:{n}000", f"PMID:{n}001"))
            for n, (cell, markers) in enumerate(MARKERS.items(), start=1)
            for g in markers
        ),
        *((curie[a], "regulates", curie[b], "collectri", sign, ("PMID:77",)) for a, b, sign in REGULATES),
        (curie["KLF1"], "participates_in", "GO:0030218", "go", 0, ()),
    ]
    columns = ["subject", "relation", "object", "source", "sign", "publications"]
    return Graph.from_frames(nodes, pd.DataFrame(edges, columns=columns))
