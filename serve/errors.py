"""Errors that the user can fix.

KnownError            a failure whose one-line message is enough; the commands print it and exit with 2
├── ModelError        a model folder or file is missing, damaged, or of a family the engine does not run
├── RequestError      a request is malformed or over a limit; the server answers 4xx
│   └── ConstraintError   the grammar of one answer failed on the way; that request alone ends
├── OverloadedError   the server is full or draining; the client may try again later
└── InputError        an argument or an input file is not usable

Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection


class KnownError(Exception):
    """A failure whose message is enough for the user; the commands print it without a traceback."""


class ModelError(KnownError):
    """A model is missing, damaged, or of a family the engine does not run."""


class RequestError(KnownError):
    """A request is malformed or over a limit.

    `param` names the offending field of the request's body, and `code` the kind of error, as OpenAI's form has them.
    """

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param, self.code = param, code


class ConstraintError(RequestError):
    """An answer's grammar met a limit after the request was accepted; only this request ends."""


class OverloadedError(KnownError):
    """The server is full or draining; nothing of the request was started."""


class InputError(KnownError):
    """An argument or an input file is not usable as given."""


def check_name(what: str, name: str, known: Collection[str]) -> None:
    """Raise InputError if `name`, the value of `what`, is not a known one; the nearest known name is offered."""
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError(f"{what} {name!r}{meant}; wanted one of {', '.join(known)}")
