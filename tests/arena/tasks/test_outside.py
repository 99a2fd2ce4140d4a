"""A task of a package outside the tree runs, scores, and appears on the page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROMPT = """---
name: outside_task/kin
version: 1
variables: n_genes, sentence
---
{{n_genes}} genes of a cell: {{sentence}}
Which lineage? Finish with [Lineage: name of the lineage]
"""


def write_package(folder: Path) -> None:
    """Write the example of docs/extend.md under other names, as an installer lays a package down."""
    text = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
    found = re.search(r'```python title="arena/tasks/lineage.py"\n(.*?)```', text, re.DOTALL)
    assert found
    code = found[1].replace('name="lineage"', 'name="kin"').replace('cell, "lineage",', 'cell, "kin",')
    code = code.replace("arena/lineage", "outside_task:prompts/kin").replace(
        "Name the lineage", "Say the kin"
    )
    package, metadata = folder / "outside_task", folder / "outside_task-1.0.dist-info"
    (package / "prompts").mkdir(parents=True)
    metadata.mkdir()
    (package / "__init__.py").write_text(code)
    (package / "prompts" / "kin.md").write_text(PROMPT)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-task\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[vckg.arena_tasks]\nkin = outside_task:TASK\n")


def arena(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``arena`` where the packages of ``folder/site`` are installed."""
    places = os.pathsep.join([str(folder / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", "from arena.cli import main; main()", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": places},
        check=False,
        timeout=200,
    )


def test_a_task_of_another_package_runs_scores_and_appears_on_the_page(
    fresh_folder: Path, tmp_path: Path
) -> None:
    write_package(tmp_path / "site")
    words = ["-m", "gold", "-m", "majority", "-t", "kin", "-n", "5", "-g", str(fresh_folder), "-o", "runs"]
    done = arena(tmp_path, "run", *words)
    assert done.returncode == 0, done.stderr[-1500:]
    assert "same 1.000" in done.stdout
    assert "Say the kin" in (tmp_path / "runs" / "report" / "index.html").read_text(encoding="utf-8")


def test_a_task_never_takes_the_place_of_one_of_the_same_name(tmp_path: Path) -> None:
    write_package(tmp_path / "site")
    code = tmp_path / "site" / "outside_task" / "__init__.py"
    code.write_text(code.read_text().replace('name="kin"', 'name="qa"'))
    done = arena(tmp_path, "list")
    assert done.returncode == 2
    assert done.stderr == (
        "arena: error: two tasks are called 'qa', of package vckg and of package outside-task (entry point 'kin' of "
        "vckg.arena_tasks); rename the latter or uninstall its package\n"
    )


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import absent_module", "ModuleNotFoundError: No module named 'absent_module'"),
        (
            "from arena.tasks import Task\nTASK = Task(nam='kin')",
            "TypeError: Task.__init__() got an unexpected",
        ),
        ("TASK = 'kin'", "outside_task:TASK is no arena.tasks.task.Task"),
    ],
)
def test_a_broken_package_costs_its_task_and_a_line(tmp_path: Path, code: str, reason: str) -> None:
    write_package(tmp_path / "site")
    (tmp_path / "site" / "outside_task" / "__init__.py").write_text(code)
    why = f"entry point 'kin' (vckg.arena_tasks) of package outside-task: {reason}"
    listed = arena(tmp_path, "list")
    assert listed.returncode == 0
    assert "annotation" in listed.stdout
    assert listed.stderr.startswith(f"task left out: {why}")
    assert listed.stderr.count("\n") == 1
    asked = arena(tmp_path, "data", "-t", "kin")
    assert asked.returncode == 2
    assert f"arena: error: no task 'kin': {why}" in asked.stderr
    assert "Traceback" not in asked.stderr
