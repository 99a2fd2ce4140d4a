"""Compiled inner loops of per-cell annotation. They hold no lock and no state; `gather.cells.per_cell`
drives them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gather._compiled import compiled

Array = npt.NDArray[Any]
UNDECIDED = 255
"""Status of a cell that `label_cells` leaves to the `gather.labelling.decide.Labeller`."""


@compiled
def _insert(strength: float, column: int, n: int, strengths: Array, columns: Array, order: Array) -> int:
    """Keep the strongest in descending order, equals by `order` of their columns; return how many are kept."""
    top = len(strengths)
    last = columns[top - 1]
    if n == top and (
        strength < strengths[top - 1] or (strength == strengths[top - 1] and order[column] > order[last])
    ):
        return n
    at = n if n < top else top - 1
    while at > 0 and (
        strengths[at - 1] < strength
        or (strengths[at - 1] == strength and order[columns[at - 1]] > order[column])
    ):
        strengths[at] = strengths[at - 1]
        columns[at] = columns[at - 1]
        at -= 1
    strengths[at] = strength
    columns[at] = column
    return min(n + 1, top)


@compiled
def _logged(value: Any, scale: float, cell: int, logs: Array, cell_of: Array) -> float:
    """``log1p(value * scale)``; most counts of a cell are the same few whole numbers, whose logarithms are kept."""
    whole = int(min(value, len(logs)))
    if whole == len(logs) or whole != value:
        return np.log1p(value * scale)  # type: ignore[no-any-return]
    if cell_of[whole] != cell:
        logs[whole], cell_of[whole] = np.log1p(value * scale), cell
    return logs[whole]  # type: ignore[no-any-return]


@compiled
def rank_sparse(
    indptr: Array,
    indices: Array,
    data: Array,
    counts: bool,
    target: float,
    idf: Array,
    order: Array,
    columns: Array,
    found: Array,
) -> None:
    """Fill `columns` [cells, top] with each cell's strongest genes by TF-IDF, `found` with how many; CSR
    rows.

    A negative `idf` marks genes that take no part. Genes that are equally strong come by `order` [genes], so that
    neither the storage of the matrix nor the order of its columns decides.
    """
    strengths = np.empty(columns.shape[1], np.float64)
    logs, cell_of = np.empty(64, np.float64), np.full(64, -1, np.int64)
    for cell in range(len(indptr) - 1):
        total = 0.0
        if counts:
            for i in range(indptr[cell], indptr[cell + 1]):
                total += data[i]
        scale = target / total if total > 0 else 1.0
        n = 0
        for i in range(indptr[cell], indptr[cell + 1]):
            weight = idf[indices[i]]
            if weight > 0 and data[i] > 0:
                value = _logged(data[i], scale, cell, logs, cell_of) if counts else data[i]
                n = _insert(value * weight, indices[i], n, strengths, columns[cell], order)
        found[cell] = n


@compiled
def rank_dense(
    values: Array, counts: bool, target: float, idf: Array, order: Array, columns: Array, found: Array
) -> None:
    """As `rank_sparse`, for a dense block."""
    strengths = np.empty(columns.shape[1], np.float64)
    logs, cell_of = np.empty(64, np.float64), np.full(64, -1, np.int64)
    for cell in range(values.shape[0]):
        total = 0.0
        if counts:
            for column in range(values.shape[1]):
                total += values[cell, column]
        scale = target / total if total > 0 else 1.0
        n = 0
        for column in range(values.shape[1]):
            if values[cell, column] > 0 and idf[column] > 0:
                value = (
                    _logged(values[cell, column], scale, cell, logs, cell_of)
                    if counts
                    else values[cell, column]
                )
                n = _insert(value * idf[column], column, n, strengths, columns[cell], order)
        found[cell] = n


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
def _add_up(genes: Array, ranks: Array, indptr: Array, indices: Array, weights: Array, sums: Array) -> None:
    """The statistic of every candidate: sum over genes of rank weight times evidence weight."""
    sums[:] = 0.0
    for i in range(len(genes)):
        weight = ranks[i]
        for j in range(indptr[genes[i]], indptr[genes[i] + 1]):
            sums[indices[j]] += weight * weights[j]


@compiled
def _share(genes: Array, ranks: Array, indptr: Array, indices: Array, candidate: int) -> float:
    """Share of the query's weight whose genes speak for a candidate; indices of a row ascend."""
    speaking, total = 0.0, 0.0
    for i in range(len(genes)):
        total += ranks[i]
        low, high = indptr[genes[i]], indptr[genes[i] + 1]
        while low < high:
            middle = (low + high) >> 1
            if indices[middle] < candidate:
                low = middle + 1
            else:
                high = middle
        if low < indptr[genes[i] + 1] and indices[low] == candidate:
            speaking += ranks[i]
    return speaking / total


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
def _best_scores(sums: Array, inverse: Array, scale: float, best: Array, score: Array) -> int:
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
def _expected(
    sums: Array, inverse: Array, best: Array, n: int, lin: Array, power: int, bonus: float, scale: float
) -> Any:
    """The candidate among the `n` best that is worth most if each is the truth as likely as its score says
    (`gather.labelling.decide.by_expected_similarity`).
    """
    chance = np.empty(n)
    total = 0.0
    for i in range(n):
        chance[i] = (sums[best[i]] * inverse[best[i]] / (sums[best[0]] * inverse[best[0]])) ** power
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


