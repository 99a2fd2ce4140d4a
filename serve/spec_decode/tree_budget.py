"""How large this round's trees should be: measured costs against measured acceptance.

A node is worth verifying while the tokens it brings per millisecond are above those of the round without it.
The cost of a forward pass by its number of rows is learned from the engine's own rounds. The chance that a
node is accepted from what became of nodes that were drafted with the same confidence. Nothing worth drafting
is an empty tree: the round is then plain decoding. Now and then a small tree is tried all the same, so that
both estimates stay fresh.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serve.spec_decode.tree import Candidates, keep, path_chances

Float64 = npt.NDArray[np.float64]

# Shape of the cost curve before anything is measured: rows -> cost over one row (float16 weights, a 2-core
# CPU).
_PRIOR = {1: 1.0, 2: 1.1, 4: 1.2, 8: 1.6, 16: 2.2, 32: 3.8, 64: 6.5, 128: 12.0, 512: 45.0}


class CostCurve:
    """Milliseconds of a forward pass by its rows: a prior shape, scaled to all passes seen, bent by those of a size.

    A size is trusted as far as it was measured recently. The shape counts as `prior` passes of it, fewer the more
    passes there were, and none from twice as many on. Its older passes fade by `memory` with each new one of its own,
    and more slowly, by `others`, with those of other sizes. So one slow first pass on a busy machine does not exclude
    a size and all larger ones. An excluded size is tried again. The cost without drafts is kept up to date while
    drafts pay.
    """

    memory, others, prior = 0.99, 0.996, 5.0

    def __init__(self) -> None:
        self._weight: dict[int, float] = {}
        self._ratio: dict[int, float] = {}  # sums of measured over prior shape

    @staticmethod
    def bucket(rows: int) -> int:
        """Bucket of a number of rows: exact up to 8, then steps of about a fifth."""
        return rows if rows <= 8 else round(8 * 1.2 ** round(math.log(rows / 8, 1.2)))

    def add(self, rows: int, ms: float) -> None:
        """Take in one measured pass; it counts as at most twice what was expected."""
        if self._weight:
            ms = min(ms, 2 * float(self(np.array([rows]))[0]))
        key = self.bucket(rows)
        for known in self._weight:
            fade = self.memory if known == key else self.others
            self._weight[known] *= fade
            self._ratio[known] *= fade
        self._weight[key] = self._weight.get(key, 0.0) + 1.0
        self._ratio[key] = self._ratio.get(key, 0.0) + ms / float(_shape(np.array([rows]))[0])

    def __call__(self, rows: npt.NDArray[np.int64]) -> Float64:
        """Milliseconds for each number of rows, never falling; the prior's shape alone before anything is measured."""
        shape = _shape(rows)
        if not self._weight:
            return shape
        known = sorted(self._weight)
        level = sum(self._ratio.values()) / sum(self._weight.values())
        trust = {k: max(0.0, self.prior - self._weight[k] / 2) for k in known}
        bent = [(self._ratio[k] + trust[k] * level) / (self._weight[k] + trust[k]) for k in known]
        # Interpolating the ratio to the shape keeps its curvature between measured sizes and beyond them.
        rising: Float64 = np.maximum.accumulate(np.interp(rows, known, bent) * shape)
        return rising


def _shape(rows: npt.NDArray[np.int64]) -> Float64:
    return np.interp(rows, list(_PRIOR), list(_PRIOR.values()))


class Calibration:
    """Chance that a drafted node is accepted once its parent was, by the confidence it was drafted with.

    Ten bins of confidence, each beginning at its own middle with the weight of `prior` observations.
    """

    bins, prior, memory = 10, 10.0, 0.995

    def __init__(self) -> None:
        middle = (np.arange(self.bins) + 0.5) / self.bins
        self.hits, self.seen = self.prior * middle, np.full(self.bins, self.prior)

    def _bin(self, confidence: Float64) -> npt.NDArray[np.int64]:
        return np.minimum((confidence * self.bins).astype(np.int64), self.bins - 1)

    def __call__(self, confidence: Float64) -> Float64:
        """Calibrated chances, float64[n]: the confidence scaled by its bin's hit rate over the bin's middle."""
        which = self._bin(confidence)
        rate = self.hits / self.seen
        middle = (which + 0.5) / self.bins
        calibrated: Float64 = np.clip(confidence * rate[which] / middle, 1e-4, 0.999)
        return calibrated

    def add(self, confidence: Float64, accepted: npt.NDArray[np.bool_]) -> None:
        """Record nodes with an accepted parent."""
        for which, hit in zip(self._bin(confidence), accepted, strict=True):
            self.hits[which] = self.memory * self.hits[which] + hit
            self.seen[which] = self.memory * self.seen[which] + 1


