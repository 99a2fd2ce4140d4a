from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.errors import InputError, ModelError
from serve.kv_cache.attention_metadata import ALL_LOGITS, Segment, plan_attention
from serve.model.decoder import Model
from serve.model.linear import make_linear
from serve.model.loader import load_checkpoint

FAMILIES = ["llama", "qwen2", "qwen3"]


def prefill(model, tokens, blocks=None, **more):
    """Logits of every row of one fresh prompt."""
    blocks = blocks or list(range(-(-len(tokens) // 4)))
    cache = model.new_cache(max(blocks) + 1, 4)
    plan = plan_attention([Segment(blocks, 0, len(tokens), None, ALL_LOGITS)], 4)
    logits, taps = model.forward(np.array(tokens), plan, cache, **more)
    return logits, taps, cache


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_those_of_transformers(tiny, family):
    from transformers import AutoModelForCausalLM

    checkpoint = tiny(family)
    reference = AutoModelForCausalLM.from_pretrained(checkpoint.path).eval()
    tokens = np.random.default_rng(0).integers(2, 60, size=30)
    with torch.no_grad():
        wanted = reference(torch.as_tensor(tokens)[None], output_hidden_states=True)
    model = Model.load(checkpoint, "float32")
    logits, taps, _ = prefill(model, tokens, want_taps=True)
    torch.testing.assert_close(logits, wanted.logits[0], atol=2e-4, rtol=2e-4)
    tapped = torch.cat([wanted.hidden_states[i][0] for i in model.dims.tap_layers], -1)
    torch.testing.assert_close(taps, tapped, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_kernels_equal_torch(tiny, family):
    model, torch_model = Model.load(tiny(family), "float64"), Model.load(tiny(family), "float64")
    torch_model._compiled = False
    tokens = np.random.default_rng(1).integers(2, 60, size=40)
    for a, b in zip(prefill(model, tokens), prefill(torch_model, tokens), strict=True):
        if a is not None:
            a, b = getattr(a, "data", a), getattr(b, "data", b)
            torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_packed_rows_equal_each_request_alone(tiny_model, data):
    """Chains and trees of several requests in one forward, over scattered blocks, against plain prefills."""
    model = tiny_model(data.draw(st.sampled_from(FAMILIES)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n_requests = data.draw(st.integers(1, 4))
    pool = list(rng.permutation(128))
    cache = model.new_cache(128, 4)
    segments, tokens, expected = [], [], []
    for _ in range(n_requests):
        context = data.draw(st.integers(0, 30))
        rows = data.draw(st.sampled_from([1, 2, 5, 26]))
        tree = data.draw(st.booleans())
        blocks = [pool.pop() for _ in range(-(-(context + rows) // 4))]
        before = rng.integers(0, 60, context)
        new = rng.integers(0, 60, rows)
        if context:
            model.forward(before, plan_attention([Segment(blocks, 0, context)], 4), cache)
        parents = np.array([rng.integers(-1, i) if i else -1 for i in range(rows)]) if tree else None
        segments.append(Segment(blocks, context, rows, parents, ALL_LOGITS))
        tokens.append(new)
        for i in range(rows):
            path, at = [], i
            while at >= 0:
                path.append(new[at])
                at = at - 1 if parents is None else int(parents[at])
            expected.append(prefill(model, [*before, *reversed(path)])[0][-1])
    logits, _ = model.forward(np.concatenate(tokens), plan_attention(segments, 4), cache)
    torch.testing.assert_close(logits, torch.stack(expected), atol=1e-9, rtol=1e-9)


def test_moved_rows_are_those_of_a_fresh_prefill(tiny_model):
    """After accepting a path of a tree, the compacted cache equals one that only ever saw the path."""
    model = tiny_model("llama")
    cache = model.new_cache(8, 4)
    context, drafted = [5, 6, 7, 8, 9], [10, 11, 12, 13, 14]
    parents = np.array([-1, 0, 0, 1, 2])  # rows: root, then nodes
    blocks = [3, 1, 6]
    model.forward(np.array(context), plan_attention([Segment(blocks, 0, 5)], 4), cache)
    model.forward(np.array(drafted), plan_attention([Segment(blocks, 5, 5, parents, ALL_LOGITS)], 4), cache)

    def slot(place):
        return blocks[place // 4] * 4 + place % 4

    path = [0, 2, 4]
    cache.move(np.array([slot(5 + r) for r in path]), np.array([slot(5 + k) for k in range(3)]))
    fresh = prefill(model, context + [drafted[r] for r in path])[2]
    for layer in range(model.dims.layers):
        for a, b in zip(cache.read(layer, blocks, 8), fresh.read(layer, [0, 1], 8), strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_rows_bits_do_not_depend_on_the_rows_beside_it(tiny, precision):
    model = Model.load(tiny("llama"), precision)
    tokens = np.random.default_rng(2).integers(2, 60, size=21)
    cache = model.new_cache(64, 4)
    model.forward(tokens, plan_attention([Segment(range(6), 0, 21)], 4), cache)
    one = Segment([*range(5), 7], 20, 1)  # decodes its last token again, into a block of its own
    alone, _ = model.forward(tokens[20:], plan_attention([one], 4), cache)
    for others in (1, 2, 3, 7, 15, 40):
        rest = [Segment([*range(5), 8 + i], 20, 1) for i in range(others)]
        batch = np.concatenate([tokens[20:], np.arange(others) % 50])
        together, _ = model.forward(batch, plan_attention([one, *rest], 4), cache)
        assert torch.equal(together[0], alone[0]), others


def test_every_row_count_gives_the_same_bits_in_half_precision_products():
    torch.manual_seed(0)
    x = torch.randn(400, 96)
    product = make_linear(torch.randn(24, 96), None, "float16", torch.device("cpu"))
    wanted = torch.cat([product(six) for six in x.split(6)])
    for rows in (*range(1, 50), 59, 60, 61, 119, 120, 121, 122, 127, 239, 240, 241, 242, 247, 254, 301, 400):
        assert torch.equal(product(x[:rows]), wanted[:rows]), rows


def test_packed_products_are_close_to_the_plain_one():
    torch.manual_seed(0)
    weight, bias, x = torch.randn(48, 32), torch.randn(48), torch.randn(7, 32)
    wanted = x.double() @ weight.double().T + bias.double()
    for precision, tolerance in (("float64", 1e-12), ("float32", 1e-4), ("float16", 2e-2)):
        rows = x.double() if precision == "float64" else x
        got = make_linear(weight, bias, precision, torch.device("cpu"))(rows)
        torch.testing.assert_close(got.double(), wanted, atol=tolerance, rtol=0)


def test_a_weight_beyond_half_precision_is_refused():
    with pytest.raises(InputError, match="float16's range"):
        make_linear(torch.full((2, 2), 1e6), None, "float16", torch.device("cpu"))


def test_an_unknown_precision_is_refused(tiny):
    with pytest.raises(InputError, match="wanted one of float64, float32, float16"):
        Model.load(tiny("llama"), "int3")


def test_what_is_not_a_model_is_refused_with_its_path(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"x")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + (3).to_bytes(4, "little") + b"nonsense")
    (tmp_path / "other.gguf").write_bytes(b"PK nonsense")
    for path, said in (
        (tmp_path / "absent", "no such file"),
        (tmp_path, "no config.json"),
        (tmp_path / "weights.bin", "not a .gguf"),
        (tmp_path / "broken.gguf", "header is damaged"),
        (tmp_path / "other.gguf", "does not begin with GGUF"),
    ):
        with pytest.raises(ModelError, match=said):
            load_checkpoint(path)


def test_a_foreign_family_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ModelError, match="'gpt2' model; the engine runs llama, qwen2, qwen3"):
        load_checkpoint(tmp_path)
