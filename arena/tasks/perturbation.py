"""Perturbation: say which genes rise and which fall when a regulator is switched.

One real instance (SC-Arena, shortened): K562 cells under CRISPR activation of AHR and KLF1; of twenty
candidates TMSB10, HBZ, HBG2, PNMT ... rise and SDC2 falls. The published prompt calls it a CRISPRi
knockdown, which is the opposite.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arena.datasets import virtual_cell
from arena.tasks.reply import gene_list, last_tagged
from arena.tasks.task import Shape, Task
from arena.types import Sample

_PLACEHOLDERS = {"gene, gene, ...", "gene gene gene ..."}


class Fields(Shape):
    """The perturbed genes, what was done to them, and the genes asked for."""

    perturbed: list[str]
    effect: str
    candidates: list[str]
    control: list[str]
    context: str


class Gold(Shape):
    """Genes that rise, genes that fall, and the expression after ([] where it was not measured)."""

    up: list[str]
    down: list[str]
    sentence: list[str]


class Parsed(Shape):
    """Genes that rise and fall by an answer, and the expression after where it gives one."""

    up: list[str]
    down: list[str]
    sentence: list[str] | None = None


def prompt_of(sample: Sample) -> str:
    """Ask for the new cell sentence only where the expression before is shown."""
    return "arena/perturbation" if "sentence" in sample.variables else "arena/perturbation-direction"


def parse(text: str) -> dict[str, Any] | None:
    """Return ``{"up": names, "down": names, "sentence": names}``; None where neither direction is given."""
    up, down = last_tagged(text, "Up", _PLACEHOLDERS), last_tagged(text, "Down", _PLACEHOLDERS)
    if up is None and down is None:
        return None
    sentence = last_tagged(text, "Cell_Sentence", _PLACEHOLDERS)
    return {"up": gene_list(up or ""), "down": gene_list(down or ""), "sentence": gene_list(sentence or "")}


def wrap(answer: dict[str, Any]) -> str:
    """Return the reply that says so; an empty direction is said to be so."""
    up, down = (", ".join(answer[way]) or "none" for way in ("up", "down"))
    sentence = f"[Cell_Sentence: {' '.join(answer['sentence'])}]" if answer.get("sentence") else ""
    return f"[Up: {up}][Down: {down}]{sentence}"


def question(sample: Sample) -> str:
    """Return the question as a judge reads it."""
    fields = sample.fields
    return (
        f"In {fields['context']}, {fields['effect']} of {' and '.join(fields['perturbed'])}: "
        f"which of these genes go up and which down? {', '.join(fields['candidates'])}"
    )


def _sides(answer: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    return "\n".join(f"{key}: {', '.join(map(str, answer.get(key) or [])) or 'none'}" for key in keys)


TASK = Task(
    name="perturbation",
    title="say which genes rise and which fall when a regulator is switched",
    label="Predict a response",
    asks="When a regulator is switched, which genes rise and which fall?",
    view=virtual_cell.perturbation,
    prompts=("arena/perturbation", "arena/perturbation-direction"),
    prompt_of=prompt_of,
    parse=parse,
    wrap=wrap,
    fields=Fields,
    gold=Gold,
    answer=Parsed,
    question=question,
    reference=lambda sample: _sides(sample.gold, ("up", "down")),
    shown=lambda answer: _sides(answer, ("up", "down", "sentence")),
)
