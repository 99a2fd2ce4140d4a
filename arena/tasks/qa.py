"""Scientific QA: answer a question that a paper, or a sourced edge of the graph, settles.

One real instance (SC-Arena, PMID 19429910, shortened): "How does the disruption of PAX9's ability to bind
DNA or interact with MSX1 affect tooth development ...?"
"""

from __future__ import annotations

from arena.datasets import virtual_cell
from arena.tasks.task import Shape, Task, one_text


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


_parse, _wrap = one_text("answer", "Answer", {"the answer", "first: name. second: name."})
TASK = Task(
    name="qa",
    title="answer a question that a paper or a sourced edge settles",
    label="Answer questions",
    asks="What does the literature, or a sourced fact, say?",
    view=virtual_cell.qa,
    prompts=("arena/qa",),
    prompt_of=lambda _sample: "arena/qa",
    parse=_parse,
    wrap=_wrap,
    fields=Fields,
    gold=Gold,
    answer=Parsed,
    question=lambda sample: str(sample.fields["question"]),
    reference=lambda sample: str(sample.gold["answer"]),
    shown=lambda answer: str(answer["answer"]),
)
