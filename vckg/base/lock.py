"""Locks between processes. The system releases them when their holder ends, even when it is killed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

from vckg.base.console import err
from vckg.base.errors import InputError

_RETRY_S = 0.1


def _module(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        return None


_FCNTL, _MSVCRT = _module("fcntl"), _module("msvcrt")
"""The locks of Unix and of Windows; a system with neither (WebAssembly) runs one process, which needs none."""


def try_lock(handle: int) -> bool:
    """Lock an open file without waiting; return False where another process or handle holds it.

    Raises
    ------
    OSError
        The file system has no locks.
    """
    try:
        if _FCNTL is not None:
            _FCNTL.flock(handle, _FCNTL.LOCK_EX | _FCNTL.LOCK_NB)
        elif _MSVCRT is not None:
            os.lseek(handle, 0, os.SEEK_SET)  # it locks one byte at the position of the file
            _MSVCRT.locking(handle, _MSVCRT.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    return True


def lock_if_possible(handle: int) -> bool:
    """As `try_lock`, but true where the file system has no locks; renames keep what two writers make whole."""
    try:
        return try_lock(handle)
    except OSError:
        return True


@contextmanager
def locked(path: Path, action: str) -> Iterator[None]:
    """Hold the lock file `path` while the block runs.

    Parameters
    ----------
    path
        The lock file; it and its folder are made.
    action
        What the holder does, e.g. ``"is building the graph"``. A process that has to wait prints it on stderr.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path.parent}: cannot write there ({reason}); name another folder") from error
    with file:
        if not lock_if_possible(file.fileno()):
            err().print(f"another process {action}; waiting for it ...")
            while not lock_if_possible(file.fileno()):
                time.sleep(_RETRY_S)
        yield
