"""Find a node by any of its names, and print it with its edges."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vckg.base.console import out
from vckg.base.errors import GraphError
from vckg.base.types import Indices
from vckg.graph.schema import RELATION_NAMES
from vckg.printers.table import print_json, print_table

if TYPE_CHECKING:
    from vckg.graph.graph import Edge, Graph
    from vckg.graph.grounding import Grounded


def find(graph: Graph, name: str) -> int:
    """Return the index of the node that a CURIE, a gene name, a cell type label or any node label means.

    Raises
    ------
    GraphError
        The name means no node, or several.
    """
    index = graph.get(name)
    if index is not None:
        return index
    answers: list[Grounded] = [*graph.genes.ground([name]), *graph.cells.ground([name])]
    certain = sorted({a.curie for a in answers if a.curie and a.how != "case"}) or sorted(
        {a.curie for a in answers if a.curie}
    )
    several = certain or sorted({c for a in answers for c in a.candidates})
    several = several or _labelled(graph, name)
    if len(several) == 1:
        return graph.index(several[0])
    if several:
        named = ", ".join(f"{c} ({graph.names[graph.index(c)]})" for c in several[:8])
        raise GraphError(f"{name!r} could be {named}; name one by its CURIE")
    if ":" in name:
        graph.index(name)  # raises with the nearest CURIE
    raise GraphError(f"nothing named {name!r} in the graph; a CURIE names any node")


def _labelled(graph: Graph, name: str) -> list[str]:
    """Return the CURIEs of all nodes with that label, in any category and case."""
    import pyarrow.compute as pc

    labels = pc.utf8_lower(graph.names.arrow)
    return graph.ids.pick(np.flatnonzero(pc.equal(labels, name.strip().lower()).to_numpy(False)))


class Neighbour(NamedTuple):
    """A neighbour by one relation, with all its edges, most evidence first."""

    id: str
    name: str
    edges: list[Edge]

    @property
    def rows(self) -> int:
        """Number of source rows behind the edges."""
        return sum(e.evidence_count for e in self.edges)

    @property
    def sources(self) -> str:
        """The sources, with the signs they state and the number of their rows."""
        sources = [f"{e.source}{_SIGNS.get(e.sign, '')} {e.evidence_count:,}" for e in self.edges]
        return _first(sources, 3, ", ")

    @property
    def papers(self) -> str:
        """The publications of the edges."""
        return _first(sorted({p for e in self.edges for p in e.publications}), 2, " ")


_SIGNS = {1: " (+)", -1: " (-)"}


def _first(words: Sequence[str], most: int, separator: str) -> str:
    more = len(words) - most
    return separator.join(words[:most]) + (f" and {more:,} more" if more > 0 else "")


class Group(NamedTuple):
    """The edges of one relation in one direction."""

    relation: str
    direction: str
    total: int
    """Number of edges."""
    neighbours: int
    """Number of nodes at their other ends."""
    shown: list[Neighbour]
    """The neighbours with the most evidence."""


def print_node(graph: Graph, name: str, *, limit: int, as_json: bool) -> None:
    """Print one node and its neighbours, most evidence first."""
    index = find(graph, name)
    node = graph.node(index)
    groups = list(_groups(graph, index, limit))
    if as_json:
        edges = [
            {
                "direction": g.direction,
                "relation": g.relation,
                "total": g.total,
                "neighbours": g.neighbours,
                "edges": [edge_facts(e) for n in g.shown for e in n.edges],
            }
            for g in groups
        ]
        print_json({"node": node._asdict(), "edges": edges})
        return
    console = out()
    console.print(f"{node.id}  {node.name}  ({node.category})", style="bold")
    for text in (node.description, "also: " + ", ".join(node.synonyms[:12]) if node.synonyms else ""):
        if text:
            console.print(text)
    if node.xrefs:
        console.print("xrefs: " + ", ".join(node.xrefs[:12]))
    for g in groups:
        counted = f"{g.neighbours:,} nodes, {g.total:,} edges" if g.neighbours > 1 else ""
        console.print(f"\n{g.relation} {g.direction}  {counted}".rstrip(), style="bold")
        print_table(
            ("", "node", "rows", "sources", "papers"),
            [(n.id, n.name, f"{n.rows:,}", n.sources, n.papers) for n in g.shown],
            right=("rows",),
        )
        if g.neighbours > len(g.shown):
            console.print(f"and {g.neighbours - len(g.shown):,} more (--limit)", style="dim")


def edge_facts(edge: Edge) -> dict[str, Any]:
    """Return an edge for JSON, with null instead of NaN."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in edge._asdict().items()}


def _groups(graph: Graph, index: int, limit: int) -> Iterable[Group]:
    for direction, rows, ends in (
        ("->", graph.out_edges(index), graph.object),
        ("<-", graph.in_edges(index), graph.subject),
    ):
        for code in np.unique(graph.relation[rows]):
            edges = rows[graph.relation[rows] == code]
            nodes, owner = np.unique(ends[edges], return_inverse=True)
            evidence = np.bincount(owner, weights=graph.evidence_count[edges])
            cited = np.bincount(owner, weights=graph.n_publications[edges])
            best = np.lexsort((nodes, -cited, -evidence))[:limit]
            shown = [neighbour(graph, int(nodes[b]), edges[owner == b]) for b in best]
            yield Group(RELATION_NAMES[code], direction, int(edges.size), int(nodes.size), shown)


def neighbour(graph: Graph, node: int, rows: Indices) -> Neighbour:
    """Return a node with the edges in `rows`, most evidence first."""
    ranked = rows[np.lexsort((rows, -graph.evidence_count[rows]))]
    return Neighbour(graph.ids[node], graph.names[node], [graph.edge(int(r)) for r in ranked])
