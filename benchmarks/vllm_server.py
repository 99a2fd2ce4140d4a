"""A vLLM server with the plugins as a child process, and a mixed load for it; what `measure` and the tests run."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.load.generator import Float64, Load, Served, drive
from serve.errors import KnownError

ECHO = ("--scheduler-cls", "serve.vllm_plugins.scheduler.EchoScheduler", "--scheduling-policy", "priority")
ON_CPU = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOG_STATS_INTERVAL": "2",
    "TOKENIZERS_PARALLELISM": "false",
}
"""What vllm-cpu 0.32.0 needs on a machine without a network and with few cores; docs/vllm.md says why."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    url: str
    name: str
    log: Path

    def gauge(self, name: str) -> float | None:
        """A figure of /metrics, None before it is there."""
        text = httpx.get(self.url.removesuffix("/v1") + "/metrics", timeout=30).text
        for line in text.splitlines():
            if line.startswith((name + " ", name + "{")):
                return float(line.rsplit(" ", 1)[1])
        return None

    def wait_gauge(self, name: str, patience_s: float = 180) -> float:
        """A figure that is not 0, as soon as there is one: a window is reported at the log's own pace."""
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            if value := self.gauge(name):
                return value
            time.sleep(1.0)
        raise KnownError(f"{self.url}: no figure {name} within {patience_s:g} s; see {self.log}")


@contextmanager
def server(
    model: Path,
    log: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    patience_s: float = 600,
) -> Iterator[Running]:
    """Start vLLM's OpenAI server on a free port of this machine, wait until it answers, and end it afterwards.

    Raises
    ------
    KnownError
        if it ends or does not answer in time; its log says why.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"]
    command += ["--served-model-name", "served", "--max-model-len", "1024", *arguments]
    with log.open("wb") as file:
        child = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ON_CPU, **(environment or {})},
            start_new_session=True,
        )
    try:
        _wait(child, f"http://127.0.0.1:{port}/health", log, time.monotonic() + patience_s)
        yield Running(f"http://127.0.0.1:{port}/v1", "served", log)
    finally:
        _end(child)


def _wait(child: subprocess.Popen[bytes], url: str, log: Path, until: float) -> None:
    while True:
        if child.poll() is not None or time.monotonic() > until:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise KnownError(f"the vLLM server did not come up; see {log}: {' '.join(said)[:300]}")
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(1.0)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Its whole process group: the engine is a process of its own."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


@dataclass(frozen=True, slots=True)
class Mixed:
    """A load of two classes: batch prompts, all at once at the start, and interactive ones at `arrivals`."""

    online: Sequence[list[dict[str, str]]]
    offline: Sequence[list[dict[str, str]]]
    arrivals: Float64
    online_tokens: int = 32
    offline_tokens: int = 48
    drain: float = 600.0


def run_mixed(
    running: Running, load: Mixed, count: Callable[[str], int] | None = None
) -> tuple[list[Served], list[Served]]:
    """Send both and wait for every answer; what the clients saw, interactive first."""
    common: dict[str, Any] = {"url": running.url, "model": running.name, "drain": load.drain}
    both = (
        Load(
            messages=load.online,
            arrivals=load.arrivals,
            max_tokens=load.online_tokens,
            extra={"priority": 0},
            **common,
        ),
        Load(
            messages=load.offline,
            arrivals=np.zeros(len(load.offline)),
            max_tokens=load.offline_tokens,
            extra={"priority": 1},
            **common,
        ),
    )

    async def together() -> tuple[list[Served], list[Served]]:
        online, offline = await asyncio.gather(*(drive(part, count) for part in both))
        return online, offline

    return asyncio.run(together())
