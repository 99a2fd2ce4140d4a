"""Steps of the showcase: commands with stamps, the server they ask, and what each took.

A stamp holds the hash of what a step depends on: its command, the files it reads, the stamps of the steps before it,
and the code of its package and of those below. A step whose stamp and products are there is not run again.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from vckg.base.atomic import write_text
from vckg.base.console import err
from vckg.base.errors import KnownError
from vckg.base.lock import locked

#: Stands for the server's URL in a command.
SERVER = "{server}"
#: Command to its package and those below.
PACKAGES = {
    "vckg": ("vckg",),
    "gather": ("vckg", "gather"),
    "arena": ("vckg", "gather", "arena"),
    "vckg-serve": ("serve",),
    "python": ("serve", "benchmarks/load"),
}
#: Folder that draws the showcase itself; no product of a step depends on it.
_OWN = Path(__file__).parent
HEARTBEAT_S = 30
START_S = 300
"""Seconds the server may take to read its model."""
_NOT_PASSED_ON = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "VCKG_SERVE_API_KEY", "VCKG_GRAPH")
_PR_SET_PDEATHSIG = 1


class StepFailed(KnownError):
    """A command of the showcase ended with an error."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the story.

    Attributes
    ----------
    name
        Of its stamp.
    says
        What it does, for people.
    command
        Words as a user types them; `SERVER` stands for the server's URL.
    makes
        Paths it leaves, below the showcase's folder.
    reads
        Files and folders of others that it reads.
    after
        Names of the steps whose products it reads.
    saves
        Where its standard output goes, below the showcase's folder.
    asks
        Whether it needs the server.
    """

    name: str
    says: str
    command: Sequence[str]
    makes: Sequence[str] = ()
    reads: Sequence[Path] = ()
    after: Sequence[str] = ()
    saves: str = ""
    asks: bool = False

    @property
    def products(self) -> tuple[str, ...]:
        """All it leaves."""
        return (*self.makes, *([self.saves] if self.saves else []))


@dataclass(frozen=True, slots=True)
class Row:
    """What a step took. `seconds` is wall time; `peak_bytes` the resident memory of its process at most."""

    name: str
    says: str
    command: str
    seconds: float
    peak_bytes: int


class Server:
    """`vckg-serve` with a model, started when a step first asks for it.

    Its port is chosen once for a folder, because runs of the arena remember the URL they asked.
    """

    def __init__(
        self, folder: Path, model: str, options: Sequence[str] = ("--draft", "dart", "--scheduler", "echo")
    ) -> None:
        self.folder, self.model, self.options = folder, model, options
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_s = math.nan
        """Seconds until it answered; NaN while it has not."""

    @property
    def url(self) -> str:
        """Base URL; the server is started if it does not run."""
        if self._process is None:
            self._start()
        return f"http://127.0.0.1:{self._port()}/v1"

    def counters(self) -> dict[str, float]:
        """Its counters by their Prometheus names; empty where it does not run or is too busy to say."""
        if self._process is None:
            return {}
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port()}/metrics", timeout=60) as reply:
                return read_counters(reply.read().decode())
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return {}

    def note(self) -> None:
        """Keep the counters of this server's life so far."""
        if self._process is not None and (found := self.counters()):
            write_text(
                self.folder / f"counters-{self._process.pid}-{self._begun}.json", json.dumps(found, indent=1)
            )

    def still_answers(self) -> None:
        """Raise `StepFailed` where the server is gone: a step that asked it in vain is not finished."""
        if not self._healthy(patience_s=60):
            raise StepFailed(
                f"{self.folder / 'server.log'}: the server no longer serves; the same command goes on"
            )

    def close(self) -> Row | None:
        """Stop it; what it took to be ready and its peak memory, or None where it was not started."""
        if self._process is None:
            return None
        self.note()
        self._process.send_signal(signal.SIGTERM)
        _pid, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._process = None
        return Row(
            "server", "start the server", shlex.join(self._words()), self._ready_s, 1024 * usage.ru_maxrss
        )

    def _words(self) -> list[str]:
        start = ["vckg-serve", "start", *self.options, "--name", self.model]
        return [*start, "--cache-tokens", "65536", "--drain", "5", "--port", str(self._port())]

    def _port(self) -> int:
        kept = self.folder / "port"
        if not kept.is_file():
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                write_text(kept, f"{free.getsockname()[1]}\n")
        return int(kept.read_text(encoding="ascii"))

    def _start(self) -> None:
        self._begun = time.time_ns()
        started = time.monotonic()
        err().print("      starting the server ...", highlight=False)
        log = self.folder / "server.log"
        with log.open("ab") as output:
            self._process = _popen(self._words(), stdout=output, stderr=output)
        while not self._healthy():
            if self._process.poll() is not None:
                last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
                self._process = None
                raise StepFailed(f"{log}: the server ended; its last line: {last}")
            if time.monotonic() - started > START_S:
                raise StepFailed(f"{log}: the server is not ready after {START_S} s")
            time.sleep(0.2)
        self._ready_s = time.monotonic() - started

    def _healthy(self, patience_s: float = 2) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self._port()}/health", timeout=patience_s).close()
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False
        return True


def read_counters(text: str) -> dict[str, float]:
    """Numbers of Prometheus' text form by name, labels included."""
    rows = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


