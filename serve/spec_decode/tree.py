"""Draft trees: DART's beam search with n-gram pruning, best-first trees of n-grams, and the union of the two.

The score of a path is the paper's (arXiv 2601.19278),

    S(path) = sum_l w_l (lam_l ln(p_l(y_l) + 1e-10) + [l >= 1] beta ln(q(y_l | last two tokens) + 1e-10)),
    w_l = (l + 1)^-0.7,   lam_l = 0.9^l,   beta = 0.5,

p_l the head's probabilities renormalised over its K best tokens of level l, q the trie's. Logarithms are clamped at
0, so a child never beats its parent. Ties are broken by (depth, tokens). So the best N of all paths are closed under
prefixes. Paths that ended with the end token are never extended.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from serve.spec_decode.ngram_trie import Trie
from serve.spec_decode.proposer import DraftTree

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """The constants of the search, the paper's by default; `nodes` counts draft nodes without the root."""

    beam: int = 20
    candidates: int = 25
    nodes: int = 59
    beta: float = 0.5
    level_decay: float = 0.9
    depth_power: float = 0.7


@dataclass(frozen=True, slots=True)
class Candidates:
    """A drafted tree with the chance of each node given its parent; parents come before children, -1 is the root."""

    tokens: Int64
    parents: Int64
    chance: Float64

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def tree(self) -> DraftTree:
        """The tree without its chances."""
        return DraftTree(self.tokens, self.parents)

    @classmethod
    def empty(cls) -> Candidates:
        """Nothing drafted."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def place_of(tokens: Int32, low: int, high: int, token: int) -> int:
    """Index of a token among the sorted ``tokens[low:high]``, -1 if it is not there."""
    end = high
    while low < high:
        middle = (low + high) // 2
        if tokens[middle] < token:
            low = middle + 1
        else:
            high = middle
    return low if low < end and tokens[low] == token else -1


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _following(
    older: int,
    newer: int,
    candidates: Int64,
    levels: tuple[Int32, Int32, Int64, Int32, Int32, Int64, Int32, Int32],
    out: Float64,
) -> None:
    """Fill `out` with q of every candidate after (older, newer), from the longest context that has it; else 0."""
    one, one_count, one_below, two, two_count, two_below, three, three_count = levels
    out[:] = 0.0
    short = place_of(one, 0, len(one), newer)
    long = -1
    first = place_of(one, 0, len(one), older)
    if first >= 0:
        long = place_of(two, one_below[first], one_below[first + 1], newer)
    for i in range(len(candidates)):
        if long >= 0:
            index = place_of(three, two_below[long], two_below[long + 1], candidates[i])
            if index >= 0:
                out[i] = three_count[index] / two_count[long]
                continue
        if short >= 0:
            index = place_of(two, one_below[short], one_below[short + 1], candidates[i])
            if index >= 0:
                out[i] = two_count[index] / one_count[short]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _search(
    tokens: Int64,
    gain: Float64,
    grams: Float64,
    root: tuple[int, int],
    levels: tuple[Int32, Int32, Int64, Int32, Int32, Int64, Int32, Int32],
    beam_size: int,
    end: int,
) -> tuple[Int64, Int64, Float64]:
    """Score all extensions of the beam, level by level.

    `tokens` int64[d, K] ascending in each level, `gain` float64[d, K] what each adds by the head, `grams`
    float64[d] the factor of ln q. Entries come out ordered by (depth, tokens), because the beam is kept in
    that order.
    """
    depth, k = tokens.shape
    most = k + (depth - 1) * beam_size * k
    token, parent, score = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most)
    q = np.empty(k)
    beam = np.full(1, -1)
    n = 0
    for level in range(depth):
        begin = n
        for b in beam:
            base = 0.0 if b < 0 else score[b]
            if grams[level] > 0.0:
                newer = root[1] if b < 0 else token[b]
                older = root[0] if b < 0 else (root[1] if parent[b] < 0 else token[parent[b]])
                _following(older, newer, tokens[level], levels, q)
            for i in range(k):
                token[n], parent[n] = tokens[level, i], b
                score[n] = base + gain[level, i]
                if grams[level] > 0.0:
                    score[n] += grams[level] * min(0.0, np.log(q[i] + 1e-10))
                n += 1
        key = -score[begin:n]
        for e in range(begin, n):
            if token[e] == end:
                key[e - begin] = np.inf
        order = np.argsort(key, kind="mergesort")[:beam_size]
        alive = order[np.isfinite(key[order])]
        beam = np.sort(alive) + begin
        if len(beam) == 0:
            break
    return token[:n], parent[:n], score[:n]


def _levels(trie: Trie | None) -> tuple[Int32, Int32, Int64, Int32, Int32, Int64, Int32, Int32]:
    none32, none64 = np.empty(0, np.int32), np.zeros(1, np.int64)
    if trie is None or trie.order < 3:
        return none32, none32, none64, none32, none32, none64, none32, none32
    a, b, c = trie.levels[:3]
    # np.asarray drops the memory map's class, which numba does not know; the pages stay on disk.
    arrays = (a.tokens, a.counts, a.children, b.tokens, b.counts, b.children, c.tokens, c.counts)
    return tuple(np.asarray(x) for x in arrays)  # type: ignore[return-value]


class TreeSearch:
    """DART's search over one request's level distributions. Holds the trie in the form the compiled loop reads."""

    def __init__(self, settings: SearchSettings, trie: Trie | None, end: int) -> None:
        self.settings, self.end = settings, end
        self._trie = _levels(trie)
        self._beta = settings.beta if trie is not None and trie.order >= 3 else 0.0

    def __call__(self, tokens: Int64, chance: Float64, root: tuple[int, int]) -> Candidates:
        """Return the best tree.

        Parameters
        ----------
        tokens
            int64[d, K]: the K likeliest target tokens of each level, distinct within a level.
        chance
            float64[d, K]: the head's probabilities over its whole vocabulary; renormalised over the K here.
        root
            The token before the root and the root, the last committed token.
        """
        s = self.settings
        level = np.arange(len(tokens))
        order = np.argsort(tokens, axis=1, kind="stable")
        tokens = np.take_along_axis(tokens, order, 1)
        chance = np.take_along_axis(chance, order, 1)
        share = chance / chance.sum(1, keepdims=True)
        weight = (level + 1.0) ** -s.depth_power
        gain = (weight * s.level_decay**level)[:, None] * np.minimum(0.0, np.log(share + 1e-10))
        # The first token is left to the head: no n-gram term at level 0.
        grams = np.where(level >= 1, weight * self._beta, 0.0)
        found, parent, score = _search(tokens, gain, grams, root, self._trie, s.beam, self.end)
        best = np.sort(np.argsort(-score, kind="stable")[: s.nodes])
        place = np.full(len(found) + 1, -1)
        place[best] = np.arange(len(best))
        parents = place[parent[best]]
        depth = np.zeros(len(best), np.int64)
        for i, above in enumerate(parents):
            depth[i] = 0 if above < 0 else depth[above] + 1
        columns = [int(np.searchsorted(tokens[d], t)) for d, t in zip(depth, found[best], strict=True)]
        return Candidates(found[best], parents, chance[depth, columns])


Predict = Callable[[list[int]], Sequence[tuple[int, float]]]
"""Tokens that may follow a text (its last tokens), each with its chance."""


def best_first(
    predict: Predict, context: Sequence[int], nodes: int, depth: int, end: int, least: float = 0.0
) -> Candidates:
    """The `nodes` likeliest paths below `context` by a model that can be asked cheaply, as a tree; none less likely
    than `least`.

    A heap of open nodes by the chance of their whole path; a popped node joins the tree and its
    continuations the heap. Ties go to the shallower node, then to the earlier one.
    """
    tokens, parents, chances, paths = list[int](), list[int](), list[float](), list[list[int]]()
    heap: list[tuple[float, int, int, int, int, float]] = []
    pushed = 0

    def open_below(node: int, path: list[int], chance: float) -> None:
        nonlocal pushed
        for token, p in predict(path):
            heapq.heappush(heap, (-chance * p, len(path), pushed, node, token, p))
            pushed += 1

    open_below(-1, list(context), 1.0)
    while heap and len(tokens) < nodes:
        negative, _, _, parent, token, p = heapq.heappop(heap)
        if -negative < least:
            break
        path = [*(paths[parent] if parent >= 0 else context), token]
        tokens.append(token)
        parents.append(parent)
        chances.append(p)
        paths.append(path)
        if token != end and len(path) - len(context) < depth and len(tokens) < nodes:
            open_below(len(tokens) - 1, path, -negative)
    return Candidates(np.asarray(tokens, np.int64), np.asarray(parents, np.int64), np.asarray(chances))


def union(a: Candidates, b: Candidates) -> Candidates:
    """Both trees in one; a node that both have takes the greater chance. `a`'s nodes keep their order."""
    place: dict[tuple[int, int], int] = {}
    tokens, parents, chances = list[int](), list[int](), list[float]()
    for tree in (a, b):
        own = np.empty(len(tree), np.int64)
        for i, (token, parent, chance) in enumerate(
            zip(tree.tokens.tolist(), tree.parents.tolist(), tree.chance.tolist(), strict=True)
        ):
            key = (int(own[parent]) if parent >= 0 else -1, token)
            if key in place:
                own[i] = place[key]
                chances[own[i]] = max(chances[own[i]], chance)
                continue
            own[i] = place[key] = len(tokens)
            tokens.append(token)
            parents.append(key[0])
            chances.append(chance)
    return Candidates(np.asarray(tokens, np.int64), np.asarray(parents, np.int64), np.asarray(chances))


def path_chances(candidates: Candidates) -> Float64:
    """Chance that each node is reached and accepted: the product along its path, float64[n]."""
    value = candidates.chance.copy()
    for i, parent in enumerate(candidates.parents.tolist()):
        if parent >= 0:
            value[i] *= value[parent]
    return value


def keep(candidates: Candidates, chosen: npt.NDArray[np.bool_]) -> Candidates:
    """The chosen nodes (closed under parents) as a tree."""
    place = np.cumsum(chosen) - 1
    parents = candidates.parents[chosen]
    moved = np.where(parents >= 0, place[parents], -1)
    return Candidates(candidates.tokens[chosen], moved, candidates.chance[chosen])
