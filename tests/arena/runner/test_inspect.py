"""`inspect eval` alone: the tasks are found, need no file of samples, and print the figures of `arena run`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from inspect_ai.log import read_eval_log
from typer.testing import CliRunner

from arena.cli import app

pytestmark = [  # of the engine: a tenacity argument, and clients that it leaves to the garbage collector
    pytest.mark.filterwarnings("ignore:The 'initial' parameter:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:[Uu]nclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
]

CODE = """
import sys
from inspect_ai import eval
log = eval("arena/annotation", model=sys.argv[1], task_args={"graph": sys.argv[2], "limit": 5},
           log_dir=sys.argv[3], display="none")[0]
import json
print("RESULT", json.dumps({f"{s.scorer} {s.name}": [m.value for m in s.metrics.values()] for s in log.results.scores}))
"""


REMOVED = """
import logging.config, shutil, sys
from pathlib import Path
from arena.cli import app
for folder in map(Path, sys.argv[2:]):
    app(["run", "-m", "gold", "-t", "annotation", "-n", "2", "-q", "-g", sys.argv[1], "-o", str(folder)],
        standalone_mode=False)
    shutil.rmtree(folder)
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})  # as uvicorn does
"""


def test_a_second_run_of_a_process_needs_nothing_of_the_first(fresh_folder: Path, tmp_path: Path) -> None:
    """The engine's trace was opened in the first run's folder."""
    runs = [str(tmp_path / "first"), str(tmp_path / "second")]
    done = subprocess.run(
        [sys.executable, "-c", REMOVED, str(fresh_folder), *runs],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-1500:]


@pytest.mark.parametrize("model", ["arena/gather"])
def test_the_engine_prints_what_arena_run_prints_to_the_last_digit(
    fresh_folder: Path, tmp_path: Path, model: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, model, str(fresh_folder), str(tmp_path / "logs")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-1500:]
    theirs = json.loads(done.stdout.partition("RESULT ")[2])
    name = model.removeprefix("arena/")
    options = ["-m", name, "-t", "annotation", "-n", "5", "-g", str(fresh_folder), "--json"]
    told = CliRunner().invoke(app, ["run", *options, "-o", str(tmp_path / "runs")], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    ours = json.loads(told.stdout)[0]["tasks"]["annotation"]["scores"]
    assert theirs["metrics lin"] == [ours["metrics"]["mean"]]
    assert theirs["knowledge total"] == [ours["knowledge"]["mean"]]
    assert {"metrics exact", "knowledge identity"} <= theirs.keys()
    assert scored_again(next((tmp_path / "logs").glob("*.eval")), tmp_path)["lin"] == ours["metrics"]["mean"]


def scored_again(log: Path, folder: Path) -> dict[str, float]:
    """What `inspect score` gives in a process that has not made the samples."""
    words = [
        "--scorer",
        "arena/metrics",
        "--action",
        "overwrite",
        "--output-file",
        str(folder / "again.eval"),
    ]
    done = subprocess.run(
        [str(Path(sys.executable).parent / "inspect"), "score", str(log), *words, "--display", "none"],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-1500:]
    results = read_eval_log(str(folder / "again.eval"), header_only=True).results
    assert results is not None
    return {score.name: next(iter(score.metrics.values())).value for score in results.scores}


def test_a_run_without_a_model_puts_the_baselines_and_prints_the_table(
    fresh_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = CliRunner().invoke(
        app,
        ["run", "-t", "annotation", "-n", "5", "-g", str(fresh_folder), "-o", str(tmp_path)],
        catch_exceptions=False,
    )
    assert told.exit_code == 0, told.output
    for name in ("gather", "majority", "random", "marker-overlap"):
        assert any(line.split()[1:2] == [name] for line in told.output.splitlines())  # behind its rank
    assert "On “Name the cell” with 5 samples" in told.output
    assert (tmp_path / "report" / "index.html").is_file()
    assert "index.html" in told.output
