"""Forest attention's Triton kernels against torch: checked in float64, then timed against SDPA and a torch cascade.

Every case is one decode step of one layer: 32 query heads over 8 key-value heads of width 128 in bfloat16, keys and
values in the engine's pages at random places. The peers get keys and values gathered already, so only the kernels pay
for paging. SDPA reads every row's whole context; the cascade reads what all rows share once and merges.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.forest_attention import cascade_tokens, unshared_tokens
from benchmarks.forest_division import CostModel, balanced_plan
from benchmarks.gpu.card import median_ms
from benchmarks.gpu.record import Record
from serve.forest_attention.forest import Forest, forest_of
from serve.forest_attention.plan import Plan
from serve.forest_attention.torch_executor import merge

HEADS, KV_HEADS, WIDTH, BLOCK = 32, 8, 128, 16
SCALE = WIDTH**-0.5


@dataclass(frozen=True)
class Case:
    """A forest of rows: levels of (branches, tokens) from the root down; each level multiplies the rows."""

    name: str
    levels: tuple[tuple[int, int], ...]

    def tables(self, rng: np.random.Generator) -> tuple[list[list[int]], list[int], int]:
        """Block tables, lengths, and how many tokens all rows share; the blocks lie at random."""
        count = itertools.count()
        paths: list[list[int]] = [[]]
        for branches, tokens in self.levels:
            new = -(-tokens // BLOCK)
            paths = [[*p, *(next(count) for _ in range(new))] for p in paths for _ in range(branches)]
        places = rng.permutation(next(count))
        length = sum(t for _, t in self.levels)
        common = 0
        for branches, tokens in self.levels:
            if branches > 1:
                break
            common += tokens
        return [places[p].tolist() for p in paths], [length] * len(paths), common


CASES = (
    Case("64 requests, 4,096 shared, 128 own", ((1, 4096), (64, 128))),
    Case("32 requests, 16,384 shared, 128 own", ((1, 16_384), (32, 128))),
    Case("16 requests, 1,024 shared, 1,024 own", ((1, 1024), (16, 1024))),
    Case("4 requests, 128 shared, 512 own", ((1, 128), (4, 512))),
    Case("32 requests, nothing shared, 2,048 own", ((32, 2048),)),
    Case("4 documents of 8,192, 16 questions each", ((4, 8192), (16, 128))),
    Case("binary tree, 6 levels of 1,024", ((1, 1024), *(((2, 1024),) * 5))),
    Case("two levels: 2,048, then 8 of 2,048, then 8 of 128", ((1, 2048), (8, 2048), (8, 128))),
    Case("draft tree: 1 request of 8,192, 60 nodes", ((1, 8192), (60, 16))),
    Case("draft trees: 16 requests of 4,096, 8 nodes each", ((16, 4096), (8, 16))),
)
SMALL = (Case("a tree of 3 rows", ((1, 32), (3, 20))),)


@dataclass(frozen=True)
class Step:
    """One case with its tensors."""

    forest: Forest
    query: Tensor  # [rows, heads, d]
    pages: Tensor  # [2, blocks, kv heads, block tokens, d]
    keys: Tensor  # [rows, kv heads, length, d], gathered
    values: Tensor
    common: int


def make(case: Case, device: str, dtype: torch.dtype, seed: int) -> Step:
    """Draw random keys, values and queries."""
    tables, lengths, common = case.tables(np.random.default_rng(seed))
    generator = torch.Generator(device).manual_seed(seed)
    blocks = 1 + max(max(t) for t in tables)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device, dtype=torch.float32).to(dtype)

    pages = draw(2, blocks, KV_HEADS, BLOCK, WIDTH)
    index = torch.tensor(tables, device=device)
    gathered = pages[:, index].transpose(2, 3)  # [2, rows, kv heads, blocks, block tokens, d]
    keys, values = gathered.flatten(3, 4)[:, :, :, : lengths[0]].contiguous().unbind(0)
    query = draw(len(tables), HEADS, WIDTH)
    return Step(forest_of(tables, lengths, BLOCK), query, pages, keys, values, common)


def sdpa(step: Step) -> Tensor:
    """Every row's whole context by torch's attention, [rows, heads, d]."""
    out = F.scaled_dot_product_attention(step.query[:, :, None], step.keys, step.values, enable_gqa=True)
    return out[:, :, 0]


def _part(query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Attention by products, with its log-sum-exp: [b, kv, r, d] over [b, kv, n, d]."""
    scores = (query @ keys.transpose(2, 3)).float() * SCALE
    lse = scores.logsumexp(-1)
    return ((scores - lse[..., None]).exp().to(values.dtype) @ values).float(), lse


