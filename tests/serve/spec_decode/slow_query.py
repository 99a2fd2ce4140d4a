"""The probability of a token after a context, as DART defines it: one look-up after another in a trie."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serve.spec_decode.ngram_trie import Trie


def query(
    trie: Trie, context: Sequence[int], candidates: Sequence[int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return each candidate's probability after the context, and how many context tokens matched.

    The longest context first; a candidate takes ``count(child) / count(context)`` from the first context
    that it was seen after. No unigram level and no smoothing: unmatched candidates have 0, as in DART.
    """
    p, matched = np.zeros(len(candidates)), np.zeros(len(candidates), np.int64)
    for length in range(min(trie.order - 1, len(context)), 0, -1):
        suffix = context[len(context) - length :]
        index = trie.find(suffix)
        if index < 0:
            continue
        tokens, counts = trie.continuations(suffix)
        for i, token in enumerate(candidates):
            place = int(np.searchsorted(tokens, token))
            if not matched[i] and place < len(tokens) and tokens[place] == token:
                p[i] = counts[place] / trie.levels[length - 1].counts[index]
                matched[i] = length
    return p, matched
