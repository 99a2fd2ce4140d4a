"""The target model's own answers, with what its layers held while it wrote them: the draft head's training
corpus.

A batch of slots decodes together and a slot whose answer ended takes the next prompt, so a row never waits
for the longest answer of its batch. One pass gives everything the training needs: for every token of prompt
and answer the residual stream at the three taps and the last hidden state (from which the teacher's
distribution is one product). Answers that fall into a loop are cut where the loop shows; a loop teaches
nothing and flatters every drafter.

The corpus is a folder of `shard-00000.npz`, written atomically; a run resumes after the prompts that the
shards name.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class CorpusPrompt:
    """A rendered and tokenised prompt, and where it stands in the prompt file."""

    number: int
    workload: str
    tokens: list[int]


@dataclass
class Slot:
    """One row of the decoding batch."""

    prompt: CorpusPrompt
    tokens: list[int]
    temperature: float
    taps: list[Tensor] = field(default_factory=list)
    final: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """One prompt with its answer; taps float16[T, 3H] and final float16[T, H] for all but the last token."""

    prompt: CorpusPrompt
    tokens: list[int]
    taps: Tensor
    final: Tensor


def tap_layers(layers: int) -> tuple[int, int, int]:
    """Return the three layers at whose input the residual stream is tapped, as EAGLE-3 and DART do."""
    return 2, layers // 2, layers - 3


def loops(tokens: list[int], longest: int = 40, times: int = 3) -> bool:
    """Tell whether the end of `tokens` is one piece of at most `longest` tokens repeated `times` times.

    A piece shorter than four tokens has to repeat for at least twelve tokens.
    """
    for period in range(1, longest + 1):
        need = max(times * period, 12)
        if len(tokens) >= need and tokens[-need:-period] == tokens[-need + period :]:
            return True
    return False


class SlotCache:
    """Keys and values of all slots in one buffer per layer; rows are written where each slot has got to."""

    def __init__(self, model: Any, slots: int, length: int) -> None:
        config = model.config
        shape = (
            config.num_hidden_layers,
            slots,
            config.num_key_value_heads,
            length,
            model.model.layers[0].self_attn.head_dim,
        )
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        self.rows = torch.arange(slots)
        self.start = torch.zeros(slots, dtype=torch.long)
        self.width = 1

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object) -> tuple[Tensor, Tensor]:
        """Store keys and values [B, heads, T, D] of the chosen rows; return those rows up to the widest."""
        columns = self.start[:, None] + torch.arange(keys.shape[2])
        for buffer, new in ((self.keys[layer], keys), (self.values[layer], values)):
            buffer[self.rows[:, None], :, columns] = new.transpose(1, 2)
        whole = len(self.rows) == self.keys.shape[1]
        chosen = slice(None) if whole else self.rows
        return self.keys[layer][chosen, :, : self.width], self.values[layer][chosen, :, : self.width]


def grouped_attention(
    module: object,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention in which the query heads that share a key head are one product, so no key is copied."""
    batch, heads, width, dim = query.shape
    shared = key.shape[1]
    grouped = query.reshape(batch, shared, heads // shared * width, dim)
    scores = torch.matmul(grouped, key.transpose(2, 3)) * scaling
    scores = scores.view(batch, shared, heads // shared, width, -1)
    if mask is not None:
        scores = scores + mask[:, None]
    weights = scores.softmax(-1).view(batch, shared, heads // shared * width, -1)
    return torch.matmul(weights, value).view(batch, heads, width, dim).transpose(1, 2), None


class Bfloat16Linear(torch.nn.Module):
    """A linear layer whose product runs in bfloat16 while the residual stream around it stays float32.

    Twice the speed of float32 on a CPU with the AVX512 bfloat16 instructions. Only the corpus is written so:
    a token may differ now and then from what float32 would choose, which a draft may and a served answer may
    not.
    """

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(linear.weight.detach().bfloat16(), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Multiply x [..., in] in bfloat16; float32 comes back."""
        product = torch.nn.functional.linear(x.bfloat16(), self.weight).float()
        return product if self.bias is None else product + self.bias


def halve(model: Any) -> None:
    """Replace every linear layer of a transformers model by its bfloat16 twin, in place."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Linear):
                setattr(parent, name, Bfloat16Linear(child))


class Writer:
    """Decodes many answers at once with a transformers model of the Llama, Qwen2 or Qwen3 family."""

    def __init__(self, model: Any, *, slots: int, length: int, stop: set[int], seed: int) -> None:
        from transformers import AttentionInterface

        AttentionInterface.register("grouped", grouped_attention)
        for layer in model.model.layers:
            # A copy: the configuration may be shared with models that attend in their own way.
            layer.self_attn.config = copy.copy(layer.self_attn.config)
            layer.self_attn.config._attn_implementation = "grouped"
        self.model, self.stop, self.length = model, stop, length
        self.cache = SlotCache(model, slots, length)
        self.slots: list[Slot | None] = [None] * slots
        self.lengths = torch.zeros(slots, dtype=torch.long)
        self.generator = torch.Generator().manual_seed(seed)
        self.taps = tap_layers(model.config.num_hidden_layers)

    def forward(self, tokens: Tensor, rows: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Run tokens [B, T] of the slots `rows` from `start`; return taps [B, T, 3H], final [B, T, H]."""
        positions = start[:, None] + torch.arange(tokens.shape[1])
        cache = self.cache
        cache.rows, cache.start, cache.width = rows, start, int(positions.max()) + 1
        allowed = torch.arange(cache.width) <= positions[:, :, None]
        mask = torch.zeros(allowed.shape).masked_fill(~allowed, float("-inf"))[:, None]
        inner = self.model.model
        hidden = inner.embed_tokens(tokens)
        turned = inner.rotary_emb(hidden, position_ids=positions)
        taps = []
        for number, layer in enumerate(inner.layers):
            if number in self.taps:
                taps.append(hidden)
            hidden = layer(hidden, attention_mask=mask, position_embeddings=turned, past_key_values=cache)
        return torch.cat(taps, -1), inner.norm(hidden)

    def admit(self, prompts: list[CorpusPrompt]) -> None:
        """Prefill prompts into free slots; every second prompt of a workload is sampled, the others not."""
        free = [i for i, slot in enumerate(self.slots) if slot is None][: len(prompts)]
        widest = max(len(p.tokens) for p in prompts)
        tokens = torch.zeros(len(prompts), widest, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt.tokens)] = torch.tensor(prompt.tokens)
        rows = torch.tensor(free)
        taps, final = self.forward(tokens, rows, torch.zeros(len(free), dtype=torch.long))
        for row, (place, prompt) in enumerate(zip(free, prompts, strict=True)):
            n = len(prompt.tokens)
            slot = Slot(prompt, list(prompt.tokens), temperature=0.7 * (prompt.number // 4 % 2))
            slot.taps.append(taps[row, :n].half())
            slot.final.append(final[row, :n].half())
            self.slots[place] = slot
            self.lengths[place] = n
            slot.tokens.append(self.pick(final[row : row + 1, n - 1], [slot])[0])

    def pick(self, final: Tensor, slots: list[Slot]) -> list[int]:
        """Choose each row's next token: the likeliest, or a draw at the slot's temperature."""
        logits = self.model.lm_head(final)
        best = logits.argmax(-1)
        drawn = [i for i, slot in enumerate(slots) if slot.temperature > 0]
        if drawn:
            warm = torch.stack([logits[i] / slots[i].temperature for i in drawn]).softmax(-1).cumsum(-1)
            coin = torch.rand(len(drawn), 1, generator=self.generator) * warm[:, -1:]
            best[drawn] = torch.searchsorted(warm, coin)[:, 0].clamp(max=warm.shape[1] - 1)
        return list(map(int, best.tolist()))

    def step(self) -> list[Answer]:
        """One token for every occupied slot; return the answers that ended."""
        active = [(i, slot) for i, slot in enumerate(self.slots) if slot is not None]
        rows = torch.tensor([i for i, _ in active])
        tokens = torch.tensor([[slot.tokens[-1]] for _, slot in active])
        taps, final = self.forward(tokens, rows, self.lengths[rows])
        self.lengths[rows] += 1
        picked = self.pick(final[:, 0], [slot for _, slot in active])
        done = []
        for row, ((place, slot), token) in enumerate(zip(active, picked, strict=True)):
            slot.taps.append(taps[row].half())
            slot.final.append(final[row].half())
            ended = not self.stop.isdisjoint((slot.tokens[-1], token))
            slot.tokens.append(token)
            written = slot.tokens[len(slot.prompt.tokens) :]
            if ended or len(slot.tokens) >= self.length or loops(written):
                done.append(Answer(slot.prompt, slot.tokens, torch.cat(slot.taps), torch.cat(slot.final)))
                self.slots[place] = None
        return done

    def free(self) -> int:
        """Return how many slots wait for a prompt."""
        return sum(slot is None for slot in self.slots)


def answers(writer: Writer, prompts: Iterator[CorpusPrompt], refill: int) -> Iterator[Answer]:
    """Answer every prompt; free slots are refilled `refill` at a time, so that prefills are batched too."""
    waiting = True
    while True:
        while waiting and writer.free() >= refill:
            taken = list(itertools.islice(prompts, refill))
            waiting = len(taken) == refill
            if taken:
                writer.admit(taken)
        if writer.free() == len(writer.slots):
            return
        yield from writer.step()


def save_shard(path: Path, shard: list[Answer]) -> None:
    """Write one shard: tokens int32, offsets into them, taps and final hidden states as float16."""
    whole = [np.asarray(a.tokens, dtype=np.int32) for a in shard]
    # The last token of an answer was never fed, so it has no hidden state; a row of zeros keeps one offset
    # table.
    pad = [torch.cat([a.taps, a.taps.new_zeros(len(a.tokens) - len(a.taps), a.taps.shape[1])]) for a in shard]
    last = [
        torch.cat([a.final, a.final.new_zeros(len(a.tokens) - len(a.final), a.final.shape[1])]) for a in shard
    ]
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as out:
        np.savez(
            out,
            tokens=np.concatenate(whole),
            offsets=np.cumsum([0, *map(len, whole)]),
            prompt_length=np.asarray([len(a.prompt.tokens) for a in shard]),
            number=np.asarray([a.prompt.number for a in shard]),
            workload=np.asarray([a.prompt.workload for a in shard]),
            taps=torch.cat(pad).numpy(),
            final=torch.cat(last).numpy(),
        )
    temporary.replace(path)


def read_prompts(path: Path, tokenizer: Any, done: set[int], longest: int) -> Iterator[CorpusPrompt]:
    """Render and tokenise the prompts not yet answered, in the file's order, without too long ones."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        if number in done:
            continue
        row = json.loads(line)
        text = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, tokenize=False)
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(tokens) <= longest:
            yield CorpusPrompt(number, row["workload"], tokens)


def by_length(prompts: Iterator[CorpusPrompt], window: int) -> Iterator[CorpusPrompt]:
    """Sort each window of prompts by length, so that a prefill batch is hardly padded."""
    while taken := list(itertools.islice(prompts, window)):
        yield from sorted(taken, key=lambda p: (len(p.tokens), p.number))


def shard_paths(folder: Path) -> list[Path]:
    """Return the shards of a corpus, oldest first."""
    return sorted(folder.glob("shard-*.npz"))


@torch.inference_mode()
def write_corpus(
    model: Any,
    tokenizer: Any,
    prompts: Path,
    folder: Path,
    *,
    slots: int = 48,
    longest_prompt: int = 320,
    length: int = 512,
    stop: set[int],
    per_shard: int = 64,
    until: float = float("inf"),
    report: Any = None,
) -> int:
    """Answer the prompts of a file into a folder of shards until they or the time (`time.time()`) end.

    Returns the number of answer tokens written in this run. Unfinished answers of a stopped run are not kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done: set[int] = set()
    for path in shard_paths(folder):
        with np.load(path) as shard:
            done.update(map(int, shard["number"]))
    writer = Writer(model, slots=slots, length=length, stop=stop, seed=len(done))
    pending = by_length(read_prompts(prompts, tokenizer, done, longest_prompt), 4 * slots)
    written, began, batch = 0, time.time(), list[Answer]()
    for answer in answers(writer, pending, refill=max(1, slots // 8)):
        batch.append(answer)
        written += len(answer.tokens) - len(answer.prompt.tokens)
        if len(batch) == per_shard:
            save_shard(folder / f"shard-{len(shard_paths(folder)):05d}.npz", batch)
            batch = []
            if report:
                report(f"{written:,} answer tokens, {written / (time.time() - began):.0f} a second")
        if time.time() > until:
            break
    if batch:
        save_shard(folder / f"shard-{len(shard_paths(folder)):05d}.npz", batch)
    return written
