"""What evidence weights look like to genes drawn at random: the null distribution behind every p-value.

The statistic of a query is ``sum_i w_i W[g_i, c]``. Under the null its genes are drawn one after the other from the
measured ones, none twice, each as likely among those left as the background says (uniformly without one). With a
background, exponential clocks order the genes as such draws do: gene g rings at rate background[g], and the first q
to ring are drawn. A background may also say of each rank how likely it holds each gene, as single cells need it: there
the gene that a cell expresses most is seldom another.

The distribution is convolved on a grid from parts that are taken as independent: the few genes that hold much of a
type's weight, each drawn at most once, and for all others the ranks. What it changes that no gene comes twice and no
rank holds two genes is a factor on the tail (`gather.retrieval.none_twice`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Lock

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from gather.retrieval.metapaths import Sparse
from gather.retrieval.none_twice import Draws, factors

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]

P_FLOOR = 1e-12
"""Least p-value: rounding of the transforms hides what is smaller."""
BINS = 2048
"""Grid steps over the range of the statistic; as many again keep the transform from folding over."""
_REACH = 14.0
"""Standard deviations of the statistic that the range holds at least."""
_ALIKE = 0.85
"""Ranks whose weights differ by less share one transform."""
_NOTICED = 0.005
"""Share of the variance that comes of independent parts, and changes a p of 1e-4 by 4 %: less is left as it is."""
_COLUMNS = 256
"""Candidates that are transformed at once; bounds memory to some 20 MB an array."""


@dataclass(frozen=True, eq=False)
class Tail:
    """Upper tail of the statistic of one query length, for every candidate.

    The tail of a candidate is convolved when its first p is asked for.

    Attributes
    ----------
    convolve
        Returns ``ln P(S >= k steps)`` of some candidates, float16[columns, 2 * BINS] (within 1 %), not rising, at least
        ``ln P_FLOOR``.
    step
        A statistic x of candidate c lies at ``x / step[c]`` steps, float64[t]; what is half a step below it still
        counts as reaching it.
    varies
        Whether the statistic can vary, bool[t].
    some
        Bound on the chance that any drawn gene speaks for c, float64[t]: no p of a statistic above 0 is greater.
    """

    convolve: Callable[[npt.NDArray[np.intp]], npt.NDArray[np.float16]]
    step: Floats
    varies: npt.NDArray[np.bool_]
    some: Floats
    _rows: npt.NDArray[np.intp]
    _kept: list[npt.NDArray[np.float16]] = field(default_factory=list, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def log_tail(self, columns: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.intp]]:
        """``ln P(S >= k steps)`` of candidates, and the row of each of `columns` in it; each is convolved once."""
        with self._lock:  # threads that label cells share one null
            new = np.unique(columns[self._rows[columns] < 0])
            if len(new):
                self._rows[new] = sum(map(len, self._kept)) + np.arange(len(new))
                self._kept.append(self.convolve(new))
            if len(self._kept) > 1:
                self._kept[:] = [np.concatenate(self._kept)]
            kept = self._kept[0] if self._kept else np.zeros((0, 2 * BINS), np.float16)
            return kept, self._rows[columns]

    def p(self, columns: npt.NDArray[np.intp], statistic: Floats) -> Floats:
        """Upper-tail p of one statistic for each of some candidates, in [P_FLOOR, 1]; 1 for a statistic of 0."""
        p = np.ones(len(columns))
        at = np.flatnonzero((statistic > 0) & self.varies[columns])
        c = columns[at]
        tail, row = self.log_tail(c)
        place = statistic[at] / self.step[c] - 0.5
        last = 2 * BINS - 1
        place = np.clip(place, 0.0, last)
        low = np.minimum(place.astype(np.intp), last - 1)
        part = place - low
        p[at] = np.exp(tail[row, low] * (1.0 - part) + tail[row, low + 1] * part)
        return np.minimum(p, np.where(statistic > 0, self.some[columns], 1.0))

    def critical(self, levels: Floats) -> Floats:
        """The least statistic whose p is at most each level, float64[levels, t]; infinite where none is."""
        target = np.log(levels)
        tail, row = self.log_tail(np.arange(len(self.step)))
        found = np.full((len(levels), len(row)), np.inf)
        for c in np.flatnonzero(self.varies).tolist():
            rare = -tail[row[c]].astype(np.float64)  # not falling
            first = np.searchsorted(rare, -target)
            at = np.flatnonzero(first < len(rare))
            low = first[at]
            before = np.maximum(low - 1, 0)
            gap = rare[low] - rare[before]
            part = np.divide(-target[at] - rare[before], gap, out=np.zeros(len(at)), where=gap > 0)
            found[at, c] = np.where(low > 0, (low - 0.5 + part) * self.step[c], 0.0)
        found[(self.some <= levels[:, None]) & self.varies] = 0.0
        return np.asarray(np.maximum(found, np.nextafter(0.0, 1.0)), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Null:
    """The statistic of genes drawn at random from the measured ones, none twice.

    Attributes
    ----------
    rows
        Evidence weights of the measured genes, float64 CSR [genes, t].
    chance
        How likely each gene is drawn first, float64[genes], summing to 1, or stands at each rank, float64[ranks,
        genes], each rank summing to 1; None for all alike.
    """

    rows: Sparse
    chance: Floats | None
    _tails: dict[bytes, Tail] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, weights: Sparse, genes: Ints, background: Floats | None = None) -> Null:
        """The null of the measured `genes` (graph nodes) with the rates ``background[genes]``."""
        chance = None if background is None else background[genes]
        total = 0.0 if chance is None else float(chance.sum())
        drawn = None if chance is None or not total > 0 else chance / total
        return cls(sp.csr_array(weights[genes]), drawn)

    def p_values(self, statistic: Floats, w: Floats) -> Floats:
        """Upper-tail p of ``sum_i w_i W[g_i, c]`` for query weights `w`, float64[t] in [P_FLOOR, 1].

        1 where no query gene speaks for c. docs/results/null.md has the observed rates over the nominal ones.
        `P_FLOOR` stands for all that is smaller.
        """
        return self.tail(w).p(np.arange(len(statistic)), statistic)

    def critical(self, w: Floats, levels: Floats) -> Floats:
        """The least statistic whose p is at most each level, float64[levels, t]: `p_values` the other way round.

        Where even any statistic above 0 is that rare it is the least positive number; infinite where the
        statistic of c cannot vary, and for levels below `P_FLOOR`.
        """
        return self.tail(w).critical(levels)

    def p_of_prefixes(
        self, column: int, statistic: Floats, lengths: npt.NDArray[np.integer], ranks: Floats
    ) -> Floats:
        """Upper-tail p for one column and many queries, each with the first `lengths` of the weights `ranks`."""
        p = np.ones(len(statistic))
        for q in np.unique(lengths[lengths > 0]).tolist():
            mine = np.flatnonzero(lengths == q)
            p[mine] = self.tail(ranks[:q]).p(np.full(len(mine), column), statistic[mine])
        return p

    def tail(self, w: Floats) -> Tail:
        """The upper tail for query weights `w`; kept, because most queries have the same length."""
        key = w.tobytes()
        if key not in self._tails:
            self._tails[key] = self._made(w)
        return self._tails[key]

    def _draws(self, w: Floats) -> Draws:
        """The ranks in groups of nearly one weight, with the chance of each gene there."""
        n, groups = self.rows.shape[0], _alike(w)
        size = np.array([len(group) for group in groups], dtype=np.float64)
        weight = np.array([w[group].mean() for group in groups])
        if self.chance is None:
            return Draws(weight, size, np.full((len(groups), n), 1.0 / max(n, len(w))))
        at_rank = _at_rank(self.chance, len(w)) if self.chance.ndim == 1 else self.chance[: len(w)]
        return Draws(weight, size, np.stack([at_rank[group].mean(axis=0) for group in groups]))

    def _made(self, w: Floats) -> Tail:
        draws, values = self._draws(w), sp.csc_array(self.rows)
        expected = draws.size * draws.weight
        mean = (expected @ draws.chance) @ values
        square = ((expected * draws.weight) @ draws.chance) @ values.power(2)
        drawable = draws.chance.max(axis=0) > 0
        most = np.asarray(values.max(axis=0).todense(), dtype=np.float64).ravel()
        unlike = (
            drawable.sum() * most - drawable @ values
        )  # 0 where all genes that can be drawn weigh the same
        varies = (most > 0) & (unlike > 1e-9 * np.maximum(most, 1e-300))
        range_ = np.minimum(most * w.sum(), np.maximum(mean + _REACH * np.sqrt(square), 3.0 * most))
        step = np.where(range_ > 0, range_, 1.0) / BINS
        some = np.minimum((draws.size @ draws.chance) @ (self.rows > 0), 1.0)
        few = len(w) < drawable.sum()

        def convolve(columns: npt.NDArray[np.intp]) -> npt.NDArray[np.float16]:
            blocks = [columns[low : low + _COLUMNS] for low in range(0, len(columns), _COLUMNS)]
            return np.concatenate([_log_tail(values[:, at], draws, step[at], corrected=few) for at in blocks])

        return Tail(convolve, step, varies, some, np.full(len(step), -1, np.intp))


def _at_rank(chance: Floats, q: int) -> Floats:
    """How likely each gene is the i-th drawn, float64[q, genes]: to ring between the expected times of draws i - 1
    and i.
    """
    rate = chance / chance.mean()
    some = int((rate > 0).sum())
    times, time = np.zeros(q + 1), 0.0
    for i in range(1, q + 1):
        for _step in range(60):  # the count is concave in time, so that Newton's steps come from one side
            silent = np.exp(-rate * time)
            missing = min(float(i), some - 1e-6) - float(len(rate) - silent.sum())
            step = missing / max(float((rate * silent).sum()), 1e-300)
            time += step
            if abs(step) < 1e-9 * time:
                break
        times[i] = time
    silent = np.exp(-np.outer(times, rate))
    return np.asarray(silent[:-1] - silent[1:], dtype=np.float64)


def _log_tail(values: Sparse, draws: Draws, step: Floats, *, corrected: bool) -> npt.NDArray[np.float16]:
    """``ln P(S >= k steps)`` of some candidates, float16[columns, 2 * BINS]."""
    column = np.repeat(np.arange(len(step)), np.diff(values.indptr))
    once, excess = _weighty(values, column, draws)
    spectrum = _of_ranks(values, column, draws, step, once) * _of_genes(values, column, draws, step, once)
    density = np.fft.irfft(spectrum, 2 * BINS, axis=1)
    tail = np.cumsum(density[:, ::-1], axis=1)[:, ::-1]
    some = np.flatnonzero(excess > _NOTICED) if corrected else np.zeros(0, np.intp)
    if len(some):
        for c, (at, factor) in zip(
            some, factors(values[:, some], draws, once[np.isin(column, some)]), strict=True
        ):
            tail[c] *= np.exp(np.interp(np.arange(2 * BINS) * step[c], at, factor, left=0.0))
    falling = np.minimum.accumulate(np.clip(tail, P_FLOOR, 1.0), axis=1)
    return np.log(falling).astype(np.float16)


def _weighty(
    values: Sparse, column: npt.NDArray[np.intp], draws: Draws
) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Which genes must not come twice: that matters more than that two genes may share a rank, bool[nnz].

    With it the share of each column's variance that comes of what is then still taken as independent.
    """
    all_ranks, squares, shared = (np.zeros(values.nnz) for _ in range(3))
    for weight, size, chance in zip(*draws, strict=True):
        part = weight * chance[values.indices] * values.data
        together = np.bincount(column, part, values.shape[1])
        all_ranks += size * part
        squares += size * part**2
        shared += size * part * (together[column] - part)
    twice = all_ranks**2 - squares
    once = np.asarray(twice > shared)
    expected = (draws.size * draws.weight**2) @ draws.chance
    square = np.bincount(column, expected[values.indices] * values.data**2, values.shape[1])
    excess = np.bincount(column, np.where(once, shared, twice), values.shape[1])
    return once, excess / np.maximum(square, 1e-300)


