"""Smooth goodput as a stat logger of vLLM (entry point `vllm.stat_logger_plugins`).

vLLM's statistics of a step do not say whose tokens they count, and smooth goodput is about single requests. So the
logger listens at the front end's output processor, through which every request, token and abort passes; it changes
nothing there. Each window is one line in vLLM's log and three gauges in /metrics. Knobs are read from VCKG_GOODPUT,
e.g. ``pace_s=0.1,window_s=30,timelines=/tmp/times.jsonl`` (`windows.WindowSettings`).
"""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from serve.goodput import Ending
from serve.vllm_plugins import require_vllm
from serve.vllm_plugins.settings import read_settings
from serve.vllm_plugins.tiers import read_tier
from serve.vllm_plugins.windows import Windows, WindowSettings

require_vllm()  # before its inner modules: another version may have them elsewhere

from prometheus_client import Gauge  # noqa: E402
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest  # noqa: E402
from vllm.v1.engine import FinishReason  # noqa: E402
from vllm.v1.engine.output_processor import OutputProcessor  # noqa: E402
from vllm.v1.metrics.loggers import AggregateStatLoggerBase  # noqa: E402

CONFIG_VARIABLE = "VCKG_GOODPUT"
log = logging.getLogger(f"vllm.{__name__}")


@functools.cache
def gauges() -> tuple[Gauge, Gauge, Gauge]:
    """The last window's figures; made once a process, as Prometheus wants."""
    return (
        Gauge("vckg:smooth_goodput", "Smooth goodput of interactive requests in the last window, tokens/s."),
        Gauge(
            "vckg:slo_attainment", "Share of interactive requests of the last window read without a stall."
        ),
        Gauge("vckg:offline_throughput", "Tokens/s of batch requests of the last window."),
    )


def listen(processor: Any, windows: Windows) -> None:
    """Let `windows` hear of every request that passes a class of output processors."""
    add, process, abort = processor.add_request, processor.process_outputs, processor.abort_requests

    @functools.wraps(add)
    def added(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        if request.request_id not in self.request_states:
            extra = (request.sampling_params and request.sampling_params.extra_args) or {}
            offline = request.priority > 0 or extra.get("class") == "offline"
            windows.committed(request.request_id, request.arrival_time, offline=offline)
        return add(self, request, *args, **kwargs)

    @functools.wraps(process)
    def processed(self: Any, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        result = process(self, outputs, *args, **kwargs)
        now = time.time()
        stopped = set(result.reqs_to_abort)  # at a stop string, which the engine does not see
        for output in outputs:
            windows.delivered(output.request_id, len(output.new_token_ids), now)
            if output.finish_reason is not None or output.request_id in stopped:
                given_up = output.finish_reason in (FinishReason.ERROR, FinishReason.ABORT)
                windows.ended(output.request_id, Ending.DROPPED if given_up else Ending.FINISHED, now)
        return result

    @functools.wraps(abort)
    def aborted(self: Any, *args: Any, **kwargs: Any) -> Any:
        names = abort(self, *args, **kwargs)
        now = time.time()
        for name in names:  # the client disconnected; one that had ended keeps its ending
            windows.ended(name, Ending.CANCELLED, now)
        return names

    patched: dict[str, Callable[..., Any]] = {
        "add_request": added,
        "process_outputs": processed,
        "abort_requests": aborted,
    }
    for name, method in patched.items():
        setattr(processor, name, method)


class SmoothGoodputLogger(AggregateStatLoggerBase):  # type: ignore[misc, unused-ignore]
    """One a front-end process, over all its engines."""

    def __init__(self, vllm_config: Any, engine_indexes: list[int]) -> None:
        self.settings = read_settings(WindowSettings, os.environ.get(CONFIG_VARIABLE, ""), CONFIG_VARIABLE)
        self.windows = Windows(self.settings)
        listen(OutputProcessor, self.windows)
        read_tier(
            ChatCompletionRequest
        )  # here, since vLLM makes loggers where requests come in and nowhere else

    def record(self, *_: Any, **__: Any) -> None:
        """Every step; what it counts is known already."""

    def log_engine_initialized(self) -> None:
        """Say what is measured."""
        log.info("smooth goodput: %s", self.settings)

    def log(self) -> None:
        """Report the windows that closed; vLLM calls it every VLLM_LOG_STATS_INTERVAL seconds."""
        for report in self.windows.close(time.time()):
            log.info("%s", report)
            goodput, attained, offline = gauges()
            offline.set(report.offline_tokens_s)
            if report.requests:  # nobody waited in vain where nobody came
                goodput.set(report.smooth_goodput)
                attained.set(report.attainment)
