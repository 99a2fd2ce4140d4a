"""Compare servers: the same requests to any OpenAI-compatible URLs, and one table of results.

The servers take turns load by load, so that a busy moment of the machine falls on all of them. Three loads. *Closed
loop*: `c` clients, each sending its next request when the last is answered; tokens a second, the reading of the prompts
included. *Batch*: prompts that share a long beginning, as a table of cells to annotate or of answers to judge does;
prompts a second. *Open loop*: Poisson arrivals as in `benchmarks.load`; smooth goodput. Answers run to their token
limit (`ignore_eos`), so that every server writes as many tokens, by the servers' own counts. For a local server with a
named process the table adds processor time, which other jobs on the machine change less than wall time.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.load import generator as loadgen
from benchmarks.load.report import Choices, Run, summary
from serve.atomic import write_text
from serve.errors import InputError, KnownError

Messages = list[dict[str, str]]
Say = Callable[[str], object]
WARM_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Measured:
    """One closed-loop run: clients, requests answered, tokens read and written (by the server's count), seconds.

    `cpu_s` is what the server's processes used meanwhile; 0 where its process is not known.
    """

    clients: int
    requests: int
    prompt_tokens: int
    tokens: int
    seconds: float
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Server:
    """Measurements of one server."""

    name: str
    closed: list[Measured] = field(default_factory=list)
    batch: list[Measured] = field(default_factory=list)
    open: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Address:
    """Address of a server: base URL (with /v1), model name and API key, and the process of a local server."""

    url: str
    model: str
    key: str | None = None
    pid: int | None = None

    @classmethod
    def parse(cls, text: str, model: str, key: str | None) -> Address:
        """Read ``URL`` or ``URL#PID``."""
        url, _, pid = text.partition("#")
        return cls(url, model, key, int(pid) if pid else None)

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers of a request."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


async def closed_loop(at: Address, messages: Sequence[Messages], clients: int, max_tokens: int) -> Measured:
    """Send every prompt once, `clients` at a time; KnownError if the server refuses one."""
    waiting = iter(messages)
    counts = [0, 0, 0]
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=clients)
    async with httpx.AsyncClient(headers=at.headers, timeout=None, limits=limits) as client:

        async def work() -> None:
            for prompt in waiting:
                usage = await _answer(client, at, prompt, max_tokens)
                counts[0] += 1
                counts[1] += usage["prompt_tokens"]
                counts[2] += usage["completion_tokens"]

        before, began = cpu_seconds(at.pid), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(clients)))
        seconds = time.perf_counter() - began
        return Measured(clients, counts[0], counts[1], counts[2], seconds, cpu_seconds(at.pid) - before)


