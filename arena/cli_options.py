"""Options and arguments that several commands of ``arena`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

GraphOption = Annotated[Path | None, typer.Option("--graph", "-g", help="Folder of another graph.")]
TaskOption = Annotated[
    list[str] | None,
    typer.Option("--task", "-t", help="annotation, captioning, generation, perturbation, qa, or all."),
]
DataOption = Annotated[
    str, typer.Option("--dataset", "-d", help="fresh, sc-arena, sc-arena-compat, or cells (.jsonl).")
]
CompatOption = Annotated[str, typer.Option("--compat", help="'sc-arena': its public data, unchanged.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of the fresh set, of shuffles and of --limit.")]
LimitOption = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Samples per task.")]
ConnectionsOption = Annotated[int, typer.Option("--connections", min=1, help="Calls in flight.")]
TimeoutOption = Annotated[
    int, typer.Option("--timeout", min=1, help="Seconds for one attempt of a call; no retry begins later.")
]
RunsArgument = Annotated[list[Path], typer.Argument(help="Folders of runs.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
JudgeOption = Annotated[
    list[str] | None, typer.Option("--judge", "-j", help="Model that judges; repeat it for a panel.")
]
JudgeUrlOption = Annotated[str, typer.Option("--judge-base-url", help="OpenAI-compatible URL of the judges.")]
RepeatsOption = Annotated[
    int, typer.Option("--judge-repeats", min=1, help="Ratings of an answer by a judge.")
]
JudgeLimitOption = Annotated[
    int | None,
    typer.Option("--judge-limit", min=1, help="Samples per task whose answers are judged; the same for all."),
]
JudgeTokensOption = Annotated[int, typer.Option("--judge-max-tokens", min=1, help="Of a judge's reply.")]
CompatJudgeOption = Annotated[bool, typer.Option("--compat-judge", help="SC-Arena's 0-5 score, too.")]
OfficialOption = Annotated[
    Path | None, typer.Option("--official", help="SC-Arena's checkout: --compat sc-arena in its own words.")
]
