"""Which values of a file are annotated, and what they are: the one chooser, for cell sets and for single cells.

A choice rests on every stored value, not on a sample. The survey that looks at them is also the first pass of per-cell
annotation: it counts in how many cells each gene is detected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gather.cells.row_blocks import Block, Rows
from vckg.base.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

LAYERS = ("counts", "raw_counts", "data", "logcounts", "lognorm", "log1p_norm")
"""Layers that are tried by name, in this order, where neither raw nor X can be used."""
LARGEST_LOG = 30.0
"""Above any logarithm of an expression value: log2 of a million is 20."""
LARGEST_COUNT = 1e9
"""Above any count of a cell, a cluster or a library, and above any TPM."""
SCALED = "has negative values (it was scaled)"


@dataclass(frozen=True, eq=False, slots=True)
class Survey:
    """What all values of some cells are like; surveys of runs of cells add up.

    Attributes
    ----------
    least, largest
        Extremes of the values; 0 where there are none.
    finite, whole
        Whether all values are finite; whether all are whole numbers.
    cells
        Cells with a value above zero.
    like_logs
        Cells whose values are not all whole and all at most `LARGEST_LOG`.
    detected
        In how many cells each gene is above zero, int64[genes].
    """

    least: float
    largest: float
    finite: bool
    whole: bool
    cells: int
    like_logs: int
    detected: npt.NDArray[np.int64]

    def __add__(self, other: Survey) -> Survey:
        return Survey(
            min(self.least, other.least),
            max(self.largest, other.largest),
            self.finite and other.finite,
            self.whole and other.whole,
            self.cells + other.cells,
            self.like_logs + other.like_logs,
            self.detected + other.detected,
        )

    @classmethod
    def empty(cls, genes: int) -> Survey:
        """Return the survey of no cells."""
        return cls(0.0, 0.0, True, True, 0, 0, np.zeros(genes, np.int64))

    @property
    def scaled(self) -> bool:
        """Whether a value is negative, as z-scores are."""
        return self.least < 0

    @property
    def counts(self) -> bool:
        """Whether values still have to be normalised: whole numbers, or more than a logarithm gives (TPM, counts
        cleaned of ambient RNA).
        """
        return (self.whole and self.largest > 1) or self.largest > LARGEST_LOG

    def check(self, where: str) -> None:
        """Raise InputError where the values are no expression."""
        wanted = "give counts or log-normalised values by --layer"
        if not self.finite:
            raise InputError(f"{where} holds NaN or infinite values; remove or fill them first")
        if self.scaled:
            raise InputError(f"{where} {SCALED}; {wanted}")
        if self.largest > LARGEST_COUNT:
            raise InputError(
                f"{where} holds {self.largest:.3g}, which is no count and no logarithm; {wanted}"
            )
        if self.largest > LARGEST_LOG and 2 * self.like_logs > self.cells:
            raise InputError(
                f"{where} mixes logarithms ({self.like_logs:,} of {self.cells:,} cells) with values up to "
                f"{self.largest:,.6g}; {wanted}"
            )


def survey_of(block: Block) -> Survey:
    """Return the survey of one block of rows."""
    genes = block.shape[1]
    if not (block.size if isinstance(block, np.ndarray) else block.nnz):
        return Survey.empty(genes)
    values = block if isinstance(block, np.ndarray) else block.data
    if not np.isfinite(values).all():
        return Survey(0.0, 0.0, False, False, 0, 0, np.zeros(genes, np.int64))
    least = values.min()
    starts: Any
    if isinstance(block, np.ndarray):
        detected = (block > 0).sum(axis=0)
        starts = np.arange(0, block.size, genes)
    else:
        detected = np.bincount(block.indices if least > 0 else block.indices[values > 0], minlength=genes)
        starts = block.indptr[:-1][np.diff(block.indptr) > 0]
    flat = values.ravel()
    most = np.maximum.reduceat(flat, starts)
    broken = np.zeros(len(most), bool)
    if flat.dtype.kind == "f":
        broken = np.logical_or.reduceat(flat != np.rint(flat), starts)
    return Survey(
        float(min(least, 0)),
        float(max(most.max(), 0)),
        True,
        not bool(broken.any()),
        int((most > 0).sum()),
        int((broken & (most <= LARGEST_LOG) & (most > 0)).sum()),
        detected.astype(np.int64),
    )


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """Where values may be: their name for people, the matrix (in memory or an open HDF5 element), and its genes."""

    where: str
    matrix: Any
    var: pd.DataFrame


def places(adata: ad.AnnData, layer: str | None, file: Any = None) -> Iterator[Place]:
    """Yield where usable values may be, the best place first.

    The layer that was asked for; else raw with at least the genes of X; X; a smaller raw; layers of known names.

    Parameters
    ----------
    file
        The open HDF5 file of a backed AnnData; its elements are yielded instead of values in memory.
    """
    if layer is not None:
        named = sorted(
            name for name in adata.layers if name
        )  # anndata 0.13 lists X as a layer without a name
        if layer not in named:
            raise InputError(f"no layer {layer!r}{did_you_mean(layer, named)}; layers: {named}")
        yield Place(
            f"layers/{layer}", _element(file, f"layers/{layer}", lambda: adata.layers[layer]), adata.var
        )
        return
    raw, has_x = adata.raw, adata.X is not None if file is None else "X" in file
    whole_raw = raw is not None and (raw.n_vars >= adata.n_vars or not has_x)
    if raw is not None and whole_raw:
        yield Place("raw", _element(file, _raw_name(file), lambda: raw.X), raw.var)
    if has_x:
        yield Place("X", _element(file, "X", lambda: adata.X), adata.var)
    if raw is not None and not whole_raw:
        yield Place("raw", _element(file, _raw_name(file), lambda: raw.X), raw.var)
    for name in LAYERS:
        if name in adata.layers:
            yield Place(
                f"layers/{name}",
                _element(file, f"layers/{name}", partial(adata.layers.__getitem__, name)),
                adata.var,
            )


def _element(file: Any, name: str, in_memory: Callable[[], Any]) -> Any:
    return in_memory() if file is None else file[name]


def _raw_name(file: Any) -> str:
    """Where a file keeps the matrix of raw; those of old anndata have it at the top."""
    return "raw/X" if file is None or "raw/X" in file else "raw.X"


def choose(
    adata: ad.AnnData, layer: str | None, survey: Callable[[Place], Survey], *, file: Any = None
) -> tuple[Place, Survey]:
    """Return the first place whose values are not scaled, and their survey.

    Parameters
    ----------
    survey
        Looks at all values of a place; it may stop at the first negative one.

    Raises
    ------
    InputError
        No cells, no such layer, only scaled values, or values that are no expression.
    """
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise InputError(
            f"the file is empty: {adata.n_obs} x {adata.n_vars} cells by genes; wanted some of both"
        )
    scaled = []
    for place in places(adata, layer, file):
        found = survey(place)
        if not found.scaled:
            found.check(place.where)
            return place, found
        scaled.append(place.where)
    if layer is not None:
        raise InputError(f"{scaled[0]} {SCALED}; give counts or log-normalised values by --layer")
    what = f"{', '.join(scaled)}: {SCALED}" if scaled else "X is empty"
    missing = "" if adata.raw is not None else " and there is no .raw"
    others = sorted(name for name in adata.layers if name and name not in LAYERS)
    fix = (
        f"the layer {others[0]!r} may hold them: --layer {others[0]}"
        if others
        else "keep them in .raw or in a layer (--layer)"
    )
    raise InputError(f"{what}{missing}; counts or log-normalised values are wanted, and {fix}")


def rows_of(place: Place, n_cells: int) -> Rows:
    """Return the rows of a place, their shape checked."""
    return Rows(place.matrix, where=place.where, expected=(n_cells, len(place.var)))


def survey_rows(rows: Rows) -> Survey:
    """Return the survey of all rows, one block after the other; it stops at a negative value."""
    total = Survey.empty(rows.shape[1])
    for low, high in rows.spans():
        total = total + survey_of(rows.block(low, high))
        if total.scaled:
            break
    return total
