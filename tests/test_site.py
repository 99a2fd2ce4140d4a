"""The documentation site builds strictly, its links lead somewhere, and it asks nothing of another host."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "_build" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return folder


def test_no_link_is_broken_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    found, seen = module("check_links").broken(site.resolve())
    assert found == []
    assert seen > 1000


def test_a_broken_link_a_missing_anchor_and_a_foreign_script_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text('<p id="here">')
    (tmp_path / "index.html").write_text(
        '<a href="other.html#here"></a><a href="gone.html"></a><a href="other.html#there"></a>'
        '<a href="https://example.org"></a><script src="https://example.org/x.js"></script>'
    )
    found, seen = module("check_links").broken(tmp_path.resolve())
    assert found == [
        "index.html: gone.html: no such file",
        "index.html: other.html#there: no such anchor",
        "index.html: https://example.org/x.js: loaded from another host",
    ]
    assert seen == 5


def test_every_command_and_every_option_stands_in_the_reference(site: Path) -> None:
    import typer

    hooks = module("hooks")
    for name, home in hooks.COMMANDS.items():
        page = (site / "reference" / "cli" / f"{name}.html").read_text()
        command = typer.main.get_command(importlib.import_module(home).app)
        for words, sub in hooks._leaves(name, command):
            assert words in page
            for option in (o for p in sub.params for o in p.opts if o.startswith("--")):
                assert f"<code>{option}</code>" in page, f"{words} {option}"


def test_formulas_are_drawn_by_the_browser_alone(site: Path) -> None:
    page = (site / "method.html").read_text()
    assert page.count("<math") > 20
    assert "arithmatex" not in page


@pytest.mark.browser
def test_pages_opened_as_files_are_searched_and_ask_for_nothing(site: Path, page: "Page") -> None:
    page.goto((site / "index.html").as_uri())
    page.keyboard.press("s")
    page.keyboard.type("convergence")
    page.wait_for_function(
        "/\\d+ matching/.test(document.querySelector('.md-search-result__meta').innerText)"
    )
    page.keyboard.press("Escape")


@pytest.mark.browser
@pytest.mark.parametrize(
    "path", ["index.html", "method.html", "reference/cli/gather.html", "results/peers.html"]
)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_and_no_page_is_wider_than_the_screen(
    site: Path, page: "Page", path: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto((site / path).as_uri())
    page.wait_for_load_state("load")
    # preload would fetch the style sheets once more, which no browser lets a file do
    found = Axe().run(page, options={"preload": False}).response["violations"]
    assert [v["id"] for v in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
