"""The tour works: the changes of docs/extend.md are made in a copy of the tree and its commands pass there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("vckg", "gather", "arena", "serve", "data", "prompts", "tests", "pyproject.toml")
SECTION = re.compile(r"^## (Add [^\n]+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)
TOUR = dict(SECTION.findall((ROOT / "docs" / "extend.md").read_text(encoding="utf-8")))
SHORT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MOST_LINES = 70
#: The room of each addition, with what is its own outside the package.
ROOMS = {
    "Add a source": ("vckg/", "tests/vckg/"),
    "Add a score": ("gather/", "tests/gather/"),
    "Add a scheduler policy": ("serve/", "tests/serve/"),
    "Add a task": ("arena/", "prompts/arena/", "tests/arena/"),
}


def changed(text: str, diff: str) -> str:
    """A text with a change made: its context and its minus lines stand there once, and become its plus lines."""
    lines = diff.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] != "+")
    new = "".join(line[1:] for line in lines if line[0] != "-")
    assert text.count(old) == 1, f"stands there {text.count(old)} times:\n{old}"
    return text.replace(old, new)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the tree to change."""
    skip = shutil.ignore_patterns("__pycache__", ".pytest_cache")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=skip)
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def environment(copy: Path, pytestconfig: pytest.Config) -> dict[str, str]:
    """Commands import the copy, and share the graph of the tutorials' tests."""
    assert pytestconfig.cache is not None
    made = {k: v for k, v in os.environ.items() if k not in ("VCKG_MIRROR", "VCKG_GRAPH", "VCKG_OFFLINE")}
    made["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), made["PATH"]])
    return made | {"PYTHONPATH": str(copy), "VCKG_CACHE": str(pytestconfig.cache.mkdir("tutorials"))}


def test_the_tour_has_its_four_stops() -> None:
    assert set(TOUR) == set(ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_the_short_tour_names_the_files_and_a_command_of_the_long_one(name: str) -> None:
    anchor = name.lower().replace(" ", "-")
    (row,) = (line for line in SHORT.splitlines() if f"docs/extend.md#{anchor}" in line)
    _link, *cells = row.strip("| ").split(" | ")
    named = re.findall(r"`([^`]+)`", " ".join(cells))
    paths = {title for _, title, _ in BLOCK.findall(TOUR[name]) if title and not title.startswith("tests/")}
    assert paths <= {*named, "data/sources.toml"}
    assert named[-1] in TOUR[name], "the command is one that the long tour runs"


def test_the_page_for_contributors_is_one_page() -> None:
    assert SHORT.count("\n") <= MOST_LINES
    assert SHORT.index("make setup-dev") < SHORT.index("## Map") < SHORT.index("## Tour")


@pytest.mark.parametrize("name", ROOMS)
def test_an_addition_touches_one_room_and_its_lines_are_still_there(name: str) -> None:
    touched = {title for _, title, _ in BLOCK.findall(TOUR[name]) if title}
    assert touched
    assert all(path.startswith(ROOMS[name]) for path in touched)
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in touched if (ROOT / path).exists()}
    for language, path, body in BLOCK.findall(TOUR[name]):
        if language == "diff":
            texts[path] = changed(texts[path], body)
        elif path:
            assert path not in texts, f"{path} is there already"


def test_the_frames_of_a_graph_are_as_the_page_shows() -> None:
    (code,) = re.findall(
        r"## In Python.*?```python\n(.*?)```", (ROOT / "docs/extend.md").read_text(), re.DOTALL
    )
    exec(code, {})


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("name", ROOMS)
def test_following_a_stop_of_the_tour_works(name: str, copy: Path, environment: dict[str, str]) -> None:
    written = []
    for language, path, body in BLOCK.findall(TOUR[name]):
        if path:
            text = changed((copy / path).read_text(encoding="utf-8"), body) if language == "diff" else body
            (copy / path).write_text(text, encoding="utf-8")
            written += [path] if path.endswith(".py") and not path.startswith("tests/") else []
        elif language == "sh":
            run(["ruff", "check", "--quiet", *dict.fromkeys(written)], copy, environment)
            run(["bash", "-euo", "pipefail", "-c", body], copy, environment)


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command[-1]}\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}"
