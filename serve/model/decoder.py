"""A compact decoder for Llama, Qwen2 and Qwen3 models over packed rows and a paged cache.

transformers supplies configuration and tokenizer. The forward pass is this project's own, because a step is not a
rectangle. It packs rows of many requests at many positions, prompt chunks and draft trees, in one matrix. Only
attention distinguishes the requests (`serve.kv_cache.attention_metadata.AttentionPlan`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from serve.errors import ModelError
from serve.forest_attention.step import Saving, Shared, share
from serve.kv_cache.attention_metadata import AttentionPlan, Int64, Span
from serve.kv_cache.paged_kv import PagedKV
from serve.model import torch_layers
from serve.model.linear import Linear, check_precision, make_linear
from serve.model.weights import Dimensions, Weights

if TYPE_CHECKING:
    from serve.model.loader import Checkpoint

BLOCKED_ROWS = 24
"""Chains of at least this many rows attend by matrix products (torch), shorter ones and trees row by row."""

SERIAL_WORK = 500_000
"""Multiplications a kernel does on one thread at most."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer's weights: fused products, and norm weights (empty where the family has none)."""

    qkv: Linear
    o: Linear
    gate_up: Linear
    down: Linear
    input_norm: torch.Tensor
    mlp_norm: torch.Tensor
    q_norm: torch.Tensor
    k_norm: torch.Tensor


