"""Comparisons of ranked gene lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from scipy import stats

PERSISTENCE: Final = 0.98
"""Rank-biased overlap's p: the first 50 ranks carry 86 % of the weight."""


def rank_biased_overlap(first: Sequence[str], second: Sequence[str], p: float = PERSISTENCE) -> float:
    """Extrapolated rank-biased overlap of two rankings of distinct items, which may differ in length.

    Equation 32 of Webber, Moffat and Zobel (ACM TOIS 2010): 1 for equal lists, 0 for disjoint ones.
    """
    short, long = sorted((first, second), key=len)
    s, n = len(short), len(long)
    if s == 0:
        return 0.0
    in_short: set[str] = set()
    in_long: set[str] = set()
    common = np.zeros(n + 1)
    for depth in range(1, n + 1):
        one, other = long[depth - 1], short[depth - 1] if depth <= s else None
        shared = one == other or (one in in_short) + (other in in_long)
        common[depth] = common[depth - 1] + shared
        in_long.add(one)
        if other is not None:
            in_short.add(other)
    depths = np.arange(1, n + 1)
    decay = p**depths
    seen = (common[1:] / depths * decay).sum()
    beyond = depths[s:]
    unseen = (common[s] * (beyond - s) / (s * beyond) * decay[s:]).sum()
    tail = ((common[n] - common[s]) / n + common[s] / s) * p**n
    return float(min(1.0, (1 - p) / p * (seen + unseen) + tail))


def jaccard(first: Iterable[str], second: Iterable[str]) -> float:
    """Shared share of two gene sets."""
    a, b = set(first), set(second)
    return len(a & b) / len(a | b) if a | b else 1.0


def delta_correlation(control: Sequence[str], outcome: Sequence[str], sentence: Sequence[str]) -> float:
    """Spearman correlation of predicted with measured rank changes against the control, over all genes seen.

    A gene a sentence lacks stands just below its last rank. No predicted change at all is 0.
    """
    genes = sorted({*control, *outcome, *sentence})
    before, after, predicted = (_ranks(genes, ranked) for ranked in (control, outcome, sentence))
    measured, expected = after - before, predicted - before
    if not (np.ptp(measured) and np.ptp(expected)):
        return 0.0
    return float(stats.spearmanr(measured, expected).statistic)


def _ranks(genes: Sequence[str], ranked: Sequence[str]) -> np.ndarray[Any, Any]:
    place = {gene: i for i, gene in reversed(list(enumerate(ranked)))}
    return np.array([place.get(gene, len(ranked)) for gene in genes], dtype=float)
