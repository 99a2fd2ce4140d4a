"""The graph: nodes in CURIE order, edges as columns, neighbours both ways, everything memory-mapped."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import scipy.sparse as sp

from vckg.edges import LIST_NAMES, EdgeTable, Lists
from vckg.errors import GraphError, did_you_mean
from vckg.schema import CATEGORIES, CATEGORY_CODE, RELATION_CODE, RELATION_NAMES, RELATIONS
from vckg.strings import Strings

if TYPE_CHECKING:
    import networkx as nx
    import rustworkx as rx

    from vckg.convert import Metapath
    from vckg.ground import GeneGrounder, LabelGrounder

Ints = npt.NDArray[np.int32]
NODE_COLUMNS = ("id", "name", "description", "synonyms", "xrefs")


def spans_of(
    indptr: npt.NDArray[Any], rows: npt.NDArray[np.integer[Any]]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where the entries of some rows of a CSR matrix lie, and which of `rows` (by position) each belongs to."""
    starts = np.asarray(indptr[rows], np.intp)
    lengths = indptr[rows + 1] - starts
    owner = np.repeat(np.arange(len(rows)), lengths)
    return np.arange(len(owner)) + np.repeat(starts + lengths - np.cumsum(lengths), lengths), owner


class Node(NamedTuple):
    """One node with its texts."""

    id: str
    category: str
    name: str
    description: str
    synonyms: tuple[str, ...]
    xrefs: tuple[str, ...]


class Edge(NamedTuple):
    """One edge with its whole provenance, in words."""

    subject: str
    relation: str
    predicate: str
    object: str
    source: str
    sign: int
    """+1 activates, -1 represses, 0 not stated."""
    evidence_count: int
    """Rows of the source that say this."""
    publications: tuple[str, ...]
    tissues: tuple[str, ...]
    weight: float
    """The source's own score; NaN where it has none."""
    knowledge_level: str
    agent_type: str
    evidence: tuple[str, ...] = ()
    """Kinds of evidence in the source's words, e.g. ``ECO:IDA`` or ``Single-cell sequencing``."""
    specificity: float = float("nan")


