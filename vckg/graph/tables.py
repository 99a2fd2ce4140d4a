"""A graph as tables: its nodes by CURIE or index, its edges in words, the names it knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from vckg.base.errors import GraphError, MissingNodeError, did_you_mean
from vckg.graph.edge_table import LIST_NAMES, Lists
from vckg.graph.grounding import GeneGrounder, LabelGrounder, NameTable
from vckg.graph.parts import NODE_COLUMNS, Parts, content_hash
from vckg.graph.schema import CATEGORIES, CATEGORY_CODE, RELATION_CODE, RELATION_NAMES, RELATIONS
from vckg.graph.string_array import Strings

Ints = npt.NDArray[np.int32]
NodeRef = str | int | np.integer[Any]
"""A node by its CURIE or its index."""


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


class GraphTables:
    """What `vckg.graph.graph.Graph` says of single nodes and edges; walking between them is its own."""

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
        self.sources: tuple[str, ...] = tuple(self.manifest["source_names"])

    # ---- nodes ------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.n

    def __bool__(self) -> bool:
        return True  # a graph without nodes is a graph

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, node: object) -> bool:
        if isinstance(node, str):
            return self.get(node) is not None
        return isinstance(node, (int, np.integer)) and 0 <= int(node) < self.n

    def __getitem__(self, node: NodeRef) -> Node:
        return self.node(node)

    def get(self, curie: str) -> int | None:
        """Index of a node, None where the graph has no such CURIE."""
        return self.ids.position(curie)

    def index(self, node: NodeRef) -> int:
        """Index of a node; MissingNodeError, with the nearest known CURIE, where it is absent."""
        if not isinstance(node, str):
            if 0 <= node < self.n:
                return int(node)
            raise MissingNodeError(f"no node {node} in the graph; indices are 0 to {self.n - 1}")
        found = self.ids.position(node)
        if found is None:
            prefix = node.partition(":")[0]
            near = [c for c in self.ids if c.startswith(prefix + ":")]
            hint = did_you_mean(node, near) or f"; prefixes here: {', '.join(self.prefixes)}"
            raise MissingNodeError(f"no node {node!r} in the graph{hint}")
        return found

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """CURIE prefixes in use, ascending."""
        return tuple(sorted({c.partition(":")[0] for c in self.ids}))

    def nodes_of(self, category: str) -> Ints:
        """Indices of the nodes of a category, ascending."""
        if category not in CATEGORY_CODE:
            raise GraphError(f"no category {category!r}{did_you_mean(category, CATEGORIES)}")
        return np.flatnonzero(self.category == CATEGORY_CODE[category]).astype(np.int32)

    def node(self, node: NodeRef) -> Node:
        """One node with its texts; ``graph["CL:0000084"]`` is the same."""
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
        """All nodes, made anew at each access: n rows of the fields of `Node`, in index order."""
        frame: pd.DataFrame = self.parts.nodes.to_pandas()
        frame.insert(1, "category", _named(self.category, CATEGORIES))
        return frame

    @property
    def edges(self) -> pd.DataFrame:
        """All edges, made anew at each access: m rows in row order, in the columns that `from_frames` reads."""
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
        """All nodes as an Arrow table: id, name, description, synonyms, xrefs (category is in `category`)."""
        return self.parts.nodes

    # ---- edges ------------------------------------------------------------------------------------------

    def rows(self, relation: str) -> slice:
        """The edge rows of a relation: they are contiguous."""
        if relation not in RELATION_CODE:
            raise GraphError(f"no relation {relation!r}{did_you_mean(relation, RELATION_NAMES)}")
        starts = self._arrays["relation_start"]
        code = RELATION_CODE[relation]
        return slice(int(starts[code]), int(starts[code + 1]))

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

    # ---- grounding ----------------------------------------------------------------------------------------

    @cached_property
    def name_table(self) -> NameTable:
        """All names the graph knows."""
        arrays = self._arrays
        keys = Strings(self._dictionaries["names"])
        return NameTable(keys, arrays["name_indptr"], arrays["name_kind"], arrays["name_node"])

    @cached_property
    def genes(self) -> GeneGrounder:
        """Gene names of any kind to genes of this graph."""
        return GeneGrounder(self.name_table, self.ids)

    @cached_property
    def cells(self) -> LabelGrounder:
        """Cell type labels and ids to cell types of this graph."""
        return self.labels("cells")

    def labels(self, space: str) -> LabelGrounder:
        """Labels and ids of ``cells``, ``anatomy`` or ``diseases`` to terms of this graph."""
        return LabelGrounder(self.name_table, self.ids, space)

    # ---- identity -----------------------------------------------------------------------------------------

    @cached_property
    def content_hash(self) -> str:
        """sha256 over nodes, edges and source names: equal exactly where two graphs say the same."""
        stored = self.manifest.get("content_hash")
        return str(stored) if stored else content_hash(self.parts)


def _named(codes: npt.NDArray[np.uint8], names: Iterable[str]) -> pd.Series[Any]:
    """Codes as a pandas categorical of their names."""
    words = list(names)
    return pd.Series(pd.Categorical(words, categories=words)[codes])
