"""The graph: nodes in CURIE order, edges as columns, neighbours both ways, everything memory-mapped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from vckg.graph.assemble import parts_from_frames
from vckg.graph.folder import read_folder, write_folder
from vckg.graph.tables import Edge, GraphTables, Ints, Node, NodeRef

__all__ = ["Edge", "Graph", "Ints", "Node", "NodeRef", "spans_of"]


def spans_of(
    indptr: npt.NDArray[Any], rows: npt.NDArray[np.integer[Any]]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where the entries of some rows of a CSR matrix lie, and which of `rows` (by position) each belongs to."""
    starts = np.asarray(indptr[rows], np.intp)
    lengths = indptr[rows + 1] - starts
    owner = np.repeat(np.arange(len(rows)), lengths)
    return np.arange(len(owner)) + np.repeat(starts + lengths - np.cumsum(lengths), lengths), owner


class Graph(GraphTables):
    """A typed, sourced, directed multigraph that is read, never changed.

    Node index = position of its CURIE in `ids`. Edge row = position in the order
    (relation, subject, object, source, sign); edges point from subject to object. Every method that takes a node
    takes its CURIE or its index, and raises `MissingNodeError` (a `KeyError`) where the graph has no such node.

    Examples
    --------
    >>> nodes = pd.DataFrame({"id": ["CL:0", "CL:1"], "category": "Cell", "name": ["cell", "T cell"]})
    >>> kind = {"subject": "CL:1", "relation": "subclass_of", "object": "CL:0", "source": "cl"}
    >>> graph = Graph.from_frames(nodes, pd.DataFrame([kind]))
    >>> len(graph), "CL:1" in graph, graph["CL:1"].name, graph.ids.pick(graph.ancestors("CL:1"))
    (2, True, 'T cell', ['CL:0'])
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
            What the manifest says of each source (``knowledge_level``, ``licence``, ``underlying`` ...).
        names
            What grounding knows beside the nodes' own texts: columns ``name``, ``kind``, ``id`` (see `vckg.graph.grounding`).

        Raises
        ------
        GraphError
            A repeated node, an unknown category or relation, an end that is not a node, a sign other than
            -1, 0 and 1, more than 256 sources.
        """
        return cls(parts_from_frames(nodes, edges, sources or {}, names))

    @classmethod
    def load(cls, folder: Path | str, *, verify: bool = False) -> Graph:
        """Return the graph of a folder, memory-mapped.

        Every file's sha256 and every index is checked the first time, and again whenever a file was written or
        copied since; `verify` checks in any case.

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
        where = f" {self.folder}" if self.folder else ""
        return f"<Graph{where}: {self.n:,} nodes, {self.m:,} edges, {len(self.sources)} sources>"

    # ---- edges ------------------------------------------------------------------------------------------

    def out_edges(self, node: NodeRef, relation: str | None = None) -> Ints:
        """Rows of the edges that leave a node (it is the subject), ascending."""
        return self._incident("out", self.index(node), relation)

    def in_edges(self, node: NodeRef, relation: str | None = None) -> Ints:
        """Rows of the edges that reach a node (it is the object), ascending."""
        return self._incident("in", self.index(node), relation)

    def _incident(self, way: str, node: int, relation: str | None) -> Ints:
        indptr = self._arrays[f"{way}_indptr"]
        rows: Ints = self._arrays[f"{way}_rows"][indptr[node] : indptr[node + 1]]
        if relation is None:
            return rows
        span = self.rows(relation)
        low, high = np.searchsorted(rows, (span.start, span.stop))
        return rows[low:high]

    def rows_between(
        self, subjects: npt.NDArray[np.integer[Any]], objects: npt.NDArray[np.integer[Any]]
    ) -> tuple[Ints, npt.NDArray[np.intp]]:
        """Rows of the edges from each subject to the object beside it, and which pair each row belongs to; both
        ascending within their pair.
        """
        arrays = self._arrays
        out, into = arrays["out_indptr"], arrays["in_indptr"]
        by_subject = out[subjects + 1] - out[subjects] <= into[objects + 1] - into[objects]
        found = []
        for way, ends, others, end, mine in (
            ("out", subjects, objects, self.object, by_subject),
            ("in", objects, subjects, self.subject, ~by_subject),
        ):  # looked for where there are fewer edges
            pairs = np.flatnonzero(mine)
            at, of = spans_of(arrays[f"{way}_indptr"], ends[pairs])
            rows = arrays[f"{way}_rows"][at]
            kept = np.flatnonzero(end[rows] == others[pairs][of])
            found.append((rows[kept], pairs[of[kept]]))
        (rows, pair), (more, pair_of_more) = found
        return np.concatenate([rows, more]), np.concatenate([pair, pair_of_more])

    def adjacency(
        self,
        relation: str,
        *,
        sources: Collection[str] | None = None,
        values: Literal["binary", "evidence", "publications"] = "binary",
    ) -> sp.csr_array:
        """Sparse [n, n] matrix of a relation, subjects in rows, objects in columns.

        Edges of several sources and signs between the same two nodes are one entry: 1 for ``binary``, else the
        sum of their evidence counts or publications. `sources` limits to the named ones.
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
        """Direct superclasses (`subclass_of`), ascending."""
        return np.unique(self._direct("out", self.index(node)))

    def children(self, node: NodeRef) -> Ints:
        """Direct subclasses, ascending."""
        return np.unique(self._direct("in", self.index(node)))

    def _direct(self, way: Literal["out", "in"], node: int) -> Ints:
        ends = self.object if way == "out" else self.subject
        found: Ints = ends[self._incident(way, node, "subclass_of")]
        return found

    def ancestors(self, node: NodeRef) -> Ints:
        """All superclasses, the node itself excluded, ascending."""
        return self._closure("out", self.index(node))

    def descendants(self, node: NodeRef) -> Ints:
        """All subclasses, the node itself excluded, ascending."""
        return self._closure("in", self.index(node))

    def _closure(self, way: Literal["out", "in"], start: int) -> Ints:
        """Every node reached, each looked at once."""
        seen, waiting = {start}, [start]
        while waiting:
            for node in self._direct(way, waiting.pop()).tolist():
                if node not in seen:
                    seen.add(node)
                    waiting.append(node)
        seen.discard(start)
        return np.array(sorted(seen), dtype=np.int32)

    def lowest_common_ancestors(self, nodes: Iterable[NodeRef]) -> Ints:
        """Classes above or equal to every given one that have no such class below them, ascending."""
        lines = [{i, *self.ancestors(i).tolist()} for i in map(self.index, nodes)]
        common = set.intersection(*lines) if lines else set()
        # all that is above a common class is common, so one with a common class below has one directly below
        above = {p for c in common for p in self._direct("out", c).tolist() if p != c}
        return np.array(sorted(common - above), dtype=np.int32)

    def neighbours(self, node: NodeRef, relation: str | None = None) -> Ints:
        """Nodes an edge joins to a node, whatever its direction, ascending."""
        ends = self.object[self.out_edges(node, relation)], self.subject[self.in_edges(node, relation)]
        return np.unique(np.concatenate(ends))
