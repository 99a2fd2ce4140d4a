"""The simulated server of the Echo benchmarks: its sizes, its schedulers, what a run gave, and batch prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.simulator import Arrival, Outcome
from serve.echo.config import EchoConfig
from serve.echo.scheduler import EchoScheduler
from serve.goodput import ReadingSlo, SmoothGoodput, attainment
from serve.kv_cache.prefix_cache import PrefixForest
from serve.request import Priority
from serve.scheduling.estimators import FIRST_GUESS, TimeModel
from serve.scheduling.scheduler import Scheduler

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


def plain_scheduler(server: Server, _clock: Callable[[], float]) -> Scheduler:
    """First come, first served within a class, over an empty cache."""
    forest = PrefixForest(server.n_blocks, server.block_tokens)
    return Scheduler(forest, server.max_running, server.step_tokens)


def echo_scheduler(server: Server, clock: Callable[[], float], **off: bool) -> EchoScheduler:
    """Return Echo over an empty cache; `off` sets switches of `EchoConfig`, e.g. ``budget=False``."""
    config = replace(server.echo, **off)
    forest = PrefixForest(server.n_blocks, server.block_tokens)
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
