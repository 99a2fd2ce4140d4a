"""What it changes that no gene is drawn twice and no rank holds two genes: a factor for each p, by two saddlepoints.

A convolution takes its parts as independent (`gather.retrieval.null`), and so lets a gene come twice or two genes share
a rank. A saddlepoint gives the tail of any sum from its cumulant function (Lugannani and Rice 1980). It is taken twice:
of the draws as convolved, and of draws in which genes and ranks are matched one to one. The ratio of the two tails is
the factor. The lumps of a sum of few terms, which a saddlepoint does not see, are in both and cancel.

The cumulant function of the matching is the log of a permanent. The chances are scaled until every rank holds one
gene and every gene one place (Sinkhorn 1964). The permanent of what remains is nearly a constant
times ``det(I + J - P'P) ** -1/2`` (McCullagh 2014). Genes of nearly the same weight are one class, so that the
matrices are small.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicHermiteSpline
from scipy.special import ndtr

from gather.retrieval.metapaths import Sparse

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_TILTS = np.concatenate([[0.0], np.geomspace(0.2, 40.0, 18)])
"""Where the cumulant functions are taken, over the statistic's standard deviation."""
_STEEPEST = 60.0
"""Greatest exponent: a drawn gene is then e**60 times as likely."""
_CLASSES = 20
"""Classes of genes by weight, over a factor of `_RANGE`; as many again for those that the convolution draws once."""
_RANGE = 1e3
_SCALED = 1e-6
_ROUNDS = 100
_DEEPEST = -30.0
"""Log of the least tail that a saddlepoint is asked for."""


class Draws(NamedTuple):
    """The ranks of a query in groups of nearly one weight, greatest first.

    `weight` of a group, its mean, float64[groups]; how many ranks it has (`size`, float64[groups]); the `chance` of
    each gene to be drawn at one of its ranks, float64[groups, genes].
    """

    weight: Floats
    size: Floats
    chance: Floats


class _Curve(NamedTuple):
    """A cumulant function and its first two derivatives, float64[tilts, columns]."""

    value: Floats
    first: Floats
    second: Floats


def _log_tail(distance: Floats, spread: Floats) -> Floats:
    """Log of an upper tail by Lugannani and Rice.

    `distance` is ``tilt * first - value`` of the cumulant function and `spread` is ``tilt * second ** .5``.
    """
    root, spread = np.sqrt(np.maximum(2.0 * distance, 1e-14)), np.maximum(spread, 1e-7)
    density = np.exp(-distance) / np.sqrt(2.0 * np.pi)
    tail = ndtr(-root) + density * (1.0 / spread - 1.0 / root)
    return np.asarray(np.log(np.maximum(tail, 1e-300)), dtype=np.float64)


def factors(values: Sparse, draws: Draws, once: Bools) -> list[tuple[Floats, Floats]]:
    """Return for each column statistics, ascending, and the log of the factor for the p of each.

    Parameters
    ----------
    values
        Evidence weights of all genes, float64 CSC [genes, columns].
    once
        Which of them the convolution draws at most once, bool[nnz]; the others it draws rank by rank.
    """
    genes, columns = values.shape
    column = np.repeat(np.arange(columns), np.diff(values.indptr))
    most = np.maximum(values.max(axis=0).toarray().ravel(), 1e-300)
    place = np.log(most[column] / values.data) / np.log(_RANGE) * _CLASSES
    flat = column * 2 * _CLASSES + np.minimum(place.astype(np.intp), _CLASSES - 1) + _CLASSES * once

    def by_class(x: Floats | None) -> Floats:
        counts = np.bincount(flat, x, columns * 2 * _CLASSES)
        return np.asarray(counts, dtype=np.float64).reshape(columns, 2 * _CLASSES)

    count = by_class(None)
    drawn = [size * chance[values.indices] for size, chance in zip(draws.size, draws.chance, strict=True)]
    mass = np.stack([by_class(part) for part in drawn], axis=1)
    weight = by_class(sum(drawn) * values.data) / np.maximum(mass.sum(axis=1), 1e-300)
    product = draws.weight[:, None] * weight[:, None, :]
    deviation = np.sqrt(np.maximum((mass * product**2).sum(axis=(1, 2)), 1e-300))
    steepest = np.minimum(
        1.0 / deviation, _STEEPEST / _TILTS[-1] / np.maximum(product.max(axis=(1, 2)), 1e-300)
    )
    tilt = _TILTS[:, None] * steepest
    drawn_once = np.arange(2 * _CLASSES) >= _CLASSES
    parts = _independent(mass, product, tilt, draws.size, count, drawn_once)
    matched, bent = _matched(mass, product, tilt, draws.size, count, genes)
    log_matched = bent + _log_tail(tilt * matched.first - matched.value, tilt * np.sqrt(matched.second))
    return [
        _factor(matched.first[:, c], log_matched[:, c], tilt[:, c], _Curve(*(x[:, c] for x in parts)))
        if count[c].sum() > 1
        else (np.zeros(1), np.zeros(1))
        for c in range(columns)
    ]


