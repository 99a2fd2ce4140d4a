"""Rows of a matrix that need not fit in memory: dense, CSR or CSC, in memory, HDF5 or zarr.

CSC cannot be read by rows; it is turned into CSR once, in a temporary folder on disk, in bounded memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from vckg.base.errors import InputError

Block = npt.NDArray[Any] | sp.csr_matrix
ENTRIES = 4_000_000
"""Stored values of one block: some 50 MB with their indices."""


class Rows:
    """A matrix [cells, genes] that is read in blocks of rows, in order.

    Parameters
    ----------
    matrix
        An array, a scipy sparse matrix, or an HDF5 or zarr element in anndata's encoding (a dataset, or a group
        with ``data``, ``indices``, ``indptr``). Every index is checked before compiled code follows it.
    expected
        Cells and genes that the matrix must have.

    Raises
    ------
    InputError
        The shape, the row starts, an index or the type of the values is not that of a matrix of numbers.

    Use as a context manager: what CSC needs on disk is removed at the end.
    """

    def __init__(self, matrix: Any, *, where: str = "X", expected: tuple[int, int] | None = None) -> None:
        self.where, self._expected = where, expected
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._dense: Any = None
        self._indptr: npt.NDArray[np.int64] = np.zeros(1, np.int64)
        self._indices: Any = None
        self._data: Any = None
        if hasattr(matrix, "to_memory"):
            matrix = matrix.to_memory()
        if sp.issparse(matrix):
            self._hold(matrix)
        elif hasattr(matrix, "keys") and "indptr" in matrix:
            self._open(matrix)
        elif len(getattr(matrix, "shape", ())) == 2:
            self._shaped(matrix.shape)
            self._number_type(matrix)
            self._dense = matrix
        else:
            raise InputError(
                f"{where}: neither a dense nor a sparse matrix; write the file with a current anndata"
            )

    def _hold(self, matrix: Any) -> None:
        """Take a scipy matrix; nothing of scipy's compiled code sees it before it is checked."""
        self._shaped(matrix.shape)
        if matrix.format in ("csr", "csc"):
            major, minor = self.shape if matrix.format == "csr" else self.shape[::-1]
            _check_starts(matrix.indptr, major, len(matrix.indices), len(matrix.data), self.where)
            _check_indices(matrix.indices, minor, self.where)
        self._number_type(matrix)
        rows = matrix.tocsr()
        self._take(rows.indptr, rows.indices, rows.data)

    def _take(self, indptr: Any, indices: Any, data: Any) -> None:
        self._indptr, self._indices, self._data = np.asarray(indptr[:], np.int64), indices, data

    def _open(self, group: Any) -> None:
        shape = np.asarray(
            group.attrs["shape"] if "shape" in group.attrs else group.attrs.get("h5sparse_shape", ())
        )
        if shape.shape != (2,) or shape.dtype.kind not in "iu":
            raise InputError(
                f"{self.where}: shape {shape.tolist()}, wanted cells and genes; the file is damaged"
            )
        self._shaped(shape.tolist())
        kind = str(group.attrs.get("encoding-type", group.attrs.get("h5sparse_format", "csr")))
        if not kind.startswith(("csr", "csc")):
            raise InputError(f"{self.where}: encoding {kind!r}; wanted a dense, CSR or CSC matrix")
        major = self.shape[0] if kind.startswith("csr") else self.shape[1]
        parts = [group[name] for name in ("indptr", "indices", "data") if name in group]
        if [len(getattr(part, "shape", ())) for part in parts] != [1, 1, 1]:
            raise InputError(f"{self.where}: lacks indptr, indices or data; the file is damaged")
        indptr, indices, data = parts
        self._number_type(data)
        if indices.dtype.kind not in "iu":
            raise InputError(
                f"{self.where}: indices are {indices.dtype}, wanted whole numbers; the file is damaged"
            )
        _check_starts(indptr[:], major, indices.shape[0], data.shape[0], self.where)
        if kind.startswith("csr"):
            self._take(indptr, indices, data)
        else:
            self._scratch = tempfile.TemporaryDirectory(prefix="gather-rows-")
            try:
                self._take(*_transposed(group, self.shape, Path(self._scratch.name), self.where))
            except BaseException:
                self._scratch.cleanup()
                raise

    def _shaped(self, shape: Sequence[int]) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        if self._expected is not None and self.shape != self._expected:
            raise InputError(
                f"{self.where}: shape {self.shape}, wanted {self._expected} cells and genes; the file is damaged"
            )

    def _number_type(self, matrix: Any) -> None:
        """Refuse what are no real numbers."""
        kind = np.dtype(getattr(matrix, "dtype", object))
        if kind.kind not in "biuf":
            raise InputError(
                f"{self.where} holds {kind} values; wanted counts or logarithms, as real numbers"
            )

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
        """Return rows `start` to `stop` as an array or a CSR matrix, its columns in order and each named once."""
        if self._dense is not None:
            return _native(np.asarray(self._dense[start:stop]))
        low, high = int(self._indptr[start]), int(self._indptr[stop])
        small = max(high - low, self.shape[1]) < 2**31
        indptr = (self._indptr[start : stop + 1] - low).astype(np.int32 if small else np.int64)
        indices = np.asarray(self._indices[low:high])
        _check_indices(indices, self.shape[1], self.where)
        parts: Any = (
            _native(np.asarray(self._data[low:high])),
            indices.astype(indptr.dtype, copy=False),
            indptr,
        )
        made: Any = sp.csr_matrix(parts, shape=(stop - start, self.shape[1]))
        if not made.has_canonical_format:
            made = made.copy()  # the parts may be the user's own
            made.sum_duplicates()
        return made  # type: ignore[no-any-return]


