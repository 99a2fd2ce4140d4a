"""The four commands as forks of one process that has the libraries loaded: a thousand runs take minutes, not an hour.

Every run has a limit of processor time, of wall time, of memory, of file size where one is wanted, and a home and a
cache of its own. `Ended.wrong` is the rule of the whole harness: exit 0 or 2, no traceback, no signal, no time-out.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TICK_S = 0.01
#: Command, and the function that runs it.
PROGRAMS = {
    "vckg": ("vckg.cli", "main"),
    "gather": ("gather.cli", "main"),
    "arena": ("arena.cli", "main"),
    "vckg-serve": ("serve.cli", "main"),
    "check-h5ad": ("tests.hostile.h5ad", "check"),
}
#: What a command spends its first seconds on, by the part that needs it.
LIBRARIES = {
    "core": [
        "vckg.cli",
        "gather.cli",
        "scipy.sparse",
        "pandas",
        "pyarrow.ipc",
        "vckg.graph.graph",
        "vckg.build.build_folder",
        "vckg.export.writers",
        "vckg.printers.node",
        "vckg.printers.paths",
        "vckg.quality.audit",
        "vckg.quality.card",
        "vckg.readers.ontologies",
        "gather.inputs.command",
        "gather.inputs.marker_sets",
        "gather.labelling.explain",
        "gather.labelling.frames",
        "gather.llm.label",
        "pyarrow.csv",
        "pyarrow.pandas_compat",
        "pyarrow.parquet",
        "rich._emoji_codes",
        "rich.progress",
        "typer._adapters",
    ],
    "cells": ["tests.hostile.h5ad", "anndata", "h5py", "scanpy", "igraph", "numba", "openai"],
    "arena": [
        "arena.cli",
        "arena.runner.run",
        "arena.report.html",
        "arena.leaderboard.compare",
        "arena.report.summary",
        "arena.runner.judge",
        "gather.llm.cache",
        "arena.datasets.fresh",
        "arena.contestants.resolve",
        "anndata",
        "anyio._backends._asyncio",
        "evalica",
        "inspect_ai",
        "inspect_ai._control.scoring",
        "inspect_ai.agent._acp.server",
        "inspect_ai.agent._acp.session_router",
        "inspect_ai.agent._acp.transport_live",
        "inspect_ai.hooks._startup",
        "inspect_ai.solver._transcript",
        "markdown_it",
        "inspect_ai.model._openai_responses",
        "inspect_ai.model._providers._openai_computer_use",
        "inspect_ai.model._providers._openai_web_search",
        "inspect_ai.model._providers.none",
        "openai",
    ],
    "models": [
        "serve.cli",
        "serve.engine.engine",
        "serve.model.decoder",
        "serve.model.loader",
        "serve.chat",
        "serve.model.torch_layers",
        "serve.echo.scheduler",
        "serve.model.cpu_kernels",
        "serve.server.app",
        "uvicorn",
        "numba",
        "gguf",
        "transformers.models.auto.tokenization_auto",
        "transformers.models.auto.modeling_auto",
        "transformers.models.llama.modeling_llama",
    ],
}
#: Threads of a library's own would not survive a fork.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
_SECRET = ("OPENAI_API_KEY", "VCKG_SERVE_API_KEY", "VCKG_MIRROR", "VCKG_GRAPH")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may take."""

    cpu_s: int = 60
    wall_s: float = 240.0
    memory: int = 6 << 30
    file_bytes: int | None = None
    """No file may grow beyond it: a disk that is full, for who may not mount one."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: exit code (negative: the signal), what it said, and why it was stopped where it was."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str
    stopped: str = ""

    @property
    def wrong(self) -> str | None:
        """What must never happen, in a few words; None where the run ended as it must."""
        if self.stopped:
            return self.stopped
        if self.code < 0:
            return "processor time is up" if -self.code == signal.SIGXCPU else signal.Signals(-self.code).name
        if "Traceback (most recent call last)" in self.err:
            return f"traceback: {self.last_line}"
        if self.code not in (0, 2):
            return f"exit {self.code}: {self.last_line}"
        return None

    @property
    def last_line(self) -> str:
        """The last line of stderr."""
        return (self.err.strip().splitlines() or [""])[-1][:200]


class Running:
    """A command under way."""

    def __init__(
        self, commands: Commands, process: Any, words: tuple[str, ...], folder: Path, limits: Limits
    ) -> None:
        self._commands, self._process, self._words = commands, process, words
        self._folder, self._limits = folder, limits
        self._started = time.monotonic()

    def kill(self) -> None:
        """kill -9, with whatever it has started."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            self._process.kill()

    def code(self) -> int | None:
        """Exit code, None while it runs."""
        return self._commands.code(self._process)

    def wait(self) -> Ended:
        """Wait for the end, which the limits bring about where the command does not."""
        stopped = ""
        while (code := self.code()) is None:
            if not stopped and time.monotonic() - self._started > self._limits.wall_s:
                stopped = f"no end in {self._limits.wall_s:g} s"
                self.kill()
            time.sleep(TICK_S)
        said = [(self._folder / name).read_text(errors="replace") if (self._folder / name).exists() else ""
                for name in ("stdout", "stderr")]  # fmt: skip
        return Ended(self._words, code, said[0], said[1], stopped)


