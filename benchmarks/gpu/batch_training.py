"""Train a draft head on token texts alone, batch by batch: the target's states are computed in the same step.

On a GPU one pass of the target costs less than keeping its states (10 kB a token) would, so a corpus is its tokens.
The loss is that of `serve.spec_decode.training.losses`, with the same masks and teacher, over B texts of one padded
length instead of one text.
The learning rate falls linearly to zero over the steps or the time given, whichever ends first.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu.batch_decoding import Text, states
from serve.model.decoder import Model
from serve.spec_decode.dart_head import DraftHead, HeadConfig
from serve.spec_decode.training.losses import Losses, Target, block_mask, weighted_kl
from serve.spec_decode.training.train import Settings


@dataclass(frozen=True, slots=True)
class Batch:
    """B texts side by side: tokens int64[B, T] padded at their ends, lengths and prompts' lengths int64[B]."""

    tokens: Tensor
    length: Tensor
    prompt: Tensor

    @classmethod
    def of(cls, texts: Sequence[Text], device: torch.device, multiple: int = 32) -> Batch:
        """Pad texts to one length that `multiple` divides."""
        widest = -(-max(len(t.tokens) for t in texts) // multiple) * multiple
        padded = np.zeros((len(texts), widest), np.int64)
        for row, text in zip(padded, texts, strict=True):
            row[: len(text.tokens)] = text.tokens
        return cls(
            torch.from_numpy(padded).to(device),
            torch.tensor([len(t.tokens) for t in texts], device=device),
            torch.tensor([t.prompt_length for t in texts], device=device),
        )


def batches(texts: Sequence[Text], rows: int, rng: random.Random) -> Iterator[list[Text]]:
    """Go through the texts once, in batches of at most `rows` padded rows: random, but of alike lengths."""
    order = list(texts)
    rng.shuffle(order)
    pool = 4096
    for start in range(0, len(order), pool):
        near = sorted(order[start : start + pool], key=lambda t: len(t.tokens))
        made: list[list[Text]] = [[]]
        for text in near:
            if (len(made[-1]) + 1) * (-(-len(text.tokens) // 32) * 32) > rows and made[-1]:
                made.append([])
            made[-1].append(text)
        rng.shuffle(made)
        yield from made


def pick_anchors(batch: Batch, count: int, generator: torch.Generator) -> Tensor:
    """Rows of the answers at which blocks start, int64[B, count]; one may come twice in a short answer."""
    first, last = batch.prompt - 1, batch.length - 3
    share = torch.rand(len(first), count, device=first.device, generator=generator)
    return first[:, None] + (share * (last - first + 1)[:, None]).long()


def attend(head: DraftHead, q: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> Tensor:
    """Attention of q [B, R, heads, w] over k, v [B, S, kv_heads, w] where `visible` bool[B, R, S]; [B R, heads w]."""
    group = head.config.heads // head.config.kv_heads
    keys, values = (x.repeat_interleave(group, 2).transpose(1, 2) for x in (k, v))
    out = F.scaled_dot_product_attention(q.transpose(1, 2), keys, values, attn_mask=visible[:, None])
    return out.transpose(1, 2).reshape(q.shape[0] * q.shape[1], -1)


def _by_text(rows: Tensor, texts: int) -> Tensor:
    """Rows [B R, ...] as [B, R, ...]."""
    return rows.reshape(texts, -1, *rows.shape[1:])


@dataclass(frozen=True, slots=True)
class Rows:
    """Outputs of the head that are judged, [N, H]: of text `text`, at depth `depth`, against the teacher's row."""

    hidden: Tensor
    text: Tensor
    depth: Tensor
    teacher_row: Tensor


class BatchTrainer:
    """A head and its optimizer on the target's device.

    Parameters
    ----------
    model
        The target; its precision is the teacher's.
    target
        Its embedding, its output rows of the reduced vocabulary.
    head
        The head, on the same device.
    settings
        Depth, gamma, anchors, learning rate and warm-up of `serve.spec_decode.training.train`.
    rows
        Padded rows of texts in one step.
    """

    def __init__(
        self, model: Model, target: Target, head: DraftHead, settings: Settings, rows: int = 16_384
    ) -> None:
        self.model, self.target, self.head, self.settings, self.rows = model, target, head, settings, rows
        self.optimizer = torch.optim.AdamW(
            head.parameters(), lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.01
        )
        self.generator = torch.Generator(model.device).manual_seed(settings.seed)
        self.steps = self.answer_tokens = 0
        self.curve: list[dict[str, Any]] = []

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.model.device

    def losses(self, batch: Batch, anchors: Tensor) -> Losses:
        """Losses of one batch with a block at every anchor; products in bfloat16 on a GPU."""
        taps, final = (x.clone() for x in states(self.model, batch.tokens[:, :-1]))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            run = self._rollout if self.head.config.autoregressive else self._masked
            rows = run(batch, taps, anchors)
            return self._judge(batch, final, rows)

    def _real(self, batch: Batch, taps: Tensor) -> tuple[Tensor, Tensor]:
        """Features g [B, T, H] and attention input z [B, T, 2H] of the real rows, T one less than the texts'."""
        g = self.head.fc(taps.float())
        return g, self.head.real_rows(g, self.target.embedding[batch.tokens[:, 1:]])

    def _masked(self, batch: Batch, taps: Tensor, anchors: Tensor) -> Rows:
        """DART: the real rows and a block of masks per anchor, in one pass."""
        head, c = self.head, self.head.config
        g, z = self._real(batch, taps)
        texts, real, h = g.shape
        masks = c.depth - 1
        count = anchors.shape[1] * masks
        ahead = torch.arange(1, masks + 1, device=g.device).repeat(anchors.shape[1])
        at = anchors.repeat_interleave(masks, 1) + ahead
        position = torch.cat([torch.arange(real, device=g.device).expand(texts, real), at], 1)
        residual = torch.cat([g, head.mask[:h].to(g.dtype).expand(texts, count, h)], 1)
        z = torch.cat([z, head.mask.to(z.dtype).expand(texts, count, 2 * h)], 1)
        flat, where = z.flatten(0, 1), position.flatten()
        keys, values = (_by_text(x, texts) for x in head.keys_values(flat, where))
        query = _by_text(head.queries(flat, where), texts)
        attended = attend(head, query, keys, values, block_mask(real, anchors, masks))
        hidden = _by_text(head.finish(residual.flatten(0, 1), attended), texts)
        first = torch.ones(real, dtype=torch.long, device=g.device)
        depth = torch.cat([first, ahead + 1]).expand(texts, -1)
        return self._kept(batch, hidden, depth, position + 1, real)

    def _rollout(self, batch: Batch, taps: Tensor, anchors: Tensor) -> Rows:
        """EAGLE-style: the real rows once, then the anchors step by step on the layer's own output."""
        head = self.head
        g, z = self._real(batch, taps)
        texts, real, _ = g.shape
        device = g.device
        where = torch.arange(real, device=device).expand(texts, real)
        flat = z.flatten(0, 1)
        keys, values = (_by_text(x, texts) for x in head.keys_values(flat, where.flatten()))
        query = _by_text(head.queries(flat, where.flatten()), texts)
        causal = torch.ones(real, real, dtype=torch.bool, device=device).tril().expand(texts, -1, -1)
        attended = attend(head, query, keys, values, causal)
        hidden = _by_text(head.finish(g.flatten(0, 1), attended), texts)
        outputs, depths, teachers = [hidden], [torch.ones_like(where)], [where + 1]
        state = hidden.gather(1, anchors[..., None].expand(-1, -1, hidden.shape[-1]))
        visible = torch.arange(real, device=device) <= anchors[:, :, None]
        own = torch.eye(anchors.shape[1], dtype=torch.bool, device=device).expand(texts, -1, -1)
        for t in range(2, head.config.depth + 1):
            fed = batch.tokens.gather(1, (anchors + t).clamp(max=batch.tokens.shape[1] - 1))
            z = head.real_rows(state, self.target.embedding[fed]).flatten(0, 1)
            place = (anchors + t - 1).flatten()
            more = (_by_text(x, texts) for x in head.keys_values(z, place))
            keys, values = (torch.cat([a, b], 1) for a, b in zip((keys, values), more, strict=True))
            visible = torch.cat([visible, own], 2)
            query = _by_text(head.queries(z, place), texts)
            attended = attend(head, query, keys, values, visible)
            state = _by_text(head.finish(state.flatten(0, 1), attended), texts)
            outputs.append(state)
            depths.append(torch.full_like(anchors, t))
            teachers.append(anchors + t)
        return self._kept(batch, torch.cat(outputs, 1), torch.cat(depths, 1), torch.cat(teachers, 1), real)

    def _kept(self, batch: Batch, hidden: Tensor, depth: Tensor, teacher: Tensor, real: int) -> Rows:
        """The rows that predict a token of their text's answer; hidden [B, R, H], the others [B, R]."""
        inside = teacher <= batch.length[:, None] - 2
        inside[:, :real] &= teacher[:, :real] >= batch.prompt[:, None]
        text, row = inside.nonzero(as_tuple=True)
        return Rows(hidden[text, row], text, depth[text, row], teacher[text, row])

    def _judge(self, batch: Batch, final: Tensor, rows: Rows) -> Losses:
        """Compare with the teacher; its distribution is computed once for each row that any depth asks for."""
        wanted = self.target.place[batch.tokens[rows.text, rows.teacher_row + 1]]
        flat = rows.text * final.shape[1] + rows.teacher_row
        asked, place = flat.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            teacher = (final.flatten(0, 1)[asked].float() @ self.target.head.T).log_softmax(-1)
        known = wanted >= 0
        draft = self.head.logits(rows.hidden[known])
        s = self.settings
        return weighted_kl(draft, teacher[place[known]], wanted[known], rows.depth[known], s.depth, s.gamma)

    def step(self, texts: Sequence[Text], left: float) -> None:
        """One optimizer step; `left` is the share of the run that is left."""
        s = self.settings
        rate = s.learning_rate * min(1.0, (self.steps + 1) / s.warmup) * left
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = Batch.of(texts, self.device)
        losses = self.losses(batch, pick_anchors(batch, s.anchors, self.generator))
        losses.total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        self.answer_tokens += sum(len(t.tokens) - t.prompt_length for t in texts)

    def train(
        self,
        texts: Sequence[Text],
        heldout: Sequence[Text],
        *,
        until: float,
        epochs: int = 1,
        steps: int | None = None,
        report: Callable[[dict[str, Any]], object] | None = None,
        every_s: float = 30.0,
    ) -> None:
        """Descend until the epochs, the `steps` or the time (`time.time()`) are over; note a point every `every_s`."""
        began = said = time.time()
        rng = random.Random(self.settings.seed)
        planned = [b for _ in range(epochs) for b in batches(texts, self.rows, rng)][:steps]
        for done, batch in enumerate(planned):
            now = time.time()
            left = min(1 - done / len(planned), (until - now) / max(until - began, 1e-9))
            if left <= 0:
                break
            self.step(batch, left)
            if report and time.time() - said > every_s:
                said = time.time()
                self.curve.append(self.validate(heldout) | {"seconds": round(time.time() - began, 1)})
                report(self.curve[-1])
        self.curve.append(self.validate(heldout) | {"seconds": round(time.time() - began, 1)})
        if report:
            report(self.curve[-1])

    @torch.no_grad()
    def validate(self, heldout: Sequence[Text], most: int = 256) -> dict[str, Any]:
        """Loss and accuracy by position on texts of prompts that are not trained on."""
        generator = torch.Generator(self.device).manual_seed(1)
        depth = self.head.config.depth
        sums = torch.zeros(3, depth, dtype=torch.float64, device=self.device)
        for texts in batches(list(heldout)[:most], self.rows, random.Random(1)):
            batch = Batch.of(texts, self.device)
            losses = self.losses(batch, pick_anchors(batch, 16, generator))
            sums += torch.stack([losses.kl, losses.hits, losses.count])
        kl, hits, count = sums.cpu()
        count = count.clamp(min=1)
        weights = self.settings.gamma ** torch.arange(depth, dtype=torch.float64)
        return {
            "answer_tokens": self.answer_tokens,
            "steps": self.steps,
            "loss": round(float((weights * kl / count).sum()), 4),
            "accuracy": [round(x, 4) for x in (hits / count).tolist()],
            "validation_answers": min(len(heldout), most),
        }


def new_head(
    model: Model, config: Any, tensors: dict[str, Tensor], ids: Tensor, depth: int, *, autoregressive: bool
) -> tuple[DraftHead, Target]:
    """A head that starts from the target's output rows, and what it is taught by, both on the model's device."""
    shape = HeadConfig.of(config, len(ids), depth, autoregressive=autoregressive)
    head = DraftHead(shape, ids)
    head.warm_start(tensors)
    return head.to(model.device), Target.of(tensors, ids).to(model.device)
