"""Which part of a draft tree the target keeps: exact greedy, and exact sampling.

The proposals are deterministic (the tree is fixed before any coin is flipped), so a child y is accepted with
its target probability itself. At a node with children y1..yk visited in a fixed order, the chance of
emitting yi is ``prod_{j<i} (1 - p'_j) * p'_i`` with ``p'_j = p(y_j) / (1 - sum_{m<j} p(y_m))``, which
telescopes to ``p(y_i)``. If none is accepted the residual gives every other token exactly its probability.
DART (arXiv 2601.19278), and SpecInfer's multi-step rejection with q = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serve.spec_decode.proposer import DraftTree

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What one round commits: the accepted nodes from the root down, and the token that follows them.

    `nodes` are indices into the tree; `tokens` has one more entry than `nodes` has.
    """

    nodes: tuple[int, ...]
    tokens: tuple[int, ...]


class Coins(Protocol):
    """The randomness of one round; a test enumerates it."""

    def flip(self, probability: float) -> bool:
        """Return True with this probability."""
        ...

    def draw(self, weights: Float64) -> int:
        """Return an index with a probability proportional to its weight."""
        ...


@dataclass(frozen=True, slots=True)
class RandomCoins:
    """Coins from a generator: one uniform number per decision."""

    rng: np.random.Generator

    def flip(self, probability: float) -> bool:
        """Return True with this probability; never for 0, always for 1."""
        return bool(self.rng.random() < probability)

    def draw(self, weights: Float64) -> int:
        """Return an index by inversion of the cumulated weights; an index of weight 0 is never drawn."""
        cumulated = np.cumsum(weights)
        index = int(np.searchsorted(cumulated, self.rng.random() * cumulated[-1], side="right"))
        return min(index, int(np.flatnonzero(weights)[-1]))


def children(tree: DraftTree) -> list[list[int]]:
    """Return the children of every row, in the tree's order: row 0 is the root, row i + 1 is node i."""
    below: list[list[int]] = [[] for _ in range(len(tree) + 1)]
    for node, parent in enumerate(tree.parents.tolist()):
        below[parent + 1].append(node)
    return below


def accept_greedy(tree: DraftTree, best: Callable[[int], int]) -> Accepted:
    """Follow the target's own choice through the tree until it leaves it.

    Parameters
    ----------
    tree
        The drafted tree.
    best
        The target's token after row r: 0 is the root, i + 1 is node i. Asked for the walked rows only, in
        order, so it may depend on what was walked before (a grammar, a penalty).
    """
    below, nodes, tokens, row = children(tree), list[int](), list[int](), 0
    while True:
        token = best(row)
        tokens.append(token)
        chosen = next((node for node in below[row] if tree.tokens[node] == token), None)
        if chosen is None:
            return Accepted(tuple(nodes), tuple(tokens))
        nodes.append(chosen)
        row = chosen + 1


def accept_sampled(tree: DraftTree, distribution: Callable[[int], Float64], coins: Coins) -> Accepted:
    """Walk the tree with the target's probabilities; what is emitted has exactly the target's distribution.

    Parameters
    ----------
    tree
        The drafted tree. A second sibling with the same token could never be accepted, so it is harmless.
    distribution
        Probabilities float64[V] after row r (0 is the root, i + 1 is node i), already processed by
        temperature, top-k, top-p and grammar. Asked for the walked rows only, in order.
    coins
        Where the randomness comes from.
    """
    below, nodes, tokens, row = children(tree), list[int](), list[int](), 0
    while True:
        residual = np.array(distribution(row), dtype=np.float64)
        chosen = _pass(residual, tree, below[row], coins)
        if chosen is None:
            tokens.append(coins.draw(residual))
            return Accepted(tuple(nodes), tuple(tokens))
        nodes.append(chosen)
        tokens.append(int(tree.tokens[chosen]))
        row = chosen + 1


def _pass(residual: Float64, tree: DraftTree, siblings: list[int], coins: Coins) -> int | None:
    """Offer each sibling in turn; rejected ones are taken out of `residual`, in place."""
    for node in siblings:
        token = int(tree.tokens[node])
        if residual[token] <= 0.0:
            continue
        # The mass is summed afresh: after a subtraction rounding could leave a sure child a chance of
        # rejection.
        if coins.flip(float(residual[token] / residual.sum())):
            return node
        residual[token] = 0.0
    return None
