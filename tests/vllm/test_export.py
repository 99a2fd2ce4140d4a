"""The exported head is the head: vLLM's EAGLE-3 layer, written out in torch, over its tensors. vLLM is not needed."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from serve.spec_decode.dart_head import DraftHead, HeadConfig
from serve.spec_decode.head_drafting import rotate
from serve.vllm_plugins.export import draft_tensors, wide_eps, wide_size


def random_head(seed: int, heads: int = 3, hidden: int = 24) -> tuple[DraftHead, Tensor]:
    """A head whose every weight is random, norms and mask of any size, and an embedding table."""
    torch.manual_seed(seed)
    config = HeadConfig(
        hidden=hidden,
        heads=heads,
        kv_heads=1,
        head_width=8,
        intermediate=20,
        draft_vocabulary=11,
        vocabulary=40,
        depth=4,
        rope_theta=1e4,
        eps=1e-5,
    )
    head = DraftHead(config, torch.randperm(40)[:11].sort().values)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn_like(parameter) * (2.0 if seed % 2 else 0.2))
    return head.requires_grad_(False), torch.randn(40, hidden)


def drafted(head: DraftHead, taps: Tensor, following: Tensor) -> Tensor:
    """DART's pass by its definition: logits [depth, V_draft] after the rows of `taps` [n, 3H]."""
    c = head.config
    n, masks = len(taps), c.depth - 1
    g = head.fc(taps)
    z = torch.cat([head.real_rows(g, following), head.mask.expand(masks, -1)])
    residual = torch.cat([g, head.mask[: c.hidden].expand(masks, -1)])
    rows = n + masks
    out = head(residual, z, torch.arange(rows), torch.ones(rows, rows, dtype=torch.bool).tril())
    return head.logits(out)[n - 1 :]


def eagle3(tensors: dict[str, Tensor], config: HeadConfig, taps: Tensor, tokens: list[int]) -> Tensor:
    """The pass of vLLM 0.32's llama_eagle3.py with parallel drafting, over the exported tensors."""
    t = {name: value if name == "d2t" else value.float() for name, value in tensors.items()}
    c, eps = config, wide_eps(config)

    def norm(x: Tensor, name: str) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * t[name]

    masks = c.depth - 1
    ids = torch.tensor([*tokens, *[c.vocabulary] * masks])
    states = torch.cat([taps, t["mask_hidden"].expand(masks, -1)]) @ t["fc.weight"].T
    x = torch.cat(
        [
            norm(t["embed_tokens.weight"][ids], "midlayer.input_layernorm.weight"),
            norm(states, "midlayer.hidden_norm.weight"),
        ],
        -1,
    )
    rows, positions = len(ids), torch.arange(len(ids))

    def project(name: str, heads: int) -> Tensor:
        return (x @ t[f"midlayer.self_attn.{name}_proj.weight"].T).view(rows, heads, c.head_width)

    q = rotate(project("q", c.heads), positions, c.rope_theta).transpose(0, 1)
    k = rotate(project("k", c.kv_heads), positions, c.rope_theta).transpose(0, 1)
    v = project("v", c.kv_heads).transpose(0, 1)
    attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    states = states + attended.transpose(0, 1).reshape(rows, -1) @ t["midlayer.self_attn.o_proj.weight"].T
    y = norm(states, "midlayer.post_attention_layernorm.weight")
    gated = F.silu(y @ t["midlayer.mlp.gate_proj.weight"].T) * (y @ t["midlayer.mlp.up_proj.weight"].T)
    states = states + gated @ t["midlayer.mlp.down_proj.weight"].T
    return norm(states, "norm.weight")[len(taps) - 1 :] @ t["lm_head.weight"].T


@pytest.mark.parametrize("seed", range(6))
def test_the_exported_head_computes_what_the_head_computes(seed):
    head, embedding = random_head(seed)
    tokens = torch.randint(40, (5,)).tolist()
    taps = torch.randn(5, 3 * head.config.hidden)
    ours = drafted(head, taps, embedding[torch.tensor(tokens)])
    theirs = eagle3(draft_tensors(head, embedding), head.config, taps, tokens)
    torch.testing.assert_close(theirs, ours, rtol=2e-4, atol=2e-4 * float(ours.abs().max()))


@pytest.mark.parametrize(("heads", "hidden"), [(3, 24), (9, 576), (32, 4096), (14, 896)])
def test_the_wider_size_is_divisible_by_heads_and_eight(heads, hidden):
    wide = wide_size(HeadConfig(hidden, heads, heads, 64, 8, 8, 8, 8, 1e4, 1e-5))
    assert wide > hidden
    assert wide % heads == wide % 8 == 0
    assert wide - hidden <= math.lcm(heads, 8)


def test_reduced_ids_are_told_as_offsets():
    head, embedding = random_head(0)
    offsets = draft_tensors(head, embedding)["d2t"]
    assert (torch.arange(len(offsets)) + offsets).tolist() == head.draft_ids.tolist()
