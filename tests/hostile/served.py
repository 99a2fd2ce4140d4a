"""A real ``vckg-serve`` that is started again when an attack has ended it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import httpx

from tests.hostile.attacks import Ground
from tests.hostile.commands import Limits, Running

STALL_S = 30.0
"""How long a small request of somebody else may take beside an attack, on a busy machine."""
ANSWER_S = 1.0
"""How long the same request may take after an attack, for each process that waits for a core."""
HELLO: dict[str, Any] = {
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 4,
    "temperature": 0,
}
FOREVER = Limits(cpu_s=36_000, wall_s=36_000, memory=16 << 30)


class Served:
    """A server that is started again when an attack has ended it."""

    def __init__(self, ground: Ground, model: Path) -> None:
        self._ground, self._model = ground, model
        self._running: Running | None = None
        self._count = 0
        self.base = ""

    def ready(self) -> str:
        """Its base address, once it answers."""
        if self._running is not None and self.well() is None:
            return self.base
        self.stop()
        self._count += 1
        folder = self._ground.folder / f"server-{self._count}"
        words = [
            "vckg-serve",
            "start",
            "-m",
            str(self._model),
            "--port",
            "0",
            "--threads",
            "1",
            "--max-body",
            "4000000",
        ]
        self._running = self._ground.commands.start(words, folder, limits=FOREVER)
        until = time.monotonic() + 180
        while "serving" not in (
            said := (folder / ".run" / "stderr").read_text() if (folder / ".run" / "stderr").exists() else ""
        ):
            if self._running.code() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server did not start: {said}")
            time.sleep(0.1)
        self.base = "http://" + said.split("http://")[1].split("/v1")[0]
        while self.well() is not None:
            if time.monotonic() > until:
                raise RuntimeError("the server did not become well")
            time.sleep(0.2)
        return self.base

    def well(self) -> str | None:
        """What is wrong with the server as another client sees it: it must be healthy and answer."""
        if self._running is None or self._running.code() is not None:
            return "the server has ended"
        try:
            health = httpx.get(f"{self.base}/health", timeout=STALL_S)
            answer = httpx.post(f"{self.base}/v1/chat/completions", json=HELLO, timeout=STALL_S)
        except httpx.HTTPError as error:
            return f"another client has no answer ({type(error).__name__})"
        if (health.status_code, answer.status_code) != (200, 200):
            return f"another client gets {health.status_code} and {answer.status_code}"
        return None

    def quick(self) -> str | None:
        """What is wrong with the server after an attack: others have an answer within a second.

        On a machine with more work than cores a second of this process is so many seconds of the clock.
        """
        started = time.monotonic()
        said = self.well()
        took = time.monotonic() - started
        busy = max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
        if not said and took > ANSWER_S * busy:
            said = f"another client waits {took:.1f} s, with {busy:.1f} processes for each core"
        return said

    def stop(self) -> None:
        """End it."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()

    def __del__(self) -> None:
        self.stop()
