"""Counters of a running server in Prometheus' text format.

`prometheus_client` would replace the histogram and the text format, about 40 lines, at the cost of a dependency. The
engine's counters need a collector either way.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from pathlib import Path

from serve.engine.engine import Engine
from serve.request import Timeline

_TTFT_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TPOT_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_E2E_S = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


def resident_bytes() -> int:
    """Resident memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Histogram:
    """Observations counted by upper bound."""

    def __init__(self, name: str, description: str, bounds: tuple[float, ...]) -> None:
        self.name, self.description, self.bounds = name, description, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self._sum += value

    def lines(self) -> list[str]:
        """Prometheus' lines: cumulated buckets, sum and count."""
        out, total = [f"# HELP {self.name} {self.description}", f"# TYPE {self.name} histogram"], 0
        for bound, count in zip((*self.bounds, "+Inf"), self._counts, strict=True):
            total += count
            out.append(f'{self.name}_bucket{{le="{bound}"}} {total}')
        return [*out, f"{self.name}_sum {self._sum}", f"{self.name}_count {total}"]


class Metrics:
    """Counters of the HTTP side."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._responses: dict[tuple[str, int], int] = {}
        self._ttft = Histogram("vckg_serve_ttft_seconds", "Arrival to first token.", _TTFT_S)
        self._tpot = Histogram("vckg_serve_tpot_seconds", "Per output token after the first.", _TPOT_S)
        self._e2e = Histogram("vckg_serve_e2e_seconds", "Arrival to last token.", _E2E_S)

    def responded(self, path: str, status: int) -> None:
        """Count a response; `path` is the route, never the client's text."""
        with self._lock:
            self._responses[path, status] = self._responses.get((path, status), 0) + 1

    def finished(self, timeline: Timeline) -> None:
        """Count a request's latencies."""
        with self._lock:
            if timeline.ttft_s is not None:
                self._ttft.observe(timeline.ttft_s)
            if timeline.tpot_s is not None:
                self._tpot.observe(timeline.tpot_s)
            if timeline.finished_s is not None:
                self._e2e.observe(timeline.finished_s - timeline.arrived_s)

    def text(self, engine: Engine, open_requests: int) -> str:
        """Everything, in Prometheus' text form."""
        stats, forest, scheduler = engine.stats, engine.forest, engine.scheduler
        simple = (
            ("steps_total", "counter", "Engine steps.", stats.steps),
            ("prompt_tokens_total", "counter", "Tokens of accepted prompts.", stats.prompt_tokens),
            (
                "cached_tokens_total",
                "counter",
                "Prompt tokens that came from the prefix cache.",
                stats.cached_tokens,
            ),
            ("prefill_rows_total", "counter", "Prompt tokens that were computed.", stats.prefill_rows),
            ("output_tokens_total", "counter", "Generated tokens.", stats.output_tokens),
            ("decode_forwards_total", "counter", "Passes of requests after prefill.", stats.decode_forwards),
            ("drafted_tokens_total", "counter", "Drafted tokens that were verified.", stats.drafted),
            ("accepted_tokens_total", "counter", "Drafted tokens that were accepted.", stats.accepted),
            ("preemptions_total", "counter", "Requests that lost their blocks.", scheduler.preemptions),
            ("draft_seconds_total", "counter", "Time spent drafting.", stats.draft_s),
            ("forward_seconds_total", "counter", "Time spent in target forwards.", stats.forward_s),
            ("choose_seconds_total", "counter", "Time spent choosing and verifying tokens.", stats.choose_s),
            ("running_requests", "gauge", "Requests with cache blocks.", len(scheduler.running)),
            ("waiting_requests", "gauge", "Requests without cache blocks.", len(scheduler.waiting)),
            ("open_requests", "gauge", "Requests of connected clients.", open_requests),
            ("cache_blocks_free", "gauge", "Cache blocks that hold nothing.", forest.n_free),
            ("cache_blocks_cached", "gauge", "Cache blocks of unused prefixes.", forest.n_cached),
            ("cache_blocks_in_use", "gauge", "Cache blocks of requests.", forest.n_in_use),
            ("resident_bytes", "gauge", "Memory of the process.", resident_bytes()),
        )
        out: list[str] = []
        for name, kind, description, value in simple:
            full = f"vckg_serve_{name}"
            out += [f"# HELP {full} {description}", f"# TYPE {full} {kind}", f"{full} {value}"]
        name = "vckg_serve_finished_total"
        out += [f"# HELP {name} Requests by how they ended.", f"# TYPE {name} counter"]
        out += [f'{name}{{reason="{reason}"}} {n}' for reason, n in stats.finished.items()]
        name = "vckg_serve_responses_total"
        out += [f"# HELP {name} HTTP responses.", f"# TYPE {name} counter"]
        with self._lock:
            out += [
                f'{name}{{path="{path}",status="{status}"}} {n}'
                for (path, status), n in sorted(self._responses.items())
            ]
            for histogram in (self._ttft, self._tpot, self._e2e):
                out += histogram.lines()
        return "\n".join(out) + "\n"
