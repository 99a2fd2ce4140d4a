"""Profiles of many studies as virtual cells.

A profile is the mean of a published type in one set. It enters where the profile nearest to it in other sets is of
its type.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from arena.datasets import admission
from arena.datasets.admission import Admission
from arena.datasets.cell_files import Floats, Labelled
from arena.datasets.oracle import likeness, rank_vectors, ranked
from arena.datasets.virtual_cell import SENTENCE_LENGTH, VirtualCell

DEPTH: Final = 1000
"""Genes of a profile that decide whether it enters; the sample shows fewer."""


class Profile(NamedTuple):
    """Row of a set of profiles."""

    labelled: Labelled
    row: int
    cl_id: str

    @property
    def set(self) -> str:
        """Name of its set."""
        return self.labelled.source.name

    def symbols(self, top: int) -> list[str]:
        """Its genes, the highest first."""
        return [self.labelled.genes[i] for i in ranked(self.labelled.values[self.row], top)]


def profiles_of(sets: Sequence[Labelled], species: str, entry: Admission) -> list[Profile]:
    """Return the profiles of one species whose type may enter, the first of each type of a set."""
    found: dict[tuple[str, str], Profile] = {}
    for labelled in sets:
        if labelled.source.values == "profiles" and labelled.source.species == species:
            for cl_id in sorted(set(labelled.types) - {""}):
                if entry.is_type(cl_id):
                    found[labelled.source.name, cl_id] = Profile(labelled, int(labelled.of(cl_id)[0]), cl_id)
                elif labelled.source.use == "samples":
                    entry.rejected[admission.GENERAL] += 1
    return list(found.values())


def profile_cells(profiles: Sequence[Profile], entry: Admission) -> Iterator[VirtualCell]:
    """Yield the profiles that another set's profiles tell apart."""
    deep, shown = _likeness(profiles, DEPTH), _likeness(profiles, SENTENCE_LENGTH)
    for at, profile in enumerate(profiles):
        source = profile.labelled.source
        if source.use != "samples":
            continue
        others = [i for i, other in enumerate(profiles) if other.set != source.name]
        rivals = [i for i in others if not entry.agree(profiles[i].cl_id, profile.cl_id)]
        if len(rivals) == len(others):
            entry.rejected[admission.UNSEEN] += 1
            continue
        nearest, rival = (profiles[max(few, key=lambda i: deep[at, i])].cl_id for few in (others, rivals))
        if nearest == rival:
            entry.rejected[admission.NEARER] += 1
            continue
        item = f"{source.name}/{profile.cl_id}/0"
        symbols = profile.symbols(SENTENCE_LENGTH)
        cell = entry.cell(profile.labelled, profile.cl_id, item, [profile.row], symbols, rival)
        named = profiles[max(others, key=lambda i: shown[at, i])].cl_id
        # A broader or narrower label of another set names the same cell.
        entry.oracle[cell.id] = profile.cl_id if entry.agree(named, profile.cl_id) else named
        yield cell


def _likeness(profiles: Sequence[Profile], top: int) -> Floats:
    if not profiles:
        return np.zeros((0, 0), dtype=np.float32)
    measured = {id(p.labelled): p.labelled.genes for p in profiles}  # a set has many profiles
    place = {g: i for i, g in enumerate(sorted(set().union(*measured.values())))}
    vectors = rank_vectors([[place[g] for g in p.symbols(top)] for p in profiles], len(place))
    return likeness(vectors, vectors)
