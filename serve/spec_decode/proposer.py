"""The seam of speculative decoding: a `Proposer` drafts a `DraftTree` per request, the engine verifies it.

One round of the engine, for all decoding requests at once: `propose` -> one target forward over the last
committed token (the root) and the draft nodes -> verification -> accepted rows are compacted in the cache ->
`observe`. Plain decoding is the engine without a proposer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from serve.request import Request

if TYPE_CHECKING:
    import torch

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DraftTree:
    """A tree of drafted tokens below the last committed token (the root, which is not a node).

    `tokens` int64[n]; `parents` int64[n] with ``-1 <= parents[i] < i``, -1 meaning the root. Siblings are distinct.
    """

    tokens: Int64
    parents: Int64

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def empty(cls) -> DraftTree:
        """No draft: the request decodes plainly this round."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))

    @classmethod
    def chain(cls, tokens: Sequence[int]) -> DraftTree:
        """One path, each token below the one before it."""
        return cls(np.asarray(tokens, np.int64), np.arange(-1, len(tokens) - 1, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Observed:
    """Rows of one request that a target forward has just computed and that are committed now.

    Row j stands for token ``request.tokens[start + j]``. `taps` is its residual stream at the tapped layers,
    float[rows, n_taps * hidden] (None unless the proposer wants taps), `slots` its place in the paged cache.
    The token after the last row is already in ``request.tokens`` where the request decodes. In the middle of
    a chunked prompt it is the next prompt token. Draft keys and values can be kept at the same slots, so
    prefix reuse carries over. Rows whose prefix came from the cache are never observed.
    After a verified tree the rows are the root and the accepted nodes: `accepted` counts those nodes out of
    `drafted`, both 0 for prefill.
    """

    request: Request
    start: int
    slots: Int64
    taps: torch.Tensor | None
    drafted: int
    accepted: int


@dataclass(frozen=True, slots=True)
class RoundTiming:
    """Milliseconds of one engine round, for a proposer that sizes its trees by measurement.

    `decode_requests` requests took part with `rows` target rows; `prefill_rows` rows of prompts rode along.
    """

    draft_ms: float
    forward_ms: float
    verify_ms: float
    decode_requests: int
    rows: int
    prefill_rows: int


class Proposer(Protocol):
    """Drafts continuations for many requests at once. Called on the engine thread only."""

    @property
    def wants_taps(self) -> bool:
        """Whether `Observed.taps` must be filled."""
        ...

    def propose(self, requests: Sequence[Request], budgets: Sequence[int]) -> list[DraftTree]:
        """Return one tree per decoding request, of at most its budget of nodes (0 forbids drafting).

        No path may be longer than its budget either; the engine sets the budget from ``max_tokens`` and
        the free cache blocks.
        """
        ...

    def observe(self, observed: Sequence[Observed]) -> None:
        """Take in what the last target forward computed, prefill chunks included, in row order."""
        ...

    def timed(self, timing: RoundTiming) -> None:
        """Take in how long the last round took."""
        ...

    def release(self, request: Request) -> None:
        """Forget a request that finished, was cancelled, or was preempted (it may come back from its start)."""
        ...