class Model:
    """A decoder whose `forward` takes packed rows.

    Parameters
    ----------
    config
        transformers' config of a Llama, Qwen2 or Qwen3 model.
    tensors
        State dict of the transformers model.
    precision
        One of `serve.model.linear.PRECISIONS`.
    device
        Where it runs.
    """

    def __init__(
        self,
        config: Any,
        tensors: dict[str, torch.Tensor],
        precision: str = "float32",
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.dtype = check_precision(precision, self.device)
        self.precision = precision
        self.dims = Dimensions.of(config)
        if getattr(config, "hidden_act", "silu") != "silu":
            raise ModelError(f"activation {config.hidden_act!r}; the engine runs silu")
        self._compiled = self.device.type == "cpu"
        own = Weights({name.removeprefix("model."): tensor for name, tensor in tensors.items()})
        d = self.dims
        embedding = own.take("embed_tokens.weight", d.vocabulary, d.hidden)
        self.embedding = embedding.to(self.device, self.dtype)
        untied = own.find("lm_head.weight", d.vocabulary, d.hidden)
        self.head_weight = embedding if untied is None else untied
        self.head = make_linear(self.head_weight, None, precision, self.device)
        self.final_norm = own.take("norm.weight", d.hidden).to(self.device, self.dtype)
        self.layers = [self._layer(own, f"layers.{i}.") for i in range(d.layers)]
        stretch = own.find("rope_freqs.weight", d.head_width // 2)
        self.cos, self.sin = torch_layers.rotary(config, d, stretch, self.device, self.dtype)
        self.forwards = 0
        self.saving: Saving | None = Saving()
        """Rule for attending to a shared prefix together (FlashForge); None: every row attends alone."""

    @classmethod
    def load(
        cls, checkpoint: Checkpoint, precision: str = "float32", device: torch.device | str = "cpu"
    ) -> Model:
        """Build from what `serve.model.loader.load_checkpoint` read.

        Raises
        ------
        ModelError
            if a size, a tensor or a setting is not what the family has.
        """
        try:
            return cls(checkpoint.config, checkpoint.tensors, precision, device)
        except ModelError as error:
            raise ModelError(f"{checkpoint.path}: {error}") from error

    def _layer(self, own: Weights, prefix: str) -> Layer:
        d = self.dims
        q, kv = d.heads * d.head_width, d.kv_heads * d.head_width

        def linear(width: int, parts: dict[str, int]) -> Linear:
            """Products of one input of `width`, by name and output width, as one."""
            sizes = {f"{prefix}{name}": size for name, size in parts.items()}
            weight = torch.cat([own.take(f"{name}.weight", size, width) for name, size in sizes.items()])
            biases = {name: own.find(f"{name}.bias", size) for name, size in sizes.items()}
            held = [bias for bias in biases.values() if bias is not None]
            if held and len(held) < len(sizes):
                raise ModelError(f"{', '.join(biases)}: some have a bias and some have none")
            return make_linear(weight, torch.cat(held) if held else None, self.precision, self.device)

        def norm(name: str, width: int, *, optional: bool = False) -> torch.Tensor:
            find = own.find if optional else own.take
            weight = find(f"{prefix}{name}.weight", width)
            return (torch.empty(0) if weight is None else weight).to(self.device, self.dtype)

        return Layer(
            linear(d.hidden, {"self_attn.q_proj": q, "self_attn.k_proj": kv, "self_attn.v_proj": kv}),
            linear(q, {"self_attn.o_proj": d.hidden}),
            linear(d.hidden, {"mlp.gate_proj": d.inner, "mlp.up_proj": d.inner}),
            linear(d.inner, {"mlp.down_proj": d.hidden}),
            norm("input_layernorm", d.hidden),
            norm("post_attention_layernorm", d.hidden),
            norm("self_attn.q_norm", d.head_width, optional=True),
            norm("self_attn.k_norm", d.head_width, optional=True),
        )

    def new_cache(self, n_blocks: int, block_tokens: int = 16) -> PagedKV:
        """An empty cache of this model's shape."""
        d = self.dims
        return PagedKV(d.layers, n_blocks, block_tokens, d.kv_heads, d.head_width, self.dtype, self.device)

    @torch.inference_mode()
    def forward(
        self,
        tokens: torch.Tensor | Int64,
        plan: AttentionPlan,
        cache: PagedKV,
        *,
        want_taps: bool = False,
        want_final: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Run the rows of a step and store their keys and values.

        Parameters
        ----------
        tokens
            int64[r], row by row as laid out in `plan`.
        plan
            Rows of each request and the tokens each row sees, by `serve.kv_cache.attention_metadata.plan_attention`.
        cache
            Holds the context; receives the rows.
        want_taps
            Whether to return the residual stream at the inputs of `Dimensions.tap_layers`.
        want_final
            Whether the taps end with the last hidden state after its norm, which the output layer reads.

        Returns
        -------
        logits float[len(plan.logit_rows), vocabulary], and taps float[r, 3 (or 4) * hidden] or None.
        """
        step = (_CompiledStep if self._compiled else _TorchStep)(self, plan, cache)
        return self.run(tokens, step, plan.logit_rows, want_taps=want_taps, want_final=want_final)

    @torch.inference_mode()
    def run(
        self,
        tokens: torch.Tensor | Int64,
        step: Step,
        logit_rows: torch.Tensor | Int64,
        *,
        want_taps: bool = False,
        want_final: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Run rows with the attention of `step`; otherwise as `forward`."""
        self.forwards += 1
        x = self.embedding[torch.as_tensor(tokens, device=self.device)]
        delta: torch.Tensor | None = None
        taps: dict[int, torch.Tensor] = {}
        for i, layer in enumerate(self.layers):
            normed = step.add_norm(x, delta, layer.input_norm)
            if want_taps and i in self.dims.tap_layers:
                taps[i] = x.clone()
            delta = layer.o(step.attention(i, layer, layer.qkv(normed)))
            normed = step.add_norm(x, delta, layer.mlp_norm)
            delta = layer.down(step.silu_product(layer.gate_up(normed)))
        normed = step.add_norm(x, delta, self.final_norm)
        wanted = torch.as_tensor(logit_rows, device=self.device)
        logits = self.head(normed if len(wanted) == len(normed) else normed[wanted])
        if not want_taps:
            return logits, None
        last = [normed] if want_final else []
        return logits, torch.cat([*(taps[i] for i in self.dims.tap_layers), *last], -1)

    def wait(self) -> None:
        """Wait until the device has finished; timings need this."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def split(
        self, layer: Layer, qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rotated queries [r, heads, d], rotated keys and values [r, kv heads, d] of a layer's product [r, ...]."""
        d = self.dims
        heads = qkv.view(len(qkv), d.heads + 2 * d.kv_heads, d.head_width)
        q, k, v = torch.split(heads, [d.heads, d.kv_heads, d.kv_heads], 1)
        if len(layer.q_norm):
            q = torch_layers.rms_norm(q, layer.q_norm, d.eps)
            k = torch_layers.rms_norm(k, layer.k_norm, d.eps)
        return torch_layers.rotate(q, cos, sin), torch_layers.rotate(k, cos, sin), v


class Step(Protocol):
    """What one pass over rows does besides matrix products."""

    def add_norm(self, x: torch.Tensor, delta: torch.Tensor | None, weight: torch.Tensor) -> torch.Tensor:
        """Add `delta` to `x` in place, and return the norm of the sum."""
        ...

    def silu_product(self, gate_up: torch.Tensor) -> torch.Tensor:
        """``silu(gate) * up`` [r, inner] of the product of both [r, 2 inner]."""
        ...

    def attention(self, index: int, layer: Layer, qkv: torch.Tensor) -> torch.Tensor:
        """Attention [r, heads d] of layer `index` from its product of queries, keys and values [r, ...]."""
        ...


class _TorchStep:
    """A step in torch."""

    def __init__(self, model: Model, plan: AttentionPlan, cache: PagedKV) -> None:
        self.model, self.plan, self.cache = model, plan, cache
        positions = torch.as_tensor(plan.positions, device=model.device)
        self.cos, self.sin = model.cos[positions], model.sin[positions]
        self.slots = torch.as_tensor(plan.slots, device=model.device)
        self.masks = [torch_layers.visible(plan, span, model.device) for span in plan.spans]
        self.shared = _shared(model, plan, _rows_alone(plan))
        if self.shared is not None:
            for span, mask in zip(plan.spans, self.masks, strict=True):
                begin = torch.as_tensor(self.shared.begin[span.start : span.stop], device=model.device)
                mask &= torch.arange(mask.shape[1], device=model.device)[None] >= begin[:, None]

    def add_norm(self, x: torch.Tensor, delta: torch.Tensor | None, weight: torch.Tensor) -> torch.Tensor:
        if delta is not None:
            x += delta
        return torch_layers.rms_norm(x, weight, self.model.dims.eps)

    def silu_product(self, gate_up: torch.Tensor) -> torch.Tensor:
        return torch_layers.silu_product(gate_up)

    def attention(self, index: int, layer: Layer, qkv: torch.Tensor) -> torch.Tensor:
        q, k, v = self.model.split(layer, qkv, self.cos, self.sin)
        self.cache.write(index, self.slots, k, v)
        before: tuple[torch.Tensor, torch.Tensor] | None = None
        if self.shared is not None:
            data = self.cache.data[index]
            part, part_lse = self.shared(q, data[0], data[1])
            before = part.new_zeros(q.shape), part_lse.new_full(q.shape[:2], -torch.inf)
            before[0][self.shared.rows], before[1][self.shared.rows] = part, part_lse
        parts = []
        for span, mask in zip(self.plan.spans, self.masks, strict=True):
            rows = slice(span.start, span.stop)
            if before is None or self.shared is None or not self.shared.begin[rows].any():
                keys, values = self.cache.read(index, span.blocks, mask.shape[1])
                parts.append(torch_layers.attend_span(q[rows], keys, values, mask))
            else:
                held = before[0][rows], before[1][rows]
                parts.append(torch_layers.attend_rest(q[rows], span, mask, self.cache, index, held))
        return torch.cat(parts).reshape(len(qkv), -1)


class _CompiledStep:
    """A step in the CPU kernels; long prompt chunks attend in torch."""

    def __init__(self, model: Model, plan: AttentionPlan, cache: PagedKV) -> None:
        self.model, self.plan, self.cache = model, plan, cache
        from serve.model.cpu_kernels import as_array

        self.cos, self.sin = as_array(model.cos[plan.positions]), as_array(model.sin[plan.positions])
        self.blocked = [
            (s, _added(torch_layers.visible(plan, s, model.device), model.dtype))
            for s in plan.spans
            if _blocked(s)
        ]
        longest = max((mask.shape[1] for _, mask in self.blocked), default=0)
        self.pages = model.embedding.new_empty(2, model.dims.kv_heads, longest, model.dims.head_width)
        self.alone = _rows_alone(plan)
        self.shared = _shared(model, plan, self.alone)
        self.begin = np.zeros(plan.rows, np.int32) if self.shared is None else self.shared.begin
        left = plan.seen[self.alone] - self.begin[self.alone]
        self.attention_work = int(left.sum()) * model.dims.heads * model.dims.head_width
        self.nothing = as_array(model.embedding.new_empty((0, 0)))
        sums = torch.promote_types(model.dtype, torch.float32)
        self.lse = torch.zeros(0 if self.shared is None else plan.rows, model.dims.heads, dtype=sums)

    def add_norm(self, x: torch.Tensor, delta: torch.Tensor | None, weight: torch.Tensor) -> torch.Tensor:
        from serve.model import cpu_kernels as kernels

        out = torch.empty_like(x)
        array = kernels.as_array
        _set_threads(x.numel())
        change = self.nothing if delta is None else array(delta)
        kernels.add_rms_norm(array(x), change, array(weight), self.model.dims.eps, array(out))
        return out

    def silu_product(self, gate_up: torch.Tensor) -> torch.Tensor:
        from serve.model import cpu_kernels as kernels

        _set_threads(gate_up.numel())
        out = gate_up.new_empty(len(gate_up), gate_up.shape[1] // 2)
        kernels.silu_product(kernels.as_array(gate_up), kernels.as_array(out))
        return out

    def attention(self, index: int, layer: Layer, qkv: torch.Tensor) -> torch.Tensor:
        from serve.model import cpu_kernels as kernels

        d, plan, array = self.model.dims, self.plan, kernels.as_array
        keys, values = map(array, self.cache.data[index])
        heads = qkv.view(len(qkv), d.heads + 2 * d.kv_heads, d.head_width)
        rows, norms = array(heads), (array(layer.q_norm), array(layer.k_norm))
        _set_threads(2 * qkv.numel())
        kernels.rotate_and_store(rows, self.cos, self.sin, plan.slots, *norms, d.eps, keys, values)
        out = torch.empty(len(qkv), d.heads, d.head_width, dtype=self.model.dtype)
        queries = heads[:, : d.heads]
        if self.shared is not None:
            data, sharing = self.cache.data[index], self.shared.rows
            begun, self.lse[sharing] = self.shared(queries, data[0], data[1])
            out[sharing] = begun.to(out.dtype)
        if len(self.alone):
            _set_threads(self.attention_work)
            seen = plan.segment, plan.seen, plan.extra_start, plan.extra, plan.tables
            kernels.attend(rows, self.alone, *seen, keys, values, self.begin, self.lse.numpy(), array(out))
        for span, mask in self.blocked:
            part = slice(span.start, span.stop)
            near = self.pages[:, :, : mask.shape[1]]
            _set_threads(near.numel())
            kernels.copy_pages(array(self.cache.data[index]), span.blocks, array(near))
            out[part] = torch_layers.attend_span(queries[part], near[0], near[1], mask)
        return out.view(len(qkv), -1)


def _added(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The mask as numbers to add to scores, once for all layers."""
    return torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, -torch.inf)


def _blocked(span: Span) -> bool:
    """Whether a segment's rows attend together, by matrix products."""
    return not span.tree and span.stop - span.start >= BLOCKED_ROWS


def _rows_alone(plan: AttentionPlan) -> Int64:
    """The packed rows that attend one by one, but for the prefixes they share."""
    parts = [np.arange(s.start, s.stop) for s in plan.spans if not _blocked(s)]
    return np.concatenate([*parts, np.empty(0, np.int64)]).astype(np.int64)


def _shared(model: Model, plan: AttentionPlan, rows: Int64) -> Shared | None:
    return share(plan, rows, model.dims.kv_heads, model.device, model.saving) if model.saving else None


def _set_threads(work: int) -> None:
    """Let the kernels use torch's number of threads for much work, one for little.

    Waking another thread costs more than a decode row's attention; one thread also keeps numba's threads from
    competing with torch's own between two matrix products.
    """
    import numba

    numba.set_num_threads(
        min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS) if work > SERIAL_WORK else 1
    )
