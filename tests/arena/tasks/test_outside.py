"""A task of a package outside the tree runs, scores, and appears on the page."""

import os
import re
import subprocess
import sys
from pathlib import Path

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


def test_a_task_of_another_package_runs_scores_and_appears_on_the_page(
    fresh_folder: Path, tmp_path: Path
) -> None:
    write_package(tmp_path / "site")
    places = os.pathsep.join([str(tmp_path / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    words = ["run", "-m", "gold", "-m", "majority", "-t", "kin", "-n", "5", "-g", str(fresh_folder)]
    done = subprocess.run(
        [sys.executable, "-c", "from arena.cli import main; main()", *words, "-o", "runs"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": places},
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-1500:]
    assert "same 1.000" in done.stdout
    assert "Say the kin" in (tmp_path / "runs" / "report" / "index.html").read_text(encoding="utf-8")
