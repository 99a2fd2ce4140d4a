"""`vckg-serve bench`: measuring drafts, one server under load, and servers side by side."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from serve.atomic import write_text
from serve.command_app import Application
from serve.commands import ModelOption, ThreadsOption, note
from serve.errors import InputError, check_name
from serve.spec_decode import METHODS

bench = Application("bench", "Measure drafting, or a server under load.")


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
    from serve.bench import drafting as measuring
    from serve.model.decoder import Model
    from serve.model.loader import load_checkpoint
    from serve.spec_decode import registry as plug

    names = method or ["lookup:8", "ngram:8", "head:8", "dart:1", "dart:8", "dart:16", "dart:59", "dart:auto"]
    methods = [parse_method(name) for name in names]
    checkpoint = load_checkpoint(model)
    folder = draft_folder or plug.draft_folder(checkpoint.name)
    result = measuring.measure_drafts(
        checkpoint,
        Model.load(checkpoint, precision),
        measuring.read_prompts(prompts, checkpoint.tokenizer, each),
        methods,
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
    from serve.bench.drafting import time_search
    from serve.spec_decode.ngram_trie import Trie

    typer.echo(json.dumps(time_search(Trie.load(ngrams))))


def parse_method(text: str) -> Any:
    """Read ``name:nodes``."""
    from serve.bench.drafting import Method

    name, _, nodes = text.partition(":")
    check_name("--method", name, METHODS)
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

    from serve.bench import loadgen

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
    from serve.model.loader import load_checkpoint

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
    from serve.bench import report as reporting
    from serve.bench.loadgen import read_run

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
    from serve.bench import servers as comparing

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
    from serve.bench.servers import read_servers, table

    typer.echo(table(read_servers(files)))