class Graph:
    """A typed, sourced, directed multigraph that is read, never changed.

    Node index = position of its CURIE in `ids`. Edge row = position in the order
    (relation, subject, object, source, sign); edges point from subject to object.
    """

    categories: tuple[str, ...] = CATEGORIES
    relations: tuple[str, ...] = RELATION_NAMES

    def __init__(
        self,
        nodes: pa.Table,
        arrays: Mapping[str, npt.NDArray[Any]],
        dictionaries: Mapping[str, pa.Array],
        manifest: dict[str, Any],
        folder: Path | None = None,
    ) -> None:
        self._nodes = nodes
        self._arrays = arrays
        self._dictionaries = dictionaries
        self._words: dict[str, Strings] = {}
        self.manifest = manifest
        self.folder = folder
        self.ids: Strings = Strings(nodes["id"])
        self.names: Strings = Strings(nodes["name"])
        self.n, self.m = len(self.ids), int(arrays["subject"].size)
        self.category: npt.NDArray[np.uint8] = arrays["category"]
        self.subject: Ints = arrays["subject"]
        self.object: Ints = arrays["object"]
        self.relation: npt.NDArray[np.uint8] = arrays["relation"]
        self.source: npt.NDArray[np.uint8] = arrays["source"]
        self.sign: npt.NDArray[np.int8] = arrays["sign"]
        self.evidence_count: Ints = arrays["evidence_count"]
        self.n_publications: Ints = arrays["n_publications"]
        self.weight: npt.NDArray[np.float32] = arrays["weight"]
        self.specificity: npt.NDArray[np.float32] = arrays["specificity"]
        self.sources: tuple[str, ...] = tuple(manifest["source_names"])

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
            What grounding knows beside the nodes' own texts: columns ``name``, ``kind``, ``id`` (see `vckg.ground`).

        Raises
        ------
        GraphError
            A repeated node, an unknown category or relation, an end that is not a node.
        """
        from vckg.assemble import graph_from_frames

        return graph_from_frames(nodes, edges, sources or {}, names)

    @classmethod
    def load(cls, folder: Path | str, *, verify: bool = False) -> Graph:
        """Return the graph of a folder, memory-mapped; `verify` also checks every file's sha256.

        Raises
        ------
        GraphError
            The folder is missing, damaged, or of another format version.
        """
        from vckg.store import read_folder

        return read_folder(Path(folder), verify=verify)

    def save(self, folder: Path | str) -> Path:
        """Write the graph folder (docs/graph-format.md) atomically and return its path."""
        from vckg.store import write_folder

        return write_folder(self, Path(folder))

    def __repr__(self) -> str:
        where = f" {self.folder}" if self.folder else ""
        return f"<Graph{where}: {self.n:,} nodes, {self.m:,} edges, {len(self.sources)} sources>"

    # ---- nodes ------------------------------------------------------------------------------------------

    def get(self, curie: str) -> int | None:
        """Index of a node, None where the graph has no such CURIE."""
        return self.ids.position(curie)

    def index(self, curie: str) -> int:
        """Index of a node; GraphError, with the nearest known CURIE, where it is absent."""
        at = self.ids.position(curie)
        if at is None:
            prefix = curie.partition(":")[0]
            near = [c for c in self.ids if c.startswith(prefix + ":")]
            hint = did_you_mean(curie, near) or f"; prefixes here: {', '.join(self.prefixes)}"
            raise GraphError(f"no node {curie!r} in the graph{hint}")
        return at

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """CURIE prefixes in use, ascending."""
        return tuple(sorted({c.partition(":")[0] for c in self.ids}))

    def nodes_of(self, category: str) -> Ints:
        """Indices of the nodes of a category, ascending."""
        if category not in CATEGORY_CODE:
            raise GraphError(f"no category {category!r}{did_you_mean(category, CATEGORIES)}")
        return np.flatnonzero(self.category == CATEGORY_CODE[category]).astype(np.int32)

    def node(self, index: int) -> Node:
        """One node with its texts."""
        i = int(index)
        row = {name: self._nodes[name][i].as_py() for name in NODE_COLUMNS}
        return Node(
            row["id"],
            CATEGORIES[self.category[i]],
            row["name"],
            row["description"],
            tuple(row["synonyms"]),
            tuple(row["xrefs"]),
        )

    @property
    def node_table(self) -> pa.Table:
        """All nodes as an Arrow table: id, name, description, synonyms, xrefs (category is in `category`)."""
        return self._nodes

    # ---- edges ------------------------------------------------------------------------------------------

    def rows(self, relation: str) -> slice:
        """The edge rows of a relation: they are contiguous."""
        if relation not in RELATION_CODE:
            raise GraphError(f"no relation {relation!r}{did_you_mean(relation, RELATION_NAMES)}")
        starts = self._arrays["relation_start"]
        code = RELATION_CODE[relation]
        return slice(int(starts[code]), int(starts[code + 1]))

    def out_edges(self, node: int, relation: str | None = None) -> Ints:
        """Rows of the edges that leave a node (it is the subject), ascending."""
        return self._incident("out", node, relation)

    def in_edges(self, node: int, relation: str | None = None) -> Ints:
        """Rows of the edges that reach a node (it is the object), ascending."""
        return self._incident("in", node, relation)

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

    def source_codes(self, names: Iterable[str]) -> npt.NDArray[np.uint8]:
        """Codes of the named sources; ``accordion`` stands for all its parts (``accordion:MSigDB`` ...)."""
        codes: set[int] = set()
        for name in names:
            found = [c for c, s in enumerate(self.sources) if s == name or s.startswith(f"{name}:")]
            if not found:
                raise GraphError(f"no source {name!r} in the graph{did_you_mean(name, self.sources)}")
            codes.update(found)
        return np.array(sorted(codes), dtype=np.uint8)

    @cached_property
    def underlying(self) -> tuple[str, ...]:
        """The resource each source's rows come from: ``accordion:PanglaoDB`` and ``panglaodb`` share one.

        Counting distinct entries of it, not of `sources`, keeps a marker from being counted twice.
        """
        said = self.manifest["sources"]
        return tuple(str(said.get(s, {}).get("underlying") or s.partition(":")[0]) for s in self.sources)

    def edge(self, row: int, *, publications: int | None = None) -> Edge:
        """One edge with its provenance, in words; of its publications the first few, or all of them."""
        r = int(row)
        relation = RELATIONS[self.relation[r]]
        source = self.sources[self.source[r]]
        said = self.manifest["sources"].get(source, {})
        return Edge(
            subject=self.ids[self.subject[r]],
            relation=relation.name,
            predicate=relation.predicate,
            object=self.ids[self.object[r]],
            source=source,
            sign=int(self.sign[r]),
            evidence_count=int(self.evidence_count[r]),
            publications=self._texts("publications", r, publications),
            tissues=tuple(self.ids[i] for i in self.tissues(r)),
            weight=float(self.weight[r]),
            knowledge_level=said.get("knowledge_level", "not_provided"),
            agent_type=said.get("agent_type", "not_provided"),
            evidence=self._texts("evidence", r),
            specificity=float(self.specificity[r]),
        )

    def tissues(self, row: int) -> Ints:
        """Indices of the anatomical nodes an edge was observed in."""
        codes: Ints = self._codes("tissues", row)
        return codes

    def _codes(self, name: str, row: int) -> Ints:
        indptr = self._arrays[f"{name}_indptr"]
        codes: Ints = self._arrays[f"{name}_codes"][indptr[row] : indptr[row + 1]]
        return codes

    def _texts(self, name: str, row: int, at_most: int | None = None) -> tuple[str, ...]:
        words = self.words(name)
        return tuple(words[code] for code in self._codes(name, row)[:at_most].tolist())

    def list_codes(self, name: str) -> Lists:
        """The ``publications``, ``tissues`` or ``evidence`` of all edges as codes, in CSR form over edge rows.

        A tissue's code is its node index, the others' are positions in `dictionary`.
        """
        return Lists(self._arrays[f"{name}_indptr"], self._arrays[f"{name}_codes"])

    def words(self, name: str) -> Strings:
        """What the codes of ``publications``, ``tissues`` or ``evidence`` stand for, to look up a few of them."""
        if name not in self._words:
            self._words[name] = self.ids if name == "tissues" else Strings(self._dictionaries[name])
        return self._words[name]

    def dictionary(self, name: str) -> pa.Array:
        """The texts that the codes of ``publications`` or ``evidence`` stand for."""
        return self._dictionaries[name]

    def lists(self, name: str, rows: npt.NDArray[np.integer[Any]] | None = None) -> pa.ListArray:
        """The ``publications``, ``tissues`` (CURIEs) or ``evidence`` of many edges, one list of texts per row."""
        lists = self.list_codes(name) if rows is None else self.list_codes(name).take(rows)
        words = self.ids.arrow if name == "tissues" else self._dictionaries[name]
        return pa.ListArray.from_arrays(lists.indptr.astype(np.int32), words.take(pa.array(lists.codes)))

    # ---- the ontology's hierarchy -------------------------------------------------------------------------

    def parents(self, index: int) -> Ints:
        """Direct superclasses (`subclass_of`), ascending."""
        return np.unique(self.object[self.out_edges(index, "subclass_of")])

    def children(self, index: int) -> Ints:
        """Direct subclasses, ascending."""
        return np.unique(self.subject[self.in_edges(index, "subclass_of")])

    def ancestors(self, index: int) -> Ints:
        """All superclasses, the node itself excluded, ascending."""
        return self._closure(index, self.parents)

    def descendants(self, index: int) -> Ints:
        """All subclasses, the node itself excluded, ascending."""
        return self._closure(index, self.children)

    def _closure(self, index: int, step: Any) -> Ints:
        seen: set[int] = set()
        frontier = [int(index)]
        while frontier:
            frontier = [int(j) for i in frontier for j in step(i) if int(j) not in seen]
            seen.update(frontier)
        seen.discard(int(index))
        return np.array(sorted(seen), dtype=np.int32)

    def lowest_common_ancestors(self, indices: Iterable[int]) -> Ints:
        """Classes above or equal to every given one that have no such class below them, ascending."""
        lines = [{int(i), *self.ancestors(int(i)).tolist()} for i in indices]
        common = set.intersection(*lines) if lines else set()
        above = {int(a) for c in common for a in self.ancestors(c)}
        return np.array(sorted(common - above), dtype=np.int32)

    # ---- grounding ----------------------------------------------------------------------------------------

    @cached_property
    def genes(self) -> GeneGrounder:
        """Gene names of any kind to genes of this graph."""
        from vckg.ground import GeneGrounder

        return GeneGrounder.of(self)

    @cached_property
    def cells(self) -> LabelGrounder:
        """Cell type labels and ids to cell types of this graph."""
        from vckg.ground import LabelGrounder

        return LabelGrounder.of(self, "cells")

    # ---- other forms, parts (vckg.convert) ------------------------------------------------------------------

    def to_networkx(self) -> nx.MultiDiGraph[str]:
        """A `networkx.MultiDiGraph` keyed by CURIE, with every edge's provenance."""
        from vckg.convert import to_networkx

        return to_networkx(self)

    def to_rustworkx(self) -> rx.PyDiGraph[str, int]:
        """A `rustworkx.PyDiGraph` with the same node indices; an edge's payload is its row."""
        from vckg.convert import to_rustworkx

        return to_rustworkx(self)

    def subgraph(
        self, nodes: Iterable[int], *, hops: int = 0, relations: Iterable[str] | None = None
    ) -> Graph:
        """The graph between the given nodes and all within `hops` edges of them (see `vckg.convert.subgraph`)."""
        from vckg.convert import subgraph

        return subgraph(self, nodes, hops=hops, relations=relations)

    def neighbours(self, node: int, relation: str | None = None) -> Ints:
        """Nodes an edge joins to a node, whatever its direction, ascending."""
        ends = self.object[self.out_edges(node, relation)], self.subject[self.in_edges(node, relation)]
        return np.unique(np.concatenate(ends))

    def metapaths(
        self, start: str, end: str, *, hops: int = 2, through: Iterable[str] | None = None
    ) -> list[Metapath]:
        """The metapaths of exactly `hops` edges between two categories (see `vckg.convert.metapaths`)."""
        from vckg.convert import metapaths

        return metapaths(self, start, end, hops=hops, through=through)

    # ---- identity -----------------------------------------------------------------------------------------

    @cached_property
    def content_hash(self) -> str:
        """sha256 over nodes, edges and source names: equal exactly where two graphs say the same."""
        stored = self.manifest.get("content_hash")
        return str(stored) if stored else content_hash(self)


