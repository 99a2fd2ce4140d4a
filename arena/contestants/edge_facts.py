"""Edges of the graph as sentences with their source, which `gather` answers with and hands to a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from gather.llm.evidence_text import in_prompt

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

LONGEST: Final = 2_000
"""Characters of one fact in a prompt: a hundred gene symbols fit."""
CITED: Final = 3
_VERB: Final = {1: "activates", -1: "represses"}


class Fact(NamedTuple):
    """An edge as a sentence."""

    text: str
    publications: tuple[str, ...]
    source: str

    @property
    def line(self) -> str:
        """The fact with its source and publications."""
        cited = f"; {', '.join(self.publications[:CITED])}" if self.publications else ""
        return f"{in_prompt(self.text, LONGEST)} ({self.source}{cited})"


def fact_of(graph: Graph, row: int, before: str = "") -> Fact:
    """Return an edge in words, e.g. ``KLF1 activates HBB``, with `before` in front of them."""
    edge = graph.edge(row)
    verb = _VERB.get(int(graph.sign[row]), edge.relation.replace("_", " "))
    ends = (graph.names[int(column[row])] for column in (graph.subject, graph.object))
    return Fact(f"{before}{f' {verb} '.join(ends)}", edge.publications, edge.source)


def edges_among(
    graph: Graph, subjects: Iterable[int], objects: set[int], relations: Sequence[str]
) -> list[Fact]:
    """Return the edges of some relations from subjects to objects; a regulation whose sign is unknown is left out."""
    facts = []
    for subject in sorted(set(subjects)):
        for relation in relations:
            for row in graph.out_edges(subject, relation).tolist():
                target = int(graph.object[row])
                if target in objects and target != subject and (graph.sign[row] or relation != "regulates"):
                    facts.append(fact_of(graph, row))
    return distinct(facts)


def distinct(facts: Iterable[Fact]) -> list[Fact]:
    """Return one fact a text, the one with the most publications, in the order of first appearance."""
    best: dict[str, Fact] = {}
    for fact in facts:
        had = best.get(fact.text)
        if had is None or len(fact.publications) > len(had.publications):
            best[fact.text] = fact
    return list(best.values())


def nodes_named(names: Sequence[str], graph: Graph) -> dict[str, int]:
    """Return the graph's node of each gene name that grounds."""
    return {g.name: graph.index(g.curie) for g in graph.genes.ground(names) if g.curie}
