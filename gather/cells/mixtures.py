"""Doublets: a set whose cells express what sets two other, unrelated sets of the file apart, and little of their own.

Each set is compared with all pairs of other sets of unrelated lineages. A set without an answer has a lineage where its
first candidates share one; it is called by the deepest term above these. The genes that set the two
apart are asked in single cells: a cell counts as both where it expresses more of either set's genes than cells of the
other set do. What a doublet has beyond one of the two comes from the other; a real third type has genes beyond both.
Sets of too few cells stand together for their lineage where no other set of it does. A doublet of a type that has no
set of its own in the file is not found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from gather.annotation import Annotation, Candidate, Mixture
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
LEAST_SHARE, MOST_OWN = 0.5, 0.3
"""Share of the cells that express both, at least; of the genes that the set has beyond each of the two, the part that
it has beyond both, at most. Chosen with files left out (docs/results/doublets.md)."""
LEAST_BY_LINEAGES = LEAST_SHARE / 2
"""Share of the cells that express both lineages' genes, at least: those of a condition alone give next to none."""
APART = 15
"""Genes of each of the two that cells are asked for."""
RISE, FRACTION, MORE_OFTEN = 0.4, 0.25, 0.1
"""A set has a gene beyond another where the logarithm of its mean expression is greater by this, so many of its cells
express it, and by so many more than in the other."""
LEAST_OWN = 10
"""Genes that a set has beyond another, at least: fewer count as this."""
RARELY = 0.95
"""Share of the other set's cells that express fewer of a set's genes than a cell that counts."""
CELLS = 200
"""Cells of each set that are looked at, evenly taken."""
LEAST_CELLS = 10
AGREE = 3
"""Best candidates of a set without an answer that must share a lineage for it to be the set's."""


@dataclass(frozen=True)
class Profile:
    """Cells of one set: which genes each expresses, bool[cells, genes], and by gene three averages over the cells.

    `mean` is that of logarithmic expression, `level` the logarithm of the mean expression, `detected` the fraction of
    cells. The mean expression of doublets lies between those of the two types; the mean logarithm need not.
    """

    expressed: npt.NDArray[np.bool_]
    mean: Floats
    level: Floats
    detected: Floats

    @classmethod
    def of(cls, values: Floats) -> Profile:
        """Return the profile of log-normalised cells, float64[cells, genes]."""
        expressed = values > 0
        level = np.log1p(np.expm1(values).mean(axis=0))
        return cls(expressed, values.mean(axis=0), level, expressed.mean(axis=0))

    def how_many(self, genes: Positions) -> npt.NDArray[np.intp]:
        """Count the genes that each cell expresses."""
        return np.asarray(self.expressed[:, genes].sum(axis=1))

    def beyond(self, other: Profile) -> npt.NDArray[np.bool_]:
        """Which genes this set has and another has not, bool[genes]."""
        more = self.detected > other.detected + MORE_OFTEN
        return np.asarray(more & (self.detected > FRACTION) & (self.level > other.level + RISE))


Asked = tuple[Positions, float]
"""Genes, and how many of them a cell must express."""


@dataclass(frozen=True)
class Question:
    """What tells two sets apart, and their lineages over all sets of the file; and how often chance gives both.

    Two sets may also differ by a condition: stimulated monocytes and resting B cells differ by the genes of every
    stimulated cell. Over all sets of the two lineages these genes do not stand out.
    """

    one: str
    other: str
    by_sets: tuple[Asked, Asked]
    by_lineages: tuple[Asked, Asked]
    expected: float

    def shares(self, profile: Profile) -> tuple[float, float]:
        """Return the share of a set's cells that express both, by the genes of the sets and of the lineages."""
        return _share(profile, self.by_sets), _share(profile, self.by_lineages)


def _share(profile: Profile, asked: tuple[Asked, Asked]) -> float:
    first, second = (profile.how_many(genes) >= least for genes, least in asked)
    return float((first & second).mean())


