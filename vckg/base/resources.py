"""Paths of the shipped files (`data/`, `prompts/`) and of the user's cache."""

from __future__ import annotations

import csv
import os
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def resource(*parts: str) -> Path:
    """Return the path of a shipped file, e.g. ``resource("data", "sources.toml")``.

    In a wheel the two folders are inside this package; in a checkout they are at its root.
    """
    root = _PACKAGE if (_PACKAGE / parts[0]).exists() else _PACKAGE.parent
    return root.joinpath(*parts)


def table(*parts: str) -> list[dict[str, str]]:
    """Return the rows of a shipped table by the names of its columns; lines that begin with # are notes."""
    with resource(*parts).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader((line for line in lines if not line.startswith("#")), delimiter="\t"))


def default_cache() -> Path:
    """Return the folder of downloads, the default graph and stamps: VCKG_CACHE, or the user's cache."""
    named = os.environ.get("VCKG_CACHE")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("vckg"))
