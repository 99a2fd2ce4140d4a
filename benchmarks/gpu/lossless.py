"""Drafting on the device gives plain decoding's answers, token for token: a random Llama in float64, greedy.

In float64 the order in which a product is summed cannot change a choice, so every difference is an error. The head is
random too, so most drafts are wrong, and wrong ones are what could do harm.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.draft_peers import make_proposer
from benchmarks.eagle import EAGLE
from benchmarks.gpu import toy
from benchmarks.gpu.record import Record
from serve.engine.engine import Engine, EngineConfig
from serve.forest_attention.step import Saving
from serve.model.decoder import Model
from serve.model.loader import Checkpoint, tokenizer_hash
from serve.request import SamplingParams
from serve.spec_decode.dart_head import DraftHead, HeadConfig, save_head
from serve.spec_decode.registry import HEAD

METHODS = ("off", "lookup", "ngram", "head", "dart", "eagle")
SHARES_ALL = Saving(row=1.0, task=0.0, read=0.0, product=0.0)
"""Every shared node is attended together, however small."""


def random_heads(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a head of each kind with random weights."""
    for name, autoregressive in ((HEAD, False), (EAGLE, True)):
        shape = HeadConfig.of(checkpoint.config, 200, 5, autoregressive=autoregressive)
        head = DraftHead(shape, torch.arange(20, 220))
        head.warm_start(checkpoint.tensors)
        save_head(head, folder / name, tokenizer_hash(checkpoint.tokenizer))


def answers(
    checkpoint: Checkpoint, model: Model, method: str, folder: Path, prompts: list[list[int]], tokens: int
) -> tuple[list[list[int]], Engine]:
    """All prompts answered together."""
    config = EngineConfig(cache_tokens=16_384, max_running=16)
    proposer = None
    if method != "off":
        proposer = make_proposer(method, checkpoint, model, block_tokens=16, folder=folder, nodes=6)
    engine = Engine(model, checkpoint, config, proposer)
    done = engine.generate(prompts, SamplingParams(max_tokens=tokens, ignore_eos=True))
    return [c.tokens for c in done], engine


def run(chosen: argparse.Namespace, record: Record, until: float) -> None:
    """Compare every method with plain decoding, with and without shared attention."""
    checkpoint = toy.checkpoint()
    rows = toy.messages(16)
    begun = "The same beginning of all these prompts, longer than a block of the cache. "
    texts = [begun + row["messages"][0]["content"] for row in rows]
    prompts = [checkpoint.tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
    count, tokens = (16, 64) if chosen.device == "cuda" else (4, 12)
    model = Model.load(checkpoint, "float64", chosen.device)
    plain: list[list[int]] | None = None
    with tempfile.TemporaryDirectory() as scratch:
        random_heads(checkpoint, Path(scratch))
        for saving in (None, SHARES_ALL):
            model.saving = saving
            for method in METHODS:
                if time.time() > until:
                    record.note("out of time: the rows below were not run")
                    return
                found, engine = answers(checkpoint, model, method, Path(scratch), prompts[:count], tokens)
                plain = plain or found
                record.row(
                    "float64, greedy, against plain decoding",
                    draft=method,
                    attention="row by row" if saving is None else "prefixes together",
                    answers=count,
                    equal=sum(a == b for a, b in zip(found, plain, strict=True)),
                    drafted=engine.stats.drafted,
                    accepted=engine.stats.accepted,
                    tokens=engine.stats.output_tokens,
                    forwards=engine.stats.decode_forwards,
                )
