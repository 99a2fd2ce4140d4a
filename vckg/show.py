"""What the `vckg` commands print: sources, what a graph holds, a node with its edges, walks between two nodes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vckg.console import out
from vckg.errors import GraphError, InputError
from vckg.schema import CATEGORIES, RELATION_NAMES
from vckg.sources import PROFILES, Source, choose

if TYPE_CHECKING:
    from vckg.build import Taken
    from vckg.graph import Edge, Graph
    from vckg.ground import Grounded

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
        "note": source.note,
        "homepage": source.homepage,
        "citation": source.citation,
    }


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
        out().print("\nnot at hand, so left out (optional):")
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
    console.print(
        f"{graph.n:,} nodes, {graph.m:,} edges, content {graph.content_hash[:16]}\n", highlight=False
    )
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
    if absent := graph.manifest.get("absent"):
        console.print(f"\noptional sources that were not at hand: {', '.join(absent)}", highlight=False)


def _reasons(counts: dict[str, int], most: int = 3) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{n:,} {reason}" for reason, n in ranked[:most])
    rest = sum(n for _, n in ranked[most:])
    return f"{text}, {rest:,} for other reasons" if rest else text


# ---- show -------------------------------------------------------------------------------------------------


def find(graph: Graph, name: str) -> int:
    """Return the node a CURIE, gene name or cell type label means; GraphError where none or several do."""
    exact = graph.get(name)
    if exact is not None:
        return exact
    answers: list[Grounded] = [*graph.genes.ground([name]), *graph.cells.ground([name])]
    certain = sorted({a.curie for a in answers if a.curie and a.how != "case"}) or sorted(
        {a.curie for a in answers if a.curie}
    )
    if len(certain) == 1:
        return graph.index(certain[0])
    several = certain or sorted({c for a in answers for c in a.candidates})
    if several:
        named = ", ".join(f"{c} ({graph.names[graph.index(c)]})" for c in several[:8])
        raise GraphError(f"{name!r} could be {named}; name one by its CURIE")
    if ":" in name:
        graph.index(name)  # raises with the nearest CURIE
    raise GraphError(f"no gene or cell type named {name!r} in the graph; a CURIE names any node")


def print_node(graph: Graph, name: str, *, limit: int, as_json: bool) -> None:
    """Print one node and its edges, most evidence first."""
    index = find(graph, name)
    node = graph.node(index)
    groups = list(_edge_groups(graph, index, limit))
    if as_json:
        edges = [
            {"direction": way, "relation": relation, "total": total, "edges": [e._asdict() for e in shown]}
            for way, relation, total, shown in groups
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
    for way, relation, total, shown in groups:
        console.print(f"\n{relation} {way}  {total:,}", style="bold", highlight=False)
        print_table(("", "node", "source", "rows", "papers"), [_edge_cells(graph, e, way) for e in shown])


def _edge_groups(graph: Graph, index: int, limit: int) -> Iterable[tuple[str, str, int, list[Edge]]]:
    for way, rows in (("->", graph.out_edges(index)), ("<-", graph.in_edges(index))):
        for code in np.unique(graph.relation[rows]):
            mine = rows[graph.relation[rows] == code]
            best = mine[np.lexsort((mine, -graph.n_publications[mine], -graph.evidence_count[mine]))][:limit]
            yield way, RELATION_NAMES[code], int(mine.size), [graph.edge(r) for r in best]


def _edge_cells(graph: Graph, edge: Edge, way: str) -> tuple[str, str, str, int, str]:
    other = edge.object if way == "->" else edge.subject
    sign = {1: " (+)", -1: " (-)"}.get(edge.sign, "")
    papers = " ".join(edge.publications[:2]) + (" ..." if len(edge.publications) > 2 else "")
    return other, graph.names[graph.index(other)] + sign, edge.source, edge.evidence_count, papers


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
        print_json([[graph.edge(row)._asdict() for row, _ in walk] for walk in walks])
        return
    if not walks:
        out().print(f"no walk of {MAX_WALK} steps or fewer joins {graph.ids[first]} and {graph.ids[last]}")
        return
    for walk in walks:
        parts = [graph.names[first]]
        for row, reached in walk:
            edge = graph.edge(row)
            arrow = f"--{edge.relation}-->" if graph.object[row] == reached else f"<--{edge.relation}--"
            parts += [arrow, f"{graph.names[reached]} [{edge.source}]"]
        out().print("  ".join(parts), markup=False, highlight=False)