@dataclass
class Story:
    """A run of the showcase in one folder; a context that holds the folder alone and ends the server."""

    folder: Path
    server: Server
    digests: dict[str, str] = field(default_factory=dict)
    _held: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        for name in ("stamps", "serving", "annotation", "runs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._held.enter_context(
            locked(self.folder / "stamps" / ".lock", f"tells the story in {self.folder}")
        )
        self._held.enter_context(_terminated_as_interrupted())
        return self

    def __exit__(self, *_: object) -> None:
        with self._held:
            if (row := self.server.close()) is not None:
                self._stamp("server", "", row)

    def take(self, step: Step, where: str) -> None:
        """Run a step, unless it was finished with the same inputs."""
        self.digests[step.name] = digest = self._digest(step)
        if self._finished(step, digest):
            err().print(f"{where} {step.says}: done before", highlight=False)
            return
        words = [self.server.url if word == SERVER else word for word in step.command]
        err().print(f"{where} {step.says} ...", highlight=False)
        row = self._run(step, words)
        if step.asks:
            self.server.still_answers()
        self.server.note()
        self._stamp(step.name, digest, row)
        err().print(f"      {row.seconds:.1f} s, {row.peak_bytes / 1e9:.2f} GB", highlight=False)

    def rows(self, steps: Sequence[Step]) -> list[Row]:
        """What each step took, when it was run; the server first among those that asked it."""
        stamps = {s.name: self._stamped(s.name) for s in steps}
        rows = [Row(**stamps[s.name]["row"]) for s in steps]
        served = self._stamped("server")
        first = next((i for i, s in enumerate(steps) if s.asks), len(steps))
        return [*rows[:first], *([Row(**served["row"])] if served else []), *rows[first:]]

    def _digest(self, step: Step) -> str:
        facts = {
            "command": list(step.command),
            "reads": [_digest_of(path) for path in step.reads],
            "after": [self.digests[name] for name in step.after],
            "code": _code(PACKAGES[step.command[0]]),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _finished(self, step: Step, digest: str) -> bool:
        there = all((self.folder / product).exists() for product in step.products)
        return there and self._stamped(step.name).get("digest") == digest

    def _stamped(self, name: str) -> dict[str, Any]:
        path = self._stamp_path(name)
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return found

    def _stamp(self, name: str, digest: str, row: Row) -> None:
        write_text(self._stamp_path(name), json.dumps({"digest": digest, "row": asdict(row)}, indent=1))

    def _stamp_path(self, name: str) -> Path:
        return self.folder / "stamps" / f"{name}.json"

    def _run(self, step: Step, words: Sequence[str]) -> Row:
        started, printed = time.monotonic(), self.folder / "stamps" / f"{step.name}.out"
        with printed.open("wb") as output:
            process = _popen(words, stdout=output, cwd=self.folder)
            status, peak = self._wait(process, started)
        if status:
            raise StepFailed(
                f"`{shlex.join(words)}` ended with {status}; its words stand above. The same command goes on from here"
            )
        if step.saves:
            printed.replace(self.folder / step.saves)
        else:
            printed.unlink()
        return Row(step.name, step.says, shlex.join(step.command), time.monotonic() - started, peak)

    def _wait(self, process: subprocess.Popen[bytes], started: float) -> tuple[int, int]:
        """Exit code and peak bytes of a process; says now and then that it is still at work."""
        beat = started + HEARTBEAT_S
        try:
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    process.returncode = os.waitstatus_to_exitcode(status)
                    return process.returncode, 1024 * usage.ru_maxrss
                if time.monotonic() > beat:
                    beat = time.monotonic() + HEARTBEAT_S  # a machine that slept has nothing to catch up on
                    err().print(f"      {time.monotonic() - started:.0f} s{self._at_work()}", highlight=False)
                time.sleep(0.1)
        finally:
            if process.returncode is None:
                process.terminate()
                process.wait()

    def _at_work(self) -> str:
        found = self.server.counters()
        if not found:
            return ""
        done = sum(n for name, n in found.items() if name.startswith("vckg_serve_finished_total"))
        tokens = found["vckg_serve_output_tokens_total"]
        return f"; the server has answered {done:,.0f} requests with {tokens:,.0f} tokens"


def _popen(words: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:
    """Start one of the four commands of this environment; it ends when this process does, however that ends."""
    program = Path(sys.executable).with_name(words[0])
    if not program.is_file():
        raise StepFailed(f"{program}: no such command; install with pip install 'vckg[arena,serve]'")
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_PASSED_ON}
    environment["PYTHONPATH"] = str(_OWN.parents[1])  # for `python -m benchmarks.load`
    return subprocess.Popen(
        [str(program), *words[1:]],
        env=environment,
        stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_parent,
        **how,
    )


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that children are ended."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _digest_of(path: Path) -> str:
    """Hash of a file; of a folder, of the names, sizes and times of what is in it."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    inside = sorted(p for p in path.rglob("*") if p.is_file())
    facts = [(str(p.relative_to(path)), p.stat().st_size, p.stat().st_mtime_ns) for p in inside]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@cache
def _code(packages: tuple[str, ...]) -> str:
    """Hash of the version and of everything that packages are made of, and of the data and prompts."""
    from vckg.base.resources import resource

    folders = [Path(__file__).parents[2] / package for package in packages]
    folders += [resource("data"), resource("prompts")]
    digest = hashlib.sha256(version("vckg").encode())
    for path in sorted({p for f in folders for p in f.rglob("*") if p.suffix in _MADE_OF}):
        if _OWN not in path.parents:
            digest.update(path.read_bytes())
    return digest.hexdigest()


_MADE_OF = {".py", ".j2", ".css", ".js", ".md", ".toml", ".tsv", ".json", ".jsonl", ".npz"}
