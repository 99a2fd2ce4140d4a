"""The rows of one step: decoding requests with their drafts, and prompt chunks, packed into one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from serve.kv_cache.attention_metadata import (
    ALL_LOGITS,
    LAST_LOGITS,
    NO_LOGITS,
    AttentionPlan,
    Segment,
    plan_attention,
    slots_of,
)
from serve.request import Request
from serve.scheduling.scheduler import Schedule
from serve.spec_decode.proposer import DraftTree, Int64, Observed
from serve.spec_decode.verify import Accepted


@dataclass(frozen=True, slots=True)
class Round:
    """One request's rows of a step: packed rows ``start:stop``, its logits from `logits` on (-1: none wanted)."""

    request: Request
    tree: DraftTree
    start: int
    stop: int
    logits: int
    decode: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Input of the model's forward: `tokens` int64[rows], and the plan of their attention."""

    rounds: list[Round]
    tokens: Int64
    plan: AttentionPlan


def pack(schedule: Schedule, trees: Sequence[DraftTree], block_tokens: int) -> Batch:
    """Lay out a schedule; `trees` holds the draft of each decoding request."""
    segments: list[Segment] = []
    tokens: list[Sequence[int] | Int64] = []
    rounds: list[Round] = []
    row = logit = 0
    for request, tree in zip(schedule.decodes, trees, strict=True):
        n = 1 + len(tree)
        parents = np.concatenate([[-1], tree.parents + 1]) if n > 1 else None
        segments.append(Segment(request.blocks, request.computed, n, parents, ALL_LOGITS))
        tokens += [request.tokens[-1:], tree.tokens]
        rounds.append(Round(request, tree, row, row + n, logit, decode=True))
        row, logit = row + n, logit + n
    for chunk in schedule.chunks:
        r = chunk.request
        last = chunk.rows == r.pending and r.params.max_tokens > 0
        segments.append(Segment(r.blocks, r.computed, chunk.rows, None, LAST_LOGITS if last else NO_LOGITS))
        tokens.append(r.tokens[r.computed : r.computed + chunk.rows])
        first_logit = logit if last else -1
        rounds.append(Round(r, DraftTree.empty(), row, row + chunk.rows, first_logit, decode=False))
        row, logit = row + chunk.rows, logit + last
    flat = np.concatenate([np.asarray(t, np.int64) for t in tokens])
    return Batch(rounds, flat, plan_attention(segments, block_tokens))


def observed(
    committed: Sequence[tuple[Round, Accepted]], taps: torch.Tensor | None, block_tokens: int
) -> list[Observed]:
    """What a proposer is shown of a step: the committed rows of each request that goes on."""
    shown = []
    for item, accepted in committed:
        request = item.request
        if request.finish_reason is not None:
            continue
        if item.decode:
            rows = [item.start, *(item.start + 1 + node for node in accepted.nodes)]
        else:
            rows = list(range(item.start, item.stop))
        start = request.computed - len(rows)
        slots = slots_of(request.blocks, start, request.computed, block_tokens)
        own = None if taps is None else taps[rows]
        shown.append(Observed(request, start, slots, own, len(item.tree), len(accepted.nodes)))
    return shown
