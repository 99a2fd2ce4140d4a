"""Print what a graph holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from vckg.base.console import out
from vckg.graph.graph import Graph
from vckg.graph.manifest import graph_label
from vckg.graph.schema import CATEGORIES, RELATION_NAMES
from vckg.printers.table import print_json, print_table


def graph_facts(graph: Graph) -> dict[str, Any]:
    """Return the facts that `vckg info` prints of a graph."""
    nodes = np.bincount(graph.category, minlength=len(CATEGORIES))
    edges = np.bincount(graph.relation, minlength=len(RELATION_NAMES))
    keys = ("title", "release", "route", "licence", "redistribute", "rows", "read", "kept", "terms", "edges")
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
            | {k: d[k] for k in ("rejected", "rejected_terms", "unread") if d.get(k)}
            for name, d in graph.manifest["sources"].items()
        },
    }


def print_info(graph: Graph, *, as_json: bool) -> None:
    """Print nodes, edges and sources of a graph, and the rejected rows of each source."""
    facts = graph_facts(graph)
    if as_json:
        print_json(facts)
        return
    console = out()
    console.print(f"{graph.folder or 'graph in memory'}")
    console.print(f"{graph.n:,} nodes, {graph.m:,} edges, content {graph.content_hash[:16]}")
    console.print(f"{graph_label(graph.manifest)}\n")
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
            _reasons(d.get("rejected", {}) | d.get("rejected_terms", {}))
            + (f"; kept without: {_reasons(d['unread'])}" if d.get("unread") else ""),
        )
        for name, d in facts["sources"].items()
        if "rows" in d
    ]
    columns = ("source", "release", "read", "kept", "terms", "rejected")
    print_table(columns, rows, right=("read", "kept", "terms"))
    if facts["absent"]:
        console.print()
        print_table(("absent source", "why"), facts["absent"].items())


def _reasons(counts: dict[str, int], most: int = 3) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{n:,} {reason}" for reason, n in ranked[:most])
    rest = sum(n for _, n in ranked[most:])
    return f"{text}, {rest:,} for other reasons" if rest else text
