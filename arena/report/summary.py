"""A run in a few lines of text, or as plain facts for a script; the leaderboard has the intervals."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from arena.leaderboard import schema
from arena.leaderboard.labels import rank_text
from arena.report.view import GroupView, headline
from arena.scoring.metrics import HEADLINE, mean_of
from arena.types import Run, TaskName

MOST_BEST: Final = 3
"""Contestants that are named of a ranking without runs just made."""


def run_facts(run: Run) -> dict[str, Any]:
    """Return what `arena run --json` says of a run: its folder, its contestant, and each task's counts and means."""
    tasks = {task: _task_facts(run, task) for task in run.manifest.tasks}
    return {"run": str(run.folder), "contestant": run.manifest.contestant, "tasks": tasks}


def _task_facts(run: Run, task: TaskName) -> dict[str, Any]:
    """Return counts of answers, empty ones, refusals and failures, the share in format, and the mean of each scorer."""
    answers = [a for a in run.answers if a.task == task]
    scores = {}
    for scorer in sorted({s.scorer for s in run.scores if s.task == task}):
        wanted = HEADLINE[task] if scorer == "metrics" else "total"
        listed = [s.value for s in run.scores if (s.task, s.scorer, s.dimension) == (task, scorer, wanted)]
        values = [value for value in listed if value is not None]
        scores[scorer] = {"dimension": wanted, "mean": mean_of(values), "unscored": len(listed) - len(values)}
    return {
        "answers": len(answers),
        "missing": sum(not (a.text or a.error) for a in answers),
        "in_format": sum(a.format_ok for a in answers) / max(len(answers), 1),
        "refused": sum(a.refused for a in answers),
        "failed": sum(bool(a.error) for a in answers),
        "scores": scores,
    }


def table_lines(board: schema.Leaderboard, folders: Collection[str]) -> Iterator[str]:
    """Yield for the terminal what the tests say of every ranking and its main scores: all of those with some runs."""
    first, *others = headline(board)
    yield first
    for group, said in zip(board.groups, others or [""], strict=True):
        if said:
            yield said
        if any(run.folder in folders for run in group.runs):
            yield from _group_lines(group)
        else:
            yield from _best_lines(group)
    scores = [cell.score for group in board.groups for row in group.rows for cell in row.tasks.values()]
    if any(score.low is None and score.value is not None for score in scores):
        yield "*: too few independent samples for an interval"


def _best_lines(group: schema.Group) -> Iterator[str]:
    """Yield a line a task with the best scores of a ranking whose table is left to the page."""
    for task in group.tasks:
        asked = [row for row in group.rows if task.task in row.tasks and row.kind != "ceiling"]
        asked.sort(key=lambda row: (-(row.tasks[task.task].score.value or 0.0), row.name))
        shown = ", ".join(f"{row.name} {_cell(row, task)}" for row in asked[:MOST_BEST])
        yield f"  {task.task}: {shown}{', ...' * (len(asked) > MOST_BEST)}"


def _group_lines(group: schema.Group) -> Iterator[str]:
    if caveat := GroupView(group).caveat:
        yield caveat
    width = max(len(row.name) for row in group.rows)
    yield f"rank   {'':{width}}  " + "  ".join(f"{task.task:22}" for task in group.tasks).rstrip()
    for row in group.rows:
        shown = "  ".join(f"{_cell(row, task):22}" for task in group.tasks).rstrip()
        yield f"{rank_text(row.rank):5}  {row.name:{width}}  {shown}"
    notes = [
        "main scores from 0 to 1, with 95 % intervals",
        "rank –: reads the graph, is the reference, or lacks a task",
    ]
    if GroupView(group).opened:
        notes.append("†: open book")
    yield "; ".join(notes)


def _cell(row: schema.Row, task: schema.TaskBoard) -> str:
    """Return a contestant's score on a task, marked where the task is open book for it."""
    if task.task not in row.tasks or (estimate := row.tasks[task.task].score).value is None:
        return "-"
    mark = " †" if row.open_book and task.made_from_graph else ""
    span = " *" if estimate.low is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.value:.3f}{span}{mark}"


def task_lines(run: Run) -> Iterator[str]:
    """Yield one line a task."""
    for task in run.manifest.tasks:
        facts = _task_facts(run, task)
        asked, missing = facts["answers"], facts["missing"]
        of_all = f" of {asked:,}, {missing:,} missing" if missing else ""
        parts = [f"{task:13} answered {asked - missing:5,}{of_all}", f"in format {facts['in_format']:.0%}"]
        parts += [f"{what} {facts[what]}" for what in ("refused", "failed") if facts[what]]
        for scorer, of in facts["scores"].items():
            mean = "none" if of["mean"] is None else f"{of['mean']:.3f}"
            unscored = f", {of['unscored']} unscored" if of["unscored"] else ""
            parts.append(f"{scorer} {of['dimension']} {mean}{unscored}")
        yield " · ".join(parts)
