"""Rows of a matrix that need not fit in memory: dense, CSR or CSC, in memory, HDF5 or zarr.

CSC cannot be read by rows; it is turned into CSR once, in a temporary folder on disk, in bounded memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from vckg.errors import InputError

Block = npt.NDArray[Any] | sp.csr_matrix
ENTRIES = 4_000_000
"""Stored values of one block: some 50 MB with their indices."""


class Rows:
    """A matrix [cells, genes] that is read in blocks of rows, in order.

    Parameters
    ----------
    matrix
        An array, a scipy sparse matrix, or an HDF5 or zarr element in anndata's encoding (a dataset, or a group
        with ``data``, ``indices``, ``indptr``).

    Use as a context manager: what CSC needs on disk is removed at the end.
    """

    def __init__(self, matrix: Any, *, where: str = "X") -> None:
        self.where = where
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._dense: Any = None
        self._indptr: npt.NDArray[np.int64] = np.zeros(1, np.int64)
        self._indices: Any = None
        self._data: Any = None
        if sp.issparse(matrix):
            rows: Any = matrix.tocsr()  # type: ignore[attr-defined]
            self.shape = (int(rows.shape[0]), int(rows.shape[1]))
            self._take(rows.indptr, rows.indices, rows.data)
        elif hasattr(matrix, "keys") and "indptr" in matrix:
            self._open(matrix)
        elif len(getattr(matrix, "shape", ())) == 2:
            self.shape = (int(matrix.shape[0]), int(matrix.shape[1]))
            self._dense = matrix
        else:
            raise InputError(
                f"{where}: neither a dense nor a sparse matrix; write the file with a current anndata"
            )

    def _take(self, indptr: Any, indices: Any, data: Any) -> None:
        self._indptr, self._indices, self._data = np.asarray(indptr[:], np.int64), indices, data

    def _open(self, group: Any) -> None:
        shape = group.attrs["shape"] if "shape" in group.attrs else group.attrs["h5sparse_shape"]
        self.shape = (int(shape[0]), int(shape[1]))
        kind = str(group.attrs.get("encoding-type", group.attrs.get("h5sparse_format", "csr")))
        if kind.startswith("csr"):
            self._take(group["indptr"], group["indices"], group["data"])
        elif kind.startswith("csc"):
            self._scratch = tempfile.TemporaryDirectory(prefix="gather-rows-")
            self._take(*_transposed(group, self.shape, Path(self._scratch.name)))
        else:
            raise InputError(f"{self.where}: encoding {kind!r}; wanted a dense, CSR or CSC matrix")

    def __enter__(self) -> Rows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._indices = self._data = None
        if self._scratch is not None:
            self._scratch.cleanup()

    def spans(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield (first, last + 1) of blocks with about `ENTRIES` values each."""
        stop = self.shape[0] if stop is None else stop
        while start < stop:
            if self._dense is not None:
                end = start + max(1, ENTRIES // max(self.shape[1], 1))
            else:
                end = int(np.searchsorted(self._indptr, self._indptr[start] + ENTRIES, side="right")) - 1
            end = min(max(end, start + 1), stop)
            yield start, end
            start = end

    def block(self, start: int, stop: int) -> Block:
        """Return rows `start` to `stop` as an array or a CSR matrix."""
        if self._dense is not None:
            return np.asarray(self._dense[start:stop])
        low, high = int(self._indptr[start]), int(self._indptr[stop])
        indptr = (self._indptr[start : stop + 1] - low).astype(np.int32)
        parts = (np.asarray(self._data[low:high]), np.asarray(self._indices[low:high]), indptr)
        return sp.csr_matrix(parts, shape=(stop - start, self.shape[1]))


def _transposed(group: Any, shape: tuple[int, int], folder: Path) -> tuple[npt.NDArray[np.int64], Any, Any]:
    """Turn CSC into CSR on disk: count the rows' entries, then file each entry where its row begins."""
    from gather._cell_kernels import file_entries

    indptr_in = np.asarray(group["indptr"][:], np.int64)
    n, stored = shape[0], int(indptr_in[-1])
    counts = np.zeros(n + 1, np.int64)
    for low in range(0, stored, ENTRIES):
        counts[1:] += np.bincount(group["indices"][low : low + ENTRIES], minlength=n)
    indptr = np.cumsum(counts)
    indices = np.memmap(folder / "indices", np.int32, "w+", shape=(max(stored, 1),))
    data = np.memmap(folder / "data", np.float32, "w+", shape=(max(stored, 1),))
    place = indptr[:-1].copy()
    for low in range(0, stored, ENTRIES):
        high = min(low + ENTRIES, stored)
        bounds: npt.NDArray[np.int64] = np.clip(indptr_in, low, high)
        columns = np.repeat(np.arange(shape[1], dtype=np.int32), bounds[1:] - bounds[:-1])
        rows, values = group["indices"][low:high], group["data"][low:high]
        file_entries(rows, columns, values.astype(np.float32), place, indices, data)
    return indptr, indices, data
