"""Images, licences, the bill of what is installed and the security page say what is true of this tree."""

import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from vckg.build.source_table import shipped_sources

ROOT = Path(__file__).parents[1]
DOCKERFILES = [ROOT / "Dockerfile", ROOT / "docker" / "vllm.Dockerfile"]
SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
#: Instructions that a Dockerfile of ours may have.
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "LABEL", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "CMD"}


def instructions(path: Path) -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def compose() -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return made


def licences() -> ModuleType:
    spec = spec_from_file_location("licences", ROOT / "docs" / "_build" / "licences.py")
    assert spec is not None
    assert spec.loader is not None
    made = module_from_spec(spec)
    sys.modules["licences"] = made
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_an_image_is_pinned_runs_without_rights_and_tells_its_health(path: Path) -> None:
    found = instructions(path)
    assert {name for name, _ in found} <= KNOWN
    for name, rest in found:
        if name == "FROM":
            assert re.search(r":v?\d", rest), f"{rest} names no version"
            assert ":latest" not in rest
    names = [name for name, _ in found]
    assert int(dict(found)["USER"]) > 0
    assert names.count("HEALTHCHECK") == 1
    assert "not built" in path.read_text(encoding="utf-8").partition("\n")[0]


def test_what_an_image_copies_is_let_through_and_is_all_a_wheel_needs() -> None:
    let = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert all((ROOT / name).exists() for name in let)
    project = (ROOT / "pyproject.toml").read_text()
    packages = re.search(r'packages = \[("\w+"(?:, "\w+")*)\]', project)
    assert packages is not None
    assert let >= {name.strip('" ') for name in packages[1].split(",")} | {
        "data",
        "prompts",
        "README.md",
        "LICENSE",
    }


@pytest.mark.parametrize("name", ["serve", "vllm"])
def test_a_service_is_guarded_and_wants_a_key(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert any("API_KEY:?" in str(value) for value in service["environment"].values())
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    dockerfile = service["build"].get("dockerfile", "Dockerfile")
    assert (ROOT / dockerfile) in DOCKERFILES


def test_the_service_of_ours_is_started_with_options_that_exist() -> None:
    import typer

    from serve.cli import app

    program, sub, *words = compose()["services"]["serve"]["command"]
    command: Any = typer.main.get_command(app)
    assert program == "vckg-serve"
    known = {o for p in command.commands[sub].params for o in p.opts}
    assert {w for w in words if w.startswith("--")} <= known
    image = [rest for name, rest in instructions(ROOT / "Dockerfile") if name == "CMD"][-1]
    assert set(re.findall(r"--[a-z-]+", image)) <= known


def test_every_class_that_the_vllm_service_names_is_there() -> None:
    words = compose()["services"]["vllm"]["command"]
    module, _, name = words[words.index("--scheduler-cls") + 1].rpartition(".")
    source = (ROOT / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8")
    assert re.search(rf"^class {name}\b", source, re.MULTILINE)


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="no hadolint; `make lint-images` brings it")
@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    ran = subprocess.run(["hadolint", str(path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


def test_every_dependency_and_every_source_stands_on_the_page_of_licences() -> None:
    module = licences()
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    for extra, names in module.requirements().items():
        for name in names:
            assert re.search(rf"^\| {re.escape(name)} \| [^|]*{re.escape(extra)}", page, re.MULTILINE), (
                f"{name} ({extra}): run `make licences`"
            )
    rows = list(module._data(shipped_sources()))
    assert "\n".join(rows) in page, "the sources changed: run `make licences`"


def test_every_test_that_the_security_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", SECURITY)
    assert len(named) > 30
    for path, name in named:
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), name


def test_nothing_is_read_that_could_run() -> None:
    """No pickle, no eval, no shell: the ways by which a file or a text becomes a program."""
    for package in ("vckg", "gather", "arena", "serve"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(
                r"^\s*(import|from) (pickle|marshal|shelve|dill|joblib)\b", text, re.MULTILINE
            ), path
            assert not re.search(
                r"(?<![\w.])(eval|exec)\(|shell=True|allow_pickle=True|torch\.load\(", text
            ), path
