"""Batch work never holds an interactive request up, whatever the two share: counted in steps, and in seconds."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.simulator import Arrival, VirtualClock, simulate
from serve.echo.config import EchoConfig
from serve.echo.scheduler import EchoScheduler
from serve.kv_cache.prefix_cache import PrefixForest
from serve.request import Priority, Request, SamplingParams, Timeline
from serve.scheduling.estimators import TimeModel
from serve.scheduling.scheduler import Scheduler

TIMES = TimeModel(np.array([0.004, 2e-4, 1e-7, 5e-4, 1e-6, 1e-4]))
BLOCK, STEP = 4, 24
CALM = EchoConfig(allowance_s=1e6)  # no deadline cuts a chunk: steps can be compared one by one

Make = Callable[[int], Scheduler]


def echo(n_blocks: int, config: EchoConfig = CALM, clock: VirtualClock | None = None) -> EchoScheduler:
    forest = PrefixForest(n_blocks, BLOCK)
    return EchoScheduler(forest, 6, STEP, TIMES, config, clock or VirtualClock())


def priority(n_blocks: int) -> Scheduler:
    return Scheduler(PrefixForest(n_blocks, BLOCK), 6, STEP)


def traffic(rng: random.Random) -> list[tuple[int, Request]]:
    """(step of arrival, request) of both classes, with prompts that begin alike across the classes."""
    trunks = [[1000 * t + i for i in range(60)] for t in range(2)]
    arrivals = []
    readers = rng.randint(1, 5)
    for order in range(readers + rng.randint(1, 10)):
        kind = Priority.ONLINE if order < readers else Priority.OFFLINE
        trunk = rng.choice(trunks)[: rng.randint(1, 60)]
        prompt = (*trunk, *(10_000 * (order + 1) + i for i in range(rng.randint(1, 12))))
        params = SamplingParams(max_tokens=rng.randint(1, 6))
        request = Request(f"r{order}", prompt, params, kind, Timeline(0.0), order)
        arrivals.append((rng.randint(0, 8) if kind is Priority.ONLINE else rng.randint(0, 4), request))
    return arrivals


def first_tokens(scheduler: Scheduler, arrivals: list[tuple[int, Request]]) -> dict[str, int]:
    """Steps that each interactive request lives until its first token."""
    waiting, lived, alive = sorted(arrivals, key=lambda a: (a[0], a[1].order)), {}, 0
    for step in range(2_000):
        while waiting and waiting[0][0] <= step:
            scheduler.add(waiting.pop(0)[1])
            alive += 1
        schedule = scheduler.schedule()
        for request, rows in [
            *((r, 1) for r in schedule.decodes),
            *((c.request, c.rows) for c in schedule.chunks),
        ]:
            scheduler.advance(request, request.computed + rows)
            if not request.pending:
                request.tokens.append(1)
                if request.n_output == 1 and request.priority is Priority.ONLINE:
                    lived[request.id] = step - next(at for at, r in arrivals if r is request)
                if request.n_output == request.params.max_tokens:
                    scheduler.remove(request)
                    alive -= 1
        scheduler.forest.check()
        if not waiting and not alive:
            return lived
    raise AssertionError(f"{alive} requests live on after 2,000 steps")


@pytest.mark.parametrize("make", [echo, priority])
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spare=st.sampled_from([0, 10, 400]))
@example(seed=2329, spare=0)
def test_any_batch_load_delays_a_first_token_by_at_most_one_step(make: Make, seed: int, spare: int) -> None:
    """The cache holds all readers at once, and none or some of the batch. A prefix that batch work left may
    let one reader go before another, so what several lose is counted together.
    """
    readers = [(at, r) for at, r in traffic(random.Random(seed)) if r.priority is Priority.ONLINE]
    n_blocks = max(20, spare + sum(-(-(len(r.prompt) + r.params.max_tokens) // BLOCK) for _, r in readers))
    beside = first_tokens(make(n_blocks), traffic(random.Random(seed)))
    alone = first_tokens(make(n_blocks), readers)
    assert beside.keys() == alone.keys()
    assert sum(beside.values()) <= sum(alone.values()) + len(readers)


def test_a_reader_does_not_wait_for_a_batch_prompt_that_is_held_back_for_other_readers() -> None:
    """A long batch prompt has no time beside readers at a fast pace; who shares its prefix must not wait for it."""
    config = EchoConfig(pace_s=0.0055, allowance_s=0.02, late_share=0.0)
    clock = VirtualClock()
    trunk = tuple(range(200))
    arrivals = [Arrival(0.0, (*trunk, 900), 4, Priority.OFFLINE)]
    arrivals += [Arrival(0.001 + 0.01 * i, (5_000 + i, 1, 2), 400) for i in range(3)]
    arrivals += [Arrival(0.05, (*trunk, 901), 2)]
    outcome = simulate(arrivals, echo(400, config, clock), clock, TIMES.seconds, until_s=60.0)
    sharer = next(line for line in outcome.online if line.committed_s == 0.05)
    assert sharer.times[0] < 0.5


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_in_seconds_a_first_token_is_late_by_a_step_and_the_share_of_late_steps(seed: int) -> None:
    rng = random.Random(seed)
    trunks = [tuple(1000 * t + i for i in range(60)) for t in range(2)]
    arrivals = [
        Arrival(rng.uniform(0, 0.5), (*rng.choice(trunks)[: rng.randint(1, 60)], 9_000 + i), 5)
        for i in range(3)
    ]
    batch = [Arrival(0.0, (*rng.choice(trunks), 20_000 + i), 20, Priority.OFFLINE) for i in range(20)]

    def first(given: list[Arrival]) -> dict[float, float]:
        clock, config = VirtualClock(), EchoConfig()
        outcome = simulate(given, echo(400, config, clock), clock, TIMES.seconds, until_s=1e6)
        return {line.committed_s: line.times[0] for line in outcome.online}

    beside, alone = first([*batch, *arrivals]), first(arrivals)
    longest = EchoConfig().longest_step_s
    assert all(t <= 1.2 * alone[at] + longest for at, t in beside.items())