@dataclass(frozen=True, slots=True)
class Pair:
    """How far two sets explain a third: `share` of its cells express both, `expected` by chance, genes of its `own`.

    `by_lineages` is the share by the genes that tell the two lineages apart over the whole file.
    """

    one: str
    other: str
    share: float
    by_lineages: float
    expected: float
    own: float

    @property
    def mixed(self) -> bool:
        """Whether the third set is a mixture of the two."""
        return (
            self.of_lineages
            and self.share >= LEAST_SHARE
            and self.own <= MOST_OWN
            and self.share > self.expected
        )

    @property
    def of_lineages(self) -> bool:
        """Whether the third set expresses both lineages, and not only what a condition changes."""
        return self.by_lineages >= LEAST_BY_LINEAGES


def kin(one: str, other: str) -> bool:
    """Whether two lineages of `data/lineages.tsv` are the same or too close to tell a doublet of them."""
    return one == other or PRECURSORS in (one, other) or any({one, other} <= group for group in KIN)


def questions(profiles: dict[str, Profile], lineages: dict[str, str]) -> list[Question]:
    """Return what tells each two sets of unrelated lineages apart."""
    of_lineage = {
        lineage: np.mean([profiles[name].mean for name, one in lineages.items() if one == lineage], axis=0)
        for lineage in set(lineages.values())
    }
    found = []
    for one, other in combinations(lineages, 2):
        if kin(lineages[one], lineages[other]):
            continue
        a, b = profiles[one], profiles[other]
        by_sets = _asked(a.mean - b.mean, a, b)
        by_lineages = _asked(of_lineage[lineages[one]] - of_lineage[lineages[other]], a, b)
        everywhere = [
            np.mean([(p.how_many(genes) >= least).mean() for p in profiles.values()])
            for genes, least in by_sets
        ]
        found.append(Question(one, other, by_sets, by_lineages, float(everywhere[0] * everywhere[1])))
    return found


def _asked(difference: Floats, a: Profile, b: Profile) -> tuple[Asked, Asked]:
    """Genes that one set has most against another, and of the other; and how many of them a cell needs."""
    of_a, of_b = (np.argsort(sign * difference, kind="stable")[:APART] for sign in (-1, 1))
    least_a, least_b = (
        max(2.0, float(np.quantile(rare.how_many(genes), RARELY)) + 1)
        for rare, genes in ((b, of_a), (a, of_b))
    )
    return (of_a, least_a), (of_b, least_b)


def best_pair(
    name: str, profile: Profile, profiles: dict[str, Profile], asked: Sequence[Question]
) -> Pair | None:
    """Return the pair of other sets of unrelated lineages that explains a set best; None without such a pair."""
    beyond = {other: profile.beyond(profiles[other]) for q in asked for other in (q.one, q.other)}
    found = []
    for question in asked:
        if name in (question.one, question.other):
            continue
        a, b = beyond[question.one], beyond[question.other]
        own = float((a & b).sum()) / max(min(a.sum(), b.sum()), LEAST_OWN)
        found.append(Pair(question.one, question.other, *question.shares(profile), question.expected, own))
    return max(found, key=lambda pair: (pair.of_lineages, pair.share - 2 * pair.own), default=None)


def profiles_of(matrix: Any, groups: npt.NDArray[np.object_]) -> dict[str, Profile]:
    """Return the profiles of all sets with at least `LEAST_CELLS` cells."""
    cells = {str(name): np.flatnonzero(groups == name) for name in sorted(set(groups.tolist()) - {""})}
    return {name: _profile(matrix, one) for name, one in cells.items() if len(one) >= LEAST_CELLS}


