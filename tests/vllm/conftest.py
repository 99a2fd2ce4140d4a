"""The embedded model as vLLM's folders, and programs run in this environment; skipped where vLLM is not installed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve.vllm_plugins import VERSION, installed_version

ROOT = Path(__file__).parents[2]
PROMPTS = ROOT / "draft" / "heldout.jsonl"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    found = installed_version()
    if found == VERSION:
        return
    reason = f"found {found or 'no vLLM'}, wanted {VERSION}: `make vllm` makes an environment with it"
    for item in items:
        if item.get_closest_marker("vllm"):
            item.add_marker(pytest.mark.skip(reason=reason))


def run(*arguments: str) -> str:
    """Run a module of ours in an interpreter of its own; what it printed. Its errors go to the test's report."""
    from benchmarks.vllm_server import ON_CPU

    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, **ON_CPU, "VLLM_ENABLE_V1_MULTIPROCESSING": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `vckg-serve export-vllm` writes for the embedded model: `model` and `draft`."""
    folder: Path = tmp_path_factory.mktemp("vllm")
    command = run("serve.cli", "export-vllm", "--output", str(folder))
    assert command.startswith("vllm serve ")
    return folder


@pytest.fixture(scope="session")
def answer(exported: Path) -> Callable[..., dict[str, Any]]:
    """A function: greedy answers of vLLM's offline engine to two prompts of each workload, and what was accepted."""

    def ask(name: str, *options: str) -> dict[str, Any]:
        out = exported / f"{name}.json"
        run(
            "benchmarks.vllm_answers",
            "--model",
            str(exported / "model"),
            "--prompts",
            str(PROMPTS),
            "--output",
            str(out),
            "--each",
            "2",
            "--max-tokens",
            "48",
            *options,
        )
        return dict(json.loads(out.read_text(encoding="utf-8")))

    return ask


@pytest.fixture(scope="session")
def plain(answer: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Answers without any plugin."""
    return answer("plain")
