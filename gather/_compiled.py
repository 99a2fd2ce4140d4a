"""Numba's decorator as mypy can see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function on first use, keep the result on disk, and release the interpreter lock inside."""
    return cast("F", njit(cache=True, nogil=True)(function))
