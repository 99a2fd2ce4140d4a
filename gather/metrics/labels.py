"""Score answers: deterministic metrics of cell type labels, with intervals and paired tests.

Pure functions of ids and arrays; the benchmark and the arena import them. An answer without a term (unknown,
unmapped) is wrong in every metric and counted apart. Lin has a high floor (always answering "dendritic cell"
scores 0.64 on pbmc68k_reduced), so it is printed with its chance level and adjusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gather.ontology import Ontology, Relation
from vckg.base.errors import InputError

Floats = npt.NDArray[np.float64]
FloatsLike = Sequence[float] | Floats

DEFAULT_REPLICATES = 2000
DEFAULT_SEED = 0
LEVEL = 0.95
"""Of intervals."""
BINS = 10
"""Of equal width, by which confidence is compared with accuracy."""
ROOTS = ("CL:0000000",)  # "cell" is an ancestor of everything; hierarchical measures leave it out

PARTIAL_CREDIT: Mapping[Relation, float] = {
    "exact": 1.0,
    "descendant": 0.8,
    "ancestor": 0.8,
    "sibling": 0.5,
    "other": 0.0,
}
SAME_LINEAGE_CREDIT = 0.25


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Scores of one answer against the truth, each in [0, 1]; `relation` names the class."""

    answered: bool
    exact: float
    relation: Relation | None
    related: float
    hierarchical_f1: float
    lin: float
    lineage: float
    partial: float


WRONG = LabelScores(False, 0.0, None, 0.0, 0.0, 0.0, 0.0, 0.0)


def score_label(ontology: Ontology, prediction: str | None, truth: str) -> LabelScores:
    """Compare a predicted term with the truth.

    Parameters
    ----------
    prediction
        CURIE, or None / "" / an id the ontology does not know: an answer without a term.
    truth
        CURIE of the ontology; `GraphError` otherwise.

    Returns
    -------
    LabelScores
        `related` is 1 for exact, ancestor and descendant; an answer "cell" is related to nothing.
    """
    t = ontology.position(truth)
    if not prediction or prediction not in ontology:
        return WRONG
    p = ontology.position(prediction)
    relation = ontology.relation(p, t)
    if relation == "ancestor" and prediction in ROOTS:
        relation = "other"
    lineage = ontology.lineage(p)
    same_lineage = float(lineage is not None and lineage == ontology.lineage(t))
    partial = PARTIAL_CREDIT[relation]
    return LabelScores(
        answered=True,
        exact=float(relation == "exact"),
        relation=relation,
        related=float(relation in ("exact", "ancestor", "descendant")),
        hierarchical_f1=hierarchical_f1(ontology, p, t),
        lin=ontology.lin(p, t),
        lineage=same_lineage,
        partial=partial or SAME_LINEAGE_CREDIT * same_lineage,
    )


def hierarchical_f1(ontology: Ontology, prediction: int, truth: int) -> float:
    """F1 of the two ancestor closures, the root left out (Kiritchenko 2005): punishes too general and too
    specific.
    """
    if ontology.same(prediction, truth):
        return 1.0
    keep = np.ones(len(ontology), bool)
    keep[[ontology.position(root) for root in ROOTS if root in ontology]] = False
    predicted, true = ontology.closure[prediction] & keep, ontology.closure[truth] & keep
    both = int((predicted & true).sum())
    return 2.0 * both / int(predicted.sum() + true.sum()) if both else 0.0


def lin_expected(ontology: Ontology, truths: Iterable[str], candidates: Iterable[str]) -> float:
    """Return the mean Lin of the truths with a uniformly drawn candidate, the score of a random label."""
    columns = np.array([ontology.position(c) for c in candidates], dtype=np.intp)
    means = [float(ontology.lin_to_all(ontology.position(t))[columns].mean()) for t in truths]
    return float(np.mean(means)) if means and len(columns) else 0.0


def adjusted(score: float, expected: float) -> float:
    """Return ``(score - expected) / (1 - expected)``: 0 at chance, 1 at best."""
    return (score - expected) / (1.0 - expected) if expected < 1.0 else 0.0


