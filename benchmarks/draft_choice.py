"""``python -m benchmarks.draft_choice``: the automatic size of drafts against every fixed size, simulated.

The stored answers of draft/answers.npz are replayed, greedy ones and drawn ones (temperature 0.7), workload by
workload, behind answers that are not counted. A step takes what a pass of so many rows took (docs/results/dart.md),
with a random twentieth more or less, and the processor time that drafting takes here. The choice sees these times only.
So a busy machine changes little, and a speed-up is a simulated one. No static n-grams: they were counted in these
answers. No head: it needs the model.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.draft_replay import accepted
from serve.request import Request, SamplingParams
from serve.spec_decode.prompt_lookup import LookupProposer
from serve.spec_decode.proposer import Observed, RoundTiming
from serve.spec_decode.proposers import NgramProposer, Sized
from serve.spec_decode.training.corpus import read_answers

ANSWERS = Path(__file__).parents[1] / "draft" / "answers.npz"
END = 2
PASS_MS = {
    1: ((1, 2, 3, 5, 9, 17, 33, 60), (26.7, 28.9, 28.9, 32.1, 41.9, 56.1, 91.5, 148.1)),
    8: ((8, 16, 24, 40, 72), (42.8, 57.9, 74.2, 111.9, 190.3)),
}
"""Rows of a pass and its milliseconds, by requests together, as measured on 25 Nov 2026 (docs/results/dart.md)."""
VERIFY_MS = 1.0
METHODS = {1: ("lookup:8", "ngram:3", "ngram:5", "ngram:8"), 8: ("lookup:3", "ngram:1", "ngram:2")}
AUTO = "ngram:auto"


@dataclass(frozen=True, slots=True)
class Known:
    """A stored answer: its workload, its prompt and what followed."""

    workload: str
    prompt: tuple[int, ...]
    answer: list[int]


@dataclass(slots=True)
class Counted:
    """Tokens and milliseconds of one method on one workload."""

    tokens: int = 0
    ms: float = 0.0


def proposer(name: str) -> Sized:
    """A method from ``name:nodes``."""
    kind, _, nodes = name.partition(":")
    size = None if nodes == "auto" else int(nodes)
    return LookupProposer(nodes=size) if kind == "lookup" else NgramProposer(None, END, nodes=size)


def replay(method: Sized, texts: Sequence[Known], batch: int, rng: np.random.Generator) -> Counted:
    """Draft along the answers, `batch` at once; counted are the rounds in which the whole batch decodes."""
    rows, ms = PASS_MS[batch]
    counted, waiting, live = Counted(), list(texts), list[tuple[Request, list[int]]]()
    while waiting or live:
        while waiting and len(live) < batch:
            text = waiting.pop(0)
            request = Request(f"{len(waiting)}", text.prompt, SamplingParams(max_tokens=len(text.answer)))
            request.tokens.append(text.answer[0])
            live.append((request, text.answer))
        full, began = len(live) == batch, time.process_time()
        requests = [request for request, _ in live]
        trees = method.propose(requests, [len(answer) - r.n_output - 1 for r, answer in live])
        seen = []
        for (request, answer), tree in zip(live, trees, strict=True):
            left = answer[request.n_output :]
            kept = min(accepted(tree, left), len(left) - 1)
            start = len(request.tokens) - 1
            request.tokens += left[: kept + 1]
            seen.append(Observed(request, start, np.empty(0, np.int64), None, len(tree), kept))
        method.observe(seen)
        draft_ms = 1e3 * (time.process_time() - began)
        width = len(live) + sum(map(len, trees))
        pass_ms = float(np.interp(width, rows, ms)) * float(rng.uniform(0.95, 1.05))
        method.timed(RoundTiming(draft_ms, pass_ms, VERIFY_MS, len(live), width, 0))
        if full:
            counted.tokens += sum(s.accepted + 1 for s in seen)
            counted.ms += draft_ms + pass_ms + VERIFY_MS
        for request, answer in list(live):
            if request.n_output == len(answer):
                live.remove((request, answer))
                method.release(request)
    return counted


def stored(draw: int, most: int) -> list[Known]:
    """Answers of a draw (0 greedy, 1 at temperature 0.7) in a seeded order, cut to `most` tokens."""
    texts = [
        Known(p.workload, tuple(p.tokens), [int(t) for t in tokens[len(p.tokens) :]][:most])
        for p, drawn, tokens in read_answers(ANSWERS)
        if drawn == draw and len(tokens) - len(p.tokens) > 16
    ]
    random.Random(0).shuffle(texts)
    return texts


def speedups(batch: int, draw: int, each: int, warm: int, most: int) -> dict[str, dict[str, float]]:
    """Speed over plain decoding by method and workload, in one life of each proposer."""
    texts = stored(draw, most)
    before = [
        t for w in sorted({t.workload for t in texts}) for t in [x for x in texts if x.workload == w][:warm]
    ]
    random.Random(1).shuffle(before)
    found: dict[str, dict[str, float]] = {}
    for name in (*METHODS[batch], AUTO):
        method, rng, total = proposer(name), np.random.default_rng(0), Counted()
        replay(method, before, batch, rng)
        for workload in sorted({t.workload for t in texts}):
            own = [t for t in texts if t.workload == workload][warm : warm + each]
            part = replay(method, own, batch, rng)
            total = Counted(total.tokens + part.tokens, total.ms + part.ms)
            found.setdefault(name, {})[workload] = _speed(part, batch)
        found[name]["all"] = _speed(total, batch)
    return found


def _speed(part: Counted, batch: int) -> float:
    return part.tokens * (PASS_MS[batch][1][0] + VERIFY_MS) / batch / part.ms


def main() -> None:
    """Print the speed-ups, and the automatic choice beside the best fixed method of each workload."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--each", type=int, default=10, help="answers of a workload that are counted")
    parser.add_argument("--warm", type=int, default=6, help="answers of a workload before them")
    parser.add_argument("--max-tokens", type=int, default=96)
    chosen = parser.parse_args()
    heads: list[str] = []
    for batch in METHODS:
        for draw, temperature in ((0, "0"), (1, "0.7")):
            found = speedups(batch, draw, chosen.each, chosen.warm, chosen.max_tokens)
            if not heads:
                heads = ["batch", "temperature", "method", *found[AUTO]]
                sys.stdout.write(f"| {' | '.join(heads)} |\n" + "|---" * len(heads) + "|\n")
            found["auto / best fixed"] = {
                w: found[AUTO][w] / max(found[m][w] for m in METHODS[batch]) for w in found[AUTO]
            }
            for name, row in found.items():
                figures = " | ".join(f"{x:.3f}" for x in row.values())
                sys.stdout.write(f"| {batch} | {temperature} | {name} | {figures} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
