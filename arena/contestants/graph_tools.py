"""The graph's tools as a contestant calls them: those of gather's MCP server that need no file.

An answer is cut to `MOST_LETTERS`: a small model's context is short, and its time is the reader's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gather.mcp.bounds import fitted
from gather.mcp.folder import Folder
from gather.mcp.session import Session
from gather.mcp.tools import TOOLS, call, one_line
from vckg.base.errors import KnownError
from vckg.base.words import plain

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

OFFERED: Final = ("explain", "node", "path")
MOST_LETTERS: Final = 2_400
"""Of one answer in JSON."""
MOST_ROUNDS: Final = 2
"""Replies of one contestant to one sample that may call tools; the next has to answer."""


def described(name: str) -> tuple[str, dict[str, Any]]:
    """Return what a tool does, in a sentence, and the JSON schema of its arguments, each with what it means."""
    entry = TOOLS[name]
    says = " ".join((entry.function.__doc__ or "").partition("\n\n")[0].split())
    schema = entry.arguments.model_json_schema()
    for argument in schema["properties"].values():
        argument.setdefault("description", schema["description"])
    return says, schema


def use(graph: Graph, name: str, arguments: dict[str, Any]) -> str:
    """Call a tool and return its answer as JSON, or why it has none in one line."""
    session = Session(Folder(Path.cwd()))  # none of the tools offered reads a file
    session.graph = graph
    try:
        return json.dumps(fitted(call(session, name, arguments), MOST_LETTERS), ensure_ascii=False)
    except KnownError as error:
        return plain(f"error: {one_line(session, error)}", MOST_LETTERS)