def _of_ranks(
    values: Sparse,
    column: npt.NDArray[np.intp],
    draws: Draws,
    step: Floats,
    once: npt.NDArray[np.bool_],
) -> Complexes:
    """Transform of ranks that each hold one of the other genes, or none, complex128[columns, BINS + 1]."""
    shape = (len(step), 2 * BINS)
    of, gene, place = column[~once], values.indices[~once], (values.data / step[column])[~once]
    spectrum = np.ones((len(step), BINS + 1), np.complex128)
    for weight, size, chance in zip(*draws, strict=True):
        held = _binned(of, weight * place, chance[gene], shape)
        held[:, 0] += 1.0 - held.sum(axis=1)
        spectrum *= np.fft.rfft(held, axis=1) ** int(size)
    return spectrum


def _of_genes(
    values: Sparse,
    column: npt.NDArray[np.intp],
    draws: Draws,
    step: Floats,
    once: npt.NDArray[np.bool_],
) -> Complexes:
    """Transform of genes that are each drawn or not, at any rank, complex128[columns, BINS + 1]."""
    spectrum = np.ones((len(step), BINS + 1), np.complex128)
    ends = np.searchsorted(column[once], np.arange(len(step) + 1))
    place, gene = (values.data / step[column])[once], values.indices[once]
    for c, (low, high) in enumerate(pairwise(ends.tolist())):
        if high == low:
            continue
        chance = draws.size[:, None] * draws.chance[:, gene[low:high]]
        row = np.tile(np.arange(high - low), len(draws.size))
        at = (draws.weight[:, None] * place[low:high]).ravel()
        drawn = _binned(row, at, chance.ravel(), (high - low, 2 * BINS))
        drawn[:, 0] += 1.0 - chance.sum(axis=0)
        spectrum[c] = np.fft.rfft(drawn, axis=1).prod(axis=0)
    return spectrum


def _binned(row: npt.NDArray[np.intp], place: Floats, share: Floats, shape: tuple[int, int]) -> Floats:
    """Histogram by row; what falls between two places is split by nearness, so that means stay."""
    low = np.minimum(place.astype(np.intp), shape[1] - 2)
    part = np.minimum(place - low, 1.0)
    flat = np.concatenate([row * shape[1] + low, row * shape[1] + low + 1])
    counts = np.bincount(flat, np.concatenate([share * (1.0 - part), share * part]), shape[0] * shape[1])
    return np.asarray(counts, dtype=np.float64).reshape(shape)


def _alike(w: Floats) -> list[list[int]]:
    """The ranks, greatest weight first, in runs whose weights are within a factor of `_ALIKE`."""
    groups: list[list[int]] = []
    for rank in np.argsort(-w, kind="stable").tolist():
        if groups and w[rank] > _ALIKE * w[groups[-1][0]]:
            groups[-1].append(rank)
        else:
            groups.append([rank])
    return groups
