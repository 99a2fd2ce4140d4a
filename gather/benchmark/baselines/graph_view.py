"""How the baselines see a graph: relations both ways, neighbours, names and texts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from gather.llm.evidence_text import in_prompt
from vckg.graph.metapaths import metagraph

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

Way = Literal["out", "in"]


class Hop(NamedTuple):
    """A relation and the way it is crossed: ``out`` from subject to object, ``in`` from object to subject."""

    relation: str
    way: Way

    @property
    def back(self) -> Hop:
        """The same relation the other way."""
        return Hop(self.relation, "in" if self.way == "out" else "out")

    def __str__(self) -> str:
        return f"-{self.relation}->" if self.way == "out" else f"<-{self.relation}-"


class Triple(NamedTuple):
    """One edge in words, as the graph stores it."""

    subject: str
    relation: str
    object: str

    def __str__(self) -> str:
        return f"({self.subject}, {self.relation}, {self.object})"


class GraphView:
    """A `vckg.Graph` as the methods see it: every relation, parallel edges of several sources as one."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def hops(self, node: int) -> list[Hop]:
        """The relations at a node, both ways, ascending."""
        return sorted(
            [Hop(relation, "out") for relation in self._relations(self._graph.out_edges(node))]
            + [Hop(relation, "in") for relation in self._relations(self._graph.in_edges(node))]
        )

    def _relations(self, rows: npt.NDArray[np.int32]) -> list[str]:
        return [self._graph.relations[code] for code in np.unique(self._graph.relation[rows]).tolist()]

    def neighbours(self, node: int, hop: Hop) -> list[int]:
        """The nodes at the other end, ascending, each once."""
        graph = self._graph
        if hop.way == "out":
            ends = graph.object[graph.out_edges(node, hop.relation)]
        else:
            ends = graph.subject[graph.in_edges(node, hop.relation)]
        found: list[int] = np.unique(ends).tolist()
        return found

    def name(self, node: int) -> str:
        """Name of a node, safe to print in a prompt."""
        return in_prompt(self._graph.names[node] or self._graph.ids[node])

    def category(self, node: int) -> str:
        """Category of a node."""
        return str(self._graph.categories[self._graph.category[node]])

    def text(self, node: int) -> str:
        """Name and description of a node."""
        about = self._graph.node(node).description
        line = f"{self.name(node)} is a {self.category(node)}."
        return f"{line} {_sentences(about)}" if about else line

    def schema(self) -> list[tuple[str, str, str]]:
        """The kinds of edges: (subject's category, relation, object's category), ascending."""
        return sorted(metagraph(self._graph))


def triple(kg: GraphView, node: int, hop: Hop, other: int) -> Triple:
    """The edge that a hop from `node` to `other` crosses."""
    subject, target = (node, other) if hop.way == "out" else (other, node)
    return Triple(kg.name(subject), hop.relation, kg.name(target))


def _sentences(text: str) -> str:
    """A description as lines of at most a name's length, so that `in_prompt` does not cut it."""
    return " ".join(in_prompt(part) for part in re.split(r"(?<=[.;])\s+", text))