def expected_calibration_error(confidence: FloatsLike, correct: FloatsLike) -> float:
    """Mean distance of confidence and accuracy over equal-width bins, weighted by their size (Naeini
    2015).
    """
    error = 0.0
    for row in reliability(confidence, correct):
        error += row[0] * abs(row[1] - row[2])
    total = len(np.asarray(confidence))
    return error / total if total else float("nan")


def reliability(confidence: FloatsLike, correct: FloatsLike) -> list[tuple[int, float, float]]:
    """Return (items, mean confidence, accuracy) of every non-empty equal-width bin: the reliability
    diagram.
    """
    c, y = _known(confidence, correct)
    which = np.minimum((c * BINS).astype(int), BINS - 1)
    return [
        (int(inside.sum()), float(c[inside].mean()), float(y[inside].mean()))
        for inside in (which == b for b in range(BINS))
        if inside.any()
    ]


@dataclass(frozen=True, slots=True)
class Interval:
    """Mean of `n` units with its bootstrap interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(
    values: FloatsLike,
    *,
    strata: Sequence[object] | None = None,
    replicates: int = DEFAULT_REPLICATES,
    seed: int = DEFAULT_SEED,
) -> Interval:
    """Mean with a percentile bootstrap interval over units.

    Parameters
    ----------
    values
        One value a unit (a cell set, an item), float[n]. NaN units are left out: unscored is not zero.
    strata
        The data set of each unit; units are resampled within, and the mean is the macro mean over data sets.
    """
    v = np.asarray(values, float)
    groups = _strata(strata, len(v))
    v, groups = v[~np.isnan(v)], groups[~np.isnan(v)]
    if not len(v):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(seed)
    parts = [v[groups == g] for g in np.unique(groups)]
    draws = np.mean(
        [part[rng.integers(0, len(part), (replicates, len(part)))].mean(axis=1) for part in parts], axis=0
    )
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return Interval(float(np.mean([part.mean() for part in parts])), float(low), float(high), len(v))


def _known(*sides: FloatsLike) -> tuple[Floats, ...]:
    """Return the values of paired units as arrays; InputError for a unit without a score on some side."""
    values = tuple(np.asarray(side, float) for side in sides)
    unscored = int(np.isnan(np.stack(values)).any(axis=0).sum())
    if unscored:
        raise InputError(f"{unscored} of {len(values[0])} units are unscored (NaN); leave them out first")
    return values


def _strata(strata: Sequence[object] | None, n: int) -> npt.NDArray[np.intp]:
    if strata is None:
        return np.zeros(n, np.intp)
    return np.unique([str(s) for s in strata], return_inverse=True)[1]


def paired_difference(
    a: FloatsLike,
    b: FloatsLike,
    *,
    strata: Sequence[object] | None = None,
    replicates: int = DEFAULT_REPLICATES,
    seed: int = DEFAULT_SEED,
) -> Interval:
    """Bootstrap interval of mean(a) - mean(b) over the same units."""
    difference = np.asarray(a, float) - np.asarray(b, float)
    return bootstrap(difference, strata=strata, replicates=replicates, seed=seed)


def paired_permutation(
    a: FloatsLike,
    b: FloatsLike,
    *,
    strata: Sequence[object] | None = None,
    replicates: int = 10_000,
    seed: int = DEFAULT_SEED,
) -> float:
    """Two-sided p of a sign-flip permutation test of the (macro) mean difference over the same units.

    Raises
    ------
    InputError
        A unit is unscored (NaN) on either side.
    """
    first, second = _known(a, b)
    difference = first - second
    groups = _strata(strata, len(difference))
    sizes = np.bincount(groups)
    weighted = difference / sizes[groups] / len(sizes)
    rng = np.random.default_rng(seed)
    signs = rng.choice(np.array([-1.0, 1.0]), (replicates, len(difference)))
    extreme = np.abs(signs @ weighted) >= abs(weighted.sum()) - 1e-12
    return float((extreme.sum() + 1) / (replicates + 1))


def mcnemar(a: FloatsLike, b: FloatsLike) -> float:
    """Exact two-sided p of McNemar's test on paired right/wrong answers.

    Raises
    ------
    InputError
        A unit is unscored (NaN) on either side.
    """
    from scipy.stats import binomtest

    right_a, right_b = (side > 0.5 for side in _known(a, b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)
