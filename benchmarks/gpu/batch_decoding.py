"""The target over rectangles of texts: many answers written at once on a GPU, and what its layers hold of them.

The engine packs rows of requests at many positions, which costs a launch of kernels per request and layer. Here B
texts of one padded length lie side by side, so every layer is a few large products. `BatchWriter` writes answers
with a slot for each of B texts; a slot whose answer ended takes the next prompt. `states` reads texts back: the taps
and the last hidden states that `benchmarks.gpu.batch_training` trains on, so none of them has to be kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from serve.atomic import replacing
from serve.model import torch_layers
from serve.model.decoder import Layer, Model
from serve.spec_decode.training.corpus import WARMTH

Int32 = npt.NDArray[np.int32]

LOOP_PERIODS, LOOP_TIMES, LOOP_LEAST = 40, 3, 12
"""What counts as a loop, as in `serve.spec_decode.training.corpus.loops`."""


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt with its answer: tokens int32[T], of which the first `prompt_length` are the prompt."""

    number: int
    draw: int
    tokens: Int32
    prompt_length: int


class _Step:
    """What `Model.run` asks of a step, but for the attention."""

    def __init__(self, model: Model, positions: Tensor) -> None:
        self.model = model
        self.cos, self.sin = model.cos[positions], model.sin[positions]

    def add_norm(self, x: Tensor, delta: Tensor | None, weight: Tensor) -> Tensor:
        if delta is not None:
            x += delta
        return torch_layers.rms_norm(x, weight, self.model.dims.eps)

    def silu_product(self, gate_up: Tensor) -> Tensor:
        return torch_layers.silu_product(gate_up)


class _Whole(_Step):
    """All rows of B texts of T tokens, causal; their keys and values go to `rows` of `cache`, if there is one."""

    def __init__(
        self, model: Model, texts: int, length: int, cache: Tensor | None = None, rows: Tensor | None = None
    ) -> None:
        super().__init__(model, torch.arange(length, device=model.device).repeat(texts))
        self.shape, self.cache, self.rows = (texts, length), cache, rows

    def attention(self, index: int, layer: Layer, qkv: Tensor) -> Tensor:
        q, k, v = (
            part.view(*self.shape, *part.shape[1:]).transpose(1, 2)
            for part in self.model.split(layer, qkv, self.cos, self.sin)
        )
        if self.cache is not None:
            self.cache[index, 0, self.rows, :, : self.shape[1]] = k
            self.cache[index, 1, self.rows, :, : self.shape[1]] = v
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return out.transpose(1, 2).reshape(len(qkv), -1)


class _Next(_Step):
    """One row of each text at its own position; it sees the first `span` slots of the cache up to itself."""

    def __init__(self, model: Model, positions: Tensor, span: int, cache: Tensor) -> None:
        super().__init__(model, positions)
        self.positions, self.cache, self.span = positions, cache, span
        self.texts = torch.arange(len(positions), device=model.device)
        hidden = torch.arange(span, device=model.device)[None] > positions[:, None]
        self.bias = torch.zeros(hidden.shape, device=model.device).masked_fill_(hidden, -torch.inf)

    def attention(self, index: int, layer: Layer, qkv: Tensor) -> Tensor:
        d = self.model.dims
        q, k, v = self.model.split(layer, qkv, self.cos, self.sin)
        self.cache[index, 0, self.texts, :, self.positions] = k
        self.cache[index, 1, self.texts, :, self.positions] = v
        keys, values = self.cache[index, 0, :, :, : self.span], self.cache[index, 1, :, :, : self.span]
        grouped = q.view(len(q), d.kv_heads, -1, d.head_width) * d.head_width**-0.5
        scores = grouped @ keys.transpose(2, 3)
        wide = torch.promote_types(scores.dtype, torch.float32)
        chance = (scores.to(wide) + self.bias[:, None, None]).softmax(-1)
        out: Tensor = chance.to(values.dtype) @ values
        return out.reshape(len(q), -1)


