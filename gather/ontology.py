"""The Cell Ontology as arrays: ancestor closure, information content, similarity and lineages of cell types.

Nothing here knows about scores or cells; labels, metrics and the arena all ask it how two terms are related.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from vckg.base.errors import GraphError, did_you_mean
from vckg.base.resources import table

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

Relation = Literal["exact", "descendant", "ancestor", "sibling", "other"]
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Ontology:
    """A directed acyclic hierarchy of terms.

    Parameters
    ----------
    terms
        CURIEs, ascending.
    child, parent
        Positions in `terms` of the ends of each direct edge ``child -> parent``, int[m].
    nodes
        Graph node of each term, int32[t].
    equivalent
        Groups of terms that a fair exact comparison takes as one (`data/equivalent_cell_types.tsv`).
    lineages
        Name of each lineage and its root terms (`data/lineages.tsv`).

    Raises
    ------
    GraphError
        If the hierarchy has a cycle.
    """

    def __init__(
        self,
        terms: Sequence[str],
        child: Ints,
        parent: Ints,
        *,
        nodes: Ints | None = None,
        names: Sequence[str] = (),
        equivalent: Iterable[Sequence[str]] = (),
        lineages: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.terms = tuple(terms)
        self.names = tuple(names) or self.terms
        self.nodes = np.arange(len(terms), dtype=np.int32) if nodes is None else nodes
        self._position = {term: i for i, term in enumerate(self.terms)}
        self._parents: list[list[int]] = [[] for _ in self.terms]
        for low, high in zip(child.tolist(), parent.tolist(), strict=True):
            self._parents[low].append(high)
        self._order = self._children_last()
        self._class = {i: i for i in range(len(self.terms))}
        for group in equivalent:
            known = sorted(self._position[t] for t in group if t in self._position)
            self._class.update(dict.fromkeys(known, known[0]) if known else {})
        self._lineages = [(name, self._position[root]) for name, root in lineages if root in self._position]

    @classmethod
    @lru_cache(maxsize=4)
    def of_cells(cls, graph: Graph) -> Ontology:
        """Return the hierarchy of the graph's cell types, with the shipped equivalences and lineages; kept for later
        calls.
        """
        nodes = graph.nodes_of("Cell")
        position = np.full(graph.n, -1, np.int32)
        position[nodes] = np.arange(len(nodes), dtype=np.int32)
        rows = graph.rows("subclass_of") if "subclass_of" in graph.relations else slice(0, 0)
        child, parent = position[graph.subject[rows]], position[graph.object[rows]]
        inside = (child >= 0) & (parent >= 0) & (child != parent)
        return cls(
            [graph.ids[i] for i in nodes.tolist()],
            child[inside],
            parent[inside],
            nodes=nodes,
            names=[graph.names[i] for i in nodes.tolist()],
            equivalent=_read_groups(),
            lineages=_read_lineages(),
        )

    def __len__(self) -> int:
        return len(self.terms)

    def __contains__(self, curie: object) -> bool:
        return curie in self._position

    def position(self, curie: str) -> int:
        """Return the position of a term; raise `GraphError` with the nearest known id for an unknown one."""
        try:
            return self._position[curie]
        except KeyError:
            raise GraphError(
                f"{curie!r} is not a cell type of the graph{did_you_mean(curie, self._position)}"
            ) from None

    def _children_last(self) -> list[int]:
        """Order positions so that every parent comes before its children."""
        sorter = TopologicalSorter(dict(enumerate(self._parents)))
        with suppress(CycleError):  # it still gives out what no cycle blocks
            sorter.prepare()
        order: list[int] = []
        while ready := sorter.get_ready():
            order += ready
            sorter.done(*ready)
        if len(order) < len(self.terms):
            stuck = min(set(range(len(self.terms))).difference(order))
            raise GraphError(f"subclass_of has a cycle below {self.terms[stuck]}; rebuild the graph")
        return order

    @cached_property
    def closure(self) -> Bools:
        """``closure[a, b]``: b is a or an ancestor of a; bool[t, t]."""
        closure = np.eye(len(self), dtype=bool)
        for low in self._order:
            for high in self._parents[low]:
                closure[low] |= closure[high]
        return closure

    @cached_property
    def lines(self) -> Any:
        """Which terms lie on each term's line: above it, below it, equivalents included; float64 CSR [terms, terms]."""
        on_line = self.closure | self.closure.T
        for i in self._class:
            if len(same := list(self.equivalents(i))) > 1:
                on_line[i] = self.closure[same].any(axis=0) | self.closure[:, same].any(axis=1)
        return sp.csr_array(on_line, dtype=np.float64)

    @cached_property
    def upwards(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Every term and each term at or above it, as two lists of positions."""
        kind, term = np.nonzero(self.closure)
        return kind, term

    @cached_property
    def n_descendants(self) -> Ints:
        """Count the terms below each term, itself excluded; int32[t]."""
        return np.asarray(self.closure.sum(axis=0) - 1, dtype=np.int32)

    @cached_property
    def information(self) -> Floats:
        """Intrinsic information content, float64[t], 0 at the root and 1 at leaves.

        ``1 - ln(descendants + 1) / ln(terms)`` (Seco, Veale and Hayes, ECAI 2004): needs no corpus.
        """
        return np.asarray(
            1.0 - np.log(self.n_descendants + 1.0) / np.log(max(len(self), 2)), dtype=np.float64
        )

    @cached_property
    def depth(self) -> Ints:
        """Longest path from a root, int32[t]."""
        depth = np.zeros(len(self), np.int32)
        for low in self._order:
            for high in self._parents[low]:
                depth[low] = max(depth[low], depth[high] + 1)
        return depth

    def parents(self, i: int) -> tuple[int, ...]:
        """Direct parents of a position, ascending."""
        return tuple(sorted(set(self._parents[i])))

    def ancestors(self, i: int) -> Ints:
        """Positions above `i`, itself excluded, ascending."""
        above = self.closure[i].copy()
        above[i] = False
        return np.flatnonzero(above).astype(np.int32)

    def descendants(self, i: int) -> Ints:
        """Positions below `i`, itself excluded, ascending."""
        below = self.closure[:, i].copy()
        below[i] = False
        return np.flatnonzero(below).astype(np.int32)

    def at_or_below(self, i: int) -> npt.NDArray[np.bool_]:
        """Mark `i`, its equivalents and the kinds of those, bool[terms]."""
        return np.asarray(self.closure[:, list(self.equivalents(i))].any(axis=1))

    def same(self, a: int, b: int) -> bool:
        """Whether two terms are one, equivalences accepted."""
        return self._class[a] == self._class[b]

    def equivalents(self, i: int) -> tuple[int, ...]:
        """Return every equivalent of `i`, itself included, ascending."""
        return self._members.get(self._class[i], (i,))

    @cached_property
    def _members(self) -> dict[int, tuple[int, ...]]:
        members: dict[int, list[int]] = {}
        for i, standing in self._class.items():
            members.setdefault(standing, []).append(i)
        return {standing: tuple(sorted(group)) for standing, group in members.items() if len(group) > 1}

    def relation(self, prediction: int, truth: int) -> Relation:
        """Return the relation of a prediction to the truth.

        Ancestors and descendants are tested before siblings and over the whole closure. popV's
        ``_ontology_accuracy`` tests siblings first and looks at direct parents only, so that a parent that is
        also a sibling through another parent counts as one.
        """
        if self.same(prediction, truth):
            return "exact"
        predictions, truths = self.equivalents(prediction), self.equivalents(truth)
        if self.closure[np.ix_(predictions, truths)].any():
            return "descendant"
        if self.closure[np.ix_(truths, predictions)].any():
            return "ancestor"
        if set(self.parents(prediction)) & set(self.parents(truth)):
            return "sibling"
        return "other"

    def common_information(self, i: int) -> Floats:
        """Information content of the most informative common ancestor of `i` with every term, float64[t]."""
        best = np.zeros(len(self))
        for above in np.flatnonzero(self.closure[i]).tolist():
            below = self.closure[:, above]
            np.maximum(best, np.where(below, self.information[above], 0.0), out=best)
        return best

    def lin_to_all(self, i: int) -> Floats:
        """Lin similarity (1998) of `i` to every term, float64[t] in [0, 1]; equivalent terms count as
        identical.
        """
        top = self.common_information(i)
        total = self.information[i] + self.information
        lin = np.zeros(len(self))
        np.divide(2.0 * top, total, out=lin, where=total > 0)
        lin[list(self.equivalents(i))] = 1.0
        return lin

    def lin(self, a: int, b: int) -> float:
        """Lin similarity of two terms; 1 for equivalent terms."""
        if self.same(a, b):
            return 1.0
        total = self.information[a] + self.information[b]
        return 2.0 * self.resnik(a, b) / float(total) if total > 0 else 0.0

    def resnik(self, a: int, b: int) -> float:
        """Information content of the most informative common ancestor (Resnik 1995)."""
        common = self.closure[a] & self.closure[b]
        return float(self.information[common].max(initial=0.0))

    def lowest_common_ancestor(self, positions: Sequence[int]) -> int | None:
        """The most informative term above or equal to all positions; ties go to the lower CURIE."""
        common = np.flatnonzero(self.closure[list(positions)].all(axis=0))
        if not len(common):
            return None
        return int(common[np.lexsort((common, -self.information[common]))[0]])

    def lineage(self, i: int) -> str | None:
        """The first lineage of `data/lineages.tsv` that `i` belongs to; the file lists the narrower ones
        first.
        """
        for name, root in self._lineages:
            if self.closure[i, root]:
                return name
        return None


def _read_groups() -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for row in table("data", "equivalent_cell_types.tsv"):
        groups.setdefault(row["group"], []).append(row["cell_type_ontology_term_id"])
    return list(groups.values())


def _read_lineages() -> list[tuple[str, str]]:
    return [(row["lineage"], row["cell_type_ontology_term_id"]) for row in table("data", "lineages.tsv")]
