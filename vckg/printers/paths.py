"""Find and print the shortest walks between two nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vckg.base.console import out
from vckg.base.errors import InputError
from vckg.base.types import Ints
from vckg.graph.schema import RELATION_NAMES
from vckg.printers.node import edge_facts, find, neighbour
from vckg.printers.table import print_json, print_table

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

MAX_WALK = 4
"""Steps of the longest walk that is searched."""


def shortest_walks(graph: Graph, start: int, end: int, limit: int) -> list[list[tuple[int, int]]]:
    """Return up to `limit` shortest walks, each a list of steps (edge row, node reached).

    Search breadth first from `start`, in either direction of an edge, to `MAX_WALK` steps. Of several edges between
    two nodes, take the one with the most evidence. Walks are in the order of their nodes.
    """
    level = {start: 0}
    before: dict[int, list[tuple[int, int]]] = {start: []}
    frontier = [start]
    while frontier and end not in level and level[frontier[0]] < MAX_WALK:
        following: list[int] = []
        for node in frontier:
            for row, other in _steps(graph, node):
                if other not in level:
                    level[other] = level[node] + 1
                    before[other] = []
                    following.append(other)
                if level[other] == level[node] + 1:
                    before[other].append((row, node))
        frontier = sorted(following)
    return _walks_back(before, end, limit) if end in level else []


def _walks_back(
    before: dict[int, list[tuple[int, int]]], end: int, limit: int
) -> list[list[tuple[int, int]]]:
    """Return walks from the start (which has no step before it) to `end`, depth first along the levels."""
    walks: list[list[tuple[int, int]]] = []

    def extend(node: int, tail: list[tuple[int, int]]) -> None:
        if len(walks) >= limit:
            return
        if not before[node]:
            walks.append(tail)
        for row, previous in sorted(before[node], key=lambda step: (step[1], step[0])):
            extend(previous, [(row, node), *tail])

    extend(end, [])
    return walks


def _steps(graph: Graph, node: int) -> list[tuple[int, int]]:
    """Return (row, other end) of the best edge to each neighbour."""
    rows = np.concatenate((graph.out_edges(node), graph.in_edges(node)))
    others = np.where(graph.subject[rows] == node, graph.object[rows], graph.subject[rows])
    order = np.lexsort((rows, -graph.evidence_count[rows], others))
    rows, others = rows[order], others[order]
    new = np.concatenate(([True], others[1:] != others[:-1]))[: others.size]
    return [(int(rows[i]), int(others[i])) for i in np.flatnonzero(new)]


def print_paths(graph: Graph, start: str, end: str, *, limit: int, as_json: bool) -> None:
    """Print the shortest walks between two nodes."""
    first, last = find(graph, start), find(graph, end)
    if first == last:
        raise InputError(f"{start!r} and {end!r} are the same node, {graph.ids[first]}")
    walks = shortest_walks(graph, first, last, limit)
    if as_json:
        print_json([[edge_facts(graph.edge(row)) for row, _ in walk] for walk in walks])
        return
    if not walks:
        out().print(f"no walk of {MAX_WALK} steps or fewer joins {graph.ids[first]} and {graph.ids[last]}")
        return
    for number, walk in enumerate(walks):
        if number:
            out().print()
        _print_walk(graph, first, walk)


def _print_walk(graph: Graph, start: int, walk: Sequence[tuple[int, int]]) -> None:
    """Print a walk step by step: the edge as an arrow, the node it reaches, the sources of the edge."""
    nodes = [start, *(reached for _, reached in walk)]
    rows = [("", graph.ids[start], graph.names[start], "", "", "")]
    for (row, reached), previous in zip(walk, nodes, strict=False):
        relation, forward = graph.relation[row], bool(graph.object[row] == reached)
        edges = _between(graph, previous, reached, forward)
        step = neighbour(graph, reached, edges[graph.relation[edges] == relation])
        name = RELATION_NAMES[relation]
        arrow = f"--{name}-->" if forward else f"<--{name}--"
        rows.append((arrow, step.id, step.name, f"{step.rows:,}", step.sources, step.papers))
    print_table(("", "", "node", "rows", "sources", "papers"), rows, right=("rows",))


def _between(graph: Graph, a: int, b: int, forward: bool) -> Ints:
    """Return the rows of the edges from `a` to `b`, or from `b` to `a` where not `forward`."""
    subject, target = (a, b) if forward else (b, a)
    rows = graph.out_edges(subject)
    edges: Ints = rows[graph.object[rows] == target]
    return edges
