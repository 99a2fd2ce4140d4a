"""FlashForge: the plan covers every context once, reads shared keys once, and its result is plain attention."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.forest_attention import cascade_tokens, unshared_tokens
from benchmarks.forest_division import (
    CostModel,
    balanced_plan,
    divide,
    lower_bound,
    makespan,
)
from serve.forest_attention.forest import forest_of
from tests.serve.forest_attention.reference import attention, execute, por

BLOCK = 4


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[int]], list[int]]:
    """Rows of a random radix tree: each copies a prefix of an earlier row's table, then goes on alone."""
    fresh = itertools.count()
    rows: list[list[int]] = []
    lengths: list[int] = []
    for _ in range(draw(st.integers(1, 12))):
        prefix: list[int] = []
        if rows and draw(st.booleans()):
            other = rows[draw(st.integers(0, len(rows) - 1))]
            prefix = other[: draw(st.integers(0, len(other)))]
        table = prefix + [next(fresh) for _ in range(draw(st.integers(0, 4)))]
        low = max(0, (len(table) - 1) * BLOCK + 1) if table else 0
        rows.append(table)
        lengths.append(draw(st.integers(low, len(table) * BLOCK)))
    shuffled = draw(st.permutations(range(len(rows))))
    return [rows[i] for i in shuffled], [lengths[i] for i in shuffled]


def slots_of(table: list[int], length: int) -> list[int]:
    return [block * BLOCK + offset for block in table for offset in range(BLOCK)][:length]


