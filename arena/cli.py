"""``arena``: put single-cell tasks to models, judge the answers with knowledge, count them with intervals."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vckg.base.console import err, fail, out, run
from vckg.command_app import Application

if TYPE_CHECKING:
    from arena.contestants.resolve import Contestant
    from arena.runner.inspect_engine import Sampling
    from arena.types import Sample, TaskName
    from vckg.graph.graph import Graph

app = Application("arena", "Five single-cell tasks, judges with knowledge, a leaderboard with intervals.")

GraphOption = Annotated[
    Path | None, typer.Option("--graph", "-g", help="Graph folder; the default graph without.")
]
TaskOption = Annotated[
    list[str] | None,
    typer.Option("--task", "-t", help="annotation, captioning, generation, perturbation, qa, or all."),
]
DataOption = Annotated[
    str, typer.Option("--dataset", "-d", help="fresh, sc-arena, or a .jsonl file of virtual cells.")
]
CompatOption = Annotated[str, typer.Option("--compat", help="'sc-arena': its public data untouched.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Of the fresh set, of shuffles, of --limit.")]
LimitOption = Annotated[int | None, typer.Option("--limit", "-n", help="Samples per task.")]
ConnectionsOption = Annotated[int, typer.Option("--connections", min=1, help="Calls in flight.")]
TimeoutOption = Annotated[
    int, typer.Option("--timeout", min=1, help="Seconds a call may take, retries included.")
]
RunsArgument = Annotated[list[Path], typer.Argument(help="Folders of runs.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
JudgeOption = Annotated[
    list[str] | None,
    typer.Option("--judge", "-j", help="A model that judges every answer; repeat for a panel."),
]
JudgeUrlOption = Annotated[str, typer.Option("--judge-base-url", help="OpenAI-compatible URL of the judges.")]
RepeatsOption = Annotated[
    int, typer.Option("--judge-repeats", min=1, help="Ratings of one answer by each judge, averaged.")
]
JudgeLimitOption = Annotated[
    int | None,
    typer.Option("--judge-limit", min=1, help="Samples a task whose answers are judged; the same for all."),
]
JudgeTokensOption = Annotated[
    int, typer.Option("--judge-max-tokens", min=1, help="Tokens of a judge's reply at most.")
]
CompatJudgeOption = Annotated[
    bool, typer.Option("--compat-judge", help="The judges also give SC-Arena's 0-5 score, apart from ours.")
]


@app.command("run")
def run_command(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="gather, gather+MODEL, a baseline, or a model; repeatable. gather and the baselines without.",
        ),
    ] = None,
    task: TaskOption = None,
    judge: JudgeOption = None,
    dataset: DataOption = "fresh",
    compat: CompatOption = "",
    limit: LimitOption = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Times each sample is asked.")] = 1,
    base_url: Annotated[
        str, typer.Option("--base-url", help="OpenAI-compatible URL, e.g. http://127.0.0.1:8000/v1.")
    ] = "",
    judge_base_url: JudgeUrlOption = "",
    compat_judge: CompatJudgeOption = False,
    judge_repeats: RepeatsOption = 1,
    judge_limit: JudgeLimitOption = None,
    judge_max_tokens: Annotated[
        int | None,
        typer.Option("--judge-max-tokens", min=1, help="Tokens of a judge's reply; as --max-tokens without."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of runs.")] = Path("runs"),
    graph: GraphOption = None,
    seed: SeedOption = 0,
    name: Annotated[str, typer.Option("--name", help="Shown instead of the model's name.")] = "",
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="0 is greedy.")] = 0.0,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="Tokens of an answer at most.")
    ] = 2048,
    connections: ConnectionsOption = 10,
    timeout: TimeoutOption = 300,
    price: Annotated[str, typer.Option("--price", help="IN,OUT: US dollars per million tokens.")] = "",
    cache: Annotated[
        Path | None, typer.Option("--cache", help="File of paid replies to share between runs.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask contestants every sample that has no answer yet, then judge; the same command resumes."""
    from arena.contestants.resolve import resolve
    from arena.runner.inspect_engine import Sampling, open_model
    from arena.runner.run import Plan
    from arena.runner.run import run as run_plan
    from arena.tasks import parse_tasks
    from vckg.base.errors import InputError

    tasks = parse_tasks(task or ["all"])
    if not model and (base_url or name):
        raise InputError("--base-url and --name are those of a model; name it with --model")
    contestants = [resolve(m, base_url=_url_for(m, base_url), name=name) for m in model or _programs(tasks)]
    judges = [resolve(j, base_url=judge_base_url) for j in judge or ()]
    if name and len(contestants) > 1:
        raise InputError("--name fits one --model only")
    data = _dataset(dataset, compat)
    loaded = _load_graph(graph)
    data_name, samples = _samples(data, loaded, tasks, seed, limit)
    sampling = Sampling(temperature, max_tokens, None, connections, timeout)
    for judge_model in judges:  # a judge's dead server or missing key is said before anybody is asked
        open_model(judge_model, sampling)
    told, folders = [], []
    for contestant in contestants:
        if model is None and not set(contestant.tasks) & set(samples):
            continue
        plan = Plan(
            contestant,
            data_name,
            _mine(samples, contestant),
            loaded.content_hash,
            lambda: loaded,
            seed=seed,
            limit=limit,
            epochs=epochs,
            sampling=sampling,
            prices=_prices(price),
            cache=cache,
            command=_command(),
        )
        folder = run_plan(plan, output)
        by_judges = replace(sampling, max_tokens=judge_max_tokens or max_tokens)
        _judge_all(folder, judges, loaded, by_judges, compat_judge, judge_repeats, judge_limit)
        told.append(_tell(folder, as_json=as_json))
        folders.append(folder)
    if as_json:
        print(json.dumps(told, indent=1, ensure_ascii=False))
    else:
        _show_table(folders, output / "report")


