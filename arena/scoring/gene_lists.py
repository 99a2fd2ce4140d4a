"""Scores of a written gene list as a cell of its type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from arena import rankings
from arena.datasets.virtual_cell import rng_of
from arena.scoring.grounding import Names
from arena.types import Sample

Values = dict[str, float | None]
Parsed = Mapping[str, Any]

RANDOM_LISTS: Final = 5


def generation(sample: Sample, parsed: Parsed, names: Names) -> tuple[Values, str]:
    """Judge a ranked gene list as a cell: a valid list, its type's markers, a real cell's order."""
    length = int(sample.fields["length"])
    listed = [str(gene) for gene in parsed["genes"]]
    references = [names.gene_keys(sentence)[:length] for sentence in sample.gold["sentences"]]
    markers = set(names.gene_keys(sample.gold["markers"]))
    keys = names.gene_keys(listed)
    real = set().union(*references) if references else set()
    valid = [key for key in keys if key in real or names.is_gene(key)]
    distinct = list(dict.fromkeys(valid))[:length]
    wanted = min(length, max(map(len, references), default=len(markers)))
    values: Values = {
        "validity": len(valid) / len(keys) if keys else 0.0,
        "uniqueness": len(set(keys)) / len(keys) if keys else 0.0,
        "count": _count(len(keys), wanted, length),
        "marker_recall": _marker_recall(distinct, markers, references, length),
        **_overlap(sample, distinct, references, names),
        "plausible": _plausible(distinct, real, wanted, float(sample.gold.get("shared", 0.0))),
    }
    parts = [v for v in (values["marker_recall"], values["likeness"]) if v is not None]
    clean = len(distinct) / max(1, min(len(keys), length)) if keys else 0.0
    if values["plausible"] is None:
        values["fidelity"] = clean * sum(parts) / len(parts) if parts else None
    else:
        values["fidelity"] = _f1(clean * values["plausible"], sum(parts) / len(parts)) if parts else None
    return values, f"names: {len(keys)}, distinct genes counted: {len(distinct)}"


def _count(n: int, wanted: int, length: int) -> float:
    """1 for as many genes as a real cell has up to the length asked for, else the ratio to the nearer end."""
    if n < wanted:
        return n / wanted
    return 1.0 if n <= length else length / n


def _marker_recall(
    listed: Sequence[str], markers: set[str], references: Sequence[Sequence[str]], length: int
) -> float | None:
    """Markers shown, relative to what a real cell shows in as many genes (at most 1).

    A real cell shows a minority of its type's known markers, so the plain recall of a perfect answer would be
    about a tenth. Unscored where there is no marker, or the real cells show none.
    """
    shown = max(len(markers & set(r)) for r in references) if references else min(length, len(markers))
    return min(1.0, len(markers & set(listed)) / shown) if shown else None


def _plausible(listed: Sequence[str], real: set[str], wanted: int, shared: float) -> float | None:
    """Share of the genes that real cells show, over what one real cell shares with the others.

    A gene that the list lacks is one that no real cell shows: so many were asked for.
    """
    if not shared:
        return None
    return min(1.0, len(real.intersection(listed)) / max(wanted, len(listed), 1) / shared)


def _f1(precision: float, recall: float) -> float:
    """Return the harmonic mean: of what is half right in both the half, where the product would be a quarter."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _overlap(
    sample: Sample, listed: Sequence[str], references: Sequence[Sequence[str]], names: Names
) -> Values:
    if not references:
        return {"rbo": None, "likeness": None}
    # Ranks that a list leaves empty are misses: unlike two rankings cut short, it was asked for so many genes.
    empty = [f"rank {rank}" for rank in range(len(listed), max(map(len, references)))]
    overlap = max(
        rankings.rank_biased_overlap([*listed, *empty[: max(0, len(r) - len(listed))]], r) for r in references
    )
    chance, ceiling = float(sample.gold.get("floor", 0.0)), float(sample.gold.get("ceiling", 1.0))
    if not chance:
        rng = rng_of(sample.id)
        size = max(map(len, references))
        draws = [names.random_genes(size, rng) for _ in range(RANDOM_LISTS)]
        chance = float(np.mean([max(rankings.rank_biased_overlap(d, r) for r in references) for d in draws]))
    return {"rbo": overlap, "likeness": min(1.0, max(0.0, (overlap - chance) / (ceiling - chance)))}
