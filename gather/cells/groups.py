"""Which column of ``obs`` may name cell sets, and how many cells it leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from vckg.base.errors import InputError

if TYPE_CHECKING:
    import anndata as ad

MOST_NUMBERS = 100
"""Distinct numbers a column of clusters may hold; more are a measurement, such as counts of genes."""
MOST_OF_FEW_CELLS = 50
"""Distinct values that are always clusters' where more than half the cells have a value of their own."""
_CLUSTERS = (
    "cell_type",
    "celltype",
    "annotation",
    "leiden",
    "louvain",
    "cluster",
    "seurat",
    "label",
    "ident",
)


def refuse_measurement(adata: ad.AnnData, groupby: str) -> None:
    """Raise InputError where a column holds measurements, or a name for each cell, instead of clusters."""
    column = adata.obs[groupby]
    distinct = int(column.nunique())
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    of_each_cell = distinct > max(MOST_OF_FEW_CELLS, adata.n_obs // 2)
    if not of_each_cell and not (numeric and distinct > MOST_NUMBERS):
        return
    right = columns_of_clusters(adata)
    fix = f"did you mean {right[0]!r}?" if right else "no column holds clusters: leave --groupby out"
    more = f" (or {', '.join(repr(name) for name in right[1:4])})" if right[1:] else ""
    what = f"{distinct:,} different {'numbers' if numeric else 'names'} in {adata.n_obs:,} cells"
    raise InputError(f"column {groupby!r} holds {what}, which are no cell sets; {fix}{more}")


def columns_of_clusters(adata: ad.AnnData) -> list[str]:
    """Return the columns that may hold clusters, the likeliest first: those named as clusters are, then by order."""
    found = []
    for order, name in enumerate(map(str, adata.obs.columns)):
        column = adata.obs[name]
        fits = 2 <= int(column.nunique()) <= min(MOST_NUMBERS, max(adata.n_obs // 2, 2))
        if fits and not pd.api.types.is_float_dtype(column):
            ranks = [i for i, word in enumerate(_CLUSTERS) if word in name.lower().replace(".", "_")]
            found.append((min(ranks, default=len(_CLUSTERS)), order, name))
    return [name for _, _, name in sorted(found)]


def without_group(adata: ad.AnnData, groupby: str) -> int:
    """Return how many cells have no value in a column; they end as ``unknown`` with status ``ungrounded``."""
    return int(adata.obs[groupby].isna().sum()) if groupby in adata.obs else 0
