"""The tools of the server by name, and one call of a tool: arguments checked, the answer within bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from gather.mcp.bounds import MOST_ERROR, fitted
from gather.mcp.compare import CompareAnswer, CompareArguments, compare
from gather.mcp.file_tools import (
    AnnotateAnswer,
    AnnotateArguments,
    CellSetAnswer,
    CellSetArguments,
    CheckAnswer,
    CheckArguments,
    annotate,
    cell_set,
    check,
)  # fmt: skip
from gather.mcp.graph_tools import (
    CiteAnswer,
    CiteArguments,
    EdgeAnswer,
    EdgeArguments,
    ExplainAnswer,
    ExplainArguments,
    NodeAnswer,
    NodeArguments,
    PathAnswer,
    PathArguments,
    cite,
    edge,
    explain,
    node,
    path,
)  # fmt: skip
from gather.mcp.session import Session
from vckg.base.errors import InputError, KnownError, did_you_mean
from vckg.base.words import plain


@dataclass(frozen=True)
class Entry:
    """A tool: its function, the models of its arguments and its answer, and whether it can write a file."""

    function: Callable[[Session, Any], BaseModel]
    arguments: type[BaseModel]
    answer: type[BaseModel]
    writes: bool = False


TOOLS = {
    "annotate": Entry(annotate, AnnotateArguments, AnnotateAnswer, writes=True),
    "cell_set": Entry(cell_set, CellSetArguments, CellSetAnswer),
    "check": Entry(check, CheckArguments, CheckAnswer),
    "cite": Entry(cite, CiteArguments, CiteAnswer),
    "compare": Entry(compare, CompareArguments, CompareAnswer),
    "edge": Entry(edge, EdgeArguments, EdgeAnswer),
    "explain": Entry(explain, ExplainArguments, ExplainAnswer),
    "node": Entry(node, NodeArguments, NodeAnswer),
    "path": Entry(path, PathArguments, PathAnswer),
}


def call(session: Session, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a tool and return its answer, within bounds.

    Raises
    ------
    KnownError
        There is no such tool, an argument is wrong, or the file cannot be used; the message is one line.
    """
    entry = TOOLS.get(name)
    if entry is None:
        raise InputError(f"no tool {plain(name)!r}{did_you_mean(name, TOOLS)}; one of {', '.join(TOOLS)}")
    try:
        asked = entry.arguments.model_validate(arguments)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{name}: {plain(place)}: {first['msg']}") from error
    return fitted(entry.function(session, asked).model_dump())


def one_line(session: Session, error: KnownError) -> str:
    """Return the message of an error in one line, without the path of the folder."""
    return plain(str(error).replace(f"{session.folder.root}/", ""), MOST_ERROR)
