"""Measure drafting: every method against plain decoding, on the same prompts in the same engine.

The methods take turns prompt by prompt, so that a busy moment of the machine falls on all of them; a
speed-up is the ratio of total times over prompts whose plain answer does not loop. Beside it stands what the
measured cost of a verification and the measured acceptance predict: tau / (c(N + 1) + draft / decode).
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.draft_peers import make_proposer
from serve.engine.engine import Engine, EngineConfig
from serve.errors import InputError
from serve.kv_cache.attention_metadata import ALL_LOGITS, Segment, plan_attention
from serve.model.decoder import Model
from serve.model.loader import Checkpoint
from serve.request import Request, SamplingParams
from serve.spec_decode.ngram_trie import Trie
from serve.spec_decode.proposers import DraftStats, Sized
from serve.spec_decode.training.corpus import loops
from serve.spec_decode.tree import SearchSettings, TreeSearch


@dataclass(frozen=True, slots=True)
class Prompt:
    """A measured prompt."""

    id: str
    workload: str
    tokens: tuple[int, ...]


@dataclass(slots=True)
class Tally:
    """Measurements of one method on one workload."""

    answers: int = 0
    tokens: float = 0.0
    forwards: float = 0.0
    seconds: float = 0.0
    plain_seconds: float = 0.0
    cpu_s: float = 0.0
    plain_cpu_s: float = 0.0
    drafted: int = 0
    accepted: int = 0
    draft_ms: float = 0.0
    head_ms: float = 0.0
    search_ms: float = 0.0
    forward_ms: float = 0.0
    different: int = 0

    def row(self, decode_ms: float, cost: Callable[[float], float], batch: int) -> dict[str, Any]:
        """The reported figures; milliseconds per request and round."""
        rounds = max(self.forwards, 1)
        tau = self.tokens / rounds
        nodes = self.drafted / rounds
        draft = self.draft_ms / rounds
        drafting = batch * draft / decode_ms
        return {
            "answers": self.answers,
            "tau": round(tau, 3),
            "nodes_a_round": round(nodes, 2),
            "forwards_a_token": round(rounds / max(self.tokens, 1), 3),
            "draft_ms": round(draft, 2),
            "search_ms": round(self.search_ms / rounds, 2),
            "forward_ms": round(self.forward_ms / rounds, 2),
            "speedup": round(self.plain_seconds / self.seconds, 3) if self.seconds else None,
            "speedup_cpu": round(self.plain_cpu_s / self.cpu_s, 3) if self.cpu_s else None,
            "cpu_ms_a_token": round(1e3 * self.cpu_s / max(self.tokens, 1), 3),
            "predicted": round(tau / (cost(1 + nodes) + drafting), 3),
            "predicted_flat": round(tau / (1 + drafting), 3),
            "different_answers": self.different,
        }


def read_prompts(path: Path, tokenizer: Any, each: int) -> list[Prompt]:
    """The first `each` prompts of every workload of a JSONL file."""
    taken: dict[str, list[Prompt]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        kept = taken.setdefault(row["workload"], [])
        if len(kept) < each:
            text = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, tokenize=False)
            tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
            kept.append(Prompt(row["id"], row["workload"], tuple(tokens)))
    if not taken:
        raise InputError(f"{path}: no prompts in it")
    return [p for kept in taken.values() for p in kept]


def cost_curve(model: Model, rows: Sequence[int], context: int = 300, repeats: int = 15) -> dict[int, float]:
    """Median milliseconds of a forward pass of n new rows (a chain) behind `context` tokens; the n take turns."""
    cache = model.new_cache((context + max(rows)) // 16 + 2)
    blocks = list(range(cache.data.shape[2]))
    plans = {
        n: plan_attention([Segment(blocks, context, n, np.arange(-1, n - 1), ALL_LOGITS)], 16) for n in rows
    }
    tokens = np.arange(1, max(rows) + 1)
    times: dict[int, list[float]] = {n: [] for n in rows}
    for turn in range(repeats + 2):
        for n in rows:
            began = time.perf_counter()
            model.forward(tokens[:n], plans[n], cache)
            model.wait()
            if turn >= 2:
                times[n].append(1e3 * (time.perf_counter() - began))
    return {n: statistics.median(t) for n, t in times.items()}


@dataclass(frozen=True, slots=True)
class Method:
    """A draft method: its name, and nodes per request (None: automatic)."""

    name: str
    nodes: int | None

    @property
    def label(self) -> str:
        """Name in tables."""
        return f"{self.name} N={self.nodes or 'auto'}"


@dataclass(frozen=True, slots=True)
class Decoded:
    """Answers of one group, seconds of its measured steps, by clock and processor, and the increase of the counters."""

    answers: list[list[int]]
    seconds: float
    cpu_s: float
    counters: dict[str, float]


def counters(engine: Engine) -> dict[str, float]:
    """Counters of an engine and its proposer, by their names in `Tally`."""
    stats, proposer = engine.stats, engine.proposer
    own = proposer.stats if isinstance(proposer, Sized) else DraftStats()
    return {
        "tokens": stats.output_tokens,
        "forwards": stats.decode_forwards,
        "drafted": stats.drafted,
        "accepted": stats.accepted,
        "draft_ms": 1e3 * stats.draft_s,
        "forward_ms": 1e3 * stats.forward_s,
        "head_ms": own.head_ms,
        "search_ms": own.search_ms,
    }


class Course:
    """One engine per method over one model, and its measurements."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        model: Model,
        methods: Sequence[Method],
        folder: Path | None,
        *,
        batch: int,
        max_tokens: int,
        temperature: float = 0.0,
    ) -> None:
        self.params = SamplingParams(max_tokens=max_tokens, temperature=temperature, seed=0)
        self.checkpoint, self.model, self.batch = checkpoint, model, batch
        self.config = EngineConfig(cache_tokens=max(4096, 1024 * batch), max_running=batch)
        self.plain = Engine(model, checkpoint, self.config)
        self.engines: dict[Method, Engine] = {}
        for method in methods:
            proposer = make_proposer(
                method.name,
                checkpoint,
                model,
                block_tokens=self.config.block_tokens,
                folder=folder,
                nodes=method.nodes,
            )
            self.engines[method] = Engine(model, checkpoint, self.config, proposer)
        self.tallies: dict[tuple[Method, str], Tally] = {}
        self.cut: list[str] = []

    def answer(self, engine: Engine, prompts: Sequence[Prompt]) -> Decoded:
        """Answer all, `batch` at once; as one ends the next begins, with the prefix cache empty before the first.

        Measured are the steps in which the whole batch decodes and no prompt is read.
        """
        engine.forest.drop_cached()
        requests = [Request(f"{p.id}-{time.perf_counter_ns()}", p.tokens, self.params) for p in prompts]
        for request in requests:
            engine.add(request)
        seconds, cpu_s, measured = 0.0, 0.0, dict.fromkeys(counters(engine), 0.0)
        while engine.has_work:
            full = sum(r.decoding and r.finish_reason is None for r in requests) == min(
                self.batch, len(requests)
            )
            read, before = engine.stats.prefill_rows, counters(engine)
            began, cpu_began = time.perf_counter(), time.process_time()
            engine.step()
            if full and engine.stats.prefill_rows == read:
                seconds += time.perf_counter() - began
                cpu_s += time.process_time() - cpu_began
                for name, value in counters(engine).items():
                    measured[name] += value - before[name]
        return Decoded([r.output for r in requests], seconds, cpu_s, measured)

    def warm(self, prompts: Sequence[Prompt]) -> None:
        """Answer prompts that are not measured: an automatic choice has then been made, as in a server that runs."""
        for engine in (self.plain, *self.engines.values()):
            self.answer(engine, prompts)

    def run(self, prompts: Sequence[Prompt], turn: int) -> None:
        """One group of prompts through every method, beginning with another one each turn."""
        plain = self.answer(self.plain, prompts)
        good = [i for i, tokens in enumerate(plain.answers) if not looping(tokens) and len(tokens) > 8]
        if len(good) < len(prompts):
            self.cut += [prompts[i].id for i in range(len(prompts)) if i not in good]
            if not good:
                return
            prompts = [prompts[i] for i in good]
            plain = self.answer(self.plain, prompts)
        methods = list(self.engines)
        turned = methods[turn % len(methods) :] + methods[: turn % len(methods)]
        for method in turned:
            self.measure(method, prompts, plain)

    def measure(self, method: Method, prompts: Sequence[Prompt], plain: Decoded) -> None:
        """One method on one group."""
        own = self.answer(self.engines[method], prompts)
        # Plain decoding of the same number of tokens.
        scale = own.counters["tokens"] / max(plain.counters["tokens"], 1)
        plain_seconds = plain.seconds * scale
        for name in (prompts[0].workload, "all"):
            tally = self.tallies.setdefault((method, name), Tally())
            tally.answers += len(prompts)
            tally.seconds += own.seconds
            tally.plain_seconds += plain_seconds
            tally.cpu_s += own.cpu_s
            tally.plain_cpu_s += plain.cpu_s * scale
            tally.different += sum(a != w for a, w in zip(own.answers, plain.answers, strict=True))
            for counter, value in own.counters.items():
                setattr(tally, counter, getattr(tally, counter) + value)


