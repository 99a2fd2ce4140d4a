"""How far a judge can be trusted, from the answers it rated: agreement, repeats, length, family, false citations."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Final

import numpy as np

from arena.leaderboard import schema
from arena.leaderboard.agreement import agreement
from arena.leaderboard.score_table import Column
from arena.leaderboard.statistics import Clusters, Floats, Interval, expanded_tail, finite

FAMILIES: Final = (
    "gpt",
    "claude",
    "gemini",
    "gemma",
    "llama",
    "qwen",
    "mistral",
    "mixtral",
    "deepseek",
    "phi",
    "grok",
    "command",
    "glm",
    "kimi",
    "olmo",
    "smollm",
)
"""Model families whose names are looked for in judges' and contestants' names."""


def family(name: str) -> str:
    """The model family a name belongs to, empty where none is recognised."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((f for f in FAMILIES if any(word.startswith(f) for word in words)), "")


def estimate(interval: Interval, n: int) -> schema.Estimate:
    """An interval as the leaderboard holds it."""
    return schema.Estimate(
        value=finite(interval.value), low=finite(interval.low), high=finite(interval.high), n=n
    )


def agreements(column: Column) -> tuple[schema.Agreement, ...]:
    """Every judge's totals against the deterministic main score and against every other judge's."""
    raters = {"deterministic": column.main, **{j: column.matrix(j, "total") for j in column.scorers}}
    return tuple(
        agreement(raters[first].ravel(), raters[second].ravel(), (first, second))
        for first, second in combinations(raters, 2)
    )


def trust(column: Column, judge: str, *, resamples: int) -> schema.JudgeTrust:
    """What one judge's records tell of it."""
    records = column.records(judge, "total")
    about = [score.metadata for score in records if score.metadata]
    spreads = [float(m["spread"]) for m in about if m.get("repeats", 1) > 1 and m.get("rated", 0) > 1]
    totals = column.matrix(judge, "total")
    judge_family = family(judge)
    return schema.JudgeTrust(
        judge=judge,
        rated=sum(score.value is not None for score in records),
        unscored=sum(score.value is None for score in records),
        repaired=sum(bool(m.get("repaired")) for m in about),
        refused_citations=sum(int(m.get("refused_citations", 0)) for m in about),
        spread=finite(float(np.mean(spreads))) if spreads else None,
        length_effect=length_effect(
            totals, column.main, column.words(), column.clusters, resamples, column.seed
        ),
        same_family=tuple(
            name for name in column.contestants if judge_family and family(name) == judge_family
        ),
    )


def length_effect(
    totals: Floats, main: Floats, words: Floats, clusters: Clusters, resamples: int, seed: int
) -> schema.Estimate:
    """Points of a judge's total per doubling of an answer's words, the deterministic score held fixed.

    Least squares of ``total ~ 1 + main + log2(words)`` over all answers with words, float64[m, n] each,
    with a cluster bootstrap interval. Empty where lengths or scores do not vary.
    """
    usable = np.isfinite(totals) & np.isfinite(main) & np.isfinite(words) & (words > 0)
    n = int(usable.sum())
    none = schema.Estimate(value=None, low=None, high=None, n=n)
    if n < 10:
        return none
    row, at = np.nonzero(usable)
    design = np.stack([np.ones(n), main[row, at], np.log2(words[row, at]), totals[row, at]], axis=1)
    if np.linalg.matrix_rank(design[:, :3]) < 3:
        return none
    group = clusters.index[at]
    products = np.zeros((len(clusters.names), 4, 4))
    np.add.at(products, group, design[:, :, None] * design[:, None, :])
    weights = clusters.weights(resamples, seed)
    draws = np.einsum("gb,gij->bij", weights, products)
    slope = _slope(products.sum(axis=0)[None])[0]
    slopes = _slope(draws)
    tail = expanded_tail(0.95, clusters.effective())
    slopes = slopes[np.isfinite(slopes)]
    low, high = np.quantile(slopes, [tail, 1 - tail]) if slopes.size else (np.nan, np.nan)
    return estimate(Interval(float(slope), float(low), float(high)), n)


def _slope(products: Floats) -> Floats:
    """Coefficient of the third regressor from cross products float64[b, 4, 4] of three regressors and the
    response.
    """
    slopes = np.full(len(products), np.nan)
    sound = np.linalg.cond(products[:, :3, :3]) < 1e12
    solved = np.linalg.solve(products[sound, :3, :3], products[sound, :3, 3:])
    slopes[sound] = solved[:, 2, 0]
    return slopes
