"""Annotation: name the cell type of a ranked gene list.

One real instance (SC-Arena, shortened): a human lung cell ``MT-CO1 ACTB MALAT1 UCP2 PRF1 ...`` is a
``naive thymus-derived CD4-positive, alpha-beta T cell``, CL:0000895.
"""

from __future__ import annotations

from arena.datasets import virtual_cell
from arena.tasks.task import Shape, Task, cell_of, one_text, top_genes
from arena.types import Sample


class Fields(Shape):
    """What a sample shows: ranked genes of one cell."""

    genes: list[str]
    tissue: str
    species: str


class Gold(Shape):
    """The cell's type."""

    cell_type: str
    cl_id: str


class Parsed(Shape):
    """The type that an answer names."""

    cell_type: str


def question(sample: Sample) -> str:
    """Return the question as a judge reads it."""
    cell = cell_of(sample) or "origin unknown"
    return f"Name the type of a cell ({cell}) from its highest genes: {top_genes(sample)}"


_parse, _wrap = one_text("cell_type", "Predicted_Cell_Type", {"name of the cell type"}, line=True)
TASK = Task(
    name="annotation",
    title="name the cell type of a ranked gene list",
    label="Name the cell",
    asks="Given a cell's genes by expression, which cell type is it?",
    view=virtual_cell.annotation,
    prompts=("arena/annotation",),
    prompt_of=lambda _sample: "arena/annotation",
    parse=_parse,
    wrap=_wrap,
    fields=Fields,
    gold=Gold,
    answer=Parsed,
    question=question,
    reference=lambda sample: f"{sample.gold['cell_type']} ({sample.gold['cl_id']})",
    shown=lambda answer: str(answer["cell_type"]),
)
