"""Metadata of a packed batch: the cached tokens that each row attends to.

A step's rows lie packed: the rows of one request after those of another, each group a `Segment`. A segment
adds rows behind `context` cached tokens, as a chain (decode, prompt chunk) or as a tree (draft verification).
`AttentionPlan` is that made flat, once a step for all layers. Row i of a segment is stored at cache
position ``context + i`` of its request; its rotary position is ``context + depth``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

NO_LOGITS, LAST_LOGITS, ALL_LOGITS = "none", "last", "all"


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows of one request in a step.

    `blocks` is its block table, which covers ``context + rows`` tokens. `parents` int64[rows] makes the rows
    a tree: ``parents[i] < i``, -1 for a row right behind the context; None is a chain. `logits` says for
    which rows next-token logits are wanted.
    """

    blocks: Sequence[int]
    context: int
    rows: int
    parents: Int64 | None = None
    logits: str = LAST_LOGITS


@dataclass(frozen=True, slots=True)
class Span:
    """A segment's place among the packed rows: rows ``start:stop`` behind `context` cached tokens."""

    start: int
    stop: int
    context: int
    tree: bool
    blocks: Int64


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """One step's rows, flat; r rows of s segments.

    A row sees the first `seen[row]` cached tokens of its segment and, in a tree, the cache positions
    ``extra[extra_start[row]:extra_start[row + 1]]`` (its ancestors and itself).
    """

    positions: Int64  # [r] rotary positions
    slots: Int64  # [r] where the rows' keys and values go
    segment: Int32  # [r]
    seen: Int32  # [r]
    extra_start: Int32  # [r + 1]
    extra: Int32
    tables: Int32  # [s, most blocks], padded with 0
    spans: tuple[Span, ...]
    logit_rows: Int64
    block_tokens: int

    @property
    def rows(self) -> int:
        """Number of packed rows."""
        return len(self.positions)


def plan_attention(segments: Sequence[Segment], block_tokens: int) -> AttentionPlan:
    """Lay the rows of `segments` out flat, in the given order."""
    rows = np.array([s.rows for s in segments])
    starts = np.concatenate([[0], np.cumsum(rows)])
    tables = np.zeros((len(segments), max(len(s.blocks) for s in segments)), np.int32)
    positions = np.empty(starts[-1], np.int64)
    seen = np.empty(starts[-1], np.int32)
    extra: list[Int32] = []
    extra_length = np.zeros(starts[-1] + 1, np.int32)
    spans, wanted = [], []
    for i, s in enumerate(segments):
        start, stop = int(starts[i]), int(starts[i + 1])
        tables[i, : len(s.blocks)] = s.blocks
        steps = np.arange(s.rows)
        if s.parents is None:
            positions[start:stop] = s.context + steps
            seen[start:stop] = s.context + steps + 1
        else:
            lineage = _lineages(s.parents)
            for j, ancestors in enumerate(lineage):
                extra.append(np.asarray(ancestors, np.int32) + s.context)
                extra_length[start + j + 1] = len(ancestors)
                positions[start + j] = s.context + len(ancestors) - 1
            seen[start:stop] = s.context
        spans.append(Span(start, stop, s.context, s.parents is not None, tables[i].astype(np.int64)))
        if s.logits == ALL_LOGITS:
            wanted.append(np.arange(start, stop))
        elif s.logits == LAST_LOGITS:
            wanted.append(np.arange(stop - 1, stop))
    segment = np.repeat(np.arange(len(segments), dtype=np.int32), rows)
    return AttentionPlan(
        positions=positions,
        slots=_slots(segments, tables, segment, starts, block_tokens),
        segment=segment,
        seen=seen,
        extra_start=np.cumsum(extra_length, dtype=np.int32),
        extra=np.concatenate(extra).astype(np.int32) if extra else np.empty(0, np.int32),
        tables=tables,
        spans=tuple(spans),
        logit_rows=np.concatenate(wanted) if wanted else np.empty(0, np.int64),
        block_tokens=block_tokens,
    )


def _slots(
    segments: Sequence[Segment], tables: Int32, segment: Int32, starts: Int64, block_tokens: int
) -> Int64:
    context = np.array([s.context for s in segments])
    place = np.arange(starts[-1]) - starts[segment] + context[segment]  # cache position of each row
    blocks: Int64 = tables[segment, place // block_tokens].astype(np.int64)
    slots: Int64 = blocks * block_tokens + place % block_tokens
    return slots


def _lineages(parents: Int64) -> list[list[int]]:
    """Each row's ancestors and itself, oldest first."""
    lineages: list[list[int]] = []
    for i, parent in enumerate(parents.tolist()):
        if not -1 <= parent < i:
            raise AssertionError(f"parent {parent} of tree row {i} does not come before it")
        lineages.append([*(lineages[parent] if parent >= 0 else []), i])
    return lineages


def slots_of(blocks: Sequence[int], start: int, stop: int, block_tokens: int) -> Int64:
    """Cache slots of positions ``start:stop`` of a request with this block table; int64[stop - start]."""
    place = np.arange(start, stop)
    slots: Int64 = np.asarray(blocks, np.int64)[place // block_tokens] * block_tokens + place % block_tokens
    return slots
