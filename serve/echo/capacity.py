"""How much batch work fits beside interactive users, and which part of Echo earns it: simulations, named as such.

`ladder` runs one trace through schedulers that add one idea each; `replicas_needed` answers the deployer.
`python -m serve.echo.capacity` prints the table of docs/results/echo.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from serve.echo.cache_policy import EchoConfig, EchoForest
from serve.echo.scheduler import EchoScheduler
from serve.echo.simulator import Arrival, Outcome, VirtualClock, simulate
from serve.errors import InputError
from serve.goodput import ReadingSlo, SmoothGoodput, attainment
from serve.kv_cache.prefix_cache import PrefixForest
from serve.request import Priority
from serve.scheduling.estimators import FIRST_GUESS, TimeModel
from serve.scheduling.scheduler import Scheduler

CPU_TIMES = TimeModel(FIRST_GUESS.coefficients)
"""Those of a server that has not measured itself yet."""


LAST_ARRIVAL_S = 20.0
"""Seconds before the end of `table`'s window after which no interactive request comes."""


@dataclass(frozen=True, slots=True)
class Server:
    """What is simulated: the cache in blocks, the batch limits, the step times and the users' deadlines."""

    n_blocks: int = 512
    block_tokens: int = 16
    max_running: int = 32
    step_tokens: int = 256
    times: TimeModel = CPU_TIMES
    echo: EchoConfig = field(default_factory=EchoConfig)

    @property
    def slo(self) -> ReadingSlo:
        """When the tokens of an interactive request are due."""
        return ReadingSlo(self.echo.pace_s, self.echo.allowance_s)


Make = Callable[[Server, Callable[[], float]], Scheduler]


def _plain(server: Server, _clock: Callable[[], float]) -> Scheduler:
    forest = PrefixForest(server.n_blocks, server.block_tokens)
    return Scheduler(forest, server.max_running, server.step_tokens)


def _echo(**off: bool) -> Make:
    def make(server: Server, clock: Callable[[], float]) -> Scheduler:
        config = replace(server.echo, **off)
        forest = EchoForest(server.n_blocks, server.block_tokens, config)
        return EchoScheduler(forest, server.max_running, server.step_tokens, server.times, config, clock)

    return make


LADDER: dict[str, Make] = {
    "first come, first served": _plain,  # fed with one class
    "strict priority": _plain,
    "+ deadline budget": _echo(count_users=False, group_prefixes=False, reserve=False),
    "+ eviction by future users": _echo(group_prefixes=False, reserve=False),
    "+ prefix groups": _echo(reserve=False),
    "full Echo": _echo(),
}


@dataclass(frozen=True, slots=True)
class Rung:
    """One scheduler on one trace: what users felt and how much batch work was done. Tokens and seconds."""

    scheduler: str
    attainment: float
    smooth_goodput: float
    offline_requests: int
    offline_tokens_s: float
    """Useful batch tokens a second: computed for the first time or taken from the cache, never recomputed ones."""
    recomputed_tokens: int


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


def rung_of(name: str, server: Server, outcome: Outcome, until_s: float) -> Rung:
    """What a run of `until_s` seconds, simulated or real, comes to."""
    useful = outcome.first_time_tokens + outcome.cached_tokens
    return Rung(
        name,
        attainment(outcome.online, server.slo) if outcome.online else 1.0,
        SmoothGoodput(server.slo)(outcome.online, until_s),
        outcome.offline_finished,
        useful / until_s,
        outcome.recomputed_tokens,
    )


def ladder(server: Server, arrivals: Sequence[Arrival], until_s: float) -> list[Rung]:
    """Run every scheduler of `LADDER` on the same trace."""
    return [run(name, server, arrivals, until_s)[0] for name in LADDER]


def replicas_needed(
    server: Server,
    arrivals: Sequence[Arrival],
    until_s: float,
    *,
    target: float = 0.99,
    offline_tokens_s: float = 0.0,
    most: int = 64,
) -> tuple[int, Rung]:
    """Least number of replicas at which users and batch work get what they need, and what one replica then does.

    Interactive and batch requests are dealt to the replicas in turn. Of `Rung`, `offline_tokens_s` is the sum over
    replicas, `attainment` their mean.

    Raises
    ------
    InputError
        If `most` replicas are not enough.
    """
    for n in range(1, most + 1):
        rungs = [run("full Echo", server, arrivals[i::n], until_s)[0] for i in range(n)]
        met = float(np.mean([r.attainment for r in rungs]))
        offline = sum(r.offline_tokens_s for r in rungs)
        if met >= target and offline >= offline_tokens_s:
            goodput = sum(r.smooth_goodput for r in rungs)
            done = sum(r.offline_requests for r in rungs)
            again = sum(r.recomputed_tokens for r in rungs)
            return n, Rung("full Echo", met, goodput, done, offline, again)
    raise InputError(
        f"{most} replicas do not reach attainment {target} with {offline_tokens_s:g} batch tokens a second"
    )


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
    return [Arrival(0.0, _tokens(rng, rng.integers(30, 300)), int(rng.integers(20, 120))) for _ in range(n)]


def batch_prompts(rng: np.random.Generator, n: int) -> list[Arrival]:
    """`n` batch prompts that wait from the start, in families of 100 that share 480 tokens, shuffled."""
    families = [_tokens(rng, 480) for _ in range(max(1, n // 100))]
    return [
        Arrival(
            0.0,
            (*families[i % len(families)], *_tokens(rng, rng.integers(20, 80))),
            int(rng.integers(10, 40)),
            Priority.OFFLINE,
        )
        for i in rng.permutation(n)
    ]


def _tokens(rng: np.random.Generator, n: int | np.integer) -> tuple[int, ...]:
    return tuple(rng.integers(0, 49_000, int(n)).tolist())


def read_trace(path: Path) -> list[Arrival]:
    """Read interactive arrivals from JSON lines: ``{"at_s": 1.5, "prompt_tokens": 200, "output_tokens": 60}``.

    Raises
    ------
    InputError
        With file and line, where a line is not of that form.
    """
    rng = np.random.default_rng(0)
    arrivals: list[Arrival] = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            row = json.loads(line)
            at_s, prompt, output = float(row["at_s"]), int(row["prompt_tokens"]), int(row["output_tokens"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}:{number}: {line[:80]!r} is no arrival; wanted at_s, prompt_tokens, output_tokens"
            ) from error
        if not (at_s >= 0 and prompt > 0 and output > 0):
            raise InputError(
                f"{path}:{number}: at_s {at_s}, {prompt} prompt and {output} output tokens; none may be negative"
            )
        arrivals.append(Arrival(at_s, _tokens(rng, prompt), output))
    return arrivals


def _lines(path: Path) -> Iterator[str]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a trace of JSON lines")
    yield from (line for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


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
    import sys

    sys.stdout.write(table((0.2, 0.5), (0, 1, 2), 80.0) + "\n")