def content_hash(graph: Graph) -> str:
    """Compute `Graph.content_hash` from the graph's arrays and texts."""
    digest = hashlib.sha256()
    for name in sorted(graph._arrays):
        array = np.ascontiguousarray(graph._arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    texts = {f"nodes.{c}": graph._nodes[c] for c in NODE_COLUMNS} | dict(graph._dictionaries)
    for name in sorted(texts):
        digest.update(f"{name} {len(texts[name])}\n".encode())
        _hash_strings(digest, texts[name])
    digest.update("\n".join(graph.sources).encode())
    return digest.hexdigest()


def _hash_strings(digest: Any, values: pa.Array | pa.ChunkedArray) -> None:
    flat = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(flat, pa.ChunkedArray):
        flat = pa.concat_arrays(flat.chunks) if flat.num_chunks else pa.array([], flat.type)
    if pa.types.is_list(flat.type):
        digest.update(np.diff(flat.offsets.to_numpy()).astype("<i4").tobytes())
        flat = flat.flatten()
    offsets = np.frombuffer(flat.buffers()[1], np.int32)[flat.offset : flat.offset + len(flat) + 1]
    digest.update(np.diff(offsets).tobytes())
    if len(flat) and (data := flat.buffers()[2]) is not None:
        digest.update(data[int(offsets[0]) : int(offsets[-1])])


__all__ = ["LIST_NAMES", "NODE_COLUMNS", "Edge", "EdgeTable", "Graph", "Node", "Sequence", "content_hash"]
