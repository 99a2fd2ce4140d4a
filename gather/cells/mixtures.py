"""Doublets: a set whose cells express what sets two other, unrelated sets of the file apart, and little of their own.

Each answered set is compared with all pairs of other answered sets of unrelated lineages. The genes that set the two
apart are asked in single cells: a cell counts as both where it expresses more of either set's genes than cells of the
other set do. A real third type has genes of its own, beyond both. A doublet of a type that has no set of its own in
the file is not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from gather.annotation import Annotation, Mixture
from gather.labelling.decide import UNKNOWN
from gather.ontology import Ontology

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]

KIN = (
    {"T", "NK and innate lymphoid"},
    {"dendritic", "monocyte and macrophage", "granulocyte and mast"},
    {"stromal", "mural", "muscle"},
    {"glial", "neural"},
)
"""Lineages that share so many genes that expressing both means nothing."""
PRECURSORS = "hematopoietic stem and progenitor"
"""Express genes of every blood lineage."""
LEAST_SHARE, MOST_OWN = 0.6, 0.15
"""Share of the cells that express both, at least; genes of the set's own relative to those that set the two apart, at
most. Chosen with files left out (docs/results/doublets.md)."""
APART = 15
"""Genes of each of the two that cells are asked for."""
RISE, FRACTION, MORE_OFTEN = 0.4, 0.25, 0.1
"""A gene is a set's own where its mean logarithmic expression is greater by this than in both others, so many of the
set's cells express it, and by so many more than in both others."""
RARELY = 0.95
"""Share of the other set's cells that express fewer of a set's genes than a cell that counts."""
CELLS = 200
"""Cells of each set that are looked at, evenly taken."""
LEAST_CELLS = 10


@dataclass(frozen=True)
class Profile:
    """Cells of one set, float64[cells, genes], with the means and the fractions of cells that express each gene."""

    values: Floats
    mean: Floats
    detected: Floats

    @classmethod
    def of(cls, matrix: Any, cells: Positions) -> Profile:
        """Return the profile of some cells, at most `CELLS`."""
        chosen = cells[np.linspace(0, len(cells) - 1, min(len(cells), CELLS)).astype(np.intp)]
        part: Any = matrix[chosen]
        is_sparse = sp.issparse(matrix)
        dense: Any = part.toarray() if is_sparse else part
        values = np.asarray(dense, dtype=np.float64)
        return cls(values, values.mean(axis=0), (values > 0).mean(axis=0))

    def how_many(self, genes: Positions) -> npt.NDArray[np.intp]:
        """Count the genes that each cell expresses."""
        return np.asarray((self.values[:, genes] > 0).sum(axis=1))


@dataclass(frozen=True, slots=True)
class Pair:
    """How far two sets explain a third: `share` of its cells express both, `expected` by chance, genes of its `own`."""

    one: str
    other: str
    share: float
    expected: float
    own: float

    @property
    def mixed(self) -> bool:
        """Whether the third set is a mixture of the two."""
        return self.share >= LEAST_SHARE and self.own <= MOST_OWN and self.share > self.expected


def kin(one: str, other: str) -> bool:
    """Whether two lineages of `data/lineages.tsv` are the same or too close to tell a doublet of them."""
    return one == other or PRECURSORS in (one, other) or any({one, other} <= group for group in KIN)


def best_pair(
    name: str, profile: Profile, profiles: dict[str, Profile], lineages: dict[str, str]
) -> Pair | None:
    """Return the pair of other sets of unrelated lineages that explains a set best; None without such a pair."""
    others = [other for other in lineages if other != name]
    found = [
        explained(profile, profiles, one, other)
        for one, other in combinations(others, 2)
        if not kin(lineages[one], lineages[other])
    ]
    return max(found, key=lambda pair: pair.share - 2 * pair.own, default=None)


def explained(profile: Profile, profiles: dict[str, Profile], one: str, other: str) -> Pair:
    """Return how far two sets explain a third."""
    a, b = profiles[one], profiles[other]
    difference = a.mean - b.mean
    of_a, of_b = (np.argsort(sign * difference, kind="stable")[:APART] for sign in (-1, 1))
    least_a = max(2.0, float(np.quantile(b.how_many(of_a), RARELY)) + 1)
    least_b = max(2.0, float(np.quantile(a.how_many(of_b), RARELY)) + 1)
    has_a, has_b = profile.how_many(of_a) >= least_a, profile.how_many(of_b) >= least_b
    everywhere = [
        np.mean([(p.how_many(genes) >= least).mean() for p in profiles.values()])
        for genes, least in ((of_a, least_a), (of_b, least_b))
    ]
    own = (
        (profile.mean > np.maximum(a.mean, b.mean) + RISE)
        & (profile.detected > FRACTION)
        & (profile.detected > np.maximum(a.detected, b.detected) + MORE_OFTEN)
    )
    apart = max(int((np.abs(difference) > RISE).sum()), 10)
    expected = float(everywhere[0] * everywhere[1])
    return Pair(one, other, float((has_a & has_b).mean()), expected, float(own.sum() / apart))


def profiles_of(matrix: Any, groups: npt.NDArray[np.object_]) -> dict[str, Profile]:
    """Return the profiles of all sets with at least `LEAST_CELLS` cells."""
    cells = {str(name): np.flatnonzero(groups == name) for name in sorted(set(groups.tolist()) - {""})}
    return {name: Profile.of(matrix, one) for name, one in cells.items() if len(one) >= LEAST_CELLS}


def lineages_of(annotations: Sequence[Annotation], ontology: Ontology) -> dict[str, str]:
    """Return the lineage of each answered set that has one."""
    found = {
        a.cell_set: ontology.lineage(ontology.position(a.curie))
        for a in annotations
        if a.curie and a.curie in ontology
    }
    return {name: lineage for name, lineage in found.items() if lineage is not None}


def with_mixtures(
    annotations: Sequence[Annotation], matrix: Any, groups: npt.NDArray[np.object_], ontology: Ontology
) -> tuple[Annotation, ...]:
    """Return the annotations of one file; those of doublets have the status ``mixed``, both names and the share.

    Parameters
    ----------
    matrix
        Log-normalised expression, [cells, genes], dense or CSR.
    groups
        The set of every cell, "" for none.
    """
    by_name = {a.cell_set: a for a in annotations}
    lineages = lineages_of(annotations, ontology)
    if len(set(lineages.values())) < 2 or len(annotations) < 3:
        return tuple(annotations)
    profiles = profiles_of(matrix, groups)
    lineages = {name: lineage for name, lineage in lineages.items() if name in profiles}
    pairs = {
        name: best_pair(name, profile, profiles, lineages)
        for name, profile in profiles.items()
        if name in by_name
    }
    mixed = {name: pair for name, pair in pairs.items() if pair is not None and pair.mixed}
    answers = []
    for a in annotations:
        pair = mixed.get(a.cell_set)
        if pair is None or {pair.one, pair.other} & set(mixed):  # a mixture explains nothing
            answers.append(a)
            continue
        parts = by_name[pair.one], by_name[pair.other]
        mixture = Mixture(
            (parts[0].curie, parts[1].curie), (parts[0].label, parts[1].label), pair.share, pair.expected,
            max(p.fdr for p in parts),
        )  # fmt: skip
        answers.append(
            replace(
                a,
                status="mixed",
                label=UNKNOWN,
                curie="",
                confidence=0.0,
                reason="two_lineages",
                mixture=mixture,
            )
        )
    return tuple(answers)
