"""Where cells lie on the report's page: an embedding, a sample of it that keeps every cell set, its bytes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gather.annotation import Annotation
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

MOST_POINTS = 40_000
_BASES = ("X_umap", "X_tsne", "X_draw_graph_fa", "X_diffmap", "X_pca")

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Embedding:
    """Where each cell lies, and in which cell set.

    Attributes
    ----------
    name
        As the file calls it, e.g. ``X_umap``.
    coordinates
        float32[cells, 2].
    cell_set
        Position in the annotations, int32[cells]; -1 for a cell in none of them.
    """

    name: str
    coordinates: npt.NDArray[np.float32]
    cell_set: npt.NDArray[np.int32]


def embedding_of(adata: AnnData, cell_set: npt.NDArray[np.int32]) -> Embedding | None:
    """Return an embedding of a file: UMAP, else t-SNE and so on; None without two columns of numbers."""
    name = next((name for name in _BASES if name in adata.obsm and _usable(adata.obsm[name])), None)
    if name is None:
        return None
    coordinates = np.asarray(adata.obsm[name])[:, :2].astype(np.float32)
    return Embedding(name, coordinates, np.asarray(cell_set, np.int32))


def _usable(coordinates: Any) -> bool:
    """Whether these are two columns of real numbers or more."""
    found = np.asarray(coordinates)
    return found.ndim == 2 and found.shape[1] >= 2 and found.dtype.kind in "biuf"


def embedding_block(
    embedding: Embedding | None, annotations: Sequence[Annotation], label_at: Sequence[int], *, most_sets: int
) -> dict[str, Any] | None:
    """Return points as base64 of little-endian numbers: uint16 x, uint16 y, int32 cell set, uint16 label,
    uint8 confidence; `label_at` is the label's position in the legend.
    """
    if embedding is None:
        return None
    _check(embedding, len(annotations))
    at = sample_points(embedding)
    xy, sets = embedding.coordinates[at], embedding.cell_set[at]
    low, high = (xy.min(axis=0), xy.max(axis=0)) if len(xy) else (np.zeros(2), np.ones(2))
    span = max(float((high - low).max()), 1e-9)  # one scale for both axes: distances keep their meaning
    scaled = np.round((xy - (low + high) / 2) / span * 65_535 + 32_767.5).clip(0, 65_535)
    label_of = np.array([*label_at, 65_535], np.uint16)
    confidence = [a.confidence if np.isfinite(a.confidence) else 0.0 for a in annotations] + [0.0]
    return {
        "name": embedding.name,
        "points": len(at),
        "xy": _base64(scaled.astype("<u2")),
        "set": _base64(np.where(sets < most_sets, sets, -1).astype("<i4")),
        "label": _base64(label_of[sets].astype("<u2")),
        "confidence": _base64(np.round(np.clip(confidence, 0, 1) * np.float64(255)).astype("u1")[sets]),
    }


def sample_points(embedding: Embedding, *, most: int = MOST_POINTS, seed: int = 0) -> npt.NDArray[np.intp]:
    """Return which cells are drawn, ascending: all, or a sample that keeps every cell set.

    Each set gets its share of `most`, and at least 20 of its cells; the choice depends on `seed` only.
    Cells without finite coordinates are left out.
    """
    fine = np.flatnonzero(np.isfinite(embedding.coordinates).all(axis=1))
    if len(fine) <= most:
        return fine
    rng = np.random.default_rng(seed)
    order = rng.permutation(fine)
    sets = embedding.cell_set[order]
    by_set = np.argsort(sets, kind="stable")
    _, start, size = np.unique(sets[by_set], return_index=True, return_counts=True)
    wanted = np.minimum(size, np.maximum(20, size * most // len(fine)))
    kept = np.concatenate([by_set[s : s + n] for s, n in zip(start, wanted, strict=True)])
    return np.sort(order[kept])


def _check(embedding: Embedding, n_sets: int) -> None:
    n = len(embedding.coordinates)
    if embedding.coordinates.shape != (n, 2) or embedding.cell_set.shape != (n,):
        raise InputError(
            f"embedding {embedding.name}: coordinates {embedding.coordinates.shape} and cell sets "
            f"{embedding.cell_set.shape} do not belong together; wanted [cells, 2] and [cells]"
        )
    if n and not -1 <= embedding.cell_set.min() <= embedding.cell_set.max() < n_sets:
        raise InputError(f"embedding {embedding.name}: a cell is in a set that has no annotation")


def embedding_words(embedding: Embedding | None) -> dict[str, Any] | None:
    """Return what the page says of the embedding: its name, its cells, how many are drawn."""
    if embedding is None:
        return None
    n, drawn = len(embedding.coordinates), len(sample_points(embedding))
    lost = n - int(np.isfinite(embedding.coordinates).all(axis=1).sum())
    return {"name": embedding.name.removeprefix("X_"), "cells": n, "drawn": drawn, "lost": lost}


def _base64(array: Array) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
