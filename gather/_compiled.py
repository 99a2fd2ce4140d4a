"""Numba's decorator as mypy can see it, and a word before it takes its time."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

from vckg.base.console import err

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function on first use, keep the result on disk, and release the interpreter lock inside."""
    return cast("F", njit(cache=True, nogil=True)(function))


def say_if_compiling(function: Callable[..., Any], what: str) -> bool:
    """Say on stderr that `what` is compiled now, where no result on disk is newer than the source; return whether."""
    kernel: Any = function
    if kernel.signatures:
        return False
    source = Path(inspect.getfile(kernel.py_func))
    kept = Path(kernel.stats.cache_path or "").glob(f"{source.stem}.{kernel.py_func.__name__}-*.nbi")
    if any(path.stat().st_mtime >= source.stat().st_mtime for path in kept):
        return False
    err().print(f"compiling {what}, once after an installation (some 15 s) ...")
    return True
