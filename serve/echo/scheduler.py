"""Echo: interactive requests first, batch work in the remaining time and memory.

Each step takes all interactive work. It then adds the best small change of the last step's batch work that fits before
the next interactive deadline by the time model. Batch requests run in groups that share a prefix.

This design follows the abstract of Echo (arXiv 2504.03651), whose scheduler searches near the last iteration's batch.
The neighbourhood, the value of a plan and the groups are this project's own. Echo's cache manager ranks blocks by class
of task and chance of sharing, and keeps a reserve for bursts. It is left out: with prefix groups the ranking changed no
result of the simulation, and the reserve cost batch work (docs/results/echo.md).
"""

from __future__ import annotations

import bisect
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from serve.echo.config import EchoConfig
from serve.kv_cache.prefix_cache import PrefixForest
from serve.request import Priority, Request
from serve.scheduling.estimators import LearningTimeModel, OutputLengths, StepTimes
from serve.scheduling.scheduler import Chunk, Schedule, Scheduler, urgency, work_of
from serve.scheduling.step_work import StepWork

REDO = 0.5
"""Value of recomputing a token, relative to a new token."""
SLOW = 2.0
"""Without interactive work, a step may take this many times the shortest step of any use."""


@dataclass(frozen=True, slots=True)
class _Offline:
    """A candidate for the batch part of a step: decoding requests, prompt chunks, admissions."""

    decodes: tuple[Request, ...]
    chunks: tuple[Chunk, ...]
    admit: tuple[tuple[Request, int, int], ...]
    """New requests: (request, cached tokens, rows to compute)."""

    @property
    def work(self) -> StepWork:
        total = StepWork()
        for request in self.decodes:
            total += StepWork.decode(request.computed)
        for chunk in self.chunks:
            total += StepWork.chunk(chunk.rows, chunk.request.computed)
        for _, cached, rows in self.admit:
            total += StepWork.chunk(rows, cached)
        return total

    @property
    def empty(self) -> bool:
        return not (self.decodes or self.chunks or self.admit)


