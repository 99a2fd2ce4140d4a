"""An oracle that sees reference profiles: can the truth be told from the genes that a sample shows?

A cell sentence becomes a vector of weights, 1 for its first gene falling to 0 after its last. The oracle names
the reference nearest by cosine after the mean of the references is taken off, so that genes which all types share
say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def rank_vectors(sentences: Sequence[Sequence[int]], n_genes: int) -> Floats:
    """Return the weights of ranked genes, float32[sentences, n_genes].

    Parameters
    ----------
    sentences
        Positions of genes, the highest first.

    Examples
    --------
    >>> rank_vectors([[2, 0]], 3).tolist()
    [[0.5, 0.0, 1.0]]
    """
    vectors = np.zeros((len(sentences), n_genes), dtype=np.float32)
    for row, genes in enumerate(sentences):
        vectors[row, list(genes)] = 1 - np.arange(len(genes), dtype=np.float32) / max(len(genes), 1)
    return vectors


def likeness(queries: Floats, references: Floats) -> Floats:
    """Return the cosine of each query with each reference about the references' mean, float32[q, r]."""
    centre = references.mean(axis=0)
    ours, theirs = (_unit(vectors - centre) for vectors in (queries, references))
    return np.asarray(ours @ theirs.T, dtype=np.float32)


def ranked(mean: Floats, top: int) -> list[int]:
    """Return positions of the `top` expressed genes, the highest first; ties by position."""
    order = np.argsort(-mean, kind="stable")[:top]
    return [int(i) for i in order if mean[i] > 0]


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), dtype=np.float32)
