"""A small random Llama with a tokenizer of bytes: what runs where no weights are at hand."""

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


def checkpoint(layers: int = 4, hidden: int = 64, seed: int = 0) -> Checkpoint:
    """Random weights of this size."""
    from transformers import AutoConfig, AutoModelForCausalLM

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
        initializer_range=0.4,
        bos_token_id=None,
        eos_token_id=0,
    )
    torch.manual_seed(seed)
    tensors = {k: t.detach() for k, t in AutoModelForCausalLM.from_config(config).state_dict().items()}
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
