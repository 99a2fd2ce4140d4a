"""Compiled inner loops of per-cell annotation. They hold no lock and no state; `gather.cells.per_cell`
drives them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gather._compiled import compiled
from gather.cells._best_kernels import best_scores, expected, second_stage

Array = npt.NDArray[Any]
UNDECIDED = 255
"""Status of a cell that `label_cells` leaves to the `gather.labelling.decide.Labeller`."""
UNSURE, CHANCE, FEW_GENES, NO_MARKER, NO_GENE = 1, 2, 3, 4, 5
"""Why a cell has no answer; 0 where it has one."""


@compiled
def _raise(values: Array, power: int, square: Array) -> None:
    """Raise every value to a whole power of at least 1 by squaring, whole arrays at a time; `square` is scratch."""
    square[:] = values
    first = True
    while power:
        if power & 1:
            if first:
                values[:] = square
                first = False
            else:
                values *= square
        power >>= 1
        if power:
            square *= square


@compiled
def _sum(values: Array) -> float:
    """Sum in four lanes, so that one addition need not wait for the last."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    even = len(values) - len(values) % 4
    for i in range(0, even, 4):
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
    for i in range(even, len(values)):
        a += values[i]
    return (a + b) + (c + d)


@compiled
def _confidence(belief: float, similarity: float, share: float, map_: Array) -> Any:
    """The logistic map of `gather.labelling.decide.Calibration`."""
    clipped = min(max(belief, 1e-3), 1.0 - 1e-3)
    x = map_[0] + map_[1] * np.log(clipped / (1.0 - clipped)) + map_[2] * similarity + map_[3] * share
    return 1.0 / (1.0 + np.exp(-x))


@compiled
def _belief(spread: Array, total: float, line: Array) -> float:
    """Share of the distribution on one line, the candidates of which ascend; added in the lanes of `_sum`."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    even = len(spread) - len(spread) % 4
    for i in line:
        lane = i % 4 if i < even else 0
        if lane == 0:
            a += spread[i]
        elif lane == 1:
            b += spread[i]
        elif lane == 2:
            c += spread[i]
        else:
            d += spread[i]
    return ((a + b) + (c + d)) / total


@compiled
def _add_up(
    genes: Array, ranks: Array, evidence: tuple[Array, Array, Array], sums: Array, share: Array
) -> None:
    """Fill the statistic of every candidate, and the share of the query's weight whose genes speak for it.

    The statistic is the sum over genes of rank weight times evidence weight.
    """
    indptr, indices, weights = evidence
    sums[:] = 0.0
    share[:] = 0.0
    total = 0.0
    for i in range(len(genes)):
        weight = ranks[i]
        total += weight
        for j in range(indptr[genes[i]], indptr[genes[i] + 1]):
            sums[indices[j]] += weight * weights[j]
            share[indices[j]] += weight
    share /= max(total, 1e-12)


@compiled
def _speak(
    genes: Array,
    ranks: Array,
    evidence: tuple[Array, Array, Array],
    candidate: int,
    least: float,
    added: Array,
) -> int:
    """How many genes add `least` of what the loudest adds to a candidate's score; `added` holds what each adds."""
    indptr, indices, weights = evidence
    loudest = 0.0
    for i in range(len(genes)):
        added[i] = 0.0
        for j in range(indptr[genes[i]], indptr[genes[i] + 1]):
            if indices[j] >= candidate:
                if indices[j] == candidate:
                    added[i] = ranks[i] * weights[j]
                break
        loudest = max(loudest, added[i])
    count = 0
    for i in range(len(genes)):
        count += added[i] > 0.0 and added[i] >= least * loudest
    return count


@compiled
def _sharpened(sums: Array, inverse: Array, winner: int, power: int, spread: Array, scratch: Array) -> float:
    """Scores relative to the best, sharpened, into `spread`; return their sum."""
    highest = sums[winner] * inverse[winner]
    for c in range(len(sums)):
        spread[c] = sums[c] * inverse[c] / highest
    _raise(spread, power, scratch)
    return _sum(spread)


