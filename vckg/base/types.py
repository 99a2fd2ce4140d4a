"""Names for the numpy arrays of this project, by the type of their elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
SignedBytes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
UnsignedLongs = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.integer[Any]]
"""Integers of any width, to index with."""
Positions = npt.NDArray[np.intp]
Singles = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
