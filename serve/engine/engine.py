"""The engine: each step is a single target forward over every running request.

A step schedules, drafts (if there is a proposer), runs the model over packed rows, chooses tokens (this verifies
drafts), compacts the cache and reports. One thread owns an engine; `serve.server.engine_loop` puts a queue before it.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from serve.engine.batch import Round, observed, pack
from serve.engine.detokenizer import TextStream
from serve.engine.prompt_logprobs import on_cpu, score_prompts
from serve.engine.sampler import choose
from serve.engine.sampling import log_probabilities
from serve.engine.stats import EngineStats
from serve.engine.structured_output import Constraint, Grammar
from serve.errors import ConstraintError, InputError, RequestError
from serve.kv_cache.attention_metadata import slots_of
from serve.kv_cache.prefix_cache import PrefixForest
from serve.model.decoder import Model
from serve.model.loader import Checkpoint
from serve.request import FinishReason, Priority, Request, SamplingParams, TokenEvent, TokenLogprob
from serve.scheduling.scheduler import Schedule, Scheduler, work_of
from serve.scheduling.step_work import StepWork
from serve.spec_decode.proposer import DraftTree, Int64, Proposer, RoundTiming
from serve.spec_decode.verify import Accepted

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Sizes of an engine.

    `cache_tokens` tokens fit the cache. `max_running` requests run together; a step computes at most
    `step_tokens` tokens (plus drafts); a draft has at most `max_draft_nodes` nodes per request.
    """

    cache_tokens: int = 16_384
    block_tokens: int = 16
    max_running: int = 32
    step_tokens: int = 256
    max_draft_nodes: int = 59

    def __post_init__(self) -> None:
        for name in ("cache_tokens", "block_tokens", "max_running", "step_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, must be at least 1")
        if self.step_tokens < self.max_running:
            raise InputError(
                f"step_tokens {self.step_tokens} is below max_running {self.max_running}: "
                "every running request takes a token of each step"
            )


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished answer of `Engine.generate`."""

    request: Request
    tokens: list[int]
    text: str
    finish_reason: FinishReason
    logprobs: list[TokenLogprob]


@dataclass(slots=True)
class _Answer:
    """The engine's state of a running request besides `Request`."""

    text: TextStream
    constraint: Constraint | None


