"""The five tasks: the prompt of a sample and the answer of a reply.

``TASK_TABLE`` maps a name to its `Task`; `read_reply` binds a reply to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from arena.tasks import annotation, captioning, generation, perturbation, qa
from arena.tasks.answers import is_refusal, without_thinking
from arena.tasks.task import Task
from arena.types import TASKS, Sample, TaskName
from vckg.base.errors import InputError, did_you_mean
from vckg.base.prompts import load_prompt

__all__ = ["TASK_TABLE", "Task", "parse_tasks", "prompt_id", "read_reply", "render"]

TASK_TABLE: Mapping[TaskName, Task] = {
    "annotation": annotation.TASK,
    "captioning": captioning.TASK,
    "generation": generation.TASK,
    "perturbation": perturbation.TASK,
    "qa": qa.TASK,
}


def parse_tasks(names: Iterable[str]) -> tuple[TaskName, ...]:
    """Tasks by name, in their usual order; ``all`` stands for the five.

    Raises
    ------
    InputError
        A name is no task's.
    """
    wanted = {part.strip() for name in names for part in name.split(",")}
    for name in sorted(wanted - {*TASKS, "all"}):
        raise InputError(
            f"no task {name!r}{did_you_mean(name, (*TASKS, 'all'))}; tasks: {', '.join(TASKS)}, all"
        )
    return TASKS if "all" in wanted else tuple(task for task in TASKS if task in wanted)


def prompt_id(task: TaskName) -> str:
    """Ids of all prompts a task may use, joined by ``+``."""
    return "+".join(load_prompt(name).id for name in TASK_TABLE[task].prompts)


def render(sample: Sample) -> str:
    """The prompt of a sample."""
    return load_prompt(TASK_TABLE[sample.task].prompt_of(sample)).render(**sample.variables)


def read_reply(task: TaskName, text: str) -> tuple[dict[str, Any] | None, bool]:
    """Bind a reply: what it answers (None where nothing can be bound), and whether it is a refusal."""
    final = without_thinking(text)
    parsed = TASK_TABLE[task].parse(final)
    return parsed, parsed is None and is_refusal(final)