def _native(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Numbers of a type that compiled code knows: of this machine's byte order, of 8 to 64 bits, no half floats."""
    if values.dtype.kind == "b" or (values.dtype.kind == "f" and values.dtype.itemsize < 4):
        return values.astype(np.float32)
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        return values.astype(np.float64)
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def _check_starts(starts: Any, major: int, n_indices: int, n_data: int, where: str) -> None:
    """Refuse row starts that do not ascend from 0 to the number of stored values."""
    starts = np.asarray(starts)
    sound = starts.dtype.kind in "iu" and starts.shape == (major + 1,) and n_indices == n_data
    if sound:
        starts = starts.astype(np.int64)
        sound = bool(starts[0] == 0 and starts[-1] == n_data and (starts[1:] >= starts[:-1]).all())
    if not sound:
        raise InputError(
            f"{where}: row starts (indptr) do not lead from 0 to {n_data:,} values in {major:,} steps; "
            "the file is damaged"
        )


def _check_indices(indices: Any, n: int, where: str) -> None:
    """Refuse column numbers outside the matrix."""
    indices = np.asarray(indices)
    low, high = (int(indices.min()), int(indices.max())) if indices.size else (0, n - 1)
    if low < 0 or high >= n:
        raise InputError(f"{where}: indices {low} to {high}, wanted 0 to {n - 1}; the file is damaged")


def _transposed(
    group: Any, shape: tuple[int, int], folder: Path, where: str
) -> tuple[npt.NDArray[np.int64], Any, Any]:
    """Turn CSC into CSR on disk: count the rows' entries, then file each entry where its row begins."""
    indptr_in = np.asarray(group["indptr"][:], np.int64)
    n, stored = shape[0], int(indptr_in[-1])
    counts = np.zeros(n + 1, np.int64)
    for low in range(0, stored, ENTRIES):
        rows = group["indices"][low : low + ENTRIES]
        _check_indices(rows, n, where)
        counts[1:] += np.bincount(rows.astype(np.int64), minlength=n)
    indptr = np.cumsum(counts)
    indices = np.memmap(
        folder / "indices", np.int32, "w+", shape=(max(stored, 1),)
    )  # as columns come, ascending
    kind = _native(np.zeros(0, group["data"].dtype)).dtype
    data = np.memmap(folder / "data", kind, "w+", shape=(max(stored, 1),))
    place = indptr[:-1].copy()
    for low in range(0, stored, ENTRIES):
        high = min(low + ENTRIES, stored)
        rows, values = group["indices"][low:high].astype(np.int32), _native(group["data"][low:high])
        bounds = (np.clip(indptr_in, low, high) - low).astype(np.int32)
        part: Any = sp.csc_matrix((values, rows, bounds), shape=shape).tocsr()
        of_row = np.diff(part.indptr)
        free = np.repeat(place - part.indptr[:-1], of_row) + np.arange(len(rows))
        indices[free], data[free] = part.indices, part.data
        place += of_row
    return indptr, indices, data