def cascade(step: Step) -> Tensor:
    """What all rows share read once, the rest row by row, merged."""
    rows = len(step.query)
    grouped = step.query.view(rows, KV_HEADS, -1, WIDTH)
    own, own_lse = _part(grouped, step.keys[:, :, step.common :], step.values[:, :, step.common :])
    own, own_lse = own.reshape(rows, HEADS, WIDTH), own_lse.reshape(rows, HEADS)
    if not step.common:
        return own
    stacked = grouped.transpose(0, 1).reshape(1, KV_HEADS, -1, WIDTH)
    part, lse = _part(stacked, step.keys[:1, :, : step.common], step.values[:1, :, : step.common])
    part = part.view(KV_HEADS, rows, -1, WIDTH).transpose(0, 1).reshape(rows, HEADS, WIDTH)
    return merge(part, lse.view(KV_HEADS, rows, -1).transpose(0, 1).reshape(rows, HEADS), own, own_lse)[0]


def reference(step: Step) -> Tensor:
    """The same in float64, a row at a time."""
    group = HEADS // KV_HEADS
    out = []
    for query, keys, values in zip(step.query, step.keys, step.values, strict=True):
        q = query.double().view(KV_HEADS, group, WIDTH) * SCALE
        out.append(((q @ keys.double().transpose(1, 2)).softmax(-1) @ values.double()).view(HEADS, WIDTH))
    return torch.stack(out)


def error(out: Tensor, wanted: Tensor) -> float:
    """Relative error, inf where anything is not a number."""
    off = (out.double() - wanted).norm() / wanted.norm()
    return float(off) if bool(torch.isfinite(out).all()) else float("inf")


def poison(step: Step, plan: Plan) -> None:
    """Leave memory full of NaN for what the kernels allocate, so that what they do not write is seen."""
    for rows in (len(plan.rows), plan.n_rows):
        for shape in ((max(rows, 1), HEADS, WIDTH), (max(rows, 1), HEADS)):
            step.query.new_full(shape, float("nan"), dtype=torch.float32)


def plans(step: Step, workers: int) -> Iterator[tuple[str, Plan]]:
    """The ways to divide that are tried: tile of stacked heads, and programs to balance over."""
    group = HEADS // KV_HEADS
    for tile, over in ((64, workers), (16, workers), (64, 4 * workers)):
        cost = CostModel(group=group, tile_rows=tile)
        yield (
            f"tile {tile}, {over} workers",
            balanced_plan(step.forest, cost, workers=max(1, over // KV_HEADS)),
        )


def measure(case: Case, device: str, record: Record, workers: int) -> None:
    """Check, then time one case."""
    from benchmarks.gpu import triton_kernels

    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    step = make(case, device, dtype, seed=1)
    wanted = reference(step)
    best: dict[str, Any] = {}
    # Interpreted kernels are checked once; their time says nothing.
    tried = itertools.islice(plans(step, workers), None if device == "cuda" else 1)
    for name, plan in tried:
        placed = triton_kernels.to_device(plan, device)

        def forest(placed: Any = placed) -> Tensor:
            return triton_kernels.execute(placed, step.query, step.pages[0], step.pages[1], SCALE)[0]

        poison(step, plan)
        off = error(forest(), wanted)
        ms = median_ms(forest, device) if device == "cuda" else float("nan")
        if not best or ms < best["ms"]:
            best = {"plan": name, "ms": ms, "tasks": len(plan.n_tokens), "read": int(plan.n_tokens.sum())}
        best["error"] = max(off, best.get("error", 0.0))
    began = time.perf_counter()
    balanced_plan(step.forest, CostModel(group=HEADS // KV_HEADS), workers=max(1, workers // KV_HEADS))
    planning = 1e3 * (time.perf_counter() - began)
    peer, level = median_ms(lambda: sdpa(step), device), median_ms(lambda: cascade(step), device)
    floor = 2 * best["read"] * KV_HEADS * WIDTH * step.pages.element_size()
    record.row(
        "forest attention, one layer's decode step",
        case=case.name,
        rows=len(step.query),
        keys_each_own=unshared_tokens(step.forest),
        keys_one_level=cascade_tokens(step.forest),
        keys_forest=best["read"],
        sdpa_ms=round(peer, 4),
        cascade_ms=round(level, 4),
        forest_ms=round(best["ms"], 4),
        sdpa_over_forest=round(peer / best["ms"], 2),
        cascade_over_forest=round(level / best["ms"], 2),
        forest_TB_s=round(floor / best["ms"] / 1e9, 3),
        plan=best["plan"],
        planning_ms=round(planning, 2),
        error_forest=f"{best['error']:.1e}",
        error_sdpa=f"{error(sdpa(step), wanted):.1e}",
    )


def run(chosen: argparse.Namespace, record: Record, until: float) -> None:
    """All cases, as far as the time goes."""
    device = chosen.device
    workers = 2 * torch.cuda.get_device_properties(0).multi_processor_count if device == "cuda" else 8
    for case in SMALL if device != "cuda" else (*SMALL, *CASES):
        if time.time() > until:
            record.note("out of time: the cases below were not run")
            break
        measure(case, device, record, workers)