@compiled
def _answer(
    sums: Array,
    critical: Array,
    sure: float,
    sure_above: Array,
    here: int,
    above: Array,
    below: tuple[Array, Array],
    threshold: float,
    vague: bool,
    back_off: bool,
) -> Any:
    """Term, status and confidence where the candidates with at least `critical` are discovered."""
    if sure >= threshold and not (vague and back_off) and _supported(sums, critical, _row(below, here)):
        return here, 3, sure
    if back_off:
        for i in range(len(above)):
            if sure_above[i] >= threshold and _supported(sums, critical, _row(below, above[i])):
                return above[i], 2, sure_above[i]
    return -1, 1, sure


@compiled
def label_cells(
    columns: Array,
    found: Array,
    ranks: Array,
    evidence: tuple[Array, Array, Array],
    inverse: Array,
    length: Array,
    norms: Array,
    position: Array,
    vague: Array,
    line: tuple[Array, Array],
    above: tuple[Array, Array],
    below: tuple[Array, Array],
    lin: Array,
    considered: tuple[int, int, float],
    critical: Array,
    counts: Array,
    map_: Array,
    threshold: float,
    power: int,
    scale: float,
    back_off: bool,
    best: Array,
    statistic: Array,
    term: Array,
    status: Array,
    confidence: Array,
) -> None:
    """Label every cell from its ranked genes as `gather.labelling.decide.Labeller` does, whose rule this is.

    `evidence` are CSR parts [panel columns, candidates]; `line` those of which candidates lie on a term's line,
    `below` at or below it; `above` lists each candidate's answerable ancestors, the most informative first; `lin` is
    the similarity of candidates. `considered` says how many of them compete by expected similarity, with which
    sharpness and bonus. `critical` [genes + 1, levels, candidates] and `counts` [levels] bound which candidates the
    null supports, by how many genes the cell has. Where both bounds do not lead to one answer the status is
    `UNDECIDED` and the caller asks the `Labeller`.
    """
    indptr, indices, weights = evidence
    sums, spread, scratch = np.empty(len(inverse)), np.empty(len(inverse)), np.empty(len(inverse))
    first, score, sure_above = np.empty(considered[0], np.int64), np.empty(considered[0]), np.empty(256)
    for cell in range(len(found)):
        n = found[cell]
        genes = columns[cell, :n]
        _add_up(genes, ranks, indptr, indices, weights, sums)
        many = _best_scores(sums, inverse, scale, first, score)
        status[cell] = 1 if n else 0
        if not many:
            continue
        winner = _expected(sums, inverse, first, many, lin, considered[1], considered[2], scale)
        best[cell], statistic[cell] = winner, sums[winner]
        similarity = sums[winner] / (length[winner] * norms[n])
        share = _share(genes, ranks, indptr, indices, winner)
        total = _sharpened(sums, inverse, first[0], power, spread, scratch)
        here = position[winner]
        sure = _confidence(_belief(spread, total, _row(line, here)), similarity, share, map_)
        confidence[cell] = sure
        low, high = 0, 0  # a winner that is discovered by itself supports all that is above it
        alone = sums[winner] >= critical[n, 0, winner]
        if not alone:
            low, high = _discoveries(sums, critical[n], counts)
            if high < 0:
                continue
        higher = _row(above, winner)[: len(sure_above)]
        if back_off and not (alone and sure >= threshold and not vague[winner]):
            for i in range(len(higher)):
                belief = _belief(spread, total, _row(line, higher[i]))
                sure_above[i] = _confidence(belief, similarity, share, map_)
        most = _answer(
            sums, critical[n, high], sure, sure_above, here, higher, below, threshold, vague[winner], back_off
        )
        least = (-1, 1, sure)
        if low >= 0:
            least = _answer(
                sums,
                critical[n, low],
                sure,
                sure_above,
                here,
                higher,
                below,
                threshold,
                vague[winner],
                back_off,
            )
        term[cell], status[cell], confidence[cell] = most
        if least[0] != most[0] or least[1] != most[1]:
            term[cell], status[cell] = -1, UNDECIDED
