"""How the baselines rank texts and keep evidence within a budget."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from gather.llm.base import estimate_tokens

_WORD = re.compile(r"[a-z0-9]+(?:[-+][a-z0-9+]+)*", re.IGNORECASE)

K1, B = 1.5, 0.75
"""How soon a repeated word counts no more, and how much a long text's words count less."""


def bm25(query: str, texts: Sequence[str]) -> list[float]:
    """Score texts against a query by Okapi BM25 (Robertson & Zaragoza 2009), one float per text.

    It stands for the dense rankers of the papers, which need weights that cannot be taken for granted
    offline.
    """
    documents = [Counter(word.lower() for word in _WORD.findall(text)) for text in texts]
    lengths = [sum(words.values()) for words in documents]
    mean = sum(lengths) / max(len(lengths), 1) or 1.0
    scores = [0.0] * len(texts)
    for word in sorted({word.lower() for word in _WORD.findall(query)}):
        containing = sum(word in words for words in documents)
        if not containing:
            continue
        idf = math.log(1 + (len(texts) - containing + 0.5) / (containing + 0.5))
        for index, words in enumerate(documents):
            times = words[word]
            scores[index] += idf * times * (K1 + 1) / (times + K1 * (1 - B + B * lengths[index] / mean))
    return scores


def within_budget(lines: Sequence[str], budget_tokens: int) -> list[str]:
    """The first lines that fit a budget of (estimated) tokens."""
    kept: list[str] = []
    for line in lines:
        budget_tokens -= estimate_tokens(line + "\n")
        if budget_tokens < 0:
            break
        kept.append(line)
    return kept


def best_first(scores: Sequence[float]) -> list[int]:
    """Positions by descending score, ties by position."""
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))
