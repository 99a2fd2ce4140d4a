"""How strongly the graph says that a gene speaks for a node: evidence weights of direct edges.

``W[g, c] = (resources - 1/2) * (1 + publications) ** 1/4 * ln(targets / df_g)``: the number of independent resources
that say so, times a damped number of publications, times the gene's specificity among the targets. A resource that a
collection only repeats counts once (`Graph.underlying`), and one that nobody repeats counts half (`LONE_CLAIM`).
Publications count for markers of cell types, by the edge that cites most (`CITED`). Cell types inherit from what they
are kinds of:
``W~_c = W_c + INHERITANCE * mean over parents of W~``, because a naive T cell is a T cell first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from gather.retrieval.metapaths import Sparse, Target, walkable_rows
from vckg.graph.schema import CATEGORIES

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


INHERITANCE = 0.35
"""Share of its parents' evidence that a cell type inherits, again for each generation."""
GENERATIONS = 5
LONE_CLAIM = 0.5
"""Taken off the number of resources: what two say independently is worth three times what one alone says."""
CITED = 0.25
"""Exponent of ``1 + publications``. Chosen with whole study groups left out (docs/results/suite.md)."""
TRUST = (1.0, 0.5, 0.25)
"""What a resource counts that speaks of the gene itself, of its one-to-one orthologue, and of one of several.

Set beforehand, not fitted: docs/results/suite.md has the figures for other values.
"""


@dataclass(frozen=True, eq=False)
class Weights:
    """Evidence weights of one target category.

    Attributes
    ----------
    nodes
        Graph nodes that at least one gene speaks for, directly or through an ancestor, int32[t], ascending.
    own
        Whether some gene speaks for the node directly, bool[t].
    direct
        ``W``, float64 CSR [graph nodes, t]; rows of nodes that are not genes are empty.
    resources
        How many resources say so, of the same pattern.
    share
        Share that each node inherits from each other one, float64 CSR [t from, t to]: ``W~ = W @ share``.
    attested
        How many resources name a marker of the node itself, int[t]. Inherited markers do not count, nor do those
        borrowed from another species.
    """

    target: Target
    nodes: Ints
    own: npt.NDArray[np.bool_]
    direct: Sparse
    resources: Sparse
    share: Sparse
    attested: npt.NDArray[np.intp]

    @cached_property
    def column_of(self) -> dict[int, int]:
        """Column of each target node."""
        return {node: column for column, node in enumerate(self.nodes.tolist())}


def evidence_weights(graph: Graph, target: Target, *, exclude: Iterable[str] = ()) -> Weights:
    """Return the weights of all direct edges from genes to a target, without those of excluded sources.

    The weights of the last few graphs and targets are kept.
    """
    return _evidence_weights(graph, target, tuple(sorted(exclude)))


@lru_cache(maxsize=16)
def _evidence_weights(graph: Graph, target: Target, exclude: tuple[str, ...]) -> Weights:
    gene, node, resources, attested, named = _claims(graph, target, exclude)
    kinds = kinds_of(graph, target)
    nodes = _with_descendants(node, kinds)
    own = np.isin(nodes, node)
    columns = np.searchsorted(nodes, node)
    df = np.bincount(gene, minlength=graph.n)
    specificity = np.log(max(int(own.sum()), 2) / df[gene])
    shape = (graph.n, len(nodes))
    direct = sp.csr_array((attested * specificity, (gene, columns)), shape=shape)
    counts = sp.csr_array((resources, (gene, columns)), shape=shape)
    for matrix in (direct, counts):
        matrix.sort_indices()
    known = np.bincount(np.searchsorted(nodes, named), minlength=len(nodes))
    return Weights(target, nodes, own, direct, counts, _shares(nodes, kinds), known)


def kinds_of(graph: Graph, target: Target) -> tuple[Ints, Ints]:
    """Children and parents (graph nodes) of the hierarchy along which evidence is inherited, distinct
    pairs.
    """
    rows = graph.rows("subclass_of")
    child, parent = graph.subject[rows], graph.object[rows]
    code = CATEGORIES.index(target.category)
    inside = (graph.category[child] == code) & (graph.category[parent] == code) & target.inherits
    pairs = np.unique(np.stack([child[inside], parent[inside]]), axis=1)
    return pairs[0], pairs[1]


