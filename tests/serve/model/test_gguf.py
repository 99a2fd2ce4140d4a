from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve.errors import ModelError
from serve.model.gguf import read_header


def write(path, tensors, **fields):
    """A Llama header with the given tensors (name -> array, quantised where the name says so)."""
    writer = GGUFWriter(path, "llama")
    settings_ = {"embedding_length": 64, "feed_forward_length": 96, "block_count": 1, "context_length": 128}
    for name, value in (settings_ | fields).items():
        writer.add_uint32(f"llama.{name}", value)
    writer.add_uint32("llama.attention.head_count", 4)
    writer.add_uint32("llama.attention.head_count_kv", 2)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "ü"])
    for name, value in tensors.items():
        kind = GGMLQuantizationType.Q8_0 if value.ndim == 2 else None
        writer.add_tensor(name, quantize(value, kind) if kind else value, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def tensors():
    rng = np.random.default_rng(0)
    shapes = {
        "token_embd": (3, 64),
        "blk.0.attn_q": (64, 64),
        "blk.0.attn_k": (32, 64),
        "blk.0.ffn_norm": (64,),
    }
    return {f"{name}.weight": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_header_and_tensors_come_back(tmp_path, tensors):
    header = read_header(write(tmp_path / "m.gguf", tensors))
    assert header.metadata["tokenizer.ggml.tokens"] == ["a", "b", "ü"]
    config = header.config()
    assert (config["hidden_size"], config["num_key_value_heads"], config["tie_word_embeddings"]) == (
        64,
        2,
        True,
    )
    read = header.read_tensors()
    assert (
        read["model.layers.0.post_attention_layernorm.weight"].tolist()
        == tensors["blk.0.ffn_norm.weight"].tolist()
    )
    wanted = dequantize(
        quantize(tensors["token_embd.weight"], GGMLQuantizationType.Q8_0), GGMLQuantizationType.Q8_0
    )
    assert torch.equal(read["model.embed_tokens.weight"], torch.from_numpy(wanted))


def test_llamas_query_rows_are_put_back_in_halves(tmp_path, tensors):
    """llama.cpp lays a head's rotary pairs side by side: rows 0, 1 of a head are halves' rows 0 and d/2."""
    read = read_header(write(tmp_path / "m.gguf", tensors)).read_tensors()
    stored = tensors["blk.0.attn_k.weight"].reshape(2, 16, 64)
    got = read["model.layers.0.self_attn.k_proj.weight"].reshape(2, 16, 64).numpy()
    for row in range(8):
        np.testing.assert_allclose(got[:, row], stored[:, 2 * row], atol=0.05)
        np.testing.assert_allclose(got[:, row + 8], stored[:, 2 * row + 1], atol=0.05)


def test_a_missing_setting_and_a_foreign_tensor_are_named(tmp_path, tensors):
    header = read_header(write(tmp_path / "m.gguf", tensors | {"blk.0.ssm_a.weight": np.ones(4, np.float32)}))
    with pytest.raises(ModelError, match=r"tensor blk\.0\.ssm_a\.weight belongs to no layer"):
        header.read_tensors()
    del header.metadata["llama.block_count"]
    with pytest.raises(ModelError, match=r"the header has no llama\.block_count"):
        header.config()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_and_nothing_else_happens(tmp_path, tensors, data):
    whole = write(tmp_path / "whole.gguf", tensors).read_bytes()
    damaged = bytearray(whole[: data.draw(st.integers(1, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, min(len(damaged), 600) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damaged)
    with contextlib.suppress(ModelError):
        header = read_header(path)
        header.config()
        header.read_tensors()
