"""Keys and values: one tensor of paged blocks for all layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from serve.kv_cache.attention_metadata import Int64


class PagedKV:
    """Keys and values of `n_blocks` blocks of `block_tokens` tokens, for every layer.

    `data` [layers, 2, blocks, kv heads, block tokens, head width]; index 0 of the second axis are keys (rotated),
    1 values. A token's slot is ``block * block_tokens + offset``. `serve.kv_cache.prefix_cache` owns the blocks.
    """

    def __init__(
        self,
        layers: int,
        n_blocks: int,
        block_tokens: int,
        kv_heads: int,
        head_width: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (layers, 2, n_blocks, kv_heads, block_tokens, head_width)
        self.data = torch.zeros(shape, dtype=dtype, device=device)
        self.block_tokens = block_tokens

    def read(
        self, layer: int, blocks: Sequence[int] | Int64, n_tokens: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Copy out the first `n_tokens` keys and values under a block table; [kv heads, n_tokens, d] each."""
        used = torch.as_tensor(blocks[: -(-n_tokens // self.block_tokens)], device=self.data.device)
        pages = self.data[layer][:, used]  # [2, blocks, kv heads, block tokens, d]
        flat = pages.transpose(1, 2).flatten(2, 3)[:, :, :n_tokens]
        return flat[0], flat[1]

    def write(self, layer: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store keys and values [r, kv heads, d] of one layer at `slots` [r]."""
        block, offset = slots // self.block_tokens, slots % self.block_tokens
        self.data[layer, 0, block, :, offset] = keys
        self.data[layer, 1, block, :, offset] = values

    def move(self, source: Int64, target: Int64) -> None:
        """Copy the keys and values of all layers from slots to slots; all reads come before all writes."""
        a = torch.as_tensor(source, device=self.data.device)
        b = torch.as_tensor(target, device=self.data.device)
        size = self.block_tokens
        rows = self.data[:, :, a // size, :, a % size]
        self.data[:, :, b // size, :, b % size] = rows
