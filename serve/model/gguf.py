"""Read a GGUF file's header and tensors in a second.

transformers reads GGUF too, but parses the header anew for every part and takes tens of seconds even for a small
model; the tests compare its tensors and configuration with these. The layout is described in ggml's docs/gguf.md.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve.errors import ModelError

if TYPE_CHECKING:
    import torch

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)

_OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "rope_freqs.weight": "rope_freqs.weight",
}
_INNER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """Where a tensor lies: its shape (torch's order), its ggml type, and its first byte in the file."""

    shape: tuple[int, ...]
    type: int
    start: int


@dataclass(frozen=True, slots=True)
class Gguf:
    """A GGUF file's header."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]

    @property
    def family(self) -> str:
        """The architecture, in transformers' word."""
        return str(self.metadata["general.architecture"])

    def config(self) -> dict[str, Any]:
        """The settings of transformers' config that the header holds.

        Raises
        ------
        ModelError
            if a setting is missing, or positions are scaled in a way that GGUF and transformers word differently.
        """
        prefix = self.family
        meta = self.metadata
        scaling = meta.get(f"{prefix}.rope.scaling.type", "none")
        if scaling not in ("none", "linear") or meta.get(f"{prefix}.rope.scaling.factor", 1.0) not in (
            0.0,
            1.0,
        ):
            raise ModelError(
                f"{self.path}: scales positions by {scaling!r}; use the Hugging Face folder of the model"
            )
        try:
            heads = self._count(f"{prefix}.attention.head_count")
            hidden = self._count(f"{prefix}.embedding_length")
            if hidden % heads and f"{prefix}.attention.key_length" not in meta:
                raise ModelError(f"{self.path}: {heads} heads do not divide an embedding_length of {hidden}")
            return {
                "vocab_size": self.tensors["token_embd.weight"].shape[0],
                "hidden_size": hidden,
                "intermediate_size": self._count(f"{prefix}.feed_forward_length"),
                "num_hidden_layers": self._count(f"{prefix}.block_count"),
                "num_attention_heads": heads,
                "num_key_value_heads": meta.get(f"{prefix}.attention.head_count_kv", heads),
                "head_dim": meta.get(f"{prefix}.attention.key_length", hidden // heads),
                "rms_norm_eps": meta[f"{prefix}.attention.layer_norm_rms_epsilon"],
                "rope_theta": meta.get(f"{prefix}.rope.freq_base", 10_000.0),
                "max_position_embeddings": self._count(f"{prefix}.context_length"),
                "tie_word_embeddings": "output.weight" not in self.tensors,
                "bos_token_id": meta.get("tokenizer.ggml.bos_token_id"),
                "eos_token_id": meta.get("tokenizer.ggml.eos_token_id"),
            }
        except KeyError as error:
            raise ModelError(f"{self.path}: the header has no {error.args[0]}") from error

    def _count(self, key: str) -> int:
        value = self.metadata[key]
        if not isinstance(value, int) or value < 1:
            raise ModelError(f"{self.path}: {key} is {str(value)[:40]!r}, wanted a positive number")
        return value

    def read_tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor by transformers' name, dequantised to float32.

        Raises
        ------
        ModelError
            for a tensor whose name, type or bytes are not understood.
        """
        import numpy as np
        import torch
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
        from gguf.quants import dequantize

        blob = np.memmap(self.path, np.uint8, "r")
        out: dict[str, torch.Tensor] = {}
        for name, tensor in self.tensors.items():
            try:
                kind = GGMLQuantizationType(tensor.type)
                per_block, block_bytes = GGML_QUANT_SIZES[kind]
                size = prod(tensor.shape) // per_block * block_bytes
                if tensor.start + size > len(blob):
                    raise ValueError(f"its {size} bytes from byte {tensor.start} go beyond the file's end")
                raw = blob[tensor.start : tensor.start + size]
                values = dequantize(raw.reshape(-1, tensor.shape[-1] // per_block * block_bytes), kind)
                # plain floats come as a read-only view of the file
                own = torch.from_numpy(np.require(values, requirements="W")).reshape(tensor.shape)
            except (
                ValueError,
                KeyError,
                IndexError,
                NotImplementedError,
                OverflowError,
                RuntimeError,
            ) as error:
                raise ModelError(f"{self.path}: tensor {name} cannot be read: {error}") from error
            out[self._name(name)] = self._own_order(name, own)
        return out

    def _name(self, name: str) -> str:
        if name in _OUTER:
            return _OUTER[name]
        block, index, rest = (*name.split(".", 2), "", "")[:3]
        part, _, kind = rest.rpartition(".")
        if block != "blk" or part not in _INNER:
            raise ModelError(f"{self.path}: tensor {name} belongs to no layer the engine runs")
        return f"model.layers.{index}.{_INNER[part]}.{kind}"

    def _own_order(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """Undo llama.cpp's reordering of Llama's query and key rows (pairs side by side instead of halves)."""
        import torch

        part = name.split(".")[2] if name.startswith("blk.") else ""
        if self.family != "llama" or part not in ("attn_q", "attn_k"):
            return values
        heads = self._count("llama.attention.head_count")
        if part == "attn_k" and "llama.attention.head_count_kv" in self.metadata:
            heads = self._count("llama.attention.head_count_kv")
        if values.ndim == 0 or values.shape[0] % (2 * heads):
            raise ModelError(
                f"{self.path}: tensor {name} of shape {tuple(values.shape)} has not {heads} heads"
            )
        pairs = torch.unflatten(values, 0, (heads, -1, 2))
        return pairs.transpose(1, 2).flatten(0, 2)


def read_header(path: Path) -> Gguf:
    """Parse the header.

    Raises
    ------
    ModelError
        if the file is not GGUF, of another version, or cut short.
    """
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"{path}: does not begin with GGUF")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as blob:
            try:
                return _parse(path, _Reader(blob))
            except (struct.error, IndexError, UnicodeDecodeError, OverflowError, RecursionError) as error:
                raise ModelError(f"{path}: the GGUF header is damaged: {error}") from error


class _Reader:
    """Values one after another."""

    def __init__(self, blob: mmap.mmap) -> None:
        self.blob, self.at = blob, 4

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from(f"<{code}", self.blob, self.at)
        self.at += struct.calcsize(f"<{code}")
        return value

    def string(self) -> str:
        length = self.scalar("Q")
        if self.at + length > len(self.blob):
            raise IndexError(f"a string of {length} bytes at byte {self.at}")
        raw = self.blob[self.at : self.at + length]
        self.at += length
        return raw.decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            of, count = self.scalar("I"), self.scalar("Q")
            if count > len(self.blob):
                raise IndexError(f"an array of {count} at byte {self.at}")
            return [self.value(of) for _ in range(count)]
        if kind not in _SCALARS:
            raise IndexError(f"value type {kind} at byte {self.at}")
        return self.scalar(_SCALARS[kind])


def _parse(path: Path, reader: _Reader) -> Gguf:
    version, n_tensors, n_values = reader.scalar("I"), reader.scalar("Q"), reader.scalar("Q")
    if version not in _VERSIONS:
        raise ModelError(f"{path}: GGUF version {version}; wanted {' or '.join(map(str, _VERSIONS))}")
    metadata = dict(_values(reader, n_values))
    if "general.architecture" not in metadata:
        raise ModelError(f"{path}: the header has no general.architecture")
    entries = []
    for _ in range(n_tensors):
        name = reader.string()
        sizes = [reader.scalar("Q") for _ in range(reader.scalar("I"))]
        entries.append((name, tuple(reversed(sizes)), reader.scalar("I"), reader.scalar("Q")))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise IndexError(f"general.alignment is {alignment!r}")
    base = -(-reader.at // alignment) * alignment
    return Gguf(
        path, metadata, {n: GgufTensor(shape, kind, base + offset) for n, shape, kind, offset in entries}
    )


def _values(reader: _Reader, count: int) -> Iterator[tuple[str, Any]]:
    for _ in range(count):
        key = reader.string()
        yield key, reader.value(reader.scalar("I"))
