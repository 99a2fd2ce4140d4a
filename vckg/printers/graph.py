"""What the `vckg` commands print: sources, what a graph holds, a node with its edges, walks between two nodes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vckg.base.console import out
from vckg.base.errors import GraphError, InputError
from vckg.build.source_table import PROFILES, Source, choose
from vckg.graph.schema import CATEGORIES, RELATION_NAMES

if TYPE_CHECKING:
    from vckg.build.taken import Taken
    from vckg.graph.graph import Edge, Graph
    from vckg.graph.grounding import Grounded
from vckg.graph.manifest import graph_label

MAX_WALK = 4


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = (), header: bool = True
) -> None:
    """Print rows under their columns; those named in `right` are numbers."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_header=header)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    out().print(table)


# ---- sources ----------------------------------------------------------------------------------------------


def source_facts(source: Source) -> dict[str, Any]:
    """Return what `vckg sources` says of a source."""
    return {
        "name": source.name,
        "title": source.title,
        "release": source.routes[0].release,
        "licence": source.licence,
        "redistribute": source.redistribute,
        "profiles": list(source.profiles),
        "routes": list(dict.fromkeys(r.kind for r in source.routes)),
        "tried": "the publisher's whole file" if source.tried else "not tried on the full file",
        "note": source.note or _to_supply(source),
        "homepage": source.homepage,
        "citation": source.citation,
    }


def _to_supply(source: Source) -> str:
    """What has to lie in a mirror folder because no other route leads to it."""
    parts = {route.part for route in source.routes}
    kinds = {part: {r.kind for r in source.routes if r.part == part} for part in parts}
    files = [r.file for r in source.routes if kinds[r.part] == {"mirror"}]
    return f"put {' and '.join(files)} into a mirror folder; {source.homepage}".rstrip("; ") if files else ""


def print_sources(sources: Sequence[Source], profile: str, *, as_json: bool) -> None:
    """Print the source table, or the rows of one profile."""
    chosen = choose(sources, profile)[0] if profile else sources
    facts = [source_facts(s) for s in chosen]
    if as_json:
        print_json(facts)
        return
    rows = [
        (
            f["name"],
            f["title"],
            f["licence"] + ("" if f["redistribute"] else " (do not pass on)"),
            " ".join(p for p in PROFILES if p in f["profiles"]) or "--source",
            " ".join(f["routes"]),
            "yes" if f["tried"].startswith("the") else f["tried"],
        )
        for f in facts
    ]
    print_table(("source", "what", "licence", "profiles", "routes", "tried"), rows)
    if notes := [(f["name"], f["note"]) for f in facts if f["note"]]:
        out().print()
        print_table(("source", "to accept or supply"), notes)


def print_fetched(taken: Sequence[Taken], absent: Mapping[str, str], *, as_json: bool) -> None:
    """Print where each file of a profile came from and lies."""
    rows = [
        (
            t.source.name,
            said["release"],
            said["route"],
            "" if said["pinned"] else "unpinned",
            str(t.files[part]),
        )
        for t in taken
        for part, said in t.route["files"].items()
    ]
    columns = ("source", "release", "route", "checksum", "file")
    if as_json:
        files = [dict(zip(columns, row, strict=True)) for row in rows]
        print_json({"files": files, "absent": absent})
        return
    print_table(columns, rows)
    if absent:
        out().print("\nout of reach, so left out:")
        print_table(("source", "why"), absent.items())


# ---- info -------------------------------------------------------------------------------------------------


def graph_facts(graph: Graph) -> dict[str, Any]:
    """Return what `vckg info` says of a graph."""
    nodes = np.bincount(graph.category, minlength=len(CATEGORIES))
    edges = np.bincount(graph.relation, minlength=len(RELATION_NAMES))
    keys = ("title", "release", "route", "licence", "redistribute", "rows", "read", "kept", "terms", "edges")
    said = graph.manifest["sources"]
    return {
        "folder": str(graph.folder or ""),
        "content_hash": graph.content_hash,
        "profile": graph.manifest.get("parameters", {}).get("profile", ""),
        "absent": graph.manifest.get("absent", {}),
        "nodes": graph.n,
        "edges": graph.m,
        "categories": {c: int(k) for c, k in zip(CATEGORIES, nodes, strict=True) if k},
        "relations": {r: int(k) for r, k in zip(RELATION_NAMES, edges, strict=True) if k},
        "sources": {
            name: {k: d[k] for k in keys if k in d}
            | {k: d[k] for k in ("rejected", "rejected_terms") if d.get(k)}
            for name, d in said.items()
        },
    }


