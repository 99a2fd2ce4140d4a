"""From scores to a label: how sure, how deep, or not at all.

The scores of a query become a distribution over cell types. The belief in a term is the share of that
distribution on its line (the term, what is above it and what is below it); a logistic map, fitted on the
development split and kept in `data/confidence.json`, turns belief and support into the chance of being right.
Every term inherits the confidence of its surest kind (`Labeller.confidences`), so that none is less sure than
a kind of it.
The answer is the best candidate where that passes the threshold, else the deepest ancestor of it that passes,
else ``unknown``. Whatever the belief, nothing is an answer that random genes of the file would have got as
likely as not (`supported`).

The best candidate is not simply that of the greatest score. Where the file has other cell sets, all measured genes
speak in a second stage among the ten best scores (`second_stage`). Among the ten it is then the one most like the
others, weighed by theirs (`by_expected_similarity`). Where naive, memory and plain T cells score alike, the
truth is one of them, and the one in their middle is right or nearly so most often. At last a grouping class gives way
to a kind of it that more resources know (`kind_instead`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gather.annotation import Candidate, Reason, Standing, Status
from gather.ontology import Ontology
from gather.retrieval.query import TIE_DECIMALS
from gather.retrieval.scores import Convergence, Support
from vckg.base.resources import resource

Floats = npt.NDArray[np.float64]

UNKNOWN = "unknown"
SHOWN_CANDIDATES = 15


@dataclass(frozen=True, slots=True)
class Calibration:
    """Parameters of the confidence, fitted by ``python -m benchmarks.fit_confidence``.

    Attributes
    ----------
    sharpness
        Exponent that turns scores relative to the best into a distribution.
    intercept, belief, similarity, support
        Logistic map of the logit of belief, the cosine of the query with the best candidate's evidence, and the
        share of the query's weight that speaks for it.
    threshold
        Least confidence of an answer.
    vague
        Terms with less information content say too little to be an answer: "cell", "neural cell"; not
        "leukocyte".
    """

    sharpness: float
    intercept: float
    belief: float
    similarity: float
    support: float
    threshold: float
    vague: float

    def confidence(self, belief: Floats, similarity: Floats, support: Floats) -> Floats:
        """Chance of being related to the truth, float64 in (0, 1)."""
        x = (
            self.intercept
            + self.belief * logit(belief)
            + self.similarity * similarity
            + self.support * support
        )
        return np.asarray(1.0 / (1.0 + np.exp(-x)), dtype=np.float64)


def logit(belief: Floats) -> Floats:
    """Log odds of a belief, clipped to [0.001, 0.999]."""
    clipped = np.clip(belief, 1e-3, 1 - 1e-3)
    return np.asarray(np.log(clipped / (1 - clipped)), dtype=np.float64)


@lru_cache(maxsize=1)
def default_calibration() -> Calibration:
    """Return the shipped parameters."""
    stored: Mapping[str, Any] = json.loads(resource("data", "confidence.json").read_text(encoding="utf-8"))
    return Calibration(**stored["parameters"])


def calibration_with(threshold: float) -> Calibration:
    """Return the shipped parameters with another threshold."""
    return replace(default_calibration(), threshold=threshold)


CONSIDERED = 10
"""Candidates among which the best is chosen by expected similarity."""
CHANCE_SHARPNESS = 6
"""Exponent that turns their scores, relative to the best, into chances of being the truth."""
EXACT_BONUS = 0.5
"""Bonus of the exact term, in addition to its similarity of 1."""
MAX_FDR = 0.02
"""Some candidate at or below an answer has a false discovery rate of at most this, whatever the confidence. It
refuses nearly all lists of random genes (docs/results/confidence.md)."""
MAX_FDR_OF_CELL = 0.05
"""The same for a single cell, whose null has each gene as often at each rank as the file (docs/results/suite.md)."""

KNOWN = 0.75
"""Exponent of how many times as many resources know a kind as know the class that it may stand for. Chosen with whole
study groups left out, over both graphs and both species (docs/results/suite.md)."""


LEAST_CELLS = 5
"""Fewer cells of a set are never named."""
FEW_CELLS, FEW_CELLS_FDR = 20, 0.001
"""A set of fewer cells needs this false discovery rate: what a dozen cells express by chance looks specific."""
LEAST_GENES = 3
"""So many query genes must speak for the best candidate (`gather.retrieval.scores.LEAST_VOICE`); one or two markers are
no cell type."""


SEPARATION = 0.5
"""What the separation of the candidates, relative to the greatest, weighs against their relative scores. Chosen with
whole study groups left out (docs/results/suite.md)."""


def second_stage(score: Floats, separation: Floats | None, weight: float = SEPARATION) -> Floats:
    """Return scores in which all measured genes speak: ``s / max s + weight * b / max |b|``, positive, float64[k].

    The score finds the neighbourhood by the best genes. Among its candidates those markers decide that the file's
    other sets lack, or have where this set lacks them.

    Parameters
    ----------
    score
        Positive scores of the best candidates, float64[k].
    separation
        Their `Convergence.separation`, float64[k]; None leaves the scores relative to the best.
    """
    relative = score / score.max()
    most = 0.0 if separation is None else float(np.abs(separation).max())
    if separation is None or most == 0:
        return np.asarray(relative, dtype=np.float64)
    return np.asarray(np.maximum(relative + weight * separation / most, 1e-6), dtype=np.float64)


def supported(fdr: float, cells: int | None = None, most: float = MAX_FDR) -> bool:
    """Whether a term may be an answer, from the least FDR of the term and its kinds (`Standing.fdr`).

    Retrieval and the language model's step both ask this. `cells` is how many the set holds, where that is known.
    """
    return fdr <= (FEW_CELLS_FDR if cells is not None and cells < FEW_CELLS else most)


def by_expected_similarity(
    score: Floats, positions: npt.NDArray[np.intp], ontology: Ontology
) -> npt.NDArray[np.intp]:
    """Order candidates by what they are expected to be worth if each is the truth as likely as its score says.

    ``U(a) = sum_t p_t Lin(a, t) + EXACT_BONUS p_a`` with ``p_t ~ (s_t / s_max) ** CHANCE_SHARPNESS``: Bayes'
    decision for Lin's similarity. The numbers were chosen on the development files and the choosing half of
    SC-Arena's sentences.

    Parameters
    ----------
    score
        Positive scores, best first, float64[k].
    positions
        Their terms' positions in the ontology.

    Returns
    -------
    Indices into `score`, best first, int[k]; ties keep the order of the scores.
    """
    chance = (score / score[0]) ** CHANCE_SHARPNESS
    chance /= chance.sum()
    lin = np.array([[ontology.lin(a, b) for b in positions.tolist()] for a in positions.tolist()])
    worth = lin @ chance + EXACT_BONUS * chance
    return np.argsort(-np.round(worth, TIE_DECIMALS), kind="stable")


def kind_instead(
    score: Floats,
    positions: npt.NDArray[np.intp],
    attested: npt.NDArray[np.intp],
    ontology: Ontology,
    power: float = KNOWN,
) -> int:
    """Return the place of the candidate that stands first: the first one, or the first kind of it.

    The kind needs more resources r that name a marker of it, and ``s_kind * (r_kind / r_first) ** power > s_first``.
    A class such as mononuclear phagocyte is a heading: few resources list it, and its markers are those of its kinds.
    People call the cells macrophages, and nearly all resources list those.

    Parameters
    ----------
    score, positions, attested
        Of the candidates, best first: scores of both stages, terms, and `Convergence.attested`.
    """
    kinds = np.flatnonzero(ontology.closure[positions, positions[0]])
    kinds = kinds[kinds > 0]
    if not len(kinds):
        return 0
    kind = int(kinds[0])
    times = attested[kind] / max(int(attested[0]), 1)
    return kind if times > 1 and score[kind] * times**power > score[0] else 0


@dataclass(frozen=True, slots=True)
class Decision:
    """A label and how it came about; `curie` is empty and `confidence` 0 for ``unknown`` and ``ungrounded``.

    `reason` says why there is no answer. `fdr` is the least false discovery rate of a candidate that is the answer or a
    kind of it (what shows a kind of T cell shows a T cell); without an answer, of the best candidate or a kind of it.
    """

    status: Status
    curie: str
    label: str
    confidence: float
    fdr: float
    candidates: tuple[Candidate, ...]
    standings: tuple[Standing, ...] = ()
    reason: Reason = ""


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
    separation
        Weight of the second stage (`second_stage`).
    known
        Exponent of `kind_instead`; 0 leaves that out.
    max_fdr
        `MAX_FDR`, or that of a single cell.
    """

    def __init__(
        self,
        ontology: Ontology,
        calibration: Calibration | None = None,
        *,
        back_off: bool = True,
        separation: float = SEPARATION,
        known: float = KNOWN,
        max_fdr: float = MAX_FDR,
    ) -> None:
        self.ontology, self.separation, self.known, self.max_fdr = ontology, separation, known, max_fdr
        self.calibration = calibration or default_calibration()
        self.back_off = back_off
        self._position = {node: i for i, node in enumerate(ontology.nodes.tolist())}

    def decide(
        self,
        convergence: Convergence,
        support: Support,
        *,
        top: int = SHOWN_CANDIDATES,
        cells: int | None = None,
    ) -> Decision:
        """Decide one cell set from its scores and from how its genes support each candidate.

        `cells` is how many the set holds; None where that is unknown, and for single cells.
        """
        if not len(convergence.query) and not convergence.query.outside:
            return Decision("ungrounded", "", UNKNOWN, 0.0, 1.0, (), reason="no_gene")
        best = self.best(convergence, top)
        if not len(best):
            return Decision("unknown", "", UNKNOWN, 0.0, 1.0, (), reason="no_marker")
        positions = self.positions(convergence)
        confidence = self.confidences(convergence, support)
        candidates = tuple(
            Candidate(
                rank=rank,
                curie=self.ontology.terms[positions[i]],
                label=self.ontology.names[positions[i]],
                score=float(convergence.score[i]),
                p=float(convergence.p[i]),
                fdr=float(convergence.fdr[i]),
                confidence=float(confidence[positions[i]]),
                n_genes=int(support.genes[i]),
            )
            for rank, i in enumerate(best, start=1)
        )
        chance = np.ones(len(self.ontology))
        chance[positions] = convergence.fdr
        decided = self._answer(candidates, confidence, chance, int(positions[best[0]]), cells)
        near = np.flatnonzero(self.ontology.closure[positions[best]].any(axis=0)).tolist()
        terms, fdr = self.ontology.terms, self._chance_of
        standings = tuple(Standing(terms[t], float(confidence[t]), fdr(chance, t)) for t in near)
        return replace(decided, standings=standings)

    def confidences(self, convergence: Convergence, support: Support) -> Floats:
        """How sure each term is, float64[terms]; 0 where neither the term nor a kind of it is estimated.

        Estimated are the candidates with a positive score, by their own support, and the ancestors of the best
        one, by its support. A term is as sure as the surest of itself and its kinds: confidence never falls
        along is_a.
        """
        own = np.zeros(len(self.ontology))
        reached = np.flatnonzero(convergence.score > 0)
        if not len(reached):
            return own
        positions = self.positions(convergence)
        belief = np.asarray(self.ontology.lines @ self.spread(convergence.score, positions), dtype=np.float64)
        at, best = positions[reached], self.best(convergence, 1)[0]
        own[at] = self.calibration.confidence(belief[at], support.similarity[reached], support.share[reached])
        above = np.flatnonzero(self.ontology.closure[positions[best]])
        similarity, share = (np.full(len(above), x[best]) for x in (support.similarity, support.share))
        own[above] = np.maximum(own[above], self.calibration.confidence(belief[above], similarity, share))
        sure, (kind, term) = own.copy(), self.ontology.upwards
        np.maximum.at(sure, term, own[kind])
        return sure

    def best(self, convergence: Convergence, top: int) -> npt.NDArray[np.intp]:
        """Positions in a convergence of its best candidates: by score, the first few by both stages and by expected
        similarity, the first of all by `kind_instead`.
        """
        best = convergence.best(max(top, CONSIDERED))
        first = best[:CONSIDERED]
        if len(first) > 1:
            separation = None if convergence.separation is None else convergence.separation[first]
            score = second_stage(convergence.score[first], separation, self.separation)
            order = np.argsort(-np.round(score, TIE_DECIMALS), kind="stable")
            first, score = first[order], score[order]
            terms = np.array([self._position[n] for n in convergence.nodes[first].tolist()])
            order = by_expected_similarity(score, terms, self.ontology)
            if (known := convergence.attested) is not None and self.known:
                kind = kind_instead(
                    score[order], terms[order], known[first[order]], self.ontology, self.known
                )
                order = np.concatenate([order[[kind]], np.delete(order, kind)])
            best = np.concatenate([first[order], best[CONSIDERED:]])
        return best[:top]

    def positions(self, convergence: Convergence) -> npt.NDArray[np.intp]:
        """Ontology position of every candidate."""
        return np.array([self._position[n] for n in convergence.nodes.tolist()])

    def _answer(
        self,
        candidates: tuple[Candidate, ...],
        confidence: Floats,
        chance: Floats,
        top: int,
        cells: int | None,
    ) -> Decision:
        first, limit = candidates[0], self.calibration.threshold
        fdr = self._chance_of(chance, top)
        enough = supported(fdr, cells, self.max_fdr)
        unknown = Decision("unknown", "", UNKNOWN, 0.0, fdr, candidates)
        if cells is not None and cells < LEAST_CELLS:
            return replace(unknown, reason="few_cells")
        if first.n_genes < LEAST_GENES:
            return replace(unknown, reason="few_genes")
        vague = self.ontology.information[top] < self.calibration.vague
        if first.confidence >= limit and enough and not (vague and self.back_off):
            return Decision("named", first.curie, first.label, first.confidence, fdr, candidates)
        if self.back_off:
            above = self.ontology.ancestors(top)
            above = above[self.ontology.information[above] >= self.calibration.vague]
            for term in above[np.lexsort((above, -self.ontology.information[above]))].tolist():
                of_term = self._chance_of(chance, term) if confidence[term] >= limit else 1.0
                if supported(of_term, cells, self.max_fdr):
                    name, sure = self.ontology.names[term], float(confidence[term])
                    return Decision("backed_off", self.ontology.terms[term], name, sure, of_term, candidates)
        return replace(unknown, reason="unsure" if enough else "chance")

    def _chance_of(self, chance: Floats, term: int) -> float:
        """Least false discovery rate at a term or below it, equivalents included."""
        return float(chance[self.ontology.at_or_below(term)].min())

    def spread(self, score: Floats, positions: npt.NDArray[np.intp]) -> Floats:
        """Distribution over all terms: scores relative to the best, sharpened, normalised; float64[terms]."""
        share = (score / score.max()) ** self.calibration.sharpness
        spread = np.zeros(len(self.ontology))
        spread[positions] = share / share.sum()
        return spread

    def on_line(self, spread: Floats, positions: npt.NDArray[Any]) -> Floats:
        """Belief in each position: the share on it, above it and below it, equivalents included."""
        return np.asarray(self.ontology.lines[positions] @ spread, dtype=np.float64)
