"""An open-loop load generator for any OpenAI-compatible server, and the timelines it writes.

Requests start when their arrival says so, whether or not the server keeps up; the generator notes how late
it was itself. A chunk's tokens all get the time at which the chunk was received. Tokens are counted with the
served model's tokenizer over the text so far. Without one every chunk counts as a token, and the server's
own count, if it sends one, decides the total.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from serve.atomic import write_text
from serve.errors import InputError
from serve.goodput import Ending, Timeline

Float64 = npt.NDArray[np.float64]
Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Load:
    """Requests of one measurement and their target.

    `arrivals` float64[n] are seconds after the start; `messages` are taken in turn. `patience` seconds after
    its commitment a user gives up (None: never); `drain` seconds after the last arrival the measurement
    ends. `extra` are further fields of every request's body.
    """

    url: str
    model: str
    messages: Sequence[list[dict[str, str]]]
    arrivals: Float64
    max_tokens: int = 128
    temperature: float = 0.0
    patience: float | None = None
    drain: float = 30.0
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Served:
    """Timeline and HTTP status of one request; `chunks` counts the received pieces."""

    timeline: Timeline
    chunks: int
    status: int | None
    error: str | None
    late_s: float  # how much later than its arrival the generator sent it


@dataclass(slots=True)
class _Stream:
    """Received part of an answer."""

    times: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    reported: int | None = None
    complete: bool = False
    status: int | None = None


def poisson(rate: float, seconds: float, seed: int) -> Float64:
    """Arrivals of a Poisson process of `rate` a second over a window, ascending."""
    if not (rate > 0 and seconds > 0):
        raise InputError(f"rate {rate} and seconds {seconds} must be positive")
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1 / rate, size=int(3 * rate * seconds + 30)))
    return np.asarray(times[times < seconds])


def read_trace(path: Path) -> Float64:
    """Arrivals from a file with a number of seconds in every line, ascending."""
    values = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                values.append(float(line))
            except ValueError as error:
                raise InputError(f"{path}:{number}: {line[:40]!r} is not a number of seconds") from error
    times = np.asarray(values)
    if not len(times) or not np.isfinite(times).all() or (np.diff(times) < 0).any() or times[0] < 0:
        raise InputError(f"{path}: wanted one arrival a line, in seconds from 0, ascending")
    return times


async def drive(load: Load, count: Count | None, api_key: str | None = None) -> list[Served]:
    """Send every request at its time, and wait for answers until the measurement ends; results in order of arrival."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(headers=headers, timeout=None, limits=limits) as client:
        start = time.perf_counter()
        end = start + float(load.arrivals[-1]) + load.drain
        tasks = [
            asyncio.create_task(_one(client, load, number, start + float(arrival_s), end, count))
            for number, arrival_s in enumerate(load.arrivals)
        ]
        return list(await asyncio.gather(*tasks))


async def _one(
    client: httpx.AsyncClient, load: Load, number: int, due: float, end: float, count: Count | None
) -> Served:
    await asyncio.sleep(max(0.0, due - time.perf_counter()))
    late = time.perf_counter() - due
    stream, error = _Stream(), None
    # The user commits at the arrival: a generator that lags must not make the server look faster.
    leave = end if load.patience is None else min(end, due + load.patience)
    try:
        async with asyncio.timeout(leave - time.perf_counter()):
            await _receive(client, load, number, stream)
        ending = Ending.FINISHED if stream.complete else Ending.DROPPED
    except TimeoutError:
        ending = Ending.UNFINISHED if leave == end else Ending.CANCELLED
    except httpx.HTTPStatusError as problem:
        refused = problem.response.status_code in (429, 503)
        ending, error = Ending.REJECTED if refused else Ending.DROPPED, str(problem)
    except (httpx.HTTPError, ValueError) as problem:
        ending, error = Ending.DROPPED, f"{type(problem).__name__}: {problem}"
    ended = time.perf_counter()
    tokens = token_times(stream.times, stream.texts, stream.reported, count)
    if ending is Ending.FINISHED and not tokens:
        ending = Ending.DROPPED
    if ending is Ending.FINISHED:
        ended = tokens[-1]
    timeline = Timeline(f"r{number:05d}", due, tuple(tokens), max(ended, due), ending)
    return Served(timeline, len(stream.times), stream.status, error, late)


async def _receive(client: httpx.AsyncClient, load: Load, number: int, stream: _Stream) -> None:
    """Read one streamed answer; chunks of text with their times."""
    body = {
        "model": load.model,
        "messages": load.messages[number % len(load.messages)],
        "max_tokens": load.max_tokens,
        "temperature": load.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
        **load.extra,
    }
    async with client.stream("POST", f"{load.url.rstrip('/')}/chat/completions", json=body) as response:
        stream.status = response.status_code
        response.raise_for_status()
        async for line in response.aiter_lines():
            now = time.perf_counter()
            if not line.startswith("data:"):
                continue
            payload = line[5:].strip()
            if payload == "[DONE]":
                stream.complete = True
                return
            event = json.loads(payload)
            if event.get("error"):
                raise ValueError(f"the server reported {str(event['error'])[:200]}")
            if usage := event.get("usage"):
                stream.reported = int(usage["completion_tokens"])
            for choice in event.get("choices") or ():
                if text := (choice.get("delta") or {}).get("content"):
                    stream.times.append(now)
                    stream.texts.append(text)


def token_times(
    times: Sequence[float], texts: Sequence[str], reported: int | None, count: Count | None
) -> list[float]:
    """Give each token the time of the chunk that completed it.

    A server's own count decides the total. Tokens it counted beyond ours (an end token, bytes held back) get the time
    of the last chunk. Where it counted fewer, the last ones are dropped.
    """
    if not times:
        return []
    tokens: list[float] = []
    whole = ""
    for time_s, text in zip(times, texts, strict=True):
        whole += text
        total = len(tokens) + 1 if count is None else count(whole)
        tokens += [time_s] * max(0, total - len(tokens))
    if reported is not None:
        tokens = tokens[:reported] + [times[-1]] * max(0, reported - len(tokens))
    return tokens


def write_served(path: Path, served: Sequence[Served], settings: dict[str, Any]) -> None:
    """Write a run: a line of settings, then one line a request; atomically."""
    lines = [json.dumps({"settings": settings})]
    for row in served:
        flat = asdict(row)
        lines.append(json.dumps(flat.pop("timeline") | flat))
    write_text(path, "\n".join(lines) + "\n")


def read_run(path: Path) -> tuple[list[Timeline], dict[str, Any]]:
    """Read the timelines and settings of a run."""
    try:
        first, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        timelines = [
            Timeline(
                r["request_id"], r["committed_s"], tuple(r["token_s"]), r["ended_s"], Ending(r["ending"])
            )
            for r in rows
        ]
        return timelines, dict(first["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a run of benchmarks.load ({error})") from error
