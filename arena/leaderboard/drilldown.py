"""Samples with their answers, cut to what a page can hold."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from arena.leaderboard import schema
from arena.leaderboard.score_table import Column
from arena.scoring import metrics
from arena.tasks import TASK_TABLE
from arena.types import Answer, Score, TaskName

TEXT_BUDGET: Final = 4_000_000
"""Letters of prompts and answers that a leaderboard holds; beyond it a sample of the samples is shown."""
LONGEST_ANSWER: Final = 1500
LONGEST_PROMPT: Final = 2500
LONGEST_REASON: Final = 600


def score_lists(columns: Mapping[TaskName, Column]) -> tuple[schema.Scores, ...]:
    """Main score of every sample and contestant in whole percent."""
    found = []
    for task, column in columns.items():
        percent = np.where(np.isfinite(column.main), np.rint(100 * column.main), -1).astype(int)
        found.append(
            schema.Scores(
                task=task,
                samples=tuple(s.id for s in column.samples),
                percent={
                    name: tuple(row) for name, row in zip(column.contestants, percent.tolist(), strict=True)
                },
            )
        )
    return tuple(found)


def sample_views(
    columns: Mapping[TaskName, Column], names: Sequence[str]
) -> tuple[tuple[schema.SampleView, ...], int, int]:
    """Samples with all their answers, how many are shown, and how many there are.

    Where all do not fit the budget, tasks take turns and each gives its samples in an order that depends on
    their ids alone, so what is shown is a random part that nobody chose.
    """
    queues = [
        sorted(range(len(c.samples)), key=lambda i, c=c: (zlib.crc32(c.samples[i].id.encode()), i))  # type: ignore[misc]
        for c in columns.values()
    ]
    scores = {task: _by_answer(column) for task, column in columns.items()}
    shown: list[schema.SampleView] = []
    spent, turn = 0, 0
    while any(turn < len(queue) for queue in queues) and spent < TEXT_BUDGET:
        for (task, column), queue in zip(columns.items(), queues, strict=True):
            if turn < len(queue) and spent < TEXT_BUDGET:
                view = _view(column, queue[turn], names, scores[task])
                spent += len(view.prompt) + sum(_letters(a) for a in view.answers.values())
                shown.append(view)
        turn += 1
    total = sum(len(column.samples) for column in columns.values())
    return tuple(sorted(shown, key=lambda v: v.id)), len(shown), total


ByAnswer = Mapping[tuple[str, str, int], list[Score]]


def _by_answer(column: Column) -> ByAnswer:
    """Scores the drill-down shows, by sample, contestant and epoch."""
    found: dict[tuple[str, str, int], list[Score]] = {}
    wanted = [(metrics.SCORER, d) for d in metrics.DIMENSIONS[column.task]]
    for scorer, dimension in [*wanted, *((judge, "total") for judge in column.scorers)]:
        for score in column.records(scorer, dimension):
            found.setdefault((score.sample_id, score.contestant, score.epoch), []).append(score)
    return found


def _view(column: Column, at: int, names: Sequence[str], scores: ByAnswer) -> schema.SampleView:
    sample = column.samples[at]
    answers, prompt = {}, ""
    for name in names:
        given = column.answers.get(name, {}).get(sample.id)
        if given:
            first = min(given, key=lambda a: a.epoch)
            prompt = prompt or first.prompt
            answers[name] = _answer_view(first, scores.get((sample.id, name, first.epoch), []))
    return schema.SampleView(
        id=sample.id,
        task=sample.task,
        strata=dict(sorted(sample.strata.items())),
        prompt=cut(prompt, LONGEST_PROMPT),
        reference=cut(TASK_TABLE[sample.task].reference(sample), LONGEST_ANSWER),
        answers=answers,
    )


def _answer_view(answer: Answer, scores: Sequence[Score]) -> schema.AnswerView:
    own = [s for s in scores if s.scorer == metrics.SCORER]
    judged = [s for s in scores if s.scorer != metrics.SCORER]
    values: dict[str, float | None] = {s.dimension: _short(s.value) for s in own}
    values |= {s.scorer: _short(s.value) for s in judged}
    cited: dict[str, list[dict[str, Any]]] = {
        s.scorer: [{k: cut(str(v), 200) for k, v in c.items()} for c in s.metadata["cited"][:4]]
        for s in judged
        if s.metadata.get("cited")
    }
    return schema.AnswerView(
        text=cut(
            answer.text or (f"(call failed: {answer.error})" if answer.error else "(empty)"), LONGEST_ANSWER
        ),
        scores=values,
        reason=cut(next((s.reason for s in own if s.reason), ""), LONGEST_REASON),
        judged={s.scorer: cut(s.reason, LONGEST_REASON) for s in judged if s.reason},
        cited=cited,
    )


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _letters(answer: schema.AnswerView) -> int:
    # Names of scores and JSON's own signs come to about two dozen letters each.
    return (
        len(answer.text)
        + len(answer.reason)
        + sum(map(len, answer.judged.values()))
        + 24 * len(answer.scores)
    )


def cut(text: str, length: int) -> str:
    """The text, or its beginning and how much is missing."""
    return text if len(text) <= length else f"{text[:length]} … ({len(text) - length:,} more letters)"
