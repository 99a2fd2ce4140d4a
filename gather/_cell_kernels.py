"""Compiled inner loops of per-cell annotation. They hold no lock and no state; `gather.annotate_cells`
drives them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gather._compiled import compiled

Array = npt.NDArray[Any]


@compiled
def file_entries(
    rows: Array, columns: Array, values: Array, place: Array, indices: Array, data: Array
) -> None:
    """Put each entry at the next free place of its row."""
    for i in range(len(rows)):
        at = place[rows[i]]
        indices[at] = columns[i]
        data[at] = values[i]
        place[rows[i]] = at + 1


@compiled
def _insert(strength: float, column: int, n: int, strengths: Array, columns: Array) -> int:
    """Keep the strongest in descending order, equals by column; return how many are kept."""
    top = len(strengths)
    if n == top and strength <= strengths[top - 1]:
        return n
    at = n if n < top else top - 1
    while at > 0 and strengths[at - 1] < strength:
        strengths[at] = strengths[at - 1]
        columns[at] = columns[at - 1]
        at -= 1
    strengths[at] = strength
    columns[at] = column
    return min(n + 1, top)


@compiled
def count_sparse(indices: Array, values: Array, detected: Array) -> None:
    """Add to `detected` [columns] how many of the stored values are above zero."""
    for i in range(len(indices)):
        detected[indices[i]] += values[i] > 0


@compiled
def count_dense(values: Array, detected: Array) -> None:
    """As `count_sparse`, for a dense block."""
    for cell in range(values.shape[0]):
        for column in range(values.shape[1]):
            detected[column] += values[cell, column] > 0


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
    columns: Array,
    found: Array,
) -> None:
    """Fill `columns` [cells, top] with each cell's strongest genes by TF-IDF, `found` with how many; CSR
    rows.

    A negative `idf` marks genes that take no part.
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
                n = _insert(value * weight, indices[i], n, strengths, columns[cell])
        found[cell] = n


@compiled
def rank_dense(values: Array, counts: bool, target: float, idf: Array, columns: Array, found: Array) -> None:
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
                n = _insert(value * idf[column], column, n, strengths, columns[cell])
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
    """The logistic map of `gather.label.Calibration`."""
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
def _discoveries(sums: Array, critical: Array, counts: Array) -> int:
    """Benjamini-Hochberg at counts of powers of two: the last level that as many candidates reach as it asks for,
    -1 for none. `critical` [levels, candidates] is the least statistic of each level.
    """
    for level in range(len(counts) - 1, -1, -1):
        reached = 0
        for c in range(len(sums)):
            reached += sums[c] >= critical[level, c]
        if reached >= counts[level]:
            return level
    return -1


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
    """Label every cell from its ranked genes (see `gather.label.Labeller`, which decides the same way).

    `evidence` are CSR parts [panel columns, candidates]; `line` those of which candidates lie on a term's line,
    `below` at or below it; `above` lists each candidate's answerable ancestors, the most informative first.
    `critical` [genes + 1, levels, candidates] and `counts` [levels] say which candidates the null supports, by how
    many genes the cell has.
    """
    indptr, indices, weights = evidence
    sums, spread, scratch = np.empty(len(inverse)), np.empty(len(inverse)), np.empty(len(inverse))
    for cell in range(len(found)):
        n = found[cell]
        genes = columns[cell, :n]
        _add_up(genes, ranks, indptr, indices, weights, sums)
        winner, top = -1, 0.0
        for c in range(len(sums)):
            score = np.rint(sums[c] * inverse[c] * scale)
            if score > top:
                winner, top = c, score
        best[cell] = winner
        status[cell] = 1 if n else 0
        if winner < 0:
            continue
        statistic[cell] = sums[winner]
        similarity = sums[winner] / (length[winner] * norms[n])
        share = _share(genes, ranks, indptr, indices, winner)
        total = _sharpened(sums, inverse, winner, power, spread, scratch)
        here = position[winner]
        confidence[cell] = _confidence(_belief(spread, total, _row(line, here)), similarity, share, map_)
        level = 0  # a winner that is discovered by itself supports all that is above it
        if sums[winner] < critical[n, 0, winner]:
            level = _discoveries(sums, critical[n], counts)
            if level < 0:
                continue
        if (
            confidence[cell] >= threshold
            and not (vague[winner] and back_off)
            and _supported(sums, critical[n, level], _row(below, here))
        ):
            term[cell], status[cell] = here, 3
            continue
        if not back_off:
            continue
        for higher in _row(above, winner):
            sure = _confidence(_belief(spread, total, _row(line, higher)), similarity, share, map_)
            if sure >= threshold and _supported(sums, critical[n, level], _row(below, higher)):
                term[cell], status[cell], confidence[cell] = higher, 2, sure
                break
