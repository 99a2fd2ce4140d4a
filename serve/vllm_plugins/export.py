"""The served model and the DART head as folders that vLLM loads.

vLLM drafts with a head of the EAGLE-3 form and `parallel_drafting`: one pass over the new real rows and, behind them,
mask rows, which is DART's pass. Its layer is ours: embedding and features are normed and joined, features are the
residual, one norm stands before the MLP and one at the end. The vocabulary is reduced. One thing differs. A mask row
there is an *input* like any other: a token whose embedding is normed, and three taps that `fc` maps and a norm
follows. DART puts its learned vector m behind the norms, and its first half alone into the residual stream.

The form can still say it exactly. The exported head is a little wider than the target. Its further hidden places are
zero in every token's embedding, in the features and behind every product. One of them is 1 in the embedding of the
mask token. In that place's column the attention's input products hold whatever the mask row lacks. Its residual is
m's first half through a vector of taps that `fc` maps to it. RMS norms over the wider vector are scaled back. The
cost is an embedding table of the head's own, where a trained EAGLE head would share the target's.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from serve.atomic import replacing, write_text
from serve.errors import InputError
from serve.model.loader import Checkpoint
from serve.spec_decode.dart_head import DraftHead, HeadConfig

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def write_model(checkpoint: Checkpoint, folder: Path, dtype: str = "float32") -> None:
    """Write a model that was read from GGUF as a Hugging Face folder (safetensors, tokenizer, chat template)."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(checkpoint.config).eval().float()
    # A tied output layer may be missing among the tensors; anything else must be there.
    model.load_state_dict(checkpoint.tensors, strict=not checkpoint.config.tie_word_embeddings)
    model.tie_weights()
    model.generation_config.eos_token_id = sorted(checkpoint.eos)
    folder.mkdir(parents=True, exist_ok=True)
    model.to(DTYPES[dtype]).save_pretrained(folder)
    checkpoint.tokenizer.save_pretrained(folder)


def wide_size(config: HeadConfig) -> int:
    """The smallest hidden size above the head's that its heads and eight divide."""
    step = math.lcm(config.heads, 8)
    return (config.hidden // step + 1) * step


def draft_tensors(head: DraftHead, embedding: Tensor) -> dict[str, Tensor]:
    """The head's weights under vLLM's names, float32.

    `embedding` [V, H] is the target's table. The mask token is V; the place that is 1 in its embedding is the last.
    """
    c = head.config
    if c.autoregressive:
        raise InputError("an autoregressive head drafts token by token; parallel drafting wants a DART head")
    wide, h = wide_size(c), c.hidden
    scale = math.sqrt(h / wide)  # an RMS over `wide` places of which h are used

    def out(weight: Tensor, columns: int) -> Tensor:
        """Rows for the further hidden places: zero."""
        return torch.cat([weight, weight.new_zeros(wide - h, columns)])

    def into(weight: Tensor) -> Tensor:
        """Columns for the further hidden places: zero."""
        return torch.cat([weight, weight.new_zeros(len(weight), wide - h)], 1)

    def norm(weight: Tensor) -> Tensor:
        return torch.cat([weight * scale, weight.new_ones(wide - h)])

    with torch.no_grad():
        residual, behind = head.mask[:h], head.mask
        eps = wide_eps(c)
        embeddings = torch.cat([embedding.float(), embedding.new_zeros(len(embedding), wide - h)], 1)
        mask_row = torch.zeros(1, wide)
        mask_row[0, -1] = 1.0
        flag = 1.0 / math.sqrt(1.0 / wide + eps)  # that place behind the norm
        # What the layer makes of the mask row without the flag: nothing of the embedding, the norm of the residual.
        given = torch.cat([torch.zeros(h), head.hidden_norm(residual)])
        tensors = {
            "embed_tokens.weight": torch.cat([embeddings, mask_row]),
            "fc.weight": out(head.fc.weight, 3 * h),
            "mask_hidden": (torch.linalg.pinv(head.fc.weight.double()) @ residual.double()).float(),
            "midlayer.input_layernorm.weight": norm(head.embedding_norm.weight),
            "midlayer.hidden_norm.weight": norm(head.hidden_norm.weight),
            "midlayer.self_attn.o_proj.weight": out(head.o.weight, c.heads * c.head_width),
            "midlayer.post_attention_layernorm.weight": norm(head.mlp_norm.weight),
            "midlayer.mlp.gate_proj.weight": into(head.gate.weight),
            "midlayer.mlp.up_proj.weight": into(head.up.weight),
            "midlayer.mlp.down_proj.weight": out(head.down.weight, c.intermediate),
            "norm.weight": norm(head.final_norm.weight),
            "lm_head.weight": into(head.lm_head.weight),
            "d2t": head.draft_ids - torch.arange(len(head.draft_ids)),
        }
        for name, product in (("q", head.q), ("k", head.k), ("v", head.v)):
            weight = product.weight
            left = into(weight[:, :h])
            left[:, -1] = weight @ (behind - given) / flag
            tensors[f"midlayer.self_attn.{name}_proj.weight"] = torch.cat([left, into(weight[:, h:])], 1)
    return {name: t.detach().contiguous().clone() for name, t in tensors.items()}


def wide_eps(config: HeadConfig) -> float:
    """Epsilon of the norms over the wider vector that gives the head's own results."""
    return config.eps * config.hidden / wide_size(config)


def draft_config(head: DraftHead, target: Any, dtype: str) -> dict[str, Any]:
    """`config.json` of the exported head."""
    c = head.config
    n = target.num_hidden_layers
    return {
        "architectures": ["Eagle3LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": wide_size(c),
        "target_hidden_size": c.hidden,
        "num_hidden_layers": 1,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_width,
        "intermediate_size": c.intermediate,
        "vocab_size": c.vocabulary + 1,
        "draft_vocab_size": c.draft_vocabulary,
        "mask_token_id": c.vocabulary,
        "hidden_act": "silu",
        "rms_norm_eps": wide_eps(c),
        "rope_parameters": {"rope_type": "default", "rope_theta": c.rope_theta},
        "max_position_embeddings": target.max_position_embeddings,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "num_aux_hidden_states": 3,
        "eagle_aux_hidden_state_layer_ids": [2, n // 2, n - 3],
        "norm_before_residual": False,
        "torch_dtype": dtype,
    }


def write_draft(head: DraftHead, checkpoint: Checkpoint, folder: Path, dtype: str = "float32") -> None:
    """Write a head as the folder that `--speculative-config` names; the configuration last."""
    from safetensors.torch import save_file

    embedding = checkpoint.tensors["model.embed_tokens.weight"]
    if embedding.shape != (head.config.vocabulary, head.config.hidden):
        raise InputError(
            f"the head is for a model of {head.config.vocabulary} tokens and {head.config.hidden} hidden places, "
            f"{checkpoint.name} has {tuple(embedding.shape)}; name the model it was trained for with --model"
        )
    tensors = {
        name: t if name == "d2t" else t.to(DTYPES[dtype])
        for name, t in draft_tensors(head, embedding).items()
    }
    with replacing(folder / "model.safetensors") as temporary:
        save_file(tensors, temporary, {"format": "pt"})
    text = json.dumps(draft_config(head, checkpoint.config, dtype), indent=1) + "\n"
    write_text(folder / "config.json", text)
