"""Which requests take part in the next step, and with how many tokens. No tensor is known here.

Continuous batching: every running request decodes each step; prompts are prefilled in chunks that fill the rest of
the step's token budget; a waiting request is admitted when its blocks fit, in order of class and arrival.
Out of blocks, the last arrived of the lowest class is preempted: its full blocks stay in the prefix forest,
so coming back recomputes little.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serve.kv import PrefixForest, chain_hash
from serve.request import Request

if TYPE_CHECKING:
    from serve.estimate import StepWork


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part of one request's uncomputed tokens: `rows` of them go through the model in this step."""

    request: Request
    rows: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """One step: requests that decode, prompt chunks, and requests that lost their blocks while it was made."""

    decodes: list[Request]
    chunks: list[Chunk]
    preempted: list[Request]


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
        for request in sorted((r for r in self.running if r.decoding), key=urgency):
            if budget and request in self.running and self._grow(request, 1, preempted):
                decodes.append(request)
                budget -= 1
        chunks = self._chunks(budget, preempted)
        left = {id(r) for r in preempted}
        decodes = [r for r in decodes if id(r) not in left]
        chunks = [c for c in chunks if id(c.request) not in left]
        for request in preempted:
            bisect.insort(self.waiting, request, key=urgency)
        return Schedule(decodes, chunks, preempted)

    def timed(self, work: StepWork, seconds: float) -> None:
        """Take in how long a step's work took; for schedulers that predict it."""

    def try_grow(self, request: Request, rows: int) -> int:
        """Blocks for up to `rows` more rows if they are to be had without preempting; return the rows that fit."""
        forest = self.forest
        wanted = forest.blocks_for(request.computed + rows) - len(request.blocks)
        got = min(max(wanted, 0), forest.n_available)
        request.blocks += forest.allocate(got)
        return min(rows, len(request.blocks) * forest.block_tokens - request.computed)

    def advance(self, request: Request, computed: int) -> None:
        """Note that a request's first `computed` tokens are in the cache now; share its new full blocks."""
        forest = self.forest
        request.computed = computed
        self._extend_chain(request)
        for i in range(request.registered, computed // forest.block_tokens):
            parent = request.blocks[i - 1] if i else None
            piece = request.tokens[i * forest.block_tokens : (i + 1) * forest.block_tokens]
            request.blocks[i] = forest.register(request.blocks[i], parent, piece, request.chain[i])
            request.registered = i + 1
        keep = forest.blocks_for(max(len(request.tokens), computed))
        if len(request.blocks) > keep:  # what rejected drafts had
            forest.release(request.blocks[keep:])
            del request.blocks[keep:]

    def _chunks(self, budget: int, preempted: list[Request]) -> list[Chunk]:
        chunks: list[Chunk] = []
        for request in sorted((r for r in self.running if not r.decoding), key=urgency):
            rows = min(request.pending, budget)
            if rows and request in self.running and self._grow(request, rows, preempted):
                chunks.append(Chunk(request, rows))
                budget -= rows
        if preempted:  # no room: admitting now would only bring the victims' blocks back into play
            return chunks
        in_flight = self._in_flight()
        for request in list(self.waiting):
            if not budget or len(self.running) >= self.max_running:
                break
            if self._waits_for(request, in_flight):
                continue
            if not self._admit(request, budget):
                break
            chunks.append(Chunk(request, min(request.pending, budget)))
            budget -= chunks[-1].rows
            in_flight.update(request.chain[request.registered :])
        return chunks

    def _in_flight(self) -> set[int]:
        """Hashes of the blocks that running prefills are about to share."""
        return {h for r in self.running if not r.decoding for h in r.chain[r.registered :]}

    def _waits_for(self, request: Request, in_flight: set[int]) -> bool:
        """Whether the first block this request lacks is just being computed: waiting a step saves that work."""
        found = self.forest.match(request.tokens, request.chain[: self._shareable(request)])
        return len(found) < self._shareable(request) and request.chain[len(found)] in in_flight

    def _shareable(self, request: Request) -> int:
        """Full blocks that may come from the cache; the last token is always computed, for its logits."""
        return (len(request.tokens) - 1) // self.forest.block_tokens

    def _admit(self, request: Request, budget: int) -> bool:
        forest = self.forest
        found = forest.match(request.tokens, request.chain[: self._shareable(request)])
        computed = len(found) * forest.block_tokens
        rows = min(len(request.tokens) - computed, budget)
        fresh = forest.blocks_for(computed + rows) - len(found)
        idle = sum(block.users == 0 for block in found)
        if fresh + idle > forest.n_available:
            return False
        request.blocks = forest.acquire(found) + forest.allocate(fresh)
        request.registered = len(found)
        request.computed = computed
        request.cached_prompt_tokens = min(computed, len(request.prompt))
        forest.hit_tokens += computed
        forest.looked_up_tokens += len(request.tokens)
        self.waiting.remove(request)
        self.running.append(request)
        return True

    def _grow(self, request: Request, rows: int, preempted: list[Request]) -> bool:
        """Blocks for `rows` more tokens, preempting less urgent requests; False if the request itself went."""
        forest = self.forest
        wanted = forest.blocks_for(request.computed + rows) - len(request.blocks)
        while wanted > forest.n_available:
            victim = max(self.running, key=urgency)
            self.running.remove(victim)
            self._release(victim)
            victim.preemptions += 1
            self.preemptions += 1
            preempted.append(victim)
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
