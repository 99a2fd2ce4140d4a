"""The four commands are one family: the same names for the same things, the same errors, the same manners."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

ROOT = Path(__file__).parents[1]
COMMANDS = {"vckg": "vckg.cli", "gather": "gather.cli", "arena": "arena.cli", "vckg-serve": "serve.cli"}
#: One thing has one name; these are the names it does not have.
OTHER_NAMES = {
    "--output": {"--out", "--outfile", "--to", "--save"},
    "--force": {"--overwrite", "--replace", "--clobber"},
    "--graph": {"--kg", "--graph-folder"},
    "--json": {"--as-json", "--format-json"},
    "--seed": {"--random-seed", "--random-state"},
    "--base-url": {"--url", "--endpoint", "--api-base"},
    "--connections": {"--workers", "--jobs", "--concurrency"},
    "--limit": {"--max-samples", "--max-items"},
    "--quiet": {"--silent", "--no-progress"},
    "--draft-folder": {"--drafts"},
}
SHORT = {
    "--output": "-o", "--force": "-f", "--graph": "-g", "--limit": "-n", "--quiet": "-q", "--help": "-h",
    "--model": "-m", "--task": "-t", "--dataset": "-d", "--judge": "-j",
}  # fmt: skip
#: Commands without --json, and what a script takes instead.
NO_JSON = {
    "vckg card": "a page",
    "gather benchmark": "Markdown for docs/results/",
    "gather benchmark-llm": "Markdown for docs/results/",
    "vckg-serve start": "the HTTP interface",
    "vckg-serve chat": "a conversation",
    "vckg-serve write-corpus": "a folder",
    "vckg-serve pack-answers": "a file",
    "vckg-serve train-draft": "a folder with a manifest",
    "vckg-serve build-ngrams": "a file",
    "vckg-serve export-vllm": "a folder",
    "gather cite": "text and BibTeX",
    "gather apply": "the annotated file",
    "gather cas": "a JSON file",
    "gather mcp": "the protocol",
    "arena form": "a form for people, and scores of one that is filled in",
    "arena check": "the exit code",
}


def leaves() -> Iterator[tuple[str, Any]]:
    """Every sub-command of the family by its whole name."""

    def below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        groups = getattr(command, "commands", None)
        if groups is None:
            yield name, command
        for sub, inner in (groups or {}).items():
            yield from below(f"{name} {sub}", inner)

    for name, module in COMMANDS.items():
        yield from below(name, typer.main.get_command(importlib.import_module(module).app))


LEAVES = dict(leaves())


def options(command: Any) -> list[list[str]]:
    return [list(p.opts) for p in command.params if p.param_type_name == "option"]


def long_and_short(names: list[str]) -> tuple[str, str]:
    (long,) = [n for n in names if n.startswith("--")]
    return long, next((n for n in names if not n.startswith("--")), "")


def call(name: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    program = f"import sys; sys.argv[0] = {name!r}; from {COMMANDS[name]} import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph of data/toy, built by the command itself."""
    folder = tmp_path_factory.mktemp("toy") / "graph"
    table = ROOT / "data" / "toy" / "sources.toml"
    ran = call(
        "vckg",
        "build",
        "-o",
        str(folder),
        "--profile",
        "core",
        "--table",
        str(table),
        "--mirror",
        str(table.parent),
    )
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.mark.parametrize("command", LEAVES)
def test_a_short_option_means_the_same_everywhere(command: str) -> None:
    for names in options(LEAVES[command]):
        long, short = long_and_short([n for n in names if not n.startswith("--no-")])
        assert short == SHORT.get(long, ""), f"{command} {names}"


@pytest.mark.parametrize("command", LEAVES)
def test_one_thing_has_one_name(command: str) -> None:
    given = {name for names in options(LEAVES[command]) for name in names}
    for name, others in OTHER_NAMES.items():
        assert not given & others, f"{command}: say {name}"


@pytest.mark.parametrize("command", LEAVES)
def test_every_option_and_argument_says_what_it_is_for(command: str) -> None:
    for parameter in LEAVES[command].params:
        assert parameter.help, f"{command} {parameter.opts}"


