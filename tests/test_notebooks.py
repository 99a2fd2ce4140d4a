"""The notebooks run: every cell, in order, in an empty folder, with the graph that commands build by themselves."""

import ast
import json
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vckg.graph.graph import Graph

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[str]:
    book = json.loads(path.read_text(encoding="utf-8"))
    assert book["nbformat"] == 4
    texts = ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
    return [re.sub(r"^!(.*)$", r"command('\1')", text, flags=re.MULTILINE) for text in texts]


def command(line: str) -> None:
    """Run a command of ours in this process; it must succeed."""
    name, *words = shlex.split(line)
    ran = CliRunner().invoke(import_module(f"{name}.cli").app, words)
    assert ran.exit_code == 0, ran.output


def test_there_is_a_notebook_for_each_way_in() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "benchmark-a-model", "check-labels", "first-annotation", "markers-from-seurat", "mouse",
    ]  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_a_notebook_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, core_graph: Graph
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VCKG_MIRROR", raising=False)
    monkeypatch.setenv("VCKG_GRAPH", str(core_graph.folder))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names: dict[str, object] = {"__name__": path.stem, "command": command}
    shown: list[object] = []
    for source in cells(path):
        tree = ast.parse(source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, path.name, "exec"), names)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), path.name, "eval"), names))
    assert shown or any(tmp_path.iterdir())
    if path.stem == "mouse":
        labels = list(shown[-1]["label"])  # type: ignore[index]
        assert labels[:2] == ["T cell", "B cell"]
    if path.stem == "markers-from-seurat":
        assert len(shown[-1]) == 3  # type: ignore[arg-type]
