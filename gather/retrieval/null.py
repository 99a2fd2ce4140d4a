"""What evidence weights look like to genes drawn at random: the null distribution behind every p-value.

The statistic of a query is ``sum_i w_i W[g_i, c]``. Under the null its genes are drawn one after the other from the
measured ones, none twice, each as likely among those left as the background says (uniformly without one). Its
distribution has two parts. The shape is convolved on a grid, from parts that are taken as independent: the draws,
rank by rank, or, where that is nearer to the true variance, the genes, each drawn at most once. The mean and the
variance are those of draws without replacement: with a background, by the exponential clocks that order the genes
as such draws do (gene g rings at rate background[g]; the first q to ring are drawn).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from gather.retrieval.metapaths import Sparse

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]

P_FLOOR = 1e-12
"""Least p-value: rounding of the transforms hides what is smaller."""
BINS = 1024
"""Grid steps over the range of the statistic; as many again keep the transform from folding over."""
_REACH = 14.0
"""Standard deviations of the statistic that the range holds at least."""
_ALIKE = 0.85
"""Ranks whose weights differ by less share one transform."""
_PLAIN = 1.01
"""A stretch below it is left out: it would move the few values of a short list past themselves."""
_CROWDED = 1.1
"""Independent draws vary so many times more than the true ones where a list takes a good part of the panel."""
_COLUMNS = 256
"""Candidates that are transformed at once; bounds memory to some 10 MB an array."""


@dataclass(frozen=True, eq=False)
class Tail:
    """Upper tail of the statistic of one query length, for every candidate.

    The tail of a candidate is convolved when its first p is asked for.

    Attributes
    ----------
    convolve
        Returns ``ln P(S >= k steps)`` of some candidates, float16[columns, 2 * BINS] (within 1 %), not rising, at least
        ``ln P_FLOOR``.
    step, centre, scale, mean
        A statistic x of candidate c lies at ``(centre + (x - mean) * scale) / step`` steps, float64[t] each; what
        is half a step below it still counts as reaching it. A scale of 0 says that the statistic cannot vary.
    some
        Bound on the chance that any drawn gene speaks for c, float64[t]: no p of a statistic above 0 is greater.
    """

    convolve: Callable[[npt.NDArray[np.intp]], npt.NDArray[np.float16]]
    step: Floats
    centre: Floats
    scale: Floats
    mean: Floats
    some: Floats
    _rows: npt.NDArray[np.intp]
    _kept: list[npt.NDArray[np.float16]] = field(default_factory=list, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def log_tail(self, columns: npt.NDArray[np.intp]) -> npt.NDArray[np.float16]:
        """``ln P(S >= k steps)`` of some candidates; each is convolved once."""
        with self._lock:  # threads that label cells share one null
            new = np.unique(columns[self._rows[columns] < 0])
            if len(new):
                self._rows[new] = sum(map(len, self._kept)) + np.arange(len(new))
                self._kept.append(self.convolve(new))
            if len(self._kept) > 1:
                self._kept[:] = [np.concatenate(self._kept)]
            return self._kept[0][self._rows[columns]] if self._kept else np.zeros((0, 2 * BINS), np.float16)

    def p(self, columns: npt.NDArray[np.intp], statistic: Floats) -> Floats:
        """Upper-tail p of one statistic for each of some candidates, in [P_FLOOR, 1]; 1 for a statistic of 0."""
        p = np.ones(len(columns))
        at = np.flatnonzero((statistic > 0) & (self.scale[columns] > 0))
        c = columns[at]
        tail = self.log_tail(c)
        place = (self.centre[c] + (statistic[at] - self.mean[c]) * self.scale[c]) / self.step[c] - 0.5
        last = 2 * BINS - 1
        place = np.clip(place, 0.0, last)
        low = np.minimum(place.astype(np.intp), last - 1)
        part, row = place - low, np.arange(len(c))
        p[at] = np.exp(tail[row, low] * (1.0 - part) + tail[row, low + 1] * part)
        return np.minimum(p, np.where(statistic > 0, self.some[columns], 1.0))

    def critical(self, level: float) -> Floats:
        """The least statistic whose p is at most `level`, float64[t]; infinite where none is."""
        target = np.float64(np.log(level))  # not a plain float: that would be rounded to float16
        tail = self.log_tail(np.arange(len(self.scale)))
        reached = tail <= target
        first = np.argmax(reached, axis=1)
        found = np.full(len(first), np.inf)
        at = np.flatnonzero(reached[np.arange(len(first)), first] & (self.scale > 0))
        after = np.maximum(first[at], 1)
        high, low = (tail[at, k].astype(np.float64) for k in (after - 1, after))
        part = np.divide(high - target, high - low, out=np.zeros(len(at)), where=high > low)
        place = (after - 1 + part + 0.5) * self.step[at] - self.centre[at]
        found[at] = np.where(first[at] > 0, self.mean[at] + place / self.scale[at], 0.0)
        found[(self.some <= level) & (self.scale > 0)] = 0.0
        return np.asarray(np.maximum(found, np.nextafter(0.0, 1.0)), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Null:
    """The statistic of genes drawn at random from the measured ones, none twice.

    Attributes
    ----------
    rows
        Evidence weights of the measured genes, float64 CSR [genes, t].
    chance
        How likely each gene is drawn first, float64[genes], summing to 1; None for all alike.
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

    def moments(self, w: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of the statistic of query weights `w`, float64[t] each."""
        included, first, second = self._drawn(w)
        squares = self.rows.power(2)
        mean = np.asarray(first @ self.rows, dtype=np.float64)
        own, with_count = second - first**2, first * (1.0 - included)
        count = included * (1.0 - included)
        # That count and weights of the draws are fixed takes its part of the independent genes' variance away.
        fixed = np.array([[count.sum(), with_count.sum()], [with_count.sum(), own.sum()]])
        shared = np.stack([with_count @ self.rows, own @ self.rows])
        explained = (shared * (np.linalg.pinv(fixed) @ shared)).sum(axis=0)
        variance = np.maximum(own @ squares - explained, 0.0)
        n = len(included)
        if self.chance is None and n > 1:
            variance = variance * n / (n - 1)
        return mean, np.asarray(variance, dtype=np.float64)

    def p_values(self, statistic: Floats, w: Floats) -> Floats:
        """Upper-tail p of ``sum_i w_i W[g_i, c]`` for query weights `w`, float64[t] in [P_FLOOR, 1].

        1 where no query gene speaks for c. At .05, .01 and .001 the observed rate lies between .8 and 1.25 of the
        nominal one, with two exceptions in docs/results/null.md, and lower for lists of few genes, whose statistic
        takes few values. At .0001 it is a fifth to two thirds for genes drawn uniformly from 200, on the safe side.
        `P_FLOOR` stands for all that is smaller.
        """
        return self.tail(w).p(np.arange(len(statistic)), statistic)

    def critical(self, w: Floats, levels: Floats) -> Floats:
        """The least statistic whose p is at most each level, float64[levels, t]: `p_values` the other way round.

        Where even any statistic above 0 is that rare it is the least positive number; infinite where the
        statistic of c cannot vary, and for levels below `P_FLOOR`.
        """
        return np.stack([self.tail(w).critical(level) for level in levels.tolist()])

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

    def _drawn(self, w: Floats) -> tuple[Floats, Floats, Floats]:
        """By gene: the chance to be drawn, and the mean and mean square of the query weight it gets, float64[genes]."""
        n, q = self.rows.shape[0], len(w)
        if self.chance is None:
            share = 1.0 / max(n, q)
            return np.full(n, q * share), np.full(n, w.sum() * share), np.full(n, (w**2).sum() * share)
        at_rank = _at_rank(self.chance, q)
        return np.minimum(at_rank.sum(axis=0), 1.0), w @ at_rank, w**2 @ at_rank

    def _made(self, w: Floats) -> Tail:
        included, first, _ = self._drawn(w)
        q = max(len(w), 1)
        mean, variance = self.moments(w)
        # A gene that is seen often is drawn early, with a greater weight: its evidence counts for as much more.
        earlier = first / np.maximum(included, 1e-300) / max(float(w.mean()), 1e-300)
        values = sp.csc_array(sp.diags_array(earlier) @ self.rows)
        each = included / q
        one, two = each @ values, each @ values.power(2)
        centre, free = w.sum() * one, (w**2).sum() * np.maximum(two - one**2, 0.0)
        once = (w**2).sum() * two - w.mean() ** 2 * (included**2 @ values.power(2))
        by_gene = (free > _CROWDED * variance) & (once < free)
        free = np.where(by_gene, once, free)
        scale = np.zeros(len(mean))
        varies = (variance > 1e-12 * np.maximum(mean**2, 1e-300)) & (free > 0)
        scale[varies] = np.sqrt(free[varies] / variance[varies])
        scale[varies & (scale < _PLAIN)] = 1.0
        most = np.asarray(values.max(axis=0).todense(), dtype=np.float64).ravel()
        range_ = np.minimum(most * w.sum(), np.maximum(centre + _REACH * np.sqrt(free), 3.0 * most))
        step = np.where(range_ > 0, range_, 1.0) / BINS
        some = np.minimum(included @ (self.rows > 0), 1.0)

        def convolve(columns: npt.NDArray[np.intp]) -> npt.NDArray[np.float16]:
            tails = np.zeros((len(columns), 2 * BINS), np.float16)
            for own, spectrum, chance in ((False, _of_ranks, each), (True, _of_genes, included)):
                places = np.flatnonzero(by_gene[columns] == own)
                for low in range(0, len(places), _COLUMNS):
                    at = places[low : low + _COLUMNS]
                    block = columns[at]
                    tails[at] = _log_tail(spectrum(values[:, block], chance, step[block], w))
            return tails

        rows = np.full(len(mean), -1, np.intp)
        return Tail(convolve, step, centre, scale, mean, some, rows)


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


def _of_ranks(values: Sparse, each: Floats, step: Floats, w: Floats) -> Complexes:
    """Transform of independent draws with weights `w`, complex128[columns, BINS + 1]."""
    size, columns = 2 * BINS, values.shape[1]
    column = np.repeat(np.arange(columns), np.diff(values.indptr))
    once = _binned(column, values.data / step[column], each[values.indices], (columns, size))
    once[:, 0] += 1.0 - once.sum(axis=1)
    spectrum = np.ones((columns, size // 2 + 1), np.complex128)
    for group in _alike(w):
        moved = np.arange(size) * float(np.mean(group))
        low = moved.astype(np.intp)
        places = np.concatenate([low, np.minimum(low + 1, size - 1)])
        shares = np.concatenate([1.0 - (moved - low), moved - low])
        shrink = sp.csr_array((shares, (np.tile(np.arange(size), 2), places)), shape=(size, size))
        spectrum *= np.fft.rfft(once @ shrink, axis=1) ** len(group)
    return spectrum


def _of_genes(values: Sparse, included: Floats, step: Floats, w: Floats) -> Complexes:
    """Transform of genes that are each drawn or not, at any rank, complex128[columns, BINS + 1]."""
    size, columns = 2 * BINS, values.shape[1]
    spectrum = np.ones((columns, size // 2 + 1), np.complex128)
    for column in range(columns):
        span = slice(values.indptr[column], values.indptr[column + 1])
        chance, place = included[values.indices[span]], values.data[span] / step[column]
        gene = np.repeat(np.arange(len(place)), len(w))
        drawn = _binned(
            gene, np.outer(place, w).ravel(), np.repeat(chance / len(w), len(w)), (len(place), size)
        )
        drawn[:, 0] += 1.0 - chance
        spectrum[column] = np.fft.rfft(drawn, axis=1).prod(axis=0)
    return spectrum


def _log_tail(spectrum: Complexes) -> npt.NDArray[np.float16]:
    """``ln P(S >= k steps)`` of a transformed distribution, float16[columns, 2 * BINS]."""
    density = np.fft.irfft(spectrum, 2 * BINS, axis=1)
    tail = np.cumsum(density[:, ::-1], axis=1)[:, ::-1]
    falling = np.minimum.accumulate(np.clip(tail, P_FLOOR, 1.0), axis=1)
    return np.log(falling).astype(np.float16)


def _binned(row: npt.NDArray[np.intp], place: Floats, share: Floats, shape: tuple[int, int]) -> Floats:
    """Histogram by row; what falls between two places is split by nearness, so that means stay."""
    low = np.minimum(place.astype(np.intp), shape[1] - 2)
    part = np.minimum(place - low, 1.0)
    flat = np.concatenate([row * shape[1] + low, row * shape[1] + low + 1])
    counts = np.bincount(flat, np.concatenate([share * (1.0 - part), share * part]), shape[0] * shape[1])
    return np.asarray(counts, dtype=np.float64).reshape(shape)


def _alike(w: Floats) -> list[list[float]]:
    """The weights, greatest first, in runs within a factor of `_ALIKE`."""
    groups: list[list[float]] = []
    for weight in sorted(w.tolist(), reverse=True):
        if groups and weight > _ALIKE * groups[-1][0]:
            groups[-1].append(weight)
        else:
            groups.append([weight])
    return groups
