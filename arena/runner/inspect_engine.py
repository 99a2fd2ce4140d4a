"""The run engine, inspect-ai; only the ``inspect_*`` modules of this folder run it.

Tasks and a model go in, `Outcome`s come out. Logs are written as samples end and the crash buffer lies inside the
run, so a killed run resumes. Dead and damaged logs are told from finished ones. The engine's messages about keys and
packages become one line.
"""

from __future__ import annotations

import atexit
import io
import os
import re
import shutil
import socket
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from inspect_ai import eval_set
from inspect_ai.log import EvalError, EvalSample, list_eval_logs, read_eval_log, read_eval_log_samples
from inspect_ai.model import GenerateConfig, Model, get_model

from arena.contestants.resolve import Contestant
from arena.runner.inspect_models import JudgeModel, plain_cause
from arena.runner.inspect_tasks import NOTE
from arena.types import Generate
from vckg.base.console import err
from vckg.base.errors import InputError

NAME = "inspect-ai"


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings of calls: answers depend on `temperature`, `max_tokens` and `seed`; the rest is transport."""

    temperature: float = 0.0
    max_tokens: int = 2048
    seed: int | None = None
    connections: int = 10
    timeout_s: int = 300
    """Seconds of one attempt, from the first byte sent to the last byte read; no retry begins later."""
    retries: int = 4
    """Retries of a call after a dropped connection, a timeout or a busy server."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one sample."""

    id: str
    epoch: int
    facts: dict[str, Any]
    """Last note of the solver; empty for a sample that failed."""
    error: str
    """Why there is no reply; empty where there is one."""


def name_and_version() -> str:
    """The engine and its release, for a manifest."""
    return f"{NAME} {version(NAME)}"


def evaluate(tasks: list[Any], model: Model, log_dir: Path, sampling: Sampling) -> list[str]:
    """Run tasks to the end, or to what the endpoint allows, and return where their newest logs are.

    A call that fails is tried again `Sampling.retries` times, then its sample is kept as an error; the log then
    counts as unfinished, so the same call tries those samples again and no others.

    Raises
    ------
    KeyboardInterrupt
        The user stopped it.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    _whole_logs(log_dir)
    _trace_outside_runs()
    # On a resumed run the engine says of every task that it is done already, whatever `display` is.
    with _buffer_in(log_dir), _engine_errors(), redirect_stdout(io.StringIO()):
        eval_set(
            tasks,
            log_dir=str(log_dir),
            model=model,
            retry_attempts=0,
            retry_immediate=False,
            retry_on_error=0,  # `retries` is the one number of tries
            fail_on_error=True,
            continue_on_fail=True,
            log_realtime=True,
            log_buffer=20,
            log_format="eval",
            log_level="error",
            log_dir_allow_dirty=True,
            ctl_server=False,  # its socket in the run's folder has too long a path to be bound
            display="none",
            score=False,
            max_tasks=1,  # a kill then loses the calls in flight of one task only
            max_samples=sampling.connections,
            max_connections=sampling.connections,
            max_retries=sampling.retries,
            timeout=sampling.timeout_s,
            attempt_timeout=sampling.timeout_s,  # by the clock; `timeout` is looked at between attempts only
            temperature=sampling.temperature,
            max_tokens=sampling.max_tokens,
            seed=sampling.seed,
        )
    logs = newest_logs(log_dir, {task.name for task in tasks})
    for log in logs:
        if read_eval_log(log, header_only=True).status == "cancelled":  # the engine ends quietly on Ctrl-C
            kept = sum(not outcome.error for outcome in outcomes(log))
            err().print(f"{task_of(log)}: stopped; replies kept: {kept}; the same command goes on")
            raise KeyboardInterrupt
    return logs


def newest_logs(log_dir: Path, names: set[str]) -> list[str]:
    """Return where the newest log of each task that ended is, in the order of their names.

    After a kill the folder holds dead ``started`` logs, and recovering one leaves a copy; neither counts.
    """
    newest: dict[str, tuple[str, str]] = {}
    for info in list_eval_logs(str(log_dir)):
        with _damage(info.name):
            header = read_eval_log(info.name, header_only=True)
        if header.status != "started" and header.eval.task in names:
            entry = (header.stats.completed_at or header.eval.created, info.name)
            newest[header.eval.task] = max(newest.get(header.eval.task, ("", "")), entry)
    return [name for _task, (_when, name) in sorted(newest.items())]


def outcomes(log: str) -> Iterator[Outcome]:
    """Yield the outcome of each sample of a log, one sample in memory at a time: transcripts are large."""
    samples = read_eval_log_samples(log, all_samples_required=False, resolve_attachments="full")
    while True:
        with _damage(log):
            sample = next(samples, None)
        if sample is None:
            return
        facts = _facts(sample)
        error = "" if facts else "the log holds no reply"
        if sample.error is not None:
            error = reason(sample.error)
        yield Outcome(str(sample.id), sample.epoch, facts, error)


def task_of(log: str) -> str:
    """Return the name of the task of a log."""
    with _damage(log):
        return str(read_eval_log(log, header_only=True).eval.task).removeprefix("arena/")


def _facts(sample: EvalSample) -> dict[str, Any]:
    """Return what the solver noted last; empty for a sample that failed."""
    notes = [e.data for e in sample.events if e.event == "info" and e.source == NOTE]
    return dict(notes[-1]) if notes else {}


def reason(error: EvalError) -> str:
    """Return the cause of a failure, without the request that the engine prints before it.

    Of a call that was tried again the message says only that; the cause of its last try is in the traceback.
    """
    message = error.message
    if message.startswith("RetryError"):
        tried = error.traceback.partition("\nThe above exception was the direct cause")[0]
        message = plain_cause(tried.strip().rsplit("\n", 1)[-1].partition(": ")[2])
    last = message.replace("\\n", "\n").rsplit("\n\n", 1)[-1]
    if plain := re.fullmatch(r"\w+\((['\"])(.*)\1\)", last, re.DOTALL):
        return " ".join(plain[2].split()).replace("\\'", "'")
    return " ".join(last.split())[:500].replace("\\'", "'").strip("')\"\\") or "the engine gives no reason"


def open_model(contestant: Contestant, sampling: Sampling) -> Model:
    """Return the engine's model of a contestant; keys come from the environment and are written nowhere."""
    arguments: dict[str, Any] = dict(contestant.args)
    if contestant.base_url:
        _answers(contestant.base_url)
        arguments |= {"base_url": contestant.base_url, "api_key": os.environ.get("OPENAI_API_KEY") or "none"}
    with _engine_errors():
        return get_model(contestant.model, memoize=False, **arguments)


