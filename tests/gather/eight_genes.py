"""Four cell types that share no ancestor, marked by eight genes; a ninth gene marks none."""

from gather.retrieval.query import GeneQuery, query_genes
from gather.retrieval.scores import Retriever
from vckg.graph.graph import Graph

MARKS = {
    "CL:0000001": [0, 1, 2],
    "CL:0000002": [2, 3],
    "CL:0000003": [0, 1, 2, 3, 4, 5],
    "CL:0000004": [6, 7],
}
EDGES = [
    *((f"HGNC:{g}", "is_marker_for", cell) for cell, genes in MARKS.items() for g in genes),
    ("HGNC:8", "participates_in", "GO:0000001"),
]


def asked(graph: Graph, *genes: int) -> GeneQuery:
    """Return the query of some of the genes, by number."""
    return query_genes(graph, [f"HGNC{g}" for g in genes])


def scores_by_type(retriever: Retriever, query: GeneQuery) -> dict[str, float]:
    """Return the score of each cell type for a query."""
    (found,) = retriever.converge([query])
    ids = retriever.graph.ids
    return {ids[n]: float(s) for n, s in zip(found.nodes, found.score, strict=True)}
