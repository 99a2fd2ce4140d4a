"""Choose the requests of the next step and the tokens of each. This file uses no tensors.

Continuous batching: every running request decodes each step. Prompts are prefilled in chunks that fill the rest of
the step's token budget. A waiting request is admitted when its blocks fit, in order of class and arrival.
Each class is scheduled before the next one gets the rest of the step. Batch requests give up blocks and places for an
interactive one. When blocks run out, the scheduler preempts the last arrival of the lowest class. Its full blocks stay
in the prefix forest, so that a later start recomputes little.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from serve.kv_cache.prefix_cache import Block, PrefixForest, chain_hash
from serve.request import Priority, Request
from serve.scheduling.step_work import StepWork


@dataclass(frozen=True, slots=True)
class Chunk:
    """The first `rows` uncomputed tokens of a request, computed in this step."""

    request: Request
    rows: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """One step: decoding requests, prompt chunks, and the requests that it preempted."""

    decodes: list[Request]
    chunks: list[Chunk]
    preempted: list[Request]


def work_of(schedule: Schedule, drafted: Sequence[int] = ()) -> StepWork:
    """Work of a schedule before it runs; each drafted token of a request adds a row."""
    total = StepWork()
    for i, request in enumerate(schedule.decodes):
        rows = 1 + (drafted[i] if drafted else 0)
        total += StepWork(decodes=rows, decode_context=rows * request.computed)
    for chunk in schedule.chunks:
        total += StepWork.chunk(chunk.rows, chunk.request.computed)
    return total


def urgency(request: Request) -> tuple[int, int]:
    """Sort key: lower goes first."""
    return int(request.priority), request.order


class Scheduler:
    """First come, first served within a class, over the blocks of a `PrefixForest`.

    `max_running` requests at most run together, and a step computes at most `step_tokens` tokens
    (drafted ones come on top).
    """

    def __init__(self, forest: PrefixForest, max_running: int, step_tokens: int) -> None:
        self.forest = forest
        self.max_running = max_running
        self.step_tokens = step_tokens
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.preemptions = 0

    def add(self, request: Request) -> None:
        """Queue a request."""
        self._extend_chain(request)
        bisect.insort(self.waiting, request, key=urgency)

    def remove(self, request: Request) -> None:
        """Take a finished or cancelled request out and release its blocks."""
        if request in self.running:
            self.running.remove(request)
            self._release(request)
        else:
            self.waiting.remove(request)

    def schedule(self) -> Schedule:
        """Choose the next step's work; every chosen request owns the blocks its rows need."""
        preempted: list[Request] = []
        budget = self.step_tokens
        decodes: list[Request] = []
        chunks: list[Chunk] = []
        for priority in Priority:
            running = sorted((r for r in self.running if r.priority is priority), key=urgency)
            for request in running:
                if request.decoding and budget and self._grow(request, 1, preempted):
                    decodes.append(request)
                    budget -= 1
            for request in running:
                rows = 0 if request.decoding else min(request.pending, budget)
                if rows and self._grow(request, rows, preempted):
                    chunks.append(Chunk(request, rows))
                    budget -= rows
            budget -= self._admit_waiting(priority, budget, chunks, preempted)
        left = {id(r) for r in preempted}
        decodes = [r for r in decodes if id(r) not in left]
        chunks = [c for c in chunks if id(c.request) not in left]
        for request in preempted:
            bisect.insort(self.waiting, request, key=urgency)
        return Schedule(decodes, chunks, preempted)

    def timed(self, work: StepWork, seconds: float) -> None:
        """Record the duration of a step; schedulers that predict it override this."""

    def try_grow(self, request: Request, rows: int) -> int:
        """Allocate blocks for up to `rows` more rows without preempting; return the rows that fit."""
        forest = self.forest
        wanted = forest.blocks_for(request.computed + rows) - len(request.blocks)
        got = min(max(wanted, 0), forest.n_available)
        request.blocks += forest.allocate(got)
        return min(rows, len(request.blocks) * forest.block_tokens - request.computed)

    def advance(self, request: Request, computed: int) -> None:
        """Record that the cache holds a request's first `computed` tokens; share its new full blocks."""
        forest = self.forest
        request.computed = computed
        self._extend_chain(request)
        for i in range(request.registered, computed // forest.block_tokens):
            parent = request.blocks[i - 1] if i else None
            piece = request.tokens[i * forest.block_tokens : (i + 1) * forest.block_tokens]
            request.blocks[i] = forest.register(request.blocks[i], parent, piece, request.chain[i])
            request.registered = i + 1
        keep = forest.blocks_for(max(len(request.tokens), computed))
        if len(request.blocks) > keep:  # blocks of rejected drafts
            forest.release(request.blocks[keep:])
            del request.blocks[keep:]

    def _admit_waiting(
        self, priority: Priority, budget: int, chunks: list[Chunk], preempted: list[Request]
    ) -> int:
        """Admit waiting requests of a class as far as `budget` rows go; return the rows they take."""
        if any(victim.priority <= priority for victim in preempted):
            return 0  # no room: an admission now would take the blocks of the preempted requests
        in_flight, left = self._in_flight(priority), budget
        for request in [r for r in self.waiting if r.priority is priority]:
            if not left:
                break
            if self._waits_for(request, in_flight):
                continue
            if not self._make_room(request, left, preempted):
                break
            self._admit(request, left)
            chunks.append(Chunk(request, min(request.pending, left)))
            left -= chunks[-1].rows
            in_flight.update(request.chain[request.registered :])
        return budget - left

    def _in_flight(self, priority: Priority) -> set[int]:
        """Hashes of the blocks that running prefills of class `priority` or a more urgent one will share.

        A less urgent prefill may pause without limit, so a more urgent request never waits for it.
        """
        running = (r for r in self.running if not r.decoding and r.priority <= priority)
        return {h for r in running for h in r.chain[r.registered :]}

    def _waits_for(self, request: Request, in_flight: set[int]) -> bool:
        """Whether a running prefill computes the first block this request lacks, so that waiting a step saves work."""
        cached = self.forest.match(request.tokens, request.chain[: self._shareable(request)])
        return len(cached) < self._shareable(request) and request.chain[len(cached)] in in_flight

    def _shareable(self, request: Request) -> int:
        """Number of full blocks that may come from the cache."""
        return request.reusable // self.forest.block_tokens

    def _needs(self, request: Request, budget: int) -> tuple[list[Block], int]:
        """Cached blocks a waiting request can start from, and the number of new blocks for its first `budget` rows."""
        cached = self.forest.match(request.tokens, request.chain[: self._shareable(request)])
        computed = len(cached) * self.forest.block_tokens
        rows = min(len(request.tokens) - computed, budget)
        return cached, self.forest.blocks_for(computed + rows) - len(cached)

    def _fits(self, request: Request, budget: int) -> bool:
        """Whether blocks for a waiting request's first `budget` rows are available now."""
        cached, fresh = self._needs(request, budget)
        return fresh + sum(block.users == 0 for block in cached) <= self.forest.n_available

    def _make_room(self, request: Request, budget: int, preempted: list[Request]) -> bool:
        """Preempt less urgent requests until this one fits; if it cannot fit, preempt none and return False."""
        below = [r for r in self.running if r.priority > request.priority]
        held = Counter(i for r in below for i in r.blocks)
        theirs = {i for i, users in held.items() if self.forest.blocks[i].users == users}
        cached, fresh = self._needs(request, budget)
        idle = sum(block.users == 0 for block in cached)
        room = self.forest.n_available + len(theirs - {block.id for block in cached})
        if fresh + idle > room or len(self.running) - len(below) >= self.max_running:
            return False
        while len(self.running) >= self.max_running or not self._fits(request, budget):
            victim = self._victim([r for r in self.running if r.priority > request.priority])
            if victim is None:
                raise AssertionError(f"no room for {request.id} though {room} blocks can be had")
            self._preempt(victim, preempted)
        return True

    def _victim(self, requests: Sequence[Request]) -> Request | None:
        """The request of `requests` to preempt first; None if there is none."""
        return max(requests, key=urgency, default=None)

    def _preempt(self, victim: Request, preempted: list[Request]) -> None:
        self.running.remove(victim)
        self._release(victim)
        victim.preemptions += 1
        self.preemptions += 1
        preempted.append(victim)

    def _admit(self, request: Request, budget: int) -> None:
        """Allocate the blocks of a waiting request that fits."""
        forest = self.forest
        cached, fresh = self._needs(request, budget)
        request.blocks = forest.acquire(cached) + forest.allocate(fresh)
        request.registered = len(cached)
        request.computed = len(cached) * forest.block_tokens
        if not request.preemptions:  # after a preemption it finds its own blocks
            request.cached_prompt_tokens = min(request.computed, len(request.prompt))
        self.waiting.remove(request)
        self.running.append(request)

    def _grow(self, request: Request, rows: int, preempted: list[Request]) -> bool:
        """Blocks for `rows` more tokens, preempting less urgent requests; False if the request itself went.

        Within a class the last arrival goes, so that the first one always gets on.
        """
        if request not in self.running:
            return False
        forest = self.forest
        wanted = forest.blocks_for(request.computed + rows) - len(request.blocks)
        while wanted > forest.n_available:
            below = self._victim([r for r in self.running if r.priority > request.priority])
            victim = below or max(self.running, key=urgency)
            self._preempt(victim, preempted)
            if victim is request:
                return False
        if wanted > 0:
            request.blocks += forest.allocate(wanted)
        return True

    def _release(self, request: Request) -> None:
        self.forest.release(request.blocks)
        request.blocks = []
        request.registered = request.computed = 0

    def _extend_chain(self, request: Request) -> None:
        size = self.forest.block_tokens
        for i in range(len(request.chain), len(request.tokens) // size):
            parent = request.chain[-1] if request.chain else 0
            request.chain.append(chain_hash(parent, request.tokens[i * size : (i + 1) * size]))
