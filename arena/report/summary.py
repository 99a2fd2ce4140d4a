"""A run in a few lines of text, or as plain facts for a script; the leaderboard has the intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from arena.leaderboard import schema
from arena.report.view import GroupView
from arena.scoring.metrics import HEADLINE, mean_of
from arena.types import Run, TaskName


def run_facts(run: Run) -> dict[str, Any]:
    """Return what `arena run --json` says of a run: its folder, its contestant, and each task's counts and means."""
    tasks = {task: _task_facts(run, task) for task in run.manifest.tasks}
    return {"run": str(run.folder), "contestant": run.manifest.contestant, "tasks": tasks}


def _task_facts(run: Run, task: TaskName) -> dict[str, Any]:
    """Answers, share in format, refusals, failures, mean of each scorer's headline."""
    answers = [a for a in run.answers if a.task == task]
    scores = {}
    for scorer in sorted({s.scorer for s in run.scores if s.task == task}):
        wanted = HEADLINE[task] if scorer == "metrics" else "total"
        mine = [s.value for s in run.scores if (s.task, s.scorer, s.dimension) == (task, scorer, wanted)]
        values = [value for value in mine if value is not None]
        scores[scorer] = {"dimension": wanted, "mean": mean_of(values), "unscored": len(mine) - len(values)}
    return {
        "answers": len(answers),
        "in_format": sum(a.format_ok for a in answers) / max(len(answers), 1),
        "refused": sum(a.refused for a in answers),
        "failed": sum(bool(a.error) for a in answers),
        "scores": scores,
    }


def table_lines(group: schema.Group) -> Iterator[str]:
    """Yield what the tests allow to be said, and the main scores as a table for the terminal."""
    yield GroupView(group).conclusion
    tasks = [task.task for task in group.tasks]
    width = max(len(row.name) for row in group.rows)
    yield f"{'':{width}}  " + "  ".join(f"{task:20}" for task in tasks)
    for row in group.rows:
        shown = [_cell(row.tasks[task].score) if task in row.tasks else "-" for task in tasks]
        yield f"{row.name:{width}}  " + "  ".join(f"{text:20}" for text in shown).rstrip()


def _cell(estimate: schema.Estimate) -> str:
    if estimate.value is None:
        return "-"
    if estimate.low is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def task_lines(run: Run) -> Iterator[str]:
    """Yield one line a task."""
    for task in run.manifest.tasks:
        facts = _task_facts(run, task)
        parts = [f"{task:13} {facts['answers']:5,} answers", f"in format {facts['in_format']:.0%}"]
        parts += [f"{what} {facts[what]}" for what in ("refused", "failed") if facts[what]]
        for scorer, of in facts["scores"].items():
            mean = "none" if of["mean"] is None else f"{of['mean']:.3f}"
            unscored = f", {of['unscored']} unscored" if of["unscored"] else ""
            parts.append(f"{scorer} {of['dimension']} {mean}{unscored}")
        yield " · ".join(parts)