class Commands:
    """Starts commands; one object a process."""

    def __init__(self, libraries: Sequence[str]) -> None:
        os.environ |= ONE_THREAD
        self._forks = multiprocessing.get_context("forkserver")
        self._forks.set_forkserver_preload(["tests.hostile.commands", *libraries])
        self._started: weakref.WeakSet[Running] = weakref.WeakSet()
        self._lock = threading.RLock()  # the standard library polls the children of other threads too

    def start(
        self,
        words: Sequence[str],
        folder: Path,
        *,
        limits: Limits | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> Running:
        """Start a command (`words[0]` of `PROGRAMS`) whose home, cache and output lie below `folder`."""
        limits = limits or Limits()
        own = folder / ".run"
        own.mkdir(parents=True, exist_ok=True)
        (own / "stdin").write_text(stdin)
        named = {"HOME": str(own / "home"), "VCKG_CACHE": str(own / "cache"),
            "XDG_CACHE_HOME": str(own / "xdg"),
                 "XDG_DATA_HOME": str(own / "data"), "HF_HUB_OFFLINE": "1", "VCKG_OFFLINE": "1"}  # fmt: skip
        words = tuple(words)
        process = self._forks.Process(
            target=_become, args=(words, str(own), limits, named | dict(environment or {})), daemon=False
        )
        running = Running(self, process, words, own, limits)
        with self._lock:
            process.start()
            self._started.add(running)
        return running

    def run(self, words: Sequence[str], folder: Path, **options: Any) -> Ended:
        """Start a command and wait for its end; options as `start`."""
        return self.start(words, folder, **options).wait()

    def kill(self) -> None:
        """kill -9 to all that is under way: nothing may outlive the harness."""
        for running in [one for one in self._started if one.code() is None]:
            running.kill()

    def code(self, process: Any) -> int | None:
        """Exit code of a process, None while it runs."""
        with self._lock:
            code: int | None = process.exitcode
        return code


def _become(words: tuple[str, ...], own: str, limits: Limits, environment: dict[str, str]) -> None:
    """Be the command: in the fork."""
    os.setsid()
    for name in _SECRET:
        os.environ.pop(name, None)
    os.environ |= environment
    for number, (name, flags) in enumerate(
        (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY))
    ):
        os.dup2(os.open(f"{own}/{name}", flags | (os.O_CREAT | os.O_TRUNC if number else 0), 0o600), number)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 5))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    if limits.file_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    module, function = PROGRAMS[words[0]]
    sys.argv = list(words)
    getattr(import_module(module), function)()
