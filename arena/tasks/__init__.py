"""The tasks: the five of SC-Arena, and every further one with a file in this folder or an entry point.

A task is one `Task`, bound to the name ``TASK`` of its module. Modules of this folder are found by themselves;
packages name theirs under the entry point group ``vckg.arena_tasks``.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

from arena.tasks import annotation, captioning, generation, perturbation, qa
from arena.tasks.reply import is_refusal, without_thinking
from arena.tasks.task import Scoring, Task
from arena.types import OFFICIAL, Sample, TaskName
from vckg.base.errors import InputError, did_you_mean
from vckg.base.prompts import load_prompt

__all__ = ["OWN", "TASKS", "TASK_TABLE", "Task", "parse_tasks", "prompt_id", "read_reply", "render"]

GROUP: Final = "vckg.arena_tasks"
_FIVE = (annotation.TASK, captioning.TASK, generation.TASK, perturbation.TASK, qa.TASK)
_HELPERS = ("reply", "samples", "task")


def _further() -> Iterator[Task]:
    """Yield the tasks beyond the five: of this folder by name, then of other packages."""
    known = {task.name for task in _FIVE}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        if module not in known and module not in _HELPERS:
            yield import_module(f"{__name__}.{module}").TASK
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        yield entry.load()


TASK_TABLE: Final[Mapping[TaskName, Task]] = {task.name: task for task in (*_FIVE, *_further())}
TASKS: Final[tuple[TaskName, ...]] = tuple(TASK_TABLE)
OWN: Final[Mapping[TaskName, Scoring]] = {name: task.own for name, task in TASK_TABLE.items() if task.own}
"""Scoring of the tasks beyond the five."""


def parse_tasks(names: Iterable[str]) -> tuple[TaskName, ...]:
    """Return tasks by name, in their usual order; ``all`` stands for every task.

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
    """Return the ids of all prompts of a task, joined by ``+``."""
    return "+".join(load_prompt(name).id for name in TASK_TABLE[task].prompts)


def render(sample: Sample) -> str:
    """Return the prompt of a sample; a whole prompt in another's words stands for ours.

    A prompt need not show all that a sample has.
    """
    if OFFICIAL in sample.variables:
        return sample.variables[OFFICIAL]
    prompt = load_prompt(TASK_TABLE[sample.task].prompt_of(sample))
    return prompt.render(
        **{name: sample.variables[name] for name in prompt.variables if name in sample.variables}
    )


def read_reply(task: TaskName, text: str) -> tuple[dict[str, Any] | None, bool]:
    """Return the bound answer of a reply (None where there is none), and whether the reply is a refusal."""
    final = without_thinking(text)
    parsed = TASK_TABLE[task].parse(final)
    return parsed, parsed is None and is_refusal(final)
