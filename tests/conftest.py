"""Fixtures that several packages' tests share: the mirror of real files, and a browser for the pages."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[1]


def mirror_folder() -> Path | None:
    """The folder of real source files: VCKG_MIRROR, or `shared/data` beside the checkout."""
    named = os.environ.get("VCKG_MIRROR")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Skip, saying why, where the real files are not at hand; in CI that is a failure."""
    folder = mirror_folder()
    if folder is None:
        reason = "no mirror of real files: set VCKG_MIRROR to a folder like the one docs/sources.md describes"
        if os.environ.get("CI"):
            pytest.fail(f"CI must not skip: {reason}")
        pytest.skip(reason)
    return folder


# --- pages, in Debian's chromium ---

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
    "--metrics-recording-only",
]


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Debian's chromium; skip, saying why, where it is not installed; in CI that is a failure."""
    executable = shutil.which("chromium")
    if executable is None:
        reason = "no chromium: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(f"CI must not skip: {reason}")
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:
    """A fresh page of 1280 x 800 that fails the test on a script error and records what it asked for.

    `page.requests` and `page.errors` are lists of text; file: and data: addresses are not requests.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.requests, page.errors = [], []
    page.on("request", lambda r: r.url.startswith(("file:", "data:")) or page.requests.append(r.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda m: page.errors.append(m.text) if m.type in {"error", "warning"} else None)
    yield page
    context.close()
    assert page.errors == [], "the page's script or policy complained"
    assert page.requests == [], "the page asked for something outside itself"


@pytest.fixture
def axe() -> Callable[["Page"], list[str]]:
    """A function: the serious and critical findings of axe on the page as it is now, one line each."""
    from axe_playwright_python.sync_playwright import Axe

    def findings(page: "Page") -> list[str]:
        return [
            f"{violation['id']} ({violation['impact']}): {node['html'][:200]}"
            for violation in Axe().run(page).response["violations"]
            if violation["impact"] in {"serious", "critical"}
            for node in violation["nodes"]
        ]

    return findings
