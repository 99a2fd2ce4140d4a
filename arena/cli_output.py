"""Texts that the commands of ``arena`` print: runs, tables, data sets, contestants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vckg.base.console import err, out
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from arena.types import Run, Sample, TaskName


def print_list(
    tasks: Mapping[str, str],
    datasets: Mapping[str, str],
    *,
    as_json: bool,
) -> None:
    """Print tasks, data sets and contestants with one line on each."""
    from arena.contestants.baselines import BASELINES
    from arena.contestants.resolve import RETRIEVAL_TASKS

    every = "every task"
    described = {
        "gather": ("the graph alone: walks for cells, edges for the rest", ", ".join(RETRIEVAL_TASKS)),
        "gather+MODEL": ("a model that reads gather's evidence before the question", every),
        "tools+MODEL": ("a model that may call the graph's tools: explain, node, path", every),
        "PROVIDER/NAME": (
            "a model of the run engine: openai/gpt-4o-mini, ollama/llama3.2, hf/ORG/NAME",
            every,
        ),
        "NAME --base-url URL": ("any model behind an OpenAI-compatible URL", every),
        "replay:FILE": ("answers from JSON lines with sample_id and text", every),
        **{name: (f"baseline: {b.title}", ", ".join(b.tasks)) for name, b in BASELINES.items()},
    }
    contestants = {name: f"{title} ({theirs})" for name, (title, theirs) in described.items()}
    listed = {"tasks": tasks, "datasets": datasets, "contestants": contestants}
    if as_json:
        print(json.dumps(listed, indent=1))
        return
    for title, rows in listed.items():
        print(title)
        for key, text in rows.items():
            print(f"  {key:22} {text}")


def say_missing(name: str, tasks: Sequence[TaskName], samples: Mapping[TaskName, list[Sample]]) -> None:
    """Name the tasks that the cells do not allow, so that no column of a table is missing without a word."""
    for task in tasks:
        if task not in samples:
            err().print(f"{name} has no {task} samples{reason_missing(name, task)}")


def say_replayed(path: Path, samples: Sequence[Sample]) -> None:
    """Say which samples a file leaves without a readable answer, and which of its answers are read for none.

    Raises
    ------
    InputError
        It answers none of the samples: the data set or the seed is another one.
    """
    from arena.submission import check_submission

    found = check_submission(path, samples)
    if not found.answered:
        raise InputError(
            f"{path}: answers none of these samples ({len(samples)}); give --dataset, --seed and --task of its answers"
        )
    for line in found.lines():
        err().print(f"{path}: {line}", soft_wrap=True)


def reason_missing(name: str, *tasks: TaskName) -> str:
    """Return why a data set has no samples of some tasks and what to do, as the end of a sentence."""
    if name != "fresh" or "qa" in tasks:
        return ""
    return ": no file of real cells here allows it; name a mirror in VCKG_MIRROR, or `arena data --add FILE`"


def summarise(name: str, seed: int, n_cells: int, samples: Mapping[TaskName, list[Sample]]) -> dict[str, Any]:
    """Return sizes, clusters, strata and hash of the samples of each task."""
    from arena.types import samples_sha256

    tasks: dict[str, Any] = {}
    for task, listed in samples.items():
        strata: dict[str, dict[str, int]] = {}
        for sample in listed:
            for key, value in sample.strata.items():
                strata.setdefault(key, {})[value] = strata.get(key, {}).get(value, 0) + 1
        tasks[task] = {
            "samples": len(listed),
            "clusters": len({s.cluster for s in listed}),
            "strata": {k: dict(sorted(v.items(), key=lambda kv: (-kv[1], kv[0]))) for k, v in strata.items()},
            "sha256": samples_sha256(listed),
        }
    return {"dataset": name, "seed": seed, "virtual_cells": n_cells, "tasks": tasks}


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the summary of a data set, a few lines a task."""
    print(f"{summary['dataset']}: {summary['virtual_cells']:,} virtual cells, seed {summary['seed']}")
    for task, row in summary["tasks"].items():
        sizes = f"samples {row['samples']:5,}  clusters {row['clusters']:5,}"
        print(f"{task:13} {sizes}  sha256 {row['sha256'][:12]}")
        for key, counts in row["strata"].items():
            shown = ", ".join(f"{value} {n:,}" for value, n in list(counts.items())[:12])
            print(f"{'':13} {key}: {shown}{' ...' if len(counts) > 12 else ''}")


def write_page(folders: Sequence[Path], found: Sequence[Path], into: Path) -> None:
    """Write the page of all runs found, and print its first sentence, the rankings of some runs and its path."""
    from arena.leaderboard.build import build
    from arena.report.html import write_board
    from arena.report.summary import table_lines

    board = build(read_runs(found, folders))
    page = write_board(board, into)[0]
    console = out()
    for line in table_lines(board, [folder.name for folder in folders]):
        console.print(line)
    console.print(str(page), soft_wrap=True)


def read_runs(found: Sequence[Path], named: Sequence[Path]) -> list[Run]:
    """Read runs; of one contestant's on the same samples the newest counts, named ones first; say what does not."""
    from arena.leaderboard.score_table import fingerprints, part, shared_tasks
    from arena.run_folder import readable

    read = [
        (Path(run.folder) in named, run.manifest.created, run.folder, run) for run in readable(found, named)
    ]
    kept: list[Run] = []
    for *_order, run in sorted(read, key=lambda r: r[:3], reverse=True):
        twice = {task for other in kept for task in shared_tasks(run, other)}
        if twice:
            why = f"another run of {run.manifest.contestant} on the same samples counts"
            err().print(f"left out: {', '.join(sorted(twice))} of {run.folder}; {why}", soft_wrap=True)
        if rest := fingerprints(run).keys() - twice:
            kept.append(part(run, rest))
    return kept


def print_run(folder: Path, *, as_json: bool) -> dict[str, Any]:
    """Return the facts of a run and, without JSON, print a line for each task."""
    from arena.report.summary import run_facts, task_lines
    from arena.run_folder import read_run
    from arena.runner.inspect_engine import Sampling

    finished = read_run(folder)
    if not as_json:
        console = out()
        console.print(f"{folder}")
        for line in task_lines(finished):
            console.print(f"  {line}")
    if failed := [a.error for a in finished.answers if a.error]:
        tries = Sampling().retries + 1
        err().print(
            f"samples without an answer after {tries} tries each: {len(failed)} ({failed[0]}); "
            "the same command asks them again"
        )
    return run_facts(finished)
