"""Batch work of another program and bursty interactive requests on one server, with a picture.

``python -m benchmarks.mixed_day --seconds 240 -- arena run -m gather -j MODEL --judge-base-url {url} ...`` starts
``vckg-serve`` and the command after ``--``, which sends its prompts to ``{url}``. With the first prompt the
interactive requests begin, in bursts. The server's counters are read every two seconds. At the end of the time the
command is stopped, and a Markdown page and an SVG are written. The command may be any program that speaks HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from benchmarks.load.generator import Float64, Load, drive
from benchmarks.mixed_day_picture import draw
from serve.errors import InputError
from serve.goodput import Ending, LinearPenalty, ReadingSlo, SmoothGoodput, Timeline, attainment

EVERY_S = 2.0
"""Seconds between two looks at the server's counters."""

Counters = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Setting:
    """What the day is: how long, how many readers a second, and what they were promised."""

    seconds: float = 240.0
    rate: float = 0.1
    pace_s: float = 0.25
    allowance_s: float = 1.0
    tokens: int = 40
    seed: int = 0
    scheduler: str = "echo"
    model: Path | None = None
    """Folder or file; None is the embedded model."""
    tail_s: float = 30.0
    """Seconds at the end in which no reader comes, so that the last one can be answered."""

    @property
    def slo(self) -> ReadingSlo:
        """When a reader's tokens are due."""
        return ReadingSlo(self.pace_s, self.allowance_s)


@dataclass(slots=True)
class Seen:
    """Counters over time: seconds since the readers' start, and the server's figures then."""

    at_s: list[float] = field(default_factory=list)
    counters: list[Counters] = field(default_factory=list)

    def grown(self, name: str) -> float:
        """How much a counter grew over the day."""
        return self.counters[-1].get(name, 0.0) - self.counters[0].get(name, 0.0)


