"""Plan the attention of a forest and the merge of its partial results, as flat integer arrays.

A task is a run of one node's blocks attended by a tile of its rows (PAC). A row's output is the merge of its
partials over its path (POR). The engine runs a node as one task. `benchmarks.forest_division` cuts nodes into more,
as a GPU's many processors need it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from serve.forest_attention.forest import Forest, Ints


@dataclass(frozen=True, slots=True)
class Plan:
    """T tasks over P partials for R rows. The arrays serve every layer of a step.

    Attributes
    ----------
    row_indptr, rows
        Query rows of task t: ``rows[row_indptr[t]:row_indptr[t + 1]]``; int64[T + 1], int64[P]. The position in
        `rows` is also the index of the partial result.
    block_indptr, blocks
        Cache blocks of task t in the same form; int64[T + 1], int64[...].
    n_tokens
        Tokens of each task, int64[T].
    merge_indptr, merge
        Partials of row r: ``merge[merge_indptr[r]:merge_indptr[r + 1]]``, root first; int64[R + 1], int64[P].
    block_tokens
        Tokens a full block holds.
    """

    row_indptr: Ints
    rows: Ints
    block_indptr: Ints
    blocks: Ints
    n_tokens: Ints
    merge_indptr: Ints
    merge: Ints
    block_tokens: int

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return len(self.n_tokens)

    @property
    def n_rows(self) -> int:
        """Number of query rows."""
        return len(self.merge_indptr) - 1

    def slots(self, task: int) -> Ints:
        """Cache slots of a task's tokens."""
        blocks = self.blocks[self.block_indptr[task] : self.block_indptr[task + 1]]
        slots = (blocks[:, None] * self.block_tokens + np.arange(self.block_tokens)).ravel()
        return slots[: self.n_tokens[task]]

    def tokens_read(self) -> int:
        """Keys (and as many values) read per key-value head."""
        return int(self.n_tokens.sum())


Task = tuple[Ints, Ints, int]
"""Query rows, cache blocks, and the tokens that these hold."""


def make_plan(forest: Forest, tasks: Iterable[Task] | None = None) -> Plan:
    """Return the tasks and the merge program of a forest.

    By default every node is a task. Other `tasks` cover each row's path once too, so that the output is the same up to
    rounding.
    """
    parts = list(_nodes(forest) if tasks is None else tasks)
    rows, blocks = [part[0] for part in parts], [part[1] for part in parts]
    flat_rows = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    return Plan(
        row_indptr=_indptr(rows),
        rows=flat_rows,
        block_indptr=_indptr(blocks),
        blocks=np.concatenate(blocks) if blocks else np.zeros(0, np.int64),
        n_tokens=np.array([part[2] for part in parts], np.int64),
        merge_indptr=np.concatenate(([0], np.cumsum(np.bincount(flat_rows, minlength=forest.n_rows)))).astype(
            np.int64
        ),
        merge=np.argsort(flat_rows, kind="stable"),
        block_tokens=forest.block_tokens,
    )


def _nodes(forest: Forest) -> Iterator[Task]:
    for node in range(forest.n_nodes):
        rows = forest.rows[forest.row_indptr[node] : forest.row_indptr[node + 1]]
        blocks = forest.blocks[forest.block_indptr[node] : forest.block_indptr[node + 1]]
        yield rows, blocks, int(forest.n_tokens[node])


def _indptr(pieces: list[Ints]) -> Ints:
    return np.concatenate(([0], np.cumsum([len(p) for p in pieces]))).astype(np.int64)
