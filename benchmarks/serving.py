"""``python -m benchmarks.serving``: measure drafts, llama.cpp's too, the tree search, and running servers."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import compare_servers as comparing
from benchmarks import draft_methods as measuring
from benchmarks import llama_speculation as speculating
from benchmarks.draft_peers import NAMES
from benchmarks.llama_server import PACKAGE
from serve.atomic import write_text
from serve.command_app import Application, run
from serve.commands import ModelOption, ThreadsOption, note
from serve.errors import InputError, check_name
from serve.model.decoder import Model
from serve.model.loader import load_checkpoint
from serve.spec_decode import registry as plug
from serve.spec_decode.ngram_trie import Trie
from serve.threads import use_threads

NEVER_BELOW = 0.99
"""Of the speed of n-grams alone: what DART's automatic choice must reach in every workload."""

app = Application("benchmarks.serving", "Measure draft methods and running servers.")


@app.command()
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
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 is greedy.")] = 0.0,
    warm: Annotated[int, typer.Option(min=0, help="Prompts per workload that are answered before.")] = 0,
) -> None:
    """Measure draft methods against plain decoding, prompt by prompt, in the same engine."""
    use_threads(threads)

    names = method or ["lookup:8", "ngram:8", "head:8", "dart:1", "dart:8", "dart:16", "dart:59", "dart:auto"]
    methods = [parse_method(name) for name in names]
    checkpoint = load_checkpoint(model)
    folder = draft_folder or plug.draft_folder(checkpoint.name)
    taken = measuring.read_prompts(prompts, checkpoint.tokenizer, each)
    more = measuring.read_prompts(prompts, checkpoint.tokenizer, each + warm)
    result = measuring.measure_drafts(
        checkpoint,
        Model.load(checkpoint, precision),
        taken,
        methods,
        folder,
        batch=batch,
        max_tokens=max_tokens,
        temperature=temperature,
        warm=[prompt for prompt in more if prompt not in taken],
        report=note,
    )
    write_text(output, json.dumps(result, indent=1) + "\n")
    for workload in result["methods"]:
        typer.echo(f"\n{workload}\n\n{method_table(result, workload)}")
    ratios = automatic_ratios(result)
    for name, ratio in ratios.items():
        rows = result["methods"][name]
        best = max(
            (label for label in rows if label != "dart N=auto"), key=lambda label: rows[label]["speedup"]
        )
        typer.echo(
            f"{name}: dart N=auto is {ratio:.3f} times as fast as ngram N=auto, by processor time; by the clock "
            f"{rows['dart N=auto']['speedup'] / rows[best]['speedup']:.3f} times as fast as the best, {best}"
        )
    if losing := [name for name, ratio in ratios.items() if ratio < NEVER_BELOW]:
        raise InputError(
            f"the automatic choice loses to n-grams alone by more than a hundredth: {', '.join(losing)}"
        )


def automatic_ratios(result: dict[str, Any]) -> dict[str, float]:
    """How fast DART's automatic choice is beside that of n-grams alone, by processor time a token, per workload."""
    return {
        name: rows["ngram N=auto"]["cpu_ms_a_token"] / rows["dart N=auto"]["cpu_ms_a_token"]
        for name, rows in result["methods"].items()
        if {"ngram N=auto", "dart N=auto"} <= rows.keys()
    }


def method_table(result: dict[str, Any], workload: str) -> str:
    """One workload's methods as a Markdown table; drawn answers differ by chance, so those are not compared."""
    columns = ["answers", "tau", "nodes_a_round", "forwards_a_token", "draft_ms", "search_ms", "forward_ms"]
    columns += ["speedup", "speedup_cpu", "predicted", "predicted_flat"]
    columns += [] if result["temperature"] else ["different_answers"]
    heads = ["method", *(column.replace("_", " ") for column in columns)]
    rows = [[label, *(str(row[c]) for c in columns)] for label, row in result["methods"][workload].items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))


@app.command()
def search(ngrams: Annotated[Path, typer.Argument(help="N-gram file.")]) -> None:
    """Time the tree search at the paper's sizes with an n-gram file."""
    typer.echo(json.dumps(measuring.time_search(Trie.load(ngrams))))