def bursts(rng: np.random.Generator, rate: float, seconds: float) -> Float64:
    """Arrivals at `rate` a second on average: a quiet half minute (0.4 of it), then a busy one (1.6 times), in turn."""
    times: list[float] = []
    at = 0.0
    while True:
        at += rng.exponential(1.0 / (rate * (1.6 if int(at) // 30 % 2 else 0.4)))
        if at >= seconds:
            return np.asarray(times or [0.0])
        times.append(at)


@contextlib.contextmanager
def child(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program of its own process group, ended with it afterwards."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield process
    finally:
        for number, patience_s in ((signal.SIGINT, 15), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(process.pid, number)
                    process.wait(patience_s)


def counters(url: str) -> Counters:
    """The server's figures without labels, and the batch answers it finished."""
    found: dict[str, float] = {}
    for line in httpx.get(url.removesuffix("/v1") + "/metrics", timeout=60).text.splitlines():
        if line.startswith("vckg_serve_"):
            name, _, value = line.removeprefix("vckg_serve_").rpartition(" ")
            if name.startswith("finished_total") and "CANCELLED" not in name.upper():
                found["finished"] = found.get("finished", 0.0) + float(value)
            elif "{" not in name:
                found[name] = float(value)
    return found


def wait_for(url: str, what: str, log: Path, patience_s: float, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers, or has been asked (`what` is one of its counters)."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            figures = counters(url)
            if not what or figures.get(what):
                return
        time.sleep(0.5)
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    raise InputError(f"{'no prompt came' if what else 'the server did not come up'}: {' '.join(said)[:300]}")


async def beside(load: Load, url: str, seconds: float) -> tuple[list[Timeline], Seen]:
    """Drive the readers and look at the counters meanwhile; times count from the readers' start."""
    seen, began = Seen(), time.perf_counter()
    readers = asyncio.create_task(drive(load, None))
    while (now := time.perf_counter() - began) < seconds:
        seen.counters.append(await asyncio.to_thread(counters, url))
        seen.at_s.append(now)
        await asyncio.sleep(max(0.0, EVERY_S - (time.perf_counter() - began - now)))
    served = await readers
    lines = []
    for row in served:
        t = row.timeline
        times = tuple(x - began for x in t.token_s)
        lines.append(Timeline(t.request_id, t.committed_s - began, times, t.ended_s - began, t.ending))
    return lines, seen


def run(setting: Setting, command: Sequence[str], prompts: Path) -> tuple[list[Timeline], Seen]:
    """The day."""
    rows = [json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines()]
    messages = [row["messages"] for row in rows if row["workload"] in ("chat", "qa")]
    arrivals = bursts(np.random.default_rng(setting.seed), setting.rate, setting.seconds - setting.tail_s)
    port = 8600 + os.getpid() % 300
    url = f"http://127.0.0.1:{port}/v1"
    start = [sys.executable, "-m", "serve.cli", "start", "--port", str(port), "--max-open", "2000"]
    start += ["--scheduler", setting.scheduler, "--pace", str(setting.pace_s), "--drain", "0"]
    start += [] if setting.model is None else ["--model", str(setting.model)]
    with tempfile.TemporaryDirectory() as scratch:
        server_log, batch_log = Path(scratch) / "server.log", Path(scratch) / "batch.log"
        with child(start, server_log) as server:
            wait_for(url, "", server_log, 300, server)
            name = httpx.get(f"{url}/models", timeout=60).json()["data"][0]["id"]
            load = Load(
                url, name, messages, arrivals, setting.tokens, drain=setting.seconds - float(arrivals[-1])
            )
            filled = [part.replace("{url}", url).replace("{model}", name) for part in command]
            with child(filled, batch_log) as batch:
                wait_for(url, "prompt_tokens_total", batch_log, 600, batch)
                return asyncio.run(beside(load, url, setting.seconds))


def page(
    setting: Setting, command: Sequence[str], lines: Sequence[Timeline], seen: Seen, picture: str
) -> str:
    """The figures as Markdown."""
    length = seen.at_s[-1] - seen.at_s[0]
    online_tokens = sum(len(t.token_s) for t in lines)
    done = sum(t.ending is Ending.FINISHED for t in lines)
    first = [t.token_s[0] - t.committed_s for t in lines if t.token_s]
    penalty = LinearPenalty(setting.pace_s)
    smooth = ", ".join(
        f"{SmoothGoodput(setting.slo, penalty, alpha)(lines, setting.seconds):.2f} (alpha {alpha:g})"
        for alpha in (1.0, 2.5, 5.0)
    )
    model = "the embedded model" if setting.model is None else f"`{setting.model.name}`"
    batch_output = seen.grown("output_tokens_total") - online_tokens
    answered = seen.grown("finished") - done
    per_prompt = (
        f"{seen.grown('prefill_rows_total') / answered:.0f}, the readers' among them" if answered else "none"
    )
    rows = (
        ("interactive requests", f"{len(lines)}, of which {done} were answered to the end"),
        ("their tokens", f"{online_tokens}, {online_tokens / setting.seconds:.2f} a second"),
        ("requests with every token in time", f"{100 * attainment(lines, setting.slo):.0f} %"),
        ("smooth goodput, tokens/s", smooth),
        (
            "first token, median and worst",
            f"{np.median(first):.2f} s, {max(first):.2f} s" if first else "none",
        ),
        ("batch prompts answered", f"{answered:.0f}"),
        ("batch prompts open at the end", f"{seen.counters[-1].get('open_requests', 0):.0f}"),
        ("prompt tokens computed for a batch prompt answered", per_prompt),
        ("prompt tokens computed, both classes", f"{seen.grown('prefill_rows_total') / length:.0f} a second"),
        ("prompt tokens taken from the cache", f"{seen.grown('cached_tokens_total') / length:.0f} a second"),
        ("batch tokens written", f"{batch_output / length:.1f} a second"),
        ("preemptions", f"{seen.grown('preemptions_total'):.0f}"),
    )
    return "\n".join(
        [
            "# A day in the life of one server",
            "",
            f"`vckg-serve start --scheduler {setting.scheduler}` with {model} on {os.cpu_count()} CPU "
            f"cores, for {setting.seconds:g} s. Batch work comes from another program and says so in each request "
            f"(`service_tier`). Readers arrive in bursts, {setting.rate:g} a second on average: half a minute at 0.4 "
            f"times that, half a minute at 1.6 times. Each asks for at most {setting.tokens} tokens. A "
            f"reader's token i is due {setting.allowance_s:g} + {setting.pace_s:g} i seconds after the request. Tokens "
            "are counted by "
            "the chunks that arrive. The window begins with the program's first prompt.",
            "",
            "```",
            f"python -m benchmarks.mixed_day --seconds {setting.seconds:g} --rate {setting.rate:g} "
            f"-- {' '.join(command)}",
            "```",
            "",
            f"![Readers above, batch work below]({picture})",
            "",
            "| measure | value |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows),
            "",
        ]
    )


def main() -> None:
    """Run the day, write page and picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--rate", type=float, default=0.1, help="interactive requests a second, on average")
    parser.add_argument("--scheduler", default="echo", help="echo or priority")
    parser.add_argument("--model", type=Path, help="folder or .gguf file; default: the embedded model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompts", type=Path, default=Path("draft/heldout.jsonl"), help="the readers'")
    parser.add_argument("--output", type=Path, default=Path("docs/results/day.md"))
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the program with the batch work")
    chosen = parser.parse_args()
    command = [part for part in chosen.command if part != "--"]
    if not command or chosen.seconds <= 40:
        parser.error("wanted more than 40 seconds, and after -- a command that sends batch prompts to {url}")
    setting = Setting(
        chosen.seconds, chosen.rate, seed=chosen.seed, scheduler=chosen.scheduler, model=chosen.model
    )
    lines, seen = run(setting, command, chosen.prompts)
    picture = chosen.output.with_suffix(".svg")
    picture.write_text(draw(lines, seen.at_s, seen.counters, setting.slo), encoding="utf-8")
    chosen.output.write_text(page(setting, command, lines, seen, picture.name), encoding="utf-8")


if __name__ == "__main__":
    main()
