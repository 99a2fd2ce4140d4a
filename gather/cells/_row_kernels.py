"""Compiled inner loop of turning columns into rows (`gather.cells.row_blocks`)."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from gather._compiled import compiled

Array = npt.NDArray[Any]


@compiled
def file_entries(
    rows: Array, columns: Array, values: Array, place: Array, indices: Array, data: Array
) -> None:
    """Put each entry at the next free place of its row."""
    for i in range(len(rows)):
        at = place[rows[i]]
        indices[at] = columns[i]
        data[at] = values[i]
        place[rows[i]] = at + 1
