"""Prompt lookup, the simplest drafter: what followed the last time the text ended like this (a chain, no model)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serve.request import Request
from serve.spec_decode.proposers import Sized
from serve.spec_decode.tree import Candidates


class LookupProposer(Sized):
    """Copies what stood behind the most recent earlier occurrence of the last `longest`, or fewer, tokens."""

    longest = 3

    def __init__(self, *, nodes: int | None = 8) -> None:
        super().__init__(nodes)

    def candidates(self, requests: Sequence[Request], budgets: Sequence[int]) -> list[tuple[Candidates, ...]]:
        """One chain per request; every node has the same confidence before it is calibrated."""
        chains: list[tuple[Candidates, ...]] = []
        for request, budget in zip(requests, budgets, strict=True):
            length = min(8 if self.nodes is None else self.nodes, budget)
            tokens = lookup(request.tokens, self.longest, length)
            parents = np.arange(-1, len(tokens) - 1, dtype=np.int64)
            chains.append((Candidates(np.asarray(tokens, np.int64), parents, np.full(len(tokens), 0.75)),))
        return chains


def lookup(tokens: Sequence[int], longest: int, length: int) -> list[int]:
    """Return up to `length` tokens that followed the latest earlier occurrence of the text's end; [] if none."""
    text = np.asarray(tokens)
    for n in range(min(longest, len(text) - 1), 0, -1):
        windows = np.lib.stride_tricks.sliding_window_view(text[:-1], n)
        found = np.flatnonzero((windows == text[-n:]).all(1))
        if len(found):
            start = int(found[-1]) + n
            return [int(t) for t in text[start : start + length]]
    return []
