"""Simulate how much batch work fits next to interactive users, and how many replicas that takes.

`vckg-serve plan` prints the result of `replicas_needed`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from serve.echo.cache_policy import EchoConfig, EchoForest
from serve.echo.scheduler import EchoScheduler
from serve.echo.simulator import Arrival, Outcome, VirtualClock, simulate
from serve.errors import InputError
from serve.goodput import ReadingSlo, SmoothGoodput, attainment
from serve.request import Priority
from serve.scheduling.estimators import FIRST_GUESS, TimeModel

CPU_TIMES = TimeModel(FIRST_GUESS.coefficients)
"""Step times of a server before its first measurement."""


@dataclass(frozen=True, slots=True)
class Server:
    """Simulated server: cache blocks, batch limits, step times and deadlines of users."""

    n_blocks: int = 512
    block_tokens: int = 16
    max_running: int = 32
    step_tokens: int = 256
    times: TimeModel = CPU_TIMES
    echo: EchoConfig = field(default_factory=EchoConfig)

    @property
    def slo(self) -> ReadingSlo:
        """Due times of the tokens of an interactive request."""
        return ReadingSlo(self.echo.pace_s, self.echo.allowance_s)


def echo_scheduler(server: Server, clock: Callable[[], float], **off: bool) -> EchoScheduler:
    """Return Echo over an empty cache; `off` sets switches of `EchoConfig`, e.g. ``reserve=False``."""
    config = replace(server.echo, **off)
    forest = EchoForest(server.n_blocks, server.block_tokens, config)
    return EchoScheduler(forest, server.max_running, server.step_tokens, server.times, config, clock)


@dataclass(frozen=True, slots=True)
class Rung:
    """Results of one scheduler on one trace, for users and for batch work; tokens and seconds."""

    scheduler: str
    attainment: float
    smooth_goodput: float
    offline_requests: int
    offline_tokens_s: float
    """Useful batch tokens a second: computed for the first time or taken from the cache, never recomputed ones."""
    recomputed_tokens: int


def rung_of(name: str, server: Server, outcome: Outcome, until_s: float) -> Rung:
    """Results of a simulated or real run of `until_s` seconds."""
    useful = outcome.first_time_tokens + outcome.cached_tokens
    return Rung(
        name,
        attainment(outcome.online, server.slo) if outcome.online else 1.0,
        SmoothGoodput(server.slo)(outcome.online, until_s),
        outcome.offline_finished,
        useful / until_s,
        outcome.recomputed_tokens,
    )


def _echo_rung(server: Server, arrivals: Sequence[Arrival], until_s: float) -> Rung:
    clock = VirtualClock()
    scheduler = echo_scheduler(server, clock)
    outcome = simulate(arrivals, scheduler, clock, server.times.seconds, until_s=until_s)
    return rung_of("full Echo", server, outcome, until_s)


def replicas_needed(
    server: Server,
    arrivals: Sequence[Arrival],
    until_s: float,
    *,
    target: float = 0.99,
    offline_tokens_s: float = 0.0,
    most: int = 64,
) -> tuple[int, Rung]:
    """Least number of replicas that meets the targets, and the results of one replica.

    Interactive and batch requests are dealt to the replicas in turn. Of `Rung`, `offline_tokens_s` is the sum over
    replicas, `attainment` their mean.

    Raises
    ------
    InputError
        If `most` replicas are not enough.
    """
    for n in range(1, most + 1):
        rungs = [_echo_rung(server, arrivals[i::n], until_s) for i in range(n)]
        met = float(np.mean([r.attainment for r in rungs]))
        offline = sum(r.offline_tokens_s for r in rungs)
        if met >= target and offline >= offline_tokens_s:
            goodput = sum(r.smooth_goodput for r in rungs)
            done = sum(r.offline_requests for r in rungs)
            again = sum(r.recomputed_tokens for r in rungs)
            return n, Rung("full Echo", met, goodput, done, offline, again)
    raise InputError(
        f"{most} replicas do not reach attainment {target} with {offline_tokens_s:g} batch tokens a second"
    )


def batch_prompts(rng: np.random.Generator, n: int) -> list[Arrival]:
    """`n` batch prompts that wait from the start, in families of 100 that share 480 tokens, shuffled."""
    families = [random_tokens(rng, 480) for _ in range(max(1, n // 100))]
    return [
        Arrival(
            0.0,
            (*families[i % len(families)], *random_tokens(rng, rng.integers(20, 80))),
            int(rng.integers(10, 40)),
            Priority.OFFLINE,
        )
        for i in rng.permutation(n)
    ]


def random_tokens(rng: np.random.Generator, n: int | np.integer) -> tuple[int, ...]:
    """Return `n` random token ids, a prompt that shares nothing with others."""
    return tuple(rng.integers(0, 49_000, int(n)).tolist())


def read_trace(path: Path) -> list[Arrival]:
    """Read interactive arrivals from JSON lines: ``{"at_s": 1.5, "prompt_tokens": 200, "output_tokens": 60}``.

    Raises
    ------
    InputError
        With file and line, where a line is not of that form.
    """
    rng = np.random.default_rng(0)
    arrivals: list[Arrival] = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            row = json.loads(line)
            at_s, prompt, output = float(row["at_s"]), int(row["prompt_tokens"]), int(row["output_tokens"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}:{number}: {line[:80]!r} is no arrival; wanted at_s, prompt_tokens, output_tokens"
            ) from error
        if not (at_s >= 0 and prompt > 0 and output > 0):
            raise InputError(
                f"{path}:{number}: at_s {at_s}, {prompt} prompt and {output} output tokens; none may be negative"
            )
        arrivals.append(Arrival(at_s, random_tokens(rng, prompt), output))
    return arrivals


def _lines(path: Path) -> Iterator[str]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a trace of JSON lines")
    yield from (line for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
