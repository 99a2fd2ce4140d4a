"""kill -9, for real: a process is killed while it asks and while it judges; the same command finishes the rest."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena import run_folder

IN_FLIGHT = 4
Reply = Callable[[str], str]


def answer(_prompt: str) -> str:
    return "[Predicted_Cell_Type: T cell][Captioning: T cell.][Up: none][Down: CD74][Answer: yes]"


def command(server: Any, judge: Any, out: Path) -> list[str]:
    model = [
        "-m",
        "toy",
        "--base-url",
        server.url,
        "-t",
        "annotation,qa",
        "-n",
        "12",
        "--connections",
        str(IN_FLIGHT),
    ]
    judged = ["-j", "critic", "--judge-base-url", judge.url]
    program = "from arena.cli import main; main()"
    return [sys.executable, "-c", program, "run", *model, *judged, "-o", str(out)]


def killed(arguments: list[str], env: dict[str, str], ready: Callable[[], bool]) -> None:
    """Start the command and kill it as soon as `ready`, unless it ends before."""
    process = subprocess.Popen(arguments, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and not ready():
        assert time.monotonic() < deadline, "the run never came to where it was to be killed"
        time.sleep(0.01)
    process.kill()
    process.wait()


def environment(graph: Path, home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k != "OPENAI_API_KEY"}
    return kept | {"VCKG_GRAPH": str(graph), "HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[3])}


def test_a_killed_run_resumes_and_asks_no_more_than_was_in_flight(
    fresh_folder: Path, tmp_path: Path, openai_server: Callable[..., Any], judge_of_fours: Reply
) -> None:
    check(fresh_folder, tmp_path, servers(openai_server, judge_of_fours), at_answers=0.4, at_verdicts=0.5)


def test_ctrl_c_says_in_one_line_how_many_answers_are_kept(
    fresh_folder: Path, tmp_path: Path, openai_server: Callable[..., Any]
) -> None:
    server = openai_server(answer, latency_s=0.3)
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    called = command(server, server, tmp_path / "runs")
    called[2] = program + called[2]  # a shell in the background has its children ignore Ctrl-C
    process = subprocess.Popen(
        called, env=environment(fresh_folder, tmp_path), stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and len(server.prompts) <= IN_FLIGHT:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r"annotation: stopped; replies kept: [1-9]\d*; the same command goes on\n$", said), said


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_at_any_moment(
    fresh_folder: Path, tmp_path: Path, openai_server: Callable[..., Any], judge_of_fours: Reply, seed: int
) -> None:
    at = np.random.default_rng(seed).random(2)
    both = servers(openai_server, judge_of_fours)
    check(fresh_folder, tmp_path, both, at_answers=float(at[0]), at_verdicts=float(at[1]))


def servers(openai_server: Callable[..., Any], verdict: Reply) -> tuple[Any, Any]:
    """The contestant's server and the judge's."""
    return openai_server(answer, latency_s=0.05), openai_server(verdict, latency_s=0.05)


def check(graph: Path, folder: Path, both: tuple[Any, Any], *, at_answers: float, at_verdicts: float) -> None:
    """Kill once among the answers and once among the verdicts; then finish, and compare with an unharmed run."""
    server, judge = both
    out, env = folder / "runs", environment(graph, folder)
    whole = subprocess.run(command(server, judge, folder / "whole"), env=env, check=True, capture_output=True)
    assert whole.returncode == 0
    n_answers, n_verdicts = len(server.prompts), len(judge.prompts)
    (unharmed,) = run_folder.find_runs([folder / "whole"])
    server.prompts.clear()
    judge.prompts.clear()
    killed(command(server, judge, out), env, lambda: len(server.prompts) > at_answers * (n_answers - 1))
    env["HOME"] = str(folder / "another-home")  # resuming must not depend on what the engine keeps there
    killed(command(server, judge, out), env, lambda: len(judge.prompts) > at_verdicts * (n_verdicts - 1))
    subprocess.run(command(server, judge, out), env=env, check=True, capture_output=True)
    assert n_answers <= len(server.prompts) <= n_answers + 2 * IN_FLIGHT
    assert (
        n_verdicts <= len(judge.prompts) <= n_verdicts + 2 * 2 * IN_FLIGHT
    )  # a verdict may take a repair call
    (resumed,) = run_folder.find_runs([out])
    assert resumed.name == unharmed.name
    assert (resumed / run_folder.SCORES).read_bytes() == (unharmed / run_folder.SCORES).read_bytes()
    assert untimed(resumed) == untimed(unharmed)


def untimed(folder: Path) -> list[tuple[Any, ...]]:
    """Answers without how long they took."""
    return [
        (a.sample_id, a.epoch, a.text, a.parsed, a.prompt, a.usage, a.model)
        for a in run_folder.read_run(folder).answers
    ]