def _factor(at: Floats, log_matched: Floats, tilt: Floats, parts: _Curve) -> tuple[Floats, Floats]:
    """Statistics of one column and the log of the factor there; the first is the mean, which has none."""
    rises = np.append(True, np.diff(np.maximum.accumulate(parts.first)) > 0)
    first = parts.first[rises]
    if len(first) < 2:  # the statistic cannot vary
        return at[:1], np.zeros(1)
    good = (
        np.append(False, np.diff(np.maximum.accumulate(at)) > 0) & (log_matched > _DEEPEST) & (at < first[-1])
    )
    distance = (tilt * parts.first - parts.value)[rises]
    spread = (tilt * np.sqrt(parts.second))[rises]
    log_parts = _log_tail(
        CubicHermiteSpline(first, distance, tilt[rises])(at[good]), np.interp(at[good], first, spread)
    )
    return np.append(at[0], at[good]), np.append(0.0, log_matched[good] - log_parts)


def _independent(
    mass: Floats, product: Floats, tilt: Floats, size: Floats, count: Floats, once: Bools
) -> _Curve:
    """The cumulant function of the draws as they are convolved: some genes one by one, the others rank by rank."""
    by_rank, ranks = np.where(once, 0.0, mass) / size[:, None], size[None, :]
    by_gene = np.where(once, mass / np.maximum(count, 1.0)[:, None, :], 0.0)
    curves = []
    for t in tilt:
        grown = np.exp(t[:, None, None] * product)
        total = np.zeros((3, len(t)))
        for chance, axis, times in ((by_rank, 2, ranks), (by_gene, 1, count)):
            moments = [(chance * grown * product**k).sum(axis=axis) for k in range(3)]
            moments[0] += 1.0 - chance.sum(axis=axis)
            mean = moments[1] / moments[0]
            total[0] += (times * np.log(moments[0])).sum(axis=1)
            total[1] += (times * mean).sum(axis=1)
            total[2] += (times * (moments[2] / moments[0] - mean**2)).sum(axis=1)
        total[2] = np.maximum(total[2], 0.0)
        curves.append(total)
    return _Curve(*np.stack(curves, axis=1))


def _matched(
    mass: Floats, product: Floats, tilt: Floats, size: Floats, count: Floats, genes: int
) -> tuple[_Curve, Floats]:
    """The cumulant function of draws that match genes and ranks one to one, and the log of the determinant's part.

    A last row stands for the places of genes that are not drawn, a last class for the genes without weight.
    """
    columns, groups, classes = mass.shape
    rows = np.append(size, max(genes - size.sum(), 0.0))
    places = np.concatenate([count, (genes - count.sum(axis=1))[:, None]], axis=1)
    pairs = np.zeros((columns, groups + 1, classes + 1))
    pairs[:, :-1, :-1], pairs[:, :-1, -1] = mass, np.maximum(size - mass.sum(axis=2), 0.0)
    pairs[:, -1] = np.maximum(places - pairs[:, :-1].sum(axis=1), 0.0)
    chance = pairs / np.maximum(rows[:, None] * places[:, None, :], 1e-300)
    full = np.zeros_like(pairs)
    full[:, :-1, :-1] = product
    root, share = np.sqrt(rows), np.sqrt(rows / genes)
    of_class = np.ones((columns, classes + 1))
    value, first, second, bent = (np.zeros(tilt.shape) for _ in range(4))
    for j, t in enumerate(tilt):
        grown = chance * np.exp(t[:, None, None] * full)
        for _round in range(_ROUNDS):
            of_row = 1.0 / np.maximum((grown @ (places * of_class)[:, :, None])[:, :, 0], 1e-300)
            new = 1.0 / np.maximum(((rows * of_row)[:, None, :] @ grown)[:, 0], 1e-300)
            moved = np.abs(np.where(places > 0, new / of_class - 1.0, 0.0)).max()
            of_class = np.where(places > 0, new, 1.0)
            if moved < _SCALED:
                break
        scaled = of_row[:, :, None] * grown * of_class[:, None, :]
        value[j] = -(rows * np.log(of_row)).sum(axis=1) - (places * np.log(of_class)).sum(axis=1)
        pairs = rows[:, None] * places[:, None, :] * scaled
        first[j] = (pairs * full).sum(axis=(1, 2))
        shared = root[:, None] * scaled * np.sqrt(places)[:, None, :]
        rest = np.eye(groups + 1) - shared @ shared.transpose(0, 2, 1) + np.outer(share, share)
        bent[j] = -0.5 * np.linalg.slogdet(rest)[1]
        # What rows and columns explain of the products varies no more, because their sums are fixed.
        of_rows = (pairs * full).sum(axis=2) / np.maximum(root, 1e-150)
        of_places = (pairs * full).sum(axis=1) / np.sqrt(np.maximum(places, 1e-300))
        left = of_rows[:, :, None] - shared @ of_places[:, :, None]
        explained = (left * np.linalg.solve(rest, left)).sum(axis=(1, 2)) + (of_places**2).sum(axis=1)
        second[j] = np.maximum((pairs * full**2).sum(axis=(1, 2)) - explained, 0.0)
    return _Curve(value - value[0], first, second), bent - bent[0]
