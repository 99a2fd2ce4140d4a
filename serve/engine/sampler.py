"""Choose the tokens that a request commits in one step: a path of its draft tree, and the token after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from serve.engine.sampling import Float64, adjusted, processed
from serve.engine.structured_output import Constraint
from serve.request import Request
from serve.spec_decode.proposer import DraftTree
from serve.spec_decode.verify import Accepted, RandomCoins, accept_greedy, accept_sampled


def choose(
    request: Request,
    tree: DraftTree,
    logits: torch.Tensor,
    best: Sequence[int],
    constraint: Constraint | None,
) -> Accepted:
    """Accept the part of `tree` that plain decoding (greedy or sampled) would have produced.

    Parameters
    ----------
    request
        Its sampling parameters are applied, its generator draws.
    tree
        The draft; empty in plain decoding.
    logits
        float[1 + len(tree), V] on the CPU: after the last committed token, then after each node.
    best
        Token of the greatest logit of each row.
    constraint
        Where the answer stands in its grammar, or None; it is advanced by what is accepted.
    """
    params = request.params
    if constraint is None and not params.adjusts:
        if params.greedy:
            return accept_greedy(tree, lambda row: best[row])
        coins = RandomCoins(request.rng)
        return accept_sampled(tree, lambda row: processed(logits[row].numpy(), params), coins)
    walk = _Walk(request, tree, logits, constraint)
    if params.greedy:
        accepted = accept_greedy(tree, lambda row: int(walk.logits(row).argmax()))
    else:
        coins = RandomCoins(request.rng)
        accepted = accept_sampled(tree, lambda row: processed(walk.logits(row), params), coins)
    return walk.cut(accepted)


class _Walk:
    """A walk through the tree whose logits depend on the tokens before: penalties, biases and a grammar."""

    def __init__(
        self, request: Request, tree: DraftTree, logits: torch.Tensor, constraint: Constraint | None
    ) -> None:
        self._params, self._output = request.params, request.output
        self._tree, self._rows, self._constraint = tree, logits, constraint
        self._steps = 0
        self._ended: int | None = None
        """Nodes walked when the grammar ended; the walk goes on where the draft does, and `cut` drops the rest."""

    def logits(self, row: int) -> Float64:
        """Logits float64[V] of a row; the walk asks for each row as it steps on it."""
        if row:
            self._step(int(self._tree.tokens[row - 1]))
        z = adjusted(self._rows[row].numpy(), self._output, self._params)
        if self._constraint is not None and self._ended is None:
            if self._constraint.finished:
                self._ended = self._steps
            else:
                z[~self._constraint.allowed()] = -np.inf
        return z

    def _step(self, token: int) -> None:
        self._output.append(token)
        if self._constraint is not None and self._ended is None:
            self._constraint.consume(token)
            self._steps += 1

    def cut(self, accepted: Accepted) -> Accepted:
        """The accepted part up to the end of the grammar: the node that completed the answer is its last token."""
        if self._ended is not None:
            return Accepted(accepted.nodes[: self._ended - 1], accepted.tokens[: self._ended])
        if self._constraint is not None:
            self._constraint.consume(accepted.tokens[-1])
        return accepted
