"""Scientific QA: answer a question that a paper, or a sourced edge of the graph, settles.

One real instance (SC-Arena, PMID 19429910, shortened): "How does the disruption of PAX9's ability to bind
DNA or interact with MSX1 affect tooth development ...?"
"""

from __future__ import annotations

from typing import Any

from arena.tasks.answers import last_tagged
from arena.tasks.task import Task

_PLACEHOLDERS = {"the answer"}


def parse(text: str) -> dict[str, Any] | None:
    """Return ``{"answer": text}``."""
    answer = last_tagged(text, "Answer", _PLACEHOLDERS)
    return None if answer is None else {"answer": answer}


def wrap(answer: dict[str, Any]) -> str:
    """Return the reply that says so."""
    return f"[Answer: {answer['answer']}]"


TASK = Task(
    name="qa",
    title="answer a question that a paper or a sourced edge settles",
    prompts=("arena/qa",),
    prompt_of=lambda _sample: "arena/qa",
    parse=parse,
    wrap=wrap,
)
