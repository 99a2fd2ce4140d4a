"""``python -m benchmarks.ngram_chains``: what vLLM's n-gram proposer costs a step, and what its drafts bring.

256 requests of 600 tokens (texts of draft/answers.npz one behind another) draft four tokens each with a full ring of
recent answers and the static n-grams: processor time of the one thread that runs it, median of 15 steps. Beside it the
stored answers are replayed: tokens a round, without static n-grams, since those were counted in these answers. A row
is a bound on the recent n-grams that are looked at for one token (`MOST_MATCHES`).
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from serve.spec_decode.ngram_trie import Trie
from serve.spec_decode.registry import TRIE
from serve.spec_decode.training.corpus import read_answers
from serve.vllm_plugins import chains
from serve.vllm_plugins.proposer import LEAST_CHANCE

DRAFT = Path(__file__).parents[1] / "draft"
REQUESTS, LENGTH, DRAFTED, REPLAYED = 256, 600, 4, 500
Text = tuple[int, np.ndarray[tuple[int], np.dtype[np.int32]]]


def step_ms(texts: list[Text], trie: Trie) -> float:
    """Milliseconds of processor time of one step."""
    joined = np.concatenate([tokens for _, tokens in texts])
    rows = joined[: REQUESTS * LENGTH].reshape(REQUESTS, LENGTH)
    made = chains.Chains(trie)
    for row in rows:
        made.remember(row, LENGTH // 2)
    lengths, rooms = np.full(REQUESTS, LENGTH), np.full(REQUESTS, DRAFTED)
    took = []
    for _ in range(16):  # the first compiles
        began = time.process_time()
        made.draft_all(rows, lengths, rooms, None, LEAST_CHANCE)
        took.append(1e3 * (time.process_time() - began))
    return statistics.median(took[1:])


def tokens_a_round(texts: list[Text]) -> float:
    """Tokens that a round of a chain brings when the answers are what they are."""
    made = chains.Chains(None)
    rounds = tokens = 0
    for prompt, text in texts[:REPLAYED]:
        at = prompt
        while at < len(text) - 1:
            row, length, most = text[None, : at + 1], np.array([at + 1]), np.array([DRAFTED])
            (drafted,) = made.draft_all(row, length, most, None, LEAST_CHANCE)
            true = text[at + 1 :].tolist()
            accepted = next(
                (k for k, t in enumerate(drafted) if k >= len(true) or t != true[k]), len(drafted)
            )
            new = min(accepted + 1, len(true))
            made.remember(text[: at + 1 + new], at + 1)
            at, rounds, tokens = at + new, rounds + 1, tokens + new
    return tokens / rounds


def main() -> None:
    """Print the table."""
    texts = [
        (len(prompt.tokens), np.array(tokens, np.int32))
        for prompt, _, tokens in read_answers(DRAFT / "answers.npz")
    ]
    trie = Trie.load(DRAFT / TRIE)
    sys.stdout.write(
        "| n-grams looked at, at most | ms a step of 256 requests | tokens a round |\n|---|---|---|\n"
    )
    for most in (1024, 512, 256, 128):
        chains.MOST_MATCHES = most
        compiled: Any
        for compiled in (chains._tally_ring, chains._chain, chains._chains):
            compiled.recompile()  # the bound is a constant of the machine code
        sys.stdout.write(f"| {most} | {step_ms(texts, trie):.2f} | {tokens_a_round(texts):.3f} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
