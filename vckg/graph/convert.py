"""The graph in the form of other Python libraries, parts of it, and its metapaths."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vckg.base.errors import GraphError, did_you_mean
from vckg.export.writers import batches, link_edges, link_nodes
from vckg.graph.assemble import assemble
from vckg.graph.edge_table import LIST_NAMES, EdgeTable, Lists
from vckg.graph.graph import Graph, NodeRef
from vckg.graph.grounding import NameRows, NameTable
from vckg.graph.schema import CATEGORIES, CATEGORY_CODE, RELATION_NAMES

_EDGE_COLUMNS = ("relation", "source", "sign", "evidence_count", "weight", "specificity")

if TYPE_CHECKING:
    import networkx as nx
    import rustworkx as rx


def read(folder: Path | str, *, verify: bool = False) -> Graph:
    """Return the graph of a folder (`Graph.load`)."""
    return Graph.load(folder, verify=verify)


def write(graph: Graph, folder: Path | str) -> Path:
    """Write the folder of a graph and return its path (`Graph.save`)."""
    return graph.save(folder)


def to_networkx(graph: Graph) -> nx.MultiDiGraph[str]:
    """A `networkx.MultiDiGraph` keyed by CURIE, with every edge's provenance.

    An edge's key is its KGX id; an attribute without a value is absent. A million edges take about 2 GB as Python
    objects: take a `subgraph` first where the whole is not needed.
    """
    import networkx as nx

    found: nx.MultiDiGraph[str] = nx.MultiDiGraph(content_hash=graph.content_hash)
    for part in batches(np.arange(graph.n)):
        found.add_nodes_from((node.pop("id"), _stated(node)) for node in link_nodes(graph, part).to_pylist())
    for part in batches(np.arange(graph.m)):
        for edge in link_edges(graph, part).to_pylist():
            found.add_edge(edge.pop("subject"), edge.pop("object"), key=edge.pop("key"), **_stated(edge))
    return found


def _stated(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None and value != []}


def to_rustworkx(graph: Graph) -> rx.PyDiGraph[str, int]:
    """A `rustworkx.PyDiGraph`: node index as in the graph with its CURIE as payload, edge payload = edge row.

    Everything else about an edge is `graph.edge(row)`.
    """
    import rustworkx as rx

    found: rx.PyDiGraph[str, int] = rx.PyDiGraph(multigraph=True)
    found.add_nodes_from(list(graph.ids))
    rows = range(graph.m)
    found.add_edges_from(list(zip(graph.subject.tolist(), graph.object.tolist(), rows, strict=True)))
    return found


def subgraph(
    graph: Graph, nodes: Iterable[NodeRef], *, hops: int = 0, relations: Iterable[str] | None = None
) -> Graph:
    """The graph between the given nodes and all within `hops` edges of them, whatever the direction.

    Parameters
    ----------
    nodes
        CURIEs or node indices.
    hops
        How far to reach out first; 0 keeps the given nodes only.
    relations
        Walk and keep these relations only; all where None.

    Returns
    -------
    A graph in memory with its own indices. What the manifest says of the sources stays; of an edge's tissues those
    that are nodes here.
    """
    rows = _rows_of(graph, relations)
    subject, target = graph.subject[rows], graph.object[rows]
    inside = np.zeros(graph.n, dtype=bool)
    inside[[graph.index(node) for node in nodes]] = True
    for _ in range(hops):
        met = inside[subject] | inside[target]
        inside[subject[met]] = True
        inside[target[met]] = True
    return _cut(graph, inside, rows[inside[subject] & inside[target]])


def _rows_of(graph: Graph, relations: Iterable[str] | None) -> npt.NDArray[np.int64]:
    if relations is None:
        return np.arange(graph.m)
    spans = sorted((span.start, span.stop) for span in map(graph.rows, set(relations)))
    return np.concatenate([np.arange(*span) for span in spans]) if spans else np.zeros(0, dtype=np.int64)


def _cut(graph: Graph, inside: npt.NDArray[np.bool_], rows: npt.NDArray[np.int64]) -> Graph:
    """The graph of some nodes and some of the edges between them; the order of both stays."""
    at = np.flatnonzero(inside)
    local = np.cumsum(inside, dtype=np.int32) - 1
    lists = {name: graph.list_codes(name).take(rows) for name in LIST_NAMES}
    dictionaries = {}
    for name in ("publications", "evidence"):
        used, codes = np.unique(lists[name].codes, return_inverse=True)
        dictionaries[name] = graph.dictionary(name).take(pa.array(used))
        lists[name] = Lists(lists[name].indptr, codes.astype(np.int32))
    lists["tissues"] = _only_inside(lists["tissues"], inside, local)
    edges = EdgeTable(
        subject=local[graph.subject[rows]],
        object=local[graph.object[rows]],
        lists=lists,
        **{name: np.asarray(getattr(graph, name))[rows] for name in _EDGE_COLUMNS},
    )
    manifest = {key: graph.manifest[key] for key in ("sources", "source_names")}
    manifest["cut_from"] = graph.content_hash
    nodes = graph.node_table.take(pa.array(at)).combine_chunks()
    names = NameTable.build(_names_of(graph, inside, local))
    return Graph(assemble(nodes, np.asarray(graph.category)[at], edges, dictionaries, names, manifest))


def _only_inside(lists: Lists, inside: npt.NDArray[np.bool_], local: npt.NDArray[np.int32]) -> Lists:
    kept = inside[lists.codes]
    owner = np.repeat(np.arange(lists.indptr.size - 1), np.diff(lists.indptr))[kept]
    indptr = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=lists.indptr.size - 1))))
    return Lists(indptr.astype(np.int64), local[lists.codes[kept]])


def _names_of(graph: Graph, inside: npt.NDArray[np.bool_], local: npt.NDArray[np.int32]) -> NameRows:
    """What grounding knows of the kept nodes."""
    table = graph.name_table
    kept = inside[table.node]
    key = np.repeat(np.arange(len(table.keys)), np.diff(table.indptr))[kept]
    return NameRows(table.keys.arrow.take(pa.array(key)), table.kind[kept], local[table.node[kept]])


class Metapath(NamedTuple):
    """A kind of walk: categories and relations in turn, ``>`` along an edge, ``<`` against it."""

    categories: tuple[str, ...]
    relations: tuple[str, ...]
    directions: str
    """One ``>`` or ``<`` per relation."""

    def __str__(self) -> str:
        text = self.categories[0]
        for relation, way, category in zip(self.relations, self.directions, self.categories[1:], strict=True):
            text += f" -{relation}-> {category}" if way == ">" else f" <-{relation}- {category}"
        return text


def metagraph(graph: Graph) -> dict[tuple[str, str, str], int]:
    """How many edges each (category of the subject, relation, category of the object) has, most first."""
    width = len(CATEGORIES)
    packed = graph.relation.astype(np.int64) * width + graph.category[graph.subject]
    packed = packed * width + graph.category[graph.object]
    kinds, counts = np.unique(packed, return_counts=True)
    found = {
        (CATEGORIES[k // width % width], RELATION_NAMES[k // width**2], CATEGORIES[k % width]): int(c)
        for k, c in zip(kinds.tolist(), counts.tolist(), strict=True)
    }
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def metapaths(
    graph: Graph, start: str, end: str, *, hops: int = 2, through: Iterable[str] | None = None
) -> list[Metapath]:
    """The metapaths of exactly `hops` edges that this graph has edges for (Hetionet's notion).

    Parameters
    ----------
    start, end
        Categories, e.g. ``"Gene"``, ``"Cell"``.
    hops
        Number of edges.
    through
        Categories the inner nodes may have; all where None.

    Returns
    -------
    Ascending by what they print as. Every step occurs in the graph; whether some walk takes all steps of one
    metapath in turn is for a traversal to say.
    """
    for category in (start, end, *(through or ())):
        if category not in CATEGORY_CODE:
            raise GraphError(f"no category {category!r}{did_you_mean(category, CATEGORIES)}")
    allowed = set(CATEGORIES if through is None else through)
    steps: dict[str, set[tuple[str, str, str]]] = {}
    for subject, relation, target in metagraph(graph):
        steps.setdefault(subject, set()).add((relation, ">", target))
        steps.setdefault(target, set()).add((relation, "<", subject))
    walks = [Metapath((start,), (), "")]
    for hop in range(hops):
        inner = allowed if hop < hops - 1 else {end}
        walks = [
            Metapath((*w.categories, category), (*w.relations, relation), w.directions + way)
            for w in walks
            for relation, way, category in steps.get(w.categories[-1], ())
            if category in inner
        ]
    return sorted(walks, key=str)
