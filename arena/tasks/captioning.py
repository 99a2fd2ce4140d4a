"""Captioning: describe a cell from its ranked genes.

One real instance (SC-Arena, shortened): a human blood cell ``MALAT1 RPLP1 RPS12 TPT1 FOS ...``; its
reference is the Cell Ontology's definition of ``central memory CD4-positive, alpha-beta T cell``.
"""

from __future__ import annotations

from pydantic import Field

from arena.datasets import virtual_cell
from arena.tasks import annotation
from arena.tasks.task import Shape, Task, cell_of, one_text, top_genes
from arena.types import Sample


class Gold(annotation.Gold):
    """The cell's type, its description, and what a caption may claim; empty where it is not known."""

    caption: str
    definition: str = ""
    markers: list[str] = Field(default_factory=list)
    """Known markers that the cell shows."""
    tissue: str = ""
    state: str = ""


class Parsed(Shape):
    """The description that an answer gives."""

    caption: str


def question(sample: Sample) -> str:
    """Return the question as a judge reads it."""
    return (
        f"Describe a cell ({cell_of(sample) or 'origin unknown'}) from its highest genes: {top_genes(sample)}"
    )


_parse, _wrap = one_text("caption", "Captioning", {"the description"})
TASK = Task(
    name="captioning",
    title="describe a cell from its ranked genes",
    label="Describe the cell",
    asks="Given a cell's genes by expression, what is it and what does it do?",
    view=virtual_cell.captioning,
    prompts=("arena/captioning",),
    prompt_of=lambda _sample: "arena/captioning",
    parse=_parse,
    wrap=_wrap,
    fields=annotation.Fields,
    gold=Gold,
    answer=Parsed,
    question=question,
    reference=lambda sample: f"{annotation.TASK.reference(sample)}: {sample.gold['caption']}",
    shown=lambda answer: str(answer["caption"]),
)