class EchoScheduler(Scheduler):
    """`Scheduler` with the same interface, for two classes of requests.

    Parameters
    ----------
    forest
        The cache's blocks.
    max_running, step_tokens
        As for `Scheduler`.
    times
        Predicts a step's duration.
    config
        Settings.
    clock
        Seconds, on the clock of the requests' timelines.
    """

    def __init__(
        self,
        forest: PrefixForest,
        max_running: int,
        step_tokens: int,
        times: StepTimes,
        config: EchoConfig | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(forest, max_running, step_tokens)
        self.times = times
        self.config = config or EchoConfig()
        self.clock = clock
        self.lengths = OutputLengths()
        self._group: list[Request] = []
        self._queued: set[int] = set()  # waiting batch requests
        self._lost: dict[int, int] = {}  # tokens a preempted request had computed

    # ---- the queue ------------------------------------------------------------------------------------------

    def add(self, request: Request) -> None:
        """Queue a request."""
        super().add(request)
        self._queue(request)

    def remove(self, request: Request) -> None:
        """Take a finished or cancelled request out."""
        self._queued.discard(id(request))
        if request.finish_reason is not None and request.n_output:
            self.lengths.observe(request.n_output)
        super().remove(request)
        self._lost.pop(id(request), None)

    def timed(self, work: StepWork, seconds: float) -> None:
        """Train the time model with the duration of a step."""
        if isinstance(self.times, LearningTimeModel):
            self.times.observe(work, seconds)

    def _queue(self, request: Request) -> None:
        if request.priority is Priority.OFFLINE:
            self._queued.add(id(request))

    def _release(self, request: Request) -> None:
        self._lost[id(request)] = max(request.computed, self._lost.get(id(request), 0))
        super()._release(request)

    # ---- one step -------------------------------------------------------------------------------------------

    def schedule(self) -> Schedule:
        """Choose the next step's work; every chosen request owns the blocks its rows need."""
        now = self.clock()
        preempted: list[Request] = []
        online = self._online(now, preempted)
        plan = self._offline(now, online)
        decodes, chunks = self._carry_out(plan, preempted)
        left = {id(r) for r in preempted}
        for request in preempted:
            self._queue(request)
            bisect.insort(self.waiting, request, key=urgency)
        return Schedule(
            [r for r in (*online.decodes, *decodes) if id(r) not in left],
            [c for c in (*online.chunks, *chunks) if id(c.request) not in left],
            preempted,
        )

    def due_s(self, request: Request) -> float:
        """Due time of the next token of an interactive request, on the scheduler's clock."""
        c = self.config
        return request.timeline.arrived_s + c.allowance_s + c.pace_s * (request.n_output + 1)

    def _online(self, now: float, preempted: list[Request]) -> Schedule:
        """All interactive work: decodes, then prompts by arrival in chunks that keep the decodes' deadlines."""
        budget = self.step_tokens
        decodes: list[Request] = []
        work = StepWork()
        for request in sorted((r for r in self.running if _interactive(r) and r.decoding), key=urgency):
            if budget and self._grow(request, 1, preempted):
                decodes.append(request)
                work += StepWork.decode(request.computed)
                budget -= 1
        on_time = (left for r in decodes if (left := self.due_s(r) - now) >= self._upper(work))
        slack = min(on_time, default=float("inf"))
        chunks: list[Chunk] = []
        for request in sorted((r for r in self.running if _interactive(r) and not r.decoding), key=urgency):
            rows = self._rows_that_fit(request.pending, request.computed, budget, work, slack)
            if rows and self._grow(request, rows, preempted):
                chunks.append(Chunk(request, rows))
                work += StepWork.chunk(rows, request.computed)
                budget -= rows
        self._admit_online(chunks, budget, work, slack, preempted)
        return Schedule(decodes, chunks, [])

    def _admit_online(
        self, chunks: list[Chunk], budget: int, work: StepWork, slack: float, preempted: list[Request]
    ) -> None:
        in_flight = self._in_flight(Priority.ONLINE)
        for request in [r for r in self.waiting if _interactive(r)]:
            if not budget or self._waits_for(request, in_flight):
                continue
            if not self._make_room(request, budget, preempted):
                return
            self._admit(request, budget)
            rows = self._rows_that_fit(request.pending, request.computed, budget, work, slack)
            chunks.append(Chunk(request, rows))
            work += StepWork.chunk(rows, request.computed)
            budget -= rows
            in_flight.update(request.chain[request.registered :])

    def _victim(self, requests: Sequence[Request]) -> Request | None:
        """The request with the fewest computed tokens outside the shared cache."""
        size = self.forest.block_tokens
        return min(requests, key=lambda r: (r.computed - r.registered * size, -r.order), default=None)

    def _rows_that_fit(self, pending: int, context: int, budget: int, work: StepWork, slack: float) -> int:
        """Prompt rows that fit the token budget and, if any do, the time; at least a block, so that prompts advance."""
        rows = min(pending, budget)
        least = min(rows, self.forest.block_tokens)
        tries = range(least, rows + 1)
        late = bisect.bisect_right(tries, slack, key=lambda n: self._upper(work + StepWork.chunk(n, context)))
        return tries[max(late - 1, 0)] if tries else 0

    def _upper(self, work: StepWork) -> float:
        return self.times.upper(work) / (1.0 - self.config.tolerance)

    # ---- batch work -----------------------------------------------------------------------------------------

    def _offline(self, now: float, online: Schedule) -> _Offline:
        """The best feasible change of the last batch plan by value per second.

        Without interactive work a step may take `SLOW` times the shortest one even if that exceeds the longest step,
        so that a slow machine still runs requests together.
        """
        base = work_of(online)
        budget_tokens = self.step_tokens - base.prefill_tokens - base.decodes
        budget_s = self._time_left(now, online) if self.config.budget else float("inf")
        works = [(plan, plan.work) for plan in self._neighbours(now, budget_tokens) if not plan.empty]
        plans = [
            (plan, base + work) for plan, work in works if work.prefill_tokens + work.decodes <= budget_tokens
        ]
        if plans and not online.decodes and not online.chunks:
            budget_s = max(budget_s, SLOW * min(self._upper(total) for _, total in plans))
        best, best_value = _Offline((), (), ()), 0.0
        for plan, total in plans:
            value = self._value(plan) / max(self.times.seconds(total), 1e-9)
            if value > best_value and self._upper(total) <= budget_s:
                best, best_value = plan, value
        return best

    def _time_left(self, now: float, online: Schedule) -> float:
        """Seconds until the next interactive deadline; a step never lasts longer than a newcomer may wait.

        Batch work may lengthen the step by `late_share` only, while an interactive request has no first token after
        it. That token needs several steps, and each of them would be late by a little.
        """
        decoding = [self._usable(self.due_s(r) - now) for r in online.decodes]
        finishing = [self.due_s(c.request) - now for c in online.chunks if c.rows == c.request.pending]
        left = min([self.config.longest_step_s, *decoding, *finishing])
        base = work_of(online)
        share = (1.0 + self.config.late_share) * self._upper(base)
        unfinished = any(c.rows < c.request.pending for c in online.chunks)
        if unfinished or any(_interactive(r) for r in self.waiting[:1]):
            left = min(left, share)
        return share if left < self.times.seconds(base) else left

    def _usable(self, slack: float) -> float:
        """Seconds of a reader's slack that batch work may take; the reserve stays.

        The next deadline is one pace later, so a shorter step makes the slack grow.
        """
        c = self.config
        return min(slack, max(slack - c.reserve * c.allowance_s, c.recover * c.pace_s))

    def _value(self, plan: _Offline) -> float:
        """Useful tokens of a plan: first-time ones, plus prompt tokens that the cache saves."""
        value = float(len(plan.decodes))
        for chunk in plan.chunks:
            value += self._useful(chunk.request, chunk.request.computed, chunk.rows)
        for request, cached, rows in plan.admit:
            value += self._useful(request, cached, rows) + self.config.omega * cached
        return value

    def _useful(self, request: Request, start: int, rows: int) -> float:
        """Value of rows: 1 for each new row, `REDO` for each row that a preemption lost."""
        again = min(rows, max(0, self._lost.get(id(request), 0) - start))
        return rows - again + REDO * again

    def _neighbours(self, now: float, budget: int) -> Iterator[_Offline]:
        """Small changes of the running batch work: keep, pause some, add some, other chunk sizes."""
        running = sorted((r for r in self.running if not _interactive(r)), key=urgency)
        decoding = tuple(r for r in running if r.decoding)
        prefilling = [r for r in running if not r.decoding]
        arriving = list(islice(self._next_offline(now, budget), self.config.neighbours))
        for share in (1, 2, 4, 8):
            chunks, left = _chunks(prefilling, max(0, (budget - len(decoding)) // share))
            yield _Offline(decoding, chunks, ())
            admit = self._admissions(arriving, left)
            for k in range(1, len(admit) + 1):
                yield _Offline(decoding, chunks, admit[:k])
            for paused in range(1, min(self.config.neighbours, len(decoding)) + 1):
                yield _Offline(decoding[:-paused], chunks, ())
                yield _Offline(decoding[:-paused], chunks, admit[:1])
            yield _Offline((), chunks, admit[:1])

    def _admissions(self, requests: Sequence[Request], budget: int) -> tuple[tuple[Request, int, int], ...]:
        """Requests that can start within `budget` rows and fit the free blocks.

        If nothing runs, the first request needs blocks for its prompt only, not for its expected answer.
        """
        admit: list[tuple[Request, int, int]] = []
        held = 0.0
        room = self.forest.n_available
        for request in requests:
            reused = self.forest.match(request.tokens, request.chain[: self._shareable(request)])
            cached = len(reused) * self.forest.block_tokens
            rows = min(len(request.tokens) - cached, budget)
            whole = len(request.tokens) + self.lengths.expected_more(request.n_output)
            held += self.forest.blocks_for(int(whole)) - sum(block.users > 0 for block in reused)
            alone = not self.running and not admit and self._fits(request, budget)
            if rows <= 0 or (held > room and not alone) or len(self.running) + len(admit) >= self.max_running:
                break
            admit.append((request, cached, rows))
            budget -= rows
        return tuple(admit)

    def _next_offline(self, now: float, budget: int) -> Iterator[Request]:
        """Waiting batch requests, best first: overdue ones, then those of the current prefix group, then the rest."""
        start = bisect.bisect_left(self.waiting, (int(Priority.OFFLINE), -1), key=urgency)
        if start == len(self.waiting) or budget <= 0:
            return
        in_flight = self._in_flight(Priority.OFFLINE)
        longest_waiting = self.waiting[start : start + self.config.neighbours]
        overdue = [r for r in longest_waiting if now - r.timeline.arrived_s > self.config.max_wait_s]
        grouped = self._prefix_group(start) if self.config.group_prefixes else ()
        seen: set[int] = set()
        for request in (*overdue, *grouped, *longest_waiting):
            if id(request) not in seen and not self._waits_for(request, in_flight):
                seen.add(id(request))
                yield request

    def _prefix_group(self, start: int) -> Sequence[Request]:
        """The next few requests below the prefix that saves most (length x waiting), until none of them is left."""
        still = [r for r in self._group if id(r) in self._queued]
        if not still and len(self.waiting) - start > 1:
            waiting = self.waiting[start:]
            depth: dict[int, int] = {}
            users: Counter[int] = Counter()
            for request in waiting:
                depth.update((key, i + 1) for i, key in enumerate(request.chain))
                users.update(request.chain)
            shared = [key for key, count in users.items() if count > 1]
            if shared:
                best = max(shared, key=lambda key: (depth[key] * users[key], key))
                still = sorted((r for r in waiting if best in r.chain), key=lambda r: (r.chain, r.order))
        self._group = still
        return still[: self.config.neighbours]

    def _carry_out(self, plan: _Offline, preempted: list[Request]) -> tuple[list[Request], list[Chunk]]:
        """Allocate blocks of the chosen batch requests; never take blocks of an interactive request."""
        decodes = [r for r in plan.decodes if r in self.running and self._grow_offline(r, 1, preempted)]
        chunks = [
            chunk
            for chunk in plan.chunks
            if chunk.request in self.running and self._grow_offline(chunk.request, chunk.rows, preempted)
        ]
        for request, _, rows in plan.admit:
            if not self._fits(request, rows):
                break
            self._admit(request, rows)
            self._queued.discard(id(request))
            chunks.append(Chunk(request, min(rows, request.pending)))
        return decodes, chunks

    def _grow_offline(self, request: Request, rows: int, preempted: list[Request]) -> bool:
        """Blocks for `rows` more tokens of a batch request, from the pool or from other batch requests."""
        wanted = self.forest.blocks_for(request.computed + rows) - len(request.blocks)
        while wanted > self.forest.n_available:
            victim = self._victim([r for r in self.running if not _interactive(r)])
            if victim is None:
                return False
            self._preempt(victim, preempted)
            if victim is request:
                return False
        if wanted > 0:
            request.blocks += self.forest.allocate(wanted)
        return True


def _interactive(request: Request) -> bool:
    return request.priority is Priority.ONLINE


def _chunks(requests: Sequence[Request], budget: int) -> tuple[tuple[Chunk, ...], int]:
    """Prompt chunks in order, as far as `budget` rows go."""
    chunks: list[Chunk] = []
    for request in requests:
        rows = min(request.pending, budget)
        if rows <= 0:
            break
        chunks.append(Chunk(request, rows))
        budget -= rows
    return tuple(chunks), budget
