"""A small random Llama with a tokenizer of bytes: runs without model weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from serve.model.loader import Checkpoint


def tokenizer() -> Any:
    """One token a byte, with <eos> and a one-line chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    characters = ["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(models.BPE({c: i for i, c in enumerate(characters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>")
    fast.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    return fast


def shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a Llama's tensors."""
    h, inner = config.hidden_size, config.intermediate_size
    kv = h * config.num_key_value_heads // config.num_attention_heads
    layer = {
        "self_attn.q_proj": (h, h),
        "self_attn.k_proj": (kv, h),
        "self_attn.v_proj": (kv, h),
        "self_attn.o_proj": (h, h),
        "mlp.gate_proj": (inner, h),
        "mlp.up_proj": (inner, h),
        "mlp.down_proj": (h, inner),
        "input_layernorm": (h,),
        "post_attention_layernorm": (h,),
    }
    whole: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, h)}
    for i in range(config.num_hidden_layers):
        whole |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    return whole | {"model.norm.weight": (h,), "lm_head.weight": (config.vocab_size, h)}


def checkpoint(layers: int = 4, hidden: int = 64, seed: int = 0) -> Checkpoint:
    """Random weights of this size."""
    from transformers import AutoConfig

    words = tokenizer()
    config = AutoConfig.for_model(
        "llama",
        vocab_size=len(words),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=0,
    )
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: torch.ones(shape) if len(shape) == 1 else 0.4 * torch.randn(shape, generator=generator)
        for name, shape in shapes(config).items()
    }
    return Checkpoint("random", Path("random"), config, words, tensors, frozenset({0}))


def messages(count: int) -> list[dict[str, Any]]:
    """Prompts in the form of a prompt file's lines."""
    return [
        {
            "id": str(i),
            "workload": "random",
            "messages": [{"role": "user", "content": f"{i} and {i * i % 97}"}],
        }
        for i in range(count)
    ]
