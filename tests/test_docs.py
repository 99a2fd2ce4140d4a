"""The documents are tested: their Python runs, and their commands exist, are mentioned and have help."""

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
HEAVY = {"torch", "scanpy", "anndata", "pandas", "openai", "inspect_ai", "transformers"}
COMMANDS = {"vckg": "vckg.cli", "gather": "gather.cli", "arena": "arena.cli", "vckg-serve": "serve.cli"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def subcommands(module: str) -> list[str]:
    import importlib

    import typer

    command = typer.main.get_command(importlib.import_module(module).app)
    return sorted(getattr(command, "commands", {}))


def test_every_script_of_the_distribution_is_documented_here() -> None:
    ours = {
        e.name
        for e in entry_points(group="console_scripts")
        if e.value in {f"{m}:main" for m in COMMANDS.values()}
    }
    assert ours == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_mentioned_and_has_help(name: str) -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for sub in subcommands(COMMANDS[name]):
        assert f"{name} {sub}" in text, f"`{name} {sub}` stands in no document"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_document_names_no_command_that_does_not_exist(name: str) -> None:
    known = set(subcommands(COMMANDS[name]))
    for page in PAGES:
        for line in "\n".join(blocks(page, "sh") + blocks(page, "bash")).splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == name and not words[1].startswith("-"):
                assert words[1] in known, f"{page.name}: {line}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_nothing_heavy(name: str) -> None:
    script = (
        "import sys; sys.argv = [sys.argv[1], '--help']\n"
        f"import {COMMANDS[name]} as cli\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        f"heavy = {HEAVY!r} & set(sys.modules)\n"
        "sys.exit(f'imported {sorted(heavy)}' if heavy else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, core_graph: object
) -> None:
    """Uses the graph that the session's fixture built."""
    code = blocks(ROOT / "README.md", "python")
    assert code, "the README shows no Python"
    monkeypatch.chdir(tmp_path)
    for block in code:
        exec(compile(block, "README.md", "exec"), {})


def test_links_between_documents_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} -> {target}"


def test_the_first_column_of_every_table_has_a_header() -> None:
    corner = re.compile(r"^\|\s*\|.*\n\|[-:| ]+\|$", re.MULTILINE)
    assert [page.name for page in PAGES if corner.search(page.read_text(encoding="utf-8"))] == []
