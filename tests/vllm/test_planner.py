"""Echo's plans for another engine's requests; vLLM is not needed."""

import numpy as np
import pytest

from serve.echo.config import EchoConfig
from serve.request import Priority
from serve.scheduling.estimators import TimeModel
from serve.vllm_plugins.planner import Planner, Pool

QUICK = TimeModel(np.array([1e-4, 1e-6, 0.0, 1e-5, 0.0, 0.0]))
SLOW = TimeModel(np.array([0.01, 0.01, 0.0, 0.02, 0.0, 0.0]))  # ten milliseconds a prompt token


class Engine:
    """As much of an engine as a planner sees: blocks are counted, and every plan is carried out whole."""

    def __init__(self, blocks: int = 100, times: TimeModel = QUICK, slots: int = 8, **knobs: float) -> None:
        self.free, self.cached, self.now = blocks, dict[int, int](), 0.0
        self.pool = Pool(4, lambda: self.free, self.cached.get)
        self.planner = Planner(self.pool, slots, 64, times, EchoConfig(**knobs), lambda: self.now)

    def add(self, name: str, length: int, kind: Priority, chain: tuple[int, ...] = ()) -> None:
        self.planner.track(name, range(length), kind, self.now, chain)

    def run(self, *names: str) -> None:
        """Let these requests run, their prompts computed and one token out."""
        running = [r.id for r in self.planner.running] + list(names)
        self.planner.sync(running)
        for name in names:
            request = self.planner.known[name]
            request.tokens.append(0)
            request.computed = len(request.tokens) - 1
            request.blocks = list(range(self.pool.blocks_for(request.computed)))
            self.free -= len(request.blocks)

    def plan(self):
        return self.planner.plan(lambda _: 1)


def test_interactive_requests_start_and_batch_ones_fill_up():
    engine = Engine()
    engine.add("batch", 20, Priority.OFFLINE)
    engine.add("user", 10, Priority.ONLINE)
    plan = engine.plan()
    assert plan.online == ("user",)
    assert plan.started == ("batch",)
    assert plan.tokens == 16  # beside a reader's prompt, batch work lengthens the step by a tenth at most


def test_batch_work_pauses_where_a_reader_would_wait_for_it():
    engine = Engine(times=SLOW, allowance_s=0.0, pace_s=0.05)
    for kind, name in ((Priority.ONLINE, "user"), (Priority.OFFLINE, "a"), (Priority.OFFLINE, "b")):
        engine.add(name, 4, kind)
    engine.run("user", "a", "b")
    engine.now = 0.05  # the user's second token is due at 0.1; three decodes would take 0.07
    plan = engine.plan()
    assert len(plan.paused) == 2
    assert plan.tokens == 1


def test_a_slow_machine_with_batch_work_alone_goes_on():
    engine = Engine(times=SLOW)
    engine.add("batch", 200, Priority.OFFLINE)
    plan = engine.plan()
    assert plan.started == ("batch",)
    assert 0 < plan.tokens <= 64


def test_a_batch_prompt_in_part_leaves_waiting_users_their_tokens():
    engine = Engine(blocks=1000)
    engine.add("batch", 400, Priority.OFFLINE)
    engine.planner.sync(["batch"])
    engine.planner.known["batch"].computed = 10
    engine.add("user", 40, Priority.ONLINE)
    plan = engine.plan()
    assert plan.paused == {"batch"}
    assert plan.tokens == 40


def test_an_arriving_user_takes_a_batch_requests_place_or_blocks_but_never_a_users():
    engine = Engine(slots=2)
    for name, kind in (("other", Priority.ONLINE), ("batch", Priority.OFFLINE)):
        engine.add(name, 8, kind)
    engine.run("other", "batch")
    engine.add("user", 8, Priority.ONLINE)
    victim = engine.planner.victim(engine.planner.known["user"])
    assert victim is not None
    assert victim.id == "batch"
    engine.planner.sync(["other"])
    assert engine.planner.victim(engine.planner.known["user"]) is None
    engine.free = 1
    assert engine.planner.victim(engine.planner.known["user"]) is None  # nobody else to take from


def test_a_preempted_batch_request_waits_again_and_one_that_started_does_not():
    engine = Engine()
    engine.add("batch", 8, Priority.OFFLINE, chain=(11, 12))
    assert engine.planner._queued
    engine.run("batch")
    assert not engine.planner._queued
    engine.planner.sync([])
    assert engine.planner._queued
    engine.planner.drop(["batch"])
    assert not engine.planner._queued
    assert not engine.planner.waiting


def test_cached_blocks_make_a_prompt_short():
    engine = Engine()
    engine.cached.update({11: 0, 12: 0})
    engine.add("user", 10, Priority.ONLINE, chain=(11, 12))
    assert engine.plan().tokens == 2


@pytest.mark.parametrize("seed", range(30))
def test_every_request_ends_and_users_are_never_paused(seed):
    """A made engine that carries out random loads: nothing starves, no plan exceeds its limits."""
    rng = np.random.default_rng(seed)
    engine = Engine(blocks=60, times=SLOW if seed % 2 else QUICK, slots=4)
    left = {}
    for i in range(12):
        kind = Priority(int(rng.integers(2)))
        engine.add(f"r{i}", int(rng.integers(1, 60)), kind)
        left[f"r{i}"] = int(rng.integers(1, 6))
    for _ in range(3_000):
        if not left:
            break
        step(engine, left)
    assert not left


def step(engine: Engine, left: dict[str, int]) -> None:
    """Carry out one plan as vLLM does: running requests in order, then the waiting ones, within the tokens."""
    planner = engine.planner
    plan = engine.plan()
    assert plan.tokens <= 64 + len(planner.running)
    for name in plan.online:
        while (victim := planner.victim(planner.known[name])) is not None:
            engine.free += len(victim.blocks)
            planner.sync([r.id for r in planner.running if r is not victim])
    tokens = plan.tokens
    order = sorted(planner.running, key=lambda r: (r.priority, not r.decoding, r.order))
    assert not any(r.id in plan.paused for r in order if r.priority is Priority.ONLINE)
    running = [r.id for r in planner.running]
    waiting = sorted(
        (planner.known[n] for n in (*plan.online, *plan.started)), key=lambda r: (r.priority, r.order)
    )
    for request in (*(r for r in order if r.id not in plan.paused), *waiting):
        rows = min(request.pending, tokens)
        needed = engine.pool.blocks_for(request.computed + rows) - len(request.blocks)
        if rows == 0 or needed > engine.free or (request.id not in running and len(running) >= 4):
            continue
        if request.id not in running:
            running.append(request.id)
        tokens -= rows
        engine.free -= needed
        request.blocks = [*request.blocks, *[0] * needed]
        request.computed += rows
        if request.computed == len(request.tokens):
            request.tokens.append(0)
            left[request.id] -= 1
    planner.sync(running)
    engine.now += 0.05
    for name in [n for n, more in left.items() if more <= 0]:
        engine.free += len(planner.known[name].blocks)
        planner.drop([name])
        del left[name]
