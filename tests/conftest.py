"""Fixtures that several packages' tests share: the mirror of real files."""

import os
from pathlib import Path

import pytest

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
