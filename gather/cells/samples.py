"""Several samples in one file: genes ranked within each, one answer for each cell set, and where samples disagree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gather.cells.expression import RANKED_GENES, Expression, rank_cell_sets
from gather.cells.groups import texts_of
from gather.cells.options import Ranking
from gather.labelling.decide import UNKNOWN
from gather.retrieval.query import CellSet, make_query
from vckg.base.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import anndata as ad

    from gather.annotation import Annotation
    from gather.labelling.annotator import Annotator

LEAST_CELLS = 5
"""Cells of a set that a sample needs to have a say."""
MOST_OF_ONE = 0.9
"""Share of a set's cells above which it is called a set of one sample."""


DIFFERING, OF_ONE_SAMPLE = "differing: ", "cells are of one sample"


@dataclass(frozen=True)
class Samples:
    """The cell sets of a file by sample.

    Attributes
    ----------
    sets
        One of each group: its genes ordered by their mean strength over the samples, each ranked within itself.
    by_sample
        The set of each group and sample with at least `LEAST_CELLS` cells.
    cells
        Cells of each group and sample.
    """

    sets: list[CellSet]
    by_sample: Mapping[str, Mapping[str, CellSet]]
    cells: Mapping[str, Mapping[str, int]]


def sample_of_cells(adata: ad.AnnData, key: str) -> npt.NDArray[np.object_]:
    """Return the sample of every cell as text, "" where there is none; InputError where there is no such column."""
    if key not in adata.obs:
        raise InputError(
            f"no column {key!r} in obs{did_you_mean(key, map(str, adata.obs.columns))}; give --sample-key"
        )
    return texts_of(adata.obs[key])


def ranked_sets(
    adata: ad.AnnData,
    expression: Expression,
    groups: npt.NDArray[np.object_],
    key: str | None,
    ranking: Ranking,
) -> tuple[list[CellSet], Samples | None]:
    """Return the ranked cell sets, ranked within the samples of a column of obs where one is given."""
    if key is None:
        return rank_cell_sets(expression, groups.tolist(), ranking=ranking), None
    samples = rank_within_samples(expression, groups, sample_of_cells(adata, key), ranking=ranking)
    return samples.sets, samples


def rank_within_samples(
    expression: Expression,
    groups: npt.NDArray[np.object_],
    samples: npt.NDArray[np.object_],
    *,
    ranking: Ranking = "specific",
) -> Samples:
    """Rank the genes of every group within each sample, where what differs between samples cannot matter.

    A group that no sample holds with `LEAST_CELLS` cells together with another group is ranked over all cells.
    """
    by_sample: dict[str, dict[str, CellSet]] = defaultdict(dict)
    for sample in sorted(set(samples.tolist()) - {""}):
        rows = np.flatnonzero((samples == sample) & (groups != ""))
        if len(set(groups[rows].tolist())) < 2:
            continue
        part = replace(expression, matrix=expression.matrix[rows])
        for one in rank_cell_sets(part, groups[rows].tolist(), ranking=ranking):
            if one.n_cells >= LEAST_CELLS:
                by_sample[one.name][sample] = one
    counts = pd.crosstab(pd.Series(groups, name="g"), pd.Series(samples, name="s"))
    pooled = rank_cell_sets(expression, groups.tolist(), ranking=ranking)
    sets = [
        _mean(one, list(by_sample[one.name].values())) if one.name in by_sample else one for one in pooled
    ]
    cells = {
        one.name: {str(s): int(n) for s, n in counts.loc[one.name].items() if n and s != ""} for one in pooled
    }
    return Samples(sets, by_sample, cells)


def _mean(pooled: CellSet, parts: Sequence[CellSet]) -> CellSet:
    """Order genes by their mean strength over samples, 0 where a sample does not list them; equals by name."""
    total: dict[str, float] = defaultdict(float)
    for part in parts:
        for gene, strength in zip(part.genes, part.strengths, strict=True):
            total[gene] += strength / len(parts)
    order = sorted(total, key=lambda gene: (-total[gene], gene))[:RANKED_GENES]
    return replace(pooled, genes=tuple(order), strengths=tuple(total[gene] for gene in order))


def compare_samples(
    annotations: Sequence[Annotation], found: Samples, annotator: Annotator, top: int
) -> tuple[tuple[Annotation, ...], pd.DataFrame]:
    """Return the answers with a remark on their samples, and a table of what each sample alone gives.

    A sample agrees where its own answer is the set's answer, or a term above or below it.
    """
    rows: list[tuple[Any, ...]] = []
    noted = []
    for answer in annotations:
        others = []
        said = found.by_sample.get(answer.cell_set, {})
        for sample, one in said.items():
            query = make_query(annotator.panel, one, top=top)
            convergence = annotator.retriever.converge([query])[0]
            own = annotator.labeller.decide(convergence, annotator.retriever.support(query))
            agrees = _related(annotator, answer.curie, own.curie)
            rows.append((answer.cell_set, sample, one.n_cells, own.label, own.curie or UNKNOWN, agrees))
            others += [] if agrees else [f"{sample}: {own.label}"]
        remark = _remark(found.cells[answer.cell_set], len(said), others)
        noted.append(replace(answer, note="; ".join(filter(None, (answer.note, remark)))))
    columns = ["cell_set", "sample", "n_cells", "cell_type", "cell_type_ontology_term_id", "agrees"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.index = frame.index.astype(str)
    return tuple(noted), frame


def _remark(cells: Mapping[str, int], asked: int, others: Sequence[str]) -> str:
    total = sum(cells.values())
    words = []
    if asked:
        words.append(f"samples that agree: {asked - len(others)} of {asked}")
    words += [f"{DIFFERING}{', '.join(others[:5])}"] if others else []
    if total and max(cells.values()) >= MOST_OF_ONE * total:
        largest = max(cells, key=lambda s: cells[s])
        words.append(f"{cells[largest]:,} of {total:,} {OF_ONE_SAMPLE} ({largest})")
    return "; ".join(words)


def _related(annotator: Annotator, one: str, other: str) -> bool:
    if not one or not other:
        return False
    i, j = annotator.ontology.position(one), annotator.ontology.position(other)
    return i == j or j in annotator.ontology.descendants(i) or i in annotator.ontology.descendants(j)
