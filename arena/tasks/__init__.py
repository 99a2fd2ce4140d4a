"""The tasks: the five of SC-Arena, and every further one with a file in this folder or an entry point.

A task is one `Task`, bound to the name ``TASK`` of its module. Modules of this folder are found by themselves;
packages name theirs under the entry point group ``vckg.arena_tasks``.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from arena.tasks import annotation, captioning, generation, perturbation, qa
from arena.tasks.reply import is_refusal, without_thinking
from arena.tasks.task import Scoring, Task
from arena.types import OFFICIAL, Sample, TaskName
from vckg.base.console import err
from vckg.base.errors import InputError, did_you_mean
from vckg.base.prompts import load_prompt

__all__ = ["OWN", "TASKS", "TASK_TABLE", "Task", "parse_tasks", "prompt_id", "read_reply", "render"]

GROUP: Final = "vckg.arena_tasks"
_FIVE = (annotation.TASK, captioning.TASK, generation.TASK, perturbation.TASK, qa.TASK)
_HELPERS = ("reply", "samples", "task")


def _of_this_folder() -> Iterator[Task]:
    """Yield the five, then the further tasks of this folder by name."""
    yield from _FIVE
    known = {task.name for task in _FIVE}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        if module not in known and module not in _HELPERS:
            yield import_module(f"{__name__}.{module}").TASK


def _load(entry: EntryPoint) -> Task | str:
    """Return the task of an entry point, or why it has none: any code may run here, so any error may come."""
    try:
        task = entry.load()
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    return task if isinstance(task, Task) else f"{entry.value} is no arena.tasks.task.Task"


def _all_tasks() -> tuple[dict[TaskName, Task], dict[str, str]]:
    """Return the tasks by name, and why a package's entry point gave none; a warning names the latter once.

    Raises
    ------
    InputError
        Two packages have a task of one name.
    """
    found = {task.name: task for task in _of_this_folder()}
    owner, broken = dict.fromkeys(found, "vckg"), {}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        package = entry.dist.name if entry.dist else entry.module
        task = _load(entry)
        if isinstance(task, str):
            broken[entry.name] = f"entry point {entry.name!r} ({GROUP}) of package {package}: {task}"
            err().print(f"task left out: {broken[entry.name]}", soft_wrap=True)
        elif task.name in found:
            raise InputError(
                f"two tasks are called {task.name!r}, of package {owner[task.name]} and of package {package} "
                f"(entry point {entry.name!r} of {GROUP}); rename the latter or uninstall its package"
            )
        else:
            found[task.name], owner[task.name] = task, package
    return found, broken


_found, _broken = _all_tasks()
TASK_TABLE: Final[Mapping[TaskName, Task]] = _found
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
        if name in _broken:
            raise InputError(f"no task {name!r}: {_broken[name]}; correct that package or uninstall it")
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
