"""Cut a part out of a graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from vckg.base.errors import GraphError
from vckg.base.types import Bools, Ints, Longs
from vckg.graph.assemble import TEXT_LISTS, assemble
from vckg.graph.edge_table import LIST_NAMES, VALUE_COLUMNS, EdgeTable, Lists
from vckg.graph.graph import Graph, NodeRef
from vckg.graph.grounding import NameRows, NameTable


def subgraph(
    graph: Graph, nodes: Iterable[NodeRef] | NodeRef, *, hops: int = 0, relations: Iterable[str] | None = None
) -> Graph:
    """Return the graph of the given nodes and of all nodes within `hops` edges of them, in either direction.

    Parameters
    ----------
    graph
        The whole graph.
    nodes
        CURIEs or node indices; one alone also without a list.
    hops
        Number of edges to walk from the given nodes; 0 keeps the given nodes only.
    relations
        The relations to walk and to keep; all where None.

    Returns
    -------
    A graph in memory with new indices. It keeps the provenance of its edges, and those of their tissues
    that are among its nodes.

    Raises
    ------
    MissingNodeError
        A given node is absent.
    GraphError
        A relation is unknown, or the graph is one of `vckg.graph.species`.

    Examples
    --------
    >>> import vckg
    >>> graph = vckg.example_graph()
    >>> near = vckg.subgraph(graph, ["CL:0000084"], hops=1)
    >>> list(near)
    ['CL:0000084', 'CL:0000542', 'HGNC:1673', 'HGNC:1674']
    >>> list(vckg.subgraph(graph, ["CL:0000084"], hops=1, relations=["subclass_of"]))
    ['CL:0000084', 'CL:0000542']
    """
    rows = _rows_of(graph, relations)
    subject, target = graph.subject[rows], graph.object[rows]
    inside = np.zeros(graph.n, dtype=bool)
    several = [nodes] if isinstance(nodes, (str, int, np.integer)) else nodes
    inside[[graph.index(node) for node in several]] = True
    for _ in range(hops):
        reached = inside[subject] | inside[target]
        inside[subject[reached]] = True
        inside[target[reached]] = True
    manifest = {key: graph.manifest[key] for key in ("sources", "source_names")}
    return cut(
        graph, inside, rows[inside[subject] & inside[target]], manifest | {"cut_from": graph.content_hash}
    )


def _rows_of(graph: Graph, relations: Iterable[str] | None) -> Longs:
    if relations is None:
        return np.arange(graph.m)
    spans = sorted((span.start, span.stop) for span in map(graph.rows, set(relations)))
    return np.concatenate([np.arange(*span) for span in spans]) if spans else np.zeros(0, dtype=np.int64)


def cut(
    graph: Graph, inside: Bools, rows: Longs, manifest: dict[str, Any], left_out: Bools | None = None
) -> Graph:
    """Return the graph of some nodes and edges, with the names that lead to them; all keep their order.

    Parameters
    ----------
    inside
        Which nodes stay: bool[n].
    rows
        The edges that stay, ascending; their ends are `inside`, and their sources among the manifest's `source_names`.
    left_out
        Which entries of the graph's name table go in any case; none where None.
    """
    if graph.orthology is not None:
        raise GraphError("the graph of one species has no parts; cut the graph that it was made from")
    local = np.cumsum(inside, dtype=np.int32) - 1
    lists = {name: graph.list_codes(name).take(rows) for name in LIST_NAMES}
    dictionaries = {}
    for name in TEXT_LISTS:
        used, codes = np.unique(lists[name].codes, return_inverse=True)
        dictionaries[name] = graph.dictionary(name).take(pa.array(used))
        lists[name] = Lists(lists[name].indptr, codes.astype(np.int32))
    lists["tissues"] = _only_inside(lists["tissues"], inside, local)
    sources = manifest["source_names"]
    columns = {name: np.asarray(getattr(graph, name))[rows] for name in VALUE_COLUMNS}
    code = np.array([sources.index(s) if s in sources else 0 for s in graph.sources], dtype=np.uint8)
    columns["source"] = code[columns["source"]]
    ends = {name: local[getattr(graph, name)[rows]] for name in ("subject", "object")}
    nodes = graph.node_table.take(pa.array(np.flatnonzero(inside))).combine_chunks()
    table = graph.name_table
    kept = inside[table.node] if left_out is None else inside[table.node] & ~left_out
    key = np.repeat(np.arange(len(table.keys)), np.diff(table.indptr))[kept]
    names = NameRows(table.keys.arrow.take(pa.array(key)), table.kind[kept], local[table.node[kept]])
    edges = EdgeTable(**ends, **columns, lists=lists)
    category = np.asarray(graph.category)[inside]
    return Graph(assemble(nodes, category, edges, dictionaries, NameTable.build(names), manifest))


def _only_inside(lists: Lists, inside: Bools, local: Ints) -> Lists:
    """Keep the codes of nodes `inside` and replace them by their new indices."""
    kept = inside[lists.codes]
    n_lists = lists.indptr.size - 1
    owner = np.repeat(np.arange(n_lists), np.diff(lists.indptr))[kept]
    indptr = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=n_lists))))
    return Lists(indptr.astype(np.int64), local[lists.codes[kept]])
