"""Rough clients against a running server: `python -m benchmarks.soak http://127.0.0.1:8000 --seconds 600`.

Each client does, again and again, one of the things that clients do: reads a stream to its end, hangs up in the
middle, reads slowly, sends too large a body, no JSON, a wrong key. Everything must end in an answer or a clean
refusal. At the end the server must hold no request and no used cache block; its memory over time is printed
(it grows while the cache's pages are first touched).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx

_WORDS = (
    "gene",
    "cell",
    "marker",
    "tissue",
    "immune",
    "blood",
    "stem",
    "nerve",
    "type",
    "high",
    "low",
    "which",
)


PATIENCE_S = 900.0
"""How long a client waits for a byte: on a slow or shared machine batch requests wait long behind interactive ones."""
SAMPLE_S = 30.0


@dataclass(slots=True)
class SoakReport:
    """What the clients saw: how often each of them did what, and everything that should not have been."""

    done: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    finished: int = 0
    tokens: int = 0
    unexpected: list[str] = field(default_factory=list)


class _Client:
    """One rough client."""

    def __init__(self, http: httpx.AsyncClient, report: SoakReport, seed: int) -> None:
        self.http, self.report, self.rng = http, report, random.Random(seed)

    async def run(self, until: float) -> None:
        habits: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.read_to_the_end, 6),
            (self.hang_up, 3),
            (self.read_slowly, 1),
            (self.ask_whole, 2),
            (self.send_too_much, 1),
            (self.send_no_json, 1),
            (self.use_a_wrong_key, int("Authorization" in self.http.headers)),
        ]
        while time.monotonic() < until:
            (habit,) = self.rng.choices([h for h, _ in habits], [w for _, w in habits])
            try:
                await habit()
            except httpx.HTTPError as error:
                self.report.unexpected.append(f"{habit.__name__}: {error!r}")
            self.report.done[habit.__name__] += 1

    def body(self, **more: object) -> dict[str, object]:
        content = " ".join(self.rng.choices(_WORDS, k=self.rng.randint(1, 20)))
        limit = self.rng.randint(1, 40)
        return {
            "messages": [{"role": "user", "content": content}],
            "max_tokens": limit,
            "ignore_eos": True,
        } | more

    async def read_to_the_end(self) -> None:
        await self._stream(pause_s=0.0, leave_after=None)

    async def read_slowly(self) -> None:
        await self._stream(pause_s=0.05, leave_after=None)

    async def hang_up(self) -> None:
        await self._stream(pause_s=0.0, leave_after=self.rng.randint(1, 8))

    async def ask_whole(self) -> None:
        response = await self.http.post("/v1/chat/completions", json=self.body())
        if self._answered(response.status_code):
            self.report.finished += 1
            self.report.tokens += response.json()["usage"]["completion_tokens"]

    async def send_too_much(self) -> None:
        self._refusal(await self.http.post("/v1/completions", content=b"x" * 8_000_000), {413})

    async def send_no_json(self) -> None:
        rubbish = self.rng.choice([b"{", b"[1]", b"\xff", b'{"messages": 3}'])
        self._refusal(await self.http.post("/v1/chat/completions", content=rubbish), {400})

    async def use_a_wrong_key(self) -> None:
        response = await self.http.post(
            "/v1/chat/completions", json=self.body(), headers={"Authorization": "Bearer wrong"}
        )
        self._refusal(response, {401})

    async def _stream(self, pause_s: float, leave_after: int | None) -> None:
        body = self.body(stream=True, priority=self.rng.choice([0, 0, 1]))
        async with self.http.stream("POST", "/v1/chat/completions", json=body) as response:
            if not self._answered(response.status_code):
                return
            lines, last = 0, ""
            async for line in response.aiter_lines():
                if not line:
                    continue
                lines, last = lines + 1, line
                if leave_after is not None and lines >= leave_after:
                    return
                await asyncio.sleep(pause_s)
        if last != "data: [DONE]":
            self.report.unexpected.append(f"a stream ended with {last[:200]!r}")
            return
        self.report.finished += 1
        self.report.tokens += lines - 2

    def _answered(self, status: int) -> bool:
        """Whether the request was taken; being told to come back later is a clean refusal."""
        if status in (429, 503):
            self.report.refused += 1
        elif status != 200:
            self.report.unexpected.append(f"status {status} for a good request")
        return status == 200

    def _refusal(self, response: httpx.Response, wanted: set[int]) -> None:
        if response.status_code not in wanted:
            self.report.unexpected.append(f"status {response.status_code}, wanted {sorted(wanted)}")
        self.report.refused += 1


async def soak(base: str, key: str | None, clients: int, seconds: float, seed: int) -> SoakReport:
    """Let `clients` rough clients loose on a server for `seconds`."""
    report = SoakReport()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients // 2)
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=PATIENCE_S, limits=limits) as http:
        until = time.monotonic() + seconds
        await asyncio.gather(*(_Client(http, report, seed * 1000 + i).run(until) for i in range(clients)))
    return report


def gauges(base: str, key: str | None) -> dict[str, float]:
    """The server's plain metrics by name."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    text = httpx.get(base + "/metrics", headers=headers, timeout=30.0).text
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs if "{" not in name}


async def _soak_and_sample(arguments: argparse.Namespace, key: str | None) -> tuple[SoakReport, list[int]]:
    """The soak, and the server's resident MiB every `SAMPLE_S`."""
    memory: list[int] = []

    async def sample() -> None:
        while True:
            now = await asyncio.to_thread(gauges, arguments.base, key)
            memory.append(round(now["vckg_serve_resident_bytes"] / 2**20))
            await asyncio.sleep(SAMPLE_S)

    sampling = asyncio.create_task(sample())
    report = await soak(arguments.base, key, arguments.clients, arguments.seconds, arguments.seed)
    sampling.cancel()
    return report, memory


def main() -> int:
    """Run the soak from the command line; exit code 1 if anything was left behind or unexpected."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("base", help="address of the server, e.g. http://127.0.0.1:8000")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    key = os.environ.get("VCKG_SERVE_API_KEY")
    report, memory = asyncio.run(_soak_and_sample(arguments, key))
    end = time.monotonic() + 60.0
    while (after := gauges(arguments.base, key))["vckg_serve_open_requests"] and time.monotonic() < end:
        time.sleep(0.2)
    kept = ("open_requests", "running_requests", "waiting_requests", "cache_blocks_in_use")
    left = {name: after[f"vckg_serve_{name}"] for name in kept}
    summary = {
        "clients": arguments.clients, "seconds": arguments.seconds, "done": dict(report.done),
        "finished": report.finished, "refused": report.refused, "tokens": report.tokens,
        "unexpected": report.unexpected[:20], "left": left, "resident_mib": memory,
    }  # fmt: skip
    sys.stdout.write(json.dumps(summary, indent=1) + "\n")
    return 1 if report.unexpected or any(left.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