@torch.inference_mode()
def states(model: Model, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Taps [B, T, 3H] and last hidden states [B, T, H] of texts int64[B, T] that are padded at their ends."""
    texts, length = tokens.shape
    step = _Whole(model, texts, length)
    nothing = torch.zeros(0, dtype=torch.long, device=model.device)
    _, held = model.run(tokens.reshape(-1), step, nothing, want_taps=True, want_final=True)
    assert held is not None
    held = held.view(texts, length, -1)
    hidden = model.dims.hidden
    return held[..., : 3 * hidden], held[..., 3 * hidden :]


class BatchWriter:
    """Writes answers in `slots` slots at once; texts of at most `length` tokens.

    Draw 0 of a prompt is greedy, the others are drawn at `WARMTH`. A slot that ended or loops is looked at every
    `period` tokens only; what it wrote beyond its end is cut off.
    """

    def __init__(
        self, model: Model, *, slots: int, length: int, stop: set[int], seed: int = 0, period: int = 16
    ) -> None:
        d, device = model.dims, model.device
        self.model, self.length, self.period = model, length, period
        shape = (d.layers, 2, slots, d.kv_heads, length, d.head_width)
        self.cache = torch.zeros(shape, dtype=model.dtype, device=device)
        self.tokens = torch.zeros(slots, length, dtype=torch.long, device=device)
        self.begin = torch.ones(slots, dtype=torch.long, device=device)  # tokens of the prompt
        self.last = torch.zeros(slots, dtype=torch.long, device=device)  # index of the newest token
        self.end = torch.full((slots,), -1, device=device)  # index of the token that ended the text, else -1
        self.warmth = torch.zeros(slots, 1, device=device)
        self.stop = torch.tensor(sorted(stop), device=device)
        self.every = torch.arange(slots, device=device)
        self.owner: list[tuple[int, int] | None] = [None] * slots
        self.generator = torch.Generator(device).manual_seed(seed)

    def run(
        self, prompts: Iterator[tuple[int, int, list[int]]], more: Callable[[], bool] = lambda: True
    ) -> Iterator[list[Text]]:
        """Answer (number, draw, tokens) until there are no prompts left or not `more()`; the texts as they end.

        Unfinished answers of a stopped run are not given.
        """
        while more():
            self._refill(prompts)
            if all(owner is None for owner in self.owner):
                return
            span = min(self.length, int(self.last.max()) + 1 + self.period)
            for _ in range(self.period):
                self._step(span)
            yield self._harvest()

    @torch.inference_mode()
    def _step(self, span: int) -> None:
        step = _Next(self.model, self.last, span, self.cache)
        logits, _ = self.model.run(self.tokens[self.every, self.last], step, self.every)
        self._append(self.every, logits, self.warmth)

    def _append(self, slots: Tensor, logits: Tensor, warmth: Tensor) -> None:
        """Choose the next token of each slot (Gumbel's maximum is a draw of softmax(logits / warmth))."""
        noise = torch.empty(logits.shape, device=logits.device)
        noise.exponential_(generator=self.generator).log_()
        chosen = (logits - warmth * noise).argmax(-1)  # float32 or wider, as the noise is
        ended = self.end[slots] >= 0
        at = torch.where(ended, self.last[slots], self.last[slots] + 1)
        self.tokens[slots, at] = torch.where(ended, self.tokens[slots, at], chosen)
        self.last[slots] = at
        ends = torch.isin(chosen, self.stop) | (at == self.length - 1)
        self.end[slots] = torch.where(ends & ~ended, at, self.end[slots])

    @torch.inference_mode()
    def _refill(self, prompts: Iterator[tuple[int, int, list[int]]], rows: int = 1 << 16) -> None:
        """Read the next prompts into the free slots, as many at a time as have `rows` rows."""
        free = [i for i, owner in enumerate(self.owner) if owner is None]
        while free:
            taken: list[tuple[int, int, list[int]]] = []
            widest = 0
            while len(taken) < len(free) and (len(taken) + 1) * max(widest, 64) <= rows:
                prompt = next(prompts, None)
                if prompt is None:
                    break
                if len(prompt[2]) + 2 <= self.length:
                    taken.append(prompt)
                    widest = max(widest, len(prompt[2]))
            if not taken:
                return
            self._read(free[: len(taken)], taken, widest)
            free = free[len(taken) :]

    def _read(self, slots: list[int], prompts: list[tuple[int, int, list[int]]], widest: int) -> None:
        """One pass over prompts, and the first token of each answer."""
        padded = np.zeros((len(prompts), widest), np.int64)
        for row, (_, _, prompt) in zip(padded, prompts, strict=True):
            row[: len(prompt)] = prompt
        device = self.model.device
        at, tokens = torch.tensor(slots, device=device), torch.from_numpy(padded).to(device)
        lengths = torch.tensor([len(p[2]) for p in prompts], device=device)
        warmth = torch.tensor([[WARMTH if draw else 0.0] for _, draw, _ in prompts], device=device)
        step = _Whole(self.model, len(prompts), widest, self.cache, at)
        wanted = torch.arange(len(prompts), device=device) * widest + lengths - 1
        logits, _ = self.model.run(tokens.reshape(-1), step, wanted)
        self.tokens[at, :widest] = tokens
        self.begin[at], self.last[at], self.end[at], self.warmth[at] = lengths, lengths - 1, -1, warmth
        self._append(at, logits, warmth)
        for slot, (number, draw, _) in zip(slots, prompts, strict=True):
            self.owner[slot] = (number, draw)

    def _looping(self) -> Tensor:
        """Which slots' answers end in a loop, bool[slots]."""
        longest = LOOP_PERIODS * LOOP_TIMES
        back = torch.arange(longest - 1, -1, -1, device=self.model.device)
        at = self.last[:, None] - back
        window = self.tokens.gather(1, at.clamp(min=0))
        written = self.last + 1 - self.begin
        found = torch.zeros_like(written, dtype=torch.bool)
        for period in range(1, LOOP_PERIODS + 1):
            need = max(LOOP_TIMES * period, LOOP_LEAST)
            same = (window[:, longest - need : -period] == window[:, longest - need + period :]).all(1)
            found |= same & (written >= need)
        return found

    def _harvest(self) -> list[Text]:
        """Take the texts that ended out of their slots."""
        ends = torch.where(self._looping() & (self.end < 0), self.last, self.end)
        done = ends >= 0
        where, tokens = done.nonzero()[:, 0].tolist(), self.tokens[done].cpu().numpy()
        out = []
        for slot, row, end, begin in zip(
            where, tokens, ends[done].tolist(), self.begin[done].tolist(), strict=True
        ):
            owner = self.owner[slot]
            self.owner[slot] = None
            if owner is not None:
                out.append(Text(owner[0], owner[1], row[: end + 1].astype(np.int32), begin))
        return out


def write_texts(
    writer: BatchWriter,
    prompts: Iterator[tuple[int, int, list[int]]],
    *,
    most: int,
    until: float,
    report: Callable[[str], object] | None = None,
) -> list[Text]:
    """Collect texts until their answers have `most` tokens, the prompts or the time (`time.time()`) end."""
    texts: list[Text] = []
    tokens, began, said = 0, time.time(), time.time()

    def more() -> bool:
        return tokens < most and time.time() < until

    for ended in writer.run(prompts, more):
        texts += ended
        tokens += sum(len(t.tokens) - t.prompt_length for t in ended)
        if report and time.time() - said > 10:
            said = time.time()
            report(
                f"{tokens:,} answer tokens in {len(texts):,} texts, {tokens / (said - began):,.0f} a second"
            )
    return texts


def save_texts(path: Path, texts: list[Text]) -> None:
    """Keep texts; their tokens alone, so about two bytes a token."""
    with replacing(path) as temporary, temporary.open("wb") as out:
        np.savez(
            out,
            number=np.asarray([t.number for t in texts], np.int32),
            draw=np.asarray([t.draw for t in texts], np.int16),
            length=np.asarray([len(t.tokens) for t in texts], np.int32),
            prompt_length=np.asarray([t.prompt_length for t in texts], np.int32),
            tokens=np.concatenate([t.tokens for t in texts]) if texts else np.zeros(0, np.int32),
        )


def load_texts(path: Path) -> list[Text]:
    """Read what `save_texts` wrote."""
    with np.load(path) as file:
        data = {name: file[name] for name in file.files}
    pieces = np.split(data["tokens"], np.cumsum(data["length"])[:-1]) if len(data["length"]) else []
    owners = zip(data["number"].tolist(), data["draw"].tolist(), data["prompt_length"].tolist(), strict=True)
    return [Text(n, draw, own, begin) for own, (n, draw, begin) in zip(pieces, owners, strict=True)]
