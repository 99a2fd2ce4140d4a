"""Annotation: name the cell type of a ranked gene list.

One real instance (SC-Arena, shortened): a human lung cell ``MT-CO1 ACTB MALAT1 UCP2 PRF1 ...`` is a
``naive thymus-derived CD4-positive, alpha-beta T cell``, CL:0000895.
"""

from __future__ import annotations

from typing import Any

from arena.tasks.answers import last_tagged
from arena.tasks.task import Task

_PLACEHOLDERS = {"name of the cell type"}


def parse(text: str) -> dict[str, Any] | None:
    """Return ``{"cell_type": name}``."""
    name = last_tagged(text, "Predicted_Cell_Type", _PLACEHOLDERS)
    return None if name is None else {"cell_type": " ".join(name.split())}


def wrap(answer: dict[str, Any]) -> str:
    """Return the reply that says so."""
    return f"[Predicted_Cell_Type: {answer['cell_type']}]"


TASK = Task(
    name="annotation",
    title="name the cell type of a ranked gene list",
    prompts=("arena/annotation",),
    prompt_of=lambda _sample: "arena/annotation",
    parse=parse,
    wrap=wrap,
)