class Engine:
    """Continuous batching over one model.

    Parameters
    ----------
    model, checkpoint
        The model, and what it was read from (tokenizer and end-of-answer tokens are used).
    config
        Sizes.
    proposer
        Drafts for speculative decoding; None decodes plainly.
    scheduler
        Chooses each step's work over its own `PrefixForest`; None is `Scheduler`, first come first served.
    """

    def __init__(
        self,
        model: Model,
        checkpoint: Checkpoint,
        config: EngineConfig | None = None,
        proposer: Proposer | None = None,
        scheduler: Scheduler | None = None,
    ) -> None:
        self.model = model
        self.checkpoint, self.tokenizer = checkpoint, checkpoint.tokenizer
        self.eos = checkpoint.eos
        self.config = config or EngineConfig()
        self.proposer = proposer
        if scheduler is None:
            n_blocks = self.config.cache_tokens // self.config.block_tokens
            forest = PrefixForest(n_blocks, self.config.block_tokens)
            scheduler = Scheduler(forest, self.config.max_running, self.config.step_tokens)
        self.scheduler = scheduler
        self.forest = scheduler.forest
        self.cache = model.new_cache(len(self.forest.blocks), self.forest.block_tokens)
        self.stats = EngineStats()
        self.step_observers: list[Callable[[StepWork, float], object]] = [scheduler.timed]
        self._requests: dict[str, Request] = {}
        self._answers: dict[str, _Answer] = {}
        self._order = itertools.count()
        self.grammar = Grammar(self.tokenizer, model.dims.vocabulary, self.eos)

    @property
    def longest(self) -> int:
        """Most tokens a request may have, prompt and answer together."""
        return min(self.model.dims.longest, self.forest.block_tokens * len(self.forest.blocks))

    @property
    def has_work(self) -> bool:
        """Whether any request is waiting or running."""
        return bool(self._requests)

    def check(self, request: Request) -> None:
        """Raise RequestError if a request cannot ever be served."""
        vocabulary = self.model.dims.vocabulary
        if not request.prompt:
            raise RequestError("the prompt has no tokens", param="prompt")
        if not all(0 <= t < vocabulary for t in request.prompt):
            raise RequestError(f"a prompt token is outside 0..{vocabulary - 1}", param="prompt")
        if not all(0 <= t < vocabulary for t, _ in request.params.logit_bias):
            raise RequestError(f"a token is outside 0..{vocabulary - 1}", param="logit_bias")
        total = len(request.prompt) + request.params.max_tokens
        if total > self.longest:
            raise RequestError(
                f"{len(request.prompt)} prompt tokens and {request.params.max_tokens} to generate are {total}; "
                f"this server holds at most {self.longest}",
                param="max_tokens",
            )

    def add(self, request: Request, constraint: Constraint | None = None) -> None:
        """Accept a request; its events come from later steps.

        `constraint` is `grammar.start` of its parameters, for callers that compile it on a thread of their own.

        Raises
        ------
        RequestError
            if it can never be served; nothing is kept of it then.
        """
        self.check(request)
        if request.id in self._requests:
            raise RequestError(f"request id {request.id!r} is already in use")
        if constraint is None:
            constraint = self.grammar.start(request.params)
        request.order = next(self._order)
        self._requests[request.id] = request
        self._answers[request.id] = _Answer(TextStream(self.tokenizer, request.params.stop), constraint)
        self.stats.prompt_tokens += len(request.prompt)
        self.scheduler.add(request)

    def cancel(self, request_id: str, reason: FinishReason = FinishReason.CANCELLED) -> bool:
        """Drop a request and free its blocks; False if it is not (or no longer) here."""
        request = self._requests.get(request_id)
        if request is None:
            return False
        self._finish(request, reason)
        return True

    def warm_up(self, prompt: Sequence[int], tokens: int = 4) -> None:
        """Answer a prompt with and without a schema, to compile and load all that the first request needs.

        Counters, the cache and the scheduler's estimates do not change.
        """
        kept = (self.scheduler, self.stats, self.step_observers)
        self.scheduler = Scheduler(self.forest, self.config.max_running, self.config.step_tokens)
        self.stats, self.step_observers = EngineStats(), []
        prompt = tuple(prompt)[: max(1, self.longest - tokens)]
        params = SamplingParams(max_tokens=tokens, ignore_eos=True, logprobs=1)
        held = replace(params, temperature=1.0, seed=0, json_schema={"type": "object"})
        try:
            self.generate([prompt] * min(2, self.config.max_running), params)
            self.generate([prompt], held)
        finally:
            self.scheduler, self.stats, self.step_observers = kept
        self.forest.drop_cached()

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams | Sequence[SamplingParams],
        priority: Priority = Priority.ONLINE,
    ) -> list[Completion]:
        """Answer prompts of token ids together; completions in the prompts' order."""
        each = [params] * len(prompts) if isinstance(params, SamplingParams) else params
        requests = [
            Request(f"generate-{next(self._order)}", tuple(prompt), p, priority)
            for prompt, p in zip(prompts, each, strict=True)
        ]
        for request in requests:
            self.add(request)
        texts = {r.id: "" for r in requests}
        logprobs: dict[str, list[TokenLogprob]] = {r.id: [] for r in requests}
        while any(r.finish_reason is None for r in requests):
            for event in self.step():
                if event.request_id in texts:
                    texts[event.request_id] += event.text
                    logprobs[event.request_id] += event.logprobs
        return [
            Completion(r, r.output, texts[r.id], r.finish_reason, logprobs[r.id])
            for r in requests
            if r.finish_reason is not None
        ]

    def step(self) -> list[TokenEvent]:
        """Run one step; return an event per request that advanced, in no particular order."""
        schedule = self.scheduler.schedule()
        for request in schedule.preempted:
            if self.proposer is not None:
                self.proposer.release(request)
        if not schedule.decodes and not schedule.chunks:
            return []
        began = time.perf_counter()
        for chunk in schedule.chunks:
            if chunk.request.timeline.scheduled_s is None:
                chunk.request.timeline.scheduled_s = began
        trees = self._draft(schedule)
        work = work_of(schedule, [len(tree) for tree in trees])
        drafted = time.perf_counter()
        rounds, logits, taps = self._forward(schedule, trees)
        forwarded = time.perf_counter()
        events = self._choose(rounds, logits, taps)
        chosen = time.perf_counter()
        self._count(schedule, trees, work, (began, drafted, forwarded, chosen))
        return events

    def _draft(self, schedule: Schedule) -> list[DraftTree]:
        """One tree per decoding request, cut to what fits its token limit and the free blocks."""
        if self.proposer is None or not schedule.decodes:
            return [DraftTree.empty()] * len(schedule.decodes)
        budgets = [
            min(self.config.max_draft_nodes, r.params.max_tokens - r.n_output - 1) for r in schedule.decodes
        ]
        trees = self.proposer.propose(schedule.decodes, budgets)
        fitted = []
        for request, tree, budget in zip(schedule.decodes, trees, budgets, strict=True):
            nodes = min(len(tree), budget)
            nodes = self.scheduler.try_grow(request, 1 + nodes) - 1 if nodes else 0
            fitted.append(DraftTree(tree.tokens[:nodes], tree.parents[:nodes]))
        return fitted

    def _forward(
        self, schedule: Schedule, trees: list[DraftTree]
    ) -> tuple[list[Round], torch.Tensor, torch.Tensor | None]:
        batch = pack(schedule, trees, self.forest.block_tokens)
        wants_taps = self.proposer is not None and self.proposer.wants_taps
        scoring = any(item.request.scoring for item in batch.rounds)
        logits, taps = self.model.forward(
            batch.tokens, batch.plan, self.cache, want_taps=wants_taps or scoring, want_final=scoring
        )
        if taps is not None and scoring:
            hidden = self.model.dims.hidden
            score_prompts(self.model, batch.rounds, taps[:, -hidden:])
            taps = taps[:, :-hidden]
        self.model.wait()
        return batch.rounds, logits, taps

    def _choose(
        self, rounds: list[Round], logits: torch.Tensor, taps: torch.Tensor | None
    ) -> list[TokenEvent]:
        """Accept or draw each request's tokens, move accepted rows into place, and report."""
        scores = on_cpu(logits)
        # On a CPU numpy's argmax is many times faster than torch's; both take the first of equals.
        best = (scores.numpy() if logits.device.type == "cpu" else logits).argmax(-1).tolist()
        now = time.perf_counter()
        events: list[TokenEvent] = []
        moves: list[tuple[Int64, Int64]] = []
        committed: list[tuple[Round, Accepted]] = []
        broken: list[tuple[Request, ConstraintError]] = []
        for item in rounds:
            request = item.request
            request.forwards += 1
            if item.logits < 0:
                committed.append((item, Accepted((), ())))
                continue
            rows = slice(item.logits, item.logits + 1 + len(item.tree))
            constraint = self._answers[request.id].constraint
            try:
                accepted = choose(request, item.tree, scores[rows], best[rows], constraint)
            except ConstraintError as error:
                broken.append((request, error))
                continue
            if any(node != k for k, node in enumerate(accepted.nodes)):
                base = request.computed + 1
                slots = slots_of(request.blocks, base, base + len(item.tree), self.forest.block_tokens)
                moves.append((slots[list(accepted.nodes)], slots[: len(accepted.nodes)]))
            committed.append((item, accepted))
        if moves:
            self.cache.move(np.concatenate([a for a, _ in moves]), np.concatenate([b for _, b in moves]))
        for item, accepted in committed:
            if item.logits >= 0:
                events.append(self._commit(item, accepted, scores, now))
            else:
                events += self._prefilled(item)
        if self.proposer is not None:
            self.proposer.observe(observed(committed, taps, self.forest.block_tokens))
        for item, _ in committed:
            if item.request.finish_reason is not None:
                self._finish(item.request, item.request.finish_reason)
        for request, problem in broken:
            log.warning("request %s ends: %s", request.id, problem)
            self._finish(request, FinishReason.ERROR)
            events.append(TokenEvent(request.id, (), "", (), FinishReason.ERROR, str(problem), problem.param))
        return events

    def _prefilled(self, item: Round) -> list[TokenEvent]:
        """Record a chunk that yields no token; the request ends with its prompt where `max_tokens` is 0."""
        request = item.request
        self.scheduler.advance(request, request.computed + item.stop - item.start)
        if request.pending:
            return []
        request.finish_reason = FinishReason.LENGTH
        return [TokenEvent(request.id, (), "", (), FinishReason.LENGTH)]

    def _commit(self, item: Round, accepted: Accepted, scores: torch.Tensor, now: float) -> TokenEvent:
        """Append the accepted tokens up to the first that ends the answer."""
        request, answer = item.request, self._answers[item.request.id]
        params = request.params
        rows = [item.logits, *(item.logits + 1 + node for node in accepted.nodes)]
        computed = request.computed + (1 if item.decode else item.stop - item.start) + len(accepted.nodes)
        text, kept, logprobs = "", [], []
        last = len(rows) - 1
        for i, (row, token) in enumerate(zip(rows, accepted.tokens, strict=True)):
            request.tokens.append(token)
            request.timeline.token_s.append(now)
            kept.append(token)
            if params.logprobs is not None:
                logprobs.append(log_probabilities(scores[row].numpy(), token, params.logprobs))
            piece, stopped = answer.text.push(token)
            text += piece
            complete = i == last and answer.constraint is not None and answer.constraint.finished
            if stopped or complete or (token in self.eos and not params.ignore_eos):
                request.finish_reason = FinishReason.STOP
            elif request.n_output >= params.max_tokens:
                request.finish_reason = FinishReason.LENGTH
            if request.finish_reason is not None:
                text += "" if stopped else answer.text.finish()
                break
        self.scheduler.advance(request, min(computed, len(request.tokens) - 1))
        if item.decode:
            self.stats.decode_forwards += 1
            self.stats.accepted += len(accepted.nodes)
        self.stats.output_tokens += len(kept)
        return TokenEvent(request.id, tuple(kept), text, tuple(logprobs), request.finish_reason)

    def _finish(self, request: Request, reason: FinishReason) -> None:
        request.finish_reason = reason
        request.timeline.finished_s = time.perf_counter()
        self.stats.finished[reason] += 1
        self.stats.cached_tokens += request.cached_prompt_tokens
        self.scheduler.remove(request)
        del self._requests[request.id], self._answers[request.id]
        if self.proposer is not None:
            self.proposer.release(request)

    def _count(
        self,
        schedule: Schedule,
        trees: list[DraftTree],
        work: StepWork,
        times: tuple[float, float, float, float],
    ) -> None:
        began, drafted, forwarded, chosen = times
        nodes = sum(map(len, trees))
        prefill = sum(chunk.rows for chunk in schedule.chunks)
        self.stats.count(nodes, prefill, times)
        for observe in self.step_observers:
            observe(work, chosen - began)
        if self.proposer is not None:
            self.proposer.timed(
                RoundTiming(
                    draft_ms=1e3 * (drafted - began),
                    forward_ms=1e3 * (forwarded - drafted),
                    verify_ms=1e3 * (chosen - forwarded),
                    decode_requests=len(schedule.decodes),
                    rows=len(schedule.decodes) + nodes,
                    prefill_rows=prefill,
                )
            )
