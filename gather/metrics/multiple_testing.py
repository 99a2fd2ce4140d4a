"""Adjusting p-values of many tests at once. Refuses NaN: what was not tested has no p-value to adjust."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vckg.base.errors import InputError

Floats = npt.NDArray[np.float64]
FloatsLike = Sequence[float] | Floats


def _tested(p: FloatsLike) -> Floats:
    values = np.asarray(p, float)
    wrong = int((~((values >= 0) & (values <= 1))).sum())
    if wrong:
        raise InputError(
            f"{wrong} of {len(values)} p-values are NaN or outside 0..1; leave untested units out"
        )
    return values


def benjamini_hochberg(p: FloatsLike, *, n_tests: int | None = None) -> Floats:
    """False discovery rates (Benjamini and Hochberg 1995), float64[n].

    Parameters
    ----------
    p
        p-values, float64[n].
    n_tests
        Where only the smallest p of more tests are given: how many tests there were.

    Raises
    ------
    InputError
        A p-value is NaN or outside 0..1.
    """
    values = _tested(p)
    n = len(values) if n_tests is None else n_tests
    order = np.argsort(values, kind="stable")
    ratio = values[order] * n / np.arange(1, len(values) + 1)
    fdr = np.empty(len(values))
    fdr[order] = np.minimum(np.minimum.accumulate(ratio[::-1])[::-1], 1.0)
    return fdr


def holm(p: FloatsLike) -> Floats:
    """Holm's step-down adjustment (1979), float64[n].

    Raises
    ------
    InputError
        A p-value is NaN or outside 0..1.
    """
    values = _tested(p)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * (len(values) - np.arange(len(values))))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
