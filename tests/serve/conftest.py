"""Tiny random models as Hugging Face folders, and the embedded one; both read through the real loader."""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # before torch loads OpenMP: the suite shares its cores

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from serve.engine.engine import Engine, EngineConfig
from serve.model.decoder import Model
from serve.model.loader import Checkpoint, load_checkpoint

torch.set_num_threads(2)


def tiny_tokenizer():
    """One token a byte, with <eos> and a one-line chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    characters = ["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(characters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")
    fast.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
    return fast


def save_tiny(folder: Path, family: str = "llama", seed: int = 0, **changes) -> Path:
    """Write a random two- or three-layer model of a family with its tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = tiny_tokenizer()
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        **({} if family == "qwen2" else {"head_dim": 8}),
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
        "initializer_range": 0.4,
        "bos_token_id": None,
        "eos_token_id": 0,
    } | changes
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes))
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases random too, so that none can be forgotten
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Callable[[str], Checkpoint]:
    """Checkpoint of a tiny random model of a family, made once."""
    made: dict[str, Checkpoint] = {}

    def get(family: str = "llama") -> Checkpoint:
        if family not in made:
            changes = {"qwen3": {"head_dim": 16}}.get(family, {})
            folder = save_tiny(tmp_path_factory.mktemp(family), family, **changes)
            made[family] = load_checkpoint(folder)
        return made[family]

    return get


@pytest.fixture(scope="session")
def tiny_model(tiny) -> Callable[[str], Model]:
    """A tiny random model in float64, made once a family."""
    made: dict[str, Model] = {}

    def get(family: str = "llama") -> Model:
        if family not in made:
            made[family] = Model.load(tiny(family), "float64")
        return made[family]

    return get


@pytest.fixture
def tiny_engine(tiny, tiny_model) -> Callable[..., Engine]:
    """A fresh engine over a tiny float64 model; every block must be given back by the end of the test."""
    engines: list[Engine] = []

    def make(family: str = "llama", proposer=None, **sizes) -> Engine:
        config = EngineConfig(
            **({"cache_tokens": 1024, "block_tokens": 4, "max_running": 8, "step_tokens": 16} | sizes)
        )
        engines.append(Engine(tiny_model(family), tiny(family), config, proposer))
        return engines[-1]

    yield make
    for engine in engines:
        engine.forest.check()
        assert engine.has_work or engine.forest.n_in_use == 0


@pytest.fixture(scope="session")
def embedded() -> Checkpoint:
    """The embedded model."""
    return load_checkpoint()
