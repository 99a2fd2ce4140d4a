"""How strongly the graph says that a gene speaks for a node: evidence weights of direct edges, and their
null.

``W[g, c] = (resources - 1/2) * ln(targets / df_g)``: the number of independent resources that say so, times the
gene's specificity among the targets. A resource that a collection only repeats counts once (`Graph.underlying`),
and one that nobody repeats counts half (`LONE_CLAIM`). Cell types inherit from what they are kinds of:
``W~_c = W_c + INHERITANCE * mean over parents of W~``, because a naive T cell is a T cell first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from gather.metapath import Sparse, Target, walkable_rows
from vckg.schema import CATEGORIES

if TYPE_CHECKING:
    from vckg.graph import Graph

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


INHERITANCE = 0.35
"""Share of its parents' evidence that a cell type takes over, again for each generation."""
GENERATIONS = 5
LONE_CLAIM = 0.5
"""Taken off the number of resources: what two say independently is worth three times what one alone says."""


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
        What each node takes over from each other one, float64 CSR [t from, t to]: ``W~ = W @ share``.
    """

    target: Target
    nodes: Ints
    own: npt.NDArray[np.bool_]
    direct: Sparse
    resources: Sparse
    share: Sparse

    @cached_property
    def column_of(self) -> dict[int, int]:
        """Column of each target node."""
        return {node: column for column, node in enumerate(self.nodes.tolist())}


def evidence_weights(graph: Graph, target: Target, *, exclude: Iterable[str] = ()) -> Weights:
    """Return the weights of all direct edges from genes to a target, without those of the `exclude`d
    sources.
    """
    gene, node, resources = _resources(graph, target, tuple(exclude))
    kinds = kinds_of(graph, target)
    nodes = _with_descendants(node, kinds)
    own = np.isin(nodes, node)
    columns = np.searchsorted(nodes, node)
    df = np.bincount(gene, minlength=graph.n)
    specificity = np.log(max(int(own.sum()), 2) / df[gene])
    shape = (graph.n, len(nodes))
    direct = sp.csr_array(((resources - LONE_CLAIM) * specificity, (gene, columns)), shape=shape)
    counts = sp.csr_array((resources, (gene, columns)), shape=shape)
    for matrix in (direct, counts):
        matrix.sort_indices()
    return Weights(target, nodes, own, direct, counts, _shares(nodes, kinds))


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


def _resources(graph: Graph, target: Target, exclude: tuple[str, ...]) -> tuple[Ints, Ints, Floats]:
    """Gene, node and number of resources of every distinct direct pair, ordered by (gene, node)."""
    is_gene = graph.category == CATEGORIES.index("Gene")
    is_target = graph.category == CATEGORIES.index(target.category)
    resource_code = {name: i for i, name in enumerate(sorted(set(graph.underlying)))}
    resource = np.array([resource_code[u] for u in graph.underlying], dtype=np.int64)
    pairs, by = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for relation, rows in walkable_rows(graph, target, exclude).items():
        subject, obj = graph.subject[rows], graph.object[rows]
        if relation == target.back:
            subject, obj = obj, subject
        keep = is_gene[subject] & is_target[obj]
        pairs.append(subject[keep].astype(np.int64) * graph.n + obj[keep])
        by.append(resource[graph.source[rows[keep]]])
    said = np.unique(np.concatenate(pairs) * len(resource_code) + np.concatenate(by))
    pair, count = np.unique(said // max(len(resource_code), 1), return_counts=True)
    return (pair // graph.n).astype(np.int32), (pair % graph.n).astype(np.int32), count.astype(np.float64)


@dataclass(frozen=True, eq=False)
class Null:
    """What `W` looks like to genes drawn at random from the measured ones.

    Genes are drawn with the `background`'s probabilities, or, where it is None, uniformly without replacement;
    then the moments of ``sum_g w_g W[g, c]`` are those of a permutation.

    Attributes
    ----------
    n_genes
        Measured genes.
    mean, variance, third
        Moments of column c over the background: mean and central second and third, float64[t].
    hit
        Probability that one draw speaks for c, float64[t].
    """

    n_genes: int
    mean: Floats
    variance: Floats
    third: Floats
    hit: Floats
    uniform: bool

    @classmethod
    def of(cls, weights: Sparse, genes: Ints, background: Floats | None = None) -> Null:
        """Moments over the measured `genes` (graph nodes) with the probabilities ``background[genes]``."""
        rows = sp.csr_array(weights[genes])
        uniform = background is None or not background[genes].sum() > 0
        chance = np.full(len(genes), 1.0 / max(len(genes), 1)) if uniform else _normalised(background, genes)
        first, second, third = (chance @ sp.csr_array(rows.power(k)) for k in (1, 2, 3))
        hit = chance @ sp.csr_array((rows > 0).astype(np.float64))
        variance = np.maximum(second - first**2, 0.0)
        return cls(len(genes), first, variance, third - 3 * first * second + 2 * first**3, hit, uniform)

    def moments(self, w: Floats) -> tuple[Floats, Floats, Floats]:
        """Mean, variance and third central moment of the statistic of query weights `w`, float64[t] each."""
        s1, s2, s3 = float(w.sum()), float((w**2).sum()), float((w**3).sum())
        mean = s1 * self.mean
        if not self.uniform or self.n_genes < 3:
            return mean, s2 * self.variance, s3 * self.third
        n = float(self.n_genes)
        # weights padded with zeros to n, both vectors centred: moments of a linear permutation statistic
        a2 = s2 - s1**2 / n
        a3 = s3 - 3 * s1 * s2 / n + 2 * s1**3 / n**2
        return mean, a2 * self.variance * n / (n - 1), a3 * self.third * n**2 / ((n - 1) * (n - 2))

    def p_values(self, statistic: Floats, w: Floats) -> Floats:
        """Upper-tail p of ``sum_g w_g W[g, c]``, float64[t]; 1 where no query gene speaks for c.

        The statistic is 0 with a known probability and otherwise nearly a Pearson type III variable, whose
        mean, variance and skewness follow from the moments in closed form: short marker lists, whose statistic
        is mostly 0, keep honest p-values, which a normal z would not.
        """
        return _upper_tail(statistic, self._some(len(w), self.hit), *self.moments(w))

    def critical(self, w: Floats, levels: Floats) -> Floats:
        """The least statistic whose p is at most each level, float64[levels, t]: `p_values` the other way round.

        Where even any statistic above 0 is that rare it is the least positive number; infinite where the
        statistic of c cannot vary.
        """
        from scipy.special import gammainccinv, ndtri

        some, (mean, variance, third) = self._some(len(w), self.hit), self.moments(w)
        found = np.full((len(levels), len(mean)), np.inf)
        at = np.flatnonzero((some > 0) & (variance > 0))
        centre, spread, skew = _given_some(some[at], mean[at], variance[at], third[at])
        tail = np.minimum(levels[:, None] / some[at], 1.0)
        shape = 4.0 / np.maximum(skew, LEAST_SKEW) ** 2
        with np.errstate(over="ignore"):
            skewed = (gammainccinv(shape, tail) - shape) * np.maximum(skew, LEAST_SKEW) / 2.0
        z = np.where(skew > LEAST_SKEW, skewed, -ndtri(tail))
        found[:, at] = np.maximum(np.where(tail < 1.0, centre + z * spread, 0.0), np.nextafter(0.0, 1.0))
        return found

    def p_of_prefixes(
        self, column: int, statistic: Floats, lengths: npt.NDArray[Any], ranks: Floats
    ) -> Floats:
        """Upper-tail p for one column and many queries, each with the first `lengths` of the weights
        `ranks`.
        """
        p = np.ones(len(statistic))
        one = Null(
            self.n_genes,
            self.mean[column : column + 1],
            self.variance[column : column + 1],
            self.third[column : column + 1],
            self.hit[column : column + 1],
            self.uniform,
        )
        for q in np.unique(lengths[lengths > 0]).tolist():
            mine = lengths == q
            some, moments = one._some(q, one.hit), one.moments(ranks[:q])
            n = int(mine.sum())
            p[mine] = _upper_tail(statistic[mine], np.repeat(some, n), *(np.repeat(m, n) for m in moments))
        return p

    def _some(self, q: int, hit: Floats) -> Floats:
        """Probability that at least one of q drawn genes speaks for c."""
        from scipy.special import gammaln

        if not self.uniform:
            return np.asarray(-np.expm1(q * np.log1p(-np.minimum(hit, 1 - 1e-15))))
        n, k = self.n_genes, np.rint(hit * self.n_genes)
        room = n - k - q
        log_none = gammaln(n - k + 1) + gammaln(n - q + 1) - gammaln(np.maximum(room, 0) + 1) - gammaln(n + 1)
        return np.where(room < 0, 1.0, -np.expm1(np.minimum(log_none, 0.0)))


LEAST_SKEW = 1e-3
"""Below it a Pearson type III variable is a normal one."""


def _given_some(some: Floats, mean: Floats, variance: Floats, third: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, standard deviation and skewness of the statistic where it is not 0."""
    c1 = mean / some
    c2 = (variance + mean**2) / some
    c3 = (third + 3 * mean * variance + mean**3) / some
    spread = np.sqrt(np.maximum(c2 - c1**2, 1e-12 * c2))
    return c1, spread, (c3 - 3 * c1 * c2 + 2 * c1**3) / spread**3


def _upper_tail(statistic: Floats, some: Floats, mean: Floats, variance: Floats, third: Floats) -> Floats:
    from scipy.special import gammaincc, ndtr

    p = np.ones(len(mean))
    at = np.flatnonzero((statistic > 0) & (some > 0) & (variance > 0))
    some = some[at]
    centre, spread, skew = _given_some(some, mean[at], variance[at], third[at])
    z = (statistic[at] - centre) / spread
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shape = 4.0 / skew**2
        tail = gammaincc(shape, np.maximum(shape + z * 2.0 / skew, 0.0))
    tail = np.where(skew > LEAST_SKEW, tail, ndtr(-z))
    p[at] = some * np.clip(np.nan_to_num(tail, nan=1.0), 0.0, 1.0)
    return p


def _normalised(background: Floats | None, genes: Ints) -> Floats:
    assert background is not None
    chance = background[genes]
    return np.asarray(chance / chance.sum(), dtype=np.float64)
