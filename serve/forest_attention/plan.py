"""Plan the attention of a forest and the merge of its partial results, as flat integer arrays.

A task is a run of one node's blocks attended by a tile of its rows (PAC). A row's output is the merge of its
partials over its path (POR). The engine runs a node as one task. `benchmarks.forest_division` first cuts the nodes, as
a GPU's many processors need it.
"""

from __future__ import annotations

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
    def n_rows(self) -> int:
        """Number of query rows."""
        return len(self.merge_indptr) - 1

    def slots(self, task: int) -> Ints:
        """Cache slots of a task's tokens."""
        blocks = self.blocks[self.block_indptr[task] : self.block_indptr[task + 1]]
        slots = (blocks[:, None] * self.block_tokens + np.arange(self.block_tokens)).ravel()
        return slots[: self.n_tokens[task]]


def make_plan(forest: Forest) -> Plan:
    """Return one task for each node of a forest, and the merge program."""
    return Plan(
        row_indptr=forest.row_indptr,
        rows=forest.rows,
        block_indptr=forest.block_indptr,
        blocks=forest.blocks,
        n_tokens=forest.n_tokens,
        merge_indptr=np.concatenate(
            ([0], np.cumsum(np.bincount(forest.rows, minlength=forest.n_rows)))
        ).astype(np.int64),
        merge=np.argsort(forest.rows, kind="stable"),
        block_tokens=forest.block_tokens,
    )
