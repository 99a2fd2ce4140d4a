"""Estimators: step time from its work, and answer lengths.

The time model is linear in six features with non-negative coefficients. A conformal quantile of its recent errors is
the margin that the scheduler adds. This file uses no tensors and reads no clock.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serve.scheduling.step_work import StepWork as StepWork

Float64 = npt.NDArray[np.float64]


class StepTimes(Protocol):
    """Predicts how long a step takes (`serve.scheduling.estimators.TimeModel`, or one that learns)."""

    def seconds(self, work: StepWork) -> float:
        """Expected duration."""
        ...

    def upper(self, work: StepWork) -> float:
        """Duration that is rarely exceeded."""
        ...


@dataclass(frozen=True, slots=True)
class TimeModel:
    """Seconds of a step: ``coefficients . features``, float64[6] and none negative, so more work never costs less."""

    coefficients: Float64
    margin: float = 0.0
    """Relative: `upper` is ``(1 + margin)`` times the prediction."""

    @classmethod
    def fit(cls, works: Sequence[StepWork], seconds: Sequence[float], *, quantile: float = 0.95) -> TimeModel:
        """Fit measured steps by non-negative least squares on relative errors; the margin is their quantile."""
        from scipy.optimize import nnls

        design = np.array([work.features for work in works])
        measured = np.asarray(seconds, np.float64)
        weighted = design / measured[:, None]
        scale = np.maximum(np.abs(weighted).max(axis=0), 1e-300)  # columns differ by orders of magnitude
        solution, _ = nnls(weighted / scale, np.ones(len(measured)))
        coefficients = solution / scale
        over = measured / np.maximum(design @ coefficients, 1e-12) - 1.0
        return cls(coefficients, max(0.0, float(np.quantile(over, quantile))))

    def seconds(self, work: StepWork) -> float:
        """Expected duration."""
        return float(self.coefficients @ work.features)

    def upper(self, work: StepWork) -> float:
        """Duration that is exceeded as rarely as the quantile of the fit says."""
        return self.seconds(work) * (1.0 + self.margin)


FIRST_GUESS = TimeModel(np.array([8e-3, 6e-4, 1e-7, 2e-3, 1e-6, 1e-4]), margin=0.5)
"""Of the order of the embedded model on two CPU cores: 8 ms a step, 0.6 ms a prompt token, 2 ms a decode."""


@dataclass(slots=True)
class LearningTimeModel:
    """A `TimeModel` that refits itself on the last `window` measured steps, every `every` of them.

    Before that it is scaled to the steps so far, after 4, 8, 16, ... of them. On a slow machine the first `every`
    steps may take half a minute. A guess of another machine would plan steps many times too long.
    """

    model: TimeModel
    window: int = 512
    every: int = 64
    _seen: deque[tuple[StepWork, float]] = field(default_factory=deque)
    _since: int = 0
    _fitted: bool = False

    def observe(self, work: StepWork, seconds: float) -> None:
        """Take in a measured step."""
        self._seen.append((work, seconds))
        while len(self._seen) > self.window:
            self._seen.popleft()
        self._since += 1
        if self._since >= self.every and len(self._seen) >= self.every:
            works, measured = zip(*self._seen, strict=True)
            self.model = TimeModel.fit(works, measured)
            self._since, self._fitted = 0, True
        elif not self._fitted and len(self._seen) in (4, 8, 16, 32, 64, 128, 256):
            self._scale()

    def _scale(self) -> None:
        """Multiply the model by the median of measured over predicted time."""
        predicted = np.array([self.model.seconds(work) for work, _ in self._seen])
        if (predicted > 0).all():
            ratio = float(np.median(np.array([s for _, s in self._seen]) / predicted))
            self.model = TimeModel(self.model.coefficients * ratio, self.model.margin)

    def seconds(self, work: StepWork) -> float:
        """Expected duration of a step."""
        return self.model.seconds(work)

    def upper(self, work: StepWork) -> float:
        """Duration with its margin."""
        return self.model.upper(work)


class OutputLengths:
    """How many more tokens an answer will have, given how many it has: an empirical survival curve."""

    def __init__(self, seen: Iterable[int] = (), *, prior: int = 64) -> None:
        self._seen = sorted(seen)
        self._prior = prior

    def observe(self, length: int) -> None:
        """Take in the length of a finished answer, in tokens."""
        bisect.insort(self._seen, length)

    def expected_more(self, produced: int) -> float:
        """Mean of the remaining tokens over answers that got further than `produced`; the prior where none did."""
        longer = self._seen[bisect.bisect_right(self._seen, produced) :]
        return sum(longer) / len(longer) - produced if longer else float(self._prior)
