"""The published score for batches of queries, and the exact order of their best candidates.

Two engines give one answer: a compiled kernel that releases the interpreter lock, in chunks over a small thread
pool, and plain numpy. Both sum a whole row of candidates in float32. They then sum the best again in float64, in
the order of the query, so that the result equals the definition in `benchmarks.reach` in value and order.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from gather.retrieval.path_matrices import HOP_CODES, Table
from gather.retrieval.query import TIE_DECIMALS, rank_weights
from vckg.base.errors import InputError

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Engine = Literal["numba", "numpy"]

CHUNK = 2048
"""Queries of one task of the pool: large enough to hide its cost, small enough to share evenly."""
_TOGETHER = 256
"""Queries that plain numpy scores at once: their sums stay in the cache."""
_SLACK = 1e-4
"""Relative error that float32 sums may have; candidates this near the last place are summed again."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The best candidates of many queries.

    Attributes
    ----------
    columns
        Operator columns, best first, int32[queries, top]; -1 where fewer were reached.
    scores
        Their scores, float64[queries, top]; 0 where fewer were reached.
    reached
        Candidates that each query reaches, int32[queries].
    """

    columns: Ints
    scores: Floats
    reached: Ints


def paper_batch(
    table: Table,
    queries: npt.NDArray[np.int32],
    *,
    top: int = 15,
    engine: Engine = "numba",
    threads: int = 1,
) -> Batch:
    """Score and rank a batch of queries by the published score.

    Parameters
    ----------
    table
        Reach within the wanted hops (`Operators.table`), perhaps of a restricted candidate set.
    queries
        Operator rows of the query genes, best first, int32[queries, genes]; -1 pads short queries at the end.
    top
        How many candidates to return.
    """
    if top < 1:
        raise InputError(f"top is {top}; at least one candidate must be wanted")
    n, width = queries.shape
    rows = np.where(queries >= 0, table.row[queries], -2).astype(np.int32)
    # a gene that reaches nothing keeps its place in the ranking, as in the definition
    result = Batch(np.full((n, top), -1, np.int32), np.zeros((n, top), np.float64), np.zeros(n, np.int32))
    ranks = rank_weights(width)
    chunks = [slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]

    def one(chunk: slice) -> None:
        parts = (rows[chunk], result.columns[chunk], result.scores[chunk], result.reached[chunk])
        if engine == "numba":
            from benchmarks._score_kernels import paper_chunk

            paper_chunk(table.codes, table.bits, table.df, table.columns, ranks, *parts, _SLACK, TIE_DECIMALS)
        else:
            _numpy_chunk(table, ranks, *parts)

    if threads == 1 or len(chunks) == 1:
        for chunk in chunks:
            one(chunk)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, chunks))
    return result


def pad_queries(rows: Sequence[npt.NDArray[np.intp]]) -> Ints:
    """Stack queries of unequal length, int32[queries, longest], padded with -1."""
    width = max((len(r) for r in rows), default=0)
    padded = np.full((len(rows), max(width, 1)), -1, np.int32)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded


def _numpy_chunk(
    table: Table, ranks: Floats, rows: Ints, columns: Ints, scores: Floats, reached: Ints
) -> None:
    """Fill one chunk's results with plain numpy and scipy, `_TOGETHER` queries at a time."""
    for start in range(0, len(rows), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        _numpy_part(table, ranks, rows[part], columns[part], scores[part], reached[part])


def _numpy_part(
    table: Table, ranks: Floats, rows: Ints, columns: Ints, scores: Floats, reached: Ints
) -> None:
    n, top = columns.shape
    if not len(table.columns):
        return
    inside = rows >= 0
    genes = np.where(inside, rows, 0)
    union = np.bitwise_or.reduce(np.where(inside[:, :, None], table.bits[genes], 0), axis=1)
    reached[:] = np.unpackbits(np.ascontiguousarray(union).view(np.uint8), axis=1).sum(axis=1, dtype=np.int32)
    weights = np.where(inside, ranks * np.log(reached[:, None] / table.df[genes] + 1.0), 0.0)
    asked = sp.csr_array(
        (weights.astype(np.float32).ravel(), genes.ravel(), np.arange(n + 1) * rows.shape[1]),
        shape=(n, len(table.codes)),
    )
    rough = (asked @ table.single)[:, : len(table.columns)]
    k = min(top, rough.shape[1])
    cut = -np.partition(-rough, k - 1, axis=1)[:, k - 1]
    query, near = np.nonzero((rough >= cut[:, None] * (1.0 - _SLACK)) & (rough > 0))
    exact = np.zeros(len(query))
    for place in range(rows.shape[1]):  # adds in the order of the query, as the definition does
        exact += weights[query, place] * (table.codes[genes[query, place], near] / HOP_CODES[0])
    order = np.lexsort((near, -np.round(exact, TIE_DECIMALS), query))
    query, near, exact = query[order], near[order], exact[order]
    at = np.arange(len(query)) - np.searchsorted(query, query)
    kept = at < top
    columns[query[kept], at[kept]] = table.columns[near[kept]]
    scores[query[kept], at[kept]] = exact[kept]