def print_info(graph: Graph, *, as_json: bool) -> None:
    """Print what a graph holds, where it comes from and what was turned away."""
    facts = graph_facts(graph)
    if as_json:
        print_json(facts)
        return
    console = out()
    console.print(f"{graph.folder or 'graph in memory'}", highlight=False)
    console.print(f"{graph.n:,} nodes, {graph.m:,} edges, content {graph.content_hash[:16]}", highlight=False)
    console.print(f"{graph_label(graph.manifest)}\n", highlight=False)
    print_table(
        ("category", "nodes"), ((c, f"{n:,}") for c, n in facts["categories"].items()), right=("nodes",)
    )
    console.print()
    print_table(
        ("relation", "edges"), ((r, f"{n:,}") for r, n in facts["relations"].items()), right=("edges",)
    )
    console.print()
    rows = [
        (
            name,
            d.get("release", ""),
            f"{d.get('read', 0):,}",
            f"{d.get('kept', 0):,}",
            f"{d.get('terms', 0):,}",
            _reasons(d.get("rejected", {}) | d.get("rejected_terms", {})),
        )
        for name, d in facts["sources"].items()
        if "rows" in d
    ]
    columns = ("source", "release", "read", "kept", "terms", "turned away")
    print_table(columns, rows, right=("read", "kept", "terms"))
    if facts["absent"]:
        console.print()
        print_table(("absent source", "why"), facts["absent"].items())


def _reasons(counts: dict[str, int], most: int = 3) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{n:,} {reason}" for reason, n in ranked[:most])
    rest = sum(n for _, n in ranked[most:])
    return f"{text}, {rest:,} for other reasons" if rest else text


# ---- show -------------------------------------------------------------------------------------------------


def find(graph: Graph, name: str) -> int:
    """Return the node a CURIE, gene name, cell type label or any node's own label means.

    Raises
    ------
    GraphError
        None does, or several do.
    """
    exact = graph.get(name)
    if exact is not None:
        return exact
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
    """CURIEs of all nodes of that label, whatever their category; case does not matter."""
    import pyarrow.compute as pc

    labels = pc.utf8_lower(graph.names.arrow)
    return graph.ids.pick(np.flatnonzero(pc.equal(labels, name.strip().lower()).to_numpy(False)))


class Neighbour(NamedTuple):
    """A node that one relation joins to another, with all edges that say so, most evidence first."""

    id: str
    name: str
    edges: list[Edge]

    @property
    def rows(self) -> int:
        """Source rows that say so."""
        return sum(e.evidence_count for e in self.edges)

    @property
    def sources(self) -> str:
        """The sources with the number of their rows, and the signs they state."""
        said = [f"{e.source}{_SIGNS.get(e.sign, '')} {e.evidence_count:,}" for e in self.edges]
        return _first(said, 3, ", ")

    @property
    def papers(self) -> str:
        """The papers they name."""
        return _first(sorted({p for e in self.edges for p in e.publications}), 2, " ")


_SIGNS = {1: " (+)", -1: " (-)"}


def _first(words: Sequence[str], most: int, separator: str) -> str:
    more = len(words) - most
    return separator.join(words[:most]) + (f" and {more:,} more" if more > 0 else "")


class Group(NamedTuple):
    """The edges of one relation one way."""

    relation: str
    way: str
    total: int
    """Edges."""
    neighbours: int
    """Nodes at their other ends."""
    shown: list[Neighbour]
    """Those with the most evidence."""


