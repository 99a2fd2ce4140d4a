"""From logits to the distribution a token is drawn from, and to log-probabilities.

Everything is float64 and row by row, so a request's draws do not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serve.request import SamplingParams, TokenLogprob

Float64 = npt.NDArray[np.float64]
_FIRST_LOOK = 1024


def processed(logits: npt.NDArray[np.floating], params: SamplingParams) -> Float64:
    """Probabilities float64[V] after temperature, then top-k, min-p and top-p, renormalised.

    Top-k keeps every token as probable as the k-th. Top-p keeps the fewest tokens whose probabilities reach
    it, in the order of falling probability and rising id. A logit of -inf has probability 0.
    """
    z: Float64 = logits.astype(np.float64)
    with np.errstate(over="ignore"):  # below the greatest, so that no temperature makes two infinities
        z = (z - z.max()) / params.temperature
    if 0 < params.top_k < len(z):
        z[z < np.partition(z, -params.top_k)[-params.top_k]] = -np.inf
    p: Float64 = np.exp(z)
    if params.min_p > 0.0:
        p[p < params.min_p * p.max()] = 0.0
    p /= p.sum()
    if params.top_p < 1.0:
        keep = _nucleus(p, params.top_p)
        cut = np.zeros_like(p)
        cut[keep] = p[keep]
        p = cut / cut.sum()
    return p


def adjusted(logits: npt.NDArray[np.floating], output: Sequence[int], params: SamplingParams) -> Float64:
    """Logits float64[V] after the penalties for the tokens of `output` and the biases (OpenAI's definition)."""
    z: Float64 = logits.astype(np.float64)
    if output and (params.frequency_penalty or params.presence_penalty):
        tokens, counts = np.unique(np.asarray(output, np.int64), return_counts=True)
        z[tokens] -= params.frequency_penalty * counts + params.presence_penalty
    for token, bias in params.logit_bias:
        z[token] += bias
    return z


def _nucleus(p: Float64, mass: float) -> npt.NDArray[np.intp]:
    """Ids of the fewest most probable tokens that together reach `mass`."""
    if len(p) > 2 * _FIRST_LOOK:  # most often a few tokens carry the mass, and sorting all of them is slow
        floor = np.partition(p, -_FIRST_LOOK)[-_FIRST_LOOK]
        ids = np.flatnonzero(p >= floor)
        if p[ids].sum() < mass:
            ids = np.arange(len(p))
    else:
        ids = np.arange(len(p))
    ids = ids[np.lexsort((ids, -p[ids]))]
    enough = int(np.searchsorted(np.cumsum(p[ids]), mass)) + 1
    return ids[:enough]


def log_probabilities(logits: npt.NDArray[np.floating], token: int, top: int) -> TokenLogprob:
    """Log-probability and rank of a token, and the `top` best ones, under the raw distribution of logits [V]."""
    z = logits.astype(np.float64)
    largest = z.max()
    z -= largest + np.log(np.exp(z - largest).sum())
    best = np.argpartition(z, -top)[-top:] if top else np.empty(0, np.intp)
    best = best[np.lexsort((best, -z[best]))]
    rank = int(np.count_nonzero(z >= z[token]))
    return TokenLogprob(token, float(z[token]), tuple((int(i), float(z[i])) for i in best), rank)
