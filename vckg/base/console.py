"""Start a command, report its progress and its errors.

`run` turns a `KnownError` or a mistyped option into one line on stderr and exit code 2.
Progress goes to stderr, results to stdout; `be_quiet` turns progress off.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from vckg.base.errors import KnownError

if TYPE_CHECKING:
    import typer
    from rich.console import Console
    from rich.progress import Progress

#: Width of a table in a file or a pipe, in characters.
PIPE_WIDTH = 160
#: Error numbers of a full disk, an exhausted quota and a file-size limit.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
#: Error numbers of a file or folder that this user may not read or write.
DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
#: Error numbers of a path that cannot be made: a file stands where a folder should, or the name is too long.
IMPOSSIBLE = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})
Advance = Callable[[float], None]


_quiet = False


def be_quiet() -> None:
    """Turn off progress and notes (``--quiet``)."""
    global _quiet
    _quiet = True


def run(app: typer.Typer, name: str) -> None:
    """Run a command-line application and exit.

    A `KnownError`, a usage error, a full disk or a file without rights becomes one line on stderr and exit code 2.
    """
    try:
        sys.exit(app(prog_name=name, standalone_mode=False))
    except KnownError as error:
        fail(name, str(error))
    except BrokenPipeError:  # the reader of the output ended (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        if error.errno in FULL:
            fail(name, f"{where}cannot write ({error.strerror}); make room and run it again")
        if not (error.filename and error.errno in DENIED | IMPOSSIBLE):
            raise
        change = "change its rights, or " if error.errno in DENIED else ""
        fail(name, f"{where}{error.strerror}; {change}name another place")
    except Exception as error:
        if not hasattr(error, "format_message"):  # not a usage error of click, or of the copy in typer
            raise
        context = getattr(error, "ctx", None)
        asked = context.command_path if context else name
        fail(name, f"{error.format_message().rstrip('.')}; see `{asked} --help`")


def fail(name: str, message: str) -> NoReturn:
    """Print an error in one line and exit with 2."""
    try:
        sys.stderr.write(f"{name}: error: {' '.join(message.splitlines())}\n")
        sys.stderr.flush()
    except OSError:  # the disk that is full also holds the log; the exit code still says it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    sys.exit(2)


def out() -> Console:
    """Return the console for results (stdout); text in brackets is text."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(markup=False, emoji=False, highlight=False)
    return Console(soft_wrap=True, width=PIPE_WIDTH, markup=False, emoji=False, highlight=False)


def err() -> Console:
    """Return the console for progress and notes (stderr)."""
    from rich.console import Console

    return Console(stderr=True, quiet=_quiet, markup=False, emoji=False, highlight=False)


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Advance]:
    """Show a progress bar on stderr while the block runs; call the yielded function with the steps done.

    On a pipe it prints one line at the start.
    """
    console = err()
    if not console.is_terminal:
        console.print(f"{description} ...")
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
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda steps: bar.advance(task, steps)


class Transfer:
    """The progress bar of one download."""

    def __init__(self, display: Progress | None, name: str) -> None:
        self._display = display
        self._task = display.add_task(name, total=None) if display else None

    def start(self, size: int) -> None:
        """Begin at zero, with the size of the download in bytes; 0 where it is unknown."""
        if self._display and self._task is not None:
            self._display.reset(self._task, total=size or None)

    def update(self, size: int) -> None:
        """Add received bytes."""
        if self._display and self._task is not None:
            self._display.advance(self._task, size)


@contextmanager
def transfers(description: str) -> Iterator[Callable[[str], Transfer]]:
    """Show downloads on stderr while the block runs; call the yielded function with a name for each.

    On a pipe it prints one line at the start.
    """
    console = err()
    if not console.is_terminal:
        console.print(f"{description} ...")
        yield lambda name: Transfer(None, name)
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    console.print(description)
    with Progress(*columns, console=console, transient=True) as display:
        yield lambda name: Transfer(display, name)
