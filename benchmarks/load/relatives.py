"""What the report of a load holds beside smooth goodput: other penalties of Eq. 10, and related papers' measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from serve.errors import InputError
from serve.goodput import Float64, Slo, Timeline, attainment, met, require_positive


@dataclass(frozen=True, slots=True)
class TpotSlo:
    """Eq. 3: ``d_1 = TTFT``, ``d_n = t_1 + (n - 1) TPOT``: only the first and the last token have a deadline."""

    ttft: float
    tpot: float

    def deadlines(self, times: Float64) -> Float64:
        """Return d_i, float64[n]."""
        due = np.full(len(times), np.inf)
        if len(times) > 1:
            due[-1] = times[0] + (len(times) - 1) * self.tpot
        due[:1] = self.ttft
        return due


@dataclass(frozen=True, slots=True)
class SaturatingPenalty:
    """``f(l) = n (1 - exp(-l / tau)) / alpha``: at most the whole answer is lost, so alpha > 0 plays no part."""

    tau: float = 5.0

    def tokens(self, n: int, idle: float, alpha: float) -> float:
        """Return the tokens lost."""
        return n * -math.expm1(-idle / self.tau) if alpha > 0 else 0.0


@dataclass(frozen=True, slots=True)
class StepPenalty:
    """``f(l) = n [l > 0] / alpha``: all or nothing, which makes smooth goodput the goodput of Eq. 7."""

    def tokens(self, n: int, idle: float, alpha: float) -> float:
        """Return the tokens lost."""
        return float(n) if idle > 0 and alpha > 0 else 0.0


def goodput(timelines: Iterable[Timeline], slo: Slo, window_s: float) -> float:
    """Eq. 7: tokens a second, of the requests that met the SLO."""
    require_positive(window_s=window_s)
    return sum(t.n for t in timelines if met(t, slo)) / window_s


def andes_qoe(timeline: Timeline, *, ttft: float, speed: float) -> float:
    """Quality of experience of Andes (arXiv 2404.16283): 1 - S_delay / S_whole, in [0, 1].

    The expected curve delivers token i at ``ttft + (i - 1) / speed``; the actual one is what the user can
    digest at `speed` tokens a second. Areas are taken until both curves are through, each token as wide as
    its reading time, so that the last token counts too. A request without tokens has 0.
    """
    require_positive(speed=speed)
    if not timeline.n:
        return 0.0
    i = np.arange(timeline.n)
    expected = ttft + i / speed
    # digested_i = max(t_i, digested_{i-1} + 1/speed), written as a running maximum
    digested = np.maximum.accumulate(np.maximum(timeline.times, expected) - i / speed) + i / speed
    end = digested[-1] + 1 / speed
    return float(np.sum(end - digested) / np.sum(end - expected))


def fluidity_index(timeline: Timeline, *, prefill: float, decode: float) -> float:
    """Fluidity index of Etalon (arXiv 2407.07000): deadlines met over all deadlines, in [0, 1].

    Token i (from 0) is due ``prefill + i * decode`` seconds after commitment. A miss at token s moves the
    later deadlines to ``t_s + (i - s) * decode`` and counts ``floor(late / decode) + 1`` missed deadlines,
    all of which are deadlines. A censored request misses every deadline that passed before it ended.
    """
    require_positive(prefill=prefill, decode=decode)
    kept = missed = 0
    due = prefill
    for time in timeline.times:
        if time <= due:
            kept += 1
            due += decode
        else:
            missed += math.floor((time - due) / decode) + 1
            due = time + decode
    waited = timeline.ended_s - timeline.committed_s
    if timeline.censored and waited > due:
        missed += math.floor((waited - due) / decode) + 1
    return kept / (kept + missed) if kept + missed else 0.0


def fluid_token_rate(
    timelines: Sequence[Timeline], *, prefill: float, share: float = 0.99, index: float = 0.9
) -> float:
    """Fluid token rate of Etalon: the largest 1 / decode at which `share` of the requests reach `index`; 0
    if none.

    Bisected over 0.001 to 1,000 tokens a second to 0.1 %.
    """
    if not timelines:
        raise InputError("no timelines: the fluid token rate of nothing is undefined")

    def enough(rate: float) -> bool:
        fine = sum(fluidity_index(t, prefill=prefill, decode=1 / rate) >= index for t in timelines)
        return fine >= share * len(timelines)

    low, high = 1e-3, 1e3
    if not enough(low):
        return 0.0
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low


def distserve_goodput(
    loads: Sequence[float], measure: Callable[[int], Sequence[Timeline]], slo: TpotSlo, target: float = 0.9
) -> float:
    """Goodput of DistServe (arXiv 2401.09670): the largest request rate at which `target` of them meet TTFT
    and TPOT.

    `loads` are the measured request rates, ascending, and `measure(k)` the timelines at the k-th. Between
    the last rate that holds and the first that does not the crossing is interpolated linearly; 0 if none
    holds.
    """
    if list(loads) != sorted(set(loads)):
        raise InputError("loads must ascend")
    best, last = 0.0, 1.0
    for k, load in enumerate(loads):
        share = attainment(measure(k), slo)
        if share < target:
            return best + (load - best) * (last - target) / (last - share) if best else 0.0
        best, last = load, share
    return best
