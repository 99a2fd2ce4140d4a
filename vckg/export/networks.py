"""A graph as an object of networkx or rustworkx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vckg.base.extras import require_extra
from vckg.export.writers import batches, link_edges, link_nodes
from vckg.graph.graph import Graph

if TYPE_CHECKING:
    import networkx as nx
    import rustworkx as rx


def to_networkx(graph: Graph) -> nx.MultiDiGraph[str]:
    """Return a `networkx.MultiDiGraph` keyed by CURIE, with the provenance of every edge.

    The key of an edge is its KGX id. An attribute without a value is absent. A million edges take about 2 GB as
    Python objects: take a `vckg.subgraph` first where a part is enough.

    Parameters
    ----------
    graph
        n nodes and m edges.

    Returns
    -------
    A graph of n nodes (attributes ``category``, ``name``) and m edges (``relation``, ``predicate``,
    ``source_name``, ``sign``, ``evidence_count``, ``publications``, ``tissues``, ``weight``,
    ``knowledge_level``, ``agent_type``).

    Examples
    --------
    >>> import vckg
    >>> network = vckg.to_networkx(vckg.example_graph())
    >>> network.nodes["CL:0000084"]
    {'category': 'Cell', 'name': 'T cell'}
    >>> [edge["source_name"] for edge in network.get_edge_data("HGNC:1673", "CL:0000084").values()]
    ['cellmarker', 'panglaodb']
    """
    import networkx as nx

    network: nx.MultiDiGraph[str] = nx.MultiDiGraph(content_hash=graph.content_hash)
    for nodes in batches(np.arange(graph.n)):
        rows = link_nodes(graph, nodes).to_pylist()
        network.add_nodes_from((node.pop("id"), _with_values(node)) for node in rows)
    for edges in batches(np.arange(graph.m)):
        for edge in link_edges(graph, edges).to_pylist():
            ends = edge.pop("subject"), edge.pop("object")
            network.add_edge(*ends, key=edge.pop("key"), **_with_values(edge))
    return network


def _with_values(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None and value != []}


def to_rustworkx(graph: Graph) -> rx.PyDiGraph[str, int]:
    """Return a `rustworkx.PyDiGraph` with the node indices of the graph.

    The payload of a node is its CURIE, the payload of an edge its row: `Graph.edge` gives the rest.

    Examples
    --------
    >>> import rustworkx, vckg
    >>> graph = vckg.example_graph()
    >>> network = vckg.to_rustworkx(graph)
    >>> start, end = graph.index("HGNC:1673"), graph.index("CL:0000542")
    >>> [network[i] for i in rustworkx.digraph_dijkstra_shortest_paths(network, start, end)[end]]
    ['HGNC:1673', 'CL:0000084', 'CL:0000542']
    """
    require_extra("networks", "to_rustworkx", "rustworkx")
    import rustworkx as rx

    network: rx.PyDiGraph[str, int] = rx.PyDiGraph(multigraph=True)
    network.add_nodes_from(list(graph.ids))
    rows = range(graph.m)
    network.add_edges_from(list(zip(graph.subject.tolist(), graph.object.tolist(), rows, strict=True)))
    return network
