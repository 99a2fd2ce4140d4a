"""Intervals, tests and ranks from per-sample scores; arrays in, arrays out.

Scores are ``float64[m, n]``: a row a contestant, a column a sample (epochs already averaged), NaN where a
sample is unscored. Samples fall into clusters (a paper, a lineage, a perturbed gene) that are resampled
whole, with the same draws for every contestant, so that differences keep the pairing. Everything below
works on the per-cluster sums: a mean under resampling is a ratio of two weighted sums over clusters.

Methods: cluster bootstrap with the expanded percentile interval of Hesterberg (2015,
doi:10.1080/00031305.2015.1089789) and the effective number of clusters of Kish (1965); sign-flip
permutation over clusters; rank intervals from all pairwise tests (Mogstad et al. 2024,
doi:10.1093/restud/rdad006); Clopper and Pearson (1934); Wilson (1927). Holm's correction is in
`gather.metrics.multiple_testing`, McNemar's test in `gather.metrics.labels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from gather.metrics import multiple_testing

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEVEL = 0.95
"""Of intervals."""
HALVES = 200
"""Of the clusters, drawn for the reliability."""
EXHAUSTIVE_CLUSTERS = 13
"""Up to this many clusters all 2^G sign patterns are tried, so the test is exact."""
FEWEST_CLUSTERS = 10
"""Effective clusters below which a bootstrap says nothing reliable, so that no interval is given."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """Which cluster each sample belongs to."""

    names: tuple[str, ...]
    """Ascending."""
    index: Ints
    """int64[n]: position in `names` of each sample's cluster."""

    @classmethod
    def of(cls, labels: Sequence[str]) -> Clusters:
        """Group samples by label, clusters in ascending order of name."""
        names = tuple(sorted(set(labels)))
        position = {name: i for i, name in enumerate(names)}
        return cls(names, np.array([position[label] for label in labels], dtype=np.int64))

    def sums(self, values: Floats) -> Floats:
        """Sum columns by cluster: float64[..., n] to float64[..., G]."""
        flat = values.reshape(-1, values.shape[-1])
        total = np.zeros((len(flat), len(self.names)))
        for row, out in zip(flat, total, strict=True):
            out[:] = np.bincount(self.index, weights=row, minlength=len(self.names))
        return total.reshape(*values.shape[:-1], len(self.names))

    def effective(self) -> float:
        """Number of equal clusters that would carry the same information, (Σ n_g)² / Σ n_g²."""
        sizes = np.bincount(self.index, minlength=len(self.names)).astype(float)
        return float(sizes.sum() ** 2 / (sizes**2).sum()) if sizes.size else 0.0

    def weights(self, resamples: int, seed: int) -> Floats:
        """How often each cluster is drawn in each bootstrap resample, float64[G, resamples].

        The draws depend on the number of clusters and the seed only, so every contestant meets the same ones.
        """
        groups = len(self.names)
        rng = np.random.default_rng(seed)
        return rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples).T.astype(np.float64)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence limits; NaN where nothing was scored."""

    value: float
    low: float
    high: float


def finite(value: float | None) -> float | None:
    """Round to six digits; None for what is not a number."""
    return None if value is None or not np.isfinite(value) else round(float(value), 6)


def probability(p: float | None) -> float | None:
    """Round a p-value to six significant digits, so that a small one is never 0; None for what is not a number."""
    return None if p is None or not np.isfinite(p) else float(f"{p:.6g}")


def means(scores: Floats) -> Floats:
    """Mean of the scored samples, float64[m]; NaN for a row without any."""
    scored = np.isfinite(scores)
    count = scored.sum(axis=-1)
    total = np.where(scored, scores, 0.0).sum(axis=-1)
    return _ratio(total, count)


def bootstrap_means(scores: Floats, clusters: Clusters, *, resamples: int, seed: int) -> Floats:
    """Mean of each row under each resample of the clusters, float64[m, resamples]."""
    scored = np.isfinite(scores)
    weights = clusters.weights(resamples, seed)
    total = clusters.sums(np.where(scored, scores, 0.0)) @ weights
    count = clusters.sums(scored.astype(float)) @ weights
    return _ratio(total, count)


def _ratio(total: Floats, count: Floats) -> Floats:
    ratio: Floats = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return ratio


def expanded_tail(level: float, groups: float) -> float:
    """Tail to read off each end of a bootstrap of `groups` clusters so that it covers `level`.

    The percentile interval is too short by the factor sqrt((G-1)/G) and uses normal rather than t
    quantiles; this widens it by both (Hesterberg 2015).
    """
    tail = (1 - level) / 2
    if groups <= 1:
        return 0.0
    return float(stats.norm.cdf(np.sqrt(groups / (groups - 1)) * stats.t.ppf(tail, groups - 1)))


def intervals(
    estimates: Floats,
    draws: Floats,
    groups: float,
    *,
    level: float = LEVEL,
    bounds: tuple[float, float] | None = None,
) -> list[Interval]:
    """Expanded percentile interval of each row of ``draws[m, resamples]`` around its estimate.

    Clusters that all score alike say nothing of the spread. With `bounds`, the least and greatest score of a
    cluster, the exact binomial limit then holds (Clopper and Pearson 1934): a share of at most
    ``1 - tail ** (1 / groups)`` of all clusters is unlike these, and may score anything in the bounds. Limits are NaN
    where there are fewer than `FEWEST_CLUSTERS` effective clusters.
    """
    tail = expanded_tail(level, groups)
    unlike = 1 - ((1 - level) / 2) ** (1 / groups) if groups > 0 else 1.0
    found = []
    for estimate, row in zip(estimates, draws, strict=True):
        finite = row[np.isfinite(row)]
        if groups < FEWEST_CLUSTERS - 1e-9 or not finite.size or not np.isfinite(estimate):
            found.append(Interval(float(estimate), float("nan"), float("nan")))
            continue
        if bounds is not None and np.ptp(finite) < 1e-12:
            low, high = (estimate + unlike * (end - estimate) for end in bounds)
        else:
            low, high = np.quantile(finite, [tail, 1 - tail])
        found.append(Interval(float(estimate), float(low), float(high)))
    return found


def mean_intervals(
    scores: Floats, clusters: Clusters, *, resamples: int = 2000, seed: int = 0
) -> list[Interval]:
    """Mean of each row of ``scores[m, n]`` with its cluster-bootstrap interval; NaN where one cluster has scores."""
    draws = bootstrap_means(scores, clusters, resamples=resamples, seed=seed)
    found = intervals(means(scores), draws, clusters.effective(), bounds=(0.0, 1.0))
    scored = (clusters.sums(np.isfinite(scores).astype(float)) > 0).sum(axis=-1)
    unknown = float("nan")
    return [i if n > 1 else Interval(i.value, unknown, unknown) for i, n in zip(found, scored, strict=True)]


def wilson(successes: int, n: int) -> Interval:
    """Wilson's score interval of a rate; NaN for n = 0."""
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    limits = stats.binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return Interval(successes / n, float(limits.low), float(limits.high))


