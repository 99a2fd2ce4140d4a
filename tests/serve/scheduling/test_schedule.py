"""The scheduler without a model: a step is pretended by advancing what was scheduled."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from serve.kv_cache.prefix_cache import PrefixForest
from serve.request import Priority, Request, SamplingParams
from serve.scheduling.scheduler import Scheduler, urgency


def request(name, n_tokens, first=0, priority=Priority.ONLINE):
    tokens = tuple(range(first, first + n_tokens))
    made = Request(f"r{name}", tokens, SamplingParams(max_tokens=8), priority)
    made.order = name
    return made


def pretend(scheduler, schedule):
    """What an engine does after the forward: tokens appear, requests end; returns those that ended."""
    ended = []
    for decode in schedule.decodes:
        decode.tokens.append(7)
        scheduler.advance(decode, len(decode.tokens) - 1)
    for chunk in schedule.chunks:
        r = chunk.request
        if chunk.rows == r.pending:
            r.tokens.append(7)
            scheduler.advance(r, len(r.tokens) - 1)
        else:
            scheduler.advance(r, r.computed + chunk.rows)
    for r in list(scheduler.running):
        if r.n_output >= r.params.max_tokens:
            scheduler.remove(r)
            ended.append(r)
    return ended


def test_a_long_prompt_is_cut_into_the_room_that_decodes_leave():
    scheduler = Scheduler(PrefixForest(64, 4), max_running=4, step_tokens=10)
    scheduler.add(request(0, 3))
    pretend(scheduler, scheduler.schedule())
    scheduler.add(request(1, 25, first=100))
    rows = []
    for _ in range(3):
        schedule = scheduler.schedule()
        assert [r.id for r in schedule.decodes] == ["r0"]
        rows += [c.rows for c in schedule.chunks]
        pretend(scheduler, schedule)
    assert rows == [9, 9, 7]


def test_a_request_waits_for_a_prefix_that_is_being_computed():
    scheduler = Scheduler(PrefixForest(64, 4), max_running=4, step_tokens=8)
    scheduler.add(request(0, 20))
    scheduler.add(request(1, 21))
    scheduler.add(request(2, 3, first=500))
    first = scheduler.schedule()
    assert [c.request.id for c in first.chunks] == ["r0"]
    pretend(scheduler, first)
    pretend(scheduler, scheduler.schedule())
    third = scheduler.schedule()  # r0 ends its prompt; r2 shares nothing and may go
    assert [c.request.id for c in third.chunks] == ["r0", "r2"]
    pretend(scheduler, third)
    (late,) = scheduler.schedule().chunks
    assert (late.request.id, late.request.computed, late.rows) == ("r1", 20, 1)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_blocks=st.integers(14, 40), step_tokens=st.integers(4, 24))
def test_every_request_ends_within_budget_and_accounting_holds(seed, n_blocks, step_tokens):
    rng, forest = random.Random(seed), PrefixForest(n_blocks, 4)
    scheduler = Scheduler(forest, max_running=4, step_tokens=step_tokens)
    waiting = [
        request(i, rng.randint(1, 40), rng.choice([0, 0, 50]), Priority(i % 2))
        for i in range(rng.randint(1, 8))
    ]
    ended, total = [], len(waiting)
    for _ in range(1500):
        if waiting and rng.random() < 0.5:
            scheduler.add(waiting.pop())
        schedule = scheduler.schedule()
        assert len(schedule.decodes) + sum(c.rows for c in schedule.chunks) <= step_tokens
        assert len(scheduler.running) <= 4
        for one in [*schedule.decodes, *(c.request for c in schedule.chunks)]:
            assert one in scheduler.running
        for victim in schedule.preempted:  # nobody less urgent keeps its blocks
            assert all(urgency(r) < urgency(victim) for r in scheduler.running)
        ended += pretend(scheduler, schedule)
        forest.check()
        if len(ended) == total:
            break
    assert len(ended) == total
    assert forest.n_in_use == 0


class FirstArrivalGoes(Scheduler):
    """A policy of its own for whom to preempt."""

    def _victim(self, requests):
        return min(requests, key=urgency, default=None)


def grown(scheduler, *classes):
    """Preempted requests after the first one wants a block of a cache that all fill, a block each."""
    for name, priority in enumerate(classes):
        scheduler.add(request(name, 3, first=100 * name, priority=priority))
    pretend(scheduler, scheduler.schedule())
    pretend(scheduler, scheduler.schedule())
    return [r.id for r in scheduler.schedule().preempted]


def test_whom_a_growing_request_preempts_is_the_policys_choice_in_a_lower_class_and_the_last_of_its_own():
    online, offline = Priority.ONLINE, Priority.OFFLINE
    for made, expected in ((Scheduler, ["r2"]), (FirstArrivalGoes, ["r1"])):
        assert grown(made(PrefixForest(3, 4), 4, 16), online, offline, offline)[:1] == expected
        assert grown(made(PrefixForest(3, 4), 4, 16), online, online, online)[:1] == ["r2"]