@compiled
def _discoveries(sums: Array, critical: Array, counts: Array) -> Any:
    """Bounds of what Benjamini-Hochberg discovers: two levels, the first surely reached, the second an upper bound.

    Level j is reached where ``counts[j]`` candidates have at least their statistic ``critical[j]``; -1 for none. A
    number of discoveries between two counts shows at the upper one's level, where more candidates than the lower
    count reach it. `critical` is [levels, candidates]; `counts` ascend from 1 to the number of tests.
    """
    bound = -1
    for level in range(len(counts) - 1, -1, -1):
        reached = 0
        for c in range(len(sums)):
            reached += sums[c] >= critical[level, c]
        if reached >= counts[level]:
            return level, max(level, bound)
        if bound < 0 and level > 0 and counts[level] - counts[level - 1] > 1 and reached > counts[level - 1]:
            bound = level
    return -1, bound


@compiled
def _supported(sums: Array, critical: Array, below: Array) -> bool:
    """Whether a candidate at or below a term reaches the level."""
    found = False
    for c in below:
        found |= sums[c] >= critical[c]
    return found


@compiled
def _row(matrix: tuple[Array, Array], row: int) -> Any:
    """The columns of one row of a boolean matrix in CSR form."""
    return matrix[1][matrix[0][row] : matrix[0][row + 1]]


@compiled
def _surest(kinds: Array, own: Array, support: Any, beliefs: Any) -> float:
    """The greatest confidence of the candidates that are kinds of a term, each by its own support.

    `own` keeps the confidences of one cell; it is negative where none was computed yet.
    """
    sums, cosine, share, position = support
    spread, total, line, map_ = beliefs
    most = 0.0
    for c in kinds:
        if sums[c] > 0:
            if own[c] < 0:
                belief = _belief(spread, total, _row(line, position[c]))
                own[c] = _confidence(belief, sums[c] * cosine[c], share[c], map_)
            most = max(most, own[c])
    return most


@compiled
def _sure_above(
    winner: int,
    higher: Array,
    kinds: Any,
    closure: Array,
    own: Array,
    support: Any,
    beliefs: Any,
    sure: Array,
) -> None:
    """Fill the confidence of a winner's ancestors: by the winner's support, or that of the surest kind.

    `higher` lists the most informative first, so that an ancestor comes after its kinds.
    """
    sums, cosine, share, _position = support
    spread, total, line, map_ = beliefs
    for i in range(len(higher)):
        belief = _belief(spread, total, _row(line, higher[i]))
        by_winner = _confidence(belief, sums[winner] * cosine[winner], share[winner], map_)
        sure[i] = max(by_winner, _surest(_row(kinds, higher[i]), own, support, beliefs))
        for j in range(i):
            if closure[higher[j], higher[i]]:
                sure[i] = max(sure[i], sure[j])


@compiled
def _answer(
    sums: Array,
    critical: Array,
    sure: float,
    sure_above: Array,
    term: int,
    above: Array,
    below: tuple[Array, Array],
    threshold: float,
    vague: bool,
    back_off: bool,
) -> Any:
    """Term, status, confidence and reason where the candidates with at least `critical` are discovered."""
    discovered = _supported(sums, critical, _row(below, term))
    if sure >= threshold and not (vague and back_off) and discovered:
        return term, 3, sure, 0
    if back_off:
        for i in range(len(above)):
            if sure_above[i] >= threshold and _supported(sums, critical, _row(below, above[i])):
                return above[i], 2, sure_above[i], 0
    return -1, 1, 0.0, UNSURE if discovered else CHANCE


