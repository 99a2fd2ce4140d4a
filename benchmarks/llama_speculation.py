"""Measure llama.cpp's n-gram speculation beside its own plain decoding, and `vckg-serve`'s drafts beside its own.

Both servers read the same GGUF file and the same prompt tokens, one request at a time. llama.cpp runs once
for each kind of speculation, through the package `xllamacpp`. The methods take turns prompt by prompt.

Only decoding is timed: the tokens after the first one. llama.cpp's time is its own `timings.predicted_ms`.
A prompt whose plain answer loops, or has eight tokens or fewer, is left out for both servers.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import httpx

from benchmarks.draft_methods import Course, Prompt, Tally, looping, processor
from benchmarks.llama_server import PACKAGE
from serve.engine.engine import Engine
from serve.errors import InputError, KnownError, check_name

KINDS = ("ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache")
"""llama.cpp's kinds of speculation that need no draft model."""
DEFAULTS = (*KINDS, "ngram-simple:2:4", "ngram-map-k:2:4", "ngram-map-k4v:2:4", "ngram-mod:2:4")
OWN, OTHER, PLAIN = "vckg-serve", "llama.cpp", "plain"
CONTEXT = 2048
SHORT = 8
Method = tuple[str, str]
"""A server and its method."""
Tallies = dict[Method, dict[str, Tally]]
"""Measurements of every method by workload."""


def require_llama() -> None:
    """Raise InputError with the command that installs the package, if it is missing."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise InputError(f"needs {PACKAGE}; run `pip install {PACKAGE}`")


@dataclass(frozen=True, slots=True)
class Speculation:
    """A kind of speculation; tokens to match and to draft, None for llama.cpp's own choice."""

    kind: str
    match: int | None = None
    draft: int | None = None

    @property
    def label(self) -> str:
        """Name in tables."""
        return self.kind + (f" {self.match}:{self.draft}" if self.match else "")

    @classmethod
    def parse(cls, text: str) -> Speculation:
        """Read ``KIND`` or ``KIND:MATCH:DRAFT``."""
        kind, *sizes = text.split(":")
        check_name("--speculation", kind, KINDS)
        if not sizes:
            return cls(kind)
        if len(sizes) != 2 or not all(s.isdigit() and int(s) for s in sizes) or kind == "ngram-cache":
            raise InputError(
                f"--speculation {text!r}: wanted KIND or KIND:MATCH:DRAFT (no sizes of ngram-cache)"
            )
        return cls(kind, int(sizes[0]), int(sizes[1]))


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its tokens, milliseconds after the first one, and drafts tried and accepted."""

    tokens: list[int]
    ms: float
    drafted: int = 0
    accepted: int = 0


Ask = Callable[[Prompt], Answer]


class Llama:
    """A process with llama.cpp's server over a model file, some slots and at most one kind of speculation."""

    def __init__(
        self, path: Path, threads: int, speculation: Speculation | None = None, slots: int = 1
    ) -> None:
        settings = {
            "model": str(path),
            "threads": threads,
            "slots": slots,
            "context": CONTEXT,
            "speculation": astuple(speculation) if speculation else None,
        }
        command = [sys.executable, "-m", "benchmarks.llama_server", json.dumps(settings)]
        # `use_threads` sets how our own OpenMP waits; llama.cpp's has its default.
        environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
        self.process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert self.process.stdout is not None
            self.about: dict[str, str] = json.loads(self.process.stdout.readline())
        except ValueError as error:
            raise KnownError(f"llama.cpp did not start on {path}; see what it wrote above") from error
        self.client = httpx.Client(base_url=self.about["url"], timeout=None)

    def __enter__(self) -> Llama:
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()
        self.process.kill()
        self.process.communicate()

    def answer(self, tokens: Sequence[int], most: int, slot: int = 0, **more: object) -> Answer:
        """A greedy answer of at most `most` tokens."""
        body = {
            "prompt": list(tokens),
            "n_predict": most,
            "temperature": 0,
            "id_slot": slot,
            "cache_prompt": False,
            "return_tokens": True,
        }
        response = self.client.post("/completion", json=body | more)
        if response.status_code != 200:
            raise KnownError(f"llama.cpp: HTTP {response.status_code}: {response.text[:200]}")
        found = response.json()
        timings = found["timings"]
        drafts = timings.get("draft_n", 0), timings.get("draft_n_accepted", 0)
        return Answer(found["tokens"], timings["predicted_ms"], *drafts)


