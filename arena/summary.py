"""A run in a few lines of text, for the terminal; the leaderboard has the intervals."""

from __future__ import annotations

from collections.abc import Iterator

from arena.metrics import HEADLINE
from arena.types import Run


def task_lines(run: Run) -> Iterator[str]:
    """Yield one line a task: answers, share in format, refusals, failures, mean of each scorer's headline."""
    for task in run.manifest.tasks:
        answers = [a for a in run.answers if a.task == task]
        n = max(len(answers), 1)
        parts = [
            f"{task:13} {len(answers):5,} answers",
            f"in format {sum(a.format_ok for a in answers) / n:.0%}",
        ]
        for count, what in (
            (sum(a.refused for a in answers), "refused"),
            (sum(bool(a.error) for a in answers), "failed"),
        ):
            parts += [f"{what} {count}"] if count else []
        for scorer in sorted({s.scorer for s in run.scores if s.task == task}):
            wanted = HEADLINE[task] if scorer == "metrics" else "total"
            scores = [s for s in run.scores if (s.task, s.scorer, s.dimension) == (task, scorer, wanted)]
            values = [s.value for s in scores if s.value is not None]
            unscored = f", {len(scores) - len(values)} unscored" if len(scores) > len(values) else ""
            mean = f"{sum(values) / len(values):.3f}" if values else "none"
            parts.append(f"{scorer} {wanted} {mean}{unscored}")
        yield " · ".join(parts)
