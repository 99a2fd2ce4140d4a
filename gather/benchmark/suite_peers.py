"""Other methods of the development suite, on the same markers: each scores every cell set for every type.

ScType's formula   sum of scaled expression over the markers, by marker sensitivity (Ianevski et al., 2022)
ulm                t of a univariate linear model of scaled expression on the markers (decoupler, 2022)
hypergeometric     over-representation of the set's 50 best genes among the markers

All read the average expression of each set, scaled over the sets of the file. The packages read single cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.stats import hypergeom

if TYPE_CHECKING:
    from gather.retrieval.metapaths import Sparse
    from gather.retrieval.scores import Retriever

Floats = npt.NDArray[np.float64]

LIST = 50
MIN_LIST = 3
MIN_RESOURCES = 2
PEERS = ("ScType's formula", "ulm", "hypergeometric")


def marker_lists(retriever: Retriever, nodes: npt.NDArray[np.int32], *, least: int = MIN_LIST) -> Sparse:
    """Return the marker lists of a retriever's candidates among measured genes, 0 or 1, CSC [genes, candidates].

    Parameters
    ----------
    nodes
        Graph node of each measured gene, int32[genes], distinct; -1 where there is none.
    least
        Genes that a list needs; a shorter one is left empty.

    Returns
    -------
    A list holds the `LIST` strongest measured genes that `MIN_RESOURCES` resources name.
    """
    weights = retriever.weights
    columns = np.searchsorted(weights.nodes, retriever.nodes)
    kept = np.flatnonzero(nodes >= 0)
    direct = weights.direct[nodes[kept]].tocsc()[:, columns]
    resources = weights.resources[nodes[kept]].tocsc()[:, columns]
    row, column = [], []
    for c in range(len(columns)):
        span = slice(int(direct.indptr[c]), int(direct.indptr[c + 1]))
        good = resources.data[span] >= MIN_RESOURCES
        genes, weight = direct.indices[span][good], direct.data[span][good]
        best = genes[np.lexsort((genes, -weight))][:LIST]
        if len(best) >= least:
            row.append(kept[best])
            column.append(np.full(len(best), c))
    rows = np.concatenate([np.zeros(0, np.intp), *row])
    cells = (rows, np.concatenate([np.zeros(0, np.intp), *column]))
    return sp.csc_array((np.ones(len(rows)), cells), shape=(len(nodes), len(columns)))


def scaled(mean: npt.NDArray[np.float32]) -> Floats:
    """Scale average expression over the sets of a file to mean 0 and spread 1, float64[sets, genes]."""
    values = mean.astype(np.float64)
    spread = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0), dtype=np.float64)


def sctype(scaled_expression: Floats, lists: Sparse) -> Floats:
    """Return ScType's score, float64[sets, types]: markers weigh 1 where one list names them, 0 where all do."""
    named = np.asarray(lists.sum(axis=1)).ravel()
    most, least = named.max(initial=0.0), max(named[named > 0].min(initial=np.inf), 1.0)
    sensitivity = np.ones(len(named)) if most <= least else (most - named) / (most - least)
    length = np.asarray(lists.sum(axis=0)).ravel()
    score = (scaled_expression * sensitivity) @ lists
    return np.where(length > 0, score / np.sqrt(np.maximum(length, 1.0)), -np.inf)


def ulm(scaled_expression: Floats, lists: Sparse) -> Floats:
    """Return the t statistic of each set's expression on each list, float64[sets, types]."""
    n = scaled_expression.shape[1]
    length = np.asarray(lists.sum(axis=0)).ravel()
    centred = scaled_expression - scaled_expression.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).sum(axis=1))[:, None] * np.sqrt(
        np.maximum(length * (1 - length / n), 1e-12)
    )
    r = np.clip((centred @ lists) / np.maximum(spread, 1e-12), -0.999999, 0.999999)
    return np.where(length > 0, r * np.sqrt((n - 2) / (1 - r**2)), -np.inf)


def over_representation(asked: npt.NDArray[np.bool_], lists: Sparse) -> Floats:
    """Return ``-log10 p`` of the overlap of each set's genes bool[sets, genes] with each list, float64[sets, types]."""
    length = np.asarray(lists.sum(axis=0)).ravel()
    overlap = asked.astype(np.float64) @ lists
    genes = asked.sum(axis=1)[:, None]
    p = hypergeom.sf(overlap - 1, asked.shape[1], length[None, :], genes)
    return np.where(overlap > 0, -np.log10(np.maximum(p, 1e-300)), -np.inf)
