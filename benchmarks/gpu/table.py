"""Speculation on the device: plain decoding, n-grams, the EAGLE-style head, DART; batch 1, 8 and 32.

Tokens a pass (tau) is the drafter's own figure and holds on every machine. The speed-up is this engine's: it launches
its kernels request by request, so on a GPU a pass costs launches, not rows.
"""

from __future__ import annotations

import argparse
import random
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.draft_methods import Course, Method, Prompt, Tally, read_prompts
from benchmarks.eagle import EAGLE
from benchmarks.gpu import toy
from benchmarks.gpu.record import Record, say
from benchmarks.gpu.train import load
from serve.model.loader import Checkpoint
from serve.spec_decode.registry import HEAD, TRIE

NODES = 8


def heads_of(chosen: argparse.Namespace) -> Path:
    """The folder of heads, with the n-grams beside them."""
    folder = Path(chosen.state or chosen.out)
    if chosen.ngrams.is_file() and chosen.model:
        shutil.copyfile(chosen.ngrams, folder / TRIE)
    return folder


def asked(chosen: argparse.Namespace, checkpoint: Checkpoint) -> list[Prompt]:
    """Held-out prompts, the workloads mixed."""
    if chosen.model:
        prompts = read_prompts(chosen.heldout, checkpoint.tokenizer, 50)
    else:
        words = checkpoint.tokenizer
        texts = [words.apply_chat_template(m["messages"], tokenize=False) for m in toy.messages(40)]
        tokens = [words(t, add_special_tokens=False)["input_ids"] for t in texts]
        prompts = [Prompt(str(i), "random", tuple(t)) for i, t in enumerate(tokens)]
    random.Random(0).shuffle(prompts)
    return prompts


def columns(tally: Tally, batch: int) -> dict[str, Any]:
    """One method's figures; milliseconds are of one step of the whole batch."""
    rounds = max(tally.forwards, 1)
    steps = rounds / batch
    return {
        "answers": tally.answers,
        "tau": round(tally.tokens / rounds, 3),
        "nodes": round(tally.drafted / rounds, 2),
        "speedup": round(tally.plain_seconds / tally.seconds, 3) if tally.seconds else None,
        "ms_a_step": round(1e3 * tally.seconds / steps, 2),
        "draft_ms": round(tally.draft_ms / steps, 2),
        "head_ms": round(tally.head_ms / steps, 2),
        "forward_ms": round(tally.forward_ms / steps, 2),
        "tokens_a_second": round(tally.tokens / tally.seconds, 1) if tally.seconds else None,
        "different_answers": tally.different,
    }


def measure(
    chosen: argparse.Namespace, record: Record, loaded: Any, prompts: list[Prompt], batch: int, until: float
) -> None:
    """All methods at one batch size, on as many groups of prompts as the time allows."""
    checkpoint, model = loaded
    folder = heads_of(chosen)
    methods = [Method("ngram", NODES), Method("ngram", None)]
    methods += [Method("eagle", NODES)] if (folder / EAGLE).is_file() else []
    if (folder / HEAD).is_file():
        methods += [Method("head", NODES), Method("dart", NODES), Method("dart", None)]
    tokens = 96 if chosen.device == "cuda" else 12
    course = Course(checkpoint, model, methods, folder, batch=batch, max_tokens=tokens)
    for engine in (course.plain, *course.engines.values()):
        course.answer(engine, prompts[-2:])  # kernels are loaded and compiled before anything is timed
    group, turn, began = batch if batch == 1 else 2 * batch, 0, time.time()
    longest = (
        0.0 if chosen.device == "cuda" else float("inf")
    )  # a second group would say nothing more on the CPU
    # Prompts are taken again from the start when they run out: a prompt's answer is the same, its time is not.
    while turn * group < len(prompts) and (not turn or time.time() + longest < until):
        at = time.time()
        course.run(prompts[turn * group : (turn + 1) * group], turn)
        longest = max(longest, time.time() - at)
        turn += 1
    say(f"batch {batch}: {turn} groups in {time.time() - began:.0f} s")
    plain = course.plain.stats
    record.note(
        f"batch {batch}: plain decoding {1e3 * plain.forward_s / max(plain.steps, 1):.2f} ms a pass, "
        f"{len(course.cut)} prompts cut for looping"
    )
    for method in methods:
        if tally := course.tallies.get((method, "all")):
            record.row("speculation", batch=batch, method=method.label, **columns(tally, batch))


def run(chosen: argparse.Namespace, record: Record, until: float) -> None:
    """Batch 1, 8 and 32."""
    loaded = load(chosen)
    loaded[1].saving = None  # every row for itself, so that plain decoding and drafts attend alike
    prompts = asked(chosen, loaded[0])
    sizes = (1, 8, 32) if chosen.device == "cuda" else (1, 4)
    for at, batch in enumerate(sizes):
        share = (until - time.time()) / (len(sizes) - at)
        measure(chosen, record, loaded, prompts, batch, time.time() + share)