class Levels:
    """Number of tokens that a head drafts: those that its likeliest path reaches with a chance of `least`, and one
    more. That one shows whether the path now reaches further. What no tree would keep need not be computed.
    """

    memory = 0.95

    def __init__(self, most: int, least: float) -> None:
        self.most, self.least = most, least
        self._reached = np.ones(most)  # by the head's own confidence, fading mean
        self._rounds = 0

    @property
    def count(self) -> int:
        """Levels of the next round, 1 to `most`."""
        short = np.flatnonzero(self._reached < self.least)
        return min(self.most, int(short[0]) + 1) if len(short) else self.most

    def add(self, chance: Float64) -> None:
        """Take in the chances float64[B, levels, K] of one round."""
        path = chance.max(-1).cumprod(-1).mean(0)
        self._rounds += 1
        new = max(1 - self.memory, 1 / self._rounds)
        self._reached[: len(path)] += new * (path - self._reached[: len(path)])


TRIAL = 96
"""Drafts, one a request and round, after which a head has shown what it brings."""
WORTH = 0.01
"""The share of speed that a head must bring to be kept."""
BURST, LEAST_PAUSE, LOSS = 4, 16, 0.005
"""Rounds for which another way is tried again, the fewest rounds between, and the share of speed that trying may cost.
"""


class Trial:
    """Whether a head pays: what `TRIAL` drafts with it brought and cost, and what the same rounds had been without it.

    Both sides see the same texts and the same busy moments. So a difference of a few per cent shows in some dozen
    rounds, where rounds with the head and rounds without it would need thousands. Later rounds with the head are
    counted on, so that a verdict by luck does not last.
    """

    def __init__(self) -> None:
        self._left = TRIAL
        self._with, self._without = np.zeros(2), np.zeros(2)  # tokens and milliseconds

    @property
    def open(self) -> bool:
        """Whether the head has drafts left to show what it brings."""
        return self._left > 0

    @property
    def lost(self) -> bool:
        """Whether the head brings less than `WORTH` of the tokens a millisecond that there had been without it."""
        (tokens, ms), (tokens_without, ms_without) = self._with, self._without
        return bool(tokens * ms_without < (1 + WORTH) * tokens_without * ms)

    def add(self, drafts: int, given: tuple[float, float], without: tuple[float, float]) -> None:
        """Take in tokens and milliseconds of a round of `drafts`, as it was and as it had been without the head."""
        self._left -= drafts
        self._with += given
        self._without += without


