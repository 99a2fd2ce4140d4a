"""The run for a GPU, dry on the CPU: every part ends and leaves its table."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DRAFTS = ("off", "lookup", "ngram", "head", "dart", "eagle")


def dry_run(out: Path, *options: str) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Tables by part and title; the parts that failed fail the test."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--dry-run",
        "--minutes",
        "6",
        "--out",
        str(out),
        *options,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {p.stem: json.loads(p.read_text(encoding="utf-8"))["tables"] for p in out.glob("*.json")}


def check_lossless(tables: dict[str, list[dict[str, Any]]]) -> None:
    (rows,) = tables.values()
    assert [row["draft"] for row in rows] == [*DRAFTS, *DRAFTS]
    assert all(row["equal"] == row["answers"] > 0 for row in rows)
    assert all((row["drafted"] > 0) == (row["draft"] != "off") for row in rows)


def check_training(tables: dict[str, list[dict[str, Any]]], tokens: int) -> None:
    assert tables.keys() == {"answers written", "DART's head", "EAGLE-style head"}
    assert tables["answers written"][0]["answer_tokens"] >= tokens
    assert tables["DART's head"][-1]["steps"] == tables["EAGLE-style head"][-1]["steps"] > 0


def test_drafts_are_lossless_and_heads_are_trained_in_a_tiny_run(tmp_path: Path) -> None:
    found = dry_run(tmp_path, "--only", "card,lossless,train", "--tokens", "300")
    assert found.keys() == {"card", "lossless", "train"}
    check_lossless(found["lossless"])
    check_training(found["train"], 300)
    assert (tmp_path / "head.safetensors").is_file()
    assert (tmp_path / "eagle.safetensors").is_file()


@pytest.mark.slow
def test_a_dry_run_leaves_the_table_of_every_part(tmp_path: Path) -> None:
    found = dry_run(tmp_path)
    assert found.keys() == {"card", "kernels", "lossless", "train", "table"}
    check_lossless(found["lossless"])
    check_training(found["train"], 10_000)
    (kernels,) = found["kernels"].values()
    assert all(float(row["error_forest"]) < 1e-4 for row in kernels)
    (speculation,) = found["table"].values()
    methods = {(row["batch"], row["method"].split()[0]) for row in speculation}
    assert methods == {(batch, m) for batch in (1, 4) for m in ("ngram", "eagle", "head", "dart")}
    assert all(row["different_answers"] == 0 for row in speculation)
