"""What a task is, apart from its samples and its scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from arena.types import Sample, TaskName


@dataclass(frozen=True, slots=True)
class Task:
    """One of the five tasks."""

    name: TaskName
    title: str
    """One line for `arena list`."""
    prompts: tuple[str, ...]
    """Prompt files it may use."""
    prompt_of: Callable[[Sample], str]
    """Which of them a sample uses."""
    parse: Callable[[str], dict[str, Any] | None]
    """The bound answer of a reply without thinking, keyed as `arena.types` says; None where there is none."""
    wrap: Callable[[dict[str, Any]], str]
    """The reply that `parse` reads back: how baselines, echoes and gold answers speak."""