def step_ms(llama: Llama, prompts: Sequence[Prompt], rows: Sequence[int], tokens: int) -> dict[int, float]:
    """Median milliseconds of a pass in which n requests decode a token each, their prompts read before."""

    def one(slot: int, most: int) -> float:
        text = prompts[slot % len(prompts)].tokens
        found = llama.answer(text, most, slot, cache_prompt=True, ignore_eos=True)
        return found.ms / max(len(found.tokens) - 1, 1)

    found: dict[int, list[float]] = {n: [] for n in rows}
    with ThreadPoolExecutor(max(rows)) as pool:
        list(pool.map(one, range(max(rows)), [1] * max(rows)))
        for _ in range(3):
            for n in rows:
                found[n] += pool.map(one, range(n), [tokens] * n)
    return {n: statistics.median(times) for n, times in found.items()}


def ask_own(course: Course, engine: Engine) -> Ask:
    """How `vckg-serve` is asked with one of a course's engines."""

    def ask(prompt: Prompt) -> Answer:
        done = course.answer(engine, [prompt])
        drafts = int(done.counters["drafted"]), int(done.counters["accepted"])
        return Answer(done.answers[0], 1e3 * done.seconds, *drafts)

    return ask


def ask_llama(llama: Llama, most: int) -> Ask:
    """How llama.cpp is asked."""
    return lambda prompt: llama.answer(prompt.tokens, most)


def measure(
    methods: dict[Method, Ask],
    prompts: Sequence[Prompt],
    warm: Sequence[Prompt] = (),
    report: Callable[[str], object] = lambda text: None,
) -> Tallies:
    """Ask every method every prompt, beginning with another method each turn; each server has its `PLAIN` method."""
    found: Tallies = {method: {} for method in methods}
    order = list(methods)
    gc.collect()
    gc.freeze()  # as a server does: a full collection would count as one method's time
    try:
        for method in order:
            for prompt in warm:
                methods[method](prompt)
        for turn, prompt in enumerate(prompts):
            start = turn % len(order)
            answers = {method: methods[method](prompt) for method in [*order[start:], *order[:start]]}
            plain = [answer for (_, name), answer in answers.items() if name == PLAIN]
            if any(len(answer.tokens) <= SHORT or looping(answer.tokens) for answer in plain):
                report(f"{prompt.id}: left out, its plain answer loops or is short")
                continue
            for method, answer in answers.items():
                add(found[method], prompt.workload, answer, answers[method[0], PLAIN])
            report(f"{turn + 1} of {len(prompts)} prompts")
    finally:
        gc.unfreeze()
    return found


def add(tallies: dict[str, Tally], workload: str, own: Answer, plain: Answer) -> None:
    """Count one answer beside the plain one of its server."""
    n, n_plain = len(own.tokens) - 1, len(plain.tokens) - 1
    for name in (workload, "all"):
        tally = tallies.setdefault(name, Tally())
        tally.answers += 1
        tally.tokens += n
        tally.seconds += own.ms / 1e3
        tally.plain_seconds += plain.ms / 1e3 * n / n_plain
        tally.drafted += own.drafted
        tally.accepted += own.accepted
        tally.different += own.tokens != plain.tokens


def table(tallies: Tallies) -> str:
    """Markdown: times as fast as plain decoding of the same server, by workload."""
    if not any(tallies.values()):
        raise KnownError("no prompt is left: every plain answer loops or is short; raise --each")
    names = [*sorted({name for rows in tallies.values() for name in rows} - {"all"}), "all"]
    heads = ["server", "method", "answers", *names, "tokens/s", "drafted", "accepted", "different answers"]
    lines = [heads, ["---", "---", *["--:"] * (len(heads) - 2)]]
    for (server, method), rows in tallies.items():
        total = rows["all"]
        speeds = [f"{rows[n].plain_seconds / rows[n].seconds:.2f}" for n in names]
        counts = [f"{total.tokens / total.seconds:.1f}", f"{total.drafted:,}", f"{total.accepted:,}"]
        lines.append([server, method, str(total.answers), *speeds, *counts, str(total.different)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def pass_table(costs: dict[str, dict[int, float]]) -> str:
    """Markdown: milliseconds of a pass by its rows, and in brackets over a pass of one row."""
    rows = list(next(iter(costs.values())))
    lines = [["server", *(f"{n} rows" if n > 1 else "1 row" for n in rows)], ["---", *["--:"] * len(rows)]]
    for server, ms in costs.items():
        lines.append([server, *(f"{ms[n]:.1f} ({ms[n] / ms[rows[0]]:.2f})" for n in rows)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def as_json(tallies: Tallies, costs: dict[str, dict[int, float]], about: dict[str, str]) -> str:
    """All figures as JSON, and what llama.cpp says of itself."""
    methods = {" ".join(method): {n: asdict(t) for n, t in rows.items()} for method, rows in tallies.items()}
    data = {"processor": processor(), OTHER: about, "methods": methods, "pass_ms": costs}
    return json.dumps(data, indent=1) + "\n"
