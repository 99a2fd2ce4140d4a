"""What a request commits in one step: the target's own choice along its draft tree, and the token after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from serve.engine.sampling import Float64, processed
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
    if constraint is not None:
        return _choose_constrained(request, tree, logits, constraint)
    if request.params.greedy:
        return accept_greedy(tree, lambda row: best[row])
    coins = RandomCoins(request.rng)
    return accept_sampled(tree, lambda row: processed(logits[row].numpy(), request.params), coins)


def _choose_constrained(
    request: Request, tree: DraftTree, logits: torch.Tensor, constraint: Constraint
) -> Accepted:
    """The grammar follows the walk, which asks for each row as it steps on it."""
    params = request.params
    walked = [0]  # nodes stepped on so far, and where the grammar ended among them
    ended: list[int] = []

    def masked(row: int) -> Float64:
        z = logits[row].numpy().astype(np.float64)
        if ended:  # the walk goes on where the draft does, and is cut below
            return z
        if row:
            constraint.consume(int(tree.tokens[row - 1]))
            walked[0] += 1
        if constraint.finished:
            ended.append(walked[0])
        else:
            z[~constraint.allowed()] = -np.inf
        return z

    if params.greedy:
        accepted = accept_greedy(tree, lambda row: int(masked(row).argmax()))
    else:
        coins = RandomCoins(request.rng)
        accepted = accept_sampled(tree, lambda row: processed(masked(row), params), coins)
    if ended:  # the node that completed the answer is its last token, whatever was drawn after it
        return Accepted(accepted.nodes[: ended[0] - 1], accepted.tokens[: ended[0]])
    constraint.consume(accepted.tokens[-1])
    return accepted
