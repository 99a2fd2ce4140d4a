"""The draft head of DART (arXiv 2601.19278): one decoder layer that guesses the next d tokens in one pass.

Row j of the head has the target's state at token x_j and the embedding of the *next* token x_{j+1}. The state is
three taps of the residual stream, which `fc` maps to one hidden vector g. The last real row predicts x_{j+2}: the
first draft token, since x_{j+1} is already chosen. Behind it stand d - 1 mask rows, all the same learned vector told
apart by rotary position alone, which predict the following tokens. Attention is plain causal. Masks are appended
after the norms, and their residual stream is the first half of the vector.

Training and drafting share the weights and differ in who sees whom: `forward` takes any mask. Drafting
(`serve.spec_decode.proposers`) computes queries for the last real row and the masks only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from serve.atomic import replacing
from serve.errors import ModelError

FORMAT = "dart-head-1"


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """Sizes of a draft head; `depth` is d, the number of tokens drafted in one pass."""

    hidden: int
    heads: int
    kv_heads: int
    head_width: int
    intermediate: int
    draft_vocabulary: int
    vocabulary: int
    depth: int
    rope_theta: float
    eps: float
    autoregressive: bool = False

    @classmethod
    def of(
        cls, config: Any, draft_vocabulary: int, depth: int, *, autoregressive: bool = False
    ) -> HeadConfig:
        """A head shaped like one layer of the target with this transformers config."""
        rope = getattr(config, "rope_parameters", None) or {}
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(
            hidden=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_width=width,
            intermediate=config.intermediate_size,
            draft_vocabulary=draft_vocabulary,
            vocabulary=config.vocab_size,
            depth=depth,
            rope_theta=float(rope.get("rope_theta", 10_000.0)),
            eps=config.rms_norm_eps,
            autoregressive=autoregressive,
        )


def rotate(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    """Rotary embedding of x [rows, heads, width] at integer positions [rows]; halves are paired as in Llama."""
    half = x.shape[-1] // 2
    frequency = theta ** (-torch.arange(half, dtype=torch.float32, device=x.device) / half)
    angle = positions[:, None].float() * frequency
    cos, sin = angle.cos().to(x.dtype)[:, None], angle.sin().to(x.dtype)[:, None]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Norm(nn.RMSNorm):
    """Root mean square norm in float32, also where the products around it run in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        return super().forward(x.float())


class DraftHead(nn.Module):
    """Weights and arithmetic of the head. `draft_ids` int64[V_draft] are the target ids of its reduced vocabulary."""

    draft_ids: Tensor

    def __init__(self, config: HeadConfig, draft_ids: Tensor) -> None:
        super().__init__()
        self.config = config
        h, kv = config.hidden, config.kv_heads * config.head_width
        self.fc = nn.Linear(3 * h, h, bias=False)
        self.embedding_norm = Norm(h, config.eps)
        self.hidden_norm = Norm(h, config.eps)
        self.q = nn.Linear(2 * h, config.heads * config.head_width, bias=False)
        self.k = nn.Linear(2 * h, kv, bias=False)
        self.v = nn.Linear(2 * h, kv, bias=False)
        self.o = nn.Linear(config.heads * config.head_width, h, bias=False)
        self.mlp_norm = Norm(h, config.eps)
        self.gate = nn.Linear(h, config.intermediate, bias=False)
        self.up = nn.Linear(h, config.intermediate, bias=False)
        self.down = nn.Linear(config.intermediate, h, bias=False)
        self.final_norm = Norm(h, config.eps)
        self.lm_head = nn.Linear(h, config.draft_vocabulary, bias=False)
        self.mask = nn.Parameter(torch.randn(2 * h) * 0.02)
        self.register_buffer("draft_ids", draft_ids.long())

    def real_rows(self, g: Tensor, embeddings: Tensor) -> Tensor:
        """Return z [rows, 2H]: the attention input of real rows with features g and the next tokens' embeddings."""
        return torch.cat([self.embedding_norm(embeddings), self.hidden_norm(g)], -1)

    def queries(self, z: Tensor, positions: Tensor) -> Tensor:
        """Rotated queries [rows, heads, width]."""
        c = self.config
        return rotate(self.q(z).view(len(z), c.heads, c.head_width), positions, c.rope_theta)

    def keys_values(self, z: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Rotated keys, and values; [rows, kv_heads, width] each."""
        c = self.config
        shape = len(z), c.kv_heads, c.head_width
        return rotate(self.k(z).view(shape), positions, c.rope_theta), self.v(z).view(shape)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
        """Attention of q [R, heads, width] over k, v [S, kv_heads, width] where `visible` [R, S]; [R, heads width]."""
        out = F.scaled_dot_product_attention(
            q.transpose(0, 1)[None],
            k.transpose(0, 1)[None],
            v.transpose(0, 1)[None],
            attn_mask=visible,
            enable_gqa=self.config.heads != self.config.kv_heads,
        )
        return out[0].transpose(0, 1).reshape(len(q), -1)

    def finish(self, residual: Tensor, attended: Tensor) -> Tensor:
        """Output of the layer [rows, H] from its residual stream and its attention."""
        x = residual + self.o(attended)
        normed = self.mlp_norm(x)
        out: Tensor = x + self.down(F.silu(self.gate(normed)) * self.up(normed))
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits over the draft vocabulary, [rows, V_draft]; the final norm is applied once."""
        out: Tensor = self.lm_head(self.final_norm(hidden))
        return out

    def forward(self, residual: Tensor, z: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        """Output [R, H] of rows that see each other where `visible` bool[R, R]."""
        k, v = self.keys_values(z, positions)
        return self.finish(residual, self.attend(self.queries(z, positions), k, v, visible))

    def warm_start(self, tensors: dict[str, Tensor]) -> None:
        """Begin with the target's own output rows for the reduced vocabulary; the rest stays random.

        Ours, not the paper's. Copying the target's last layer as well was tried and began far worse: it
        predicts x_{j+1}, which the head already knows, where x_{j+2} is asked.
        """
        head = tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"])
        with torch.no_grad():
            self.lm_head.weight.copy_(head[self.draft_ids])


def save_head(head: DraftHead, path: Path, tokenizer_hash: str) -> None:
    """Write the head as float16 safetensors; sizes and the tokenizer's hash stand in its metadata."""
    from safetensors.torch import save_file

    tensors = {name: (t if name == "draft_ids" else t.half()).cpu() for name, t in head.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "config": json.dumps(asdict(head.config), sort_keys=True),
        "tokenizer": tokenizer_hash,
    }
    with replacing(path) as temporary:
        save_file({n: t.contiguous() for n, t in tensors.items()}, temporary, metadata)


def load_head(path: Path, tokenizer_hash: str | None = None) -> DraftHead:
    """Read a head; refuse one that was trained for another tokenizer (None: do not check)."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: no readable draft head ({error})") from error
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "nothing")
        raise ModelError(
            f"{path}: format {found!r}, wanted {FORMAT!r}; train it again with vckg-serve train-draft"
        )
    if tokenizer_hash is not None and metadata["tokenizer"] != tokenizer_hash:
        raise ModelError(f"{path}: trained for another tokenizer; train a head for this model")
    config = HeadConfig(**json.loads(metadata["config"]))
    head = DraftHead(config, tensors["draft_ids"])
    head.load_state_dict({n: t if n == "draft_ids" else t.float() for n, t in tensors.items()})
    return head.eval()
