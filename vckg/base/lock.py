"""One process at a time: a lock that the kernel releases, also when its holder is killed."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vckg.base.console import err
from vckg.base.errors import InputError


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; where another holds it, say so and wait."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path.parent}: cannot write there ({reason}); name another folder") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            err().print(f"another process {what}; waiting for it ...", highlight=False)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
