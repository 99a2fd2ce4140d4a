"""Echo as vLLM's scheduler: ``--scheduler-cls serve.vllm_plugins.scheduler.EchoScheduler``.

A request with `priority` 0 or less is interactive. A higher one, or ``"vllm_xargs": {"class": "offline"}``, makes it
batch work. vLLM's own scheduler carries every step out. Before each one Echo (`planner`) decides how many tokens it
may compute and which running batch requests pause for it. It also decides which waiting ones may start, and whose
blocks an arriving interactive request takes.

VCKG_ECHO holds the settings, e.g. ``pace_s=0.1,allowance_s=0.5`` (fields of `serve.echo.config.EchoConfig`).
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from typing import Any

from serve.echo.config import EchoConfig
from serve.request import Priority
from serve.request import Request as Picture
from serve.scheduling.estimators import FIRST_GUESS, LearningTimeModel, StepWork
from serve.vllm_plugins import require_vllm
from serve.vllm_plugins.planner import Planner, Pool
from serve.vllm_plugins.settings import read_settings

require_vllm()  # before its inner modules: another version may have them elsewhere

from vllm.v1.core.sched.async_scheduler import AsyncScheduler  # noqa: E402
from vllm.v1.core.sched.request_queue import SchedulingPolicy, create_request_queue  # noqa: E402
from vllm.v1.core.sched.scheduler import Scheduler  # noqa: E402
from vllm.v1.request import RequestStatus  # noqa: E402

CONFIG_VARIABLE = "VCKG_ECHO"
CLASS_ARGUMENT = "class"
log = logging.getLogger(f"vllm.{__name__}")


class EchoScheduler(AsyncScheduler):  # type: ignore[misc, unused-ignore]
    """vLLM's scheduler under Echo's choices; overlapped or not, as vLLM's configuration says."""

    max_num_scheduled_tokens: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Preemption must take batch work first, whatever policy was named.
        self.policy = SchedulingPolicy.PRIORITY
        self.waiting = create_request_queue(self.policy)
        self.kv_holding_waiting = create_request_queue(self.policy)
        self.overlaps = bool(self.scheduler_config.async_scheduling)
        self.most_tokens = self.max_num_scheduled_tokens
        config = read_settings(EchoConfig, os.environ.get(CONFIG_VARIABLE, ""), CONFIG_VARIABLE)
        blocks = self.kv_cache_manager.block_pool
        self.hash_bytes = 32
        self.pool = Pool(self.block_size, blocks.get_num_free_blocks, self._users)
        self.planner = Planner(
            self.pool,
            self.max_num_active_reqs,
            self.most_tokens,
            LearningTimeModel(FIRST_GUESS),
            config,
            time.time,
        )
        self._begun: dict[int, tuple[float, StepWork]] = {}
        self._last_end = 0.0
        settings = ", ".join(f"{k}={v}" for k, v in dataclasses.asdict(config).items())
        log.info("Echo, steps %s: %s", "overlapped" if self.overlaps else "one by one", settings)

    # ---- what Echo sees -------------------------------------------------------------------------------------

    def _users(self, key: int) -> int | None:
        """Users of the cached block with this hash."""
        found = self.kv_cache_manager.block_pool.get_cached_block(key.to_bytes(self.hash_bytes, "big"), [0])
        return found[0].ref_cnt if found else None

    def add_request(self, request: Any) -> None:
        """Queue a request; its class is read once, here."""
        new = request.request_id not in self.requests
        extra = (request.sampling_params and request.sampling_params.extra_args) or {}
        if extra.get(CLASS_ARGUMENT) == "offline":
            request.priority = max(request.priority, 1)
        super().add_request(request)
        if new:
            chain = self._chain(request)
            kind = Priority.OFFLINE if request.priority > 0 else Priority.ONLINE
            self.planner.track(request.request_id, request.all_token_ids, kind, request.arrival_time, chain)

    def _chain(self, request: Any) -> list[int]:
        """Hashes of a prompt's full blocks, where its cached blocks may be read at all."""
        if not self.kv_cache_manager.prefix_cache_lookup_enabled(request):
            return []
        if request.block_hashes:
            self.hash_bytes = len(request.block_hashes[0])
        step = self.block_size // self.hash_block_size
        return [int.from_bytes(h, "big") for h in request.block_hashes[step - 1 :: step]]

    def _look(self) -> None:
        """Bring the pictures up to date."""
        self.planner.drop(self.planner.known.keys() - self.requests.keys())
        self.planner.sync([r.request_id for r in self.running])
        for picture in self.planner.running:
            request = self.requests[picture.id]
            committed = request.num_tokens
            del picture.tokens[committed:]  # what stood for output on its way
            if len(picture.tokens) < committed:
                picture.tokens += request.all_token_ids[len(picture.tokens) : committed]
            picture.tokens += [0] * request.num_output_placeholders
            picture.computed = request.num_computed_tokens
            held = self.pool.blocks_for(picture.computed)  # only their number is asked for
            del picture.blocks[held:]
            picture.blocks += [0] * (held - len(picture.blocks))
            picture.registered = min(picture.computed // self.block_size, len(picture.chain))

    def _rows(self, picture: Picture) -> int:
        """Rows of a decoding request's step, drafts included."""
        return 1 + len(self.requests[picture.id].spec_token_ids)

    # ---- what Echo decides ----------------------------------------------------------------------------------

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """One step by vLLM's scheduler, over the requests that Echo lets take part."""
        self._look()
        plan = self.planner.plan(self._rows)
        self._make_room(plan.online)
        for name in plan.paused:
            request = self.requests[name]
            # vLLM's own way of leaving a running request out: this step is current_step + 1.
            request.next_decode_eligible_step = max(request.next_decode_eligible_step, self.current_step + 2)
        kind = {p.id: (p.priority, not p.decoding, p.order) for p in self.planner.running}
        self.running.sort(key=lambda r: kind[r.request_id])
        everyone, self.waiting = self.waiting, create_request_queue(self.policy)
        chosen = [r for r in map(self.requests.__getitem__, (*plan.online, *plan.started)) if self._ready(r)]
        for request in chosen:
            self.waiting.add_request(request)
        # With drafts vLLM pads a request that lacks one row only to a whole round, or leaves it out.
        tokens = plan.tokens + self.num_spec_tokens * len(chosen)
        # Requests that came back with blocks from a transfer are vLLM's own affair: nothing holds them up.
        self.max_num_scheduled_tokens = (
            self.most_tokens if self.kv_holding_waiting else min(tokens, self.most_tokens)
        )
        try:
            output = super().schedule(*args, **kwargs)
        finally:
            self.max_num_scheduled_tokens = self.most_tokens
            left, self.waiting = set(self.waiting), everyone
            before = set(chosen)
            everyone.remove_requests(before - left)
            for request in left - before:  # preempted in this step
                everyone.add_request(request)
        self._note(output)
        return output

    def _ready(self, request: Any) -> bool:
        """Whether a waiting request stands in the queue that vLLM would start it from."""
        elsewhere = request.is_finished() or request.status == RequestStatus.WAITING_FOR_STREAMING_REQ
        return not elsewhere and request not in self.kv_holding_waiting

    def _make_room(self, arriving: tuple[str, ...]) -> None:
        """Send batch requests back, as long as interactive ones lack blocks or a place."""
        for name in arriving:
            while (victim := self.planner.victim(self.planner.known[name])) is not None:
                request = self.requests[victim.id]
                if not self._request_blocks_can_be_freed(request):
                    return
                self.running.remove(request)
                self._preempt_request(request, time.monotonic(), drop_stale_output=self.requires_kv_delivery)
                self.planner.sync([r.request_id for r in self.running])

    # ---- what a step took -----------------------------------------------------------------------------------

    def _note(self, output: Any) -> None:
        work = StepWork()
        for name, rows in output.num_scheduled_tokens.items():
            request = self.requests[name]
            start = request.num_computed_tokens - rows
            if start >= request.num_prompt_tokens:
                work += StepWork(decodes=rows, decode_context=rows * start)
            else:
                work += StepWork.chunk(rows, start)
        if output.num_scheduled_tokens:
            self._begun[id(output)] = time.perf_counter(), work

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        """As vLLM's; the step's time goes to the time model. Overlapped steps count from the end of the one before."""
        if (begun := self._begun.pop(id(scheduler_output), None)) is not None:
            end = time.perf_counter()
            self.planner.timed(begun[1], end - max(begun[0], self._last_end))
            self._last_end = end
        return super().update_from_output(scheduler_output, model_runner_output)

    # ---- overlapped or not ----------------------------------------------------------------------------------

    def _update_after_schedule(self, *args: Any, **kwargs: Any) -> None:
        if self.overlaps:
            super()._update_after_schedule(*args, **kwargs)
        else:
            Scheduler._update_after_schedule(self, *args, **kwargs)

    def _update_request_with_output(self, *args: Any, **kwargs: Any) -> Any:
        if self.overlaps:
            return super()._update_request_with_output(*args, **kwargs)
        return Scheduler._update_request_with_output(self, *args, **kwargs)
