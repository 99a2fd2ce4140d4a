"""Which column of ``obs`` may name cell sets, how many cells it leaves out, and what ``obs`` hints about a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from gather.annotation import Annotation
from vckg.base.errors import InputError

if TYPE_CHECKING:
    import anndata as ad

MOST_NUMBERS = 100
"""Distinct numbers a column of clusters may hold; more are a measurement, such as counts of genes."""
MOST_OF_FEW_CELLS = 50
"""Distinct values that are always clusters' where more than half the cells have a value of their own."""
MISSING = ("", "nan", "na", "n/a", "<na>", "none", "null")
"""Texts, lower case, that stand for no value; R writes ``NA``."""
_EXACT = 2**53
"""Floats below it hold every whole number."""
HINTS = {"doublet_score": "doublets", "pct_counts_mt": "dying cells"}
"""Columns of ``obs`` that other tools write, and what their high values hint at; they are shown and decide nothing."""
MARKED = 1.5
"""Mean of a set relative to the file's from which a hint is shown."""
_CLUSTERS = (
    "leiden",
    "louvain",
    "seurat_clusters",
    "cluster",
    "cell_type",
    "celltype",
    "annotation",
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
    """Return the columns that may hold clusters, the likeliest first: those named as clusters are, then by order.

    Columns that an earlier run wrote are left out.
    """
    found = []
    written = tuple(f"{key}_" for key in map(str, adata.uns) if f"{key}_status" in adata.obs)
    for order, name in enumerate(map(str, adata.obs.columns)):
        if name.startswith(written):
            continue
        column = adata.obs[name]
        fits = 2 <= int(column.nunique()) <= min(MOST_NUMBERS, max(adata.n_obs // 2, 2))
        if fits and not pd.api.types.is_float_dtype(column):
            ranks = [i for i, word in enumerate(_CLUSTERS) if word in name.lower().replace(".", "_")]
            found.append((min(ranks, default=len(_CLUSTERS)), order, name))
    return [name for _, _, name in sorted(found)]


def require_anndata(adata: object) -> None:
    """Refuse what is no AnnData, such as the path of a file."""
    if not all(hasattr(adata, name) for name in ("obs", "var", "uns", "X")):
        found = f"the text {adata!r}" if isinstance(adata, str) else f"a {type(adata).__name__}"
        raise InputError(
            f"{found} is no AnnData; give an AnnData, as anndata.read_h5ad(FILE) reads one; for a file there is "
            "`gather annotate FILE`"
        )


def texts_of(column: pd.Series) -> npt.NDArray[np.object_]:
    """Return the value of every cell as text, "" where there is none (`MISSING`).

    Whole numbers have no decimal point: pandas makes clusters 0, 1, 2 to floats where a cell has none.
    """
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    if pd.api.types.is_float_dtype(values):
        numbers = column.astype(float)
        if (numbers.dropna() % 1 == 0).all() and numbers.abs().max() < _EXACT:
            column = numbers.astype("Int64")
    texts = np.where(column.isna(), "", column.astype(str)).astype(object)
    texts[pd.Series(texts).str.strip().str.lower().isin(MISSING).to_numpy()] = ""
    return texts


def without_group(adata: ad.AnnData, groupby: str) -> int:
    """Return how many cells have no value in a column: ``unknown`` with status ``ungrounded``."""
    return int((texts_of(adata.obs[groupby]) == "").sum()) if groupby in adata.obs else 0


def with_hints(
    annotations: Sequence[Annotation], obs: pd.DataFrame, groups: npt.NDArray[np.object_]
) -> tuple[Annotation, ...]:
    """Return the annotations with a note where a set's mean in a column of `HINTS` is far above the file's."""
    known = {c: pd.to_numeric(obs[c], errors="coerce").to_numpy(dtype=float) for c in HINTS if c in obs}
    answers = []
    for a in annotations:
        words = [a.note] if a.note else []
        for column, values in known.items():
            inside, overall = (
                values[cells & np.isfinite(values)] for cells in (groups == a.cell_set, groups != "")
            )
            if len(inside) and overall.mean() > 0 and inside.mean() >= MARKED * overall.mean():
                means = f"mean {inside.mean():.2g}, {overall.mean():.2g} in the file"
                words.append(f"{column} hints at {HINTS[column]}: {means}")
        answers.append(replace(a, note="; ".join(words)))
    return tuple(answers)
