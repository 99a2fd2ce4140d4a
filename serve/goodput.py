"""Smooth goodput, computed from the arrival times of tokens at the client.

Smooth goodput is defined in "Revisiting SLOs and goodput metrics in LLM serving" (arXiv 2410.14257 v2); Eq. n below is
the paper's. Times are seconds after the request was committed unless a name ends in `_s` and says otherwise. The paper
leaves f of Eq. 10 open; results state which `Penalty` was used.

Two rules are ours, because the literal definition rewards giving up:

- **Censoring.** A request that ended early counts one more token, delivered when it was given up: its idle time is at
  least what the user waited for nothing. Then truncating a request never raises the sum.
- **Fixed window.** The sum over all requests committed in the window is divided by the window, which is chosen before
  the run; dropping slow requests cannot shorten it.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serve.errors import InputError

Float64 = npt.NDArray[np.float64]


class Ending(enum.StrEnum):
    """Reason for the end of an answer."""

    FINISHED = "finished"  # the answer was complete
    UNFINISHED = "unfinished"  # the measurement ended first
    DROPPED = "dropped"  # the server gave it up
    REJECTED = "rejected"  # the server never took it
    CANCELLED = "cancelled"  # the user left


@dataclass(frozen=True, slots=True)
class Timeline:
    """Timeline of one request at its client; seconds on the client's monotonic clock.

    Attributes
    ----------
    request_id
        Name of the request.
    committed_s
        When the user committed it.
    token_s
        When each output token was received, ascending. All tokens of a chunk have the chunk's time.
    ended_s
        When the request ended: the last token, the cancellation, the drop, or the end of the measurement.
    ending
        Why it ended.
    """

    request_id: str
    committed_s: float
    token_s: tuple[float, ...]
    ended_s: float
    ending: Ending = Ending.FINISHED

    def __post_init__(self) -> None:
        object.__setattr__(self, "token_s", tuple(map(float, self.token_s)))
        times = (self.committed_s, *self.token_s, self.ended_s)
        if not all(map(math.isfinite, times)):
            raise InputError(f"request {self.request_id}: a time is not a finite number, must be seconds")
        for earlier, later in itertools.pairwise(times):
            if later < earlier:
                raise InputError(
                    f"request {self.request_id}: time {later} comes after {earlier}; "
                    "commitment, tokens and end must be in order"
                )
        if self.ending is Ending.FINISHED and not self.token_s:
            raise InputError(f"request {self.request_id}: finished without a token; call it dropped")

    @property
    def n(self) -> int:
        """Number of output tokens, n_r."""
        return len(self.token_s)

    @property
    def times(self) -> Float64:
        """t_i: seconds from commitment to each token, float64[n]."""
        return np.asarray(self.token_s, dtype=np.float64) - self.committed_s

    @property
    def censored(self) -> bool:
        """Whether the answer is incomplete."""
        return self.ending is not Ending.FINISHED

    def awaited(self) -> Float64:
        """t_i with the virtual token of a censored request: float64[n] or float64[n + 1]."""
        if not self.censored:
            return self.times
        return np.append(self.times, self.ended_s - self.committed_s)


class Slo(Protocol):
    """A rule that gives each token its deadline."""

    def deadlines(self, times: Float64) -> Float64:
        """Return d_i in seconds after commitment for tokens at `times`; infinity where a token has none."""
        ...


def require_positive(**values: float) -> None:
    """Raise InputError for a value that is not a positive number."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value}, must be a positive number")


@dataclass(frozen=True, slots=True)
class ReadingSlo:
    """Eq. 5: ``d_i = A + V i``, what a user who reads a token every V seconds needs.

    `pace` is V in seconds a token (5 tokens a second is 0.2); `allowance` is A, the response delay tolerated
    beyond it.
    """

    pace: float = 0.2
    allowance: float = 0.0

    def __post_init__(self) -> None:
        require_positive(pace=self.pace)
        if not (math.isfinite(self.allowance) and self.allowance >= 0):
            raise InputError(f"allowance is {self.allowance}, must be 0 or more seconds")

    def deadlines(self, times: Float64) -> Float64:
        """Return d_i, float64[n]."""
        i = np.arange(1, len(times) + 1)
        return np.asarray(self.allowance + self.pace * i)


def met(timeline: Timeline, slo: Slo) -> bool:
    """Eq. 1: every token by its deadline. What the server dropped, rejected or left unfinished never met it."""
    if timeline.ending in (Ending.DROPPED, Ending.REJECTED, Ending.UNFINISHED):
        return False
    awaited = timeline.awaited()
    return bool(np.all(awaited <= slo.deadlines(awaited)))


def attainment(timelines: Sequence[Timeline], slo: Slo) -> float:
    """Eq. 6: the share of requests that met the SLO."""
    if not timelines:
        raise InputError("no timelines: attainment of nothing is undefined")
    return sum(met(t, slo) for t in timelines) / len(timelines)


def throughput(timelines: Iterable[Timeline], window_s: float) -> float:
    """Tokens a second, late ones included."""
    require_positive(window_s=window_s)
    return sum(t.n for t in timelines) / window_s


def idle_latency(timeline: Timeline, slo: ReadingSlo) -> float:
    """Eq. 9: ``max(0, max_i (t_i - d_i))``, seconds; the virtual token of a censored request included.

    For a reader who takes one token every V seconds from the commitment on this is the sum of all stalls.
    """
    awaited = timeline.awaited()
    return max(0.0, float(np.max(awaited - slo.deadlines(awaited), initial=0.0)))


class Penalty(Protocol):
    """alpha times f of Eq. 10: the benefit that an idle time takes away, in tokens."""

    def tokens(self, n: int, idle: float, alpha: float) -> float:
        """Return the tokens lost by a request of `n` tokens whose reader was idle for `idle` seconds."""
        ...


@dataclass(frozen=True, slots=True)
class LinearPenalty:
    """``f(l) = max(0, l - grace) / V``: the tokens the user could have read while idle. Seconds a token: `pace`."""

    pace: float = 0.2
    grace: float = 0.0

    def tokens(self, n: int, idle: float, alpha: float) -> float:
        """Return the tokens lost."""
        return alpha * max(0.0, idle - self.grace) / self.pace


@dataclass(frozen=True, slots=True)
class SmoothGoodput:
    """Eq. 10 and 11 with every choice they leave open. Defaults: 5 tokens a second, linear f, alpha 2.5."""

    slo: ReadingSlo = field(default_factory=ReadingSlo)
    penalty: Penalty = field(default_factory=LinearPenalty)
    alpha: float = 2.5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and self.alpha >= 0):
            raise InputError(f"alpha is {self.alpha}, must be 0 or more")

    def benefit(self, timeline: Timeline) -> float:
        """Eq. 10: ``n_r - alpha f(l_r)``, in tokens; negative where waiting cost more than the answer gave."""
        return timeline.n - self.penalty.tokens(timeline.n, idle_latency(timeline, self.slo), self.alpha)

    def __call__(self, timelines: Iterable[Timeline], window_s: float) -> float:
        """Eq. 11: the sum of the benefits over the window, tokens a second."""
        require_positive(window_s=window_s)
        return math.fsum(map(self.benefit, timelines)) / window_s
