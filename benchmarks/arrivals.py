"""Arrivals of the Echo benchmarks: readers in bursts or as a recorded trace has them, and batch prompts that wait.

`--arrivals FILE` takes a recorded trace in the form of the Azure LLM inference traces of 2023: a CSV with the columns
``TIMESTAMP``, ``ContextTokens`` and ``GeneratedTokens``. The file is not part of this repository.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.simulated_server import batch_prompts, random_tokens
from benchmarks.simulator import Arrival
from serve.errors import InputError

PROMPT_TOKENS, ANSWER_TOKENS = 165, 70
"""Mean lengths of a reader's prompt and answer; a recorded trace is scaled to them."""
LONGEST_TOKENS = 1024
"""Longest prompt and longest answer of a recorded trace, after scaling."""
COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def bursty_trace(rng: np.random.Generator, rate: float, span_s: float, *, batch: int = 3000) -> list[Arrival]:
    """Readers whose rate alternates every 15 s between 0.4 and 3 times `rate`, and `batch` waiting prompts.

    Batch prompts come in families of 100 that share 480 tokens, shuffled: judge prompts over shared evidence.
    """
    arrivals: list[Arrival] = []
    at_s = 0.0
    while True:
        at_s += rng.exponential(1.0 / (rate * (3.0 if int(at_s) // 15 % 2 else 0.4)))
        if at_s >= span_s:
            break
        arrivals += [replace(arrival, at_s=at_s) for arrival in readers(rng, 1)]
    return arrivals + batch_prompts(rng, batch)


def readers(rng: np.random.Generator, n: int) -> list[Arrival]:
    """`n` interactive requests: 30 to 299 prompt tokens of their own, 20 to 119 answer tokens."""
    return [
        Arrival(0.0, random_tokens(rng, rng.integers(30, 300)), int(rng.integers(20, 120))) for _ in range(n)
    ]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded trace: arrival seconds from its first request, prompt tokens and answer tokens, by request."""

    at_s: npt.NDArray[np.float64]
    prompt_tokens: npt.NDArray[np.int64]
    answer_tokens: npt.NDArray[np.int64]

    def trace(
        self, rng: np.random.Generator, rate: float, span_s: float, *, batch: int = 3000
    ) -> list[Arrival]:
        """Readers of a stretch of the trace that begins at random, and `batch` waiting prompts.

        Gaps keep their proportions: time is stretched until the whole trace has `rate` requests a second. Lengths
        keep theirs: they are scaled to the mean lengths of `readers`.
        """
        stretch = (len(self.at_s) - 1) / self.at_s[-1] / rate
        at_s = self.at_s * stretch
        begin_s = rng.uniform(0.0, at_s[-1] - span_s)
        first, end = np.searchsorted(at_s, (begin_s, begin_s + span_s))
        prompts = _scaled(self.prompt_tokens, PROMPT_TOKENS)[first:end]
        answers = _scaled(self.answer_tokens, ANSWER_TOKENS)[first:end]
        arrivals = [
            Arrival(float(at - begin_s), random_tokens(rng, prompt), int(answer))
            for at, prompt, answer in zip(at_s[first:end], prompts, answers, strict=True)
        ]
        return arrivals + batch_prompts(rng, batch)


def read_recorded(path: Path) -> Recorded:
    """Read a trace in the form of the Azure LLM inference traces of 2023.

    Raises
    ------
    InputError
        If the file has other columns or fewer than two requests.
    """
    try:
        frame = pd.read_csv(path, usecols=list(COLUMNS), parse_dates=["TIMESTAMP"])
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a trace with the columns {', '.join(COLUMNS)} ({error})") from error
    if len(frame) < 2:
        raise InputError(f"{path}: {len(frame)} requests; a trace needs two at least")
    frame = frame.sort_values("TIMESTAMP", kind="stable")
    at_s = (frame["TIMESTAMP"] - frame["TIMESTAMP"].iloc[0]).dt.total_seconds()
    return Recorded(at_s.to_numpy(), frame["ContextTokens"].to_numpy(), frame["GeneratedTokens"].to_numpy())


def _scaled(tokens: npt.NDArray[np.int64], mean: float) -> npt.NDArray[np.int64]:
    """Lengths scaled to a mean, from 1 to `LONGEST_TOKENS`."""
    scaled: npt.NDArray[np.int64] = np.rint(tokens * (mean / tokens.mean())).astype(np.int64)
    return scaled.clip(1, LONGEST_TOKENS)
