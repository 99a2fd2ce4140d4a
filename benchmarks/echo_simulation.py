"""``python -m benchmarks.echo_simulation``: simulate the gain of each part of Echo.

`ladder` runs one trace through schedulers that add one idea each. The command prints the first table of
docs/results/echo.md; `benchmarks.echo_ladder` runs the same schedulers on the real engine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.simulated_server import Rung, Server, batch_prompts, echo_scheduler, random_tokens, rung_of
from benchmarks.simulator import Arrival, Outcome, VirtualClock, simulate
from serve.kv_cache.prefix_cache import PrefixForest
from serve.request import Priority
from serve.scheduling.scheduler import Scheduler

LAST_ARRIVAL_S = 20.0
"""Seconds at the end of `table`'s window without interactive arrivals."""

Make = Callable[[Server, Callable[[], float]], Scheduler]


def _plain(server: Server, _clock: Callable[[], float]) -> Scheduler:
    forest = PrefixForest(server.n_blocks, server.block_tokens)
    return Scheduler(forest, server.max_running, server.step_tokens)


def _echo(**off: bool) -> Make:
    return lambda server, clock: echo_scheduler(server, clock, **off)


LADDER: dict[str, Make] = {
    "first come, first served": _plain,  # fed with one class
    "strict priority": _plain,
    "+ deadline budget": _echo(count_users=False, group_prefixes=False, reserve=False),
    "+ eviction by future users": _echo(group_prefixes=False, reserve=False),
    "+ prefix groups": _echo(reserve=False),
    "full Echo": _echo(),
}


def run(name: str, server: Server, arrivals: Sequence[Arrival], until_s: float) -> tuple[Rung, Outcome]:
    """Simulate one scheduler of `LADDER` on a trace, for `until_s` seconds."""
    clock = VirtualClock()
    scheduler = LADDER[name](server, clock)

    def drive(given: Sequence[Arrival]) -> Outcome:
        return simulate(given, scheduler, clock, server.times.seconds, until_s=until_s)

    outcome = by_class(name, arrivals, drive)
    return rung_of(name, server, outcome, until_s), outcome


def by_class(
    name: str, arrivals: Sequence[Arrival], drive: Callable[[Sequence[Arrival]], Outcome]
) -> Outcome:
    """Drive a trace, simulated or real, through a scheduler of `LADDER`; timelines come back by class.

    First come, first served is driven as if every request were interactive, and its timelines get their classes back
    afterwards; its batch tokens are those of finished requests.
    """
    if name != "first come, first served":
        return drive(arrivals)
    outcome = drive([replace(a, priority=Priority.ONLINE) for a in arrivals])
    everyone, outcome.online = outcome.online, []
    for timeline in everyone:
        arrival = arrivals[int(timeline.request_id.rpartition("-")[2])]
        if arrival.priority is Priority.ONLINE:
            outcome.online.append(timeline)
            continue
        outcome.offline.append(timeline)
        finished = len(timeline.token_s) >= arrival.output_tokens
        outcome.offline_finished += finished
        outcome.first_time_tokens += finished * (len(arrival.prompt) + arrival.output_tokens)
    return outcome


def ladder(server: Server, arrivals: Sequence[Arrival], until_s: float) -> list[Rung]:
    """Run every scheduler of `LADDER` on the same trace."""
    return [run(name, server, arrivals, until_s)[0] for name in LADDER]


def bursty_trace(rng: np.random.Generator, rate: float, span_s: float, *, batch: int = 3000) -> list[Arrival]:
    """Interactive arrivals whose rate alternates every 15 s between 0.4 and 3 times `rate`, beside `batch` prompts
    that come in families of 100 sharing 480 tokens, shuffled: judge prompts over shared evidence.
    """
    arrivals: list[Arrival] = []
    at_s = 0.0
    while True:
        at_s += rng.exponential(1.0 / (rate * (3.0 if int(at_s) // 15 % 2 else 0.4)))
        if at_s >= span_s:
            break
        arrivals += [replace(arrival, at_s=at_s) for arrival in readers(rng, 1)]
    return arrivals + batch_prompts(rng, batch)


def readers(rng: np.random.Generator, n: int) -> list[Arrival]:
    """`n` interactive requests: 30 to 299 prompt tokens of their own, 20 to 119 answer tokens."""
    return [
        Arrival(0.0, random_tokens(rng, rng.integers(30, 300)), int(rng.integers(20, 120))) for _ in range(n)
    ]


def table(rates: Sequence[float], seeds: Sequence[int], span_s: float) -> str:
    """The ladder over interactive rates and seeds as Markdown; means, with the range over seeds for batch work."""
    server = Server()
    rows = [
        "| interactive requests/s | scheduler | attainment | smooth goodput, tokens/s | batch requests | "
        "batch tokens/s (range) | recomputed tokens | batch, x strict priority |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for rate in rates:
        # the last interactive request comes early enough to be finished within the window
        traces = [bursty_trace(np.random.default_rng(s), rate, span_s - LAST_ARRIVAL_S) for s in seeds]
        runs = [ladder(server, trace, span_s) for trace in traces]
        strict = np.mean([r[1].offline_tokens_s for r in runs])
        for rungs in zip(*runs, strict=True):
            tokens = [r.offline_tokens_s for r in rungs]
            met, smooth, done, again = (
                float(np.mean([getattr(r, name) for r in rungs]))
                for name in ("attainment", "smooth_goodput", "offline_requests", "recomputed_tokens")
            )
            rows.append(
                f"| {rate:g} | {rungs[0].scheduler} | {met:.3f} | {smooth:.1f} | {done:.0f} | "
                f"{np.mean(tokens):.0f} ({min(tokens):.0f} to {max(tokens):.0f}) | {again:.0f} | "
                f"{np.mean(tokens) / strict:.2f} |"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(table((0.2, 0.5), (0, 1, 2), 80.0) + "\n")
