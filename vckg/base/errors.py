"""Errors that the user can correct.

KnownError            a failure that one line explains; the commands print it and exit with 2
├── SourceError       a source file is missing, has another checksum, or does not fit its reader
├── BuildError        the statements of the sources make no valid graph
├── GraphError        a graph folder is missing, damaged or foreign, or lacks a node, relation or source
│   └── MissingNodeError  a graph has no node of that CURIE or index
└── InputError        an argument or an input file is unusable

Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class KnownError(Exception):
    """A failure that its message explains; the commands print the message without a traceback."""


class SourceError(KnownError):
    """A source file does not have the form that its reader knows.

    The message locates the problem: by file and line (from 1), in JSON by its path (``$[0].id``), and by the file
    alone where there are no lines (a workbook, a database, a damaged archive).
    """

    def __init__(self, path: Path | str, problem: str, *, line: int | None = None, fix: str = "") -> None:
        where = f"{path}:{line}" if line else str(path)
        reason = " ".join(problem.split())  # parsers quote lines with their ends
        super().__init__(f"{where}: {reason}" + (f"; {fix}" if fix else ""))


class BuildError(KnownError):
    """The statements of the sources make no valid graph."""


class GraphError(KnownError):
    """A graph folder is missing, damaged or of another version, or lacks a node, relation or source."""


class MissingNodeError(GraphError, KeyError):
    """A graph has no node of that CURIE or index; also a `KeyError`, since ``graph[...]`` raises it."""

    __str__ = Exception.__str__  # KeyError quotes its message


class InputError(KnownError):
    """An argument or an input file is unusable."""


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest known name, or an empty string; `cutoff` 1 wants it equal."""
    folded = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=cutoff)
    return f" (did you mean {folded[near[0]]!r}?)" if near else ""


def first_line(error: BaseException) -> str:
    """Return the first line of another library's message, or the error's type where it has none."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