def pairs(contestants: int) -> list[tuple[int, int]]:
    """All pairs (i, j) with i < j."""
    return [(i, j) for i in range(contestants) for j in range(i + 1, contestants)]


def sign_patterns(groups: int, flips: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Signs ±1, float32[groups, patterns]: all of them for few clusters, else `flips` random ones."""
    if groups <= EXHAUSTIVE_CLUSTERS:
        codes = np.arange(2**groups, dtype=np.int64)
        bits = (codes[None, :] >> np.arange(groups)[:, None]) & 1
        return (2 * bits - 1).astype(np.float32)
    return (2 * rng.integers(0, 2, size=(groups, flips), dtype=np.int8) - 1).astype(np.float32)


def sign_flip_p(differences: Floats, *, flips: int = 10_000, seed: int = 0, chunk: int = 4096) -> Floats:
    """Two-sided p of "no difference" for cluster sums of paired differences, float64[P] from float64[P, G].

    Under the null a cluster's difference is as likely with the other sign; p is the share of sign patterns
    whose total is at least as far from 0 as the observed one, the observed pattern among them. A row with a NaN
    is no test: its p is NaN.
    """
    observed = np.abs(differences.sum(axis=1))
    # float32 sums of n terms err by about n·2^-24 of their absolute total; ties must count as "at least as
    # far".
    slack = 1e-5 * np.abs(differences).sum(axis=1) + 1e-12
    table = differences.astype(np.float32)
    rng = np.random.default_rng(seed)
    groups = differences.shape[1]
    exact = groups <= EXHAUSTIVE_CLUSTERS
    reached = np.zeros(len(differences), dtype=np.int64)
    done = 0
    while done < flips:
        signs = sign_patterns(groups, min(chunk, flips - done), rng)
        reached += (np.abs(table @ signs) >= (observed - slack)[:, None]).sum(axis=1)
        done += signs.shape[1]
        if exact:
            break
    p = reached / done if exact else (reached + 1) / (done + 1)
    return np.where(np.isnan(observed), np.nan, p)


def holm(p: Floats) -> Floats:
    """Holm's adjusted p-values in the order given; NaN stay NaN and do not count as tests."""
    adjusted = np.full(p.shape, np.nan)
    tested = np.isfinite(p)
    adjusted[tested] = multiple_testing.holm(p[tested])
    return adjusted


@dataclass(frozen=True, slots=True)
class Paired:
    """All pairwise comparisons of one column of the leaderboard; arrays run over `pairs(m)`."""

    pairs: tuple[tuple[int, int], ...]
    difference: Floats
    """Mean of (first - second) over the samples that both have scored, float64[P]."""
    low: Floats
    high: Floats
    p: Floats
    p_holm: Floats
    detectable: Floats
    """Smallest true difference found with 80 % power at the 5 % level, float64[P]; NaN where no interval is."""
    common: Ints
    """Samples that both have scored, int64[P]."""


POWER = 0.8
FLIPS = 10_000


@dataclass(frozen=True, slots=True)
class Block:
    """Scores of one task, as part of a comparison."""

    scores: Floats
    """float64[m, n]; NaN where unscored."""
    clusters: Clusters
    seed: int = 0


def effective_clusters(blocks: Sequence[Block]) -> float:
    """Effective number of clusters of all blocks together."""
    return sum(block.clusters.effective() for block in blocks)


def paired_tests(blocks: Sequence[Block], *, resamples: int = 2000, seed: int = 0) -> Paired:
    """Compare every two contestants: difference, interval, sign-flip p, Holm over all pairs.

    With several blocks the statistic is the sum of the blocks' mean differences, each over the
    samples that both have scored; clusters keep to their block. The number of flips grows with the number
    of pairs so that Holm's smallest threshold stays reachable.
    """
    which = pairs(len(blocks[0].scores))
    if not which:
        none = np.empty(0)
        return Paired((), none, none, none, none, none, none, np.empty(0, dtype=np.int64))
    parts = [_gaps(block, which, resamples) for block in blocks]
    table = np.concatenate([totals for totals, _, _ in parts], axis=1)
    draws = np.sum([drawn for _, drawn, _ in parts], axis=0)
    common = np.sum([n for _, _, n in parts], axis=0)
    # A pair without a common sample in some block has no overall difference.
    possible = np.all([n > 0 for _, _, n in parts], axis=0)
    difference = np.where(possible, table.sum(axis=1), np.nan)
    most = float(len(blocks))  # scores lie in 0..1, a sum of differences in -blocks..blocks
    limits = intervals(difference, draws, effective_clusters(blocks), bounds=(-most, most))
    p = sign_flip_p(table, flips=max(FLIPS, 100 * len(which)), seed=seed)
    p = np.where(possible, p, np.nan)
    spread = np.array([row[np.isfinite(row)].std() if np.isfinite(row).any() else np.nan for row in draws])
    reach = stats.norm.ppf(1 - (1 - LEVEL) / 2) + stats.norm.ppf(POWER)
    low, high = (np.array([getattr(limit, end) for limit in limits]) for end in ("low", "high"))
    detectable = np.where(np.isfinite(low), reach * spread, np.nan)
    return Paired(tuple(which), difference, low, high, p, holm(p), detectable, common)


def _gaps(block: Block, which: Sequence[tuple[int, int]], resamples: int) -> tuple[Floats, Floats, Ints]:
    """Per pair: cluster shares of the mean difference [P, G], its draws [P, resamples], common
    samples.
    """
    first, second = np.array(which).T
    gaps = block.scores[first] - block.scores[second]
    scored = np.isfinite(gaps)
    totals = block.clusters.sums(np.where(scored, gaps, 0.0))
    counts = block.clusters.sums(scored.astype(float))
    weights = block.clusters.weights(resamples, block.seed)
    draws = _ratio(totals @ weights, counts @ weights)
    common = scored.sum(axis=1).astype(np.int64)
    return totals / np.maximum(common, 1)[:, None], draws, common


def rank_intervals(paired: Paired, contestants: int, *, alpha: float = 0.05) -> list[tuple[int, int]]:
    """Best and worst rank each contestant can hold, given which pairwise differences are significant.

    Holm over all pairs bounds the chance of any false difference by `alpha`, so all rank intervals hold
    together with probability 1 - alpha.
    """
    better = np.zeros(contestants, dtype=int)
    worse = np.zeros(contestants, dtype=int)
    for (i, j), difference, p in zip(paired.pairs, paired.difference, paired.p_holm, strict=True):
        if not p <= alpha:
            continue
        winner, loser = (i, j) if difference > 0 else (j, i)
        better[loser] += 1
        worse[winner] += 1
    return [(int(1 + b), int(contestants - w)) for b, w in zip(better, worse, strict=True)]


@dataclass(frozen=True, slots=True)
class BradleyTerry:
    """Strengths from per-sample comparisons; derived from scores, not from human preference."""

    strength: Floats
    """Probability of beating an average contestant (the geometric mean of strengths), float64[m]."""
    win_rate: Floats
    """Share of comparisons won, a tie counting one half, float64[m, m]; NaN on the diagonal."""


def bradley_terry(scores: Floats, *, margin: float = 1e-9) -> BradleyTerry:
    """Fit Bradley-Terry to every comparison of two contestants on one sample.

    Differences of at most `margin` are ties (half a win each). One draw of every pair is added, so that a
    contestant that always wins still has a finite strength.
    """
    import evalica
    import pandas as pd

    m = len(scores)
    rate = np.full((m, m), np.nan)
    xs: list[int] = []
    ys: list[int] = []
    winners: list[object] = []
    weights: list[float] = []
    for i, j in pairs(m):
        gap = scores[i] - scores[j]
        gap = gap[np.isfinite(gap)]
        wins, losses = int((gap > margin).sum()), int((gap < -margin).sum())
        ties = len(gap) - wins - losses
        if len(gap):
            rate[i, j] = (wins + ties / 2) / len(gap)
            rate[j, i] = 1 - rate[i, j]
        for winner, count in (
            (evalica.Winner.X, wins),
            (evalica.Winner.Y, losses),
            (evalica.Winner.Draw, ties + 1),
        ):
            xs.append(i)
            ys.append(j)
            winners.append(winner)
            weights.append(float(count))
    if m < 2:
        return BradleyTerry(np.full(m, 0.5), rate)
    index = pd.Index(range(m))
    fit = evalica.bradley_terry(xs, ys, winners, index=index, weights=weights, limit=1000)
    raw = np.log(fit.scores.reindex(range(m)).to_numpy(dtype=float))
    return BradleyTerry(1 / (1 + np.exp(-(raw - raw.mean()))), rate)


def split_half_reliability(scores: Floats, clusters: Clusters, *, seed: int = 0) -> float:
    """Mean correlation of the contestants' means between random halves of the clusters, stepped up to full
    length.

    Spearman-Brown: r_full = 2 r / (1 + r). How well this benchmark orders these contestants; NaN for under
    three contestants or two clusters.
    """
    groups = len(clusters.names)
    if len(scores) < 3 or groups < 2:
        return float("nan")
    scored = np.isfinite(scores)
    totals = clusters.sums(np.where(scored, scores, 0.0))
    counts = clusters.sums(scored.astype(float))
    rng = np.random.default_rng(seed)
    half = np.zeros((groups, HALVES))
    for column in range(HALVES):
        half[rng.permutation(groups)[: groups // 2], column] = 1
    a = _ratio(totals @ half, counts @ half)
    b = _ratio(totals @ (1 - half), counts @ (1 - half))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    r = _ratio((a * b).sum(axis=0), np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0)))
    r = r[np.isfinite(r)]
    return float(2 * r.mean() / (1 + r.mean())) if r.size else float("nan")
