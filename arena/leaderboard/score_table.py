"""Runs that may stand in one table, and their scores as arrays."""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from arena.contestants.kinds import kind_of_run
from arena.leaderboard.statistics import Block, Clusters, Floats
from arena.scoring import metrics
from arena.tasks import TASKS
from arena.types import Answer, Run, Sample, Score, TaskName
from vckg.base.errors import InputError


@dataclass(slots=True)
class Table:
    """Runs whose tasks agree in samples, prompt and graph."""

    dataset: str
    graph_hash: str
    seed: int
    runs: list[Run] = field(default_factory=list)
    fingerprints: dict[TaskName, str] = field(default_factory=dict)

    def shares(self, run: Run) -> bool:
        """Tell whether a run answered the samples of a task here."""
        return bool(self.fingerprints.items() & fingerprints(run).items())

    def admits(self, run: Run, tasks: Collection[TaskName]) -> bool:
        """Tell whether tasks of a run with samples of their own can join those here."""
        m = run.manifest
        same = (m.dataset, m.graph_hash, m.seed) == (self.dataset, self.graph_hash, self.seed)
        return same and not self.fingerprints.keys() & set(tasks)

    def add(self, run: Run) -> None:
        """Add what a run answered of the samples here.

        Raises
        ------
        InputError
            Its contestant already has a run of one of its tasks here.
        """
        run = part(run, dict(self.fingerprints.items() & fingerprints(run).items()))
        for other in self.runs:
            if twice := shared_tasks(run, other):
                raise InputError(
                    f"{other.folder} and {run.folder} are both runs of {run.manifest.contestant!r} on the same "
                    f"{twice[0]} samples; give one of them, or name one apart with `arena run --name`"
                )
        self.runs.append(run)


def fingerprints(run: Run) -> dict[TaskName, str]:
    """Return the fingerprint of every task with answers in the run."""
    answered = {answer.task for answer in run.answers}
    return {task: run.manifest.fingerprint(task) for task in TASKS if task in answered}


def part(run: Run, tasks: Collection[TaskName]) -> Run:
    """Return a run with its answers to some tasks only."""
    if set(tasks) == set(fingerprints(run)):
        return run
    answers = tuple(answer for answer in run.answers if answer.task in tasks)
    return replace(run, answers=answers, scores=tuple(score for score in run.scores if score.task in tasks))


def shared_tasks(run: Run, other: Run) -> list[TaskName]:
    """Return tasks of which two runs of one contestant answered the same samples; none of two contestants."""
    if run.manifest.contestant != other.manifest.contestant:
        return []
    return sorted(task for task, _mark in fingerprints(run).items() & fingerprints(other).items())


def tables(runs: Sequence[Run]) -> list[Table]:
    """Group runs, the table of most runs first.

    The samples of a task stand in one table, with every run that answered them, whatever else it was asked. Other
    samples of that task stand in another.
    """
    if not runs:
        raise InputError("no runs to report; give run folders that `arena run` wrote")
    found: list[Table] = []
    # Runs of many tasks first: they say which samples belong together.
    ordered = sorted(
        runs,
        key=lambda r: (
            r.manifest.dataset,
            -len(fingerprints(r)),
            sorted(fingerprints(r).values()),
            r.manifest.contestant,
            r.folder,
        ),
    )
    for run in ordered:
        for table in [t for t in found if t.shares(run)]:
            new = _unplaced(run, found)
            table.fingerprints |= {task: mark for task, mark in new.items() if table.admits(run, [task])}
        if new := _unplaced(run, found):
            home = next((t for t in found if t.admits(run, new)), None)
            if home is None:
                home = Table(run.manifest.dataset, run.manifest.graph_hash, run.manifest.seed)
                found.append(home)
            home.fingerprints |= new
    for run in ordered:
        for table in [t for t in found if t.shares(run)]:
            table.add(run)
    return sorted(found, key=lambda t: -len(t.runs))