def looping(tokens: Sequence[int]) -> bool:
    """Whether an answer repeats itself; every drafter gains on such answers."""
    return any(loops(list(tokens[:end])) for end in range(12, len(tokens) + 1, 4)) or loops(list(tokens))


def measure_drafts(
    checkpoint: Checkpoint,
    model: Model,
    prompts: Sequence[Prompt],
    methods: Sequence[Method],
    folder: Path | None,
    *,
    batch: int = 1,
    max_tokens: int = 128,
    temperature: float = 0.0,
    warm: Sequence[Prompt] = (),
    report: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure every method on every prompt; a plain dictionary for JSON."""
    rows = [1, 2, 3, 5, 9, 17, 33, 60] if batch == 1 else [batch * k for k in (1, 2, 3, 5, 9)]
    before = cost_curve(model, rows)
    course = Course(
        checkpoint, model, methods, folder, batch=batch, max_tokens=max_tokens, temperature=temperature
    )
    workloads = sorted({p.workload for p in prompts})
    turn = 0
    group = 1 if batch == 1 else 4 * batch
    gc.collect()
    gc.freeze()  # as a server does: a full collection in one method's turn would count as its time
    try:
        if warm:
            course.warm(warm)
        for workload in workloads:
            own = [p for p in prompts if p.workload == workload]
            for start in range(0, len(own), group):
                course.run(own[start : start + group], turn)
                turn += 1
                if report:
                    report(f"{workload}: {min(start + group, len(own))} of {len(own)} prompts")
    finally:
        gc.unfreeze()
    after = cost_curve(model, rows)
    ms = {n: (before[n] + after[n]) / 2 for n in rows}

    def cost(n: float) -> float:
        return float(np.interp(n * batch, rows, [ms[k] for k in rows])) / ms[batch]

    return {
        "machine": {"processor": processor(), "python": platform.python_version()},
        "model": checkpoint.name,
        "precision": model.precision,
        "batch": batch,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "prompts": len(prompts),
        "cut_for_looping": course.cut,
        "forward_ms": {str(n): round(x, 2) for n, x in ms.items()},
        "cost_ratio": {str(n): round(x / ms[batch], 3) for n, x in ms.items()},
        "methods": {
            name: {
                method.label: tally.row(ms[batch], cost, batch)
                for (method, own_name), tally in course.tallies.items()
                if own_name == name
            }
            for name in [*workloads, "all"]
        },
    }


def time_search(trie: Trie, repeats: int = 300) -> dict[str, float]:
    """Milliseconds of the tree search at the paper's sizes (8 levels, 25 tokens, beam 20, 59 nodes) with a trie."""
    rng = np.random.default_rng(0)
    settings = SearchSettings()
    known = trie.levels[0].tokens
    search = TreeSearch(settings, trie, -1)
    times = []
    for turn in range(repeats + 3):
        tokens = np.stack([rng.choice(known, settings.candidates, replace=False) for _ in range(8)]).astype(
            np.int64
        )
        chance = rng.dirichlet(np.full(settings.candidates, 0.3), size=8)
        root = int(rng.choice(known)), int(rng.choice(known))
        began = time.perf_counter()
        search(tokens, chance, root)
        if turn >= 3:
            times.append(1e3 * (time.perf_counter() - began))
    return {
        "median_ms": statistics.median(times),
        "p90_ms": float(np.percentile(times, 90)),
        "n_grams": trie.nodes,
    }


def processor() -> str:
    """Name and number of processors."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = (
            line for line in info.read_text(encoding="utf-8").splitlines() if line.startswith("model name")
        )
        name = next(lines, f":{name}").partition(":")[2].strip()
    return f"{name}, {os.cpu_count()} cores"