def print_node(graph: Graph, name: str, *, limit: int, as_json: bool) -> None:
    """Print one node and its neighbours, most evidence first."""
    index = find(graph, name)
    node = graph.node(index)
    groups = list(_groups(graph, index, limit))
    if as_json:
        edges = [
            {
                "direction": g.way,
                "relation": g.relation,
                "total": g.total,
                "neighbours": g.neighbours,
                "edges": [_edge_facts(e) for n in g.shown for e in n.edges],
            }
            for g in groups
        ]
        print_json({"node": node._asdict(), "edges": edges})
        return
    console = out()
    console.print(f"{node.id}  {node.name}  ({node.category})", style="bold", markup=False, highlight=False)
    for text in (node.description, "also: " + ", ".join(node.synonyms[:12]) if node.synonyms else ""):
        if text:
            console.print(text, markup=False, highlight=False)
    if node.xrefs:
        console.print("xrefs: " + ", ".join(node.xrefs[:12]), markup=False, highlight=False)
    for g in groups:
        counted = f"{g.neighbours:,} nodes, {g.total:,} edges" if g.neighbours > 1 else ""
        console.print(f"\n{g.relation} {g.way}  {counted}".rstrip(), style="bold", highlight=False)
        print_table(
            ("", "node", "rows", "sources", "papers"),
            [(n.id, n.name, f"{n.rows:,}", n.sources, n.papers) for n in g.shown],
            right=("rows",),
        )
        if g.neighbours > len(g.shown):
            console.print(f"and {g.neighbours - len(g.shown):,} more (--limit)", style="dim", highlight=False)


def _edge_facts(edge: Edge) -> dict[str, Any]:
    """An edge as JSON, which has no NaN: a score that the source does not state is null."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in edge._asdict().items()}


def _groups(graph: Graph, index: int, limit: int) -> Iterable[Group]:
    for way, rows, ends in (
        ("->", graph.out_edges(index), graph.object),
        ("<-", graph.in_edges(index), graph.subject),
    ):
        for code in np.unique(graph.relation[rows]):
            mine = rows[graph.relation[rows] == code]
            nodes, at = np.unique(ends[mine], return_inverse=True)
            said = np.bincount(at, weights=graph.evidence_count[mine])
            cited = np.bincount(at, weights=graph.n_publications[mine])
            best = np.lexsort((nodes, -cited, -said))[:limit]
            shown = [_neighbour(graph, int(nodes[b]), mine[at == b]) for b in best]
            yield Group(RELATION_NAMES[code], way, int(mine.size), int(nodes.size), shown)


def _neighbour(graph: Graph, node: int, rows: npt.NDArray[np.integer]) -> Neighbour:
    ranked = rows[np.lexsort((rows, -graph.evidence_count[rows]))]
    return Neighbour(graph.ids[node], graph.names[node], [graph.edge(int(r)) for r in ranked])


# ---- path -------------------------------------------------------------------------------------------------


def shortest_walks(graph: Graph, start: int, end: int, limit: int) -> list[list[tuple[int, int]]]:
    """Return up to `limit` shortest walks as (edge row, node reached) steps, edges taken either way.

    Breadth first from `start` to `MAX_WALK` steps. Of several edges between two nodes the one with the most
    evidence is shown; walks come in the order of their nodes.
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
    """Walks from the start (the node with nothing before it) to `end`, depth first along the levels."""
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
    """(row, other end) of the best edge to every neighbour."""
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
        print_json([[_edge_facts(graph.edge(row)) for row, _ in walk] for walk in walks])
        return
    if not walks:
        out().print(f"no walk of {MAX_WALK} steps or fewer joins {graph.ids[first]} and {graph.ids[last]}")
        return
    for number, walk in enumerate(walks):
        if number:
            out().print()
        _print_walk(graph, first, walk)


def _print_walk(graph: Graph, start: int, walk: Sequence[tuple[int, int]]) -> None:
    """Print a walk step by step: the edge as its arrow, the node it leads to, everyone who says so."""
    nodes = [start, *(reached for _, reached in walk)]
    rows = [("", graph.ids[start], graph.names[start], "", "", "")]
    for (row, reached), before in zip(walk, nodes, strict=False):
        relation, forward = graph.relation[row], bool(graph.object[row] == reached)
        same = _between(graph, before, reached, forward)
        said = _neighbour(graph, reached, same[graph.relation[same] == relation])
        name = RELATION_NAMES[relation]
        arrow = f"--{name}-->" if forward else f"<--{name}--"
        rows.append((arrow, said.id, said.name, f"{said.rows:,}", said.sources, said.papers))
    print_table(("", "", "node", "rows", "sources", "papers"), rows, right=("rows",))


def _between(graph: Graph, a: int, b: int, forward: bool) -> npt.NDArray[np.int32]:
    """Rows of the edges from one node to another, or from the other to the one."""
    subject, target = (a, b) if forward else (b, a)
    rows = graph.out_edges(subject)
    found: npt.NDArray[np.int32] = rows[graph.object[rows] == target]
    return found
