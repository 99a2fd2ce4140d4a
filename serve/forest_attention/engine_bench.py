"""The engine with and without the prefix forest on real prompts: `python -m serve.forest_attention.engine_bench`.

Prints, for each workload, milliseconds per output token both ways (the same engine, taking turns, the better of the
turns), how many answers are equal, and the prompt tokens that the prefix cache saved. `--prompts` adds a file of
recorded request bodies (JSON lines with `messages`), once as it is and once with every prompt asked four times, as
`arena run --judge-repeats 4` does.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serve.bench import read_prompts
from serve.dart.plug import make_proposer
from serve.engine import Engine, EngineConfig
from serve.forest_attention.step import Saving
from serve.model import Model
from serve.request import Request, SamplingParams
from serve.threads import use_threads
from serve.weights import Checkpoint, load_checkpoint

BATCH = 8
Tokens = tuple[int, ...]


@dataclass(slots=True)
class Run:
    """One batch of prompts answered: milliseconds per token while decoding, answers, and prompt tokens."""

    ms: float
    answers: list[list[int]]
    computed: int
    cached: int


def answer(engine: Engine, prompts: Sequence[Tokens], max_tokens: int) -> Run:
    """Answer the prompts together; decoding is timed when all are read."""
    rows, hits = engine.stats.prefill_rows, engine.stats.cached_tokens
    params = SamplingParams(max_tokens=max_tokens, ignore_eos=True)
    requests = [Request(f"{time.perf_counter_ns()}", p, params) for p in prompts]
    for request in requests:
        engine.add(request)
    while any(not r.n_output for r in requests):
        engine.step()
    before, began = sum(r.n_output for r in requests), time.perf_counter()
    while engine.has_work:
        engine.step()
    seconds = time.perf_counter() - began
    tokens = sum(r.n_output for r in requests) - before
    stats = engine.stats
    return Run(
        1e3 * seconds / tokens,
        [r.output for r in requests],
        stats.prefill_rows - rows,
        stats.cached_tokens - hits,
    )


def row(
    name: str, checkpoint: Checkpoint, model: Model, prompts: Sequence[Tokens], max_tokens: int, draft: str
) -> str:
    """One workload, with and without."""
    config = EngineConfig(cache_tokens=32_768, max_running=BATCH)
    proposer = None
    if draft != "off":
        proposer = make_proposer(draft, checkpoint, model, block_tokens=16, folder=None, nodes=8)
    engine = Engine(model, checkpoint, config, proposer)
    first = answer(engine, prompts, max_tokens)  # from an empty cache
    best: dict[bool, Run] = {}
    for _turn in range(2):
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
        f"| {name} | {draft} | {total / len(prompts):.0f} | {alone.ms:.2f} | {shared.ms:.2f} | "
        f"{alone.ms / shared.ms:.2f} | {equal} of {len(prompts)} | {100 * first.cached / total:.0f} % |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=Path, help="recorded request bodies, JSON lines with `messages`")
    parser.add_argument("--heldout", type=Path, default=Path("data/serve/heldout.jsonl"))
    parser.add_argument("--max-tokens", type=int, default=33)
    chosen = parser.parse_args()
    use_threads(None)
    checkpoint = load_checkpoint()
    model = Model.load(checkpoint, "float16")
    groups: list[tuple[str, list[Tokens]]] = []
    every = read_prompts(chosen.heldout, checkpoint.tokenizer, BATCH)
    for workload in ("annotation", "judging"):
        groups.append((f"{workload}, held out", [p.tokens for p in every if p.workload == workload]))
    if chosen.prompts:
        bodies = [json.loads(line) for line in chosen.prompts.read_text(encoding="utf-8").splitlines()]
        texts = dict.fromkeys(json.dumps(body["messages"]) for body in bodies)
        recorded = []
        for text in texts:
            ids = checkpoint.tokenizer.apply_chat_template(
                json.loads(text), add_generation_prompt=True, return_dict=False
            )
            recorded.append(tuple(int(t) for t in ids))
        recorded = sorted(recorded, key=len)[:BATCH]
        groups.append(("recorded, the 8 shortest", recorded))
        groups.append(("recorded, 4 ratings of each of 2", [p for p in recorded[:2] for _ in range(4)]))
    sys.stdout.write(
        "| prompts, 8 together | draft | tokens a prompt | ms a token, row by row | ms a token, forest | ratio | "
        "answers equal | prompt tokens from the cache |\n|---|---|---|---|---|---|---|---|\n"
    )
    for draft in ("off", "ngram"):
        for name, prompts in groups:
            sys.stdout.write(row(name, checkpoint, model, prompts, chosen.max_tokens, draft) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