def _with_descendants(nodes: Ints, kinds: tuple[Ints, Ints]) -> Ints:
    """The nodes and all kinds of them within `GENERATIONS`, int32, ascending."""
    child, parent = kinds
    found = np.unique(nodes)
    for _generation in range(GENERATIONS if len(child) else 0):
        found = np.union1d(found, child[np.isin(parent, found)])
    return found.astype(np.int32)


def _shares(nodes: Ints, kinds: tuple[Ints, Ints]) -> Sparse:
    """Identity plus ``INHERITANCE ** k`` spread over the ancestors of generation k."""
    child, parent = kinds
    keep = np.isin(child, nodes) & np.isin(parent, nodes)
    low, high = np.searchsorted(nodes, child[keep]), np.searchsorted(nodes, parent[keep])
    share = INHERITANCE / np.bincount(child, minlength=int(nodes.max(initial=0)) + 1)[child[keep]]
    down = sp.csr_array((share, (high, low)), shape=(len(nodes), len(nodes)))
    total = handed = sp.eye_array(len(nodes), format="csr")
    for _generation in range(GENERATIONS if keep.any() else 0):
        handed = handed @ down
        total = total + handed
    return sp.csr_array(total)


def _claims(
    graph: Graph, target: Target, exclude: tuple[str, ...]
) -> tuple[Ints, Ints, Floats, Floats, Ints]:
    """Gene, node, number of resources and what they weigh, of every distinct direct pair, ordered by (gene, node); and
    each node once for every resource that names a gene of it, not an orthologue.
    """
    is_gene = graph.category == CATEGORIES.index("Gene")
    is_target = graph.category == CATEGORIES.index(target.category)
    resource_code = {name: i for i, name in enumerate(sorted(set(graph.underlying)))}
    resource = np.array([resource_code[u] for u in graph.underlying], dtype=np.int64)
    pairs, by, cited, trust = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0)]
    for relation, rows in walkable_rows(graph, target, exclude).items():
        subject, obj = graph.subject[rows], graph.object[rows]
        if relation == target.back:
            subject, obj = obj, subject
        keep = is_gene[subject] & is_target[obj]
        pairs.append(subject[keep].astype(np.int64) * graph.n + obj[keep])
        by.append(resource[graph.source[rows[keep]]])
        cites = graph.n_publications[rows[keep]].astype(np.float64)
        cited.append(cites if relation == "is_marker_for" else np.zeros(len(cites)))
        trust.append(_trust(graph, rows[keep]))
    every, sure = np.concatenate(pairs), np.concatenate(trust)
    n_resources = max(len(resource_code), 1)
    claims, which = np.unique(every * n_resources + np.concatenate(by), return_inverse=True)
    believed = np.zeros(len(claims))
    np.maximum.at(believed, which, sure)
    pair, of, count = np.unique(claims // n_resources, return_inverse=True, return_counts=True)
    publications, most = np.zeros(len(pair)), np.zeros(len(pair))
    np.maximum.at(publications, np.searchsorted(pair, every), np.concatenate(cited) * sure)
    np.maximum.at(most, of, believed)
    attested = np.bincount(of, believed, minlength=len(pair)) - LONE_CLAIM * most
    gene, node = (pair // graph.n).astype(np.int32), (pair % graph.n).astype(np.int32)
    named = np.unique(claims[believed == TRUST[0]] % (graph.n * n_resources)) // n_resources
    return (
        gene,
        node,
        count.astype(np.float64),
        attested * (1.0 + publications) ** CITED,
        named.astype(np.int32),
    )


def _trust(graph: Graph, rows: npt.NDArray[np.int64]) -> Floats:
    """What each edge counts, float64[rows]."""
    return np.ones(len(rows)) if graph.orthology is None else np.array(TRUST)[graph.orthology[rows]]
