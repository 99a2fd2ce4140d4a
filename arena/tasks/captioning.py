"""Captioning: describe a cell from its ranked genes.

One real instance (SC-Arena, shortened): a human blood cell ``MALAT1 RPLP1 RPS12 TPT1 FOS ...``; its
reference is the Cell Ontology's definition of ``central memory CD4-positive, alpha-beta T cell``.
"""

from __future__ import annotations

from typing import Any

from arena.tasks.answers import last_tagged
from arena.tasks.task import Task

_PLACEHOLDERS = {"the description"}


def parse(text: str) -> dict[str, Any] | None:
    """Return ``{"caption": text}``."""
    caption = last_tagged(text, "Captioning", _PLACEHOLDERS)
    return None if caption is None else {"caption": caption}


def wrap(answer: dict[str, Any]) -> str:
    """Return the reply that says so."""
    return f"[Captioning: {answer['caption']}]"


TASK = Task(
    name="captioning",
    title="describe a cell from its ranked genes",
    prompts=("arena/captioning",),
    prompt_of=lambda _sample: "arena/captioning",
    parse=parse,
    wrap=wrap,
)
