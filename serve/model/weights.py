"""Sizes and tensors of a model as a file states them, checked before anything is computed with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serve.errors import ModelError

if TYPE_CHECKING:
    import torch

MOST_POSITIONS = 4_194_304
"""Longest context of a model; the rotary tables hold every position."""


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Sizes of a model."""

    layers: int
    hidden: int
    inner: int  # width of the feed-forward layer
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    longest: int  # positions the model was trained for
    eps: float

    @classmethod
    def of(cls, config: Any) -> Dimensions:
        """Sizes from a transformers config.

        Raises
        ------
        ModelError
            if a size is no positive number, or the head counts do not divide.
        """

        def size(name: str, default: int | None = None) -> int:
            value = getattr(config, name, None) or default
            if type(value) is not int or not 0 < value < 2**31:
                raise ModelError(f"{name} is {str(value)[:40]}, wanted a positive whole number")
            return value

        hidden, heads = size("hidden_size"), size("num_attention_heads")
        kv_heads = size("num_key_value_heads", heads)
        width = size("head_dim", hidden // heads)
        if heads % kv_heads:
            raise ModelError(f"num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}")
        if width % 2:
            raise ModelError(f"head_dim is {width}, wanted an even number")
        longest, eps = size("max_position_embeddings"), config.rms_norm_eps
        if longest > MOST_POSITIONS:
            raise ModelError(f"max_position_embeddings is {longest}; at most {MOST_POSITIONS}")
        if not isinstance(eps, float | int) or not 0 <= eps < 1:
            raise ModelError(f"rms_norm_eps is {str(eps)[:40]}, wanted a number from 0 to 1")
        layers, inner, vocabulary = size("num_hidden_layers"), size("intermediate_size"), size("vocab_size")
        return cls(layers, hidden, inner, heads, kv_heads, width, vocabulary, longest, eps)

    @property
    def tap_layers(self) -> tuple[int, int, int]:
        """Layers whose input residual stream is tapped for drafting (as in EAGLE-3): 2, N//2, N-3."""
        top = self.layers - 1
        return min(2, top), self.layers // 2, max(self.layers - 3, 0)


class Weights:
    """Tensors by name, each checked against the shape the model's sizes ask for."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self._tensors = tensors

    def find(self, name: str, *shape: int) -> torch.Tensor | None:
        """A tensor of this shape, or None where the model has none; ModelError for another shape or integers."""
        tensor = self._tensors.get(name)
        if tensor is not None and (tensor.shape != shape or not tensor.is_floating_point()):
            kind = f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
            raise ModelError(f"tensor {name} is {kind}, wanted floating point {list(shape)}")
        return tensor

    def take(self, name: str, *shape: int) -> torch.Tensor:
        """A tensor of this shape; ModelError where it is missing."""
        tensor = self.find(name, *shape)
        if tensor is None:
            raise ModelError(f"tensor {name} is missing, wanted shape {list(shape)}")
        return tensor
