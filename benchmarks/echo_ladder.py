"""``python -m benchmarks.echo_ladder``: `benchmarks.echo_simulation` on the real engine, and the simulator's error.

The same traces and schedulers as in the simulation, with the embedded model computing every step. A calibration run
fits the time model first; its error is then taken over the steps of all the other runs, and the simulator replays
each trace with the fitted model. Answers run to their trace's length, whatever the model says.

Time is the processor time of this process, which computes on one thread, and jumps to the next arrival where nothing
is to be done: so what else runs on the machine does not decide who was late.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.arrivals import bursty_trace, read_recorded, readers
from benchmarks.echo_simulation import LADDER, STRICT, by_class
from benchmarks.echo_simulation import run as run_simulated
from benchmarks.simulated_server import Rung, Server, batch_prompts, rung_of
from benchmarks.simulator import Arrival, Outcome
from serve.engine.engine import Engine, EngineConfig
from serve.errors import InputError
from serve.goodput import Ending
from serve.goodput import Timeline as ClientTimeline
from serve.model.decoder import Model
from serve.model.loader import Checkpoint, load_checkpoint
from serve.request import FinishReason, Priority, Request, SamplingParams, Timeline
from serve.scheduling.estimators import TimeModel
from serve.scheduling.scheduler import Scheduler
from serve.scheduling.step_work import StepWork
from serve.threads import use_threads


class BusyClock:
    """Seconds of processor time of this process, plus what was skipped while it had nothing to do."""

    def __init__(self) -> None:
        self.skipped_s = 0.0

    def __call__(self) -> float:
        """Now."""
        return time.process_time() + self.skipped_s

    def skip_to(self, at_s: float) -> None:
        """Let time pass until `at_s`."""
        self.skipped_s += max(0.0, at_s - self())


@dataclass(slots=True)
class Steps:
    """Measured steps: their work and their seconds, on `clock`; `begin` is called before each."""

    clock: BusyClock
    works: list[StepWork] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    _began: float = 0.0

    def begin(self) -> None:
        """A step begins."""
        self._began = self.clock()

    def __call__(self, work: StepWork, _seconds: float) -> None:
        """Take one in (an engine's step observer, whose seconds are the wall's)."""
        self.works.append(work)
        self.seconds.append(self.clock() - self._began)


class Drive:
    """One trace through one engine, until `until_s` seconds on the clock of `steps` are over."""

    def __init__(self, engine: Engine, arrivals: Sequence[Arrival], until_s: float, steps: Steps) -> None:
        self.engine, self.until_s, self.steps, self.clock = engine, until_s, steps, steps.clock
        engine.step_observers.append(steps)
        self.times: dict[str, list[float]] = {}
        self.due = sorted(enumerate(arrivals), key=lambda pair: (pair[1].at_s, pair[0]))
        self.requests: list[tuple[Arrival, Request]] = []
        self.reached: dict[str, int] = {}
        self.computed: dict[str, int] = {}
        self.began = 0.0

    def __call__(self) -> Outcome:
        """Run it and return what users and batch work got."""
        self.began = self.clock()
        while (now_s := self.clock() - self.began) < self.until_s:
            self._admit(now_s)
            if self.engine.has_work:
                self.steps.begin()
                events = self.engine.step()
                ended_s = self.clock() - self.began
                for event in events:
                    self.times.setdefault(event.request_id, []).extend([ended_s] * len(event.tokens))
                self._note()
            elif not self.due:
                break
            else:
                self.clock.skip_to(self.began + self.due[0][1].at_s)
        outcome = self._outcome(self.clock() - self.began)
        for _, request in self.requests:
            self.engine.cancel(request.id)
        return outcome

    def _admit(self, now_s: float) -> None:
        while self.due and self.due[0][1].at_s <= now_s:
            order, arrival = self.due.pop(0)
            params = SamplingParams(max_tokens=arrival.output_tokens, ignore_eos=True)
            stamps = Timeline(self.began + arrival.at_s)
            request = Request(
                f"{arrival.priority.name}-{order}", arrival.prompt, params, arrival.priority, stamps
            )
            self.engine.add(request)
            self.requests.append((arrival, request))

    def _note(self) -> None:
        """Count batch rows as they are computed: for the first time, or again after a preemption."""
        for request in self.engine.scheduler.running:
            if request.priority is Priority.OFFLINE:
                before = self.computed.get(request.id, request.cached_prompt_tokens)
                start = before if request.computed >= before else request.cached_prompt_tokens
                self.computed[request.id] = request.computed
                self.reached[request.id] = max(self.reached.get(request.id, start), request.computed)

    def _outcome(self, ended_s: float) -> Outcome:
        outcome = Outcome(ended_s=ended_s, steps=self.engine.stats.steps)
        for arrival, request in self.requests:
            done = request.finish_reason is FinishReason.LENGTH
            stamps = request.timeline
            times = tuple(self.times.get(request.id, ()))
            last = times[-1] if done else ended_s
            ending = Ending.FINISHED if done else Ending.UNFINISHED
            seen = ClientTimeline(request.id, stamps.arrived_s - self.began, times, last, ending)
            if arrival.priority is Priority.ONLINE:
                outcome.online.append(seen)
                continue
            outcome.offline.append(seen)
            outcome.offline_finished += done
            reached = len(request.tokens) - 1 if done else self.reached.get(request.id, 0)
            outcome.first_time_tokens += max(0, reached - request.cached_prompt_tokens)
            outcome.cached_tokens += min(reached, request.cached_prompt_tokens)
        return outcome


def make_engine(model: Model, checkpoint: Checkpoint, server: Server, scheduler: Scheduler) -> Engine:
    """An engine of the sizes the server is said to have."""
    size = server.block_tokens
    config = EngineConfig(server.n_blocks * size, size, server.max_running, server.step_tokens)
    return Engine(model, checkpoint, config, None, scheduler)


GROUPS = (1, 2, 4, 8, 16, 8, 4, 2)
"""Requests that the calibration answers together, group after group."""


def calibrate(model: Model, checkpoint: Checkpoint, server: Server, seed: int) -> TimeModel:
    """Fit the time model to a run of its own: groups of requests, each answered before the next comes.

    So there are steps of prompts alone, of 1 to 16 decodes alone and of both. Under a load that never ends every step
    would be full, and what a decode takes could not be told from what a prompt token takes.
    """
    rng, steps = np.random.default_rng(seed), Steps(BusyClock())
    engine = make_engine(model, checkpoint, server, LADDER[STRICT](server, steps.clock))
    trace = [
        replace(arrival, at_s=1e6 * turn, priority=Priority.ONLINE, output_tokens=int(rng.integers(8, 25)))
        for turn, size in enumerate(GROUPS)
        for arrival in (batch_prompts(rng, size) if turn % 2 else readers(rng, size))
    ]
    Drive(engine, trace, 1e6 * len(GROUPS), steps)()
    warm = len(steps.works) // 20  # the first steps compile kernels
    return TimeModel.fit(steps.works[warm:], steps.seconds[warm:])


def feasible(server: Server) -> tuple[Server, float]:
    """The server with deadlines that it can keep, and the interactive requests a second that it can serve.

    By rule, from the calibration alone: a reader's pace is twice a step of eight decodes, the allowance three prompt
    chunks of 256 tokens, half of which no step may exceed; requests of the trace (165 prompt and 70 answer tokens in
    the mean, four answering together) take a sixth of the machine at the given rate, half of it in bursts.
    """
    times = server.times
    pace_s = 2 * times.seconds(StepWork(decodes=8, decode_context=8 * 300))
    allowance_s = 3 * times.seconds(StepWork.chunk(256, 0))
    if not (pace_s > 0 and allowance_s > 0):
        raise InputError(
            "the calibration could not tell the time of decodes from that of prompts; run it again on a quieter machine"
        )
    request_s = times.seconds(StepWork.chunk(165, 0))
    request_s += 70 * times.seconds(StepWork(decodes=4, decode_context=4 * 200)) / 4
    echo = replace(server.echo, pace_s=pace_s, allowance_s=allowance_s, longest_step_s=allowance_s / 2)
    return replace(server, echo=echo), 1 / (6 * request_s)


@dataclass(frozen=True, slots=True)
class Pair:
    """One rung on one trace, measured and simulated."""

    real: Rung
    simulated: Rung


def climb(
    model: Model,
    checkpoint: Checkpoint,
    server: Server,
    arrivals: Sequence[Arrival],
    until_s: float,
    steps: Steps,
    names: Sequence[str],
) -> list[Pair]:
    """The named schedulers of the ladder on the same trace, on the engine and in the simulator."""
    pairs = []
    for name in names:
        engine = make_engine(model, checkpoint, server, LADDER[name](server, steps.clock))

        def drive(given: Sequence[Arrival], engine: Engine = engine) -> Outcome:
            return Drive(engine, given, until_s, steps)()

        real = rung_of(name, server, by_class(name, arrivals, drive), until_s)
        pairs.append(Pair(real, run_simulated(name, server, arrivals, until_s)[0]))
        sys.stderr.write(f"{name}: {real}\n")
    return pairs


def table(runs: Sequence[Sequence[Pair]]) -> str:
    """Means over traces, with the range of the measured batch work."""
    rows = [
        "| scheduler | attainment | smooth goodput, tokens/s | batch requests | batch tokens/s (range) | "
        "batch, x strict priority | simulated attainment | simulated batch tokens/s | simulator's error |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    given = [pair.real for run in runs for pair in run if pair.real.scheduler == STRICT]
    strict = float(np.mean([rung.offline_tokens_s for rung in given])) if given else float("nan")
    for pairs in zip(*runs, strict=True):
        real = [p.real.offline_tokens_s for p in pairs]
        met, smooth, done = (
            float(np.mean([getattr(p.real, name) for p in pairs]))
            for name in ("attainment", "smooth_goodput", "offline_requests")
        )
        said = float(np.mean([p.simulated.offline_tokens_s for p in pairs]))
        said_met = float(np.mean([p.simulated.attainment for p in pairs]))
        error = f"{100 * (said / float(np.mean(real)) - 1):+.0f} %" if any(real) else "-"
        rows.append(
            f"| {pairs[0].real.scheduler} | {met:.3f} | {smooth:.1f} | {done:.0f} | "
            f"{np.mean(real):.0f} ({min(real):.0f} to {max(real):.0f}) | {np.mean(real) / max(strict, 1e-9):.2f} | "
            f"{said_met:.3f} | {said:.0f} | {error} |"
        )
    return "\n".join(rows)


def percentage_errors(
    model: TimeModel, works: Sequence[StepWork], seconds: Sequence[float]
) -> tuple[float, float]:
    """Mean and 95th percentile of the absolute relative error of predictions, in percent."""
    predicted = np.array([model.seconds(work) for work in works])
    errors = 100 * np.abs(predicted / np.asarray(seconds, np.float64) - 1.0)
    return float(errors.mean()), float(np.quantile(errors, 0.95))


def main() -> None:
    """Print the ladder, measured and simulated, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0, help="length of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument(
        "--rate", type=float, help="interactive requests a second; default: a sixth of the load"
    )
    parser.add_argument("--schedulers", nargs="+", default=list(LADDER), choices=list(LADDER))
    parser.add_argument("--arrivals", type=Path, help="CSV of a recorded trace; default: bursts")
    parser.add_argument("--model", type=Path, default=None)
    arguments = parser.parse_args()
    use_threads(1)
    checkpoint = load_checkpoint(arguments.model)
    model = Model.load(checkpoint, "float16")
    server = Server(step_tokens=64)  # 256 take one thread more than a second
    times = calibrate(model, checkpoint, server, seed=1_000)
    server, rate = feasible(replace(server, times=times))
    rate = rate if arguments.rate is None else arguments.rate
    make = read_recorded(arguments.arrivals).trace if arguments.arrivals else bursty_trace
    kind = f"of {arguments.arrivals.name}" if arguments.arrivals else "in bursts"
    steps, runs = Steps(BusyClock()), []
    for seed in arguments.seeds:
        span = max(1.0, arguments.seconds - 10.0)
        trace = make(np.random.default_rng(seed), rate, span, batch=2_000)
        met = sum(arrival.priority is Priority.ONLINE for arrival in trace)
        sys.stderr.write(f"seed {seed}: {met} readers\n")
        runs.append(climb(model, checkpoint, server, trace, arguments.seconds, steps, arguments.schedulers))
    mape, p95 = percentage_errors(times, steps.works, steps.seconds)
    sys.stdout.write(
        f"{len(arguments.seeds)} traces of {arguments.seconds:g} s, {rate:.2f} interactive requests a second "
        f"({kind}), tokens due {server.echo.allowance_s:.2f} s + {server.echo.pace_s:.3f} s x i.\n"
        f"Step times, fitted on a run of its own: {mape:.1f} % mean absolute relative error over "
        f"{len(steps.works):,} held-out steps, 95th percentile {p95:.1f} %.\n\n{table(runs)}\n"
    )


if __name__ == "__main__":
    main()
