"""``python -m benchmarks.goodput_sweep``: smooth goodput against load, simulated.

The scheduler's own code runs on a virtual clock. A step takes what the time model of `benchmarks.simulated_server`
says. Readers come at Poisson times; nothing else runs. The command prints docs/results/goodput.md's tables.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.arrivals import readers
from benchmarks.load.relatives import goodput
from benchmarks.simulated_server import Server, echo_scheduler, plain_scheduler
from benchmarks.simulator import Arrival, VirtualClock, simulate
from serve.goodput import (
    LinearPenalty,
    SmoothGoodput,
    Timeline,
    attainment,
    idle_latency,
    throughput,
)
from serve.scheduling.estimators import TimeModel
from serve.scheduling.scheduler import Scheduler

RATES = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
STEP_TOKENS = (64, 256)
SCHEDULERS: dict[str, Callable[[Server, VirtualClock], Scheduler]] = {
    "first come, first served": plain_scheduler,
    "Echo": echo_scheduler,
}
ALPHAS = (1.0, 2.5, 5.0)
WINDOW_S, DRAIN_S = 40.0, 30.0


def trace(rate: float, seed: int) -> list[Arrival]:
    """Poisson arrivals over the window."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1 / rate, size=int(3 * rate * WINDOW_S + 30)))
    return [replace(readers(rng, 1)[0], at_s=float(at)) for at in times[times < WINDOW_S]]


def answered(server: Server, scheduler: str, arrivals: Sequence[Arrival]) -> list[Timeline]:
    """Timelines of a simulated run; what is not answered when the drain ends is unfinished."""
    clock = VirtualClock()
    run = SCHEDULERS[scheduler](server, clock)
    return simulate(arrivals, run, clock, server.times.seconds, until_s=WINDOW_S + DRAIN_S).online


def row(times: TimeModel, tokens: int, scheduler: str, rate: float, seeds: Sequence[int]) -> list[float]:
    """Means over the seeds: requests, unserved, tokens/s, smooth goodput by alpha, Eq. 7, attainment, idle P99."""
    server = Server(step_tokens=tokens, times=times)
    rows = []
    for seed in seeds:
        lines = answered(server, scheduler, trace(rate, seed))
        smooth = [
            SmoothGoodput(server.slo, LinearPenalty(server.slo.pace), a)(lines, WINDOW_S) for a in ALPHAS
        ]
        idle = np.quantile([idle_latency(line, server.slo) for line in lines], 0.99)
        unserved = sum(line.censored for line in lines)
        rows.append(
            [
                len(lines), unserved, throughput(lines, WINDOW_S), *smooth,
                goodput(lines, server.slo, WINDOW_S), attainment(lines, server.slo), float(idle),
            ]
        )  # fmt: skip
    return list(np.mean(rows, axis=0))


def table(times: TimeModel, seeds: Sequence[int]) -> str:
    """The sweep as Markdown, and where smooth goodput peaks by alpha."""
    out = [
        "| step tokens | scheduler | requests/s | requests | unserved | tokens/s | "
        + " | ".join(f"smooth, alpha {a:g}" for a in ALPHAS)
        + " | goodput (Eq. 7) | attainment | idle P99 s |",
        "|---" * 12 + "|",
    ]
    peaks = []
    for tokens, scheduler in itertools.product(STEP_TOKENS, SCHEDULERS):
        rows = {rate: row(times, tokens, scheduler, rate, seeds) for rate in RATES}
        for rate, (n, left, tokens_s, *smooth, eq7, met, idle) in rows.items():
            figures = " | ".join(f"{x:.1f}" for x in (n, left, tokens_s, *smooth, eq7))
            out.append(f"| {tokens} | {scheduler} | {rate:g} | {figures} | {met:.3f} | {idle:.2f} |")
        best = [RATES[int(np.argmax([rows[rate][3 + i] for rate in RATES]))] for i in range(len(ALPHAS))]
        peaks.append(f"| {tokens} | {scheduler} | " + " | ".join(f"{b:g}" for b in best) + " |")
    header = "| step tokens | scheduler | " + " | ".join(f"alpha {a:g}" for a in ALPHAS) + " |"
    return "\n".join(
        [*out, "", "Load at which smooth goodput peaks (requests/s):", "", header, "|---" * 5 + "|", *peaks]
    )


def main() -> None:
    """Print the sweep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args()
    sys.stdout.write(f"{table(Server().times, chosen.seeds)}\n")


if __name__ == "__main__":
    main()
