"""Two contestants compared in the terminal, with the leaderboard's own intervals and tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from arena.contestants.kinds import kind_of_run
from arena.leaderboard import schema
from arena.leaderboard.build import RESAMPLES, open_book, pairs_of
from arena.leaderboard.labels import number, p_value
from arena.leaderboard.ranking import ALPHA, ranked_tests
from arena.leaderboard.score_table import Column, fingerprints, part, shared_tasks, tables
from arena.types import Run
from vckg.base.errors import InputError


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two contestants side by side: the pair of them on each task they share, and who read its references.

    A task is named with its samples where they share two sets of them.
    """

    one: str
    other: str
    pairs: tuple[tuple[str, schema.Pair], ...]
    open_book: Mapping[str, Sequence[str]]

    def text(self) -> str:
        """Return a few lines for the terminal."""
        width = max(13, *(len(task) for task, _pair in self.pairs))
        lines = [_pair_text(f"{task:<{width}}", pair, self.one, self.other) for task, pair in self.pairs]
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


def compare(
    ones: Sequence[Run], others: Sequence[Run], *, seed: int = 0, resamples: int = RESAMPLES
) -> Comparison:
    """Compare the runs of one contestant with those of another, task by task, on the samples that both have scored.

    Raises
    ------
    InputError
        They share no task with the same samples, prompt and graph, or several runs of one answered the same samples.
    """
    ones, others = _sharing(ones, others), _sharing(others, ones)
    sides = [", ".join(run.folder for run in side) for side in (ones, others)]
    if ones[0].manifest.contestant == others[0].manifest.contestant:
        ones, others = _apart(ones), _apart(others)
    one, other = ones[0].manifest.contestant, others[0].manifest.contestant
    kinds = {run.manifest.contestant: kind_of_run(run.manifest) for run in (*ones, *others)}
    found = tables([*ones, *others])
    pairs: list[tuple[str, schema.Pair]] = []
    read: dict[str, list[str]] = {}
    for table in found:
        for task in table.fingerprints:
            column = Column(task, table.runs, seed)
            if (tests := ranked_tests(column, resamples)) is not None:
                once = sum(task in other.fingerprints for other in found) == 1
                name = (
                    task
                    if once
                    else f"{task} ({table.dataset}, seed {table.seed}, n = {len(column.samples)})"
                )
                pairs += [(name, pair) for pair in pairs_of(column, tests)]
                read[name] = sorted(open_book(task, kinds, table.dataset))
    if not pairs:
        gold = [name for name, kind in kinds.items() if kind == "ceiling"]
        ceiling = f"; {gold[0]} is the reference and is not compared" if gold else ""
        raise InputError(
            f"{' and '.join(sides)}: no task with the same samples, prompt and graph in both{ceiling}; "
            "run both with the same data, seed and --limit"
        )
    return Comparison(one, other, tuple(pairs), read)


def _sharing(runs: Sequence[Run], others: Sequence[Run]) -> list[Run]:
    """Return what runs answered of the samples of `others`; all of it where they share none."""
    shared = {mark for run in others for mark in fingerprints(run).values()}
    parts = [
        part(run, own)
        for run in runs
        if (own := [task for task, mark in fingerprints(run).items() if mark in shared])
    ]
    for i, run in enumerate(parts):
        for other in parts[:i]:
            if twice := shared_tasks(run, other):
                raise InputError(
                    f"two runs of {run.manifest.contestant} answered the same {twice[0]} samples; give "
                    f"the folder of one: {other.folder} or {run.folder}"
                )
    return parts or list(runs)


def _apart(runs: Sequence[Run]) -> list[Run]:
    """Return runs with their folders in their contestant's name."""
    name = f"{runs[0].manifest.contestant} ({', '.join(Path(run.folder).name for run in runs)})"
    return [
        replace(
            run,
            manifest=replace(run.manifest, contestant=name),
            answers=tuple(replace(answer, contestant=name) for answer in run.answers),
            scores=tuple(replace(score, contestant=name) for score in run.scores),
        )
        for run in runs
    ]


def _pair_text(task: str, pair: schema.Pair, one: str, other: str) -> str:
    sign = 1 if pair.first == one else -1
    if pair.difference is None:
        return f"  {task} no sample that both have scored"
    limits = "no interval"
    if pair.low is not None and pair.high is not None:
        low, high = sorted((sign * pair.low, sign * pair.high))
        limits = f"[{low:+.3f}, {high:+.3f}]"
    better = one if sign * pair.difference > 0 else other
    verdict = f"{better} is better" if pair.p is not None and pair.p <= ALPHA else "no significant difference"
    power = (
        "too few independent samples"
        if pair.detectable is None
        else f"80 % power from {number(pair.detectable, 3)}"
    )
    return (
        f"  {task} {sign * pair.difference:+.3f}  {limits}  p {p_value(pair.p)}  "
        f"n {pair.common}  {verdict} ({power})"
    )
