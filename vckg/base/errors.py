"""What can go wrong in a way the user can mend.

KnownError            a failure whose one-line message is enough; the commands print it and exit with 2
├── SourceError       a source file is missing, has another checksum, or is not of the form its reader knows
├── BuildError        the sources were read but do not make a sound graph
├── GraphError        a graph folder is missing, damaged, foreign, or lacks what was asked for
│   └── MissingNodeError  a graph has no node of that CURIE or index
└── InputError        an argument or an input file of the user's

Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class KnownError(Exception):
    """A failure whose message is enough for the user; the commands print it without a traceback."""


class SourceError(KnownError):
    """A source file does not have the form its reader knows.

    The message names the file and the line, from 1; the path within it (``$[0].id``) where JSON is of another
    shape; the file alone where it has no lines (a workbook, a database, a damaged archive).
    """

    def __init__(self, path: Path | str, problem: str, *, line: int | None = None, fix: str = "") -> None:
        where = f"{path}:{line}" if line else str(path)
        said = " ".join(problem.split())  # parsers quote lines of the file, with their ends
        super().__init__(f"{where}: {said}" + (f"; {fix}" if fix else ""))


class BuildError(KnownError):
    """The sources were read but do not make a sound graph."""


class GraphError(KnownError):
    """A graph folder is missing, damaged, of another version, or lacks what was asked for."""


class MissingNodeError(GraphError, KeyError):
    """A graph has no node of that CURIE or index; a `KeyError` too, since ``graph[...]`` raises it."""

    __str__ = Exception.__str__  # KeyError quotes its message


class InputError(KnownError):
    """An argument or an input file is not usable as given."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest known name, or an empty string."""
    folded = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f" (did you mean {folded[near[0]]!r}?)" if near else ""
