"""Matrix products with packed weights, each giving a row the same bits however many rows go with it.

Lossless speculation needs that: verification computes many rows at once and decoding one. Plain float32
`F.linear` on a CPU does not have it (one row takes a matrix-vector kernel), oneDNN's packed product does.
fbgemm's sums in another order where its kernels are left with one or two rows (seen on AVX2, not on AVX-512):
`whole_rows` says which row counts those are, and rows of zeros fill them up. Dynamic activation quantisation
never can have it, so it is not offered. Nor do bfloat16 and half have it: their kernels cut the sums by the number
of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import cast

import torch
import torch.nn.functional as F

from serve.errors import InputError

Linear = Callable[[torch.Tensor], torch.Tensor]

PRECISIONS = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float32,  # weights in half precision, all arithmetic in float32
    "bfloat16": torch.bfloat16,
    "half": torch.float16,
}
"""Precision names and the type activations have under each; `half` is for GPUs."""

CPU_PRECISIONS = ("float64", "float32", "float16", "bfloat16")


def check_device(name: str) -> torch.device:
    """The device of this name; InputError if it is neither cpu nor a GPU that is there."""
    if name.split(":")[0] not in ("cpu", "cuda"):
        raise InputError(f"--device {name!r}: no such device; wanted cpu or cuda")
    if name != "cpu" and not torch.cuda.is_available():
        raise InputError(f"--device {name}: torch {torch.__version__} finds no GPU here; use --device cpu")
    return torch.device(name)


def check_precision(precision: str, device: torch.device) -> torch.dtype:
    """Type of the activations under a precision; InputError if the device does not run it."""
    known = CPU_PRECISIONS if device.type == "cpu" else tuple(p for p in PRECISIONS if p != "float16")
    if precision not in known:
        raise InputError(f"precision {precision!r} on {device.type}; wanted one of {', '.join(known)}")
    if precision == "bfloat16" and device.type == "cpu" and not computes_bfloat16():
        raise InputError(
            "precision 'bfloat16': this processor has no instructions for it; wanted float16 or float32"
        )
    return PRECISIONS[precision]


def computes_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices itself (AVX512-BF16 or AMX), not by way of float32."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def make_linear(
    weight: torch.Tensor, bias: torch.Tensor | None, precision: str, device: torch.device
) -> Linear:
    """Return ``x -> x @ weight.T + bias`` with the weight packed for the precision.

    `weight` float[out, in], `bias` float[out]; the product takes and returns contiguous float[rows, ...].
    """
    if precision == "float16":
        return _half_weights(weight.float(), None if bias is None else bias.float())
    dtype = PRECISIONS[precision]
    if precision in ("float32", "bfloat16") and device.type == "cpu" and torch._C._has_mkldnn:
        return _onednn(weight.to(dtype), None if bias is None else bias.to(dtype))
    own = weight.to(device, dtype)
    own_bias = None if bias is None else bias.to(device, dtype)
    return lambda x: F.linear(x, own, own_bias)


def _half_weights(weight: torch.Tensor, bias: torch.Tensor | None) -> Linear:
    largest = torch.finfo(torch.float16).max
    if weight.abs().max() > largest:
        raise InputError("a weight exceeds float16's range; use precision float32")
    packed = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), bias)
    product = torch.ops.quantized.linear_dynamic_fp16

    def multiply(x: torch.Tensor) -> torch.Tensor:
        rows = len(x)
        wanted = whole_rows(rows)
        if wanted == rows:
            return cast(torch.Tensor, product(x, packed))
        return cast(torch.Tensor, product(F.pad(x, (0, 0, 0, wanted - rows)), packed)[:rows])

    return multiply


_PERIOD = 120
"""fbgemm cuts rows into pieces of this many, and each piece into kernels."""


def whole_rows(rows: int) -> int:
    """Least count from `rows` on for which fbgemm's product gives each row the bits it has among six."""
    odd = _odd_row_counts()
    return rows + next((more for more in range(8) if (rows + more - 1) % _PERIOD + 1 not in odd), 0)


@cache
def _odd_row_counts() -> frozenset[int]:
    """Row counts, of one period, that change some row's bits: asked of this processor's kernels once."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_PERIOD, 64, generator=generator)
    packed = torch.ops.quantized.linear_prepack_fp16(torch.randn(16, 64, generator=generator), None)
    product = torch.ops.quantized.linear_dynamic_fp16
    wanted = torch.cat([product(x[i : i + 6], packed) for i in range(0, _PERIOD, 6)])
    return frozenset(n for n in range(1, _PERIOD + 1) if not torch.equal(product(x[:n], packed), wanted[:n]))


def _onednn(weight: torch.Tensor, bias: torch.Tensor | None) -> Linear:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
    product = torch.ops.mkldnn._linear_pointwise
    return lambda x: cast(torch.Tensor, product(x, packed, bias, "none", [], ""))