def cpu_seconds(pid: int | None) -> float:
    """Processor time of a process and its living descendants so far (Linux); 0 of None."""
    if pid is None:
        return 0.0
    used: dict[int, tuple[int, int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        used[int(stat.parent.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    if pid not in used:
        raise InputError(f"no process {pid} on this machine; wanted the server's")
    family = {pid}
    while more := {child for child, (parent, _) in used.items() if parent in family} - family:
        family |= more
    return sum(used[one][1] for one in family) / os.sysconf("SC_CLK_TCK")


async def _answer(
    client: httpx.AsyncClient, at: Address, prompt: Messages, max_tokens: int
) -> dict[str, int]:
    body = {
        "model": at.model,
        "messages": prompt,
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
    }
    url = f"{at.url.rstrip('/')}/chat/completions"
    try:
        response = await client.post(url, json=body)
    except httpx.HTTPError as error:
        raise KnownError(f"{url}: {type(error).__name__}: {error}; is the server running?") from error
    if response.status_code != 200:
        raise KnownError(f"{url}: HTTP {response.status_code}: {response.text[:200]}")
    usage: dict[str, int] = response.json()["usage"]
    return usage


def sharing(messages: Sequence[Messages], characters: int) -> list[Messages]:
    """Batch prompts: the first prompts become one long beginning of at least `characters`, the others end it each.

    The beginning is the system message; the ends are the last messages of the prompts that are left.
    """
    beginning, used = "Worked examples of the questions that you are asked:\n", 0
    while len(beginning) < characters and used < len(messages):
        beginning += f"\n{messages[used][-1]['content']}\n"
        used += 1
    if used == len(messages):
        raise InputError(f"{used} prompts are too few for a shared beginning of {characters} characters")
    system = {"role": "system", "content": beginning}
    return [[system, prompt[-1]] for prompt in messages[used:]]


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of the measurement: clients and requests of each closed loop, the batch, and the rates of the open loop."""

    clients: Sequence[int]
    requests: Sequence[int]
    max_tokens: int
    batch_clients: int
    batch_prompts: int
    batch_tokens: int
    shared_characters: int
    rates: Sequence[float]
    seconds: float
    drain: float
    open_tokens: int


def measure(at: Mapping[str, Address], rows: Sequence[Messages], plan: Plan, say: Say) -> list[Server]:
    """Measure servers by name. Every closed loop takes prompts that no earlier one has sent."""
    if sum(plan.requests) > len(rows):
        raise InputError(f"{sum(plan.requests)} requests wanted of {len(rows)} prompts; give more prompts")
    servers = [Server(name) for name in at]
    for server in servers:
        warm = [[{"role": "user", "content": "Count to ten."}]]
        asyncio.run(closed_loop(at[server.name], warm, 1, WARM_TOKENS))
    start = 0
    for clients, requests in zip(plan.clients, plan.requests, strict=True):
        own = rows[start : start + requests]
        start += requests
        for server in servers:
            server.closed.append(asyncio.run(closed_loop(at[server.name], own, clients, plan.max_tokens)))
            say(f"{server.name}: {server.closed[-1]}")
    shared = sharing(rows, plan.shared_characters)[: plan.batch_prompts] if plan.batch_clients else []
    for server in servers if shared else ():
        loop = closed_loop(at[server.name], shared, plan.batch_clients, plan.batch_tokens)
        server.batch.append(asyncio.run(loop))
        say(f"{server.name}: batch {server.batch[-1]}")
    for rate in plan.rates:
        for server in servers:
            server.open.append(open_loop(at[server.name], rows, plan, rate))
            say(f"{server.name}: {rate:g} a second, smooth goodput {server.open[-1]['smooth goodput']:.2f}")
    return servers


def open_loop(at: Address, rows: Sequence[Messages], plan: Plan, rate: float) -> dict[str, Any]:
    """Poisson arrivals, seed 0; every measure of `benchmarks.load.report.summary`."""
    arrivals = loadgen.poisson(rate, plan.seconds, seed=0)
    # From the end of the file, so that the prompts are not those of the closed loops.
    messages = list(reversed(rows))
    load = loadgen.Load(
        at.url,
        at.model,
        messages,
        arrivals,
        plan.open_tokens,
        drain=plan.drain,
        extra={"ignore_eos": True},
    )
    served = asyncio.run(loadgen.drive(load, None, at.key))
    return summary(Run(rate, plan.seconds, tuple(s.timeline for s in served)), Choices())


def write_servers(path: Path, servers: Sequence[Server], plan: Plan) -> None:
    """Write measurements as JSON."""
    data = {"plan": asdict(plan), "servers": [asdict(server) for server in servers]}
    write_text(path, json.dumps(data, indent=1) + "\n")


def read_servers(paths: Sequence[Path]) -> list[Server]:
    """Read measurements; merge those of one server from several files."""
    merged: dict[str, Server] = {}
    for path in paths:
        try:
            for data in json.loads(path.read_text(encoding="utf-8"))["servers"]:
                server = merged.setdefault(data["name"], Server(data["name"]))
                server.closed.extend(Measured(**row) for row in data["closed"])
                server.batch.extend(Measured(**row) for row in data["batch"])
                server.open.extend(data["open"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not a measurement of benchmarks.serving servers ({error})") from error
    return list(merged.values())


def table(servers: Sequence[Server]) -> str:
    """Servers side by side as two Markdown tables."""
    clients = sorted({m.clients for s in servers for m in s.closed})
    heads = ["server", *(f"tokens/s, {c} at once" for c in clients), "batch: prompts/s", "batch: tokens/s"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for server in servers:
        own = [[m for m in server.closed if m.clients == c] for c in clients]
        rates = [*(_rate(runs, "tokens") for runs in own)]
        rates += [_rate(server.batch, "requests"), _rate(server.batch, "tokens")]
        lines.append("| " + " | ".join([server.name, *rates]) + " |")
    shown = ("smooth goodput", "tokens a second", "attainment", "idle P99 s", "TTFT P50 s", "TPOT P50 ms")
    heads = ["requests a second", "server", "requests", "unserved", *shown]
    lines += ["", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    rows = sorted((r["requests a second"], i, r) for i, s in enumerate(servers) for r in s.open)
    for rate, i, row in rows:
        cells = [f"{rate:g}", servers[i].name, str(row["requests"]), str(row["unserved"])]
        lines.append("| " + " | ".join([*cells, *(f"{row[name]:.2f}" for name in shown)]) + " |")
    return "\n".join(lines)


def _rate(runs: Sequence[Measured], what: str) -> str:
    """Requests or tokens a second over all runs, in brackets a second of processor time; nothing of none."""
    if not runs:
        return ""
    amount, cpu = sum(getattr(m, what) for m in runs), sum(m.cpu_s for m in runs)
    return f"{amount / sum(m.seconds for m in runs):.2f}" + (f" ({amount / cpu:.2f})" if cpu else "")
