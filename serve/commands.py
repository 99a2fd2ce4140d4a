"""`vckg-serve write-corpus`, `train-draft`, `build-ngrams` and `bench`: making draft heads and measuring servers."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from serve import application
from serve.application import Application
from serve.errors import InputError
from serve.vllm_plugins.command import export_vllm

bench = Application("bench", "Measure drafting, or a server under load.")

ModelOption = Annotated[
    Path | None,
    typer.Option("--model", "-m", help="Hugging Face folder or .gguf file; default: the embedded model."),
]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")]
CorpusOption = Annotated[Path, typer.Option("--corpus", help="Folder of shards, as write-corpus leaves it.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `vckg-serve`."""
    app.command()(write_corpus)
    app.command()(pack_answers)
    app.command()(train_draft)
    app.command()(build_ngrams)
    app.command()(plan)
    app.command()(export_vllm)
    app.add_typer(bench, name="bench")


def note(text: str) -> None:
    """One line of progress on stderr, with the time of day."""
    application.note(f"{time.strftime('%H:%M:%S')} {text}")


def write_text(path: Path, text: str) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def plan(
    online_trace: Annotated[
        Path, typer.Option(help="JSON lines of interactive requests: at_s, prompt_tokens, output_tokens.")
    ],
    batch: Annotated[int, typer.Option(min=0, help="Batch prompts waiting beside them.")] = 1000,
    slo: Annotated[float, typer.Option(help="Seconds a token within which a reader is content.")] = 0.2,
    allowance: Annotated[float, typer.Option(help="Seconds of response delay tolerated beyond that.")] = 1.0,
    attainment: Annotated[float, typer.Option(help="Share of interactive requests in time.")] = 0.99,
    batch_tokens: Annotated[float, typer.Option(help="Batch tokens a second wanted.")] = 0.0,
    seconds: Annotated[float, typer.Option(help="Length of the simulation.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Of the batch prompts.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Simulate how much batch work fits beside interactive users, and how many replicas that takes."""
    from dataclasses import asdict, replace

    import numpy as np

    from serve.capacity import Server, batch_prompts, read_trace, replicas_needed

    if slo <= 0 or seconds <= 0:
        raise InputError(f"--slo {slo:g} and --seconds {seconds:g} must be positive")
    server = Server()
    server = replace(server, echo=replace(server.echo, pace_s=slo, allowance_s=allowance))
    arrivals = [*read_trace(online_trace), *batch_prompts(np.random.default_rng(seed), batch)]
    n, rung = replicas_needed(server, arrivals, seconds, target=attainment, offline_tokens_s=batch_tokens)
    if as_json:
        typer.echo(json.dumps({"replicas": n, **asdict(rung)}, indent=1))
        return
    sys.stdout.write(
        f"simulated, step times of the order of the embedded model on two CPU cores\n"
        f"replicas           {n}\n"
        f"in time            {100 * rung.attainment:.1f} % of interactive requests\n"
        f"smooth goodput     {rung.smooth_goodput:.1f} tokens/s\n"
        f"batch work         {rung.offline_tokens_s:.0f} tokens/s, {rung.offline_requests} requests finished\n"
    )


def write_corpus(
    corpus: CorpusOption,
    prompts: Annotated[Path | None, typer.Argument(help="JSONL with `messages` and `workload`.")] = None,
    answers: Annotated[
        Path | None,
        typer.Option(help="File of pack-answers: these answers come first, without being written again."),
    ] = None,
    model: ModelOption = None,
    threads: ThreadsOption = None,
    minutes: Annotated[float, typer.Option(help="Stop after so long; a later run goes on.")] = 60.0,
    slots: Annotated[int, typer.Option(min=1, help="Answers that are decoded together.")] = 64,
    draws: Annotated[int, typer.Option(min=1, help="Answers a prompt: one greedy, the others drawn.")] = 2,
    longest_prompt: Annotated[int, typer.Option(min=1, help="Tokens; longer prompts are left out.")] = 288,
    length: Annotated[int, typer.Option(min=2, help="Most tokens of prompt and answer.")] = 512,
) -> None:
    """Let the model answer prompts, and keep its answers with what its layers held: the corpus of train-draft."""
    from serve.threads import use_threads

    use_threads(threads)
    from serve.dart import corpus as writing
    from serve.model import Model
    from serve.weights import load_checkpoint

    if prompts is None and answers is None:
        raise InputError("nothing to answer: name a file of prompts, --answers, or both")
    if prompts is not None and not prompts.is_file():
        raise InputError(f"{prompts}: no such file; wanted JSONL with `messages` and `workload`")
    checkpoint = load_checkpoint(model)
    whole = Model.load(checkpoint, "float16")
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
    from serve.dart.corpus import pack_answers as pack

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
    autoregressive: Annotated[bool, typer.Option(help="Train the EAGLE-style head instead.")] = False,
) -> None:
    """Train a draft head on a corpus, and write it as float16 with a manifest."""
    from serve.threads import use_threads

    use_threads(threads)
    from serve.dart.head import load_head, save_head
    from serve.dart.plug import EAGLE, HEAD
    from serve.dart.train import Settings, Trainer
    from serve.weights import load_checkpoint, tokenizer_hash

    checkpoint = load_checkpoint(model)
    known = tokenizer_hash(checkpoint.tokenizer)
    trainer = Trainer(
        state,
        checkpoint.config,
        checkpoint.tensors,
        corpus,
        Settings(),
        set(checkpoint.eos),
        autoregressive=autoregressive,
        begin=None if begin is None else load_head(begin, known).train(),
    )
    before = None if begin is None else hashlib.sha256(begin.read_bytes()).hexdigest()
    if minutes > 0:
        trainer.train(minutes, most_epochs=epochs, report=note)
    output.mkdir(parents=True, exist_ok=True)
    path = output / (EAGLE if autoregressive else HEAD)
    save_head(trainer.head, path, known)
    manifest = manifest_of(trainer, corpus, checkpoint.name, path) | {"begun_from": before}
    write_text(path.with_suffix(".json"), json.dumps(manifest, indent=1) + "\n")
    note(f"{path}: {path.stat().st_size:,} bytes")


def manifest_of(trainer: Any, corpus: Path, model: str, path: Path) -> dict[str, Any]:
    """What a trained head is made of."""
    from dataclasses import asdict

    from serve.dart.train import tokens_in

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
            "python data/serve/make_prompts.py --mirror FOLDER --each 2500 --exclude cell_sentences_fixed.jsonl "
            "--out prompts.jsonl --heldout data/serve/heldout.jsonl",
            "vckg-serve write-corpus prompts.jsonl --corpus CORPUS",
            "vckg-serve train-draft --corpus CORPUS --state STATE --output data/serve"
            + (" --autoregressive" if trainer.autoregressive else ""),
            "vckg-serve build-ngrams --corpus CORPUS --output data/serve/answers.ngram",
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
    from serve.dart.ngram import Trie
    from serve.weights import load_checkpoint, tokenizer_hash

    checkpoint = load_checkpoint(model)
    documents: list[list[int]] = []
    if corpus is not None:
        from serve.dart.corpus import shard_paths
        from serve.dart.train import Settings, read_shard

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


@bench.command()
def drafts(
    prompts: Annotated[Path, typer.Argument(help="JSONL with `messages` and `workload`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file for the figures.")],
    model: ModelOption = None,
    draft_folder: Annotated[
        Path | None,
        typer.Option("--draft-folder", help="Folder of the draft files; the embedded model has its own."),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="name:nodes, nodes a number or auto; may be repeated.")
    ] = None,
    precision: Annotated[str, typer.Option(help="Of the weights: float16 or float32.")] = "float16",
    threads: ThreadsOption = None,
    each: Annotated[int, typer.Option(min=1, help="Prompts per workload.")] = 8,
    batch: Annotated[int, typer.Option(min=1, help="Prompts answered together.")] = 1,
    max_tokens: Annotated[int, typer.Option(min=16, help="Tokens of an answer at most.")] = 128,
) -> None:
    """Measure draft methods against plain decoding, prompt by prompt, in the same engine."""
    from serve.threads import use_threads

    use_threads(threads)
    from serve import bench as measuring
    from serve.dart import plug
    from serve.model import Model
    from serve.weights import load_checkpoint

    checkpoint = load_checkpoint(model)
    folder = draft_folder or plug.draft_folder(checkpoint.name)
    names = method or ["lookup:8", "ngram:8", "head:8", "dart:1", "dart:8", "dart:16", "dart:59", "dart:auto"]
    result = measuring.measure_drafts(
        checkpoint,
        Model.load(checkpoint, precision),
        measuring.read_prompts(prompts, checkpoint.tokenizer, each),
        [parse_method(name) for name in names],
        folder,
        batch=batch,
        max_tokens=max_tokens,
        report=note,
    )
    write_text(output, json.dumps(result, indent=1) + "\n")
    for workload in result["methods"]:
        typer.echo(f"\n{workload}\n\n{measuring.table(result, workload)}")


@bench.command()
def search(ngrams: Annotated[Path, typer.Argument(help="N-gram file.")]) -> None:
    """Time the tree search at the paper's sizes with an n-gram file."""
    from serve.bench import time_search
    from serve.dart.ngram import Trie

    typer.echo(json.dumps(time_search(Trie.load(ngrams))))


def parse_method(text: str) -> Any:
    """Read ``name:nodes``."""
    from serve.bench import Method

    name, _, nodes = text.partition(":")
    if nodes not in ("", "auto") and not (nodes.isdigit() and int(nodes) > 0):
        raise InputError(f"--method {text!r}: nodes are a positive number or auto")
    return Method(name, int(nodes) if nodes.isdigit() else None)


@bench.command()
def load(
    output: Annotated[Path, typer.Option("--output", "-o", help="JSONL file for the timelines.")],
    prompts: Annotated[Path, typer.Argument(help="JSONL with `messages`.")],
    base_url: Annotated[
        str, typer.Option("--base-url", help="Base URL of an OpenAI-compatible server.")
    ] = "http://127.0.0.1:8000/v1",
    name: Annotated[str, typer.Option(help="Model name to ask for.")] = "SmolLM2-135M-Instruct",
    rate: Annotated[float | None, typer.Option(help="Poisson arrivals a second.")] = None,
    seconds: Annotated[float, typer.Option(help="Window of the arrivals.")] = 60.0,
    trace: Annotated[
        Path | None, typer.Option(help="File of arrivals in seconds, one a line, instead of --rate.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 128,
    patience: Annotated[float | None, typer.Option(help="Seconds after which a user goes away.")] = None,
    drain: Annotated[
        float, typer.Option(help="Seconds the measurement goes on after the last arrival.")
    ] = 30.0,
    seed: Annotated[int, typer.Option(help="Of the arrivals.")] = 0,
    tokenizer: Annotated[
        str, typer.Option(help="Model whose tokenizer counts (path; embedded; none: chunks count).")
    ] = "embedded",
    key_variable: Annotated[
        str, typer.Option(help="Environment variable with the API key.")
    ] = "OPENAI_API_KEY",
) -> None:
    """Send requests at their own times, whatever the server does, and write what each client saw."""
    import asyncio

    from serve import loadgen

    if (rate is None) == (trace is None):
        raise InputError("name one of --rate and --trace")
    arrivals = loadgen.read_trace(trace) if trace else loadgen.poisson(rate or 0.0, seconds, seed)
    if not len(arrivals):
        raise InputError(f"no arrival in {seconds:g} s at {rate:g} a second; raise --seconds or --rate")
    window = float(arrivals[-1]) if trace else seconds
    rows = [json.loads(line)["messages"] for line in prompts.read_text(encoding="utf-8").splitlines()]
    plan = loadgen.Load(base_url, name, rows, arrivals, max_tokens, patience=patience, drain=drain)
    served = asyncio.run(loadgen.drive(plan, counter(tokenizer), os.environ.get(key_variable)))
    settings = {
        "url": base_url,
        "model": name,
        "rate": rate if rate is not None else len(arrivals) / window,
        "window_s": window,
        "trace": str(trace) if trace else None,
        "seed": seed,
        "max_tokens": max_tokens,
        "patience": patience,
        "drain": drain,
        "tokenizer": tokenizer,
    }
    loadgen.write_served(output, served, settings)
    done = sum(s.timeline.ending.value == "finished" for s in served)
    late = max(s.late_s for s in served)
    note(
        f"{output}: {len(served)} requests, {done} finished; the generator was at most {1e3 * late:.0f} ms late"
    )


def counter(tokenizer: str) -> Callable[[str], int] | None:
    """Token counter of a model's tokenizer."""
    if tokenizer == "none":
        return None
    from serve.weights import load_checkpoint

    known = load_checkpoint(None if tokenizer == "embedded" else tokenizer).tokenizer

    def count(text: str) -> int:
        return len(known(text, add_special_tokens=False)["input_ids"])

    return count


@bench.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="JSONL files of `bench load`, one a load.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the figures.")] = None,
    pace: Annotated[float, typer.Option(help="V: seconds a token the user reads.")] = 0.2,
    allowance: Annotated[float, typer.Option(help="A: response delay tolerated beyond V i.")] = 1.0,
    ttft: Annotated[float, typer.Option(help="TTFT limit of the other measures.")] = 2.0,
    tpot: Annotated[float, typer.Option(help="TPOT limit of the other measures.")] = 0.2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Print smooth goodput and its relatives over loads as Markdown; draw the figures."""
    from serve import report as reporting
    from serve.loadgen import read_run

    read = []
    for path in runs:
        timelines, settings = read_run(path)
        read.append(reporting.Run(float(settings["rate"]), float(settings["window_s"]), tuple(timelines)))
    choices = reporting.Choices(pace, allowance, ttft, tpot)
    typer.echo(reporting.report_json(read, choices) if as_json else reporting.report(read, choices))
    if output is not None:
        for figure in reporting.figures(read, choices, output):
            note(str(figure))


@bench.command()
def servers(
    prompts: Annotated[Path, typer.Argument(help="JSONL with `messages`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file for what was measured.")],
    server: Annotated[list[str], typer.Option(help="LABEL=URL, or LABEL=URL#PID of a local one; repeat.")],
    name: Annotated[str, typer.Option(help="Model name to ask for.")] = "SmolLM2-135M-Instruct",
    closed: Annotated[
        str, typer.Option(help="Clients:requests of every closed loop.")
    ] = "1:4,4:12,8:16,32:48",
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a closed loop's answer.")] = 40,
    batch: Annotated[int, typer.Option(min=0, help="Clients of the batch; 0 leaves it out.")] = 32,
    batch_prompts: Annotated[int, typer.Option(min=1, help="Prompts of the batch at most.")] = 200,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a batch prompt's answer.")] = 16,
    shared: Annotated[int, typer.Option(min=1, help="Characters that the batch prompts share.")] = 4000,
    rates: Annotated[str, typer.Option(help="Requests a second of the open loops.")] = "0.5,1,2",
    seconds: Annotated[float, typer.Option(help="Window of the open loops' arrivals.")] = 12.0,
    drain: Annotated[float, typer.Option(help="Seconds of an open loop after its last arrival.")] = 8.0,
    open_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an open loop's answer.")] = 40,
    key_variable: Annotated[
        str, typer.Option(help="Environment variable with the API key.")
    ] = "OPENAI_API_KEY",
) -> None:
    """Measure running servers in turns: closed loops, a batch with a shared beginning, open loops."""
    from serve import compare as comparing

    try:
        at = {
            label: comparing.Address.parse(url, name, os.environ.get(key_variable))
            for label, url in (pair.rsplit("=", 1) for pair in server)
        }
        loops = [tuple(map(int, pair.split(":"))) for pair in closed.split(",") if pair]
        clients, requests = [a for a, _ in loops], [b for _, b in loops]
        arrivals = [float(rate) for rate in rates.split(",") if rate]
    except ValueError as error:
        raise InputError("wanted --server LABEL=URL, --closed 1:4,4:12 and --rates 0.5,1") from error
    plan = comparing.Plan(
        clients,
        requests,
        max_tokens,
        batch,
        batch_prompts,
        batch_tokens,
        shared,
        arrivals,
        seconds,
        drain,
        open_tokens,
    )
    rows = [json.loads(line)["messages"] for line in prompts.read_text(encoding="utf-8").splitlines()]
    comparing.write_servers(output, comparing.measure(at, rows, plan, note), plan)
    compare([output])


@bench.command()
def compare(
    files: Annotated[list[Path], typer.Argument(help="JSON files of `bench servers`.")],
) -> None:
    """Print the servers of one or several measurements side by side as Markdown."""
    from serve.compare import read_servers, table

    typer.echo(table(read_servers(files)))
