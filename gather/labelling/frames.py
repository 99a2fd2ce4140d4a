"""Annotations as an h5ad keeps them in ``uns``: two tables for people, and all of the evidence packed, without a loss.

A data set of HDF5 costs some kilobytes whatever it holds, and the evidence of eleven cell sets as tables had two
hundred: one compressed array is a tenth of that. The packing is MessagePack below Zstandard, both of which other
languages read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gather.annotation import Annotation
from gather.labelling.decide import UNKNOWN

KEPT_VERSION = 3
"""Version of the entry of ``uns``."""
_COLUMNS = {
    "cell_sets": {
        "cell_set": str, "n_cells": int, "status": str, "cell_type": str, "cell_type_ontology_term_id": str,
        "confidence": float, "fdr": float, "decided_by": str, "note": str, "reason": str,
        "query_genes": str,
    },
    "candidates": {
        "cell_set": str, "rank": int, "cell_type_ontology_term_id": str, "cell_type": str, "score": float, "p": float,
        "fdr": float, "confidence": float, "n_genes": int,
    },
}  # fmt: skip
_LEVEL, _MOST_BYTES = 9, 1 << 32


def tables(annotations: Sequence[Annotation]) -> dict[str, pd.DataFrame]:
    """Return the frames ``cell_sets`` and ``candidates``; genes are joined with ``|``.

    Both have their columns and types even when they are empty, so that they survive h5ad and zarr.
    """
    answers = [
        (a.cell_set, a.n_cells, a.status, a.label, a.curie or UNKNOWN, a.confidence, a.fdr, a.decided_by, a.note,
         a.reason, "|".join(a.query_genes))
        for a in annotations
    ]  # fmt: skip
    candidates = [
        (a.cell_set, c.rank, c.curie, c.label, c.score, c.p, c.fdr, c.confidence, c.n_genes)
        for a in annotations
        for c in a.candidates
    ]
    return {"cell_sets": _frame("cell_sets", answers), "candidates": _frame("candidates", candidates)}


def _frame(name: str, rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    columns = _COLUMNS[name]
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    series: dict[str, Any] = {
        column: pd.Series(pd.Categorical(pd.Series(list(entries), dtype=object)))
        if kind is str
        else pd.Series(list(entries), dtype=kind)
        for (column, kind), entries in zip(columns.items(), values, strict=True)
    }
    frame = pd.DataFrame(series)
    frame.index = frame.index.astype(str)
    return frame


def packed(annotations: Iterable[Annotation]) -> npt.NDArray[np.uint8]:
    """Return annotations with all their evidence as bytes, uint8[n]; `unpacked` reads them back."""
    import msgspec
    import zstandard

    raw = msgspec.msgpack.encode(tuple(annotations))
    return np.frombuffer(zstandard.ZstdCompressor(level=_LEVEL).compress(raw), np.uint8)


def unpacked(kept: Any) -> tuple[Annotation, ...]:
    """Return the annotations that `packed` made bytes of.

    Raises
    ------
    ValueError
        The bytes are cut off, damaged or something else.
    """
    import msgspec
    import zstandard

    data = np.asarray(kept, np.uint8).tobytes()
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= _MOST_BYTES:
            raise ValueError(f"{size} bytes of evidence are claimed")
        raw = zstandard.ZstdDecompressor().decompress(data)
        return msgspec.msgpack.decode(raw, type=tuple[Annotation, ...])
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"the evidence is damaged ({error})") from error


def html_table(title: str, frame: pd.DataFrame) -> str:
    """Return a titled table as HTML; every text is escaped."""
    table = frame.to_html(escape=True, border=0, float_format=lambda value: f"{value:.2g}")
    return f"<p>{escape(title)}</p>{table}"
