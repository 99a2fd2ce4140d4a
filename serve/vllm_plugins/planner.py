"""Echo's choice of batch work over a copy of another engine's requests and cache. This file does not import vLLM.

`serve.echo.scheduler` plans and executes; this file only plans. The caller keeps a `serve.request.Request` as a copy of
each request, describes the cache through `Pool`, and executes the `Plan` itself.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from serve.echo.config import EchoConfig
from serve.echo.scheduler import EchoScheduler
from serve.kv_cache.prefix_cache import Block, PrefixForest
from serve.request import Priority, Request, SamplingParams, Timeline
from serve.scheduling.estimators import StepTimes, StepWork
from serve.scheduling.scheduler import Chunk, Schedule, urgency

Lookup = Callable[[int], int | None]
"""Users of the cached block with a hash, None if no block has it."""


class Pool(PrefixForest):
    """The cache of another engine as the planner sees it: free blocks, and the cached part of a prompt.

    Parameters
    ----------
    block_tokens
        Tokens in one of its blocks.
    available
        How many blocks an allocation could get.
    lookup
        Finds a cached block.
    """

    def __init__(self, block_tokens: int, available: Callable[[], int], lookup: Lookup) -> None:
        super().__init__(0, block_tokens)
        self._available, self._lookup = available, lookup

    @property
    def n_available(self) -> int:
        """Blocks that an allocation could get."""
        return self._available()

    def match(self, tokens: Sequence[int], chain: Sequence[int]) -> list[Block]:
        """Stand-ins for the cached blocks of a prompt's longest cached prefix."""
        found: list[Block] = []
        for key in chain:
            users = self._lookup(key)
            if users is None:
                break
            found.append(Block(id=-1, users=users, hash=key))
        return found


@dataclass(frozen=True, slots=True)
class Plan:
    """One step: tokens it may compute in all, batch requests that pause, and batch requests that may start.

    `online` are the interactive requests that wait and should start, most urgent first.
    """

    tokens: int
    paused: frozenset[str]
    started: tuple[str, ...]
    online: tuple[str, ...]


