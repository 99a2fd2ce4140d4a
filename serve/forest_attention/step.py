"""Forest attention in an engine's step: rows attend to a shared prefix together, then each to its own tokens.

Decoding requests share the blocks of a common prompt; the rows of a draft tree share their request's whole context.
`share` finds both in the step's plan and keeps the nodes for which one matrix product costs less than attending row by
row. What is left of each row (its own tokens, its ancestors in a tree) is merged in by the engine's row kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from serve.forest_attention.forest import Forest, Ints, forest_of
from serve.forest_attention.plan import make_plan
from serve.forest_attention.torch_executor import TorchPlan, execute, to_torch
from serve.kv_cache.attention_metadata import AttentionPlan


@dataclass(frozen=True, slots=True)
class Saving:
    """Cost model of a matrix product over a shared node, in microseconds per layer (embedded model, one core).

    Row by row a token costs each row `row`. In a node `task` for the node, `read` for each token (the gather) and
    `product` for each row and token. Other widths scale all but `task`. Fitted on one AVX-512 machine to 30 pairs of
    times, so rough: they only decide which way a node is computed, not what comes out.
    """

    row: float = 0.095
    task: float = 140.0
    read: float = 0.2
    product: float = 0.015

    def worth(self, n_rows: int, n_tokens: int) -> bool:
        """Whether `n_rows` rows that share `n_tokens` tokens gain."""
        return n_tokens * (n_rows * (self.row - self.product) - self.read) > self.task


@dataclass(frozen=True, slots=True)
class Shared:
    """The shared part of a step, made once and used by every layer.

    `rows` int64[i] are the packed rows that have one. `begin` int32[r] is how many cached tokens of each packed row
    it covers, 0 for the others.
    """

    rows: torch.Tensor
    begin: npt.NDArray[np.int32]
    plan: TorchPlan

    def __call__(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention of `rows` over their shared tokens, [i, heads, d], and its log-sum-exp [i, heads].

        `query` [r, heads, d] are all packed rows, `keys` and `values` one layer of `serve.kv_cache.paged_kv.PagedKV`.
        """
        return execute(self.plan, query[self.rows], keys, values, query.shape[2] ** -0.5)


def share(
    plan: AttentionPlan,
    rows: Ints,
    kv_heads: int,
    device: torch.device | str = "cpu",
    saving: Saving | None = None,
) -> Shared | None:
    """The shared part of the packed `rows` of a step, or None where none is worth it."""
    saving = saving or Saving()
    seen = plan.seen[rows].astype(np.int64)
    if len(rows) < 2 or not saving.worth(len(rows), int(seen.max())):
        return None
    forest = forest_of(plan.tables[plan.segment[rows]].astype(np.int64), seen, plan.block_tokens)
    chosen = _worthy(forest, saving)
    if not len(chosen):
        return None
    part, involved = _part(forest, chosen)
    covered = np.zeros(forest.n_rows, np.int64)
    for node in chosen:
        covered[forest.rows[forest.row_indptr[node] : forest.row_indptr[node + 1]]] += forest.n_tokens[node]
    begin = np.zeros(plan.rows, np.int32)
    begin[rows] = covered
    planned = make_plan(part)
    packed = torch.from_numpy(rows[involved]).to(device)
    return Shared(packed, begin, to_torch(planned, kv_heads, device, paged=True))


def _worthy(forest: Forest, saving: Saving) -> Ints:
    """Nodes that are worth a product, with all their ancestors; a row's kernel continues behind its last node."""
    covered = np.zeros(forest.n_nodes + 1, np.bool_)
    covered[-1] = True  # the parent of roots, -1
    for node, (rows, tokens) in enumerate(zip(forest.n_sharing, forest.n_tokens, strict=True)):
        covered[node] = covered[forest.parent[node]] and saving.worth(int(rows), int(tokens))
    return np.flatnonzero(covered[:-1])


def _part(forest: Forest, chosen: Ints) -> tuple[Forest, Ints]:
    """The forest of the chosen nodes alone over the rows below them, renumbered; and those rows."""
    spans = [slice(forest.row_indptr[node], forest.row_indptr[node + 1]) for node in chosen]
    blocks = [forest.blocks[forest.block_indptr[node] : forest.block_indptr[node + 1]] for node in chosen]
    involved = np.unique(np.concatenate([forest.rows[span] for span in spans]))
    index = np.full(forest.n_nodes + 1, -1, np.int64)
    index[chosen] = np.arange(len(chosen))
    part = Forest(
        parent=index[forest.parent[chosen]],
        block_indptr=np.concatenate(([0], np.cumsum([len(b) for b in blocks]))).astype(np.int64),
        blocks=np.concatenate(blocks),
        n_tokens=forest.n_tokens[chosen],
        row_indptr=np.concatenate(([0], np.cumsum([s.stop - s.start for s in spans]))).astype(np.int64),
        rows=np.searchsorted(involved, np.concatenate([forest.rows[span] for span in spans])),
        n_rows=len(involved),
        block_tokens=forest.block_tokens,
    )
    return part, involved
