"""Two runs compared in the terminal, with the leaderboard's own intervals and tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from arena.contestants.kinds import kind_of_run
from arena.leaderboard import schema
from arena.leaderboard.build import RESAMPLES, open_book, pairs_of
from arena.leaderboard.labels import number, p_value
from arena.leaderboard.ranking import ranked_tests
from arena.leaderboard.score_table import Column, tables
from arena.types import Run, TaskName
from vckg.base.errors import InputError


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side: their names, the pair of them on each task they share, and who read its references."""

    one: str
    other: str
    pairs: tuple[tuple[TaskName, schema.Pair], ...]
    open_book: Mapping[TaskName, Sequence[str]]

    def text(self) -> str:
        """Return a few lines for the terminal."""
        lines = [_pair_text(task, pair, self.one, self.other) for task, pair in self.pairs]
        lines += [
            f"  {task}: open book for {' and '.join(names)}, who can look into the graph that it was made from"
            for task, names in self.open_book.items()
            if names
        ]
        return "\n".join([f"{self.one} minus {self.other} (main score of each task, 0 to 1)", *lines])

    def json(self) -> str:
        """Return the pairs by task, with the intervals and tests of the leaderboard."""
        tasks = {task: pair.model_dump() for task, pair in self.pairs}
        return json.dumps({"one": self.one, "other": self.other, "tasks": tasks}, indent=1)


def compare(a: Run, b: Run, *, seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """Compare two runs task by task on the samples that both have scored.

    Raises
    ------
    InputError
        They share no task with the same samples, prompt and graph.
    """
    if a.manifest.contestant == b.manifest.contestant:
        a, b = _apart(a), _apart(b)
    one, other = a.manifest.contestant, b.manifest.contestant
    kinds = {run.manifest.contestant: kind_of_run(run.manifest) for run in (a, b)}
    pairs: list[tuple[TaskName, schema.Pair]] = []
    read: dict[TaskName, list[str]] = {}
    for table in tables([a, b]):
        for task in table.fingerprints if len(table.runs) == 2 else ():
            column = Column(task, table.runs, seed)
            if (tests := ranked_tests(column, resamples)) is not None:
                pairs += [(task, pair) for pair in pairs_of(column, tests)]
                read[task] = sorted(open_book(task, kinds, table.dataset))
    if not pairs:
        gold = [name for name, kind in kinds.items() if kind == "ceiling"]
        ceiling = f"; {gold[0]} is the reference and is not compared" if gold else ""
        raise InputError(
            f"{a.folder} and {b.folder}: no task with the same samples, prompt and graph in both{ceiling}; "
            "run both with the same data, seed and --limit"
        )
    return Comparison(one, other, tuple(pairs), read)


def _apart(run: Run) -> Run:
    """The run with its folder in its contestant's name."""
    name = f"{run.manifest.contestant} ({Path(run.folder).name})"
    return replace(
        run,
        manifest=replace(run.manifest, contestant=name),
        answers=tuple(replace(answer, contestant=name) for answer in run.answers),
        scores=tuple(replace(score, contestant=name) for score in run.scores),
    )


def _pair_text(task: TaskName, pair: schema.Pair, one: str, other: str) -> str:
    sign = 1 if pair.first == one else -1
    if pair.difference is None:
        return f"  {task:<13} no sample that both have scored"
    limits = "no interval"
    if pair.low is not None and pair.high is not None:
        low, high = sorted((sign * pair.low, sign * pair.high))
        limits = f"[{low:+.3f}, {high:+.3f}]"
    better = one if sign * pair.difference > 0 else other
    verdict = f"{better} is better" if pair.p is not None and pair.p <= 0.05 else "no significant difference"
    power = (
        "too few independent samples"
        if pair.detectable is None
        else f"80 % power from {number(pair.detectable, 3)}"
    )
    return (
        f"  {task:<13} {sign * pair.difference:+.3f}  {limits}  p {p_value(pair.p)}  "
        f"n {pair.common}  {verdict} ({power})"
    )