class Planner(EchoScheduler):
    """Echo's scheduler without its hands: `plan` chooses, and changes nothing.

    `track`, `sync` and `drop` keep the pictures; `running` and `waiting` hold them.
    """

    def __init__(
        self,
        pool: Pool,
        max_running: int,
        step_tokens: int,
        times: StepTimes,
        config: EchoConfig,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(pool, max_running, step_tokens, times, config, clock)
        self.most_tokens = step_tokens
        self.known: dict[str, Request] = {}
        self._count = 0

    # ---- pictures -------------------------------------------------------------------------------------------

    def track(
        self, name: str, prompt: Sequence[int], priority: Priority, arrived_s: float, chain: Sequence[int]
    ) -> None:
        """Take in a new request, waiting."""
        self._count += 1
        request = Request(
            name, tuple(prompt), SamplingParams(), priority, Timeline(arrived_s), order=self._count
        )
        request.chain = list(chain)
        self.known[name] = request
        self.add(request)

    def drop(self, names: Iterable[str]) -> None:
        """Forget requests that ended; their lengths teach how long answers are."""
        for name in names:
            request = self.known.pop(name)
            self._queued.discard(id(request))
            if request.n_output:
                self.lengths.observe(request.n_output)
            (self.running if request in self.running else self.waiting).remove(request)
            self._lost.pop(id(request), None)

    def sync(self, running: Sequence[str]) -> None:
        """Follow what the engine did: who runs now, and who was sent back."""
        now = set(running)
        for request in [r for r in self.running if r.id not in now]:
            self.running.remove(request)
            self._lost[id(request)] = max(request.computed, self._lost.get(id(request), 0))
            request.computed, request.blocks, request.registered = 0, [], 0
            request.preemptions += 1
            self.preemptions += 1
            self._queue(request)
            bisect.insort(self.waiting, request, key=urgency)
        started = now - {r.id for r in self.running}
        if started:
            for name in running:
                if name in started:
                    self._queued.discard(id(self.known[name]))
                    self.running.append(self.known[name])
            self.waiting = [r for r in self.waiting if r.id not in started]

    def _extend_chain(self, request: Request) -> None:
        """The engine hashes its blocks itself; `track` was given them."""

    def _shareable(self, request: Request) -> int:
        """Blocks that may come from the cache; none where the engine names none (it reads no cache then)."""
        return min(super()._shareable(request), len(request.chain))

    # ---- one step -------------------------------------------------------------------------------------------

    def plan(self, rows: Callable[[Request], int]) -> Plan:
        """Choose a step. `rows` says how many rows a decoding request takes (more than one with drafts)."""
        now = self.clock()
        online, waiting = self._wanted(now)
        self.step_tokens = self._batch_tokens()
        batch = self._offline(now, online)
        chunks = [c for c in batch.chunks if not waiting or c.rows == c.request.pending]
        go_on = {r.id for r in batch.decodes} | {c.request.id for c in chunks}
        paused = {r.id for r in self.running if r.priority is Priority.OFFLINE} - go_on
        tokens = sum(rows(r) for r in (*online.decodes, *batch.decodes))
        tokens += sum(c.rows for c in (*online.chunks, *chunks)) + sum(n for _, _, n in batch.admit)
        started = tuple(r.id for r, _, _ in batch.admit)
        return Plan(tokens, frozenset(paused), started, tuple(r.id for r in waiting))

    def _batch_tokens(self) -> int:
        """Tokens of the longest step that batch work may make; Echo looks at parts of it, down to an eighth.

        Another engine's limit is set for its throughput, and may be many steps' worth of time on a slow machine.
        """
        tokens = self.most_tokens
        while tokens > 32 and self._upper(StepWork.chunk(tokens, 0)) > self._longest_step():
            tokens //= 2
        return max(tokens, len(self.running))

    def _longest_step(self) -> float:
        """How long a step may keep a newcomer waiting: as configured, but at least three decodes of what runs.

        On a machine whose decodes alone take as long as a step should, no prompt would ever start.
        """
        decodes = sum((StepWork.decode(r.computed) for r in self.running), StepWork())
        return max(self.config.longest_step_s, 3 * self._upper(decodes))

    def _time_left(self, now: float, online: Schedule) -> float:
        """As Echo's while interactive requests are served; for batch work alone a step may be `_longest_step`."""
        if online.decodes or online.chunks:
            return super()._time_left(now, online)
        return self._longest_step()

    def _wanted(self, now: float) -> tuple[Schedule, list[Request]]:
        """All interactive work there is, in chunks that keep the decodes' deadlines, and who of it waits now."""
        running = sorted((r for r in self.running if r.priority is Priority.ONLINE), key=urgency)
        decodes = [r for r in running if r.decoding]
        work = sum((StepWork.decode(r.computed) for r in decodes), StepWork())
        slack = min((self.due_s(r) - now for r in decodes), default=float("inf"))
        budget = self.most_tokens - len(decodes)
        chunks, arriving = list[Chunk](), list[Request]()
        start = bisect.bisect_left(self.waiting, (int(Priority.OFFLINE), -1), key=urgency)
        for request in (*(r for r in running if not r.decoding), *self.waiting[:start]):
            cached = request.computed
            if not cached and request.chain:
                found = self.forest.match(request.tokens, request.chain[: self._shareable(request)])
                cached = len(found) * self.forest.block_tokens
            n = self._rows_that_fit(len(request.tokens) - cached, cached, budget, work, slack)
            if n <= 0:
                break
            chunks.append(Chunk(request, n))
            work += StepWork.chunk(n, cached)
            budget -= n
            if request not in self.running:
                arriving.append(request)
        return Schedule(decodes, chunks, []), arriving

    def victim(self, arriving: Request) -> Request | None:
        """The batch request whose blocks and place an arriving interactive one needs; None if it needs none."""
        found = self.forest.match(arriving.tokens, arriving.chain[: self._shareable(arriving)])
        fresh = self.forest.blocks_for(len(arriving.tokens) + 1) - sum(b.users > 0 for b in found)
        if fresh <= self.forest.n_available and len(self.running) < self.max_running:
            return None
        batch = [r for r in self.running if r.priority is Priority.OFFLINE]
        return min(batch, key=lambda r: (r.computed, -r.order), default=None)
