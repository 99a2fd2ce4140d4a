"""The command ``gather mcp``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vckg.base.errors import InputError


def mcp(
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="The only folder that tools read and write.")
    ],
    graph: Annotated[
        Path | None, typer.Option("--graph", "-g", help="Graph folder; by default the one `vckg` keeps.")
    ] = None,
) -> None:
    """Serve annotation, check and graph as tools for a language model, on standard input and output."""
    from vckg.base.console import be_quiet

    be_quiet()  # standard output belongs to the protocol
    try:
        from gather.mcp.server import serve
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] not in ("mcp", "mcp_types", "anyio"):
            raise
        raise InputError(
            "gather mcp needs the package mcp; install it with pip install 'vckg[mcp]'"
        ) from error
    from gather.mcp.folder import Folder
    from gather.mcp.session import Session

    serve(Session(Folder(folder), graph))
