"""The commands: what they print, and that every mistake of the user's is one line on stderr with exit code 2."""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arena import cli

pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'initial' parameter:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:[Uu]nclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
]

Arena = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def garbage_is_collected_where_it_was_made() -> Iterator[None]:
    """Otherwise the engine's unclosed sockets fail whichever test comes next."""
    yield
    gc.collect()


@pytest.fixture
def arena(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fresh_folder: Path, tmp_path: Path
) -> Arena:
    """A function that runs the command in an empty folder and returns exit code, stdout, stderr."""
    monkeypatch.setenv("VCKG_GRAPH", str(fresh_folder))
    monkeypatch.setenv("VCKG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["arena", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return command


@pytest.fixture(scope="module")
def finished(fresh_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs."""
    from arena.contestants.resolve import resolve
    from arena.datasets import make_cells
    from arena.runner import run
    from arena.tasks import TASKS
    from arena.tasks.samples import make_samples
    from vckg.graph.graph import Graph

    root = tmp_path_factory.mktemp("runs")
    graph = Graph.load(fresh_folder)
    samples = make_samples(make_cells("fresh", graph, seed=0)[1], TASKS, seed=0, limit=4)
    for name in ("gold", "majority"):
        run.run(run.Plan(resolve(name), "fresh", samples, graph.content_hash, lambda: graph), root)
    return root


def test_help_is_quick_because_it_loads_nothing_heavy() -> None:
    program = (
        "import sys; from arena import cli; sys.argv = ['arena', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'inspect_ai', 'pandas', 'pyarrow', 'scipy', 'numpy', 'anndata', 'scanpy', 'openai', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_list_shows_tasks_data_sets_and_contestants(arena: Arena) -> None:
    code, said, _ = arena("list", "--json")
    listed = json.loads(said)
    assert code == 0
    assert set(listed["tasks"]) == {"annotation", "captioning", "generation", "perturbation", "qa"}
    assert {"gather", "gather+MODEL", "gene-prior", "majority"} <= set(listed["contestants"])
    assert "gather+MODEL" in arena("list")[1]


def test_data_counts_a_set_and_writes_its_cells_for_the_next_command(arena: Arena, tmp_path: Path) -> None:
    code, said, _ = arena("data", "--json", "--cells", "cells.jsonl")
    summary = json.loads(said)
    assert code == 0
    assert summary["tasks"]["annotation"]["samples"] == 18
    again = json.loads(arena("data", "--json", "-d", "cells.jsonl")[1])
    counts = {t: row["samples"] for t, row in summary["tasks"].items()}
    assert {t: row["samples"] for t, row in again["tasks"].items()} == counts
    assert "[Predicted_Cell_Type:" in arena("data", "--example", "-t", "annotation")[1]


def test_ids_and_prompts_are_written_without_references(arena: Arena) -> None:
    assert arena("data", "-t", "annotation", "-n", "2", "--prompts", "asked.jsonl")[0] == 0
    lines = [json.loads(line) for line in Path("asked.jsonl").read_text().splitlines()]
    assert [set(line) for line in lines] == [{"sample_id", "prompt"}] * 2
    assert "[Predicted_Cell_Type:" in lines[0]["prompt"]


def test_a_model_asked_for_other_samples_is_told_to_be_a_new_run(
    arena: Arena, openai_server: Callable[..., Any]
) -> None:
    asked = (
        "run",
        "-m",
        "toy",
        "--base-url",
        openai_server(lambda _: "[Answer: yes]").url,
        "-t",
        "annotation",
        "-n",
    )
    assert "a new run" not in arena(*asked, "2")[2]
    assert "a new run: its samples or settings are not those of toy--fresh--" in arena(*asked, "3")[2]
    assert "a new run" not in arena(*asked, "3")[2]


def test_run_prints_a_line_a_task_and_the_report_and_the_comparison_follow(arena: Arena) -> None:
    code, said, _ = arena(
        "run", "-m", "gold", "-m", "majority", "-m", "random", "-t", "qa,perturbation", "-n", "3"
    )
    assert code == 0
    assert said.count("in format") == 6
    assert "claim_coverage 1.000" in said
    code, said, _ = arena("report", "runs", "-o", "page")
    assert code == 0
    assert {Path(line).suffix for line in said.split()} == {".html", ".md", ".json"}
    gold, majority, random = sorted(path for path in Path("runs").iterdir() if path.name != "report")
    code, _, stderr = arena("compare", str(gold), str(majority))
    assert code == 2
    assert "gold is the reference" in stderr
    code, said, stderr = arena("compare", str(random), str(majority))
    assert code == 0, stderr
    assert said.startswith("random minus majority")


def test_a_run_ends_with_the_page_of_its_whole_folder(arena: Arena) -> None:
    asked = ("-t", "perturbation", "-n", "3")
    assert arena("run", "-m", "majority", "-t", "perturbation,qa", "-n", "3")[0] == 0
    assert arena("run", "-m", "random", "-t", "perturbation", "-n", "2")[0] == 0
    code, said, stderr = arena("run", "-m", "copy-control", *asked)
    assert code == 0, stderr
    counted, first, second = (line for line in said.splitlines() if "anking" in line)
    assert counted.startswith("Here are 2 rankings")
    assert "On “Predict a response” with 3 samples the two contestants cannot be told apart" in first
    assert second.endswith("random is the only contestant on its set of samples, so nothing can be compared.")
    page = Path("runs/report/leaderboard.md").read_text(encoding="utf-8")
    assert all(f"| {name} |" in page for name in ("majority", "copy-control", "random"))
    assert arena("report", "runs", "-o", "page")[0] == 0
    assert Path("page/leaderboard.md").read_text(encoding="utf-8") == page
    (old,) = Path("runs").glob("majority--*")
    (old / "manifest.json").write_text('{"format": "arena-run"', encoding="utf-8")
    code, said, stderr = arena("run", "-m", "copy-control", *asked)
    assert code == 0, stderr
    assert "left out: runs/majority--" in stderr
    assert "copy-control" in said


def test_of_two_runs_of_one_contestant_the_newer_counts_and_the_older_keeps_its_other_tasks(
    arena: Arena,
) -> None:
    asked = ("-m", "random", "-m", "majority", "-n", "2")
    assert arena("run", *asked, "-t", "qa,perturbation")[0] == 0
    code, said, stderr = arena("run", *asked, "-t", "qa")
    assert code == 0, stderr
    assert stderr.count("on the same samples counts") == 2
    assert "left out: qa of runs/random--" in stderr
    assert "On “Predict a response” with 2 samples the two contestants cannot be told apart" in said
    assert arena("report", "runs")[0] == 0


def test_a_task_that_the_cells_do_not_allow_is_said_to_be_missing(
    arena: Arena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VCKG_MIRROR", str(tmp_path))
    code, said, notes = arena("data")
    assert code == 0
    assert "perturbation " not in said
    assert "fresh has no perturbation samples: no file of real cells here" in " ".join(notes.split())


def test_score_computes_the_deterministic_scores_again(arena: Arena, finished: Path) -> None:
    folder = next(iter(sorted(finished.glob("gold*"))))
    before = (folder / "scores.jsonl").read_bytes()
    (folder / "scores.jsonl").unlink()
    assert arena("score", str(folder))[0] == 0
    assert (folder / "scores.jsonl").read_bytes() == before


def test_a_further_judge_scores_a_finished_run(
    arena: Arena, finished: Path, openai_server: Callable[..., Any], judge_of_fours: Callable[[str], str]
) -> None:
    server = openai_server(judge_of_fours)
    code, said, complaint = arena(
        "score",
        str(next(finished.glob("majority*"))),
        "-j",
        "toy",
        "--judge-base-url",
        server.url,
        "--compat-judge",
    )
    assert code == 0, complaint
    assert "toy:sc-arena total 0.800" in said
    assert all("Ignore" not in b["model"] for b in server.bodies)
    assert {b["temperature"] for b in server.bodies} == {0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "-m", "gold", "-t", "anotation"), "no task 'anotation' (did you mean 'annotation'?)"),
        (("run", "-m", "golt"), "no contestant 'golt' (did you mean 'gold'?)"),
        (("run", "-m", "opanai/x"), "no model provider 'opanai' (did you mean 'openai'?)"),
        (("run", "-m", "openai/gpt-4o-mini", "-n", "1"), "OPENAI_API_KEY"),
        (("run", "-m", "toy", "--base-url", "http://127.0.0.1:9/v1", "-n", "1"), "no server answers"),
        (("run", "-m", "toy", "--base-url", "127.0.0.1:9", "-n", "1"), "wanted http://HOST:PORT/v1"),
        (("run", "-m", "gold", "-n", "1", "-j", "openai/gpt-4o-mini"), "OPENAI_API_KEY"),
        (
            ("run", "-m", "gold", "-n", "1", "-j", "x", "--judge-base-url", "http://127.0.0.1:9/v1"),
            "no server answers",
        ),
        (("run", "-m", "gold", "-n", "0"), "Input should be greater than or equal to 1"),
        (("run", "-m", "gold", "-d", "sc-arina"), "no data set 'sc-arina' (did you mean 'sc-arena'?)"),
        (("run", "-m", "gold", "--compat", "gather"), "only 'sc-arena' has an untouched form"),
        (("run", "-m", "gold", "-d", "absent.jsonl"), "no such file of virtual cells"),
        (
            ("run", "-m", "gold", "-m", "copy-control", "-t", "qa"),
            "copy-control takes part in perturbation only",
        ),
        (("run", "-m", "gold", "-m", "random", "--name", "x"), "--name fits one --model only"),
        (("run", "-m", "gold", "--price", "cheap", "-n", "1"), "--price 'cheap': wanted two numbers"),
        (("run", "-m", "gold", "--price", "nan,1", "-n", "1"), "--price 'nan,1': wanted two numbers"),
        (("run", "-m", "gold", "--cache", ".", "-t", "qa", "-n", "1"), ".: cannot be a cache of replies"),
        (("run", "-m", "gold", "-g", "nowhere"), "nowhere"),
        (("report", "nowhere"), "nowhere: no such folder of runs"),
        (("score", "nowhere"), "nowhere: no such folder of runs"),
        (("compare", "nowhere", "nowhere"), "nowhere: no such folder of runs"),
        (("judge-check", "-t", "q"), "no task 'q'"),
        (("check", "none.jsonl"), "path 'none.jsonl' does not exist"),
        (("data", "--add", "."), ".: is a folder; wanted an h5ad file"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    code, _said, complaint = arena(*arguments)
    lines = [line for line in complaint.splitlines() if line.startswith("arena: error:")]
    assert code == 2
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in complaint
    assert "making samples" not in complaint or "server" not in message
    assert not list(tmp_path.rglob("answers.jsonl"))


def test_who_takes_part_in_no_chosen_task_is_refused_before_samples_are_made(arena: Arena) -> None:
    code, _said, complaint = arena("run", "-m", "gold", "-m", "marker-overlap", "-t", "qa", "-n", "1")
    assert code == 2
    assert complaint.startswith(
        "arena: error: marker-overlap takes part in annotation, captioning, generation only"
    )


def test_every_contestant_is_listed_with_its_tasks(arena: Arena) -> None:
    contestants = json.loads(arena("list", "--json")[1])["contestants"]
    assert contestants["gather"].endswith("(annotation, captioning, generation, perturbation, qa)")
    assert contestants["position"].endswith("(perturbation)")
    assert all(text.endswith(")") for text in contestants.values())


def test_a_data_file_with_a_wrong_checksum_is_refused(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mirror" / "scarena").mkdir(parents=True)
    (tmp_path / "mirror" / "scarena" / "cell_sentences_fixed.jsonl").write_text("{}\n")
    monkeypatch.setenv("VCKG_MIRROR", str(tmp_path / "mirror"))
    code, _, complaint = arena("run", "-m", "gold", "-d", "sc-arena")
    assert code == 2
    assert "cell_sentences_fixed.jsonl" in complaint
    assert "sha256" in complaint


def test_a_run_of_another_graph_is_not_scored(
    arena: Arena, finished: Path, blood: Any, tmp_path: Path
) -> None:
    other = blood.save(tmp_path / "other")
    code, _, complaint = arena("score", str(finished), "-g", str(other))
    assert code == 2
    assert "made with graph" in complaint


def test_a_duplicate_is_left_out_and_empty_and_foreign_runs_are_refused_by_the_report(
    arena: Arena, finished: Path, tmp_path: Path
) -> None:
    import shutil

    (gold,) = finished.glob("gold*")
    shutil.copytree(gold, tmp_path / "twice" / "a")
    shutil.copytree(gold, tmp_path / "twice" / "b")
    code, _, complaint = arena("report", str(tmp_path / "twice"))
    assert code == 0
    assert "another run of gold on the same samples counts" in complaint.replace("\n", " ")
    shutil.copytree(gold, tmp_path / "empty" / "a")
    (tmp_path / "empty" / "a" / "answers.jsonl").write_text("")
    code, _, complaint = arena("report", str(tmp_path / "empty"))
    assert code == 2
    assert "an empty run" in complaint
    manifest = tmp_path / "twice" / "a" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    code, _, complaint = arena("report", str(tmp_path / "twice" / "a"))
    assert code == 2
    assert "this arena reads version 1" in complaint


def test_a_run_without_answers_is_named_and_left_out_of_the_report(
    arena: Arena, finished: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(finished, tmp_path / "runs")
    dead = next((tmp_path / "runs").glob("majority*"))
    (dead / "answers.jsonl").unlink()
    code, _, said = arena("report", "runs", "-o", "page")
    assert code == 0
    assert f"{dead.name} is not finished and is left out; its `arena run` command goes on" in said
    assert "majority" not in Path("page/leaderboard.md").read_text()
    code, _, complaint = arena("report", f"runs/{dead.name}")
    assert code == 2
    assert "no answers yet" in complaint


def test_runs_of_two_contestants_in_one_folder_are_named_to_choose_from(arena: Arena, finished: Path) -> None:
    code, _, complaint = arena("compare", str(finished), str(finished))
    assert code == 2
    assert "runs of several contestants in it, name one" in complaint


def test_the_engine_finds_the_arena_by_its_entry_point() -> None:
    program = "from inspect_ai.model import get_model; print(get_model('arena/majority'))"
    folder = Path(os.sep)
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=folder, check=False, timeout=120
    )
    assert found.stdout.strip() == "arena/majority", found.stderr[-500:]