def cache(
    rng: np.random.Generator, n_blocks: int, kv_heads: int, d: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    shape = (max(n_blocks, 1) * BLOCK, kv_heads, d)
    return rng.normal(size=shape), rng.normal(size=shape)


@given(tables(), st.sampled_from([1, 4, 8]), st.integers(1, 9), st.data())
@settings(max_examples=150, deadline=None)
def test_any_plan_of_any_forest_is_plain_attention(
    drawn: tuple[list[list[int]], list[int]], group: int, workers: int, data: st.DataObject
) -> None:
    block_tables, lengths = drawn
    forest = forest_of(block_tables, lengths, BLOCK)
    cost = CostModel(tile_rows=data.draw(st.sampled_from([1, 8, 64])), group=group)
    cuts = data.draw(
        st.none()
        | st.lists(
            st.integers(1, 5), min_size=len(divide(forest, cost, 1)), max_size=len(divide(forest, cost, 1))
        )
    )
    plan = balanced_plan(forest, cost, workers=workers, cuts=cuts)
    rng = np.random.default_rng(0)
    keys, values = cache(rng, 1 + max((b for t in block_tables for b in t), default=0), kv_heads=2)
    query = rng.normal(size=(len(lengths), 2 * group, 8))
    out, _ = execute(plan, query, keys, values, scale=8**-0.5)
    for row, (table, length) in enumerate(zip(block_tables, lengths, strict=True)):
        expected = attention(query[row], keys, values, np.array(slots_of(table, length), np.int64), 8**-0.5)
        np.testing.assert_allclose(out[row], expected, atol=1e-12)


@given(tables(), st.integers(1, 6))
@settings(max_examples=150, deadline=None)
def test_every_slot_of_a_context_is_in_exactly_one_task_of_its_row(
    drawn: tuple[list[list[int]], list[int]], workers: int
) -> None:
    block_tables, lengths = drawn
    plan = balanced_plan(forest_of(block_tables, lengths, BLOCK), workers=workers)
    seen: list[list[int]] = [[] for _ in lengths]
    for task in range(len(plan.n_tokens)):
        for row in plan.rows[plan.row_indptr[task] : plan.row_indptr[task + 1]]:
            seen[row].extend(plan.slots(task).tolist())
    for row, (table, length) in enumerate(zip(block_tables, lengths, strict=True)):
        assert sorted(seen[row]) == sorted(slots_of(table, length))


@given(tables(), st.sampled_from([1, 2, 4]))
@settings(max_examples=150, deadline=None)
def test_keys_are_read_once_per_tile_and_never_more_often_than_row_by_row(
    drawn: tuple[list[list[int]], list[int]], tile_rows: int
) -> None:
    forest = forest_of(*drawn, BLOCK)
    plan = balanced_plan(forest, CostModel(tile_rows=tile_rows))
    once_per_tile = (forest.n_tokens * -(-forest.n_sharing // tile_rows)).sum()
    assert plan.n_tokens.sum() == once_per_tile <= cascade_tokens(forest) * -(-len(drawn[1]) // tile_rows)
    assert plan.n_tokens.sum() <= unshared_tokens(forest)
    if tile_rows >= len(drawn[1]):
        shared = (forest.n_sharing > 1).any()
        assert (plan.n_tokens.sum() < unshared_tokens(forest)) == shared
        assert plan.n_tokens.sum() <= cascade_tokens(forest) <= unshared_tokens(forest)


def test_a_family_tree_reads_an_eighth_of_what_requests_alone_and_a_fifth_of_what_one_level_reads() -> None:
    """32 requests share 1,024 tokens, each eight of them 2,048 more; every one has 128 of its own."""
    fresh = itertools.count()
    trunk = [next(fresh) for _ in range(64)]
    families = [trunk + [next(fresh) for _ in range(128)] for _ in range(4)]
    block_tables = [family + [next(fresh) for _ in range(8)] for family in families for _ in range(8)]
    forest = forest_of(block_tables, [1024 + 2048 + 128] * 32, 16)
    assert unshared_tokens(forest) == 32 * 3200 == 102_400
    assert cascade_tokens(forest) == 1024 + 32 * (2048 + 128) == 70_656
    assert (
        balanced_plan(forest, CostModel(tile_rows=64)).n_tokens.sum() == 1024 + 4 * 2048 + 32 * 128 == 13_312
    )


def test_the_third_sibling_merges_with_its_own_row_of_the_parent() -> None:
    """A root with four leaves: offsets taken from the previous sibling would merge leaves 3 and 4 wrongly."""
    block_tables = [[0, leaf] for leaf in (1, 2, 3, 4)]
    lengths = [BLOCK * 2] * 4
    rng = np.random.default_rng(1)
    keys, values = cache(rng, 5, kv_heads=1)
    query = rng.normal(size=(4, 1, 8))
    plan = balanced_plan(forest_of(block_tables, lengths, BLOCK))
    out, _ = execute(plan, query, keys, values, scale=1.0)
    order = [2, 0, 3, 1]
    permuted = balanced_plan(forest_of([block_tables[i] for i in order], lengths, BLOCK))
    out_permuted, _ = execute(permuted, query[order], keys, values, scale=1.0)
    np.testing.assert_allclose(out_permuted, out[order], atol=1e-14)
    for row, table in enumerate(block_tables):
        expected = attention(query[row], keys, values, np.array(slots_of(table, 8), np.int64), 1.0)
        np.testing.assert_allclose(out[row], expected, atol=1e-14)


def test_merging_is_associative_commutative_and_has_an_identity_even_at_extreme_scores() -> None:
    rng = np.random.default_rng(2)
    outs = rng.normal(size=(3, 5, 2, 4))
    lses = rng.choice([-1e4, -3.0, 0.0, 2.0, 1e4], size=(3, 5, 2))
    (a, la), (b, lb), (c, lc) = zip(outs, lses, strict=True)
    left = por(*por(a, la, b, lb), c, lc)
    right = por(a, la, *por(b, lb, c, lc))
    swapped = por(*por(c, lc, a, la), b, lb)
    for other in (right, swapped):
        np.testing.assert_allclose(other[0], left[0], atol=1e-6)
        np.testing.assert_allclose(other[1], left[1], atol=1e-6)
    nothing = (np.zeros_like(a), np.full_like(la, -np.inf))
    np.testing.assert_array_equal(por(a, la, *nothing)[0], a)
    assert np.isneginf(por(*nothing, *nothing)[1]).all()
    assert np.isfinite(left[0]).all()


@given(tables(), st.integers(1, 5), st.floats(0, 20), st.floats(0, 5), st.floats(0.001, 1))
@settings(max_examples=150, deadline=None)
def test_the_schedule_keeps_to_its_bounds(
    drawn: tuple[list[list[int]], list[int]], workers: int, c0: float, c1: float, c2: float
) -> None:
    forest = forest_of(*drawn, BLOCK)
    if not forest.n_nodes:
        return
    cost = CostModel(c0=c0, c1=c1, c2=c2)
    lower = lower_bound(forest, cost, workers)
    cuts = divide(forest, cost, workers)
    plan = balanced_plan(forest, cost, workers=workers)
    n_rows = np.diff(plan.row_indptr)
    span = makespan(cost.task(n_rows, plan.n_tokens), workers)
    assert span >= lower * (1 - 1e-6) or workers == 1
    caps = np.ceil(cost.task(forest.n_sharing, forest.n_tokens) / lower)
    assert (cuts <= np.maximum(caps, 1)).all()
    again = balanced_plan(forest, cost, workers=workers)
    np.testing.assert_array_equal(again.merge, plan.merge)


@pytest.mark.parametrize("seed", range(30))
def test_longest_task_first_is_within_four_thirds_of_the_best_schedule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs, workers = rng.uniform(1, 10, size=7), 3
    best = min(
        max(sum(costs[i] for i in range(7) if where[i] == w) for w in range(workers))
        for where in itertools.product(range(workers), repeat=7)
    )
    assert makespan(costs, workers) <= best * (4 / 3) + 1e-9


def test_a_table_too_short_for_its_context_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 2 blocks, the table has 1"):
        forest_of([[0]], [5], BLOCK)
