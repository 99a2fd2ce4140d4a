"""Facts of the graph that two independent resources state, with publications.

A collection hands on what others published: ``accordion:CellMarker2.0`` and ``cellmarker`` count as one resource. A
consensus of resources counts as none, and so does a table that was compiled from others.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from vckg.graph.graph import Graph

if TYPE_CHECKING:
    from arena.datasets.lineages import CellTerms

MOST_SHOWN: Final = 12
"""Markers of its type that are kept of those that a cell shows."""
COLLECTIONS: Final = ("accordion", "liana")
NO_RESOURCE: Final = ("consensus", "cellmatch", "sctype", "sctyper")
"""Consensus, and markers compiled from CellMarker, PanglaoDB and others: scCATCH, ScType and scTyper."""
_EDITION = re.compile(r"_cells$|[._ -]?(?:v?\d[\d.]*|db(?:_cells)?)$")


class Replicated(NamedTuple):
    """A statement that two resources make."""

    sign: int
    """+1 or -1 of a regulation; 0 of other facts."""
    resources: tuple[str, ...]
    rows: tuple[int, ...]
    """Edges of the graph."""


def resource_of(source: str) -> str:
    """Return the resource that a source of the graph rests on; empty where it is a consensus.

    Examples
    --------
    >>> resource_of("accordion:CellMarker2.0"), resource_of("cellmarker"), resource_of("liana:consensus")
    ('cellmarker', 'cellmarker', '')
    >>> resource_of("accordion:MSigDB") == resource_of("msigdb_cells")
    True
    """
    first, _, rest = source.partition(":")
    name = rest if first in COLLECTIONS and rest else first
    name = _EDITION.sub("", name.lower())
    return "" if name in NO_RESOURCE else name


@lru_cache(maxsize=8)
def replicated(graph: Graph, relation: str, least: int = 2) -> Mapping[tuple[int, int], Replicated]:
    """Return pairs of nodes that two resources join, with `least` publications, ascending.

    Regulations count by their direction; pairs on whose direction resources differ are left out.
    """
    resource = [resource_of(name) for name in graph.sources]
    span = graph.rows(relation)
    columns = (graph.subject, graph.object, graph.source, graph.sign, graph.n_publications)
    rows: dict[tuple[int, int], list[tuple[int, str, int, int]]] = defaultdict(list)
    for row, (subject, target, source, sign, cited) in enumerate(
        zip(*(c[span].tolist() for c in columns), strict=True), start=span.start
    ):
        if resource[source]:
            rows[subject, target].append((row, resource[source], sign, cited))
    found = {}
    for pair, edges in sorted(rows.items()):
        signs = {sign for _row, _name, sign, _cited in edges if sign}
        names = {name for _row, name, sign, _cited in edges if sign or relation != "regulates"}
        if len(names) > 1 and len(signs) <= 1 and pair[0] != pair[1]:
            listed = tuple(row for row, _name, _sign, _cited in edges)
            if sum(cited for *_rest, cited in edges) >= least and len(publications(graph, listed)) >= least:
                found[pair] = Replicated(next(iter(signs), 0), tuple(sorted(names)), listed)
    return found


def publications(graph: Graph, rows: Sequence[int]) -> tuple[str, ...]:
    """Return the publications of some edges, each once, ascending."""
    return tuple(
        sorted({p for row in rows if graph.n_publications[row] for p in graph.edge(row).publications})
    )


@lru_cache(maxsize=2)
def markers_of(graph: Graph) -> Mapping[int, Sequence[int]]:
    """Return the replicated markers of each cell type, node indices ascending."""
    found: dict[int, list[int]] = defaultdict(list)
    for gene, cell in replicated(graph, "is_marker_for"):
        found[cell].append(gene)
    return dict(found)


@lru_cache(maxsize=2)
def attested(graph: Graph) -> Mapping[int, Mapping[int, int]]:
    """Return the number of resources that name each gene (first key) as a marker of each type."""
    rows = graph.rows("is_marker_for")
    resource = [resource_of(name) for name in graph.sources]
    named: dict[int, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    columns = (graph.subject, graph.object, graph.source)
    for gene, cell, source in zip(*(c[rows].tolist() for c in columns), strict=True):
        named[gene][cell].update(filter(None, [resource[source]]))
    return {gene: {cell: len(names) for cell, names in cells.items()} for gene, cells in named.items()}


@lru_cache(maxsize=2)
def _marked_types(graph: Graph) -> Mapping[int, int]:
    """Return the number of types that each gene marks by any resource."""
    rows = graph.rows("is_marker_for")
    pairs = set(zip(graph.subject[rows].tolist(), graph.object[rows].tolist(), strict=True))
    return Counter(gene for gene, _cell in pairs)


def markers_shown(terms: CellTerms, cl_id: str, shown: Sequence[str]) -> tuple[str, ...]:
    """Return the genes of a cell that are replicated markers of its type or of a kind above it.

    The genes that mark the fewest types come first. A mouse symbol stands for the human gene of the same letters.
    """
    ontology, graph = terms.ontology, terms.graph
    table, general = markers_of(graph), _marked_types(graph)
    at = ontology.position(cl_id)
    above = [at, *(int(i) for i in ontology.ancestors(at) if ontology.lineage(int(i)) is not None)]
    known = {graph.names[g].upper(): general[g] for i in above for g in table.get(int(ontology.nodes[i]), ())}
    found = [gene for gene in shown if gene.upper() in known]
    return tuple(sorted(found, key=lambda gene: known[gene.upper()])[:MOST_SHOWN])
