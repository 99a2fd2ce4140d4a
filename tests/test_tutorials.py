"""The README and the tutorials are followed word for word: every block, in order, in an empty folder.

Blocks of ``sh`` and ``python`` are run with the installed commands on real cells and the graph that commands build by
themselves. Blocks of ``console`` cannot run here (a GPU, somebody's key, gigabytes); they, and the commands of all
other pages, are held to the options that the commands take.
"""

import importlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = {"vckg": "vckg.cli", "gather": "gather.cli", "arena": "arena.cli", "vckg-serve": "serve.cli"}
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
FOLLOWED = [ROOT / "README.md", ROOT / "docs" / "index.md", *TUTORIALS]
EVERY_PAGE = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
ENV_OF_OURS = (
    "VCKG_MIRROR",
    "VCKG_GRAPH",
    "VCKG_OFFLINE",
    "VCKG_CACHE",
    "VCKG_SERVE_API_KEY",
    "OPENAI_API_KEY",
)


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(language, text) for language, text in found if language in languages]


@pytest.fixture(scope="module")
def environment(pytestconfig: pytest.Config) -> dict[str, str]:
    """A user's: commands on the path, nothing of ours set but the cache, where the default graph is built once."""
    assert pytestconfig.cache is not None
    made = {key: value for key, value in os.environ.items() if key not in ENV_OF_OURS}
    made["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), made["PATH"]])
    made |= {"VCKG_CACHE": str(pytestconfig.cache.mkdir("tutorials")), "MPLBACKEND": "Agg"}
    built = subprocess.run(["vckg", "build"], env=made, capture_output=True, text=True, check=False)
    assert built.returncode == 0, f"is the package installed? pip install -e .\n{built.stderr}"
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Empty; a server that was started in it and left running is ended."""
    yield tmp_path
    for file in tmp_path.glob("*.pid"):
        try:
            os.kill(int(file.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.stem)
def test_following_a_page_word_for_word_works(page: Path, folder: Path, environment: dict[str, str]) -> None:
    followed = blocks(page, "sh", "python")
    assert followed, "nothing to follow"
    for language, text in followed:
        program = (
            [sys.executable, "-c", text] if language == "python" else ["bash", "-euo", "pipefail", "-c", text]
        )
        with (folder / "output.log").open(
            "w+b"
        ) as output:  # a file: a server that goes on would hold a pipe open
            ran = subprocess.run(
                program, cwd=folder, env=environment, stdout=output, stderr=output, check=False, timeout=1200
            )
            output.seek(0)
            said = output.read().decode()
        assert ran.returncode == 0, f"{page.name}:\n{text}\n{said[-4000:]}"


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_has_only_blocks_that_are_run_or_said_not_to_be(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert {language for language, _ in BLOCK.findall(text)} <= {"sh", "python", "console"}
    if blocks(page, "console"):
        assert re.search(r"not run", text, re.IGNORECASE)


def said_commands(page: Path) -> Iterator[list[str]]:
    """The words of each of our commands in a page's blocks, continued lines joined, comments and pipes cut off."""
    for _, text in blocks(page, "sh", "bash", "console", ""):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(
                line.removeprefix("$ ").strip().partition(" #")[0].replace("'", '"'), comments=True
            )
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words = words[1:]
            if words and words[0] in COMMANDS:
                ends = [
                    i for i, w in enumerate(words) if w in {"|", "||", "&", "&&", ">", "2>&1"} or w[0] == ">"
                ]
                yield words[: min(ends, default=len(words))]


def problem(words: list[str]) -> str:
    """What is wrong with a command, as far as its names go."""
    import typer

    command: Any = typer.main.get_command(importlib.import_module(COMMANDS[words[0]]).app)
    rest = words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            return f"no command {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {name for p in command.params for name in (*p.opts, *getattr(p, "secondary_opts", ()))}
    known |= {"--help", "-h", "--install-completion", "--show-completion"}
    unknown = [w for w in rest if re.match(r"--?[a-zA-Z]", w) and w.partition("=")[0] not in known]
    return f"no option {unknown[0]}" if unknown else ""


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_pages_exist_with_their_options(page: Path) -> None:
    for words in said_commands(page):
        assert not problem(words), f"{' '.join(words)}: {problem(words)}"


def test_an_option_that_does_not_exist_is_found() -> None:
    assert problem(["vckg", "build", "--profil", "core"]) == "no option --profil"
    assert problem(["vckg-serve", "bench"]) == "no command bench"
    assert problem(["arena", "run", "-m", "gather", "--output=x"]) == ""
