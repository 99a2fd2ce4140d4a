"""Doublets: a set whose cells express what sets two other, unrelated sets of the file apart, and little of their own.

Each answered set is compared with all pairs of other answered sets of unrelated lineages. The genes that set the two
apart are asked in single cells: a cell counts as both where it expresses more of either set's genes than cells of the
other set do. A real third type has genes of its own, beyond both. A doublet of a type that has no set of its own in
the file is not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
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

    @cached_property
    def _above(self) -> npt.NDArray[np.bool_]:
        """Whether each gene is expressed, bool[genes, cells]."""
        return np.ascontiguousarray((self.values > 0).T)

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
        return np.asarray(self._above[genes].sum(axis=0))


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


@dataclass(frozen=True)
class Split:
    """What sets two sets apart, worked out once for all the sets that they may explain.

    Attributes
    ----------
    genes, least
        Genes of either set, and how many of them a cell must express to count as of it.
    expected
        Share of cells that count as both by chance.
    mean, detected
        What a gene of a third set must exceed to be its own.
    apart
        How many genes differ between the two.
    """

    one: str
    other: str
    genes: tuple[Positions, Positions]
    least: tuple[float, float]
    expected: float
    mean: Floats
    detected: Floats
    apart: int

    @classmethod
    def of(cls, profiles: dict[str, Profile], one: str, other: str) -> Split:
        """Return how two sets differ."""
        a, b = profiles[one], profiles[other]
        difference = a.mean - b.mean
        of_a, of_b = (np.argsort(sign * difference, kind="stable")[:APART] for sign in (-1, 1))
        counts_a, counts_b = ([p.how_many(genes) for p in profiles.values()] for genes in (of_a, of_b))
        place = list(profiles)
        least_a = max(2.0, float(np.quantile(counts_a[place.index(other)], RARELY)) + 1)
        least_b = max(2.0, float(np.quantile(counts_b[place.index(one)], RARELY)) + 1)
        everywhere = [
            np.mean([(n >= least).mean() for n in counts])
            for counts, least in ((counts_a, least_a), (counts_b, least_b))
        ]
        return cls(
            one, other, (of_a, of_b), (least_a, least_b), float(everywhere[0] * everywhere[1]),
            np.maximum(a.mean, b.mean) + RISE, np.maximum(a.detected, b.detected) + MORE_OFTEN,
            max(int((np.abs(difference) > RISE).sum()), 10),
        )  # fmt: skip

    def explains(self, profile: Profile) -> Pair:
        """Return how far the two explain a third set."""
        has_a, has_b = (profile.how_many(g) >= least for g, least in zip(self.genes, self.least, strict=True))
        own = (profile.mean > self.mean) & (profile.detected > FRACTION) & (profile.detected > self.detected)
        share = float((has_a & has_b).mean())
        return Pair(self.one, self.other, share, self.expected, float(own.sum() / self.apart))


def splits_of(profiles: dict[str, Profile], lineages: dict[str, str]) -> list[Split]:
    """Return the splits of all pairs of sets of unrelated lineages."""
    pairs = combinations(lineages, 2)
    return [Split.of(profiles, a, b) for a, b in pairs if not kin(lineages[a], lineages[b])]


def best_pair(name: str, profile: Profile, splits: Sequence[Split]) -> Pair | None:
    """Return the pair of other sets of unrelated lineages that explains a set best; None without such a pair."""
    found = [split.explains(profile) for split in splits if name not in (split.one, split.other)]
    return max(found, key=lambda pair: pair.share - 2 * pair.own, default=None)


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
    splits = splits_of(profiles, lineages)
    pairs = {name: best_pair(name, one, splits) for name, one in profiles.items() if name in by_name}
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
