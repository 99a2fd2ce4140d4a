"""Generation: write the cell sentence of a named cell type.

One real instance (SC-Arena, shortened): ``plasmacytoid dendritic cell`` with its definition asks for 200
genes, highest first; the reference is one real cell's sentence and the type's marker genes.
"""

from __future__ import annotations

from typing import Any

from arena.tasks.answers import gene_list, last_tagged
from arena.tasks.task import Task

_PLACEHOLDERS = {"gene1, gene2, ..."}


def parse(text: str) -> dict[str, Any] | None:
    """Return ``{"genes": names}``, best first."""
    sentence = last_tagged(text, "Cell_Sentence", _PLACEHOLDERS)
    genes = gene_list(sentence) if sentence else []
    return {"genes": genes} if genes else None


def wrap(answer: dict[str, Any]) -> str:
    """Return the reply that says so."""
    return f"[Cell_Sentence: {', '.join(answer['genes'])}]"


TASK = Task(
    name="generation",
    title="write the ranked genes of a named cell type",
    prompts=("arena/generation",),
    prompt_of=lambda _sample: "arena/generation",
    parse=parse,
    wrap=wrap,
)
