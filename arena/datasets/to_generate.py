"""Cell types to write the genes of, judged by ranked genes of real cells of the type.

A cell of no type, whose genes are the usual ones of all other types, scores 0; a real cell that was held out
scores 1. A type enters where the two are apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from arena.datasets import admission
from arena.datasets.admission import Admission
from arena.datasets.virtual_cell import SENTENCE_LENGTH, VirtualCell
from arena.rankings import rank_biased_overlap

MARKERS: Final = 30
"""Genes by which a type differs from the others."""
TELLING: Final = 0.3
"""A marker is shown by so much more of a type's rankings than of all."""
MIN_REAL: Final = 3
"""Rankings of a type from which on the spread among its real cells is known."""
MIN_SPREAD: Final = 0.05
"""Least overlap by which a real cell is nearer to the others than a cell of no type."""

Ranking = Sequence[str]


def cells_to_generate(
    real: Mapping[str, Sequence[Ranking]],
    entry: Admission,
    *,
    item: str,
    tissue: str = "",
    sets: Sequence[str],
) -> Iterator[VirtualCell]:
    """Yield the types of which enough real rankings are known.

    Parameters
    ----------
    real
        Rankings of real cells by Cell Ontology id: of several sets, or draws of one.
    item
        Begins the id of each virtual cell; may be empty.
    """
    shown = Counter(gene for rankings in real.values() for r in rankings for gene in r)
    total = sum(map(len, real.values()))
    for cl_id, known in sorted(real.items()):
        if len(known) < MIN_REAL:
            continue
        rankings = list(known)
        telling = _telling(rankings, {gene: n / total for gene, n in shown.items()})
        markers = tuple(g for g in telling if not admission.UNINFORMATIVE.match(g))[:MARKERS]
        entry.uninformative.update(set(telling[:MARKERS]) - set(markers))
        rankings.sort(key=lambda r: -len(set(markers).intersection(r)))  # the first is the reference answer
        others = [r for other, listed in real.items() if not entry.agree(other, cl_id) for r in listed]
        rest = [rankings[:i] + rankings[i + 1 :] for i in range(len(rankings))]
        floor = best_overlap(usual_genes(others), rankings)
        ceiling = float(np.mean([best_overlap(r, rest[i]) for i, r in enumerate(rankings)]))
        shared = [np.mean([g in set().union(*rest[i]) for g in r]) for i, r in enumerate(rankings)]
        if ceiling - floor < MIN_SPREAD:
            entry.rejected[admission.SPREAD] += 1
            continue
        term = entry.terms.describe(cl_id)
        yield VirtualCell(
            id=f"{item}{term.cl_id}",
            dataset="fresh",
            cell_type=term.name,
            cl_id=term.cl_id,
            tissue=tissue,
            species="human",
            description=term.description,
            markers=markers,
            references=tuple(map(tuple, rankings)),
            floor=round(floor, 4),
            ceiling=round(ceiling, 4),
            shared=round(float(np.mean(shared)), 4),
            lineage=term.lineage,
            difficulty="real cells of one set" if item else "real cells of several sets",
            cluster=term.cl_id,
            provenance={"sets": list(sets), "seed": entry.seed, "canary": admission.CANARY},
        )


def usual_genes(rankings: Sequence[Ranking]) -> list[str]:
    """Return the genes that are high in most of the rankings: a cell of no type."""
    weights: Counter[str] = Counter()
    for ranking in rankings:
        weights.update({gene: SENTENCE_LENGTH - rank for rank, gene in enumerate(ranking)})
    return sorted(weights, key=lambda g: (-weights[g], g))[:SENTENCE_LENGTH]


def best_overlap(genes: Ranking, rankings: Sequence[Ranking]) -> float:
    """Return the rank-biased overlap with the nearest of some rankings."""
    return max(rank_biased_overlap(genes, ranking) for ranking in rankings)


def _telling(rankings: Sequence[Ranking], frequency: Mapping[str, float]) -> list[str]:
    """Return the genes that most real cells of a type show and few others do, the most telling first."""
    own = {g: n / len(rankings) for g, n in Counter(g for r in rankings for g in r).items()}
    common = [g for g in own if own[g] > 0.5 and own[g] - frequency[g] > TELLING]
    return sorted(common, key=lambda g: (frequency[g] - own[g], g))