@app.command("score")
def score_command(
    runs: RunsArgument,
    judge: JudgeOption = None,
    judge_base_url: JudgeUrlOption = "",
    compat_judge: CompatJudgeOption = False,
    judge_repeats: RepeatsOption = 1,
    judge_limit: JudgeLimitOption = None,
    judge_max_tokens: JudgeTokensOption = 2048,
    graph: GraphOption = None,
    connections: ConnectionsOption = 10,
    timeout: TimeoutOption = 300,
    as_json: JsonOption = False,
) -> None:
    """Score finished runs again: the deterministic scores, and those of a further judge."""
    from arena.contestants.resolve import resolve
    from arena.runner.inspect_engine import Sampling
    from arena.runner.run import check_graph, locked, write_scores
    from arena.runner.run_folder import find_runs

    judges = [resolve(j, base_url=judge_base_url) for j in judge or ()]
    folders = find_runs(runs)
    loaded = _load_graph(graph)
    sampling = Sampling(max_tokens=judge_max_tokens, connections=connections, timeout_s=timeout)
    told = []
    for folder in folders:
        check_graph(folder, loaded)
        if not judges:
            with locked(folder):
                write_scores(folder, lambda: loaded)
        _judge_all(folder, judges, loaded, sampling, compat_judge, judge_repeats, judge_limit)
        told.append(_tell(folder, as_json=as_json))
    if as_json:
        print(json.dumps(told, indent=1, ensure_ascii=False))


@app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """Show tasks, data sets and contestants."""
    from arena.contestants.baselines import BASELINES
    from arena.datasets import DATASETS
    from arena.tasks import TASK_TABLE

    contestants = {
        "gather": "the graph alone: walks for cells, edges for the rest",
        "gather+MODEL": "a model that reads gather's evidence before the question",
        "PROVIDER/NAME": "any model of the run engine: openai/gpt-4o-mini, ollama/llama3.2, hf/ORG/NAME ...",
        "NAME --base-url URL": "any model behind an OpenAI-compatible URL",
        "replay:FILE": "answers from JSON lines with sample_id and text",
        **{name: f"baseline: {b.title} ({', '.join(b.tasks)})" for name, b in BASELINES.items()},
    }
    listed: dict[str, dict[str, str]] = {
        "tasks": {t.name: t.title for t in TASK_TABLE.values()},
        "datasets": DATASETS,
        "contestants": contestants,
    }
    if as_json:
        print(json.dumps(listed, indent=1))
        return
    for title, rows in listed.items():
        print(title)
        for key, text in rows.items():
            print(f"  {key:22} {text}")


