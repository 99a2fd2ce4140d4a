"""A small graph that has one of everything an export must carry, and a larger random one."""

import numpy as np
import pandas as pd

from vckg.graph.graph import Graph

NODES = pd.DataFrame(
    [
        ("HGNC:1", "Gene", "CD3D", ["T3D", "x|y;z"], ["ENSEMBL:ENSG00000167286"]),
        ("HGNC:2", "Gene", "CD3E", [], []),
        ("HGNC:3", "Gene", "MS4A1", ['B "one"'], []),
        ("HGNC:4", "Gene", "PAX5", [], []),
        ("CL:0000084", "Cell", "T cell", ["T-lymphocyte"], []),
        ("CL:0000236", "Cell", "B cell", [], []),
        ("CL:0000542", "Cell", "lymphocyte", [], []),
        ("UBERON:0000178", "AnatomicalEntity", "blood", [], []),
        ("GO:0006955", "BiologicalProcess", "immune response", [], []),
        ("MONDO:1", "Disease", "<lymphoma> & others", [], []),
        ("KEGG:hsa04660", "Pathway", "a name that is KEGG's own", [], []),
    ],
    columns=["id", "category", "name", "synonyms", "xrefs"],
)
NODES["description"] = ["a\tcell\nsurface protein", *[""] * (len(NODES) - 1)]
EDGES = pd.DataFrame(
    [
        (
            "HGNC:1",
            "is_marker_for",
            "CL:0000084",
            "open",
            0,
            3,
            np.nan,
            ["PMID:1", "PMID:2"],
            ["UBERON:0000178"],
        ),
        ("HGNC:1", "is_marker_for", "CL:0000084", "closed", 0, 1, np.nan, [], []),
        ("HGNC:2", "is_marker_for", "CL:0000084", "open", 0, 1, 0.5, ["PMID:2"], []),
        ("HGNC:3", "is_marker_for", "CL:0000236", "open", 0, 1, np.nan, ["PMID:3"], ["UBERON:0000178"]),
        ("HGNC:4", "is_negative_marker_for", "CL:0000084", "open", 0, 1, np.nan, [], []),
        ("CL:0000084", "subclass_of", "CL:0000542", "cl", 0, 1, np.nan, [], []),
        ("CL:0000236", "subclass_of", "CL:0000542", "cl", 0, 1, np.nan, [], []),
        ("CL:0000542", "part_of", "UBERON:0000178", "cl", 0, 1, np.nan, [], []),
        ("HGNC:1", "expressed_in", "UBERON:0000178", "open", 0, 1, np.nan, [], []),
        ("HGNC:1", "participates_in", "GO:0006955", "go", 0, 1, np.nan, [], []),
        ("HGNC:4", "participates_in", "GO:0006955", "go", 0, 1, np.nan, [], []),
        ("HGNC:1", "participates_in", "KEGG:hsa04660", "closed", 0, 1, np.nan, [], []),
        ("CL:0000542", "capable_of", "GO:0006955", "cl", 0, 1, np.nan, [], []),
        ("HGNC:4", "regulates", "HGNC:3", "go", -1, 1, np.nan, ["PMID:9"], []),
        ("HGNC:4", "regulates", "HGNC:3", "go", 1, 2, np.nan, [], []),
        ("HGNC:3", "associated_with", "MONDO:1", "go", 0, 1, np.nan, [], []),
    ],
    columns=[
        "subject",
        "relation",
        "object",
        "source",
        "sign",
        "evidence_count",
        "weight",
        "publications",
        "tissues",
    ],
)
_OPEN = {
    "infores": "infores:go",
    "licence": "CC-BY-4.0",
    "redistribute": True,
    "release": "2026-01",
    "citation": "Somebody 2020",
    "sha256": "0" * 64,
    "knowledge_level": "knowledge_assertion",
    "agent_type": "manual_agent",
}
SOURCES = {
    "open": _OPEN | {"knowledge_level": "observation"},
    "cl": _OPEN | {"infores": "infores:cl"},
    "go": _OPEN,
    "closed": _OPEN | {"licence": "academic use only", "redistribute": False},
}


def toy() -> Graph:
    return Graph.from_frames(NODES, EDGES, SOURCES)


def random_graph(seed: int, *, genes: int = 30, cells: int = 12, others: int = 10, edges: int = 120) -> Graph:
    """Edges of many relations between random nodes of the fitting categories."""
    rng = np.random.default_rng(seed)
    nodes = {
        "Gene": [f"HGNC:{i}" for i in range(genes)],
        "Cell": [f"CL:{i:07d}" for i in range(cells)],
        "BiologicalProcess": [f"GO:{i:07d}" for i in range(others)],
        "AnatomicalEntity": [f"UBERON:{i:07d}" for i in range(others)],
    }
    kinds = [
        ("Gene", "is_marker_for", "Cell"),
        ("Gene", "participates_in", "BiologicalProcess"),
        ("Gene", "expressed_in", "AnatomicalEntity"),
        ("Cell", "capable_of", "BiologicalProcess"),
        ("Cell", "part_of", "AnatomicalEntity"),
        ("AnatomicalEntity", "part_of", "AnatomicalEntity"),
        ("BiologicalProcess", "regulates_process", "BiologicalProcess"),
        ("Gene", "regulates", "Gene"),
    ]
    rows = []
    for _ in range(edges):
        subject, relation, target = kinds[rng.integers(len(kinds))]
        ends = (
            nodes[subject][rng.integers(len(nodes[subject]))],
            nodes[target][rng.integers(len(nodes[target]))],
        )
        rows.append((ends[0], relation, ends[1], ("open", "cl")[rng.integers(2)]))
    frame = pd.DataFrame(
        [(i, c, f"name of {i}") for c, ids in nodes.items() for i in ids], columns=["id", "category", "name"]
    )
    return Graph.from_frames(
        frame, pd.DataFrame(rows, columns=["subject", "relation", "object", "source"]), SOURCES
    )
