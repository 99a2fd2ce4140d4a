"""Who is better: all pairwise tests of a task, the ranks that follow, and mean win rates over tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from arena.contestants.kinds import kind_of_run
from arena.contestants.resolve import EVIDENCE, WITH_TOOLS
from arena.leaderboard import schema, statistics
from arena.leaderboard.reliability import estimate
from arena.leaderboard.score_table import Column
from arena.leaderboard.statistics import Floats, finite, probability
from arena.types import Run, TaskName

ALPHA: Final = 0.05


def floor(column: Column) -> tuple[float | None, str]:
    """Mean of the best trivial baseline and its name; (None, "") where none was run."""
    means = statistics.means(column.main)
    found = [
        (float(means[i]), name)
        for i, name in enumerate(column.contestants)
        if column.kinds[name] == "trivial" and np.isfinite(means[i])
    ]
    return max(found, key=lambda f: (f[0], f[1])) if found else (None, "")


class Tests:
    """All pairwise tests of some contestants, and the ranks that follow."""

    def __init__(
        self, names: Sequence[str], blocks: Sequence[statistics.Block], resamples: int, seed: int
    ) -> None:
        self.names = tuple(names)
        self.paired = statistics.paired_tests(blocks, resamples=resamples, seed=seed)
        ranks = statistics.rank_intervals(self.paired, len(self.names), alpha=ALPHA)
        self.rank = {n: schema.Rank(best=b, worst=w) for n, (b, w) in zip(self.names, ranks, strict=True)}
        self._p = dict(zip(self.paired.pairs, self.paired.p_holm, strict=True))

    def tied(self, one: str, other: str) -> bool:
        """Whether no significant difference was found."""
        i, j = sorted((self.names.index(one), self.names.index(other)))
        return not self._p[i, j] <= ALPHA

    def pair(self, at: int, win_rate: float | None = None, mcnemar_p: float | None = None) -> schema.Pair:
        """One comparison as the leaderboard holds it."""
        t = self.paired
        i, j = t.pairs[at]
        return schema.Pair(
            first=self.names[i],
            second=self.names[j],
            difference=finite(t.difference[at]),
            low=finite(t.low[at]),
            high=finite(t.high[at]),
            p=probability(t.p[at]),
            p_holm=probability(t.p_holm[at]),
            detectable=finite(t.detectable[at]),
            common=int(t.common[at]),
            win_rate=finite(win_rate),
            mcnemar_p=probability(mcnemar_p),
        )


def ranked_tests(column: Column, resamples: int, apart: frozenset[str] = frozenset()) -> Tests | None:
    """Tests among those who are ranked: all but the ceiling, and those that stand apart; None for fewer than two."""
    names = [name for name in column.ranked if name not in apart]
    if len(names) < 2:
        return None
    block = column.block([column.row[name] for name in names])
    return Tests(names, [block], resamples, column.seed)


def helped_pairs(column: Column, runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
    """Yield each contestant with evidence or tools and the same model without, whatever they are called."""
    manifests = [run.manifest for run in runs if run.manifest.contestant in column.row]
    plain = {m.model_args.get("model"): m.contestant for m in manifests if kind_of_run(m) == "model"}
    for manifest in sorted(manifests, key=lambda m: m.contestant):
        if kind_of_run(manifest) not in ("retrieval+model", "model+tools"):
            continue
        name = manifest.contestant
        same = name.removeprefix(EVIDENCE).removeprefix(WITH_TOOLS)
        named = same != name and same in column.row
        other = same if named else plain.get(manifest.model_args.get("model"))
        if other:
            yield name, other


def alone(column: Column, first: str, second: str, resamples: int) -> schema.Pair:
    """Compare two contestants with each other and nobody else."""
    block = column.block([column.row[first], column.row[second]])
    return Tests([first, second], [block], resamples, column.seed).pair(0)


def win_rates(means: Floats) -> Floats:
    """Share of the others that each contestant beats, ties one half: float64[m, ...] from means of that shape."""
    above = (means[:, None] > means[None, :]) + 0.5 * (means[:, None] == means[None, :])
    others = len(means) - 1
    rates: Floats = (above.sum(axis=1) - 0.5) / max(others, 1)
    return rates


class Overall:
    """Mean win rate over tasks, for those ranked that took part in all of them with the book closed.

    On a task the win rate is the share of the other contestants whose mean score is lower, ties one half (HELM,
    arXiv:2211.09110). It needs no common scale of the tasks; it depends on who takes part. The interval is that of
    the resamples in which all contestants meet the same draws, and there is none below `statistics.FEWEST_CLUSTERS`
    effective clusters in any of the tasks. Ranks hold together: on a single task they are those of its paired tests
    (Holm), else they follow intervals of the differences in win rate that all pairs share (Bonferroni).
    """

    def __init__(
        self,
        columns: dict[TaskName, Column],
        tests: dict[TaskName, Tests | None],
        resamples: int,
        apart: frozenset[str] = frozenset(),
    ) -> None:
        shared = set.intersection(*(set(c.ranked) for c in columns.values())) - apart
        self.names = tuple(sorted(shared)) if len(shared) > 1 else ()
        self.estimates: dict[str, schema.Estimate] = {}
        self.rank: dict[str, schema.Rank] = {}
        if not self.names:
            return
        values, draws = [], []
        for column in columns.values():
            scores = column.main[[column.row[name] for name in self.names]]
            drawn = statistics.bootstrap_means(scores, column.clusters, resamples=resamples, seed=column.seed)
            values.append(win_rates(statistics.means(scores)))
            draws.append(win_rates(drawn))
        self._draws = np.mean(draws, axis=0)
        self._groups = min(column.clusters.effective() for column in columns.values())
        found = statistics.intervals(np.mean(values, axis=0), self._draws, self._groups)
        n = sum(len(column.samples) for column in columns.values())
        self.estimates = {name: estimate(i, n) for name, i in zip(self.names, found, strict=True)}
        self._only = next(iter(tests.values())) if len(tests) == 1 else None
        self.rank = self._only.rank if self._only else {name: self._place(name) for name in self.names}

    def tied(self, one: str, other: str) -> bool:
        """Whether no significant difference was found."""
        if self._only:
            return self._only.tied(one, other)
        i, j = self.names.index(one), self.names.index(other)
        gap = self._draws[[i]] - self._draws[[j]]
        level = 1 - ALPHA / len(statistics.pairs(len(self.names)))
        (limits,) = statistics.intervals(gap.mean(axis=1), gap, self._groups, level=level)
        return not (limits.low > 0 or limits.high < 0)

    def _place(self, name: str) -> schema.Rank:
        """Places left by the differences to the others that are clear of 0."""
        apart = [other for other in self.names if other != name and not self.tied(name, other)]
        own = self._draws[self.names.index(name)].mean()
        above = sum(self._draws[self.names.index(other)].mean() > own for other in apart)
        return schema.Rank(best=1 + int(above), worst=len(self.names) - (len(apart) - int(above)))
