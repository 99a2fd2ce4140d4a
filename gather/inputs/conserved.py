"""Tables of ``FindConservedMarkers``: columns of a test in each condition, taken together as one table of markers.

A gene counts as much as it does in the condition where it counts least.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

LEAST = ("avg_log2FC", "avg_logFC", "pct.1")
"""Of these the least over the conditions counts."""
GREATEST = ("p_val_adj", "p_val", "pct.2")
"""Of these the greatest over the conditions counts."""


def conditions_of(header: Sequence[str]) -> tuple[str, ...]:
    """Return the conditions that the columns of a header are named after; none for other tables.

    Examples
    --------
    >>> conditions_of(["", "CTRL_p_val", "CTRL_avg_log2FC", "STIM_p_val", "STIM_avg_log2FC", "max_pval"])
    ('CTRL', 'STIM')
    """
    found = [
        name.removesuffix(f"_{fold}") for fold in LEAST[:2] for name in header if name.endswith(f"_{fold}")
    ]
    named = set(header)
    return tuple(c for c in dict.fromkeys(found) if {f"{c}_p_val", f"{c}_p_val_adj"} & named)


def as_one_test(frame: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """Return a table with one column of each measure; a field that is no number is left out of its row."""
    import pandas as pd

    kept = frame[[c for c in frame.columns if not _is_of_test(str(c), conditions)]].copy()
    for measure in (*LEAST, *GREATEST):
        columns = [f"{c}_{measure}" for c in conditions if f"{c}_{measure}" in frame]
        if columns:
            numbers = frame[columns].apply(pd.to_numeric, errors="coerce")
            kept[measure] = numbers.min(axis=1) if measure in LEAST else numbers.max(axis=1)
    return kept


def _is_of_test(column: str, conditions: Sequence[str]) -> bool:
    measured = column in {f"{c}_{measure}" for c in conditions for measure in (*LEAST, *GREATEST)}
    return measured or column in ("max_pval", "minimump_p_val")
