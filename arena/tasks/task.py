"""What a task is, apart from the samples it makes and the scores it gives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from arena.datasets.virtual_cell import VirtualCell
from arena.tasks.reply import last_tagged
from arena.types import Sample, TaskName


class Shape(BaseModel):
    """Keys that a mapping of a task holds, with the types of their values; other keys are allowed."""

    model_config = ConfigDict(strict=True)


@dataclass(frozen=True, slots=True)
class Scoring:
    """Scores of a task from the answer and the reference alone; metrics, judges and baselines follow from it."""

    measure: Callable[[Sample, Mapping[str, Any]], dict[str, float | None]]
    """Values from 0 to 1 of a bound answer, one for each of `dimensions`."""
    dimensions: tuple[str, ...]
    """Names of the values; the leaderboard ranks by the first."""
    criterion: str
    """Question that a judge answers about the first dimension."""
    anchors: tuple[str, str, str, str, str, str]
    """Meaning of the ratings 0 to 5."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task: its samples, its prompt, its answers, and its words."""

    name: TaskName
    title: str
    """One line for `arena list`."""
    label: str
    """Its name in the leaderboard."""
    asks: str
    """Its question in the leaderboard."""
    view: Callable[[VirtualCell, int], list[Sample]]
    """Samples of a virtual cell, by a seed; [] where the cell lacks what the task hides or shows."""
    prompts: tuple[str, ...]
    """Prompt files it may use."""
    prompt_of: Callable[[Sample], str]
    """Prompt file of a sample."""
    parse: Callable[[str], dict[str, Any] | None]
    """Bound answer of a reply without thinking, keyed as `answer` says; None where there is none."""
    wrap: Callable[[dict[str, Any]], str]
    """Reply that `parse` reads back: how baselines, echoes and gold answers speak."""
    fields: type[Shape]
    """Of ``Sample.fields``."""
    gold: type[Shape]
    """Of ``Sample.gold``."""
    answer: type[Shape]
    """Of ``Answer.parsed``."""
    question: Callable[[Sample], str]
    """The question as a judge reads it."""
    reference: Callable[[Sample], str]
    """The reference as a judge and the leaderboard show it."""
    shown: Callable[[Mapping[str, Any]], str]
    """A bound answer as a judge reads it."""
    own: Scoring | None = None
    """Scoring of a task beyond the five; theirs is in the rooms of scores, judges and contestants."""

    def perfect(self, sample: Sample) -> dict[str, Any]:
        """Return the reference as a bound answer: the keys that both hold."""
        return {key: sample.gold[key] for key in self.answer.model_fields if key in sample.gold}


def one_text(
    key: str, tag: str, placeholders: Collection[str], *, line: bool = False
) -> tuple[Callable[[str], dict[str, Any] | None], Callable[[dict[str, Any]], str]]:
    """Return `parse` and `wrap` of a task whose answer is ``{key: text}``; with `line` the text is one line."""

    def parse(text: str) -> dict[str, Any] | None:
        found = last_tagged(text, tag, placeholders, alone=True, line=line)
        return None if found is None else {key: " ".join(found.split()) if line else found}

    return parse, lambda answer: f"[{tag}: {answer[key]}]"


def cell_of(sample: Sample) -> str:
    """Return species and tissue of a sample's cell, e.g. ``"human lung"``; empty where neither is known."""
    return " ".join(part for part in (sample.fields["species"], sample.fields["tissue"]) if part)


def top_genes(sample: Sample) -> str:
    """Return the 100 highest genes of a sample's cell, separated by blanks."""
    return " ".join(map(str, sample.fields["genes"][:100]))