class Arms:
    """Which way of drafting brings the most tokens a millisecond, by what the rounds so far brought.

    Way 0 is not to draft at all. Rates are kept for each number of requests that decode together, in powers of two. A
    batch that shrinks request by request is then not new each time. Every way is known from `tries` drafts, one a
    request and round, the richest first: one round brings a single token or six. A round with drafts also tells what it
    had been without them, on the same text and at the same speed of the machine. So way 0 need not be tried. Later the
    others are tried again in bursts, the less they seem to lose the sooner: all bursts of a way cost about `LOSS` of
    the speed. Every round fades what is known of all ways, so a burst counts the more, the older the rest is, and a
    text of another kind is soon noticed.
    The first round after a change of method is not counted. In it the head computes all rows that were committed
    without it, a cost that comes once and not every round.
    """

    tries, memory = 32, 0.98

    def __init__(self, ways: int) -> None:
        self.ways = ways
        self._rates: dict[int, _Rates] = {}
        self._rounds = 0

    @staticmethod
    def _band(requests: int) -> int:
        return (requests - 1).bit_length()

    def pick(self, requests: int) -> int:
        """Choose the way of the next round."""
        rates = self._rates.get(self._band(requests))
        if rates is None:
            return self.ways - 1
        for way in reversed(range(self.ways)):
            if rates.drafts[way] < self.tries:
                return way
        self._rounds += 1
        speed = self._speed(rates)
        best = int(np.argmax(speed))
        if rates.burst and rates.last < self.ways:
            rates.burst -= 1
            return rates.last
        pause = np.maximum(LEAST_PAUSE, BURST / LOSS * (1 - speed / speed[best]))
        longest = int(np.argmax(np.where(np.arange(self.ways) == best, 0.0, rates.idle[: self.ways] / pause)))
        if longest == best or rates.idle[longest] < pause[longest]:
            return best
        rates.burst = BURST - 1
        return longest

    def _speed(self, rates: _Rates) -> Float64:
        """Tokens a millisecond of each way."""
        speed: Float64 = rates.tokens[: self.ways] / rates.ms[: self.ways]
        return speed

    def add(self, way: int, requests: int, tokens: int, ms: float, plain_ms: float | None = None) -> None:
        """Take in what one round of a way brought; `plain_ms` is what one with drafts had taken without them."""
        rates = self._rates.setdefault(self._band(requests), _Rates.none(self.ways))
        rates.idle += 1
        rates.idle[way] = 0
        new, rates.last = rates.last != way and rates.last >= 0, way
        if new:
            return
        rates.drafts[way] += requests
        if rates.rounds.any():  # a busy moment of the machine is not the way's fault
            most = 2 * float(rates.ms.sum() / rates.rounds.sum())
            ms, plain_ms = min(ms, most), None if plain_ms is None else min(plain_ms, most)
        # A ratio of sums: the mean of per-round ratios would favour whatever had one lucky fast round.
        fade = np.where(rates.rounds > 1, self.memory, 1.0)  # of a way that is not taken, a round stays
        brought = {way: (tokens, ms)}
        if plain_ms is not None:
            brought[0] = (requests, plain_ms)
            rates.drafts[0] += requests
            rates.idle[0] = 0
        for sums in (rates.tokens, rates.ms, rates.rounds):
            sums *= fade
        for one, (more, took) in brought.items():
            rates.tokens[one] += more
            rates.ms[one] += took
            rates.rounds[one] += 1


@dataclass(slots=True)
class _Rates:
    """Of each way: fading sums of tokens, milliseconds and rounds, its drafts, and the rounds since it was taken.

    `last` is the way taken last; it is taken for `burst` more rounds.
    """

    tokens: Float64
    ms: Float64
    rounds: Float64
    drafts: npt.NDArray[np.int64]
    idle: npt.NDArray[np.int64]
    last: int = -1
    burst: int = 0

    @classmethod
    def none(cls, ways: int) -> _Rates:
        tokens, ms, rounds = np.zeros((3, ways))
        drafts, idle = np.zeros((2, ways), np.int64)
        return cls(tokens, ms, rounds, drafts, idle)


def choose(
    candidates: Sequence[Candidates],
    budgets: Sequence[int],
    cost: CostCurve,
    overhead_ms: float,
    *,
    nodes: int | None = None,
    least: int = 0,
) -> list[Candidates]:
    """Cut every request's tree to what is worth verifying together in one pass.

    Parameters
    ----------
    candidates
        One tree per request with calibrated chances.
    budgets
        The most nodes each may have.
    cost
        Milliseconds by rows.
    overhead_ms
        Milliseconds of a round that do not depend on the tree (choosing, reporting).
    nodes
        A fixed number of nodes per request instead of a measured one.
    least
        Draft at least this many nodes in all, to keep the estimates fresh.
    """
    values = [path_chances(c) for c in candidates]
    # A child is never worth more than its parent; equal worth keeps the tree's order, parents first.
    rows = [
        (-v, r, i)
        for r, (value, budget) in enumerate(zip(values, budgets, strict=True))
        for v, i in sorted(((float(x), i) for i, x in enumerate(value)), key=lambda t: (-t[0], t[1]))[
            : budget if nodes is None else min(budget, nodes)
        ]
    ]
    rows.sort()
    count = len(rows)
    if nodes is None and count:
        gain = np.cumsum([0.0, *(-v for v, _, _ in rows)]) + len(candidates)
        ms = cost(np.arange(len(candidates), len(candidates) + count + 1)) + overhead_ms
        count = max(int(np.argmax(gain / ms)), min(least, count))
    chosen = [np.zeros(len(c), np.bool_) for c in candidates]
    for _, r, i in rows[:count]:
        chosen[r][i] = True
    return [keep(c, mask) for c, mask in zip(candidates, chosen, strict=True)]