@app.command("data")
def data_command(
    dataset: DataOption = "fresh",
    compat: CompatOption = "",
    task: TaskOption = None,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    graph: GraphOption = None,
    example: Annotated[bool, typer.Option("--example", help="Show one whole sample of each task.")] = False,
    cells: Annotated[
        Path | None, typer.Option("--cells", help="Write the virtual cells as JSON lines.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a data set holds: samples by task and stratum, clusters, hash."""
    from arena.datasets import make_cells, make_samples
    from arena.datasets.virtual_cell import write_cells
    from arena.runner.run_folder import write_atomic
    from arena.tasks import parse_tasks, render
    from arena.types import samples_sha256

    tasks = parse_tasks(task or ["all"])
    name, made = make_cells(_dataset(dataset, compat), _load_graph(graph), seed=seed)
    samples = make_samples(made, tasks, seed=seed, limit=limit)
    _say_missing(name, tasks, samples)
    if cells is not None:
        write_atomic(cells, write_cells(made))
    summary: dict[str, Any] = {"dataset": name, "seed": seed, "virtual_cells": len(made), "tasks": {}}
    for task_name, listed in samples.items():
        strata: dict[str, dict[str, int]] = {}
        for sample in listed:
            for key, value in sample.strata.items():
                strata.setdefault(key, {})[value] = strata.get(key, {}).get(value, 0) + 1
        summary["tasks"][task_name] = {
            "samples": len(listed),
            "clusters": len({s.cluster for s in listed}),
            "strata": {k: dict(sorted(v.items(), key=lambda kv: (-kv[1], kv[0]))) for k, v in strata.items()},
            "sha256": samples_sha256(listed),
        }
    if as_json:
        print(json.dumps(summary, indent=1, ensure_ascii=False))
    else:
        _print_summary(summary)
    if example:
        for listed in samples.values():
            print(
                f"\n=== {listed[0].id}\n{render(listed[0])}\n--- gold\n{json.dumps(listed[0].gold, ensure_ascii=False)}"
            )


@app.command("report")
def report_command(
    runs: RunsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the report.")] = Path("report"),
    as_json: JsonOption = False,
) -> None:
    """Write the leaderboard of runs as HTML, Markdown and JSON."""
    from arena.report.html import write_report
    from arena.runner.run_folder import find_runs, finished, read_run
    from vckg.base.errors import InputError

    folders, unfinished = finished(find_runs(runs), runs)
    for folder in unfinished:
        err().print(f"{folder} has no answers yet and is left out", highlight=False)
    if not folders:
        raise InputError(f"{runs[0]}: no run with answers; finish one with its `arena run` command")
    written = [str(path) for path in write_report([read_run(folder) for folder in folders], output)]
    print(json.dumps(written) if as_json else "\n".join(written))


@app.command("compare")
def compare_command(
    a: Annotated[Path, typer.Argument(help="One run.")],
    b: Annotated[Path, typer.Argument(help="Another run.")],
    as_json: JsonOption = False,
) -> None:
    """Compare two runs sample by sample: differences with intervals and paired tests."""
    from arena.leaderboard.compare import compare
    from arena.runner.run_folder import find_runs, read_run
    from vckg.base.errors import InputError

    pair = []
    for path in (a, b):
        found = find_runs([path])
        if len(found) > 1:
            raise InputError(f"{path}: {len(found)} runs in it, name one: {', '.join(p.name for p in found)}")
        pair.append(read_run(found[0]))
    compared = compare(pair[0], pair[1])
    print(compared.json() if as_json else compared.text())


@app.command("judge-check")
def judge_check_command(
    judge: Annotated[str, typer.Option("--judge", "-j", help="A model; the knowledge judge without.")] = "",
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
    """Score a ladder of answers (gold, synonym, parent, sibling, wrong, empty, injected, verbose) and of tricks: is the
    judge fair? Exit code 1 where a trick earns more than a half-right answer.
    """
    from arena.contestants.resolve import resolve
    from arena.judging.meta_eval import check
    from arena.runner.inspect_engine import Sampling, open_generate
    from arena.tasks import parse_tasks

    tasks = parse_tasks(task or ["all"])
    judge_model = resolve(judge, base_url=judge_base_url) if judge else None
    loaded = _load_graph(graph)
    _name, samples = _samples(_dataset(dataset, ""), loaded, tasks, seed, limit)
    listed = [s for group in samples.values() for s in group]
    sampling = Sampling(max_tokens=judge_max_tokens, connections=connections, timeout_s=timeout)
    generate = open_generate(judge_model, sampling) if judge_model else None
    found = check(
        loaded,
        samples=listed,
        generate=generate,
        judge_id=judge_model.name if judge_model else "knowledge",
        connections=connections,
    )
    print(found.json() if as_json else found.text())
    if found.fooled:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line."""
    try:
        run(app, "arena")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("inspect_ai", "evalica", "sklearn"):
            raise
        fail("arena", f"{error.name} is not installed; pip install 'vckg[arena]'")


# ---- what the commands share
# --------------------------------------------------------------------------------------


def _load_graph(folder: Path | None) -> Graph:
    import vckg

    return vckg.load(folder)


def _dataset(dataset: str, compat: str) -> str:
    from vckg.base.errors import InputError

    if not compat:
        return dataset
    if compat != "sc-arena" or dataset not in ("fresh", "sc-arena", "sc-arena-compat"):
        raise InputError(
            f"--compat {compat!r}: only 'sc-arena' has an untouched form; write --compat sc-arena"
        )
    return "sc-arena-compat"


def _samples(
    dataset: str, graph: Graph, tasks: Sequence[TaskName], seed: int, limit: int | None
) -> tuple[str, dict[TaskName, list[Sample]]]:
    from arena.datasets import make_cells, make_samples
    from vckg.base.console import progress
    from vckg.base.errors import InputError

    with progress(f"making samples ({dataset})"):
        name, cells = make_cells(dataset, graph, seed=seed)
        samples = make_samples(cells, tasks, seed=seed, limit=limit)
    if not samples:
        raise InputError(
            f"{dataset}: its cells allow none of the tasks {', '.join(tasks)}; see `arena data -d {dataset}`"
        )
    _say_missing(name, tasks, samples)
    return name, samples


def _say_missing(name: str, tasks: Sequence[TaskName], samples: Mapping[TaskName, list[Sample]]) -> None:
    """Name the tasks asked for that the cells do not allow; a table with fewer columns must not come unannounced."""
    for task in tasks:
        if task not in samples:
            why = ""
            if (name, task) == ("fresh", "perturbation"):
                why = ": the graph holds no signed regulations; `vckg build --profile full` adds them"
            err().print(f"{name} has no {task} samples{why}", highlight=False)


def _programs(tasks: Sequence[TaskName]) -> list[str]:
    """What needs no model: retrieval, and the baselines that take part in one of the tasks."""
    from arena.contestants.baselines import BASELINES
    from arena.leaderboard.ranking import CEILING

    return ["gather", *(n for n, b in BASELINES.items() if n != CEILING and set(b.tasks) & set(tasks))]


def _show_table(folders: Sequence[Path], into: Path) -> None:
    """Print the main scores of some runs and where their page is."""
    from arena.leaderboard.build import build
    from arena.report.html import write_report
    from arena.report.summary import table_lines
    from arena.runner.run_folder import read_run

    runs = [read_run(folder) for folder in folders]
    page = write_report(runs, into)[0]
    console = out()
    for group in build(runs).groups:
        for line in table_lines(group):
            console.print(line, highlight=False, markup=False)
    console.print(str(page), highlight=False, soft_wrap=True)


def _url_for(model: str, base_url: str) -> str:
    """The URL is the models', not the baselines' or the graph's."""
    from arena.contestants.baselines import BASELINES

    return "" if model in BASELINES or model == "gather" or model.startswith("replay:") else base_url


def _mine(samples: Mapping[TaskName, list[Sample]], contestant: Contestant) -> dict[TaskName, list[Sample]]:
    """The samples of the tasks that the contestant takes part in."""
    from vckg.base.errors import InputError

    mine = {task: listed for task, listed in samples.items() if task in contestant.tasks}
    if not mine:
        asked = ", ".join(samples)
        raise InputError(
            f"{contestant.name} takes part in {', '.join(contestant.tasks)} only, not in {asked}"
        )
    return mine


def _judge_all(
    folder: Path,
    judges: Sequence[Contestant],
    graph: Graph,
    sampling: Sampling,
    compat: bool,
    repeats: int,
    limit: int | None,
) -> None:
    """Every judge of the panel, and where asked each of them once more on SC-Arena's scale."""
    from arena.runner.run import judge

    for judge_model in judges:
        for scale in (False, True) if compat else (False,):
            judge(
                folder,
                judge_model,
                lambda: graph,
                compat=scale,
                repeats=repeats,
                limit=limit,
                sampling=sampling,
            )


def _prices(text: str) -> tuple[float, float] | None:
    from vckg.base.errors import InputError

    if not text:
        return None
    try:
        price_in, price_out = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--price {text!r}: wanted two numbers, e.g. --price 0.15,0.60") from None
    return price_in, price_out


def _command() -> str:
    return shlex.join(["arena", *sys.argv[1:]])


def _print_summary(summary: dict[str, Any]) -> None:
    print(f"{summary['dataset']}: {summary['virtual_cells']:,} virtual cells, seed {summary['seed']}")
    for task, row in summary["tasks"].items():
        print(
            f"{task:13} {row['samples']:5,} samples in {row['clusters']:,} clusters  sha256 {row['sha256'][:12]}"
        )
        for key, counts in row["strata"].items():
            shown = ", ".join(f"{value} {n:,}" for value, n in list(counts.items())[:12])
            print(f"{'':13} {key}: {shown}{' ...' if len(counts) > 12 else ''}")


def _tell(folder: Path, *, as_json: bool) -> dict[str, Any]:
    """The facts of a run; without JSON also one line a task: answers, in format, failed, mean scores."""
    from arena.report.summary import run_facts, task_lines
    from arena.runner.inspect_engine import Sampling
    from arena.runner.run_folder import read_run

    finished = read_run(folder)
    if not as_json:
        console = out()
        console.print(f"{folder}", highlight=False)
        for line in task_lines(finished):
            console.print(f"  {line}", highlight=False)
    if failed := [a.error for a in finished.answers if a.error]:
        tries = Sampling().retries + 1
        err().print(
            f"{len(failed)} samples have no answer after {tries} tries each ({failed[0]}); "
            "the same command asks them again",
            highlight=False,
            markup=False,
        )
    return run_facts(finished)
