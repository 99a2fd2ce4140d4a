"""Scores that only the benchmark compares with ours: each has no p-value here.

dwpc             degree-weighted path counts (Himmelstein 2017) times the candidate's information content
ppr              personalised PageRank from the weighted genes with node specificity (HippoRAG)
hypergeometric   over-representation of the query among the candidate's genes
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.stats import hypergeom

from gather.retrieval.metapaths import Sparse
from gather.retrieval.query import GeneQuery
from gather.retrieval.scores import DIRECT, SCORES, Convergence, Retriever

Floats = npt.NDArray[np.float64]

ALL_SCORES = (*SCORES, "dwpc", "ppr", "hypergeometric")
"""Scores of the tables of ``python -m benchmarks.annotation``, our default first."""
RESTART = 0.5
"""Chance that the walk of `ppr` returns to the query (HippoRAG's value)."""
_PPR_STEPS = 30


class ComparisonRetriever(Retriever):
    """Retriever with the scores of `ALL_SCORES`.

    Examples
    --------
    >>> sorted(set(ComparisonRetriever.scores) - set(Retriever.scores))
    ['dwpc', 'hypergeometric', 'ppr']
    """

    scores: ClassVar[tuple[str, ...]] = ALL_SCORES
    direct: ClassVar[tuple[str, ...]] = (*DIRECT, "hypergeometric")

    def converge(self, queries: Sequence[GeneQuery]) -> list[Convergence]:
        """Score every candidate for every query; scores of this module come without p: it is 1."""
        if self.score in SCORES:
            return super().converge(queries)
        return [self.scored(query) for query in queries]

    def _dwpc(self, query: GeneQuery) -> Floats:
        """``sum_h sum_g w_g D_h[g, c]`` times ``1 - ln(genes that reach c) / ln(genes)``, float64[c]."""
        rows = self.operators.rows(query.genes)
        columns = np.searchsorted(self.operators.targets, self.nodes)
        total = np.zeros(len(self.operators.targets))
        for weights in self.operators.weights:
            total += query.weights @ weights[rows]
        score: Floats = total[columns] * self._information
        return score

    @cached_property
    def _information(self) -> Floats:
        columns = np.searchsorted(self.operators.targets, self.nodes)
        reaching = np.zeros(len(self.operators.targets))
        for weights in self.operators.weights:
            reaching = np.maximum(reaching, np.bincount(weights.indices, minlength=len(reaching)))
        genes = max(len(self.operators.genes), 2)
        return np.asarray(1.0 - np.log(np.maximum(reaching[columns], 1.0)) / np.log(genes), dtype=np.float64)

    def _ppr(self, query: GeneQuery) -> Floats:
        """Stationary mass of a walk that restarts at the genes, each seeded by weight over degree, float64[c]."""
        step, degree, first_target = self._transition
        seed = np.zeros(step.shape[0])
        rows = self.operators.rows(query.genes)
        seed[rows] = query.weights / np.maximum(degree[rows], 1.0)
        if seed.sum() == 0:
            return np.zeros(len(self.nodes))
        seed /= seed.sum()
        mass = seed.copy()
        for _step in range(_PPR_STEPS):
            mass = RESTART * seed + (1.0 - RESTART) * (step @ mass)
        return mass[first_target + np.searchsorted(self.operators.targets, self.nodes)]

    @cached_property
    def _transition(self) -> tuple[Sparse, Floats, int]:
        """Column-stochastic transitions over genes, inner nodes and targets; degrees; index of the first target."""
        direct, first, last = self.operators.weights[0], self.operators.first, self.operators.last
        n_genes, n_targets = direct.shape
        genes, targets = sp.csr_array((n_genes, n_genes)), sp.csr_array((n_targets, n_targets))
        blocks: list[list[Any]] = [
            [genes, first, direct],
            [None, self.operators.between, last.T.tocsr()],
            [None, None, targets],
        ]
        half: Sparse = sp.block_array(blocks)
        links: Sparse = sp.csr_array((half + half.T) != 0, dtype=np.float64)
        degree = np.asarray(links.sum(axis=0), dtype=np.float64).ravel()
        inverse = np.divide(1.0, degree, out=np.zeros_like(degree), where=degree > 0)
        return sp.csr_array(links @ sp.diags_array(inverse)), degree, first.shape[0] + first.shape[1]

    def _hypergeometric(self, query: GeneQuery) -> Floats:
        """``-log10 p`` of the overlap, float64[c]; 0 where no gene of the query marks the candidate."""
        overlap = np.asarray((self.matrix[query.genes] > 0).sum(axis=0)).ravel()
        marked = np.asarray((self.matrix > 0).sum(axis=0)).ravel()
        p = np.where(overlap > 0, hypergeom.sf(overlap - 1, len(self.genes), marked, len(query)), 1.0)
        return np.maximum(-np.log10(np.maximum(p, 1e-300)), 0.0)
