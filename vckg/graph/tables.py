"""Access to the nodes, edges and names of a graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from vckg.base.errors import GraphError, MissingNodeError, did_you_mean
from vckg.base.types import Bytes, Indices, Ints, SignedBytes, Singles
from vckg.graph.edge_table import LIST_NAMES, Lists
from vckg.graph.grounding import SPECIES_SPACES, Grounder, NameTable
from vckg.graph.parts import NODE_COLUMNS, Parts, content_hash
from vckg.graph.schema import CATEGORIES, CATEGORY_CODE, RELATION_CODE, RELATION_NAMES, RELATIONS
from vckg.graph.string_array import Strings

NodeRef = str | int | np.integer[Any]
"""A node by its CURIE or its index."""


class Node(NamedTuple):
    """A node with its texts."""

    id: str
    category: str
    name: str
    description: str
    synonyms: tuple[str, ...]
    xrefs: tuple[str, ...]


class Edge(NamedTuple):
    """An edge with its provenance, in words."""

    subject: str
    relation: str
    predicate: str
    object: str
    source: str
    sign: int
    """+1 activates, -1 represses, 0 not stated."""
    evidence_count: int
    """Number of rows of the source with this statement."""
    publications: tuple[str, ...]
    tissues: tuple[str, ...]
    weight: float
    """Score of the source; NaN where it has none."""
    knowledge_level: str
    agent_type: str
    evidence: tuple[str, ...] = ()
    """Kinds of evidence in the words of the source, e.g. ``ECO:IDA`` or ``Single-cell sequencing``."""
    specificity: float = float("nan")


class GraphTables:
    """The tables of a `vckg.graph.graph.Graph`, which adds neighbours and the hierarchy.

    Attributes
    ----------
    n, m
        Numbers of nodes and edges.
    ids, names
        CURIEs (ascending) and names of the n nodes.
    category
        uint8[n], positions in `categories`.
    subject, object
        int32[m], node indices.
    relation, source
        uint8[m], positions in `relations` and `sources`.
    sign
        int8[m]: +1 activates, -1 represses, 0 not stated.
    evidence_count, n_publications
        int32[m], numbers of source rows and of publications.
    weight, specificity
        float32[m], scores of the source; NaN where it has none.
    manifest
        The manifest of the folder, see docs/graph-format.md.
    species
        The species whose genes are of category ``Gene``; human unless `vckg.graph.species` says otherwise.
    orthology, borrowed_from, orthologs
        Of a graph of `vckg.graph.species`, uint8[m], int32[m] and uint8[n]; None of others.

    Examples
    --------
    >>> import vckg
    >>> graph = vckg.example_graph()
    >>> graph.edges.loc[graph.edges["source"] == "cellmarker", ["subject", "relation", "object"]]
         subject       relation      object
    0  HGNC:1673  is_marker_for  CL:0000084
    >>> graph.edge(0).publications
    ('PMID:1',)
    """

    categories: tuple[str, ...] = CATEGORIES
    relations: tuple[str, ...] = RELATION_NAMES

    def __init__(self, parts: Parts, folder: Path | None = None) -> None:
        self.parts = parts
        nodes, arrays, self._dictionaries, self.manifest = parts
        self._arrays = arrays
        self._words: dict[str, Strings] = {}
        self.folder = folder
        self.ids: Strings = Strings(nodes["id"])
        self.names: Strings = Strings(nodes["name"])
        self.n, self.m = len(self.ids), int(arrays["subject"].size)
        self.category: Bytes = arrays["category"]
        self.subject: Ints = arrays["subject"]
        self.object: Ints = arrays["object"]
        self.relation: Bytes = arrays["relation"]
        self.source: Bytes = arrays["source"]
        self.sign: SignedBytes = arrays["sign"]
        self.evidence_count: Ints = arrays["evidence_count"]
        self.n_publications: Ints = arrays["n_publications"]
        self.weight: Singles = arrays["weight"]
        self.specificity: Singles = arrays["specificity"]
        self.sources: tuple[str, ...] = tuple(self.manifest["source_names"])
        self.species: str = self.manifest.get("species", "human")
        self.orthology: Bytes | None = arrays.get("orthology")
        self.borrowed_from: Ints | None = arrays.get("borrowed_from")
        self.orthologs: Bytes | None = arrays.get("orthologs")

    # ---- nodes ------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.n

    def __bool__(self) -> bool:
        return True  # an empty graph is true too

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, node: object) -> bool:
        if isinstance(node, str):
            return self.get(node) is not None
        return isinstance(node, (int, np.integer)) and 0 <= int(node) < self.n

    def __getitem__(self, node: NodeRef) -> Node:
        return self.node(node)

    def get(self, curie: str) -> int | None:
        """Return the index of a CURIE, or None where the graph has no such node."""
        return self.ids.position(curie)

    def index(self, node: NodeRef) -> int:
        """Return the index of a node.

        Raises
        ------
        MissingNodeError
            The node is absent; the message names the nearest CURIE.
        """
        if not isinstance(node, str):
            if 0 <= node < self.n:
                return int(node)
            raise MissingNodeError(f"no node {node} in the graph; indices are 0 to {self.n - 1}")
        position = self.ids.position(node)
        if position is None:
            prefix = node.partition(":")[0]
            near = [c for c in self.ids if c.startswith(prefix + ":")]
            hint = did_you_mean(node, near) or f"; prefixes here: {', '.join(self.prefixes)}"
            raise MissingNodeError(f"no node {node!r} in the graph{hint}")
        return position

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """The CURIE prefixes of the nodes, ascending."""
        return tuple(sorted({c.partition(":")[0] for c in self.ids}))

    def nodes_of(self, category: str) -> Ints:
        """Return the indices of the nodes of a category: int32[k], ascending."""
        if category not in CATEGORY_CODE:
            raise GraphError(f"no category {category!r}{did_you_mean(category, CATEGORIES)}")
        return np.flatnonzero(self.category == CATEGORY_CODE[category]).astype(np.int32)

    def node(self, node: NodeRef) -> Node:
        """Return a node with its texts; ``graph["CL:0000084"]`` is the same."""
        i = self.index(node)
        row = {name: self.parts.nodes[name][i].as_py() for name in NODE_COLUMNS}
        return Node(
            row["id"],
            CATEGORIES[self.category[i]],
            row["name"],
            row["description"],
            tuple(row["synonyms"]),
            tuple(row["xrefs"]),
        )

    @property
    def nodes(self) -> pd.DataFrame:
        """All nodes as a new frame: n rows in index order, columns as the fields of `Node`."""
        frame: pd.DataFrame = self.parts.nodes.to_pandas()
        frame.insert(1, "category", _named(self.category, CATEGORIES))
        return frame

    @property
    def edges(self) -> pd.DataFrame:
        """All edges as a new frame: m rows in row order, columns as `Graph.from_frames` reads them."""
        columns: dict[str, Any] = {
            "subject": self.ids.arrow.take(pa.array(self.subject)).to_pandas(),
            "relation": _named(self.relation, RELATION_NAMES),
            "object": self.ids.arrow.take(pa.array(self.object)).to_pandas(),
            "source": _named(self.source, self.sources),
        }
        for name in ("sign", "evidence_count", "weight", "specificity"):
            columns[name] = np.array(self._arrays[name])
        return pd.DataFrame(columns | {name: self.lists(name).to_pandas() for name in LIST_NAMES})

    @property
    def node_table(self) -> pa.Table:
        """All nodes as an Arrow table: id, name, description, synonyms, xrefs."""
        return self.parts.nodes

    # ---- edges ------------------------------------------------------------------------------------------

    def rows(self, relation: str) -> slice:
        """Return the edge rows of a relation, which are contiguous."""
        if relation not in RELATION_CODE:
            raise GraphError(f"no relation {relation!r}{did_you_mean(relation, RELATION_NAMES)}")
        starts = self._arrays["relation_start"]
        code = RELATION_CODE[relation]
        return slice(int(starts[code]), int(starts[code + 1]))

    def source_codes(self, names: Iterable[str]) -> Bytes:
        """Return the codes of the named sources; ``accordion`` includes its parts (``accordion:MSigDB`` ...)."""
        codes: set[int] = set()
        for name in names:
            matching = [c for c, s in enumerate(self.sources) if s == name or s.startswith(f"{name}:")]
            if not matching:
                raise GraphError(f"no source {name!r} in the graph{did_you_mean(name, self.sources)}")
            codes.update(matching)
        return np.array(sorted(codes), dtype=np.uint8)

    @cached_property
    def underlying(self) -> tuple[str, ...]:
        """The original resource of each source: ``accordion:PanglaoDB`` and ``panglaodb`` share one.

        Count distinct entries of it, not of `sources`, to count a marker once.
        """
        entries = self.manifest["sources"]
        return tuple(str(entries.get(s, {}).get("underlying") or s.partition(":")[0]) for s in self.sources)

    def edge(self, row: int, *, publications: int | None = None) -> Edge:
        """Return an edge with its provenance, in words, and with its first `publications` (all where None).

        Raises
        ------
        GraphError
            The graph has no such row.
        """
        r = int(row)
        if not 0 <= r < self.m:
            raise GraphError(f"no edge {r} in the graph; rows are 0 to {self.m - 1}")
        relation = RELATIONS[self.relation[r]]
        source = self.sources[self.source[r]]
        entry = self.manifest["sources"].get(source, {})
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
            knowledge_level=entry.get("knowledge_level", "not_provided"),
            agent_type=entry.get("agent_type", "not_provided"),
            evidence=self._texts("evidence", r),
            specificity=float(self.specificity[r]),
        )

    def tissues(self, row: int) -> Ints:
        """Return the node indices of the tissues of an edge: int32[k]."""
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
        """Return ``publications``, ``tissues`` or ``evidence`` of all edges as codes, in CSR form over edge rows.

        The code of a tissue is its node index; other codes are positions in `dictionary`.
        """
        return Lists(self._arrays[f"{name}_indptr"], self._arrays[f"{name}_codes"])

    def words(self, name: str) -> Strings:
        """Return the texts of the codes of ``publications``, ``tissues`` or ``evidence``, to look up a few."""
        if name not in self._words:
            self._words[name] = self.ids if name == "tissues" else Strings(self._dictionaries[name])
        return self._words[name]

    def dictionary(self, name: str) -> pa.Array:
        """Return the texts of the codes of ``publications`` or ``evidence`` as an Arrow array."""
        return self._dictionaries[name]

    def lists(self, name: str, rows: Indices | None = None) -> pa.ListArray:
        """Return ``publications``, ``tissues`` (CURIEs) or ``evidence`` of all or the given edges, one list per row."""
        lists = self.list_codes(name) if rows is None else self.list_codes(name).take(rows)
        words = self.ids.arrow if name == "tissues" else self._dictionaries[name]
        return pa.ListArray.from_arrays(lists.indptr.astype(np.int32), words.take(pa.array(lists.codes)))

    # ---- grounding ----------------------------------------------------------------------------------------

    @cached_property
    def name_table(self) -> NameTable:
        """All names of the graph."""
        arrays = self._arrays
        keys = Strings(self._dictionaries["names"])
        return NameTable(keys, arrays["name_indptr"], arrays["name_kind"], arrays["name_node"])

    @cached_property
    def genes(self) -> Grounder:
        """The grounder of names and ids of the genes of `species`."""
        return self.genes_of(self.species)

    def genes_of(self, species: str) -> Grounder:
        """Return the grounder of the gene names of a species; rat names lead to human orthologues."""
        return Grounder(self.name_table, self.ids, SPECIES_SPACES.get(species, "genes"))

    @cached_property
    def cells(self) -> Grounder:
        """The grounder of cell type labels and ids."""
        return self.labels("cells")

    def labels(self, space: str) -> Grounder:
        """Return the grounder of labels and ids of ``cells``, ``anatomy`` or ``diseases``."""
        return Grounder(self.name_table, self.ids, space)

    # ---- identity -----------------------------------------------------------------------------------------

    @cached_property
    def content_hash(self) -> str:
        """The sha256 over nodes, edges and source names; equal graphs have equal hashes."""
        stored = self.manifest.get("content_hash")
        return str(stored) if stored else content_hash(self.parts)


def _named(codes: Bytes, names: Iterable[str]) -> pd.Series[Any]:
    """Return codes as a pandas categorical of their names."""
    words = list(names)
    return pd.Series(pd.Categorical(words, categories=words)[codes])
