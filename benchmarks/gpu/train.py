"""Write answers with the target, then train DART's head and the EAGLE-style head on them, equal tokens each.

Nothing but tokens is kept: the target's states are computed again in every step. Times: a quarter of the part writes,
the rest trains, both heads alike. With `--state` a later run takes the texts that are there and goes on from them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.eagle import EAGLE
from benchmarks.gpu import toy
from benchmarks.gpu.batch_decoding import BatchWriter, Text, load_texts, save_texts, write_texts
from benchmarks.gpu.batch_training import BatchTrainer, new_head
from benchmarks.gpu.record import Record, say
from serve.model.decoder import Model
from serve.model.gguf import read_header
from serve.model.loader import Checkpoint, load_checkpoint, tokenizer_hash
from serve.spec_decode.dart_head import load_head, save_head
from serve.spec_decode.registry import HEAD
from serve.spec_decode.training.corpus import write_answers
from serve.spec_decode.training.train import Settings, most_frequent

LONGEST_PROMPT, DRAWS = 288, 24
SETTINGS = Settings(anchors=24, warmup=100, learning_rate=1.5e-3)
PART_BYTES = 15_000_000
"""Heads that are larger are also left in parts, for whoever can only carry small files."""


def load(chosen: argparse.Namespace) -> tuple[Checkpoint, Model]:
    """The model to train for, read once a run; random without `--model`."""
    if getattr(chosen, "loaded", None) is None:
        if chosen.model and chosen.tokenizer:
            checkpoint = with_tokenizer(chosen.model, chosen.tokenizer)
        else:
            checkpoint = load_checkpoint(chosen.model) if chosen.model else toy.checkpoint()
        precision = "bfloat16" if chosen.device == "cuda" else "float32"
        chosen.loaded = checkpoint, Model.load(checkpoint, precision, chosen.device)
    found: tuple[Checkpoint, Model] = chosen.loaded
    return found


def with_tokenizer(path: Path, folder: Path) -> Checkpoint:
    """A GGUF file with the tokenizer of a folder: another transformers may convert the file's own otherwise."""
    from transformers import AutoConfig, PreTrainedTokenizerFast

    header = read_header(path)
    config = AutoConfig.for_model(header.family, **header.config())
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    names = {k: settings[k] for k in ("bos_token", "eos_token", "unk_token", "pad_token") if settings.get(k)}
    words = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **names)
    words.chat_template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    eos = frozenset({config.eos_token_id})
    return Checkpoint(path.stem, path, config, words, header.read_tensors(), eos)


def prompts(chosen: argparse.Namespace, checkpoint: Checkpoint) -> list[tuple[int, list[int]]]:
    """Numbered prompts, tokenised."""
    if chosen.prompts:
        from serve.spec_decode.training.corpus import read_prompts

        read = read_prompts(chosen.prompts, checkpoint.tokenizer, set(), LONGEST_PROMPT)
        return [(p.number, p.tokens) for p in read]
    words = checkpoint.tokenizer
    rows = [words.apply_chat_template(m["messages"], tokenize=False) for m in toy.messages(200)]
    return [(i, words(t, add_special_tokens=False)["input_ids"]) for i, t in enumerate(rows)]


def asked(known: list[tuple[int, list[int]]], first: int = 0) -> Iterator[tuple[int, int, list[int]]]:
    """Every prompt once greedily, then again and again drawn; from the prompt `first` of the first round on."""
    endless = ((n, draw, tokens) for draw in range(DRAWS) for n, tokens in known)
    return itertools.islice(endless, first, None)


def write(
    chosen: argparse.Namespace, record: Record, loaded: tuple[Checkpoint, Model], until: float
) -> list[Text]:
    """The texts of an earlier run and new ones, until there are enough."""
    checkpoint, model = loaded
    held = chosen.state / "texts.npz" if chosen.state else None
    texts = load_texts(held) if held is not None and held.is_file() else []
    began = time.time()
    known = prompts(chosen, checkpoint)
    say(f"{len(known)} prompts tokenised in {time.time() - began:.0f} s; {len(texts)} texts are known")
    had = answer_tokens(texts)
    slots, length = (3072, 512) if chosen.device == "cuda" else (32, 96)
    if model.device.type == "cuda":
        d = model.dims
        token_bytes = d.layers * 2 * d.kv_heads * d.head_width * model.dtype.itemsize
        need = slots * length * token_bytes
        slots = int(slots * min(1.0, 0.5 * torch.cuda.get_device_properties(0).total_memory / need))
    began = time.time()
    writer = BatchWriter(model, slots=slots, length=length, stop=set(checkpoint.eos), seed=len(texts))
    new = write_texts(writer, asked(known, len(texts)), most=chosen.tokens - had, until=until, report=say)
    seconds = time.time() - began
    del writer
    texts += new
    if held is not None:
        save_texts(held, texts)
    keep_answers(chosen.out / "answers.npz", texts)
    record.row(
        "answers written",
        prompts=len(known),
        texts=len(texts),
        answer_tokens=answer_tokens(texts),
        all_tokens=sum(len(t.tokens) for t in texts),
        seconds=round(seconds, 1),
        answer_tokens_a_second=round(answer_tokens(new) / max(seconds, 1e-9)),
        slots=slots,
        length=length,
    )
    return texts


