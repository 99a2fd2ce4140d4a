"""Echo: interactive requests do not feel the batch work, nothing starves, and the accounting holds at every step."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.arrivals import bursty_trace
from benchmarks.echo_ladder import feasible, percentage_errors
from benchmarks.simulated_server import CPU_TIMES, Server, echo_scheduler
from benchmarks.simulator import Arrival, Outcome, VirtualClock, simulate
from serve.echo.config import EchoConfig
from serve.echo.scheduler import EchoScheduler
from serve.goodput import Ending, attainment
from serve.kv_cache.prefix_cache import PrefixForest
from serve.request import Priority, Request, SamplingParams, Timeline
from serve.scheduling.estimators import (
    LearningTimeModel,
    OutputLengths,
    TimeModel,
)
from serve.scheduling.scheduler import Schedule, Scheduler, work_of
from serve.scheduling.step_work import StepWork

TIMES = TimeModel(np.array([0.004, 2e-4, 1e-7, 5e-4, 1e-6, 1e-4]))
"""A small model on a slow machine: 4 ms a step, 0.2 ms a prompt token, 0.5 ms a decoding request."""


def trace(seed: int, *, online: int, offline: int, families: int = 4, span_s: float = 20.0) -> list[Arrival]:
    """Bursty interactive arrivals beside batch prompts that share one of a few long prefixes."""
    rng = np.random.default_rng(seed)
    prefixes = [tuple(rng.integers(0, 5000, 160).tolist()) for _ in range(families)]
    arrivals = []
    for at in np.sort(rng.uniform(0, span_s, online) * rng.choice([0.2, 1.0], online)):
        prompt = tuple(rng.integers(0, 5000, int(rng.integers(20, 120))).tolist())
        arrivals.append(Arrival(float(at), prompt, int(rng.integers(5, 40))))
    for i in range(offline):
        prompt = (*prefixes[i % families], *rng.integers(0, 5000, int(rng.integers(8, 40))).tolist())
        arrivals.append(Arrival(0.0, prompt, int(rng.integers(5, 30)), Priority.OFFLINE))
    return arrivals


def echo(n_blocks: int = 96, config: EchoConfig | None = None) -> tuple[EchoScheduler, VirtualClock]:
    clock, config = VirtualClock(), config or EchoConfig()
    forest = PrefixForest(n_blocks, 16)
    return EchoScheduler(forest, 16, 128, TIMES, config, clock), clock


def run(arrivals: list[Arrival], scheduler: Scheduler, clock: VirtualClock, until_s: float = 1e6) -> Outcome:
    return simulate(arrivals, scheduler, clock, TIMES.seconds, until_s=until_s)


class Watched(EchoScheduler):
    """Checks the accounting, and who lost blocks to whom, after every decision."""

    def schedule(self):
        running_online = {id(r) for r in self.running if r.priority is Priority.ONLINE}
        schedule = super().schedule()
        self.forest.check()
        assert self._queued == {id(r) for r in self.waiting if r.priority is Priority.OFFLINE}
        offline_runs = any(r.priority is Priority.OFFLINE for r in self.running)
        assert not offline_runs or not any(id(r) in running_online for r in schedule.preempted)
        for request in (*schedule.decodes, *(c.request for c in schedule.chunks)):
            rows = next((c.rows for c in schedule.chunks if c.request is request), 1)
            assert len(request.blocks) * 16 >= request.computed + rows
        return schedule


@pytest.mark.parametrize("seed", range(6))
def test_every_request_finishes_and_the_accounting_holds_at_every_step(seed: int) -> None:
    clock, config = VirtualClock(), EchoConfig()
    scheduler = Watched(PrefixForest(48, 16), 12, 96, TIMES, config, clock)
    arrivals = trace(seed, online=25, offline=25)
    outcome = run(arrivals, scheduler, clock)
    assert {t.ending for t in (*outcome.online, *outcome.offline)} == {Ending.FINISHED}
    assert len(outcome.online) == len(outcome.offline) == 25
    assert scheduler.forest.n_in_use == 0
    assert not scheduler._queued


@pytest.mark.parametrize("seed", range(4))
def test_batch_work_delays_an_interactive_token_by_at_most_one_step(seed: int) -> None:
    arrivals = trace(seed, online=20, offline=60)
    alone, clock = echo(400)
    without = run([a for a in arrivals if a.priority is Priority.ONLINE], alone, clock)
    beside, clock = echo(400)
    with_batch = run(arrivals, beside, clock)
    config = EchoConfig()

    def idle(outcome: Outcome) -> float:
        late = [
            max(t - config.allowance_s - config.pace_s * (i + 1) for i, t in enumerate(line.times))
            for line in outcome.online
        ]
        return max(0.0, *late)

    assert idle(with_batch) <= idle(without) + config.longest_step_s + 1e-9
    assert with_batch.offline_finished == 60


def test_full_echo_does_more_batch_work_than_strict_priority_at_no_cost_to_users() -> None:
    arrivals = trace(1, online=40, offline=400, families=8)
    clock = VirtualClock()
    strict = run(arrivals, Scheduler(PrefixForest(64, 16), 16, 128), clock, until_s=12.0)
    scheduler, clock = echo(64)
    full = run(arrivals, scheduler, clock, until_s=12.0)
    assert full.first_time_tokens + full.cached_tokens > strict.first_time_tokens + strict.cached_tokens

    def late(outcome: Outcome) -> int:
        return sum(
            any(t > 1.0 + 0.2 * (i + 1) for i, t in enumerate(line.times))
            or line.ending is not Ending.FINISHED
            for line in outcome.online
        )

    assert late(full) <= late(strict)


def test_a_plan_is_never_empty_while_time_and_memory_allow_a_batch_token() -> None:
    scheduler, _ = echo()
    scheduler.add(
        Request("r", tuple(range(40)), SamplingParams(max_tokens=3), Priority.OFFLINE, Timeline(0.0))
    )
    schedule = scheduler.schedule()
    assert [c.rows for c in schedule.chunks] == [40]


@pytest.mark.parametrize("seed", range(20))
def test_the_search_is_no_worse_than_keeping_the_batch_and_within_a_tenth_of_the_best_of_all_subsets(
    seed: int,
) -> None:
    """Exhaustively, over the subsets of up to five decoding batch requests: value per second of what fits in time."""
    rng = np.random.default_rng(seed)
    scheduler, clock = echo(config=EchoConfig(pace_s=float(rng.uniform(0.004, 0.02)), allowance_s=0.0))
    clock.now_s = -10.0
    for order in range(n := int(rng.integers(1, 7))):
        kind = Priority.ONLINE if order == 0 else Priority.OFFLINE
        prompt = tuple(range(1000 * order, 1000 * order + int(rng.integers(17, 300))))
        request = Request(f"r{order}", prompt, SamplingParams(max_tokens=50), kind, Timeline(0.0), order)
        scheduler.add(request)
        while request.pending or request not in scheduler.running:
            for chunk in scheduler.schedule().chunks:
                scheduler.advance(chunk.request, chunk.request.computed + chunk.rows)
        request.tokens.append(1)
    clock.now_s = 0.0
    user, *batch = sorted(scheduler.running, key=lambda r: r.order)
    budget = min(scheduler.due_s(user) - clock.now_s, scheduler.config.longest_step_s)

    def worth(chosen: list[Request]) -> float:
        work = work_of(Schedule([user, *chosen], [], []))
        fits = TIMES.upper(work) / (1.0 - scheduler.config.tolerance) <= budget
        return len(chosen) / TIMES.seconds(work) if fits else 0.0

    subsets = [[r for i, r in enumerate(batch) if mask >> i & 1] for mask in range(2 ** (n - 1))]
    found = worth([r for r in scheduler.schedule().decodes if r is not user])
    assert found >= worth(batch)
    assert found >= 0.9 * max(map(worth, subsets))


def test_a_reserve_keeps_readers_in_time_although_steps_last_longer_than_forecast() -> None:
    """Steps vary by 14 % and slow ones come together. Without a reserve each step ends at the next deadline."""
    times = TimeModel(CPU_TIMES.coefficients, margin=0.25)
    server, rate = feasible(Server(step_tokens=64, times=times))
    arrivals = bursty_trace(np.random.default_rng(2), 1.5 * rate, 40.0, batch=500)
    in_time, batch = {}, {}
    for reserve, recover in ((0.0, 100.0), (1.5, 0.5)):
        rng, clock, slow = np.random.default_rng(2), VirtualClock(), [0.0]
        config = replace(server.echo, reserve=reserve, recover=recover)
        scheduler = echo_scheduler(replace(server, echo=config), clock)

        def noisy(work: StepWork, rng: np.random.Generator = rng, slow: list[float] = slow) -> float:
            slow[0] = 0.5 * slow[0] + 0.75**0.5 * rng.normal()
            return times.seconds(work) * float(np.exp(0.14 * slow[0]))

        outcome = simulate(arrivals, scheduler, clock, noisy, until_s=50.0)
        in_time[reserve] = attainment(outcome.online, server.slo)
        batch[reserve] = outcome.first_time_tokens + outcome.cached_tokens
    assert in_time[1.5] == 1.0
    assert in_time[0.0] < 0.95
    assert batch[1.5] > 0.9 * batch[0.0]


def test_a_machine_too_slow_for_any_step_still_does_its_batch_work() -> None:
    clock, slow = VirtualClock(), TimeModel(1_000 * TIMES.coefficients, margin=1.0)
    scheduler = EchoScheduler(PrefixForest(96, 16), 16, 128, slow, EchoConfig(), clock)
    outcome = simulate(trace(0, online=3, offline=10), scheduler, clock, slow.seconds, until_s=1e9)
    assert outcome.offline_finished == 10
    assert all(t.ending is Ending.FINISHED for t in outcome.online)


def test_a_slow_machine_runs_batch_requests_together() -> None:
    """A decode alone takes more than half the longest step, as with half a billion parameters on two cores."""
    slow = TimeModel(60 * TIMES.coefficients, margin=0.9)
    clock = VirtualClock()
    scheduler = EchoScheduler(PrefixForest(400, 16), 16, 128, slow, EchoConfig(), clock)
    assert slow.upper(StepWork.decode(200) + StepWork.decode(200)) > scheduler.config.longest_step_s
    together: list[int] = []
    schedule = scheduler.schedule

    def watched() -> Schedule:
        chosen = schedule()
        together.append(len(chosen.decodes))
        return chosen

    scheduler.schedule = watched  # type: ignore[method-assign]
    arrivals = trace(0, online=0, offline=12)
    outcome = simulate(arrivals, scheduler, clock, slow.seconds, until_s=1e9)
    assert outcome.offline_finished == 12
    assert np.mean([n for n in together if n]) > 4


def test_a_batch_request_that_takes_the_whole_cache_is_run_when_nobody_else_is_there() -> None:
    clock = VirtualClock()
    scheduler = EchoScheduler(PrefixForest(8, 16), 16, 128, TIMES, EchoConfig(), clock)
    arrival = Arrival(0.0, tuple(range(100)), 20, Priority.OFFLINE)
    outcome = simulate([arrival], scheduler, clock, TIMES.seconds, until_s=1e6)
    assert outcome.offline_finished == 1


def test_batch_work_waits_while_an_interactive_deadline_leaves_no_time() -> None:
    config = EchoConfig(pace_s=0.006, allowance_s=0.0, longest_step_s=0.5)
    scheduler, clock = echo(config=config)
    request = Request("user", tuple(range(17)), SamplingParams(max_tokens=50), Priority.ONLINE, Timeline(0.0))
    scheduler.add(request)
    schedule = scheduler.schedule()
    scheduler.advance(request, 17)
    request.tokens.append(1)
    clock.now_s = 0.006  # token 2 is due at 0.012 and a step of one decode takes about 0.0045
    scheduler.add(
        Request("batch", tuple(range(100)), SamplingParams(max_tokens=3), Priority.OFFLINE, Timeline(0.0), 1)
    )
    schedule = scheduler.schedule()
    assert schedule.decodes == [request]
    assert sum(c.rows for c in schedule.chunks) * 2e-4 < 0.0075


@pytest.mark.parametrize(("late_share", "together"), [(0.0, 1), (0.1, 1), (1.0, 2)])
def test_beside_a_token_that_is_late_anyway_batch_work_may_take_a_share_of_the_step(
    late_share, together
) -> None:
    scheduler, clock = echo(config=EchoConfig(pace_s=1e-3, allowance_s=0.0, late_share=late_share))
    for order, (name, priority) in enumerate([("user", Priority.ONLINE), ("batch", Priority.OFFLINE)]):
        prompt = tuple(range(100 * order, 100 * order + 17))
        request = Request(name, prompt, SamplingParams(max_tokens=50), priority, Timeline(0.0), order)
        scheduler.add(request)
        clock.now_s = -10.0  # nobody is late yet
        scheduler.schedule()
        scheduler.advance(request, 17)
        request.tokens.append(1)
    clock.now_s = 5.0
    schedule = scheduler.schedule()
    assert [r.id for r in schedule.decodes] == ["user", "batch"][:together]
    alone = work_of(Schedule(schedule.decodes[:1], [], []))
    assert TIMES.seconds(work_of(schedule)) <= (1.0 + late_share) * TIMES.upper(alone) / 0.95


@pytest.mark.parametrize("seed", range(3))
def test_the_same_trace_gives_the_same_outcome(seed: int) -> None:
    outcomes = []
    for _ in range(2):
        scheduler, clock = echo(64)
        outcomes.append(run(trace(seed, online=10, offline=20), scheduler, clock))
    assert outcomes[0] == outcomes[1]


def test_the_time_model_recovers_its_coefficients_and_never_falls_with_more_work() -> None:
    rng = np.random.default_rng(0)
    works = [
        StepWork.chunk(int(rng.integers(0, 200)), int(rng.integers(0, 900)))
        + StepWork(decodes=int(n := rng.integers(1, 30)), decode_context=int(n * rng.integers(10, 900)))
        for _ in range(400)
    ]
    seconds = [TIMES.seconds(w) * rng.uniform(0.95, 1.05) for w in works]
    fitted = TimeModel.fit(works[:300], seconds[:300])
    mean, p95 = percentage_errors(fitted, works[300:], seconds[300:])
    assert mean < 4
    assert p95 < 8
    assert (fitted.coefficients >= 0).all()
    exceeded = np.mean([s > fitted.upper(w) for w, s in zip(works[300:], seconds[300:], strict=True)])
    assert exceeded < 0.12
    more = works[0] + StepWork.decode(100)
    assert fitted.seconds(more) >= fitted.seconds(works[0])


def test_a_learning_model_follows_the_machine() -> None:
    model = LearningTimeModel(TimeModel(np.zeros(6)), every=32)
    work = [StepWork(decodes=n, decode_context=100 * n) for n in range(1, 33)]
    for w in work:
        model.observe(w, 3 * TIMES.seconds(w))
    assert model.seconds(work[5]) == pytest.approx(3 * TIMES.seconds(work[5]), rel=0.05)


def test_a_learning_model_is_of_the_machines_order_after_four_steps() -> None:
    model = LearningTimeModel(TIMES)
    for n in (1, 5, 2, 9):
        work = StepWork(decodes=n, decode_context=100 * n)
        model.observe(work, 20 * TIMES.seconds(work))
    assert model.seconds(work) == pytest.approx(20 * TIMES.seconds(work))


def test_output_lengths_are_those_of_longer_answers() -> None:
    lengths = OutputLengths([10, 20, 40], prior=7)
    assert lengths.expected_more(0) == pytest.approx(70 / 3)
    assert lengths.expected_more(15) == 15.0
    assert lengths.expected_more(40) == 7.0
