"""The one way every command starts, reports progress and fails.

`run` turns a `KnownError` into one line on stderr and exit code 2.
Progress goes to stderr, results to stdout.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vckg.errors import KnownError

if TYPE_CHECKING:
    import typer
    from rich.console import Console

#: Columns of a table that goes to a file or a pipe, where no terminal says how wide it is.
PIPE_WIDTH = 160
Advance = Callable[[float], None]


def run(app: typer.Typer, name: str) -> None:
    """Run a command-line application; a `KnownError` becomes one line on stderr and exit code 2."""
    try:
        app(prog_name=name)
    except KnownError as error:
        message = " ".join(str(error).split("\n"))
        sys.stderr.write(f"{name}: error: {message}\n")
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output went away (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def out() -> Console:
    """Console for results (stdout)."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console()
    return Console(soft_wrap=True, width=PIPE_WIDTH)


def err() -> Console:
    """Console for progress and notes (stderr)."""
    from rich.console import Console

    return Console(stderr=True)


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Advance]:
    """Show a progress bar on stderr while the block runs; call the yielded function with the steps done.

    On a pipe nothing is animated: one line says what starts.
    """
    console = err()
    if not console.is_terminal:
        console.print(f"{description} ...", highlight=False)
        yield lambda _steps: None
        return
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda steps: bar.advance(task, steps)
