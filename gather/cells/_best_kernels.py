"""Compiled loops that choose a cell's best candidate, as `gather.labelling.decide.Labeller.best` does."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gather._compiled import compiled

Array = npt.NDArray[Any]


@compiled
def best_scores(sums: Array, inverse: Array, scale: float, best: Array, score: Array) -> int:
    """Fill `best` with the candidates of the greatest scores, equals by position; return how many are positive."""
    n, top = 0, len(best)
    for c in range(len(sums)):
        rounded = np.rint(sums[c] * inverse[c] * scale)
        if rounded <= 0 or (n == top and rounded <= score[top - 1]):
            continue
        at = n if n < top else top - 1
        while at > 0 and score[at - 1] < rounded:
            score[at], best[at] = score[at - 1], best[at - 1]
            at -= 1
        score[at], best[at] = rounded, c
        n = min(n + 1, top)
    return n


@compiled
def _stand_out(expressed: Array, contrast: tuple[Array, Array, Array, Array], c: int) -> Any:
    """How all measured genes speak for a candidate against the file's other cells, less the candidate's length.

    `expressed` is 1 for the genes of the cell; `contrast` holds what a cell without any gene says, and what each adds.
    """
    nothing, indptr, indices, gain = contrast
    total = nothing[c]
    for i in range(indptr[c], indptr[c + 1]):
        total += expressed[indices[i]] * gain[i]
    return total


@compiled
def second_stage(
    sums: Array,
    scaling: Any,
    contrast: Any,
    expressed: Array,
    weight: float,
    scale: float,
    best: Array,
    n: int,
    score: Array,
) -> None:
    """Fill `score` with those of the `n` best by both stages and order `best` by them
    (`gather.labelling.decide.second_stage`).
    """
    inverse, cosine, _norms = scaling
    most, highest = 0.0, sums[best[0]] * inverse[best[0]]
    for i in range(n):
        score[i] = _stand_out(expressed, contrast, best[i]) * cosine[best[i]]
        most = max(most, abs(score[i]))
    for i in range(n):
        relative = sums[best[i]] * inverse[best[i]] / highest
        score[i] = max(relative + weight * score[i] / most, 1e-6) if most > 0 else relative
    for i in range(1, n):
        candidate, value, at = best[i], score[i], i
        while at > 0 and np.rint(score[at - 1] * scale) < np.rint(value * scale):
            best[at], score[at] = best[at - 1], score[at - 1]
            at -= 1
        best[at], score[at] = candidate, value


@compiled
def expected(score: Array, best: Array, n: int, lin: Array, power: int, bonus: float, scale: float) -> Any:
    """The candidate among the `n` best that is worth most if each is the truth as likely as its score says
    (`gather.labelling.decide.by_expected_similarity`).
    """
    chance = np.empty(n)
    total = 0.0
    for i in range(n):
        chance[i] = (score[i] / score[0]) ** power
        total += chance[i]
    winner, top = best[0], -1.0
    for i in range(n):
        worth = bonus * chance[i] / total
        for j in range(n):
            worth += lin[best[i], best[j]] * chance[j] / total
        worth = np.rint(worth * scale)
        if worth > top:
            winner, top = best[i], worth
    return winner
