"""The engine with and without the prefix forest on real prompts: `python -m benchmarks.forest_engine`.

Prints, for each workload, milliseconds per output token both ways (the same engine, taking turns, the better of the
turns), attention's part of a row-by-row step, how many answers are equal, and the prompt tokens that the prefix cache
saved. The workloads: held-out annotation and judging prompts, which share their instructions; sharings too small to
gain; the same prompts after a long common beginning of worked examples (`benchmarks.compare_servers`), 8 to 32
together; and with `--prompts` a file of recorded request bodies (JSON lines with `messages`), as they are and each of
two asked four times, as `arena run --judge-repeats 4` does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import serve.model.decoder
from benchmarks.compare_servers import sharing
from benchmarks.draft_methods import read_prompts
from serve.engine.engine import Engine, EngineConfig
from serve.forest_attention.step import Saving
from serve.model.decoder import Model
from serve.model.loader import Checkpoint, load_checkpoint
from serve.request import Request, SamplingParams
from serve.spec_decode.registry import make_proposer
from serve.threads import use_threads

BATCH = 8
TURNS = 3
SMALL, SMALL_TOKENS = (2, 3, 4), 128
"""Requests and shared tokens of sharings that a matrix product does not pay: the engine leaves them alone."""
Tokens = tuple[int, ...]


@dataclass(slots=True)
class Run:
    """One batch of prompts answered: milliseconds per token while decoding, attention's part of them, answers, and
    prompt tokens.
    """

    ms: float
    attention: float
    answers: list[list[int]]
    computed: int
    cached: int


@dataclass(slots=True)
class Stopwatch:
    """Seconds spent in the engine's attention on the CPU while it is held."""

    seconds: float = 0.0

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Watch the attention of every layer."""
        step: Any = serve.model.decoder._CompiledStep
        inner = step.attention

        def attention(*arguments: Any) -> Any:
            began = time.perf_counter()
            out = inner(*arguments)
            self.seconds += time.perf_counter() - began
            return out

        step.attention = attention
        try:
            yield
        finally:
            step.attention = inner


def answer(engine: Engine, prompts: Sequence[Tokens], max_tokens: int) -> Run:
    """Answer the prompts together; decoding is timed when all are read."""
    rows, hits = engine.stats.prefill_rows, engine.stats.cached_tokens
    params = SamplingParams(max_tokens=max_tokens, ignore_eos=True)
    requests = [Request(f"{time.perf_counter_ns()}", p, params) for p in prompts]
    for request in requests:
        engine.add(request)
    while any(not r.n_output for r in requests):
        engine.step()
    watch = Stopwatch()
    before, began = sum(r.n_output for r in requests), time.perf_counter()
    with watch.held():
        while engine.has_work:
            engine.step()
    seconds = time.perf_counter() - began
    tokens = sum(r.n_output for r in requests) - before
    stats = engine.stats
    return Run(
        1e3 * seconds / tokens,
        watch.seconds / seconds,
        [r.output for r in requests],
        stats.prefill_rows - rows,
        stats.cached_tokens - hits,
    )


def row(
    name: str, checkpoint: Checkpoint, model: Model, prompts: Sequence[Tokens], max_tokens: int, draft: str
) -> str:
    """One workload, with and without."""
    config = EngineConfig(cache_tokens=32_768, max_running=len(prompts))
    proposer = None
    if draft != "off":
        proposer = make_proposer(draft, checkpoint, model, block_tokens=16, folder=None, nodes=8)
    engine = Engine(model, checkpoint, config, proposer)
    first = answer(engine, prompts, max_tokens)  # from an empty cache
    best: dict[bool, Run] = {}
    for _turn in range(TURNS):
        for shares in (False, True):
            model.saving = Saving() if shares else None
            run = answer(engine, prompts, max_tokens)
            if shares not in best or run.ms < best[shares].ms:
                best[shares] = run
    model.saving = Saving()
    alone, shared = best[False], best[True]
    equal = sum(a == b for a, b in zip(alone.answers, shared.answers, strict=True))
    total = sum(map(len, prompts))
    return (
        f"| {name} | {len(prompts)} | {draft} | {total / len(prompts):.0f} | {alone.ms:.2f} | {shared.ms:.2f} | "
        f"{alone.ms / shared.ms:.2f} | {100 * alone.attention:.0f} % | {100 * shared.attention:.0f} % | "
        f"{equal} of {len(prompts)} | {100 * first.cached / total:.0f} % |"
    )


def render(checkpoint: Checkpoint, messages: list[dict[str, str]]) -> Tokens:
    """Token ids of a conversation, with the model's turn opened."""
    ids = checkpoint.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    return tuple(int(t) for t in ids)


