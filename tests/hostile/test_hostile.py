"""A small part of the attacks in every run of the suite; `make hostile` does all of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.attacks import Attack, damaged_json, digest, flipped, left_over, rng
from tests.hostile.commands import Ended

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("part", ["cells", "graph"])
def test_a_few_cases_of_every_attack_hold(part: str, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.hostile", "--part", part, "--rounds", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| all |" in done.stdout


@pytest.mark.parametrize(
    ("code", "err", "stopped", "wrong"),
    [
        (0, "", "", None),
        (2, "gather: error: no such file\n", "", None),
        (1, "x", "", "exit 1: x"),
        (0, "Traceback (most recent call last):\n  ...\nKeyError: 'x'\n", "", "traceback: KeyError: 'x'"),
        (-11, "", "", "SIGSEGV"),
        (-24, "", "", "processor time is up"),
        (-9, "", "no end in 5 s", "no end in 5 s"),
    ],
)
def test_held_means_exit_0_or_2_in_time_and_no_traceback(
    code: int, err: str, stopped: str, wrong: str | None
) -> None:
    assert Ended(("vckg",), code, "", err, stopped).wrong == wrong


def test_cases_are_the_same_every_time() -> None:
    value = {"a": [1, {"b": "c"}], "d": None}
    assert damaged_json(value, rng("x", 3)) == damaged_json(value, rng("x", 3))
    assert flipped(bytes(64), rng("x", 3), bits=4) == flipped(bytes(64), rng("x", 3), bits=4) != bytes(64)
    assert value == {"a": [1, {"b": "c"}], "d": None}
    few = Attack("x", lambda _seed, _folder: None, cases=40)
    assert few.seeds(5) == few.seeds(5)
    assert (len(few.seeds(5)), len(few.seeds(1000)), len(Attack("y", few.strike).seeds(7))) == (5, 40, 7)


def test_a_changed_file_and_a_left_over_one_are_seen(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    before = digest(tmp_path)
    (tmp_path / "a").write_text("y")
    assert digest(tmp_path) != before
    assert left_over(tmp_path, ["a"]) is None
    (tmp_path / ".a.partial").write_text("")
    assert left_over(tmp_path, ["a"]) == "left behind: .a.partial"
