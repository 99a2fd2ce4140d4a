"""Profiles of many studies as virtual cells, and the cells to generate.

A profile is the mean of a published type in one set. It enters where the profile nearest to it in other sets is of
its type, and its sentence is judged by what real cells of the type show in those sets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from arena.datasets import admission
from arena.datasets.admission import Admission
from arena.datasets.cell_files import Floats, Labelled
from arena.datasets.oracle import likeness, rank_vectors, ranked
from arena.datasets.virtual_cell import SENTENCE_LENGTH, VirtualCell, item_rng
from arena.rankings import rank_biased_overlap

DEPTH: Final = 1000
"""Genes of a profile that decide whether it enters; the sample shows fewer."""
MARKERS: Final = 30
"""Genes by which a type differs from the others."""
TELLING: Final = 0.3
"""A marker is shown by so much more of a type's profiles than of all."""
MIN_REAL: Final = 3
"""Sets with a type from which on the spread among its real cells is known."""
OTHERS: Final = 24
"""Cells of other types that say what any cell scores."""
MIN_SPREAD: Final = 0.1
"""Distance from the score of any cell to that of a real cell of the type."""


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
    place = {g: i for i, g in enumerate(sorted({g for p in profiles for g in p.labelled.genes}))}
    vectors = rank_vectors([[place[g] for g in p.symbols(top)] for p in profiles], len(place))
    return likeness(vectors, vectors)


# ---- cells to generate ------------------------------------------------------------------------------------


def cells_to_generate(profiles: Sequence[Profile], entry: Admission) -> Iterator[VirtualCell]:
    """Yield types that three sets hold: their real rankings, and what any cell and a real cell score."""
    of_type: dict[str, list[Profile]] = defaultdict(list)
    for profile in profiles:
        of_type[profile.cl_id].append(profile)
    frequency = _frequencies(profiles)
    for cl_id, real in sorted(of_type.items()):
        if len(real) < MIN_REAL:
            continue
        rankings = [p.symbols(SENTENCE_LENGTH) for p in real]
        markers = _distinct(rankings, frequency)
        rankings.sort(key=lambda r: -len(set(markers).intersection(r)))  # the first is the reference answer
        others = [p for p in profiles if not entry.agree(p.cl_id, cl_id)]
        drawn = item_rng(entry.seed, f"others {cl_id}").permutation(len(others))[:OTHERS]
        floor = float(np.mean([best_overlap(others[int(i)].symbols(SENTENCE_LENGTH), rankings) for i in drawn]))
        held_out = [best_overlap(r, rankings[:i] + rankings[i + 1 :]) for i, r in enumerate(rankings)]
        ceiling = float(np.mean(held_out))
        shared = [np.mean([g in set().union(*rankings[:i], *rankings[i + 1 :]) for g in r]) for i, r in enumerate(rankings)]
        if ceiling - floor < MIN_SPREAD:
            entry.rejected[admission.SPREAD] += 1
            continue
        term = entry.terms.describe(cl_id)
        yield VirtualCell(
            id=term.cl_id,
            dataset="fresh",
            cell_type=term.name,
            cl_id=term.cl_id,
            species="human",
            description=term.description,
            markers=markers,
            references=tuple(map(tuple, rankings)),
            floor=round(floor, 4),
            ceiling=round(ceiling, 4),
            shared=round(float(np.mean(shared)), 4),
            lineage=term.lineage,
            difficulty=f"real cells overlap by {'.6 and more' if ceiling >= 0.6 else 'less than .6'}",
            cluster=term.parent,
            provenance={"sets": [p.set for p in real], "seed": entry.seed, "canary": admission.CANARY},
        )


def best_overlap(genes: Sequence[str], rankings: Sequence[Sequence[str]]) -> float:
    """Return the rank-biased overlap with the nearest of some rankings."""
    return max(rank_biased_overlap(genes, ranking) for ranking in rankings)


def _frequencies(profiles: Sequence[Profile]) -> Mapping[str, float]:
    """Return the share of profiles that show each gene among their highest."""
    shown: dict[str, int] = defaultdict(int)
    for profile in profiles:
        for gene in profile.symbols(SENTENCE_LENGTH):
            shown[gene] += 1
    return {gene: n / len(profiles) for gene, n in shown.items()}


def _distinct(rankings: Sequence[Sequence[str]], frequency: Mapping[str, float]) -> tuple[str, ...]:
    """Return the genes that most real cells of a type show and few others do, the most telling first."""
    own = {g: sum(g in r for r in rankings) / len(rankings) for r in rankings for g in r}
    common = [g for g in own if own[g] > 0.5 and own[g] - frequency[g] > TELLING]
    return tuple(sorted(common, key=lambda g: (frequency[g] - own[g], g))[:MARKERS])
