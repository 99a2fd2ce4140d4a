"""Options that all commands of the family share: ``--version``, ``--quiet``, completion, errors in one line.

It behaves like ``vckg/command_app.py`` and ``run`` in ``vckg/base/console.py``. This package imports none of the
others, so that it works alone. ``tests/test_cli_family.py`` checks that both behave the same.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from serve.errors import KnownError

HELP = {"help_option_names": ["--help", "-h"]}
VersionOption = Annotated[
    bool,
    typer.Option("--version", help="Show the version and the model that is served by default, and exit."),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no notes on stderr; errors still show.")
]
Function = TypeVar("Function", bound=Callable[..., Any])
_quiet = False


class Application(typer.Typer):
    """A command, or a group of commands, of the family.

    Parameters
    ----------
    name
        What the user types.
    help
        One line.
    versions
        What ``--version`` prints; None for a group within a command.
    """

    def __init__(self, name: str, help: str, versions: Callable[[], Iterator[str]] | None = None) -> None:
        super().__init__(
            name=name,
            help=help,
            add_completion=versions is not None,
            pretty_exceptions_enable=False,
            rich_markup_mode=None,
            context_settings=HELP,
        )

        def family(context: typer.Context, version: VersionOption = False) -> None:
            if version and versions is not None:
                for line in versions():
                    typer.echo(line)
                raise typer.Exit
            if context.invoked_subcommand is None:
                typer.echo(context.get_help())
                raise typer.Exit(2)

        def group(context: typer.Context) -> None:
            family(context)

        self.callback(invoke_without_command=True)(group if versions is None else family)

    def command(self, *args: Any, **kwargs: Any) -> Callable[[Function], Function]:
        """Register a command, as typer does, that also takes ``--quiet``."""
        register = super().command

        def add(function: Function) -> Function:
            first = (inspect.getdoc(function) or "").partition("\n\n")[0]
            whole = {"short_help": first or None} | kwargs  # else the list of commands cuts it
            register(*args, context_settings=HELP, **whole)(_with_quiet(function))
            return function

        return add


def _with_quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def command(*args: Any, quiet: bool, **kwargs: Any) -> Any:
        if quiet:
            be_quiet()
        return function(*args, **kwargs)

    own = inspect.signature(function, eval_str=True)
    option = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=QuietOption)
    signature = own.replace(parameters=[*own.parameters.values(), option])
    command.__dict__["__signature__"] = signature
    command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return command


def be_quiet() -> None:
    """Show no progress and no notes from now on (``--quiet``)."""
    global _quiet
    _quiet = True


def note(text: str) -> None:
    """One line of progress on stderr, unless ``--quiet``."""
    if not _quiet:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def run(app: typer.Typer, name: str) -> None:
    """Run a command-line application and exit; a `KnownError`, or a library that the extra `serve`
    brings and that is not installed, is one line on stderr and exit code 2.
    """
    try:
        sys.exit(app(prog_name=name, standalone_mode=False))
    except KnownError as error:
        fail(name, str(error))
    except BrokenPipeError:  # the reader of our output ended (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", "serve"):
            raise
        fail(name, f"needs {error.name}; run `pip install 'vckg[serve]'`")
    except Exception as error:
        if not hasattr(error, "format_message"):  # a usage error, of click or of typer's own copy of it
            raise
        context = getattr(error, "ctx", None)
        asked = context.command_path if context else name
        fail(name, f"{error.format_message().rstrip('.')}; see `{asked} --help`")


def fail(name: str, message: str) -> NoReturn:
    """Print an error in one line, and exit with 2."""
    try:
        sys.stderr.write(f"{name}: error: {' '.join(message.split())}\n")
        sys.stderr.flush()
    except OSError:  # the disk that is full also holds the log; the exit code still says it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    sys.exit(2)