def _unplaced(run: Run, found: Sequence[Table]) -> dict[TaskName, str]:
    """Return the fingerprints of a run that no table has."""
    placed = {mark for table in found for mark in table.fingerprints.values()}
    return {task: mark for task, mark in fingerprints(run).items() if mark not in placed}


def task_seed(seed: int, task: str) -> int:
    """Seed of a task's resamples, so that no two tasks share their draws."""
    return zlib.crc32(f"{seed}\n{task}".encode())


class Column:
    """Answers of all contestants to one task of a table; samples ascend by id."""

    def __init__(self, task: TaskName, runs: Sequence[Run], seed: int) -> None:
        self.task = task
        self.seed = task_seed(seed, task)
        self.headline = metrics.HEADLINE[task]
        task_runs = [run for run in runs if task in fingerprints(run)]
        samples = {s.id: s for run in task_runs for s in run.samples.values() if s.task == task}
        self.samples: list[Sample] = [samples[i] for i in sorted(samples)]
        self.contestants: tuple[str, ...] = tuple(sorted({run.manifest.contestant for run in task_runs}))
        self.kinds = {run.manifest.contestant: kind_of_run(run.manifest) for run in task_runs}
        self.clusters = Clusters.of([s.cluster for s in self.samples])
        self.position = {s.id: i for i, s in enumerate(self.samples)}
        self.row = {name: i for i, name in enumerate(self.contestants)}
        self.answers: dict[str, dict[str, list[Answer]]] = {
            name: defaultdict(list) for name in self.contestants
        }
        self._scores: dict[tuple[str, str], list[Score]] = defaultdict(list)
        for run in task_runs:
            self._take(run)

    def _take(self, run: Run) -> None:
        for answer in run.answers:
            if answer.task == self.task:
                self.answers[answer.contestant][answer.sample_id].append(answer)
        for score in run.scores:
            if score.task == self.task:
                self._scores[score.scorer, score.dimension].append(score)

    @property
    def ranked(self) -> list[str]:
        """Contestants that can have a rank: all but the ceiling."""
        return [name for name in self.contestants if self.kinds[name] != "ceiling"]

    @cached_property
    def scorers(self) -> tuple[str, ...]:
        """Judges with a total: the one that needs no model first, then by name."""
        judges = {scorer for scorer, dimension in self._scores if dimension == "total"}
        return tuple(sorted(judges, key=lambda name: (name != "knowledge", name)))

    def records(self, scorer: str, dimension: str) -> list[Score]:
        """Scores of one scorer and dimension, as they were read."""
        return self._scores.get((scorer, dimension), [])

    def matrix(self, scorer: str, dimension: str) -> Floats:
        """Scores float64[m, n], epochs averaged within the sample; NaN where unscored or not answered."""
        total = np.zeros((len(self.contestants), len(self.samples)))
        count = np.zeros_like(total)
        for score in self.records(scorer, dimension):
            if score.value is not None and math.isfinite(score.value):
                at = self.row[score.contestant], self.position[score.sample_id]
                total[at] += score.value
                count[at] += 1
        mean: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        return mean

    @cached_property
    def main(self) -> Floats:
        """The main dimension, float64[m, n]."""
        return self.matrix(metrics.SCORER, self.headline)

    def block(self, rows: Sequence[int]) -> Block:
        """The main dimension of some contestants as part of a comparison."""
        return Block(self.main[list(rows)], self.clusters, self.seed)

    def words(self) -> Floats:
        """Words of each answer, float64[m, n], epochs averaged; NaN where there is none."""
        found = np.full((len(self.contestants), len(self.samples)), np.nan)
        for name, by_sample in self.answers.items():
            for sample_id, answers in by_sample.items():
                lengths = [len(parsed_words(a.parsed)) for a in answers if a.parsed is not None]
                if lengths:
                    found[self.row[name], self.position[sample_id]] = float(np.mean(lengths))
        return found


def parsed_words(parsed: Mapping[str, object]) -> list[str]:
    """Return the words of a bound answer, whose number judges see."""
    return " ".join(" ".join(map(str, v)) if isinstance(v, list) else str(v) for v in parsed.values()).split()
