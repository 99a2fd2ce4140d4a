"""Who is better: scaled scores, all pairwise tests, the ranks that follow, and the mean over tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from arena import board
from arena import statistics as st
from arena.columns import Column
from arena.statistics import Floats
from arena.trust import estimate, finite
from arena.types import TaskName

TRIVIAL: Final = frozenset({"majority", "random", "copy-control", "gene-prior", "position"})
"""Baselines that know nothing of the cell; the best of them is the zero of the scaled score."""
CEILING: Final = "gold"
"""The reference as a contestant: shown, never ranked."""
ALPHA: Final = 0.05


def floor(column: Column) -> tuple[float, str]:
    """Mean of the best trivial baseline and its name; (0, "") where none was run."""
    means = st.means(column.main)
    found = [
        (float(means[i]), name)
        for i, name in enumerate(column.contestants)
        if name in TRIVIAL and np.isfinite(means[i])
    ]
    best, name = max(found, key=lambda f: (f[0], f[1]), default=(0.0, ""))
    return (best, name) if best < 1 else (0.0, "")


def scaled(column: Column, floor_of: str, resamples: int) -> tuple[Floats, Floats]:
    """Scaled means [m] and their draws [m, resamples]; the floor is drawn with the rest, so its error
    counts.
    """
    draws = st.bootstrap_means(column.main, column.clusters, resamples=resamples, seed=column.seed)
    means = st.means(column.main)
    if not floor_of:
        return means, draws
    at = column.row[floor_of]
    below = 1 - draws[at]
    drawn = np.divide(draws - draws[at], below, out=np.full(draws.shape, np.nan), where=below > 1e-9)
    return (means - means[at]) / (1 - means[at]), drawn


class Tests:
    """All pairwise tests of some contestants, and the ranks that follow."""

    def __init__(self, names: Sequence[str], blocks: Sequence[st.Block], resamples: int, seed: int) -> None:
        self.names = tuple(names)
        self.paired = st.paired_tests(blocks, resamples=resamples, seed=seed)
        ranks = st.rank_intervals(self.paired, len(self.names), alpha=ALPHA)
        self.rank = {n: board.Rank(best=b, worst=w) for n, (b, w) in zip(self.names, ranks, strict=True)}
        self._p = dict(zip(self.paired.pairs, self.paired.p_holm, strict=True))

    def tied(self, one: str, other: str) -> bool:
        """Whether no significant difference was found."""
        i, j = sorted((self.names.index(one), self.names.index(other)))
        return not self._p[i, j] <= ALPHA

    def pair(self, at: int, win_rate: float | None = None, mcnemar_p: float | None = None) -> board.Pair:
        """One comparison as the leaderboard holds it."""
        t = self.paired
        i, j = t.pairs[at]
        return board.Pair(
            first=self.names[i],
            second=self.names[j],
            difference=finite(t.difference[at]),
            low=finite(t.low[at]),
            high=finite(t.high[at]),
            p=finite(t.p[at]),
            p_holm=finite(t.p_holm[at]),
            detectable=finite(t.detectable[at]),
            common=int(t.common[at]),
            win_rate=finite(win_rate),
            mcnemar_p=finite(mcnemar_p),
        )


def ranked_tests(column: Column, resamples: int) -> Tests | None:
    """Tests among those who are ranked: all but the ceiling."""
    names = [name for name in column.contestants if name != CEILING]
    if not names:
        return None
    block = column.block([column.row[name] for name in names])
    return Tests(names, [block], resamples, column.seed)


class Overall:
    """Macro mean over tasks of the scaled scores, for those who took part in all of them."""

    def __init__(
        self,
        columns: dict[TaskName, Column],
        scaling: dict[TaskName, tuple[float, str]],
        resamples: int,
        seed: int,
    ) -> None:
        shared = set.intersection(*(set(c.contestants) for c in columns.values()))
        self.names = tuple(sorted(shared))
        self.estimates: dict[str, board.Estimate] = {}
        means, draws, groups = [], [], 0.0
        for task, column in columns.items():
            at = [column.row[name] for name in self.names]
            value, drawn = scaled(column, scaling[task][1], resamples)
            means.append(value[at])
            draws.append(drawn[at])
            groups += column.clusters.effective()
        n = sum(len(column.samples) for column in columns.values())
        found = st.intervals(np.mean(means, axis=0), np.mean(draws, axis=0), groups)
        self.estimates = {name: estimate(i, n) for name, i in zip(self.names, found, strict=True)}
        ranked = [name for name in self.names if name != CEILING]
        self.tests: Tests | None = None
        if ranked:
            # The floor cancels in a difference; what stays of the scale is the factor 1 / (1 - floor).
            blocks = [
                c.block([c.row[name] for name in ranked], 1 / (len(columns) * (1 - scaling[task][0])))
                for task, c in columns.items()
            ]
            self.tests = Tests(ranked, blocks, resamples, seed)

    def pair_list(self) -> tuple[board.Pair, ...]:
        """All comparisons."""
        return tuple(self.tests.pair(at) for at in range(len(self.tests.paired.pairs))) if self.tests else ()
