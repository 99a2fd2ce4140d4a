"""The loss of a draft head: position-decayed KL over prefix-isolated mask blocks.

For many prefixes n of one answer a block of d - 1 mask rows is attached and all run in one pass. Block n sees the
real rows up to n and its own earlier rows. Blocks never see each other or later real rows, and real rows never see a
block. So each block computes what drafting computes at that prefix. The loss is

    sum_{t=1..d} gamma^(t-1) mean_n KL( P_target(. | x_{<=n+t}) || Q_t(. | prefix n) )

with the teacher on the true history, both over the reduced vocabulary. Positions whose true token is outside
that vocabulary are masked. Every row of the answer gives the t = 1 term, a sample of them the others.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from serve.spec_decode.dart_head import DraftHead


@dataclass(frozen=True, slots=True)
class Answered:
    """One prompt with its answer: tokens int64[T]; taps [T, 3H] and final [T, H] float16, the last row unused."""

    tokens: Tensor
    prompt_length: int
    taps: Tensor
    final: Tensor
    number: int
    draw: int = 0  # 0 is the greedy answer

    @property
    def usable(self) -> bool:
        """Whether there is anything to predict."""
        return len(self.tokens) - self.prompt_length >= 3

    def to(self, device: torch.device) -> Answered:
        """Copy the tensors of this answer to a device."""
        tokens, taps, final = (x.to(device) for x in (self.tokens, self.taps, self.final))
        return replace(self, tokens=tokens, taps=taps, final=final)


def block_mask(real: int, anchors: Tensor, masks: int) -> Tensor:
    """Who sees whom in each text: bool[B, R, R] for `real` rows and one block of `masks` rows per anchor [B, N]."""
    texts, count = anchors.shape
    device = anchors.device
    anchor_rows = anchors.repeat_interleave(masks, 1)
    block = torch.arange(count, device=device).repeat_interleave(masks)
    order = torch.arange(masks, device=device).repeat(count)
    total = real + count * masks
    visible = torch.zeros(texts, total, total, dtype=torch.bool, device=device)
    visible[:, :real, :real] = torch.ones(real, real, dtype=torch.bool, device=device).tril()
    visible[:, real:, :real] = torch.arange(real, device=device) <= anchor_rows[:, :, None]
    visible[:, real:, real:] = (block[:, None] == block) & (order[:, None] >= order)
    return visible


@dataclass(frozen=True)
class Target:
    """The parts of the target model that training reads and never changes."""

    embedding: Tensor  # [V, H]
    head: Tensor  # [V_draft, H]: the output rows of the reduced vocabulary
    place: Tensor  # int64[V]: index in the reduced vocabulary, -1 outside

    @classmethod
    def of(cls, tensors: dict[str, Tensor], draft_ids: Tensor) -> Target:
        """Pick them from a state dict."""
        embedding = tensors["model.embed_tokens.weight"].float()
        place = torch.full((len(embedding),), -1, device=embedding.device)
        place[draft_ids] = torch.arange(len(draft_ids), device=embedding.device)
        return cls(embedding, tensors.get("lm_head.weight", embedding)[draft_ids].float(), place)

    def to(self, device: torch.device) -> Target:
        """Copy the tensors of the target to a device."""
        return Target(self.embedding.to(device), self.head.to(device), self.place.to(device))


@dataclass(frozen=True, slots=True)
class Losses:
    """What one answer gives: the loss to descend, and per position t summed KL, hits and counts, float64[d] each."""

    total: Tensor
    kl: Tensor
    hits: Tensor
    count: Tensor


def answer_losses(
    head: DraftHead, target: Target, answer: Answered, anchors: Sequence[int], gamma: float
) -> Losses:
    """Run one answer with a mask block at every anchor row.

    Row j is token x_j with the embedding of x_{j+1}; at depth t it predicts x_{j+t+1}, whose teacher is the
    target's hidden state at x_{j+t}.
    """
    tokens, last = answer.tokens, len(answer.tokens) - 2  # the last row with a hidden state
    real, masks = last, head.config.depth - 1
    g = head.fc(answer.taps[:real].float())
    z = head.real_rows(g, target.embedding[tokens[1 : real + 1]])
    device = tokens.device
    anchor_rows = torch.as_tensor(anchors, dtype=torch.long, device=device)
    ahead = torch.arange(1, masks + 1, device=device).repeat(len(anchor_rows))
    positions = torch.cat([torch.arange(real, device=device), anchor_rows.repeat_interleave(masks) + ahead])
    h = head.config.hidden
    residual = torch.cat([g, head.mask[:h].expand(len(ahead), h).to(g.dtype)])
    z = torch.cat([z, head.mask.expand(len(ahead), 2 * h).to(z.dtype)])
    keys, values = head.keys_values(z, positions)
    # The prompt's rows are only seen; the rows from which something is predicted look.
    first = answer.prompt_length - 1
    looking, positions = z[first:], positions[first:]
    visible = block_mask(real, anchor_rows[None], masks)[0, first:]
    attended = head.attend(head.queries(looking, positions), keys, values, visible)
    rows = head.finish(residual[first:], attended)
    depth = torch.cat([torch.ones(real - first, dtype=torch.long, device=device), ahead + 1])
    teacher_row = positions + 1
    inside = teacher_row <= last
    rows, depth, teacher_row = rows[inside], depth[inside], teacher_row[inside]
    return decayed_kl(head, target, answer, rows, depth, teacher_row, gamma)


def decayed_kl(
    head: DraftHead,
    target: Target,
    answer: Answered,
    rows: Tensor,
    depth: Tensor,
    teacher_row: Tensor,
    gamma: float,
) -> Losses:
    """Position-decayed KL of draft rows [R, H] at depths [R] against the target's states at `teacher_row` [R]."""
    wanted = target.place[answer.tokens[teacher_row + 1]]
    known = wanted >= 0
    rows, depth, teacher_row, wanted = rows[known], depth[known], teacher_row[known], wanted[known]
    low = int(teacher_row.min()) if len(teacher_row) else 0
    with torch.no_grad():
        teacher = (answer.final[low:].float() @ target.head.T).log_softmax(-1)[teacher_row - low]
    return weighted_kl(head.logits(rows), teacher, wanted, depth, head.config.depth, gamma)


def weighted_kl(
    draft: Tensor, teacher: Tensor, wanted: Tensor, depth: Tensor, depths: int, gamma: float
) -> Losses:
    """Position-decayed KL of draft logits [R, V_draft] against the teacher's log-probabilities [R, V_draft].

    `wanted` int64[R] are the true tokens' places in the reduced vocabulary, `depth` int64[R] from 1 to `depths`.
    """
    d, device = depths, draft.device
    draft = draft.float().log_softmax(-1)
    kl = F.kl_div(draft, teacher, reduction="none", log_target=True).sum(-1)
    count = torch.bincount(depth - 1, minlength=d).double()
    summed = torch.zeros(d, device=device).index_add(0, depth - 1, kl)
    weights = gamma ** torch.arange(d, device=device)
    total = (weights * summed / count.clamp(min=1)).sum()
    hits = torch.bincount(depth - 1, weights=(draft.argmax(-1) == wanted).double(), minlength=d)
    return Losses(total, summed.detach().double(), hits, count)


def pick_anchors(answer: Answered, count: int, rng: random.Random) -> list[int]:
    """Choose the answer rows at which blocks start, ascending."""
    rows = range(answer.prompt_length - 1, len(answer.tokens) - 2)
    return sorted(rng.sample(rows, min(count, len(rows))))