@pytest.mark.parametrize("command", LEAVES)
def test_every_command_can_be_quiet_and_speaks_json_where_a_script_wants_it(command: str) -> None:
    given = {name for names in options(LEAVES[command]) for name in names}
    assert {"--quiet", "-q"} <= given
    assert ("--json" in given) != (command in NO_JSON)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_offers_version_and_completion_and_is_shown_where_nothing_is_asked(name: str) -> None:
    asked, bare = call(name, "-h"), call(name)
    assert (asked.returncode, bare.returncode) == (0, 2)
    assert asked.stdout == bare.stdout
    assert {"--version", "--install-completion", "--show-completion"} <= set(
        re.findall(r"--[a-z-]+", asked.stdout)
    )


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--grahp",), "--grahp"),
        (("no-such-command",), "no-such-command"),
    ],
)
def test_a_slip_of_the_pen_is_one_line_and_exit_code_2(
    name: str, arguments: tuple[str, ...], says: str
) -> None:
    ran = call(name, *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert re.fullmatch(rf"{name}: error: .*{says}.*; see `{name} --help`\n", ran.stderr), ran.stderr


@pytest.mark.parametrize("command", LEAVES)
def test_an_unknown_option_of_a_command_is_one_line_that_names_its_help(command: str) -> None:
    name, *rest = command.split()
    ran = call(name, *rest, "--no-such-option")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert re.fullmatch(rf"{name}: error: .*--no-such-option.*; see `{command} --help`\n", ran.stderr)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vckg", ("info", "--graph", "/nowhere")),
        ("gather", ("explain", "CD3D", "--graph", "/nowhere")),
        ("arena", ("data", "--graph", "/nowhere")),
        ("vckg-serve", ("chat", "--model", "/nowhere")),
    ],
)
def test_what_a_user_can_mend_is_one_line_even_when_quiet(name: str, arguments: tuple[str, ...]) -> None:
    ran = call(name, *arguments, "--quiet")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert re.fullmatch(rf"{name}: error: /nowhere: .+\n", ran.stderr), ran.stderr


@pytest.mark.parametrize("name", ["vckg", "gather", "arena"])
def test_version_tells_the_graph_and_builds_none(name: str, toy: Path, tmp_path: Path) -> None:
    ran = call(name, "--version", VCKG_GRAPH=str(toy))
    known = json.loads((toy / "manifest.json").read_text())["content_hash"]
    first, second = ran.stdout.splitlines()
    assert re.fullmatch(rf"{name} \d+\.\d+\.\d+\S*", first)
    assert second == f"graph {known[:12]} in {toy}"
    empty = call(name, "--version", VCKG_GRAPH="", VCKG_CACHE=str(tmp_path))
    assert "graph not built yet" in empty.stdout
    assert list(tmp_path.iterdir()) == []


def test_version_of_the_server_tells_the_model() -> None:
    first, second = call("vckg-serve", "--version").stdout.splitlines()
    assert re.fullmatch(r"vckg-serve \d+\.\d+\.\d+\S*", first)
    assert second.startswith("model ")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vckg", ("export", "--json", "-o")),
        ("vckg", ("card", "-o")),
    ],
)
def test_quiet_leaves_stderr_empty(name: str, arguments: tuple[str, ...], toy: Path, tmp_path: Path) -> None:
    loud = call(name, *arguments, str(tmp_path / "a"), VCKG_GRAPH=str(toy))
    assert loud.returncode == 0, loud.stderr
    assert loud.stderr
    quiet = call(name, *arguments, str(tmp_path / "b"), "-q", VCKG_GRAPH=str(toy))
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert quiet.stdout.replace("/b", "/a") == loud.stdout


def test_quiet_of_the_server_leaves_its_notes_out() -> None:
    program = "from serve import command_app as a; a.note('heard'); a.be_quiet(); a.note('not heard')"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stderr == "heard\n"


def test_the_server_without_its_extra_names_it() -> None:
    program = "import sys; sys.modules['torch'] = None; sys.argv[0] = 'vckg-serve'; from serve.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program, "chat"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (
        2,
        "vckg-serve: error: needs torch; run `pip install 'vckg[serve]'`\n",
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_the_shell_completes_sub_commands(name: str) -> None:
    first = sorted(c.split()[1] for c in LEAVES if c.split()[0] == name)[0]
    variable = f"_{name.upper().replace('-', '_')}_COMPLETE"
    asked = {variable: "complete_bash", "COMP_WORDS": f"{name} {first[:2]}", "COMP_CWORD": "1"}
    assert first in call(name, **asked).stdout.split()


def test_json_is_json_and_goes_alone_to_stdout(toy: Path) -> None:
    for arguments in (("info",), ("show", "CD3D"), ("sources",), ("audit", str(toy))):
        ran = call("vckg", *arguments, "--json", VCKG_GRAPH=str(toy))
        assert json.loads(ran.stdout), ran.stderr
    ran = call("gather", "explain", "CD3D", "CD3E", "--json", VCKG_GRAPH=str(toy))
    assert json.loads(ran.stdout), ran.stderr
    listed = json.loads(call("arena", "list", "--json").stdout)
    assert set(listed) == {"tasks", "datasets", "contestants"}


@pytest.mark.parametrize("module", COMMANDS.values(), ids=COMMANDS)
def test_the_list_of_commands_is_not_cut(module: str) -> None:
    group = typer.main.get_command(importlib.import_module(module).app)
    cut = [name for name, one in group.commands.items() if one.get_short_help_str().endswith("...")]
    assert cut == []


@pytest.mark.parametrize(("command", "module"), COMMANDS.items())
def test_a_package_runs_as_its_command(command: str, module: str) -> None:
    package = module.removesuffix(".cli")
    done = subprocess.run([sys.executable, "-m", package, "--version"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{command} ")