def parse_method(text: str) -> measuring.Method:
    """Read ``name:nodes``."""
    name, _, nodes = text.partition(":")
    check_name("--method", name, NAMES)
    if nodes not in ("", "auto") and not (nodes.isdigit() and int(nodes) > 0):
        raise InputError(f"--method {text!r}: nodes are a positive number or auto")
    return measuring.Method(name, int(nodes) if nodes.isdigit() else None)


@app.command()
def llama(
    prompts: Annotated[Path, typer.Argument(help="JSONL with `messages` and `workload`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file for the figures.")],
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="A .gguf file; default: the embedded model.")
    ] = None,
    speculation: Annotated[
        list[str] | None, typer.Option(help="KIND or KIND:MATCH:DRAFT of llama.cpp; repeat.")
    ] = None,
    method: Annotated[list[str] | None, typer.Option(help="name:nodes of vckg-serve; repeat.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of either server.")] = 2,
    each: Annotated[int, typer.Option(min=1, help="Prompts per workload.")] = 8,
    max_tokens: Annotated[int, typer.Option(min=16, help="Tokens of an answer at most.")] = 48,
    warm: Annotated[int, typer.Option(min=0, help="Prompts per workload that are answered before.")] = 2,
    rows: Annotated[str, typer.Option(help="Rows of the passes that are timed.")] = "1,2,4,8,16",
) -> None:
    """Measure llama.cpp's n-gram speculation beside vckg-serve's drafts, each against its own plain decoding."""
    speculating.require_llama()
    kinds = [speculating.Speculation.parse(name) for name in speculation or speculating.DEFAULTS]
    methods = [parse_method(name) for name in method or ["lookup:5", "ngram:auto"]]
    try:
        sizes = sorted({1, *(int(n) for n in rows.split(","))})
    except ValueError as error:
        raise InputError(f"--rows {rows!r}: wanted numbers such as 1,2,4") from error
    use_threads(threads)
    checkpoint = load_checkpoint(model)
    if checkpoint.path.is_dir():
        raise InputError(f"{checkpoint.path}: not a .gguf file, which both servers can read")
    own = Model.load(checkpoint, "float16")
    taken = measuring.read_prompts(prompts, checkpoint.tokenizer, each)
    more = measuring.read_prompts(prompts, checkpoint.tokenizer, each + warm)
    folder = plug.draft_folder(checkpoint.name)
    course = measuring.Course(checkpoint, own, methods, folder, batch=1, max_tokens=max_tokens)
    asked = {(speculating.OWN, speculating.PLAIN): speculating.ask_own(course, course.plain)}
    asked |= {
        (speculating.OWN, one.label): speculating.ask_own(course, e) for one, e in course.engines.items()
    }
    before = [prompt for prompt in more if prompt not in taken]
    with ExitStack() as started:
        for kind in (None, *kinds):
            other = started.enter_context(speculating.Llama(checkpoint.path, threads, kind))
            label = kind.label if kind else speculating.PLAIN
            asked[speculating.OTHER, label] = speculating.ask_llama(other, max_tokens)
        tallies = speculating.measure(asked, taken, before, note)
    with speculating.Llama(checkpoint.path, threads, slots=max(sizes)) as many:
        costs = {
            speculating.OWN: measuring.cost_curve(own, sizes),
            speculating.OTHER: speculating.step_ms(many, taken, sizes, max_tokens),
        }
    write_text(output, speculating.as_json(tallies, costs, many.about))
    typer.echo(f"llama.cpp of {PACKAGE} {many.about['version']}: {many.about['built']}\n")
    typer.echo(f"{speculating.table(tallies)}\n\n{speculating.pass_table(costs)}")


@app.command()
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
    """Measure running servers in turns: closed loops, a batch with a shared prefix, open loops."""
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


@app.command()
def compare(
    files: Annotated[list[Path], typer.Argument(help="JSON files of `servers`.")],
) -> None:
    """Print the servers of one or several measurements side by side as Markdown."""
    typer.echo(comparing.table(comparing.read_servers(files)))


if __name__ == "__main__":
    run(app, "benchmarks.serving")
