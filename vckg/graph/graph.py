"""The graph: nodes in CURIE order, edges as columns, neighbours both ways, everything memory-mapped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp

from vckg.base.types import Indices, Ints, Positions
from vckg.graph.assemble import parts_from_frames
from vckg.graph.edge_table import spans_of
from vckg.graph.folder import read_folder, write_folder
from vckg.graph.tables import Edge, GraphTables, Node, NodeRef

__all__ = ["Edge", "Graph", "Ints", "Node", "NodeRef", "read", "spans_of", "write"]


class Graph(GraphTables):
    """A typed, sourced, directed multigraph; read-only.

    The index of a node is the position of its CURIE in `ids`. The row of an edge is its position in the order
    (relation, subject, object, source, sign). Edges point from subject to object. A node is named by its CURIE or
    its index; an absent one raises `MissingNodeError` (a `KeyError`).

    Examples
    --------
    >>> import vckg
    >>> graph = vckg.example_graph()
    >>> len(graph), "CL:0000084" in graph, graph["CL:0000084"].name
    (9, True, 'T cell')
    >>> graph.ids.pick(graph.ancestors("CL:0000084"))
    ['CL:0000542', 'CL:0000738']
    >>> graph.genes.ground(["CD20"])[0].curie
    'HGNC:7315'
    """

    # ---- where graphs come from -------------------------------------------------------------------------

    @classmethod
    def from_frames(
        cls,
        nodes: pd.DataFrame,
        edges: pd.DataFrame,
        sources: Mapping[str, Mapping[str, Any]] | None = None,
        names: pd.DataFrame | None = None,
    ) -> Graph:
        """Return a graph in memory.

        Parameters
        ----------
        nodes
            Columns ``id``, ``category``, ``name``; optional ``description`` and the lists ``synonyms``, ``xrefs``.
        edges
            Columns ``subject``, ``relation``, ``object``, ``source``; optional ``sign``, ``evidence_count``,
            ``weight``, ``specificity`` and the lists ``publications``, ``tissues``, ``evidence``.
        sources
            Fields of each source in the manifest (``knowledge_level``, ``licence``, ``underlying`` ...).
        names
            More names of nodes, for grounding: columns ``name``, ``kind``, ``id`` (see `vckg.graph.grounding`).

        Raises
        ------
        GraphError
            A column is missing, a node is repeated, a category or relation is unknown, an end is not a node, a sign
            is not -1, 0 or 1, or there are more than 256 sources.

        Examples
        --------
        >>> nodes = pd.DataFrame({"id": ["CL:0", "CL:1"], "category": "Cell", "name": ["cell", "T cell"]})
        >>> edge = {"subject": "CL:1", "relation": "subclass_of", "object": "CL:0", "source": "cl"}
        >>> Graph.from_frames(nodes, pd.DataFrame([edge]))
        <Graph: 2 nodes, 1 edges, 1 sources>
        """
        return cls(parts_from_frames(nodes, edges, sources or {}, names))

    @classmethod
    def load(cls, folder: Path | str, *, verify: bool = False) -> Graph:
        """Return the graph of a folder, memory-mapped.

        The first load checks the sha256 of every file and every index. Later loads check again where a file was
        written or copied since; `verify` checks in any case.

        Raises
        ------
        GraphError
            The folder is missing, damaged, or of another format version.
        """
        folder = Path(folder).absolute()
        return cls(read_folder(folder, verify=verify), folder)

    def save(self, folder: Path | str) -> Path:
        """Write the graph folder (docs/graph-format.md) atomically and return its path."""
        return write_folder(self.parts, Path(folder))

    def __repr__(self) -> str:
        place = f" {self.folder}" if self.folder else ""
        return f"<Graph{place}: {self.n:,} nodes, {self.m:,} edges, {len(self.sources)} sources>"

    # ---- edges ------------------------------------------------------------------------------------------

    def out_edges(self, node: NodeRef, relation: str | None = None) -> Ints:
        """Return the rows of the edges whose subject is the node: int32[k], ascending."""
        return self._incident("out", self.index(node), relation)

    def in_edges(self, node: NodeRef, relation: str | None = None) -> Ints:
        """Return the rows of the edges whose object is the node: int32[k], ascending."""
        return self._incident("in", self.index(node), relation)

    def _incident(self, way: str, node: int, relation: str | None) -> Ints:
        indptr = self._arrays[f"{way}_indptr"]
        rows: Ints = self._arrays[f"{way}_rows"][indptr[node] : indptr[node + 1]]
        if relation is None:
            return rows
        span = self.rows(relation)
        low, high = np.searchsorted(rows, (span.start, span.stop))
        return rows[low:high]

    def rows_between(self, subjects: Indices, objects: Indices) -> tuple[Ints, Positions]:
        """Return the rows of the edges from ``subjects[i]`` to ``objects[i]``, for every i.

        Parameters
        ----------
        subjects, objects
            Node indices, int[k].

        Returns
        -------
        Edge rows and the i of each row; rows of one i ascend.
        """
        arrays = self._arrays
        out, into = arrays["out_indptr"], arrays["in_indptr"]
        by_subject = out[subjects + 1] - out[subjects] <= into[objects + 1] - into[objects]
        parts = []
        for way, ends, others, end, searched in (
            ("out", subjects, objects, self.object, by_subject),
            ("in", objects, subjects, self.subject, ~by_subject),
        ):  # search the end of each pair that has fewer edges
            pairs = np.flatnonzero(searched)
            positions, of = spans_of(arrays[f"{way}_indptr"], ends[pairs])
            rows = arrays[f"{way}_rows"][positions]
            kept = np.flatnonzero(end[rows] == others[pairs][of])
            parts.append((rows[kept], pairs[of[kept]]))
        (rows, pair), (more, pair_of_more) = parts
        return np.concatenate([rows, more]), np.concatenate([pair, pair_of_more])

    def adjacency(
        self,
        relation: str,
        *,
        sources: Collection[str] | None = None,
        values: Literal["binary", "evidence", "publications"] = "binary",
    ) -> sp.csr_array:
        """Return a relation as a sparse float32[n, n] matrix: subjects in rows, objects in columns.

        Parameters
        ----------
        relation
            E.g. ``"is_marker_for"``.
        sources
            Names of sources to keep; all where None.
        values
            The entry of a pair of nodes, over its edges of all sources and signs: 1 for ``binary``, else the sum of
            their evidence counts or numbers of publications.

        Raises
        ------
        GraphError
            The relation or a source is unknown.

        Examples
        --------
        >>> import vckg
        >>> graph = vckg.example_graph()
        >>> markers = graph.adjacency("is_marker_for", values="evidence")
        >>> float(markers[graph.index("HGNC:1673"), graph.index("CL:0000084")])
        2.0
        """
        span = self.rows(relation)
        if values == "binary":
            data = np.ones(span.stop - span.start, dtype=np.float32)
        else:
            column = self.evidence_count if values == "evidence" else self.n_publications
            data = column[span].astype(np.float32)
        subject, target = self.subject[span], self.object[span]
        if sources is not None:
            keep = np.isin(self.source[span], self.source_codes(sources))
            subject, target, data = subject[keep], target[keep], data[keep]
        matrix = sp.csr_array((data, (subject, target)), shape=(self.n, self.n))
        matrix.sum_duplicates()
        if values == "binary":
            matrix.data[:] = 1
        return matrix

    # ---- the ontology's hierarchy -------------------------------------------------------------------------

    def parents(self, node: NodeRef) -> Ints:
        """Return the direct superclasses (`subclass_of`): int32[k], ascending."""
        return np.unique(self._direct("out", self.index(node)))

    def children(self, node: NodeRef) -> Ints:
        """Return the direct subclasses: int32[k], ascending."""
        return np.unique(self._direct("in", self.index(node)))

    def _direct(self, way: Literal["out", "in"], node: int) -> Ints:
        ends = self.object if way == "out" else self.subject
        nodes: Ints = ends[self._incident(way, node, "subclass_of")]
        return nodes

    def ancestors(self, node: NodeRef) -> Ints:
        """Return all superclasses, without the node itself: int32[k], ascending."""
        return self._closure("out", self.index(node))

    def descendants(self, node: NodeRef) -> Ints:
        """Return all subclasses, without the node itself: int32[k], ascending."""
        return self._closure("in", self.index(node))

    def _closure(self, way: Literal["out", "in"], start: int) -> Ints:
        """Return every node that `subclass_of` edges reach; each node is expanded once."""
        seen, waiting = {start}, [start]
        while waiting:
            for node in self._direct(way, waiting.pop()).tolist():
                if node not in seen:
                    seen.add(node)
                    waiting.append(node)
        seen.discard(start)
        return np.array(sorted(seen), dtype=np.int32)

    def lowest_common_ancestors(self, nodes: Iterable[NodeRef]) -> Ints:
        """Return the common ancestors (or equals) of all nodes that have no common ancestor below them.

        Examples
        --------
        >>> import vckg
        >>> graph = vckg.example_graph()
        >>> graph.ids.pick(graph.lowest_common_ancestors(["CL:0000084", "CL:0000236"]))
        ['CL:0000542']
        """
        lines = [{i, *self.ancestors(i).tolist()} for i in map(self.index, nodes)]
        common = set.intersection(*lines) if lines else set()
        # every superclass of a common class is common: a common class below implies one directly below
        above = {p for c in common for p in self._direct("out", c).tolist() if p != c}
        return np.array(sorted(common - above), dtype=np.int32)

    def neighbours(self, node: NodeRef, relation: str | None = None) -> Ints:
        """Return the nodes at the other ends of the edges of a node, in either direction: int32[k], ascending."""
        ends = self.object[self.out_edges(node, relation)], self.subject[self.in_edges(node, relation)]
        return np.unique(np.concatenate(ends))


def read(folder: Path | str, *, verify: bool = False) -> Graph:
    """Return the graph of a folder, memory-mapped (`Graph.load`).

    Raises
    ------
    GraphError
        The folder is missing, damaged, or of another format version.

    Examples
    --------
    >>> import tempfile, vckg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = vckg.write(vckg.example_graph(), f"{folder}/graph")
    ...     vckg.read(path).n
    9
    """
    return Graph.load(folder, verify=verify)


def write(graph: Graph, folder: Path | str) -> Path:
    """Write the folder of a graph atomically and return its path (`Graph.save`).

    Raises
    ------
    GraphError
        The folder cannot be written.
    InputError
        The folder holds something that is not a graph.
    """
    return graph.save(folder)
