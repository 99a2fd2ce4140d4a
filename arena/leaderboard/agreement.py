"""How far two raters of the same answers agree: kappa, alpha, rank correlation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from arena.leaderboard.statistics import Floats

RUBRIC_STEPS = 5
TIE_DECIMALS = 9


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two raters of the same answers agree."""

    n: int
    kappa: float
    """Cohen's kappa with quadratic weights on the six rubric steps; NaN where either rater is constant."""
    alpha: float
    """Krippendorff's alpha, interval distance."""
    spearman: float
    exact: float
    """Share of answers put on the same of the six rubric steps."""
    within_one: float


def agreement(first: Floats, second: Floats) -> Agreement:
    """Compare two raters' scores in 0..1 (float64[n] each; pairs with a NaN are left out)."""
    import evalica
    import pandas as pd

    both = np.isfinite(first) & np.isfinite(second)
    # Equal ratings under other weights differ in the last bit; ranks must not.
    a, b = np.round(first[both], TIE_DECIMALS), np.round(second[both], TIE_DECIMALS)
    nan = float("nan")
    if len(a) < 2:
        return Agreement(len(a), nan, nan, nan, nan, nan)
    steps = np.abs(np.rint(a * RUBRIC_STEPS) - np.rint(b * RUBRIC_STEPS))
    varies = bool(np.ptp(a) > 0 and np.ptp(b) > 0)
    spread = bool(np.ptp(np.concatenate([a, b])) > 0)
    alpha = evalica.alpha(pd.DataFrame(np.stack([a, b])), distance="interval").alpha if spread else nan
    return Agreement(
        n=len(a),
        kappa=quadratic_kappa(np.rint(a * RUBRIC_STEPS), np.rint(b * RUBRIC_STEPS)) if varies else nan,
        alpha=float(alpha),
        spearman=float(stats.spearmanr(a, b).statistic) if varies else nan,
        exact=float((steps == 0).mean()),
        within_one=float((steps <= 1).mean()),
    )


def quadratic_kappa(first: Floats, second: Floats) -> float:
    """Cohen's kappa with quadratic weights (Cohen 1968): 1 - E[(a-b)²] / E[(a-b)²] under independence."""
    observed = ((first - second) ** 2).mean()
    expected = first.var() + second.var() + (first.mean() - second.mean()) ** 2
    return float(1 - observed / expected) if expected > 0 else float("nan")
