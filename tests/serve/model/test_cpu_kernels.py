"""The compiled kernels against torch, on their own; `test_model.py` compares whole passes."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.kv_cache.paged_kv import PagedKV
from serve.model import cpu_kernels, torch_layers
from serve.model.cpu_kernels import as_array
from serve.model.decoder import Model
from serve.model.linear import computes_bfloat16
from tests.serve.model.test_model import prefill

KINDS = [torch.float64, torch.float32, torch.bfloat16]


def drawn(*shape, kind, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(kind)


@settings(deadline=None)  # compiles at first
@given(seed=st.integers(0, 2**31), kind=st.sampled_from(KINDS))
def test_the_residual_gets_torchs_bits_and_the_norm_its_numbers(seed, kind):
    x, delta, weight = (
        drawn(*shape, kind=kind, seed=seed + i) for i, shape in enumerate([(5, 24), (5, 24), (24,)])
    )
    wanted = x + delta
    out = torch.empty_like(x)
    cpu_kernels.add_rms_norm(as_array(x), as_array(delta), as_array(weight), 1e-5, as_array(out))
    assert torch.equal(x, wanted)
    torch.testing.assert_close(out, torch_layers.rms_norm(wanted, weight, 1e-5))


@pytest.mark.parametrize("kind", KINDS)
def test_silu_product_equals_torch(kind):
    gate_up = 8 * drawn(7, 2 * 40, kind=kind)
    gate_up[0, :4] = torch.tensor([0.0, -300.0, 300.0, -0.0])
    out = torch.empty(7, 40, dtype=kind)
    cpu_kernels.silu_product(as_array(gate_up), as_array(out))
    gate, up = gate_up.double().chunk(2, -1)
    torch.testing.assert_close(out, (torch.nn.functional.silu(gate) * up).to(kind))


def test_the_fast_exponential_is_within_float32s_precision():
    exp = numba.njit(lambda x: cpu_kernels._exp(x))
    x = -np.concatenate([np.linspace(0, 79.9, 20_001), np.logspace(-30, 1.9, 5_001)]).astype(np.float32)
    got = np.array([exp(value) for value in x], np.float64)
    np.testing.assert_allclose(got, np.exp(x.astype(np.float64)), rtol=1e-5)  # x * log2(e) is rounded
    assert exp(np.float32(0)) == 1
    assert exp(np.float32(-np.inf)) == exp(np.float32(-1e30)) == 0
    assert exp(-2.5) == np.exp(-2.5)  # float64 is numpy's own


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [1, 3, 4, 11])
def test_pages_are_laid_in_a_row(kind, tokens):
    cache = PagedKV(1, 6, 4, 2, 8, kind, torch.device("cpu"))
    cache.data.copy_(drawn(*cache.data.shape, kind=kind))
    blocks, out = np.array([4, 1, 5, 0]), torch.empty(2, 2, tokens, 8, dtype=kind)
    cpu_kernels.copy_pages(as_array(cache.data[0]), blocks, as_array(out))
    assert torch.equal(out, torch.stack(cache.read(0, blocks, tokens)))


@pytest.mark.skipif(not computes_bfloat16(), reason="this processor has no instructions for bfloat16")
@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("rows", [20, 40])  # row by row, and together
def test_a_model_in_bfloat16_is_as_near_to_float32_as_torchs(tiny, family, rows):
    tokens = np.random.default_rng(3).integers(2, 60, size=rows)
    wanted = prefill(Model.load(tiny(family), "float32"), tokens)[0]
    model = Model.load(tiny(family), "bfloat16")
    got = prefill(model, tokens)[0]
    model._compiled = False
    torchs = prefill(model, tokens)[0]
    assert got.dtype == torch.bfloat16
    assert (got.float() - wanted).abs().mean() < 1.3 * (torchs.float() - wanted).abs().mean()
