"""How the forest is cut, by hand and against slow definitions; the results of any cut are in test_forest_attention."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks.forest_attention import unshared_tokens
from benchmarks.forest_division import (
    TARGETS,
    CostModel,
    balanced_plan,
    divide,
    lower_bound,
    makespan,
)
from serve.forest_attention.forest import Forest, forest_of

BLOCK = 4
Unit = tuple[int, int, int]
"""Rows, tokens and blocks of a tile of a node."""


def forest_with(shared: int, own: list[int], block: int = BLOCK) -> Forest:
    """Rows that share their first `shared` blocks; then each has `own` of its own. All blocks are full."""
    first = shared
    tables = []
    for n in own:
        tables.append([*range(shared), *range(first, first + n)])
        first += n
    return forest_of(tables, [len(table) * block for table in tables], block)


def units_of(forest: Forest, cost: CostModel) -> list[Unit]:
    units = []
    for node, n_rows in enumerate(forest.n_sharing.tolist()):
        n_blocks = int(forest.block_indptr[node + 1] - forest.block_indptr[node])
        while n_rows > 0:
            units.append((min(n_rows, cost.rows_per_tile), int(forest.n_tokens[node]), n_blocks))
            n_rows -= cost.rows_per_tile
    return units


def cost_of(unit: Unit, cuts: int, cost: CostModel) -> float:
    """Cost of one of `cuts` runs of a unit."""
    return float(cost.task(unit[0], math.ceil(unit[1] / cuts)))


def least_runs(unit: Unit, cost: CostModel, target: float) -> int:
    """The definition: try 1, 2, ... runs until one costs no more than the target."""
    enough = (b for b in range(1, unit[2]) if cost_of(unit, b, cost) <= target * (1 + 1e-12))
    return next(enough, unit[2])


def need(units: list[Unit], cost: CostModel, target: float) -> float:
    return sum(b * cost_of(u, b, cost) for u in units for b in [least_runs(u, cost, target)])


def greedy(costs: list[float], workers: int) -> float:
    loads = [0.0] * workers
    for task in sorted(costs, reverse=True):
        loads[loads.index(min(loads))] += task
    return max(loads)


forests = st.builds(
    forest_with,
    st.integers(0, 9),
    st.lists(st.integers(0, 30), min_size=1, max_size=10).filter(any),
    st.sampled_from([1, BLOCK, 16]),
)
quarters = st.integers(1, 80).map(lambda n: n / 4)
costs = st.builds(
    CostModel,
    c0=quarters,
    c1=quarters,
    c2=st.sampled_from([0.0, 1 / 64, 1 / 16, 1 / 4]),
    merge=st.sampled_from([0.0, 0.5, 8.0]),
    tile_rows=st.sampled_from([4, 16, 64]),
    group=st.sampled_from([1, 2, 8]),
)


def test_a_task_costs_its_start_and_every_tile_its_start_and_its_tokens() -> None:
    cost = CostModel(c0=8, c1=2, c2=0.5, tile_rows=64, group=8)
    assert cost.task(8, 10) == 8 + 1 * (2 + 0.5 * 10)
    assert cost.task(9, 10) == 8 + 2 * (2 + 0.5 * 10)  # 72 heads: two tiles
    assert cost.task([1, 24], [0, 4]).tolist() == [8 + 2, 8 + 3 * (2 + 2)]
    assert [replace(cost, group=g).rows_per_tile for g in (1, 8, 48, 64, 65)] == [64, 8, 1, 1, 1]


def test_a_longer_context_costs_more_and_the_start_of_a_task_outweighs_a_block_by_default() -> None:
    cost = CostModel()
    assert cost.task(1, 1000) > 5 * cost.task(1, 0)
    assert cost.task(1, 16) < 2 * cost.task(1, 0)


def test_the_longest_goes_first_to_the_least_loaded() -> None:
    assert makespan(np.array([2.0, 3.0, 2.0, 3.0, 2.0]), 2) == 7.0  # 3 2 2 and 3 2; the best would be 6
    assert makespan(np.array([5.0, 4.0, 3.0]), 1) == 12.0
    assert makespan(np.array([5.0, 4.0, 3.0]), 8) == 5.0
    assert makespan(np.array([]), 3) == 0.0


@settings(max_examples=60, deadline=None)
@given(forests, costs, st.integers(1, 12))
def test_the_lower_bound_is_the_least_longest_task_whose_work_fits_the_workers(
    forest: Forest, cost: CostModel, workers: int
) -> None:
    """Where starting a run costs more than rounding up to 40 runs to whole tokens: fewer runs never need more."""
    assume(cost.c1 >= 40 * cost.c2)
    units = units_of(forest, cost)
    lower = lower_bound(forest, cost, workers)
    assert need(units, cost, lower) <= workers * lower * (1 + 1e-9)
    for share in (1 - 1e-6, 0.9, 0.5):
        assert need(units, cost, share * lower) > workers * share * lower


def test_the_lower_bound_of_a_context_that_two_workers_halve() -> None:
    """40 tokens at 1 each and 10 for a task: alone 50, halved 30 each; a third cut would need 3 * 24 = 72 > 2 * 30."""
    cost = CostModel(c0=10, c1=0, c2=1)
    forest = forest_with(0, [10])
    assert lower_bound(forest, cost, 1) == pytest.approx(50)
    assert lower_bound(forest, cost, 2) == pytest.approx(30)
    assert lower_bound(forest_of([], [], BLOCK), cost, 2) == 0
    assert divide(forest, replace(cost, merge=0.0), 2).tolist() == [2]


@settings(max_examples=60, deadline=None)
@given(forests, costs, st.integers(2, 12))
def test_the_division_is_the_best_of_the_targets(forest: Forest, cost: CostModel, workers: int) -> None:
    units = units_of(forest, cost)
    lower = lower_bound(forest, cost, workers)
    caps = [min(u[2], math.ceil(cost_of(u, 1, cost) / lower)) for u in units]

    def predicted(cuts: list[int]) -> float:
        tasks = [cost_of(u, b, cost) for u, b in zip(units, cuts, strict=True) for _ in range(b)]
        partials = sum(b * u[0] for u, b in zip(units, cuts, strict=True))
        return greedy(tasks, workers) + cost.merge * partials / workers

    tried = [
        [min(least_runs(u, cost, lower * t), cap) for u, cap in zip(units, caps, strict=True)]
        for t in TARGETS
    ]
    found = divide(forest, cost, workers).tolist()
    assert predicted(found) == pytest.approx(min(map(predicted, tried)))
    assert all(1 <= cut <= cap for cut, cap in zip(found, caps, strict=True))


@given(forests, costs)
def test_one_worker_has_nothing_to_balance(forest: Forest, cost: CostModel) -> None:
    assert divide(forest, cost, 1).tolist() == [1] * len(units_of(forest, cost))


def test_what_is_cut_in_four_for_four_workers_is_cut_in_two_where_merging_is_dear() -> None:
    forest = forest_with(0, [32])
    cost = CostModel(c0=1, c1=0, c2=1, merge=0.0)
    assert divide(forest, cost, 4).tolist() == [4]
    assert divide(forest, replace(cost, merge=1000.0), 4).tolist() == [2]


def test_every_row_of_a_run_merges_its_partial() -> None:
    """128 tokens and 20 for a partial: of one row, quarters (33 + 20) beat halves (65 + 10); of eight, 193 and 145."""
    cost = CostModel(c0=1, c1=0, c2=1, merge=20.0)
    assert divide(forest_with(32, [0]), cost, 4).tolist() == [4]
    assert divide(forest_with(32, [0] * 8), cost, 4).tolist() == [2]


def test_the_tasks_of_two_rows_with_a_common_beginning_by_hand() -> None:
    """Blocks 0 1 2 are shared; the first row goes on with 3 (full), the second with 4 5 (5 tokens)."""
    forest = forest_of([[0, 1, 2, 3], [0, 1, 2, 4, 5]], [16, 17], BLOCK)
    plan = balanced_plan(forest, cuts=[2, 1, 2])
    assert (len(plan.n_tokens), plan.n_rows, plan.block_tokens) == (5, 2, BLOCK)
    assert plan.n_tokens.tolist() == [8, 4, 4, 4, 1]
    assert plan.row_indptr.tolist() == [0, 2, 4, 5, 6, 7]
    assert plan.rows.tolist() == [0, 1, 0, 1, 0, 1, 1]
    assert plan.block_indptr.tolist() == [0, 2, 3, 4, 5, 6]
    assert plan.blocks.tolist() == [0, 1, 2, 3, 4, 5]
    assert [plan.slots(t).tolist() for t in (0, 1, 4)] == [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11], [20]]
    assert plan.merge_indptr.tolist() == [0, 3, 7]
    assert plan.merge.tolist() == [0, 2, 4, 1, 3, 5, 6]  # each row's partials, root first
    assert plan.n_tokens.sum() == 21
    assert unshared_tokens(forest) == 33


def test_more_runs_than_blocks_are_as_many_as_blocks() -> None:
    assert balanced_plan(forest_with(0, [3]), cuts=[9]).n_tokens.tolist() == [4, 4, 4]
