"""Generation: write the cell sentence of a named cell type.

One real instance (SC-Arena, shortened): ``plasmacytoid dendritic cell`` with its definition asks for 200
genes, highest first; the reference is one real cell's sentence and the type's marker genes.
"""

from __future__ import annotations

from typing import Any

from arena.datasets import virtual_cell
from arena.tasks import annotation
from arena.tasks.reply import gene_list, last_tagged
from arena.tasks.task import Shape, Task, cell_of
from arena.types import Sample

_PLACEHOLDERS = {"gene1, gene2, ..."}


class Fields(Shape):
    """A named cell type and the number of genes to write."""

    cell_type: str
    cl_id: str
    description: str
    tissue: str
    species: str
    length: int


class Gold(annotation.Gold):
    """Marker genes of the type, and ranked genes of real cells of it ([] where none is known)."""

    markers: list[str]
    sentences: list[list[str]]
    floor: float = 0.0
    """Overlap of cells of other types with these; 0 stands for random genes."""
    ceiling: float = 1.0
    """Overlap of a real cell held out."""
    shared: float = 0.0
    """Share of a real cell's genes that the others show; 0 where it is not known."""


class Parsed(Shape):
    """Genes of an answer, highest first."""

    genes: list[str]


def parse(text: str) -> dict[str, Any] | None:
    """Return ``{"genes": names}``, best first."""
    sentence = last_tagged(text, "Cell_Sentence", _PLACEHOLDERS, alone=True)
    genes = gene_list(sentence) if sentence else []
    return {"genes": genes} if genes else None


def wrap(answer: dict[str, Any]) -> str:
    """Return the reply with this answer."""
    return f"[Cell_Sentence: {', '.join(answer['genes'])}]"


def question(sample: Sample) -> str:
    """Return the question as a judge reads it."""
    cell = f" ({cell_of(sample)})" if cell_of(sample) else ""
    kind, length = sample.fields["cell_type"], sample.fields["length"]
    return f"List {length} genes by descending expression of a {kind}{cell}."


def reference(sample: Sample) -> str:
    """Return markers and a real cell, as far as they are known."""
    markers = ", ".join(sample.gold["markers"][:60]) or "none known"
    cell = " ".join((sample.gold["sentences"] or [[]])[0][:200]) or "none known"
    return f"{annotation.TASK.reference(sample)}. Markers: {markers}. A real cell: {cell}"


TASK = Task(
    name="generation",
    title="write the ranked genes of a named cell type",
    label="Write its genes",
    asks="Given a cell type, which genes does it express, highest first?",
    view=virtual_cell.generation,
    prompts=("arena/generation",),
    prompt_of=lambda _sample: "arena/generation",
    parse=parse,
    wrap=wrap,
    fields=Fields,
    gold=Gold,
    answer=Parsed,
    question=question,
    reference=reference,
    shown=lambda answer: ", ".join(map(str, answer["genes"])),
)
