"""From scores to a label: how sure, how deep, or not at all.

The scores of a query become a distribution over cell types. The belief in a term is the share of that
distribution on its
line (the term, what is above it and what is below it); a logistic map, fitted on the development split and
kept in
`data/confidence.json`, turns belief and support into the chance of being right. The answer is the best
candidate where that
passes the threshold, else the deepest ancestor of it that passes, else ``unknown``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gather.evidence import Candidate, Status
from gather.ontology import Ontology
from gather.score import Convergence
from vckg.resources import resource

Floats = npt.NDArray[np.float64]

UNKNOWN = "unknown"
SHOWN_CANDIDATES = 15


@dataclass(frozen=True, slots=True)
class Calibration:
    """Parameters of the confidence, fitted by ``gather benchmark --refit-confidence``.

    Attributes
    ----------
    sharpness
        Exponent that turns scores relative to the best into a distribution.
    intercept, belief, support
        Logistic map of the logit of belief, and of the share of the query's weight that speaks for the term.
    threshold
        Least confidence of an answer.
    vague
        Terms with less information content than this say too little to be an answer ("cell", "leukocyte" is
        fine).
    """

    sharpness: float
    intercept: float
    belief: float
    support: float
    threshold: float
    vague: float

    def confidence(self, belief: Floats, support: Floats) -> Floats:
        """Chance of being right, float64 in (0, 1)."""
        clipped = np.clip(belief, 1e-3, 1 - 1e-3)
        x = self.intercept + self.belief * np.log(clipped / (1 - clipped)) + self.support * support
        return np.asarray(1.0 / (1.0 + np.exp(-x)), dtype=np.float64)


@lru_cache(maxsize=1)
def default_calibration() -> Calibration:
    """Return the shipped parameters."""
    stored: Mapping[str, Any] = json.loads(resource("data", "confidence.json").read_text(encoding="utf-8"))
    return Calibration(**stored["parameters"])


@dataclass(frozen=True, slots=True)
class Decision:
    """A label and how it came about; `curie` is empty for ``unknown`` and ``ungrounded``."""

    status: Status
    curie: str
    label: str
    confidence: float
    fdr: float
    candidates: tuple[Candidate, ...]


class Labeller:
    """Decides labels against one ontology.

    Parameters
    ----------
    ontology
        The cell types' hierarchy.
    calibration
        Of the confidence; the shipped one by default.
    back_off
        Whether an ancestor of the candidates may be the answer; not in a closed set.
    """

    def __init__(
        self, ontology: Ontology, calibration: Calibration | None = None, *, back_off: bool = True
    ) -> None:
        self.ontology = ontology
        self.calibration = calibration or default_calibration()
        self.back_off = back_off
        self._position = {node: i for i, node in enumerate(ontology.nodes.tolist())}

    def decide(
        self,
        convergence: Convergence,
        support: Floats,
        n_genes: npt.NDArray[Any],
        *,
        top: int = SHOWN_CANDIDATES,
    ) -> Decision:
        """Decide one cell set.

        Parameters
        ----------
        support
            Share of the query's weight whose genes speak for each candidate, float64[c].
        n_genes
            How many genes those are, int[c].
        """
        best = convergence.best(top)
        if not len(convergence.query):
            return Decision("ungrounded", "", UNKNOWN, 0.0, 1.0, ())
        if not len(best):
            return Decision("unknown", "", UNKNOWN, 0.0, 1.0, ())
        positions = np.array([self._position[n] for n in convergence.nodes.tolist()])
        spread = self.spread(convergence.score, positions)
        confidence = self.calibration.confidence(self.on_line(spread, positions[best]), support[best])
        candidates = tuple(
            Candidate(
                rank=rank,
                curie=self.ontology.terms[positions[i]],
                label=self.ontology.names[positions[i]],
                score=float(convergence.score[i]),
                p=float(convergence.p[i]),
                fdr=float(convergence.fdr[i]),
                confidence=float(confidence[rank - 1]),
                n_genes=int(n_genes[i]),
            )
            for rank, i in enumerate(best, start=1)
        )
        return self._answer(candidates, spread, int(positions[best[0]]), support[best[0]])

    def _answer(
        self, candidates: tuple[Candidate, ...], spread: Floats, top: int, support: float
    ) -> Decision:
        first, limit = candidates[0], self.calibration.threshold
        vague = self.ontology.information[top] < self.calibration.vague
        if first.confidence >= limit and not (vague and self.back_off):
            return Decision("named", first.curie, first.label, first.confidence, first.fdr, candidates)
        if self.back_off:
            above = self.ontology.ancestors(top)
            above = above[self.ontology.information[above] >= self.calibration.vague]
            confidence = self.calibration.confidence(
                self.on_line(spread, above), np.full(len(above), support)
            )
            passing = above[confidence >= limit]
            if len(passing):
                order = np.lexsort((passing, -self.ontology.information[passing]))
                chosen = int(passing[order[0]])
                sure = float(confidence[above == chosen][0])
                return Decision(
                    "backed_off",
                    self.ontology.terms[chosen],
                    self.ontology.names[chosen],
                    sure,
                    first.fdr,
                    candidates,
                )
        return Decision("unknown", "", UNKNOWN, first.confidence, first.fdr, candidates)

    def spread(self, score: Floats, positions: npt.NDArray[np.intp]) -> Floats:
        """Distribution over all terms: scores relative to the best, sharpened, normalised; float64[terms]."""
        share = (score / score.max()) ** self.calibration.sharpness
        spread = np.zeros(len(self.ontology))
        spread[positions] = share / share.sum()
        return spread

    def on_line(self, spread: Floats, positions: npt.NDArray[Any]) -> Floats:
        """Belief in each position: the share on it, above it and below it, equivalents included."""
        closure = self.ontology.closure
        belief = np.zeros(len(positions))
        for at, i in enumerate(positions.tolist()):
            same = list(self.ontology.equivalents(i))
            line = closure[same].any(axis=0) | closure[:, same].any(axis=1)
            belief[at] = spread[line].sum()
        return belief
