"""What per-cell annotation says of every cell: label, confidence, a bound of the false discovery rate and status,
without evidence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gather.annotation import Reason
from gather.cells import _cell_kernels as kernels
from gather.labelling.decide import UNKNOWN
from gather.ontology import Ontology
from gather.retrieval.candidates import Choice

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

STATUSES = ("ungrounded", "unknown", "backed_off", "named")
REASONS: dict[int, Reason] = {
    0: "", kernels.UNSURE: "unsure", kernels.CHANCE: "chance", kernels.FEW_GENES: "few_genes",
    kernels.NO_MARKER: "no_marker", kernels.NO_GENE: "no_gene",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class CellAnswers:
    """Answers for a run of cells; arrays of length cells.

    Attributes
    ----------
    term
        Position in the ontology, int32; -1 for unknown.
    status
        Position in `STATUSES`, uint8.
    confidence, fdr
        float64. `confidence` is 0 without an answer. `fdr` is a bound: the best candidate's p times the candidates,
        but at most `MAX_FDR_OF_CELL` where there is an answer, because no answer's is greater.
    reason
        Key of `REASONS`, uint8.
    best, best_confidence
        Position of the best candidate in the ontology, int32, -1 for none; its confidence, float64.
    plain
        What `term` is where no tissue is preferred, int32.
    """

    term: Array
    status: Array
    confidence: Floats
    fdr: Floats
    reason: Array
    best: Array
    best_confidence: Floats
    plain: Array

    @classmethod
    def joined(cls, parts: Iterable[CellAnswers]) -> CellAnswers:
        """Return the answers of consecutive runs as one."""
        runs = list(parts)
        return cls(*(np.concatenate([getattr(r, f.name) for r in runs]) for f in fields(cls)))

    def changes(self, choice: Choice, ontology: Ontology) -> dict[str, Any]:
        """Return how many cells the tissue changed and which share of the answers without it are known there, as
        parameters of the run; nothing where none is preferred.
        """
        if not choice.preferred:
            return {}
        known = np.isin(ontology.nodes[self.plain[self.plain >= 0]], choice.preferred)
        return {
            "cells_changed_by_tissue": int((self.term != self.plain).sum()),
            "answers_known_in_tissue": float(known.mean()) if len(known) else 1.0,
        }


def obs_of(answers: CellAnswers, ontology: Ontology) -> dict[str, Any]:
    """Return the columns of ``obs``, by suffix."""
    columns: dict[str, Any] = {}
    for prefix, term in (("", answers.term), ("best_", answers.best)):
        known, codes = np.unique(term, return_inverse=True)
        for suffix, names in (("cell_type", ontology.names), ("cell_type_ontology_term_id", ontology.terms)):
            shown = np.array([names[i] if i >= 0 else UNKNOWN for i in known.tolist()], dtype=object)
            columns[prefix + suffix] = pd.Categorical(shown[codes])
    reasons = np.array([REASONS[i] for i in range(len(REASONS))], dtype=object)
    return columns | {
        "confidence": np.where(answers.term >= 0, answers.confidence, np.nan),
        "best_confidence": np.where(answers.best >= 0, answers.best_confidence, np.nan),
        "fdr": answers.fdr,
        "status": pd.Categorical(np.array(STATUSES, dtype=object)[answers.status]),
        "reason": pd.Categorical(reasons[answers.reason]),
    }
