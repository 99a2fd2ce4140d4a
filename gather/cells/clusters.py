"""Clusters and an embedding for files that bring none: components, neighbours, then Leiden or UMAP."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gather.cells.expression import Expression

if TYPE_CHECKING:
    import anndata as ad

_MOST_GENES, _VARIABLE_GENES = 3000, 2000
_COMPONENTS = 50
_LEAST_CELLS = 10
MOST_EMBEDDED = 20_000


def leiden(expression: Expression, inside: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.object_]:
    """Return the Leiden cluster of every cell; "" outside, one cluster where the cells are too few."""
    import scanpy as sc

    groups = np.full(expression.matrix.shape[0], "", dtype=object)
    view = _neighbours(expression, np.flatnonzero(inside), seed)
    if view is None:
        groups[inside] = "0"
        return groups
    sc.tl.leiden(view, flavor="igraph", n_iterations=2, directed=False, random_state=seed)
    groups[inside] = view.obs["leiden"].astype(str).to_numpy()
    return groups


def umap(expression: Expression, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]] | None:
    """Return which cells were embedded, ascending, and their places, float32[embedded, 2].

    Cells without expression are left out; of more than `MOST_EMBEDDED` a random choice is embedded. None where the
    cells are too few.
    """
    import scanpy as sc

    rows = np.flatnonzero(np.asarray(expression.matrix.sum(axis=1)).ravel() > 0)
    if len(rows) > MOST_EMBEDDED:
        rows = np.sort(np.random.default_rng(seed).choice(rows, size=MOST_EMBEDDED, replace=False))
    with _one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap remarks that a seed makes it run on one thread
        view = _neighbours(expression, rows, seed)
        if view is None:
            return None
        sc.tl.umap(view, random_state=seed)
    return rows, np.asarray(view.obsm["X_umap"], np.float32)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run linear algebra and compiled loops on one thread: sums by several come out another way on each machine."""
    import numba
    from threadpoolctl import threadpool_limits

    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        numba.set_num_threads(threads)


def _neighbours(expression: Expression, rows: npt.NDArray[np.intp], seed: int) -> ad.AnnData | None:
    """The given cells with principal components and neighbours; None where they are too few."""
    import anndata as ad
    import scanpy as sc
    from threadpoolctl import threadpool_limits

    matrix: Any = expression.matrix
    columns = np.flatnonzero(expression.panel.nodes >= 0)
    view = ad.AnnData(
        X=matrix[rows][:, columns].copy(),
        obs=pd.DataFrame(index=rows.astype(str)),
        var=pd.DataFrame(index=columns.astype(str)),
    )
    components = min(_COMPONENTS, view.n_obs - 1, view.n_vars - 1)
    if components < 2 or view.n_obs < _LEAST_CELLS:
        return None
    if view.n_vars > _MOST_GENES:
        sc.pp.highly_variable_genes(view, n_top_genes=_VARIABLE_GENES)
    with threadpool_limits(1):  # clusters must not depend on how many cores there are
        sc.pp.pca(view, n_comps=components, random_state=seed)
    sc.pp.neighbors(view, random_state=seed)
    return view