@compiled
def label_cells(
    columns: Array,
    n_genes: Array,
    expressed: tuple[Array, Array],
    ranks: Array,
    evidence: tuple[Array, Array, Array],
    contrast: tuple[Array, Array, Array, Array],
    scaling: tuple[Array, Array, Array],
    candidates: tuple[Array, Array, Array],
    terms: tuple[Any, Any, Any, Any, Array],
    considered: tuple[int, int, float, int, float, float],
    critical: Array,
    counts: Array,
    calibration: tuple[Array, float, int],
    scale: float,
    back_off: bool,
    best: Array,
    statistic: Array,
    term: Array,
    status: Array,
    confidence: Array,
    reason: Array,
    best_confidence: Array,
) -> None:
    """Label every cell from its ranked genes as `gather.labelling.decide.Labeller` does, whose rule this is.

    Where the two bounds of `critical` do not lead to one answer the status is `UNDECIDED`, and the caller decides.

    Parameters
    ----------
    columns, n_genes
        Each cell's genes, columns of the panel, best first, and how many there are.
    expressed
        CSR parts [cells, panel columns]: all genes that each cell expresses.
    evidence
        CSR parts [panel columns, candidates].
    contrast
        By candidate, the sum of evidence times contrast of a cell that expresses nothing; CSC parts [panel columns,
        candidates]: what each expressed gene adds.
    scaling
        By candidate, the factors from statistic to score and to cosine (less the query's norm); by number of genes,
        that norm.
    candidates
        The term of each candidate, whether it is too vague for an answer, and the similarity of each pair.
    terms
        CSR parts [terms, candidates]: candidates on the term's line; at or below it, equivalents included; kinds of it.
        CSR parts [candidates, terms]: answerable ancestors, the most informative first. ``closure[a, b]``: term b
        is a or an ancestor of a.
    considered
        How many candidates compete by expected similarity, with which sharpness and bonus; how many genes must
        speak for the best; the weight of the second stage; the part of the loudest gene that such a gene adds at least.
    critical, counts
        Statistics [genes + 1, levels, candidates] and numbers [levels] that bound which candidates the null supports.
    calibration
        Coefficients of the confidence, its threshold, and the sharpness of the distribution.
    best, statistic, term, status, confidence, reason, best_confidence
        By cell, to be filled; `best` is -1 and the confidences 0 where they are not.
    """
    inverse, cosine, norms = scaling
    position, vague, lin = candidates
    line, below, kinds, above, closure = terms
    map_, threshold, power = calibration
    n_candidates = len(inverse)
    sums, share, cosines = np.empty(n_candidates), np.empty(n_candidates), np.empty(n_candidates)
    spread, scratch, own = np.empty(n_candidates), np.empty(n_candidates), np.empty(n_candidates)
    first, score, sure_above = np.empty(considered[0], np.int64), np.empty(considered[0]), np.empty(256)
    added = np.empty(columns.shape[1])
    starts, genes = expressed
    flags = np.zeros(len(evidence[0]), np.uint8)
    for cell in range(len(n_genes)):
        n = n_genes[cell]
        _add_up(columns[cell, :n], ranks, evidence, sums, share)
        many = best_scores(sums, inverse, scale, first, score)
        term[cell], confidence[cell] = -1, 0.0  # a cell that is settled holds what the first bounds gave
        status[cell], reason[cell] = 1 if n else 0, NO_MARKER if n else NO_GENE
        if not many:
            continue
        leader = first[0]
        own_genes = genes[starts[cell] : starts[cell + 1]]
        for gene in own_genes:
            flags[gene] = 1
        second_stage(sums, scaling, contrast, flags, considered[4], scale, first, many, score)
        for gene in own_genes:
            flags[gene] = 0
        winner = expected(score, first, many, lin, considered[1], considered[2], scale)
        best[cell], statistic[cell] = winner, sums[winner]
        total = _sharpened(sums, inverse, leader, power, spread, scratch)
        cosines[:] = cosine / norms[n]
        own[:] = -1.0
        support, beliefs = (sums, cosines, share, position), (spread, total, line, map_)
        sure = _surest(_row(kinds, position[winner]), own, support, beliefs)
        best_confidence[cell], reason[cell] = sure, FEW_GENES
        if _speak(columns[cell, :n], ranks, evidence, winner, considered[5], added) < considered[3]:
            continue
        low, high = 0, 0  # a winner that is discovered by itself supports all that is above it
        alone = sums[winner] >= critical[n, 0, winner]
        if not alone:
            low, high = _discoveries(sums, critical[n], counts)
            if high < 0:
                reason[cell] = CHANCE
                continue
        higher = _row(above, winner)[: len(sure_above)]
        if back_off and not (alone and sure >= threshold and not vague[winner]):
            _sure_above(winner, higher, kinds, closure, own, support, beliefs, sure_above)
        rule = (sure, sure_above, position[winner], higher, below, threshold, vague[winner], back_off)
        most = _answer(sums, critical[n, high], *rule)
        least = (-1, 1, 0.0, CHANCE)
        if low >= 0:
            least = _answer(sums, critical[n, low], *rule)
        term[cell], status[cell], confidence[cell], reason[cell] = most
        if least[0] != most[0] or least[1] != most[1] or least[3] != most[3]:
            term[cell], status[cell] = -1, UNDECIDED
