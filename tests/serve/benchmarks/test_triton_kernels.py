"""The Triton kernels equal the numpy executor; in the interpreter where there is no GPU."""

import os

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # has to stand before triton is imported
pytest.importorskip("triton", reason="triton does not install on this platform")

from benchmarks.forest_division import CostModel, balanced_plan
from benchmarks.gpu import triton_kernels
from serve.forest_attention.forest import forest_of
from tests.serve.forest_attention import reference

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = 16


@pytest.mark.parametrize("seed", range(8))
def test_the_kernels_equal_the_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fresh = iter(range(1000))
    tables: list[list[int]] = []
    for _ in range(int(rng.integers(1, 12))):
        other = tables[rng.integers(len(tables))] if tables else []
        prefix = other[: rng.integers(len(other) + 1)]
        tables.append(prefix + [next(fresh) for _ in range(rng.integers(0, 5))])
    lengths = [max(0, len(t) * BLOCK - int(rng.integers(BLOCK))) if t else 0 for t in tables]
    group, kv_heads, d = int(rng.choice([1, 3, 4])), int(rng.choice([1, 2])), int(rng.choice([16, 32]))
    cost = CostModel(group=group, tile_rows=int(rng.choice([4, 16, 64])))
    plan = balanced_plan(forest_of(tables, lengths, BLOCK), cost, workers=int(rng.integers(1, 4)))
    n_slots = BLOCK * (1 + max((b for t in tables for b in t), default=0))
    keys, values = (rng.normal(size=(n_slots, kv_heads, d)).astype(np.float32) for _ in range(2))
    query = rng.normal(size=(len(tables), kv_heads * group, d)).astype(np.float32)
    expected, expected_lse = reference.execute(plan, query, keys, values, scale=d**-0.5)
    pages = (a.reshape(-1, BLOCK, kv_heads, d).swapaxes(1, 2) for a in (keys, values))
    tensors = (torch.from_numpy(np.ascontiguousarray(a)).to(DEVICE) for a in (query, *pages))
    out, lse = triton_kernels.execute(triton_kernels.to_device(plan, DEVICE), *tensors, scale=d**-0.5)
    np.testing.assert_allclose(out.cpu().numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(lse.cpu().numpy(), expected_lse, atol=1e-4)


def test_a_head_dimension_the_kernels_cannot_tile_is_refused() -> None:
    plan = triton_kernels.to_device(balanced_plan(forest_of([[0]], [3], BLOCK)), DEVICE)
    cache = torch.zeros(1, 1, BLOCK, 24, device=DEVICE)
    with pytest.raises(ValueError, match="power of two"):
        triton_kernels.execute(plan, torch.zeros(1, 1, 24, device=DEVICE), cache, cache, scale=1.0)


def test_a_task_that_no_tile_holds_is_refused() -> None:
    made = balanced_plan(forest_of([[0]] * 40, [3] * 40, BLOCK), CostModel(tile_rows=1 << 20))
    cache = torch.zeros(1, 1, BLOCK, 16, device=DEVICE)
    query, plan = torch.zeros(40, 4, 16, device=DEVICE), triton_kernels.to_device(made, DEVICE)
    with pytest.raises(ValueError, match="stacks 160 query heads"):
        triton_kernels.execute(plan, query, cache, cache, scale=1.0)
