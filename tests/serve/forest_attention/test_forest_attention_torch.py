"""The torch executor equals the numpy one, in every precision, on random forests and draft-tree rows."""

import numpy as np
import pytest
import torch

from benchmarks.forest_division import CostModel, balanced_plan
from serve.forest_attention.forest import forest_of
from serve.forest_attention.torch_executor import execute, merge, to_torch
from tests.serve.forest_attention import reference

BLOCK = 16


def random_tables(rng: np.random.Generator, n_rows: int) -> tuple[list[list[int]], list[int]]:
    fresh = iter(range(10_000))
    rows: list[list[int]] = []
    for _ in range(n_rows):
        prefix = []
        if rows and rng.random() < 0.7:
            other = rows[rng.integers(len(rows))]
            prefix = other[: rng.integers(len(other) + 1)]
        rows.append(prefix + [next(fresh) for _ in range(rng.integers(0, 6))])
    lengths = [max(0, len(t) * BLOCK - int(rng.integers(BLOCK))) if t else 0 for t in rows]
    return rows, lengths


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.float16, 2e-3)]
)
def test_the_torch_executor_equals_the_reference(seed: int, dtype: torch.dtype, atol: float) -> None:
    rng = np.random.default_rng(seed)
    block_tables, lengths = random_tables(rng, int(rng.integers(1, 64)))
    group, kv_heads, d = int(rng.choice([1, 4, 8])), int(rng.choice([1, 3])), 16
    plan = balanced_plan(
        forest_of(block_tables, lengths, BLOCK), CostModel(group=group), workers=int(rng.integers(1, 5))
    )
    n_slots = BLOCK * (1 + max((b for t in block_tables for b in t), default=0))
    keys, values = (torch.from_numpy(rng.normal(size=(n_slots, kv_heads, d))).to(dtype) for _ in range(2))
    query = torch.from_numpy(rng.normal(size=(len(lengths), kv_heads * group, d))).to(dtype)
    out, lse = execute(to_torch(plan, kv_heads), query, keys, values, scale=0.25)
    expected, expected_lse = reference.execute(
        plan, query.double().numpy(), keys.double().numpy(), values.double().numpy(), scale=0.25
    )
    np.testing.assert_allclose(out.double().numpy(), expected, atol=atol)
    np.testing.assert_allclose(lse.double().numpy(), expected_lse, atol=atol * 4)


def test_scores_of_ten_thousand_give_no_nan() -> None:
    plan = to_torch(balanced_plan(forest_of([[0, 1], [0, 2]], [20, 18], BLOCK)), 1)
    keys = torch.randn(3 * BLOCK, 1, 8) * 1e4
    out, _ = execute(plan, torch.randn(2, 1, 8), keys, torch.randn(3 * BLOCK, 1, 8), scale=1.0)
    assert out.isfinite().all()


def test_a_draft_tree_over_a_shared_prefix_is_attended_in_two_merged_parts() -> None:
    """Rows of a tree share the committed context; what each sees of the tree itself is its ancestors."""
    torch.manual_seed(0)
    committed, parents = 21, [-1, 0, 0, 2]  # row 0 is the root token
    table = [0, 1, 2]
    keys, values = (torch.randn(3 * BLOCK, 2, 8, dtype=torch.float64) for _ in range(2))
    query = torch.randn(len(parents), 2, 8, dtype=torch.float64)
    plan = balanced_plan(forest_of([table] * 4, [committed] * 4, BLOCK))
    assert plan.n_tokens.sum() == committed  # once for all rows
    out, lse = execute(to_torch(plan, 2), query, keys, values, scale=0.3)
    for row in range(len(parents)):
        seen, above = [], row
        while above >= 0:
            seen.append(committed + above)
            above = parents[above]
        own, own_lse = reference.pac(
            query[row : row + 1].numpy(), keys[seen].numpy(), values[seen].numpy(), 0.3
        )
        both, _ = merge(
            out[row : row + 1], lse[row : row + 1], torch.from_numpy(own), torch.from_numpy(own_lse)
        )
        slots = np.array([*range(committed), *sorted(seen)])
        expected = reference.attention(query[row].numpy(), keys.numpy(), values.numpy(), slots, 0.3)
        np.testing.assert_allclose(both[0].numpy(), expected, atol=1e-12)
