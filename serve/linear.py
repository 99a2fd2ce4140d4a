"""Matrix products with packed weights, each giving a row the same bits however many rows go with it.

Lossless speculation needs that: verification computes many rows at once and decoding one. Plain float32
`F.linear` on a CPU does not have it (one row takes a matrix-vector kernel), oneDNN's and fbgemm's packed
products do; dynamic activation quantisation never can, so it is not offered.
"""

from __future__ import annotations

from collections.abc import Callable
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
"""Precision names and the type activations have under each; `bfloat16` and `half` are for GPUs."""

CPU_PRECISIONS = ("float64", "float32", "float16")


def check_precision(precision: str, device: torch.device) -> torch.dtype:
    """Type of the activations under a precision; InputError if the device does not run it."""
    known = CPU_PRECISIONS if device.type == "cpu" else tuple(p for p in PRECISIONS if p != "float16")
    if precision not in known:
        raise InputError(f"precision {precision!r} on {device.type}; wanted one of {', '.join(known)}")
    return PRECISIONS[precision]


def make_linear(
    weight: torch.Tensor, bias: torch.Tensor | None, precision: str, device: torch.device
) -> Linear:
    """Return ``x -> x @ weight.T + bias`` with the weight packed for the precision.

    `weight` float[out, in], `bias` float[out]; the product takes and returns contiguous float[rows, ...].
    """
    if precision == "float16":
        return _half_weights(weight.float(), None if bias is None else bias.float())
    if precision == "float32" and device.type == "cpu" and torch._C._has_mkldnn:
        return _onednn(weight.float(), None if bias is None else bias.float())
    dtype = PRECISIONS[precision]
    own = weight.to(device, dtype)
    own_bias = None if bias is None else bias.to(device, dtype)
    return lambda x: F.linear(x, own, own_bias)


def _half_weights(weight: torch.Tensor, bias: torch.Tensor | None) -> Linear:
    largest = torch.finfo(torch.float16).max
    if weight.abs().max() > largest:
        raise InputError("a weight exceeds float16's range; use precision float32")
    packed = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), bias)
    product = torch.ops.quantized.linear_dynamic_fp16
    return lambda x: cast(torch.Tensor, product(x, packed))


def _onednn(weight: torch.Tensor, bias: torch.Tensor | None) -> Linear:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
    product = torch.ops.mkldnn._linear_pointwise
    return lambda x: cast(torch.Tensor, product(x, packed, bias, "none", [], ""))
