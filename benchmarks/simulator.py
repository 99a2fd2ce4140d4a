"""Simulate the scheduler on a virtual clock, with the engine's code and the step times of the time model.

Every figure that comes from here is a simulated one and is named so.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from serve.goodput import Ending
from serve.goodput import Timeline as ClientTimeline
from serve.request import FinishReason, Priority, Request, SamplingParams, Timeline
from serve.scheduling.scheduler import Scheduler, work_of
from serve.scheduling.step_work import StepWork


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace: arrival, prompt, and tokens of the answer."""

    at_s: float
    prompt: tuple[int, ...]
    output_tokens: int
    priority: Priority = Priority.ONLINE


@dataclass(slots=True)
class VirtualClock:
    """A virtual clock; a call returns its seconds."""

    now_s: float = 0.0

    def __call__(self) -> float:
        """Seconds since the simulation began."""
        return self.now_s


@dataclass(slots=True)
class Outcome:
    """Results of a simulation up to `ended_s`.

    `online` and `offline` are the requests' timelines. `first_time_tokens` counts batch tokens, prompt and answer,
    that were computed for the first time, `recomputed_tokens` those that were computed again.
    """

    online: list[ClientTimeline] = field(default_factory=list)
    offline: list[ClientTimeline] = field(default_factory=list)
    first_time_tokens: int = 0
    recomputed_tokens: int = 0
    cached_tokens: int = 0
    offline_finished: int = 0
    steps: int = 0
    ended_s: float = 0.0


class _Run:
    """State of a running simulation."""

    def __init__(self, arrivals: Sequence[Arrival], scheduler: Scheduler, clock: VirtualClock) -> None:
        self.scheduler, self.clock = scheduler, clock
        self.outcome = Outcome()
        self.lengths: dict[str, int] = {}
        self.reached: dict[str, int] = {}
        self.live: dict[str, Request] = {}
        self.due = [(a.at_s, i, a) for i, a in enumerate(arrivals)]
        heapq.heapify(self.due)

    def admit(self) -> None:
        """Queue every request that has arrived."""
        while self.due and self.due[0][0] <= self.clock.now_s:
            at_s, order, arrival = heapq.heappop(self.due)
            params = SamplingParams(max_tokens=arrival.output_tokens)
            name = f"{arrival.priority.name.lower()}-{order}"
            request = Request(name, arrival.prompt, params, arrival.priority, Timeline(at_s), order)
            self.lengths[name], self.live[name] = arrival.output_tokens, request
            self.scheduler.add(request)

    def computed(self, request: Request, rows: int) -> None:
        """Count rows, advance the request, and give it a token where its prompt is complete."""
        self._count(request, rows)
        self.scheduler.advance(request, request.computed + rows)
        if request.pending:
            return
        request.tokens.append(-1 - request.n_output - 1000 * request.order & 0x7FFFFFFF)
        request.timeline.token_s.append(self.clock.now_s)
        if request.n_output >= self.lengths[request.id]:
            self.end(request, Ending.FINISHED)

    def _count(self, request: Request, rows: int) -> None:
        if request.priority is Priority.OFFLINE:
            before = self.reached.get(request.id, request.cached_prompt_tokens)
            again = min(rows, max(0, before - request.computed))
            self.outcome.recomputed_tokens += again
            self.outcome.first_time_tokens += rows - again
            self.reached[request.id] = max(before, request.computed + rows)

    def end(self, request: Request, ending: Ending) -> None:
        """Take a request out and keep its timeline."""
        request.finish_reason = FinishReason.LENGTH if ending is Ending.FINISHED else FinishReason.CANCELLED
        self.scheduler.remove(request)
        del self.live[request.id]
        stamps = request.timeline
        seen = ClientTimeline(request.id, stamps.arrived_s, tuple(stamps.token_s), self.clock.now_s, ending)
        offline = request.priority is Priority.OFFLINE
        (self.outcome.offline if offline else self.outcome.online).append(seen)
        self.outcome.cached_tokens += request.cached_prompt_tokens if offline else 0
        self.outcome.offline_finished += offline and ending is Ending.FINISHED


def simulate(
    arrivals: Sequence[Arrival],
    scheduler: Scheduler,
    clock: VirtualClock,
    step_seconds: Callable[[StepWork], float],
    *,
    until_s: float,
) -> Outcome:
    """Run a trace through a scheduler until it is done or `until_s` is over.

    The scheduler must read `clock`. Requests that are not finished by then have the ending ``unfinished``.
    """
    run = _Run(arrivals, scheduler, clock)
    while clock.now_s < until_s:
        run.admit()
        schedule = scheduler.schedule()
        if not schedule.decodes and not schedule.chunks:
            if schedule.preempted:  # the only chosen request gave up its blocks; the next step has them
                continue
            if not run.due:
                if not run.live:
                    break
                raise AssertionError(f"{len(run.live)} requests wait and nothing is scheduled")
            clock.now_s = max(clock.now_s, run.due[0][0])
            continue
        clock.now_s += step_seconds(work_of(schedule))
        run.outcome.steps += 1
        for request in schedule.decodes:
            run.computed(request, 1)
        for chunk in schedule.chunks:
            run.computed(chunk.request, chunk.rows)
    run.outcome.ended_s = clock.now_s
    for request in list(run.live.values()):
        run.end(request, Ending.UNFINISHED)
    return run.outcome