def after_a_beginning(
    checkpoint: Checkpoint, heldout: Path, workload: str, characters: int, together: int
) -> list[Tokens]:
    """Prompts of a workload that share a beginning of so many characters: worked examples, then one question each."""
    rows = [json.loads(line) for line in heldout.read_text(encoding="utf-8").splitlines()]
    # Long beginnings use up the workload's own prompts: the questions may then be asked more than once.
    messages = [row["messages"] for row in rows if row["workload"] == workload]
    begun = sharing(messages * 2, characters)
    return [render(checkpoint, prompt) for prompt in begun[:together]]


def shared_tokens(prompts: Sequence[Tokens]) -> int:
    """Tokens that all prompts begin with."""
    n = 0
    while all(len(p) > n and p[n] == prompts[0][n] for p in prompts):
        n += 1
    return n


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=Path, help="recorded request bodies, JSON lines with `messages`")
    parser.add_argument("--heldout", type=Path, default=Path("draft/heldout.jsonl"))
    parser.add_argument("--max-tokens", type=int, default=33)
    parser.add_argument("--only", default="", help="leave out the workloads whose name has no such part")
    parser.add_argument("--draft", nargs="+", default=["off"], choices=["off", "ngram"])
    chosen = parser.parse_args()
    use_threads(None)
    checkpoint = load_checkpoint()
    model = Model.load(checkpoint, "float16")
    groups: list[tuple[str, list[Tokens]]] = []
    every = read_prompts(chosen.heldout, checkpoint.tokenizer, BATCH)
    for workload in ("annotation", "judging"):
        groups.append((f"{workload}, held out", [p.tokens for p in every if p.workload == workload]))
    for together in SMALL:
        name = f"small, {SMALL_TOKENS} tokens shared"
        groups.append(
            (name, [every[0].tokens[:SMALL_TOKENS] + p.tokens[-48:] for p in every[1 : together + 1]])
        )
    for workload, characters in (("annotation", 4000), ("judging", 4000), ("judging", 16_000)):
        for together in (8, 16, 32):
            prompts = after_a_beginning(checkpoint, chosen.heldout, workload, characters, together)
            groups.append((f"{workload}, {shared_tokens(prompts):,} tokens shared", prompts))
    if chosen.prompts:
        bodies = [json.loads(line) for line in chosen.prompts.read_text(encoding="utf-8").splitlines()]
        texts = dict.fromkeys(json.dumps(body["messages"]) for body in bodies)
        recorded = sorted((render(checkpoint, json.loads(text)) for text in texts), key=len)[:BATCH]
        groups.append(("recorded, the 8 shortest", recorded))
        groups.append(("recorded, 4 ratings of each of 2", [p for p in recorded[:2] for _ in range(4)]))
    sys.stdout.write(
        "| prompts | together | draft | tokens a prompt | ms a token, row by row | ms a token, forest | ratio | "
        "attention's part, row by row | attention's part, forest | answers equal | prompt tokens from the cache |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|\n"
    )
    for draft in chosen.draft:
        for name, prompts in ((n, p) for n, p in groups if chosen.only in n):
            sys.stdout.write(row(name, checkpoint, model, prompts, chosen.max_tokens, draft) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
