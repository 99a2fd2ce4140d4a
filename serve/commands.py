"""`vckg-serve write-corpus`, `pack-answers`, `train-draft` and `build-ngrams`."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from serve import command_app as application
from serve.atomic import write_text
from serve.errors import InputError
from serve.vllm_plugins.command import export_vllm

ModelOption = Annotated[
    Path | None,
    typer.Option("--model", "-m", help="Hugging Face folder or .gguf file; default: the embedded model."),
]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]
CorpusOption = Annotated[Path, typer.Option("--corpus", help="Folder of shards, as write-corpus leaves it.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `vckg-serve`."""
    app.command()(write_corpus)
    app.command()(pack_answers)
    app.command()(train_draft)
    app.command()(build_ngrams)
    app.command()(export_vllm)


def note(text: str) -> None:
    """One line of progress on stderr, with the time of day."""
    application.note(f"{time.strftime('%H:%M:%S')} {text}")


def write_corpus(
    corpus: CorpusOption,
    prompts: Annotated[Path | None, typer.Argument(help="JSONL with `messages` and `workload`.")] = None,
    answers: Annotated[
        Path | None,
        typer.Option(help="File of pack-answers: these answers come first, without being written again."),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    minutes: Annotated[float, typer.Option(help="Stop after so long; a later run goes on.")] = 60.0,
    slots: Annotated[int, typer.Option(min=1, help="Answers that are decoded together.")] = 64,
    draws: Annotated[int, typer.Option(min=1, help="Answers a prompt: one greedy, the others drawn.")] = 2,
    longest_prompt: Annotated[int, typer.Option(min=1, help="Tokens; longer prompts are left out.")] = 288,
    length: Annotated[int, typer.Option(min=2, help="Most tokens of prompt and answer.")] = 512,
) -> None:
    """Write the corpus of train-draft: the model's answers to prompts, with the states of its layers."""
    from serve.threads import use_threads

    use_threads(threads)
    from serve.model.decoder import Model
    from serve.model.linear import check_device
    from serve.model.loader import load_checkpoint
    from serve.spec_decode.training import corpus as writing

    if prompts is None and answers is None:
        raise InputError("nothing to answer: name a file of prompts, --answers, or both")
    if prompts is not None and not prompts.is_file():
        raise InputError(f"{prompts}: no such file; wanted JSONL with `messages` and `workload`")
    where = check_device(device)
    checkpoint = load_checkpoint(model)
    whole = Model.load(checkpoint, "float16" if where.type == "cpu" else "bfloat16", where)
    until = time.time() + 60 * minutes
    if answers is not None:
        known = writing.replay_corpus(whole, answers, corpus, until=until, report=note)
        note(f"{corpus}: {known:,} known answer tokens from {answers}")
    if prompts is not None:
        written = writing.write_corpus(
            whole,
            checkpoint.tokenizer,
            prompts,
            corpus,
            slots=slots,
            draws=draws,
            longest_prompt=longest_prompt,
            length=length,
            stop=set(checkpoint.eos),
            until=until,
            report=note,
        )
        note(f"{corpus}: {written:,} answer tokens written")


def pack_answers(
    corpus: CorpusOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write (.npz).")],
) -> None:
    """Keep the tokens of a corpus alone; `write-corpus --answers` makes the corpus from them again."""
    from serve.spec_decode.training.corpus import pack_answers as pack

    answers, tokens = pack(corpus, output)
    note(f"{output}: {answers:,} answers, {tokens:,} answer tokens, {output.stat().st_size:,} bytes")


def train_draft(
    corpus: CorpusOption,
    state: Annotated[
        Path, typer.Option(help="Folder of the run's state; a run that was stopped goes on from it.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for head.safetensors and its manifest.")
    ],
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    minutes: Annotated[
        float, typer.Option(help="Time of this run; the learning rate falls to 0 over it.")
    ] = 60.0,
    epochs: Annotated[
        int, typer.Option(min=1, help="Most passes over the corpus, earlier runs included.")
    ] = 3,
    begin: Annotated[
        Path | None, typer.Option("--from", help="Head to start from when there is no state yet.")
    ] = None,
) -> None:
    """Train a draft head on a corpus, and write it as float16 with a manifest."""
    from serve.threads import use_threads

    use_threads(threads)
    from serve.model.linear import check_device
    from serve.model.loader import load_checkpoint, tokenizer_hash
    from serve.spec_decode.dart_head import load_head, save_head
    from serve.spec_decode.registry import HEAD
    from serve.spec_decode.training.train import Settings, Trainer

    where = check_device(device)
    checkpoint = load_checkpoint(model)
    known = tokenizer_hash(checkpoint.tokenizer)
    trainer = Trainer(
        state,
        checkpoint.config,
        checkpoint.tensors,
        corpus,
        Settings(),
        set(checkpoint.eos),
        begin=None if begin is None else load_head(begin, known).train(),
        device=where,
    )
    before = None if begin is None else hashlib.sha256(begin.read_bytes()).hexdigest()
    if minutes > 0:
        trainer.train(minutes, most_epochs=epochs, report=note)
    output.mkdir(parents=True, exist_ok=True)
    path = output / HEAD
    save_head(trainer.head, path, known)
    manifest = manifest_of(trainer, corpus, checkpoint.name, path) | {"begun_from": before}
    write_text(path.with_suffix(".json"), json.dumps(manifest, indent=1) + "\n")
    note(f"{path}: {path.stat().st_size:,} bytes")


def manifest_of(trainer: Any, corpus: Path, model: str, path: Path) -> dict[str, Any]:
    """What a trained head is made of."""
    from dataclasses import asdict

    from serve.spec_decode.training.train import tokens_in

    answers, tokens = tokens_in(corpus)
    return {
        "target": model,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "parameters": sum(p.numel() for p in trainer.head.parameters()),
        "head": asdict(trainer.head.config),
        "training": asdict(trainer.settings),
        "corpus": {
            "answers": answers,
            "answer_tokens": tokens,
            "coverage_of_reduced_vocabulary": trainer.coverage,
        },
        "steps": trainer.progress.steps,
        "answer_tokens_trained_on": trainer.progress.answer_tokens,
        "epochs_completed": trainer.progress.epoch,
        "seconds": round(trainer.progress.seconds),
        "curve": trainer.progress.curve,
        "commands": [
            "python draft/make_prompts.py --mirror FOLDER --each 2500 --exclude cell_sentences_fixed.jsonl "
            "--out prompts.jsonl --heldout draft/heldout.jsonl",
            "vckg-serve write-corpus prompts.jsonl --corpus CORPUS",
            "vckg-serve train-draft --corpus CORPUS --state STATE --output draft",
            "vckg-serve build-ngrams --corpus CORPUS --output draft/answers.ngram",
        ],
    }


def build_ngrams(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    corpus: Annotated[Path | None, typer.Option(help="Folder of write-corpus: its training answers.")] = None,
    text: Annotated[
        list[Path] | None, typer.Option(help="Text files, a document each; may be repeated.")
    ] = None,
    model: ModelOption = None,
    order: Annotated[int, typer.Option(min=1, max=8, help="Tokens of the longest n-gram.")] = 5,
    least: Annotated[int, typer.Option(min=1, help="Drop n-grams seen fewer times.")] = 2,
) -> None:
    """Count the n-grams of a corpus of answers, of text files, or of both, into one file."""
    from serve.model.loader import load_checkpoint, tokenizer_hash
    from serve.spec_decode.ngram_trie import Trie

    checkpoint = load_checkpoint(model)
    documents: list[list[int]] = []
    if corpus is not None:
        from serve.spec_decode.training.corpus import shard_paths
        from serve.spec_decode.training.train import Settings, read_shard

        for shard in shard_paths(corpus):
            for answer in read_shard(shard, heldout=False, every=Settings().heldout_every):
                documents.append(answer.tokens[answer.prompt_length :].tolist())
    for path in text or ():
        content = path.read_text(encoding="utf-8")
        documents.append(checkpoint.tokenizer(content, add_special_tokens=False)["input_ids"])
    if not documents:
        raise InputError("nothing to count: name --corpus or --text")
    vocabulary = checkpoint.config.vocab_size
    trie = Trie.build(documents, order, vocabulary, min(checkpoint.eos)).prune(least)
    trie.save(output, tokenizer_hash(checkpoint.tokenizer))
    note(
        f"{output}: {trie.nodes:,} n-grams of {sum(map(len, documents)):,} tokens, {output.stat().st_size:,} bytes"
    )
