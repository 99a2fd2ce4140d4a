"""Recipes for other places name options, commands, dependencies and tasks that exist."""

import re
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import typer
import yaml

from arena.tasks import TASKS
from gather.cli import app

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: Names on conda-forge where they differ from PyPI's.
CONDA = {"igraph": "python-igraph"}


def annotate_options() -> set[str]:
    command: Any = typer.main.get_command(app)
    return {option for parameter in command.commands["annotate"].params for option in parameter.opts}


def test_conda_lists_the_dependencies_and_commands_of_the_project() -> None:
    """Conda has no extras: its package brings clusters and single cells, too."""
    text = (RECIPES / "bioconda" / "meta.yaml").read_text(encoding="utf-8")
    extras = PROJECT["optional-dependencies"]
    wanted = [line.split(">=") for line in (*PROJECT["dependencies"], *extras["leiden"], *extras["cells"])]
    listed = re.findall(r"^    - (\S+) >=(\S+)$", text.partition("  run:\n")[2], re.MULTILINE)
    assert sorted(listed) == sorted(
        [("python", "3.11"), *((CONDA.get(name, name), least) for name, least in wanted)]
    )
    assert [k for k, v in PROJECT["scripts"].items() if f"- {k} = {v}" not in text] == []


def test_no_line_of_the_conda_recipe_reads_as_a_selector() -> None:
    """Conda drops a line that ends in square brackets, unless the expression in them holds."""
    text = (RECIPES / "bioconda" / "meta.yaml").read_text(encoding="utf-8")
    assert re.findall(r"^.*\[[^\[\]]+\]\s*$", text, re.MULTILINE) == []
    assert "    - gather\n" in text.partition("  imports:\n")[2]


def test_the_release_has_one_version_everywhere() -> None:
    version = PROJECT["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    texts = {p: p.read_text(encoding="utf-8") for p in RECIPES.rglob("*") if p.is_file()}
    stated = {
        (path.name, found)
        for path, text in texts.items()
        for found in re.findall(
            r"""(?:version = |version: v?|vckg=|@TOOL_VERSION@">)"?(\d+\.\d+\.\d+)""", text
        )
    }
    assert {name for name, _ in stated} == {
        "meta.yaml", "environment.yml", "gather_annotate.xml", "inspect-evals-eval.yaml", "scverse-meta.yaml",
    }  # fmt: skip
    assert {found for _, found in stated} == {version} == {str(citation["version"])}
    assert f"## [{version}] - 20" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_galaxy_and_nextflow_use_options_that_exist() -> None:
    galaxy = ElementTree.parse(RECIPES / "galaxy" / "gather_annotate.xml").getroot()
    command = galaxy.findtext("command") or ""
    module = (RECIPES / "nf-core" / "gather" / "annotate" / "main.nf").read_text(encoding="utf-8")
    used = set(re.findall(r"--[a-z-]+", command)) | set(re.findall(r"(?<=\s)--[a-z-]+", module))
    assert len(used) >= 6
    assert used <= annotate_options()


def test_registries_are_yaml_and_name_the_tasks() -> None:
    entries = {
        p.stem: yaml.safe_load(p.read_text(encoding="utf-8")) for p in (RECIPES / "registries").iterdir()
    }
    assert [task["name"] for task in entries["inspect-evals-eval"]["tasks"]] == list(TASKS)
    assert all(isinstance(entry, dict) and len(entry) > 5 for entry in entries.values())


def test_the_workflow_calls_targets_that_exist() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    runs = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = [name for run in runs for name in re.findall(r"\bmake ([a-z-]+)", run)]
    assert len(called) == 3
    assert set(called) <= targets
