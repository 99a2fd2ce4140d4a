"""``python -m benchmarks.load``: measure any OpenAI-compatible server under load."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from serve.command_app import Application, run
from serve.commands import note
from serve.errors import InputError

app = Application("benchmarks.load", "Measure an OpenAI-compatible server under load.")


@app.command()
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
    patience: Annotated[float | None, typer.Option(help="Seconds after which a user gives up.")] = None,
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
    """Send requests at fixed times, and write the timeline of each client."""
    import asyncio

    from benchmarks.load import generator as loadgen

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


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="JSONL files of `load`, one a load.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the figures.")] = None,
    pace: Annotated[float, typer.Option(help="V: seconds a token the user reads.")] = 0.2,
    allowance: Annotated[float, typer.Option(help="A: response delay tolerated beyond V i.")] = 1.0,
    ttft: Annotated[float, typer.Option(help="TTFT limit of the other measures.")] = 2.0,
    tpot: Annotated[float, typer.Option(help="TPOT limit of the other measures.")] = 0.2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Print smooth goodput and related measures over loads as Markdown; draw the figures."""
    from benchmarks.load import report as reporting
    from benchmarks.load.generator import read_run

    read = []
    for path in runs:
        timelines, settings = read_run(path)
        read.append(reporting.Run(float(settings["rate"]), float(settings["window_s"]), tuple(timelines)))
    choices = reporting.Choices(pace, allowance, ttft, tpot)
    typer.echo(reporting.report_json(read, choices) if as_json else reporting.report(read, choices))
    if output is not None:
        for figure in reporting.figures(read, choices, output):
            note(str(figure))


if __name__ == "__main__":
    run(app, "benchmarks.load")
