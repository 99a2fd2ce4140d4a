"""Scientific QA: answer a question that a paper, or a sourced edge of the graph, settles.

One real instance (SC-Arena, PMID 19429910, shortened): "How does the disruption of PAX9's ability to bind
DNA or interact with MSX1 affect tooth development ...?"
"""

from __future__ import annotations

from typing import Any

from arena.datasets import virtual_cell
from arena.tasks.reply import last_tagged
from arena.tasks.task import Shape, Task

_PLACEHOLDERS = {"the answer", "first: name. second: name."}


class Fields(Shape):
    """The question, and the paper that answers it."""

    question: str
    kind: str
    title: str
    abstract: str
    passage: str
    publications: list[str]


class Gold(Shape):
    """The reference answer and the claims it makes."""

    answer: str
    claims: list[str]


class Parsed(Shape):
    """The answer in the words of the reply."""

    answer: str


def parse(text: str) -> dict[str, Any] | None:
    """Return ``{"answer": text}``."""
    answer = last_tagged(text, "Answer", _PLACEHOLDERS, alone=True)
    return None if answer is None else {"answer": answer}


def wrap(answer: dict[str, Any]) -> str:
    """Return the reply with this answer."""
    return f"[Answer: {answer['answer']}]"


TASK = Task(
    name="qa",
    title="answer a question that a paper or a sourced edge settles",
    label="Answer questions",
    asks="What does the literature, or a sourced fact, say?",
    view=virtual_cell.qa,
    prompts=("arena/qa",),
    prompt_of=lambda _sample: "arena/qa",
    parse=parse,
    wrap=wrap,
    fields=Fields,
    gold=Gold,
    answer=Parsed,
    question=lambda sample: str(sample.fields["question"]),
    reference=lambda sample: str(sample.gold["answer"]),
    shown=lambda answer: str(answer["answer"]),
)
