"""Draft methods that the product does not have, for comparison: the EAGLE-style head, and SuffixDecoding.

SuffixDecoding (arXiv 2411.04975) keeps suffix trees of the request's own text and of earlier answers. For every length
of match it grows the tree of continuations by their estimated chance, and proposes the tree with the greatest sum of
chances. Here the trees are looked up in the texts themselves, which gives the same counts: it is for replay, not for
speed. Its rule that a match of p tokens allows a tree of alpha p nodes is left out, so all methods have equal nodes.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.eagle import EAGLE, EagleProposer
from serve.model.decoder import Model
from serve.model.loader import Checkpoint, tokenizer_hash
from serve.request import Request
from serve.spec_decode import METHODS, registry
from serve.spec_decode.ngram_trie import Trie
from serve.spec_decode.proposer import Int64
from serve.spec_decode.proposers import Sized
from serve.spec_decode.tree import Candidates, path_chances

PEERS = ("eagle", "suffix")
NAMES = (*METHODS, *PEERS)
LONGEST_MATCH = 24
"""Tokens of the longest match that is looked for."""


class Texts:
    """Texts one behind another, with the places of every token."""

    def __init__(self) -> None:
        self.tokens = np.full(1 << 16, -1, np.int64)
        self.size = 0
        self._places: dict[int, list[int]] = {}

    def add(self, tokens: Sequence[int], *, ends: bool = False) -> None:
        """Append tokens; `ends` closes the text, so that no match runs over its end."""
        for token in (*tokens, -1) if ends else tokens:
            if self.size == len(self.tokens):
                self.tokens = np.concatenate([self.tokens, np.full(self.size, -1, np.int64)])
            self.tokens[self.size] = token
            if token >= 0:
                self._places.setdefault(int(token), []).append(self.size)
            self.size += 1

    def matches(self, context: Sequence[int]) -> list[Int64]:
        """Where the last 1, 2, ... tokens of `context` end here: places of the next token, each int64[n]."""
        found: list[Int64] = []
        places = np.asarray(self._places.get(context[-1], ()), np.int64) + 1
        for length in range(2, min(LONGEST_MATCH, len(context)) + 2):
            if not len(places):
                break
            found.append(places[places < self.size])
            if length > len(context):
                break
            before = places - length
            places = places[(before >= 0) & (self.tokens[before] == context[-length])]
        return found

    def grow(self, places: Int64, nodes: int) -> Candidates:
        """The likeliest tree of `nodes` continuations of these places, by counts."""
        tokens, parents, chances = list[int](), list[int](), list[float]()
        order = 0
        heap: list[tuple[float, int, int, int, Int64]] = []

        def offer(parent: int, chance: float, at: Int64) -> None:
            nonlocal order
            following = self.tokens[at[at < self.size]]
            values, counts = np.unique(following[following >= 0], return_counts=True)
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                child = at[at < self.size][following == value] + 1
                heapq.heappush(heap, (-chance * count / counts.sum(), order, parent, value, child))
                order += 1

        offer(-1, 1.0, places)
        while heap and len(tokens) < nodes:
            chance, _, parent, value, at = heapq.heappop(heap)
            tokens.append(value)
            parents.append(parent)
            chances.append(-chance)
            offer(len(tokens) - 1, -chance, at)
        above = [1.0 if p < 0 else chances[p] for p in parents]
        own = [c / a for c, a in zip(chances, above, strict=True)]
        return Candidates(np.array(tokens, np.int64), np.array(parents, np.int64), np.array(own, np.float64))


class SuffixProposer(Sized):
    """SuffixDecoding over the request's own text, earlier answers, and `known` ones."""

    def __init__(self, nodes: int | None, known: Sequence[Sequence[int]] = ()) -> None:
        super().__init__(nodes)
        self.earlier = Texts()
        for text in known:
            self.earlier.add(text, ends=True)
        self._own: dict[str, Texts] = {}

    def candidates(self, requests: Sequence[Request], budgets: Sequence[int]) -> list[tuple[Candidates, ...]]:
        """The tree with the greatest sum of path chances over all match lengths, of own text and earlier answers."""
        return [(self._best(r, min(self.nodes or 24, b)),) for r, b in zip(requests, budgets, strict=True)]

    def _best(self, request: Request, nodes: int) -> Candidates:
        own = self._own.setdefault(request.id, Texts())
        own.add(request.tokens[own.size :])
        best, most = Candidates.empty(), 0.0
        for texts in (own, self.earlier):
            last = -1
            for places in reversed(texts.matches(request.tokens[-LONGEST_MATCH:])):
                if len(places) == last or nodes <= 0:  # a shorter match at the same places has the same tree
                    continue
                last = len(places)
                tree = texts.grow(places[-512:], nodes)
                value = float(path_chances(tree).sum())
                if value > most:
                    best, most = tree, value
        return best

    def release(self, request: Request) -> None:
        """The answer joins the earlier ones."""
        super().release(request)
        if self._own.pop(request.id, None) is not None:
            self.earlier.add(request.output, ends=True)


def make_proposer(
    method: str,
    checkpoint: Checkpoint,
    model: Model,
    *,
    block_tokens: int,
    folder: Path | None = None,
    nodes: int | None = None,
) -> Sized:
    """A method of the product, or a peer; as `serve.spec_decode.registry.make_proposer`."""
    if method == "suffix":
        return SuffixProposer(nodes)
    if method != "eagle" or folder is None:
        return registry.make_proposer(
            method, checkpoint, model, block_tokens=block_tokens, folder=folder, nodes=nodes
        )
    trie = folder / registry.TRIE
    return EagleProposer(
        registry.find_head(folder / EAGLE, checkpoint, model, autoregressive=True),
        model.embedding,
        Trie.load(trie, tokenizer_hash(checkpoint.tokenizer)) if trie.is_file() else None,
        min(checkpoint.eos),
        block_tokens=block_tokens,
        nodes=nodes,
        grams=False,
    )