def with_small_sets_joined(
    annotations: Sequence[Annotation], groups: npt.NDArray[np.object_], ontology: Ontology
) -> tuple[tuple[Annotation, ...], npt.NDArray[np.object_]]:
    """Join the sets of fewer than `LEAST_CELLS` cells by the lineage of their best candidates, where no set has it.

    A joined set is called by the deepest term above all of these candidates. Returns the annotations with those of the
    joined sets behind them, and the set of every cell.
    """
    sizes = Counter(groups.tolist())
    big = [a for a in annotations if sizes[a.cell_set] >= LEAST_CELLS]
    taken = set(lineages_of(big, ontology).values())
    parts: dict[str, list[Annotation]] = {}
    for a in annotations:
        if a.candidates and 0 < sizes[a.cell_set] < LEAST_CELLS:
            lineage = ontology.lineage(ontology.position(a.candidates[0].curie))
            if lineage is not None and lineage not in taken:
                parts.setdefault(lineage, []).append(a)
    joined, groups = [], groups.copy()
    for some in parts.values():
        best = [ontology.position(a.candidates[0].curie) for a in some]
        top = ontology.lowest_common_ancestor(best)
        if top is None:
            continue
        name = " + ".join(a.cell_set for a in some)
        fdr = max(a.candidates[0].fdr for a in some)
        curie, label = ontology.terms[top], ontology.names[top]
        joined.append(replace(some[0], cell_set=name, curie=curie, label=label, fdr=fdr))
        groups[np.isin(groups, [a.cell_set for a in some])] = name
    return (*(_by_candidates(a, ontology) for a in annotations), *joined), groups


def _by_candidates(annotation: Annotation, ontology: Ontology) -> Annotation:
    """Call a set without an answer by the deepest term above its first candidates, where they share a lineage."""
    first = [ontology.position(c.curie) for c in annotation.candidates[:AGREE]]
    lineages = {ontology.lineage(i) for i in first}
    top = ontology.lowest_common_ancestor(first) if len(first) == AGREE and len(lineages) == 1 else None
    if annotation.curie or top is None or None in lineages:
        return annotation
    fdr = annotation.candidates[0].fdr
    return replace(annotation, curie=ontology.terms[top], label=ontology.names[top], fdr=fdr)


def _profile(matrix: Any, cells: Positions) -> Profile:
    part: Any = matrix[evenly(cells)]
    return Profile.of(np.asarray(part.toarray() if sp.issparse(matrix) else part, dtype=np.float64))


def evenly(cells: Positions) -> Positions:
    """Return `CELLS` of the cells of a set, evenly taken; all where there are fewer."""
    return cells[np.linspace(0, len(cells) - 1, min(len(cells), CELLS)).astype(np.intp)]


def lineages_of(annotations: Sequence[Annotation], ontology: Ontology) -> dict[str, str]:
    """Return the lineage of each answered set: the answer's or, where that has none, the next candidate's with one."""
    found = {a.cell_set: lineage_of(a.curie, a.candidates, ontology) for a in annotations}
    return {name: lineage for name, lineage in found.items() if lineage is not None}


def lineage_of(curie: str, candidates: Sequence[Candidate], ontology: Ontology) -> str | None:
    """Return the lineage of an answer or, where it has none, of the next candidate with one; None without an answer."""
    curies = (curie, *(c.curie for c in candidates)) if curie else ()
    known = (ontology.lineage(ontology.position(c)) for c in curies if c in ontology)
    return next((one for one in known if one is not None), None)


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
    known, groups = with_small_sets_joined(annotations, groups, ontology)
    by_name = {a.cell_set: a for a in known}
    lineages = lineages_of(known, ontology)
    if len(set(lineages.values())) < 2 or len(annotations) < 3:
        return tuple(annotations)
    profiles = profiles_of(matrix, groups)
    lineages = {name: lineage for name, lineage in lineages.items() if name in profiles}
    asked = questions(profiles, lineages)
    pairs = {
        name: best_pair(name, profile, profiles, asked)
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
        answers.append(a.mixed_of(mixture))
    return tuple(answers)
