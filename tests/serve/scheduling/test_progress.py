"""As long as a request lives, work is scheduled: caches of few blocks, requests that need more than what is left."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulator import VirtualClock
from serve.echo.config import EchoConfig
from serve.echo.scheduler import EchoScheduler
from serve.kv_cache.prefix_cache import PrefixForest
from serve.request import Priority, Request, SamplingParams, Timeline
from serve.scheduling.scheduler import Scheduler
from tests.serve.scheduling.test_inversion import TIMES

Make = Callable[[PrefixForest, VirtualClock], Scheduler]


def plain(forest: PrefixForest, _clock: VirtualClock) -> Scheduler:
    return Scheduler(forest, 6, 24)


def echo(forest: PrefixForest, clock: VirtualClock) -> Scheduler:
    return EchoScheduler(forest, 6, 24, TIMES, EchoConfig(), clock)


def requests(rng: random.Random, size: int) -> list[Request]:
    """Requests of both classes that each take a third to the whole of a cache of `size` tokens; some begin alike."""
    made = []
    for order in range(rng.randint(2, 9)):
        whole = rng.randint(size // 3, size)
        answer = rng.randint(1, whole - 1)
        shared = rng.randint(0, whole - answer)
        prompt = (*range(shared), *(1000 * (order + 1) + i for i in range(whole - answer - shared)))
        kind = rng.choice(list(Priority))
        made.append(
            Request(f"r{order}", prompt, SamplingParams(max_tokens=answer), kind, Timeline(0.0), order)
        )
    return made


def step(scheduler: Scheduler, rng: random.Random, drafts: bool) -> tuple[int, bool]:
    """One step as an engine takes it, some drafts kept; rows computed, and whether a request lost its blocks."""
    schedule = scheduler.schedule()
    rows = 0
    for request in schedule.decodes:
        left = request.params.max_tokens - request.n_output
        room = scheduler.try_grow(request, min(left, 5)) if drafts else 1
        kept = rng.randint(1, max(room, 1))
        request.tokens += [rng.randint(0, 3) for _ in range(kept)]
        scheduler.advance(request, request.computed + kept)
        rows += kept
    for chunk in schedule.chunks:
        scheduler.advance(chunk.request, chunk.request.computed + chunk.rows)
        rows += chunk.rows
        if not chunk.request.pending:
            chunk.request.tokens.append(rng.randint(0, 3))
    for request in list(scheduler.running):
        if request.n_output >= request.params.max_tokens:
            scheduler.remove(request)
    scheduler.forest.check()
    return rows, bool(schedule.preempted)


@pytest.mark.parametrize("make", [plain, echo])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), blocks=st.sampled_from([3, 4, 8, 24, 96]), drafts=st.booleans())
def test_while_a_request_waits_or_runs_work_is_scheduled_and_all_end(
    make: Make, seed: int, blocks: int, drafts: bool
) -> None:
    rng, clock = random.Random(seed), VirtualClock()
    forest = PrefixForest(blocks, 4)
    scheduler = make(forest, clock)
    later = requests(rng, blocks * 4)
    whole = sum(len(r.prompt) + r.params.max_tokens for r in later)
    idle = computed = 0
    while later or scheduler.waiting or scheduler.running:
        while later and (rng.random() < 0.3 or not (scheduler.waiting or scheduler.running)):
            scheduler.add(later.pop())
        if scheduler.waiting and rng.random() < 0.02:  # a client hangs up
            scheduler.remove(rng.choice(scheduler.waiting))
        alive = bool(scheduler.waiting or scheduler.running)
        rows, lost = step(scheduler, rng, drafts)
        computed += rows
        # A step that only takes blocks away frees them for the next one.
        idle = 0 if rows or not alive else idle + 1
        assert idle <= int(lost), (
            f"{len(scheduler.waiting)} wait, {len(scheduler.running)} run, nothing is scheduled"
        )
        assert computed < 40 * whole, "the same work is done again and again"
        clock.now_s += 0.01
    assert forest.n_in_use == 0
