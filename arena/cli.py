"""``arena``: put single-cell tasks to models, judge the answers with knowledge, rank them with intervals."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arena.cli_data import check_command, data_command, form_command
from arena.cli_inputs import (
    check_tasks,
    dataset_name,
    load_graph,
    make_all_samples,
    official_words,
    programs,
    read_prices,
    samples_for,
    url_for,
)
from arena.cli_options import (
    CompatJudgeOption,
    CompatOption,
    ConnectionsOption,
    DataOption,
    GraphOption,
    JsonOption,
    JudgeLimitOption,
    JudgeOption,
    JudgeTokensOption,
    JudgeUrlOption,
    LimitOption,
    OfficialOption,
    RepeatsOption,
    RunsArgument,
    SeedOption,
    TaskOption,
    TimeoutOption,
)
from arena.cli_output import print_list, print_run, read_runs, write_page
from vckg.base.console import err, fail, run
from vckg.command_app import Application

if TYPE_CHECKING:
    from arena.contestants.resolve import Contestant
    from arena.official import Official
    from arena.runner.inspect_engine import Sampling
    from vckg.graph.graph import Graph

app = Application("arena", "Five single-cell tasks, judges with knowledge, a leaderboard with intervals.")


@app.command("run")
def run_command(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="gather, gather+MODEL, a baseline or a model; repeatable. Default: gather and the baselines.",
        ),
    ] = None,
    task: TaskOption = None,
    judge: JudgeOption = None,
    dataset: DataOption = "fresh",
    compat: CompatOption = "",
    official: OfficialOption = None,
    limit: LimitOption = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Number of times each sample is asked.")] = 1,
    base_url: Annotated[str, typer.Option("--base-url", help="OpenAI-compatible http://HOST:PORT/v1.")] = "",
    judge_base_url: JudgeUrlOption = "",
    compat_judge: CompatJudgeOption = False,
    judge_repeats: RepeatsOption = 1,
    judge_limit: JudgeLimitOption = None,
    judge_max_tokens: Annotated[
        int | None, typer.Option("--judge-max-tokens", min=1, help="A judge's; default: as --max-tokens.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of runs.")] = Path("runs"),
    graph: GraphOption = None,
    seed: SeedOption = 0,
    name: Annotated[str, typer.Option("--name", help="Name to show instead of the model's.")] = "",
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="0 is greedy.")] = 0.0,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Most tokens of an answer.")] = 2048,
    connections: ConnectionsOption = 10,
    timeout: TimeoutOption = 300,
    price: Annotated[str, typer.Option("--price", help="IN,OUT: US dollars per million tokens.")] = "",
    cache: Annotated[Path | None, typer.Option("--cache", help="File of replies that runs share.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask contestants every sample without an answer, then judge; the same command resumes."""
    from arena.contestants.resolve import resolve
    from arena.runner.inspect_engine import Sampling, open_model
    from arena.runner.run import Plan
    from arena.runner.run import run as run_plan
    from arena.tasks import parse_tasks
    from vckg.base.errors import InputError

    tasks = parse_tasks(task or ["all"])
    if not model and (base_url or name):
        raise InputError("--base-url and --name belong to a model; name it with --model")
    contestants = [resolve(m, base_url=url_for(m, base_url), name=name) for m in model or programs(tasks)]
    judges = [resolve(j, base_url=judge_base_url) for j in judge or ()]
    if name and len(contestants) > 1:
        raise InputError("--name fits one --model only")
    for contestant in contestants if model else ():  # before samples are made, which takes a minute
        check_tasks(contestant, tasks)
    prices = read_prices(price)
    data = dataset_name(dataset, compat)
    sampling = Sampling(temperature, max_tokens, None, connections, timeout)
    for one in (*(c for c in contestants if c.base_url or c.content), *judges):
        open_model(one, sampling)  # a dead server, a missing key, an unreadable file of answers
    loaded = load_graph(graph)
    data_name, samples = make_all_samples(data, loaded, tasks, seed, limit)
    words = official_words(official, data_name)
    samples = samples if words is None else words.asking(samples)
    taking_part = [c for c in contestants if model is not None or set(c.tasks) & set(samples)]
    asked = [samples_for(samples, contestant) for contestant in taking_part]  # refuse before anybody is asked
    facts, folders = [], []
    for contestant, of_contestant in zip(taking_part, asked, strict=True):
        plan = Plan(
            contestant,
            data_name,
            of_contestant,
            loaded.content_hash,
            lambda: loaded,
            seed=seed,
            limit=limit,
            epochs=epochs,
            sampling=sampling,
            prices=prices,
            cache=cache,
            command=shlex.join(["arena", *sys.argv[1:]]),
        )
        folder = run_plan(plan, output)
        by_judges = replace(sampling, max_tokens=judge_max_tokens or max_tokens)
        scales = words or compat_judge
        _judge_all(folder, judges, loaded, by_judges, scales, judge_repeats, judge_limit)
        facts.append(print_run(folder, as_json=as_json))
        folders.append(folder)
    if as_json:
        print(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        write_page(folders, _finished([output]), output / "report")


@app.command("score")
def score_command(
    runs: RunsArgument,
    judge: JudgeOption = None,
    judge_base_url: JudgeUrlOption = "",
    compat_judge: CompatJudgeOption = False,
    official: OfficialOption = None,
    judge_repeats: RepeatsOption = 1,
    judge_limit: JudgeLimitOption = None,
    judge_max_tokens: JudgeTokensOption = 2048,
    graph: GraphOption = None,
    connections: ConnectionsOption = 10,
    timeout: TimeoutOption = 300,
    as_json: JsonOption = False,
) -> None:
    """Score finished runs again, with the deterministic scores or a further judge."""
    from arena.contestants.resolve import resolve
    from arena.run_folder import read_manifest
    from arena.runner.inspect_engine import Sampling
    from arena.runner.run import check_graph, locked, write_scores

    judges = [resolve(j, base_url=judge_base_url) for j in judge or ()]
    folders = _finished(runs)
    loaded = load_graph(graph)
    sampling = Sampling(max_tokens=judge_max_tokens, connections=connections, timeout_s=timeout)
    facts = []
    for folder in folders:
        check_graph(folder, loaded)
        if not judges:
            with locked(folder):
                write_scores(folder, lambda: loaded)
        words = official_words(official, read_manifest(folder).dataset)
        _judge_all(folder, judges, loaded, sampling, words or compat_judge, judge_repeats, judge_limit)
        facts.append(print_run(folder, as_json=as_json))
    if as_json:
        print(json.dumps(facts, indent=1, ensure_ascii=False))


@app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """Show tasks, data sets and contestants."""
    from arena.datasets import DATASETS
    from arena.tasks import TASK_TABLE

    print_list({t.name: t.title for t in TASK_TABLE.values()}, DATASETS, as_json=as_json)


@app.command("report")
def report_command(
    runs: RunsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the report.")] = Path("report"),
    as_json: JsonOption = False,
) -> None:
    """Write the leaderboard of runs as HTML, Markdown and JSON."""
    from arena.report.html import write_report

    written = [str(path) for path in write_report(read_runs(_finished(runs), runs), output)]
    print(json.dumps(written) if as_json else "\n".join(written))


def _finished(runs: list[Path]) -> list[Path]:
    """Return the runs with answers among and below folders; those without are named and left out."""
    from arena.run_folder import find_runs, finished
    from vckg.base.errors import InputError

    folders, unfinished = finished(find_runs(runs), runs)
    for folder in unfinished:
        said = f"{folder} is not finished and is left out; its `arena run` command goes on"
        err().print(said, soft_wrap=True)
    if not folders:
        raise InputError(f"{runs[0]}: no run with answers; finish one with its `arena run` command")
    return folders


@app.command("compare")
def compare_command(
    a: Annotated[Path, typer.Argument(help="Run, or folder of one contestant's runs.")],
    b: Annotated[Path, typer.Argument(help="Those to compare it with.")],
    as_json: JsonOption = False,
) -> None:
    """Compare two contestants sample by sample: differences with intervals and paired tests."""
    from arena.leaderboard.compare import compare
    from arena.run_folder import read_run
    from vckg.base.errors import InputError

    sides = []
    for path in (a, b):
        runs = [read_run(folder) for folder in _finished([path])]
        if len({run.manifest.contestant for run in runs}) > 1:
            names = ", ".join(Path(run.folder).name for run in runs)
            raise InputError(f"{path}: runs of several contestants in it, name one: {names}")
        sides.append(runs)
    compared = compare(*sides)
    print(compared.json() if as_json else compared.text())


@app.command("judge-check")
def judge_check_command(
    judge: Annotated[str, typer.Option("--judge", "-j", help="Default: the knowledge judge.")] = "",
    judge_base_url: JudgeUrlOption = "",
    dataset: DataOption = "fresh",
    task: TaskOption = None,
    limit: LimitOption = 20,
    seed: SeedOption = 0,
    graph: GraphOption = None,
    judge_max_tokens: JudgeTokensOption = 2048,
    connections: ConnectionsOption = 10,
    timeout: TimeoutOption = 300,
    as_json: JsonOption = False,
) -> None:
    """Check that a judge is fair: rate ladders of known answers (gold, synonym, parent, ... empty) and tricks.

    The exit code is 1 where a trick earns more than a half-right answer, where orders in an answer gain, or where
    silence gets as much as the reference.
    """
    from arena.contestants.resolve import resolve
    from arena.judging.meta_eval import check
    from arena.runner.inspect_engine import Sampling, open_generate
    from arena.tasks import parse_tasks

    tasks = parse_tasks(task or ["all"])
    judge_model = resolve(judge, base_url=judge_base_url) if judge else None
    loaded = load_graph(graph)
    _name, samples = make_all_samples(dataset_name(dataset, ""), loaded, tasks, seed, limit)
    listed = [s for group in samples.values() for s in group]
    sampling = Sampling(max_tokens=judge_max_tokens, connections=connections, timeout_s=timeout)
    generate = open_generate(judge_model, sampling) if judge_model else None
    found = check(
        loaded,
        samples=listed,
        generate=generate,
        judge_id=judge_model.name if judge_model else "knowledge",
        seed=seed,
        connections=connections,
    )
    print(found.json() if as_json else found.text())
    if found.fooled or found.unfair:
        raise typer.Exit(1)


for named, command in (("data", data_command), ("form", form_command), ("check", check_command)):
    app.command(named)(command)


def main() -> None:
    """Run the command line."""
    try:
        run(app, "arena")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("inspect_ai", "evalica"):
            raise
        fail("arena", f"{error.name} is not installed; pip install 'vckg[arena]'")


# ---- shared by the commands -------------------------------------------------------------------------------


def _judge_all(
    folder: Path,
    judges: Sequence[Contestant],
    graph: Graph,
    sampling: Sampling,
    compat: bool | Official,
    repeats: int,
    limit: int | None,
) -> None:
    """Ask every judge of the panel; with `compat` once more on SC-Arena's scale, or only on it in its own words."""
    from arena.runner.judge import judge

    official = None if isinstance(compat, bool) else compat
    scales = (True,) if official else (False, True) if compat else (False,)
    for judge_model in judges:
        for scale in scales:
            judge(
                folder,
                judge_model,
                lambda: graph,
                compat=scale,
                official=official,
                repeats=repeats,
                limit=limit,
                sampling=sampling,
            )
