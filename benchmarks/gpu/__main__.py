"""Run the parts: `python -m benchmarks.gpu --minutes 12 --out DIR [--model FILE.gguf --prompts prompts.jsonl]`.

Without `--model` the heads are trained on a small random model, which only shows that everything runs. `--dry-run`
does that on one thread of the CPU with 10,000 tokens at most, in about a minute. Every part writes DIR/<part>.json and
DIR/<part>.md as it goes, and the tables are printed once more at the end. A part that outlasts its time is stopped.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from benchmarks.gpu.record import Record, say

PARTS = {"card": 0.3, "kernels": 3.0, "lossless": 0.8, "train": 6.5, "table": 1.5}
"""Minutes of each part in a run of twelve; time that a part leaves goes to those behind it."""


LEAST_S = 20.0
"""Seconds that every part has, however short the run."""


class OutOfTimeError(Exception):
    """A part has used up its time."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in the block when it has run for so long."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise OutOfTimeError(f"stopped after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--minutes", type=float, help="of the whole run at most: 12, or 4 with --dry-run")
    parser.add_argument("--out", type=Path, required=True, help="folder for tables, JSON and heads")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, comma separated")
    parser.add_argument("--model", type=Path, help="GGUF file or Hugging Face folder to train heads for")
    parser.add_argument("--tokenizer", type=Path, help="folder of a saved tokenizer, for a GGUF file")
    parser.add_argument("--prompts", type=Path, help="JSON lines with `messages` and `workload`")
    parser.add_argument("--heldout", type=Path, default=Path("draft/heldout.jsonl"))
    parser.add_argument("--ngrams", type=Path, default=Path("draft/answers.ngram"))
    parser.add_argument(
        "--state", type=Path, help="folder of texts and whole heads, from which a later run goes on"
    )
    parser.add_argument("--tokens", type=int, default=20_000_000, help="answer tokens to write and train on")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu")
    parser.add_argument("--dry-run", action="store_true", help="the CPU, a random model, 10,000 tokens")
    chosen = parser.parse_args(arguments)
    chosen.parts = [p for p in chosen.only.split(",") if p]
    unknown = [p for p in chosen.parts if p not in PARTS]
    if unknown:
        parser.error(f"--only {unknown[0]!r}: no such part; wanted some of {', '.join(PARTS)}")
    if chosen.minutes is None:
        chosen.minutes = 4.0 if chosen.dry_run else 12.0
    if chosen.dry_run:
        chosen.device, chosen.tokens = "cpu", min(chosen.tokens, 10_000)
    return chosen


def main(arguments: list[str] | None = None) -> int:
    """Run the parts one after another; 1 if one failed."""
    chosen = read_arguments(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if chosen.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # has to stand before triton is imported
    chosen.out.mkdir(parents=True, exist_ok=True)
    from serve.threads import use_threads

    # A dry run's tensors are small, and other work may hold the other cores.
    if chosen.dry_run:
        os.environ["NUMBA_NUM_THREADS"] = "1"
    use_threads(1 if chosen.dry_run else None)
    import torch
    import transformers  # takes long, which no part should pay

    if chosen.device == "cuda":
        torch.zeros(1, device="cuda")
    until = time.time() + 60 * chosen.minutes
    say(f"torch {torch.__version__}, transformers {transformers.__version__} loaded")
    records, failed = [], 0
    for at, name in enumerate(chosen.parts):
        left = until - time.time()
        # The parts of a dry run are so small that they end by themselves.
        share = 1.0 if chosen.dry_run else PARTS[name] / sum(PARTS[p] for p in chosen.parts[at:])
        seconds = max(left * share, LEAST_S)
        record = Record(name, chosen.out)
        records.append(record)
        say(f"== {name}: {seconds:.0f} s")
        try:
            part = importlib.import_module(
                f"benchmarks.gpu.{name}"
            )  # never stopped: half a module is of no use
            # The part is asked to end by itself a little earlier than it is stopped.
            with limited(seconds):
                part.run(chosen, record, time.time() + 0.93 * seconds)
        except Exception as error:  # noqa: BLE001 (one part's failure is that part's, and is shown)
            failed += 1
            traceback.print_exc()
            record.note(f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        record.write()
        say(f"== {name} ended, {until - time.time():.0f} s left")
    sys.stdout.write("\n" + "\n".join(record.markdown() for record in records))
    sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
