"""Words of the leaderboard: names of tasks and kinds, and numbers in text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from arena.leaderboard import schema
from arena.tasks import TASK_TABLE
from arena.types import Kind, TaskName
from vckg.base import words

TITLE: Final = "Virtual cell arena"
TASK_NAMES: Final[dict[TaskName, str]] = {task.name: task.label for task in TASK_TABLE.values()}
TASK_QUESTIONS: Final[dict[TaskName, str]] = {task.name: task.asks for task in TASK_TABLE.values()}
KIND_NAMES: Final[dict[Kind, str]] = {
    "model": "model",
    "retrieval": "retrieval",
    "retrieval+model": "retrieval + model",
    "model+tools": "model + tools",
    "baseline": "baseline",
    "trivial": "ignores the cell",
    "ceiling": "reference",
    "replay": "replayed",
}


def hundred(value: float | None) -> str:
    """Write a share as a whole number of 100, with a minus sign; a dash for None."""
    return "–" if value is None else str(round(100 * value)).replace("-", "−")


def span(estimate: schema.Estimate) -> str:
    """Write the interval of an estimate."""
    return "–" if estimate.low is None else f"{hundred(estimate.low)} to {hundred(estimate.high)}"


def bounds(estimate: schema.Estimate, digits: int) -> str:
    """Write the interval of a score."""
    if estimate.low is None:
        return f"n = {estimate.n}, no interval"
    return f"{number(estimate.low, digits)} to {number(estimate.high, digits)}"


def signed(value: float | None) -> str:
    """Write a difference of shares with its sign."""
    if value is None:
        return "–"
    rounded = round(100 * value)
    return f"+{rounded}" if rounded > 0 else hundred(value)


def p_value(p: float | None) -> str:
    """Write a p-value to three digits, never as 0."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def number(value: float | None, digits: int = 2) -> str:
    """Write a number with separated thousands; a dash for None."""
    return "–" if value is None else f"{value:,.{digits}f}".replace("-", "−")


def listed(names: Sequence[str]) -> str:
    """List names in a sentence; more than four are counted."""
    return words.listed([*names[:3], f"{len(names) - 3} others"] if len(names) > 4 else names)


def rank_text(rank: schema.Rank | None) -> str:
    """Write a rank or a range of ranks."""
    if rank is None:
        return "–"
    return str(rank.best) if rank.best == rank.worst else f"{rank.best}–{rank.worst}"
