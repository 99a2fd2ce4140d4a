"""Decode attention with the forest and request by request, in one run: ``python -m benchmarks.forest_attention``.

Prints one Markdown row for each number of requests, shared and own tokens. A row has exact key reads from the plan,
milliseconds (the least of alternating runs), their ratio, and the time of planning. A step plans once for all layers.
The peer is torch's own scaled_dot_product_attention on each request's gathered context. Both gather from the same
paged cache. Heads are those of the embedded model.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.forest_division import CostModel, balanced_plan
from serve.forest_attention.forest import Forest, forest_of
from serve.forest_attention.plan import Plan
from serve.forest_attention.torch_executor import TorchPlan, execute, to_torch

HEADS, KV_HEADS, WIDTH, BLOCK_TOKENS = 9, 3, 64, 16
REPEATS = 15
PATIENCE_S = 0.8
"""Repeats beyond the third stop when they have taken this long."""
SCALE = WIDTH**-0.5

Attend = Callable[[], object]


def unshared_tokens(forest: Forest) -> int:
    """Keys read per key-value head when every row reads its own context."""
    return int((forest.n_sharing * forest.n_tokens).sum())


def cascade_tokens(forest: Forest) -> int:
    """Keys read when only the prefix common to *all* rows is shared (one-level cascade attention)."""
    common = forest.n_sharing == forest.n_rows
    return int(forest.n_tokens[common].sum() + (forest.n_sharing * forest.n_tokens)[~common].sum())


def case(requests: int, prefix: int, suffix: int) -> str:
    """One row: `requests` contexts of `prefix` shared and `suffix` own tokens."""
    blocks = itertools.count()
    shared = [next(blocks) for _ in range(prefix // BLOCK_TOKENS)]
    tables = [shared + [next(blocks) for _ in range(-(-suffix // BLOCK_TOKENS))] for _ in range(requests)]
    lengths = [prefix + suffix] * requests
    generator = torch.Generator().manual_seed(0)
    shape = (next(blocks) * BLOCK_TOKENS, KV_HEADS, WIDTH)
    keys, values = (torch.randn(shape, generator=generator) for _ in range(2))
    query = torch.randn(requests, HEADS, WIDTH, generator=generator)
    cost = CostModel(group=HEADS // KV_HEADS, tile_rows=1 << 16)
    block_tables = np.array(tables, np.int64)

    def planned() -> tuple[Forest, Plan, TorchPlan]:
        forest = forest_of(block_tables, lengths, BLOCK_TOKENS)
        step_plan = balanced_plan(forest, cost)
        return forest, step_plan, to_torch(step_plan, KV_HEADS)

    forest, step_plan, plan = planned()
    (planning,) = _least_ms(planned)
    slots = [torch.from_numpy(_slots(t, n)) for t, n in zip(tables, lengths, strict=True)]

    def grouped() -> torch.Tensor:
        return execute(plan, query, keys, values, SCALE)[0]

    def one_by_one() -> torch.Tensor:
        rows = []
        for row, own in zip(query, slots, strict=True):
            k, v = (cache.index_select(0, own).transpose(0, 1)[None] for cache in (keys, values))
            attended = torch.nn.functional.scaled_dot_product_attention(
                row[None, :, None], k, v, enable_gqa=True
            )
            rows.append(attended[0, :, 0])
        return torch.stack(rows)

    torch.testing.assert_close(grouped(), one_by_one(), atol=1e-4, rtol=1e-4)
    ours, theirs = _least_ms(grouped, one_by_one)
    reads = (unshared_tokens(forest), cascade_tokens(forest), int(step_plan.n_tokens.sum()))
    times = (f"{x:.2f}" for x in (theirs, ours, theirs / ours, planning))
    columns = (requests, prefix, suffix, *reads, *times)
    return "| " + " | ".join(map(str, columns)) + " |"


def _slots(table: list[int], length: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    slots = (np.array(table)[:, None] * BLOCK_TOKENS + np.arange(BLOCK_TOKENS)).ravel()
    return slots[:length].astype(np.int64)


def _least_ms(*attends: Attend) -> list[float]:
    """Least time of each function, in turns so that noise falls on all of them."""
    best = [float("inf")] * len(attends)
    start = time.perf_counter()
    for turn in range(REPEATS):
        if turn >= 3 and time.perf_counter() - start > PATIENCE_S:
            break
        for i, attend in enumerate(attends):
            began = time.perf_counter()
            attend()
            best[i] = min(best[i], 1e3 * (time.perf_counter() - began))
    return best


def main() -> None:
    """Print the table. Torch runs on one thread, so that a busy second core has no effect."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    sys.stdout.write(
        "| requests | shared tokens | own tokens | keys read, each its own | keys read, one level | keys read, forest "
        "| ms, each its own | ms, forest | ratio | ms, planning |\n|---|---|---|---|---|---|---|---|---|---|\n"
    )
    grid = itertools.product((1, 2, 4, 8, 16, 32, 64), (0, 128, 512, 2048, 4096, 8192), (16, 128, 512))
    for requests, prefix, suffix in grid:
        sys.stdout.write(case(requests, prefix, suffix) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
