"""A graph of nine nodes for examples and first steps."""

from __future__ import annotations

import pandas as pd

from vckg.graph.graph import Graph

_NODES: tuple[tuple[str, str, str, list[str]], ...] = (
    ("HGNC:1673", "Gene", "CD3D", ["T3D"]),
    ("HGNC:1674", "Gene", "CD3E", []),
    ("HGNC:7315", "Gene", "MS4A1", ["CD20"]),
    ("CL:0000084", "Cell", "T cell", ["T-lymphocyte"]),
    ("CL:0000236", "Cell", "B cell", []),
    ("CL:0000542", "Cell", "lymphocyte", []),
    ("CL:0000738", "Cell", "leukocyte", []),
    ("UBERON:0000178", "AnatomicalEntity", "blood", []),
    ("GO:0006955", "BiologicalProcess", "immune response", []),
)
_EDGES: tuple[tuple[str, str, str, str, list[str], list[str]], ...] = (
    ("HGNC:1673", "is_marker_for", "CL:0000084", "cellmarker", ["PMID:1"], ["UBERON:0000178"]),
    ("HGNC:1673", "is_marker_for", "CL:0000084", "panglaodb", [], []),
    ("HGNC:1674", "is_marker_for", "CL:0000084", "panglaodb", [], []),
    ("HGNC:7315", "is_marker_for", "CL:0000236", "panglaodb", [], []),
    ("CL:0000084", "subclass_of", "CL:0000542", "cl", [], []),
    ("CL:0000236", "subclass_of", "CL:0000542", "cl", [], []),
    ("CL:0000542", "subclass_of", "CL:0000738", "cl", [], []),
    ("HGNC:1673", "participates_in", "GO:0006955", "go", [], []),
    ("CL:0000738", "capable_of", "GO:0006955", "cl", [], []),
)
_SOURCE = {"licence": "CC-BY-4.0", "redistribute": True, "knowledge_level": "knowledge_assertion"}


def example_graph() -> Graph:
    """Return a graph of 9 nodes and 9 edges in memory: T and B cells, three markers, four sources.

    The CURIEs are real; the statements only resemble those of the sources. Use it to try a function.

    Examples
    --------
    >>> import vckg
    >>> vckg.example_graph()
    <Graph: 9 nodes, 9 edges, 4 sources>
    """
    nodes = pd.DataFrame(_NODES, columns=["id", "category", "name", "synonyms"])
    edges = pd.DataFrame(
        _EDGES, columns=["subject", "relation", "object", "source", "publications", "tissues"]
    )
    return Graph.from_frames(nodes, edges, dict.fromkeys(sorted(set(edges["source"])), _SOURCE))
