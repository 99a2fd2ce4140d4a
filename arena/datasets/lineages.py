"""What the graph says of a Cell Ontology term, as samples need it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gather.ontology import Ontology
from vckg.graph.graph import Graph

_ENSEMBL = re.compile(r"(?:(?P<symbol>.+)_)?(?P<id>ENSG\d{11})(?:\.\d+)?")


class Term(NamedTuple):
    """A cell type in the words of the graph; all empty where the graph does not know it."""

    cl_id: str
    name: str
    description: str
    """The definition; where the ontology has none, what it is a kind of."""
    lineage: str
    parent: str
    """The first direct parent (lowest CURIE): siblings are not independent, so they share a bootstrap
    cluster."""


class CellTerms:
    """Looks cell types and genes up in a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.ontology = Ontology.of_cells(graph)

    def describe(self, cl_id: str) -> Term:
        """Name, definition, lineage and first parent of a term; an obsolete id is followed to its
        successor.
        """
        found = self.graph.cells.ground([cl_id])[0].curie
        if found is None or found not in self.ontology:
            return Term(cl_id, "", "", "", "")
        node = self.graph.node(self.graph.index(found))
        position = self.ontology.position(found)
        parents = sorted(self.ontology.terms[p] for p in self.ontology.parents(position))
        lineage = self.ontology.lineage(position) or ""
        parent = parents[0] if parents else found
        described = node.description or f"A kind of {self.graph.names[self.graph.index(parent)]}."
        return Term(found, node.name, described, lineage, parent)

    def approved_symbols(self, names: Sequence[str]) -> list[str]:
        """Approved symbols of the names that are human genes, each once, in order."""
        curies = [g.curie for g in self.graph.genes.ground(names) if g.curie]
        return list(dict.fromkeys(self.graph.names[self.graph.index(c)] for c in curies))

    def symbols_of_ensembl(self, names: Iterable[str]) -> list[str]:
        """The names with Ensembl gene ids replaced by symbols where the graph knows them.

        An id may stand behind the symbol that it tells apart (``RGS5_ENSG00000143248``); where the graph does not
        know it, that symbol stays.
        """
        listed = list(names)
        parts = {name: match for name in listed if (match := _ENSEMBL.fullmatch(name))}
        known = self.graph.genes.ground([match["id"] for match in parts.values()])
        found = {g.name: g.curie for g in known if g.curie}

        def symbol(name: str) -> str:
            match = parts.get(name)
            if match is None:
                return name
            curie = found.get(match["id"])
            return self.graph.names[self.graph.index(curie)] if curie else match["symbol"] or name

        return [symbol(name) for name in listed]
