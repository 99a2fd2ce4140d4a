"""The options that all commands share: ``--version``, ``--quiet``, ``-h``, shell completion.

`Application` is a typer application whose commands all take ``--quiet``; `vckg.base.console.run` runs it.
``serve/command_app.py`` repeats it, since that package imports none of the others.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from vckg.base.console import be_quiet

HELP = {"help_option_names": ["--help", "-h"]}
VersionOption = Annotated[
    bool, typer.Option("--version", help="Print the version and the default graph, and exit.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no notes: results and errors only.")
]
Function = TypeVar("Function", bound=Callable[..., Any])


class Application(typer.Typer):
    """One console command with its subcommands.

    Parameters
    ----------
    name
        Name of the command.
    help
        One line of help.
    """

    def __init__(self, name: str, help: str) -> None:
        super().__init__(
            name=name,
            help=help,
            add_completion=True,
            pretty_exceptions_enable=False,
            rich_markup_mode=None,
            context_settings=HELP,
        )

        @self.callback(invoke_without_command=True)
        def family(context: typer.Context, version: VersionOption = False) -> None:
            if version:
                for line in versions(name):
                    typer.echo(line)
                raise typer.Exit
            if context.invoked_subcommand is None:
                typer.echo(context.get_help())
                raise typer.Exit(2)

    def command(self, *args: Any, **kwargs: Any) -> Callable[[Function], Function]:
        """Register a subcommand that also takes ``--quiet``."""
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


def versions(name: str) -> list[str]:
    """Return the version, and the hash and folder of the default graph, without building it."""
    from importlib.metadata import version

    from vckg.build.default_graph import default_hash

    folder, content_hash = default_hash()
    graph = f"graph {content_hash[:12]} in {folder}" if content_hash else f"graph not built yet ({folder})"
    return [f"{name} {version('vckg')}", graph]
