"""Merged clusters: a set whose cells fall into two groups that are answered as unrelated lineages.

The cells of each set are divided in two by their own expression. Where the two groups lie well apart, each is ranked
against the file's other sets and answered as a set. Both answers of unrelated lineages make the set ``mixed``, with
both names. Unlike a doublet (`gather.cells.mixtures`) such a set needs no other set of its lineages in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.cluster.vq import kmeans2
from scipy.linalg import eigh

from gather.annotation import Annotation, Mixture
from gather.cells.expression import Expression, rank_cell_sets
from gather.cells.mixtures import evenly, kin, lineage_of, with_mixtures
from gather.cells.options import Ranking
from gather.labelling.annotator import Annotator

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]

GENES, COMPONENTS = 1000, 5
"""Genes that vary most, and principal components of them, in which the cells are divided."""
LEAST_CELLS, LEAST_SHARE = 10, 0.1
"""Cells and share of the smaller group, at least."""
APART = 3.5
"""Distance of the two groups' means over their standard deviation, at least: halves of one normal group have 2.7. It
saves time; the two answers decide (docs/results/merged-clusters.md)."""


def divided(matrix: Any) -> Bools | None:
    """Return which cells are in the second of two groups, bool[cells]; None where there is one group.

    Parameters
    ----------
    matrix
        Log-normalised expression of the cells of one set, [cells, genes], dense or CSR.
    """
    places = _components(matrix)
    best, inertia = np.zeros(len(places), np.bool_), np.inf
    for component in places[:, :3].T:
        upper = component > np.median(component)
        if upper.all() or not upper.any():
            continue
        centres, group = kmeans2(
            places, np.stack([places[~upper].mean(axis=0), places[upper].mean(axis=0)]), minit="matrix"
        )
        spread = float(((places - centres[group]) ** 2).sum())
        if spread < inertia:
            best, inertia = group == 1, spread
    smaller = min(best.sum(), (~best).sum())
    if smaller < max(LEAST_CELLS, LEAST_SHARE * len(best)):
        return None
    axis = places[best].mean(axis=0) - places[~best].mean(axis=0)
    along = places @ (axis / np.linalg.norm(axis))
    spread = np.sqrt((along[best].var() + along[~best].var()) / 2)
    return best if np.linalg.norm(axis) >= APART * spread else None


def _components(matrix: Any) -> Floats:
    """Principal components of the cells in the genes that vary most, float64[cells, components]."""
    cells = sp.csr_array(matrix, dtype=np.float64)
    mean = np.asarray(cells.mean(axis=0)).ravel()
    variance = np.asarray(cells.power(2).mean(axis=0)).ravel() - mean**2
    chosen = np.argsort(-variance, kind="stable")[:GENES]
    values = cells[:, chosen].toarray() - mean[chosen]
    n = len(values)
    roots, vectors = eigh(values @ values.T, subset_by_index=(max(n - COMPONENTS, 0), n - 1))
    return np.asarray((vectors * np.sqrt(np.maximum(roots, 0.0)))[:, ::-1], dtype=np.float64)


def with_mixed_sets(
    annotations: Sequence[Annotation],
    expression: Expression,
    groups: npt.NDArray[np.object_],
    annotator: Annotator,
    ranking: Ranking = "specific",
) -> tuple[Annotation, ...]:
    """Return the annotations of one file; doublets and merged clusters have the status ``mixed`` and both names.

    Parameters
    ----------
    groups
        The set of every cell, "" for none.
    """
    annotations = with_mixtures(annotations, expression.matrix, groups, annotator.ontology)
    cells = {a.cell_set: evenly(np.flatnonzero(groups == a.cell_set)) for a in annotations}
    parts = {
        a.cell_set: group
        for a in annotations
        if a.mixture is None and len(cells[a.cell_set]) >= 2 * LEAST_CELLS
        if (group := divided(expression.matrix[cells[a.cell_set]])) is not None
    }
    if not parts:
        return annotations
    rows = np.concatenate(list(cells.values()))
    names = {name: (f"\0{i} 0", f"\0{i} 1") for i, name in enumerate(parts)}
    of_row: list[str] = []
    for name, some in cells.items():
        of_row += [names[name][int(g)] for g in parts[name]] if name in parts else [name] * len(some)
    part = replace(expression, matrix=expression.matrix[rows])
    ranked = {one.name: one for one in rank_cell_sets(part, of_row, ranking=ranking)}
    answers = []
    for a in annotations:
        if a.cell_set not in parts:
            answers.append(a)
            continue
        share = float(parts[a.cell_set].mean())
        order = (0, 1) if share <= 0.5 else (1, 0)
        one, other = (annotator.decide(ranked[names[a.cell_set][i]])[2] for i in order)
        first, second = (lineage_of(d.curie, d.candidates, annotator.ontology) for d in (one, other))
        if first is None or second is None or kin(first, second):
            answers.append(a)
            continue
        both = (one.curie, other.curie), (one.label, other.label)
        answers.append(
            a.mixed_of(Mixture(*both, min(share, 1.0 - share), 0.0, max(one.fdr, other.fdr), merged=True))
        )
    return tuple(answers)
