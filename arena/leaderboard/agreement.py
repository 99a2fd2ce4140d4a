"""How far two raters of the same answers agree: kappa, alpha, rank correlation."""

from __future__ import annotations

import numpy as np
from scipy import stats

from arena.leaderboard.schema import Agreement
from arena.leaderboard.statistics import Floats, finite

RUBRIC_STEPS = 5
TIE_DECIMALS = 9


def agreement(first: Floats, second: Floats, names: tuple[str, str] = ("", "")) -> Agreement:
    """Compare two raters' scores in 0..1 (float64[n] each; pairs with a NaN are left out).

    What cannot be told is None: kappa and rank correlation where either rater is constant.
    """
    import evalica
    import pandas as pd

    both = np.isfinite(first) & np.isfinite(second)
    # Equal ratings under other weights differ in the last bit; ranks must not.
    a, b = np.round(first[both], TIE_DECIMALS), np.round(second[both], TIE_DECIMALS)
    if len(a) < 2:
        none = dict.fromkeys(("kappa", "alpha", "spearman", "exact", "within_one"))
        return Agreement(first=names[0], second=names[1], n=len(a), **none)
    steps = np.abs(np.rint(a * RUBRIC_STEPS) - np.rint(b * RUBRIC_STEPS))
    varies = bool(np.ptp(a) > 0 and np.ptp(b) > 0)
    spread = bool(np.ptp(np.concatenate([a, b])) > 0)
    alpha = evalica.alpha(pd.DataFrame(np.stack([a, b])), distance="interval").alpha if spread else None
    kappa = quadratic_kappa(np.rint(a * RUBRIC_STEPS), np.rint(b * RUBRIC_STEPS)) if varies else None
    return Agreement(
        first=names[0],
        second=names[1],
        n=len(a),
        kappa=finite(kappa),
        alpha=finite(alpha),
        spearman=finite(float(stats.spearmanr(a, b).statistic)) if varies else None,
        exact=finite(float((steps == 0).mean())),
        within_one=finite(float((steps <= 1).mean())),
    )


def quadratic_kappa(first: Floats, second: Floats) -> float:
    """Cohen's kappa with quadratic weights (Cohen 1968): 1 - E[(a-b)²] / E[(a-b)²] under independence."""
    observed = ((first - second) ** 2).mean()
    expected = first.var() + second.var() + (first.mean() - second.mean()) ** 2
    return float(1 - observed / expected) if expected > 0 else float("nan")
