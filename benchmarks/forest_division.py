"""Cut the nodes of a forest into tasks that many processors share, for the Triton kernels of `benchmarks.gpu`.

The division balances the tasks over `workers` thread blocks: cutting a node
shortens the longest task but adds partials to merge.

    need(c)  = sum_i b_i(c) * C(n_q[i], ceil(n[i] / b_i(c))),  b_i(c) = least b with C(n_q[i], ceil(n[i] / b)) <= c
    lower    = least c with need(c) <= workers * c              (bisection)
    b_max[i] = ceil(C(n_q[i], n[i]) / lower)

Where starting one run more costs less than rounding the runs up to whole tokens, need may rise with c. The bisection
then ends at a crossing that need not be the least.

The best of a few targets c in [lower, 2 * lower] under longest-task-first scheduling wins. The estimator, the
bound by bisection and the cap on b_i follow the FlashForge paper; how they are put together is our reconstruction.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from serve.forest_attention.forest import Forest, Ints
from serve.forest_attention.plan import Plan, make_plan

TARGETS = np.geomspace(1.0, 2.0, 6)
"""Candidate costs of the longest task, as multiples of the lower bound."""
Task = tuple[Ints, Ints, int]
"""Query rows, cache blocks, and the tokens that these hold."""


@dataclass(frozen=True, slots=True)
class CostModel:
    """Time of one PAC task: ``c0 + ceil(n_q * group / tile_rows) * (c1 + c2 * n)``, in one unit throughout.

    `group` is the number of query heads per key-value head. A task's query heads are stacked in one tile of
    `tile_rows` rows, so keys and values are read once per tile. `merge` is the cost of merging one partial.
    """

    c0: float = 8.0
    c1: float = 2.0
    c2: float = 0.05
    merge: float = 0.5
    tile_rows: int = 64
    group: int = 1

    def task(self, n_rows: npt.ArrayLike, n_tokens: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Cost of tasks of `n_rows` query rows over `n_tokens` tokens, elementwise."""
        tiles = -(-np.asarray(n_rows) * self.group // self.tile_rows)
        return np.asarray(self.c0 + tiles * (self.c1 + self.c2 * np.asarray(n_tokens)), np.float64)

    @property
    def rows_per_tile(self) -> int:
        """Query rows whose stacked heads fit one tile."""
        return max(1, self.tile_rows // self.group)


def balanced_plan(
    forest: Forest, cost: CostModel | None = None, *, workers: int = 1, cuts: Sequence[int] | None = None
) -> Plan:
    """The plan of a forest in tiles of `cost`, divided for `workers`; `cuts` overrides the division."""
    cost = cost or CostModel()
    division = divide(forest, cost, workers) if cuts is None else cuts
    tasks = list(_cut(forest, cost, division))
    row_indptr, rows = _joined([rows for rows, _, _ in tasks])
    block_indptr, blocks = _joined([blocks for _, blocks, _ in tasks])
    cut = replace(  # a node for each task; a plan does not ask for parents
        forest,
        parent=np.full(len(tasks), -1, np.int64),
        row_indptr=row_indptr,
        rows=rows,
        block_indptr=block_indptr,
        blocks=blocks,
        n_tokens=np.array([n_tokens for _, _, n_tokens in tasks], np.int64),
    )
    return make_plan(cut)


def _joined(pieces: list[Ints]) -> tuple[Ints, Ints]:
    """Where each piece begins and ends in their concatenation, and the concatenation."""
    ends = np.concatenate(([0], np.cumsum([len(piece) for piece in pieces]))).astype(np.int64)
    return ends, np.concatenate([*pieces, np.empty(0, np.int64)])


def tiles(forest: Forest, rows_per_tile: int) -> Iterator[tuple[int, Ints]]:
    """Every node with its rows, `rows_per_tile` at most together."""
    for node in range(forest.n_nodes):
        rows = forest.rows[forest.row_indptr[node] : forest.row_indptr[node + 1]]
        for start in range(0, len(rows), rows_per_tile):
            yield node, rows[start : start + rows_per_tile]


def _cut(forest: Forest, cost: CostModel, cuts: Sequence[int] | Ints) -> Iterator[Task]:
    """The tasks of each (node, tile), whose blocks are cut into so many runs, at most the node's blocks."""
    for runs, (node, tile) in zip(cuts, tiles(forest, cost.rows_per_tile), strict=True):
        own = forest.blocks[forest.block_indptr[node] : forest.block_indptr[node + 1]]
        left = int(forest.n_tokens[node])
        for piece in np.array_split(own, min(int(runs), len(own))):
            n_tokens = min(left, len(piece) * forest.block_tokens)
            yield tile, piece, n_tokens
            left -= n_tokens


def divide(forest: Forest, cost: CostModel, workers: int) -> Ints:
    """Return into how many runs each (node, tile) unit's blocks are cut, in the order of `_units`; int64[U]."""
    n_rows, n_tokens, n_blocks = _units(forest, cost)
    if workers <= 1 or not len(n_rows):
        return np.ones(len(n_rows), np.int64)
    lower = lower_bound(forest, cost, workers)
    caps = np.minimum(n_blocks, np.ceil(cost.task(n_rows, n_tokens) / lower)).astype(np.int64)
    best, best_span = np.ones(len(n_rows), np.int64), np.inf
    for target in lower * TARGETS:
        cuts = np.minimum(_least_cuts(n_rows, n_tokens, n_blocks, cost, target), caps)
        span = makespan(_task_costs(n_rows, n_tokens, cuts, cost), workers)
        span += cost.merge * float((cuts * n_rows).sum()) / workers
        if span < best_span:
            best, best_span = cuts, span
    return best


def lower_bound(forest: Forest, cost: CostModel, workers: int) -> float:
    """Least cost c such that the work, cut into tasks of at most c, fits `workers` times c."""
    n_rows, n_tokens, n_blocks = _units(forest, cost)
    if not len(n_rows):
        return 0.0
    low, high = 0.0, float(cost.task(n_rows, n_tokens).sum())
    for _ in range(60):
        middle = (low + high) / 2
        cuts = _least_cuts(n_rows, n_tokens, n_blocks, cost, middle)
        need = float(_task_costs(n_rows, n_tokens, cuts, cost).sum())
        low, high = (low, middle) if need <= workers * middle else (middle, high)
    return high


def makespan(costs: npt.NDArray[np.float64], workers: int) -> float:
    """Time until all tasks are done when the longest goes first to the least loaded worker."""
    loads = [0.0] * workers
    for task in np.sort(costs)[::-1]:
        heapq.heapreplace(loads, loads[0] + float(task))
    return max(loads)


def _units(forest: Forest, cost: CostModel) -> tuple[Ints, Ints, Ints]:
    """Rows, tokens and blocks of every (node, tile) unit; three int64[U]."""
    units = [(len(tile), node) for node, tile in tiles(forest, cost.rows_per_tile)]
    n_rows = np.array([n for n, _ in units], np.int64)
    nodes = np.array([node for _, node in units], np.int64)
    return n_rows, forest.n_tokens[nodes], np.diff(forest.block_indptr)[nodes]


def _task_costs(n_rows: Ints, n_tokens: Ints, cuts: Ints, cost: CostModel) -> npt.NDArray[np.float64]:
    """Cost of every subtask after cutting unit u into cuts[u] equal runs."""
    return np.repeat(cost.task(n_rows, -(-n_tokens // cuts)), cuts)


def _least_cuts(n_rows: Ints, n_tokens: Ints, n_blocks: Ints, cost: CostModel, target: float) -> Ints:
    """Least number of runs per unit so that none costs more than `target`; its blocks if that cannot be."""
    fixed = cost.task(n_rows, 0)
    per_token = np.maximum(cost.task(n_rows, 1) - fixed, 1e-30)
    affordable = np.maximum(np.floor((target - fixed) / per_token), 1)
    return np.clip(np.ceil(n_tokens / affordable), 1, n_blocks).astype(np.int64)
