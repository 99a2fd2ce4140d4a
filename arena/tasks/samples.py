"""Samples of tasks from virtual cells: views, and draws of at most so many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from arena.datasets.virtual_cell import VirtualCell, item_rng
from arena.tasks import TASK_TABLE
from arena.types import Sample, TaskName
from vckg.base.errors import InputError


def make_samples(
    cells: Iterable[VirtualCell], tasks: Sequence[TaskName], *, seed: int, limit: int | None
) -> dict[TaskName, list[Sample]]:
    """Return samples of each task in the order of their ids, without tasks that the cells do not allow.

    A limit draws by seed, and a smaller one draws a part of a greater one.
    """
    if limit is not None and limit < 1:
        raise InputError(f"--limit {limit}: nothing would be asked; give 1 or more")
    known = list(cells)
    samples = {task: limited(view_all(known, task, seed=seed), seed, limit) for task in tasks}
    return {task: listed for task, listed in samples.items() if listed}


def limited(samples: list[Sample], seed: int, limit: int | None) -> list[Sample]:
    """Return at most `limit` of the samples, by the draw of each sample's own seed."""
    if limit is None or limit >= len(samples):
        return samples
    draw = {s.id: float(item_rng(seed, f"limit\n{s.id}").random()) for s in samples}
    kept = sorted(samples, key=lambda s: (draw[s.id], s.id))[:limit]
    return sorted(kept, key=lambda s: s.id)


def view_all(cells: Iterable[VirtualCell], task: TaskName, *, seed: int) -> list[Sample]:
    """Return the samples of one task from many cells, in the order of their ids.

    Raises
    ------
    InputError
        Two samples carry one id.
    """
    samples = sorted((s for cell in cells for s in TASK_TABLE[task].view(cell, seed)), key=lambda s: s.id)
    for one, next_one in pairwise(samples):
        if one.id == next_one.id:
            raise InputError(f"two {task} samples have the id {one.id!r}; give every cell its own id")
    return samples
