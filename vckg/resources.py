"""Where the files that travel with the distribution are: `data/` and `prompts/`."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def resource(*parts: str) -> Path:
    """Return the path of a shipped file, e.g. ``resource("data", "sources.toml")``.

    In a wheel the two folders lie inside this package; in a checkout they are at its root.
    """
    root = _PACKAGE if (_PACKAGE / parts[0]).exists() else _PACKAGE.parent
    return root.joinpath(*parts)