def answer_tokens(texts: list[Text]) -> int:
    """Tokens of answers."""
    return sum(len(t.tokens) - t.prompt_length for t in texts)


def keep_answers(path: Path, texts: list[Text], most: int = 7_000_000) -> None:
    """Leave a part of the answers as `vckg-serve write-corpus --answers` reads them."""
    asked_of: dict[int, tuple[str, np.ndarray[Any, np.dtype[np.int32]]]] = {}
    answers = {}
    total = 0
    for text in texts:
        total += len(text.tokens) - text.prompt_length
        if total > most:
            break
        asked_of[text.number] = "", text.tokens[: text.prompt_length]
        answers[text.number, text.draw] = text.tokens[text.prompt_length :]
    if answers:
        write_answers(path, asked_of, answers)


def teach(
    chosen: argparse.Namespace,
    record: Record,
    loaded: tuple[Checkpoint, Model],
    lessons: tuple[list[Text], list[Text], torch.Tensor],
    *,
    autoregressive: bool,
    until: float,
    steps: int | None,
) -> BatchTrainer:
    """Train one head, and leave the best so far in `--out`."""
    checkpoint, model = loaded
    texts, heldout, ids = lessons
    small = chosen.device != "cuda"
    settings = Settings(depth=4, anchors=4, warmup=5) if small else SETTINGS
    torch.manual_seed(0)
    name = EAGLE if autoregressive else HEAD
    path = (chosen.state or chosen.out) / name
    known = load_head(path, tokenizer_hash(checkpoint.tokenizer)) if chosen.state and path.is_file() else None
    ids = ids if known is None else known.draft_ids
    head, target = new_head(
        model, checkpoint.config, checkpoint.tensors, ids, settings.depth, autoregressive=autoregressive
    )
    if known is not None:
        head.load_state_dict(known.state_dict())
    trainer = BatchTrainer(model, target, head, settings, rows=2048 if small else 16_384)
    best = [float("inf")]
    began = time.time()

    def report(point: dict[str, Any]) -> None:
        record.row("EAGLE-style head" if autoregressive else "DART's head", **point)
        if point["loss"] < best[0]:
            best[0] = point["loss"]
            save_head(head, path, tokenizer_hash(checkpoint.tokenizer))
            deliver(path, chosen.out)

    trainer.train(texts, heldout, until=until, epochs=3, steps=steps, report=report)
    seconds = time.time() - began
    record.note(
        f"{name}: {trainer.steps} steps, {trainer.answer_tokens:,} answer tokens in {seconds:.0f} s "
        f"({trainer.answer_tokens / max(seconds, 1e-9):,.0f} a second), {sum(p.numel() for p in head.parameters()):,} "
        f"parameters"
    )
    return trainer


def deliver(path: Path, folder: Path) -> None:
    """Leave a file of another folder in `folder`, a large one in parts NAME.0, NAME.1, ... that joined are the file."""
    whole = path.read_bytes()
    if len(whole) > PART_BYTES:
        for i in range(0, len(whole), PART_BYTES):
            (folder / f"{path.name}.{i // PART_BYTES}").write_bytes(whole[i : i + PART_BYTES])
    elif path.parent != folder:
        (folder / path.name).write_bytes(whole)


def run(chosen: argparse.Namespace, record: Record, until: float) -> None:
    """Write, count the vocabulary, train both."""
    began = time.time()
    if chosen.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
    if chosen.state:
        chosen.state.mkdir(parents=True, exist_ok=True)
    loaded = load(chosen)
    say(f"model {loaded[0].name} read in {time.time() - began:.0f} s")
    texts = write(chosen, record, loaded, time.time() + 0.27 * (until - time.time()))
    every = SETTINGS.heldout_every
    training = [t for t in texts if t.number % every and len(t.tokens) - t.prompt_length >= 3]
    heldout = [t for t in texts if not t.number % every and len(t.tokens) - t.prompt_length >= 3]
    vocabulary = loaded[1].dims.vocabulary
    flat = np.concatenate([t.tokens[t.prompt_length :] for t in training])
    size = min(SETTINGS.draft_vocabulary, vocabulary)
    ids, coverage = most_frequent(np.bincount(flat, minlength=vocabulary), size, set(loaded[0].eos))
    record.note(f"the reduced vocabulary of {len(ids)} tokens covers {100 * coverage:.2f} % of the answers")
    lessons = (training, heldout, ids)
    half = time.time() + 0.42 * (until - time.time())  # the EAGLE-style head's steps take longer
    trainer = teach(chosen, record, loaded, lessons, autoregressive=False, until=half, steps=None)
    teach(chosen, record, loaded, lessons, autoregressive=True, until=until, steps=trainer.steps)