def _answers(base_url: str) -> None:
    """Raise `InputError` where nobody listens, instead of letting every sample find that out."""
    parts = urlsplit(base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=10).close()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{base_url}: no server answers ({reason}); start it, or correct --base-url"
        ) from None


def open_generate(judge_model: Contestant, sampling: Sampling) -> Generate:
    """Return a judge's model as an async function, outside any run."""
    model = open_model(judge_model, sampling)
    config = GenerateConfig(
        max_tokens=sampling.max_tokens,
        timeout=sampling.timeout_s,
        attempt_timeout=sampling.timeout_s,
        max_retries=sampling.retries,
        max_connections=sampling.connections,
    )
    return JudgeModel(lambda: model, config)


@contextmanager
def _engine_errors() -> Iterator[None]:
    """Turn the engine's messages about keys, packages and names into one line."""
    from inspect_ai._util.error import PrerequisiteError

    try:
        yield
    except PrerequisiteError as error:
        raise InputError(_plain(str(error.message))) from None
    except (ValueError, ImportError) as error:
        if "not recognized" in str(error) or "pip install" in str(error) or "API" in str(error):
            raise InputError(_plain(str(error))) from None
        raise


def _plain(text: str) -> str:
    from rich.text import Text

    return " ".join(Text.from_markup(text).plain.split()).removeprefix("ERROR: ")


def _whole_logs(log_dir: Path) -> None:
    """Refuse to go on over a log that cannot be read: resuming would ask its samples again."""
    for info in list_eval_logs(str(log_dir)):
        with _damage(info.name):
            read_eval_log(info.name, header_only=True)
            with zipfile.ZipFile(_path_of(info.name)) as log:
                if damaged := log.testzip():
                    raise ValueError(f"{damaged} has another checksum")


def _path_of(log: str) -> Path:
    return Path(log.removeprefix("file://"))


@contextmanager
def _damage(log: str) -> Iterator[None]:
    """Name the log that cannot be read; whatever its bytes raise in the engine is damage of that file."""
    try:
        yield
    except Exception as error:
        cause = " ".join(str(error).split())[:200]
        raise InputError(
            f"{_path_of(log)}: a half-written or damaged log ({type(error).__name__}: {cause}); move it away and run "
            "the same command again: the answers in other logs are kept, those in this one are asked again"
        ) from error


@cache
def _trace_outside_runs() -> None:
    """Give the engine's trace a folder that lasts as long as the process.

    The engine opens it once, where `_buffer_in` points then: in the first run's folder. It opens the file again when
    `logging` is configured anew, as uvicorn does; the first run's folder may be gone by then.
    """
    from inspect_ai._util.logger import init_logger

    folder = tempfile.mkdtemp(prefix="arena-trace-")
    atexit.register(
        shutil.rmtree, folder, ignore_errors=True
    )  # after the engine's own last step: last in, first out
    init_logger("error", trace_dir=Path(folder))


@contextmanager
def _buffer_in(log_dir: Path) -> Iterator[None]:
    """Keep the engine's crash buffer inside the run, so that a run that is moved or whose home is wiped
    resumes.

    It lies next to the logs: the engine wipes what is called ``.buffer`` among them while its threads write.
    """
    before = os.environ.get("XDG_DATA_HOME")
    buffer = log_dir.resolve().parent / f".{log_dir.name}-buffer"
    os.environ["XDG_DATA_HOME"] = str(buffer)
    try:
        yield
        shutil.rmtree(buffer, ignore_errors=True)  # all that it held is in the logs
    finally:
        if before is None:
            del os.environ["XDG_DATA_HOME"]
        else:
            os.environ["XDG_DATA_HOME"] = before
