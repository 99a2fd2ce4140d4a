"""``python -m benchmarks.echo_simulation``: readers alone, and what each scheduler makes of batch work beside them.

One trace goes through readers alone, first come first served, strict priority, strict priority whose client sorts its
batch prompts, Echo, and Echo without each of its parts. The command prints the first table of docs/results/echo.md;
`benchmarks.echo_ladder` runs the same on the real engine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.arrivals import bursty_trace, read_recorded
from benchmarks.simulated_server import Rung, Server, echo_scheduler, plain_scheduler, rung_of
from benchmarks.simulator import Arrival, Outcome, VirtualClock, simulate
from serve.request import Priority
from serve.scheduling.scheduler import Scheduler

LAST_ARRIVAL_S = 20.0
"""Seconds at the end of a run without interactive arrivals, so that the last reader is served within it."""

Make = Callable[[Server, Callable[[], float]], Scheduler]


def _echo(**off: bool) -> Make:
    return lambda server, clock: echo_scheduler(server, clock, **off)


ALONE, FCFS, STRICT, SORTED, ECHO = (
    "readers alone", "first come, first served", "strict priority", "strict priority, prompts sorted", "Echo",
)  # fmt: skip
LADDER: dict[str, Make] = {
    ALONE: plain_scheduler,
    FCFS: plain_scheduler,  # fed with one class
    STRICT: plain_scheduler,
    SORTED: plain_scheduler,
    ECHO: _echo(),
    "Echo without the deadline budget": _echo(budget=False),
    "Echo without prefix groups": _echo(group_prefixes=False),
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
    """Drive a trace, simulated or real, as a row of `LADDER` wants it; timelines come back by class.

    First come, first served is driven as if every request were interactive, and its timelines get their classes back
    afterwards; its batch tokens are those of finished requests.
    """
    readers_only = [a for a in arrivals if a.priority is Priority.ONLINE]
    if name == ALONE:
        return drive(readers_only)
    if name == SORTED:
        batch = [a for a in arrivals if a.priority is Priority.OFFLINE]
        return drive(readers_only + sorted(batch, key=lambda a: a.prompt))
    if name != FCFS:
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


def table(server: Server, traces: Sequence[Sequence[Arrival]], span_s: float) -> str:
    """Every row over the traces as Markdown; means, with the range over traces for batch work."""
    rows = [
        "| scheduler | readers | in time | smooth goodput, tokens/s | batch requests | batch tokens/s (range) "
        "| recomputed tokens | batch, x strict priority | batch, x sorted |",
        "|---" * 9 + "|",
    ]
    readers_a_run = np.mean([sum(a.priority is Priority.ONLINE for a in trace) for trace in traces])
    found = {name: [run(name, server, trace, span_s)[0] for trace in traces] for name in LADDER}
    strict, ordered = (float(np.mean([r.offline_tokens_s for r in found[name]])) for name in (STRICT, SORTED))
    for name, rungs in found.items():
        tokens = [r.offline_tokens_s for r in rungs]
        met, smooth, done, again = (
            float(np.mean([getattr(r, what) for r in rungs]))
            for what in ("attainment", "smooth_goodput", "offline_requests", "recomputed_tokens")
        )
        rows.append(
            f"| {name} | {readers_a_run:.0f} | {met:.3f} | {smooth:.1f} | {done:.0f} | "
            f"{np.mean(tokens):.0f} ({min(tokens):.0f} to {max(tokens):.0f}) | {again:.0f} | "
            f"{np.mean(tokens) / strict:.2f} | {np.mean(tokens) / ordered:.2f} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Print the tables, of an ample and of a tight cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=0.5, help="interactive requests a second")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--blocks", type=int, nargs="+", default=[512, 160])
    parser.add_argument("--arrivals", type=Path, help="CSV of a recorded trace; default: bursts")
    chosen = parser.parse_args()
    make = read_recorded(chosen.arrivals).trace if chosen.arrivals else bursty_trace
    span_s = chosen.seconds - LAST_ARRIVAL_S
    traces = [make(np.random.default_rng(seed), chosen.rate, span_s, batch=1500) for seed in chosen.seeds]
    for blocks in chosen.blocks:
        made = table(Server(n_blocks=blocks), traces, chosen.seconds)
        sys.stdout.write(f"Cache of {blocks} blocks:\n\n{made}\n\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
