"""What the graph answers to a question: the node that the named genes single out, else the edges that join them.

A question that asks for a first and a second name (``First: NAME. Second: NAME.``) names as many genes for the one
as for the other. The name of each is the node to which most of its genes have the edge that is asked for.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from math import log1p
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from arena.contestants.edge_facts import Fact, distinct, edges_among, fact_of, nodes_named
from arena.types import Sample

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

TOLD: Final = 6
"""Facts of an answer."""
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,14}")
_TWO: Final = "First: NAME. Second: NAME."
_ASKED: Final = re.compile(r"\b(?:which|what|the) (cell type|factor|receptor|ligand)\b", re.IGNORECASE)
_REPRESSED: Final = re.compile(r"\brepresses ([A-Za-z0-9-]+)")


class Edge(NamedTuple):
    """The edge that a question asks for, as seen from the genes that it names."""

    relation: str
    gene_is: str
    """``subject`` or ``object``."""


_EDGES: Final = {
    "cell type": Edge("is_marker_for", "subject"),
    "factor": Edge("regulates", "object"),
    "receptor": Edge("ligand_receptor", "subject"),
    "ligand": Edge("ligand_receptor", "object"),
}


def answer(sample: Sample, graph: Graph) -> dict[str, Any] | None:
    """Return ``{"answer": text}``; None where the graph knows nothing of the question's genes."""
    question = sample.fields["question"]
    named = [f"{which}: {graph.names[node]}." for which, node, _ in _halves(question, graph)]
    told = named or [f"{fact.text}." for fact in _joining(question, graph)[:TOLD]]
    return {"answer": " ".join(told)} if told else None


def facts(sample: Sample, graph: Graph) -> list[Fact]:
    """Return what the graph knows of the question: the edges of each half's answer, else what joins its genes."""
    question = sample.fields["question"]
    of_halves = [
        fact_of(graph, row, f"{which}: ") for which, _, rows in _halves(question, graph) for row in rows
    ]
    return distinct(of_halves) or _joining(question, graph)


# ---- questions of two halves ------------------------------------------------------------------------------


def _halves(question: str, graph: Graph) -> list[tuple[str, int, list[int]]]:
    """Return ``First`` and ``Second`` with the node that answers each and the edges that say so."""
    asked = _ASKED.search(question)
    genes = list(nodes_named(gene_words(question), graph).items())
    if _TWO not in question or asked is None or len(genes) % 2:
        return []
    edge, repressed = _EDGES[asked[1].lower()], set(_REPRESSED.findall(question))
    middle = len(genes) // 2
    found = []
    for which, half in (("First", genes[:middle]), ("Second", genes[middle:])):
        signs = {node: -1 if name in repressed else 1 for name, node in half}
        best = _singled_out(signs, edge, graph)
        if best is not None:
            found.append((which, *best))
    return found


def _singled_out(signs: dict[int, int], edge: Edge, graph: Graph) -> tuple[int, list[int]] | None:
    """Return the node for which most sources speak, gene by gene, and its edges; of equals, that with the fewest edges.

    A gene counts by the logarithm of its edges, one a source. An edge of regulation counts where its sign is the gene's
    in `signs`.
    """
    rows_of: dict[int, dict[int, int]] = defaultdict(dict)
    sources: dict[int, Counter[int]] = defaultdict(Counter)
    outward = edge.gene_is == "subject"
    for gene, sign in signs.items():
        rows = (graph.out_edges if outward else graph.in_edges)(gene, edge.relation)
        for row in rows.tolist():
            if edge.relation != "regulates" or int(graph.sign[row]) == sign:
                end = int((graph.object if outward else graph.subject)[row])
                sources[end][gene] += 1
                had = rows_of[end].setdefault(gene, row)
                rows_of[end][gene] = max(had, row, key=lambda r: int(graph.n_publications[r]))
    if not rows_of:
        return None
    degree = graph.in_edges if outward else graph.out_edges
    support = {end: sum(map(log1p, counts.values())) for end, counts in sources.items()}
    best = min(rows_of, key=lambda end: (-round(support[end], 9), len(degree(end, edge.relation)), end))
    return best, list(rows_of[best].values())


# ---- other questions --------------------------------------------------------------------------------------


def _joining(question: str, graph: Graph) -> list[Fact]:
    """Return the edges among the named genes, else the cell types that they mark together, else each gene's own."""
    genes = list(nodes_named(gene_words(question), graph).values())
    among = edges_among(graph, set(genes), set(genes), ("regulates", "ligand_receptor"))
    if among and "cell type" not in question:
        return among
    marked = _singled_out(dict.fromkeys(genes, 1), _EDGES["cell type"], graph)
    if marked and len(marked[1]) > 1:
        return [fact_of(graph, row) for row in marked[1]]
    return among + [fact for gene in genes[:4] for fact in _own_edges(graph, gene)]


def _own_edges(graph: Graph, gene: int) -> list[Fact]:
    """Return the receptors of a gene, then the three cell types that most publications say it marks."""
    marks = graph.out_edges(gene, "is_marker_for").tolist()
    best = sorted(marks, key=lambda row: (-graph.n_publications[row], row))[:3]
    rows = [*graph.out_edges(gene, "ligand_receptor").tolist(), *best]
    return distinct(fact_of(graph, row) for row in rows)


def gene_words(text: str) -> Sequence[str]:
    """Return the words that may be gene symbols, in the text's order: with two capitals or digits in them."""
    words = (w.strip("-") for w in _WORD.findall(text))
    return [w for w in words if sum(c.isupper() or c.isdigit() for c in w) >= 2]
