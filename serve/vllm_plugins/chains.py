"""Compiled chains of likeliest tokens for a batch, by the n-gram model of `serve.spec_decode.proposers.GramModel`.

Each call counts the n-grams of a request in its row of the batch. The proposer therefore keeps no state per request and
needs no request ids. A ring holds the recent n-grams of all answers, linked by the last token of their context. The
static n-grams stay in the arrays of their file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

from serve.spec_decode.ngram_trie import Trie

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., Any])

LONGEST = 4
"""Tokens of the longest context."""
BUCKETS = 1 << 16
MOST_MATCHES = 1024
"""Recent n-grams that are looked at for one token of a draft, the newest first: a bound for the commonest tokens."""
ESCAPED = 0.1
"""Shorter contexts are not asked once less than this share of the chance is left for them."""


def _compiled(function: Function) -> Function:
    return cast(Function, numba.njit(nogil=True, cache=True)(function))


@_compiled
def _remember(row: Int32, start: int, grams: Int32, before: Int64, newest: Int64, written: int) -> int:
    """Put ``row[start:]``, each token with the context before it, into the ring; how many were ever put there."""
    size = len(grams)
    for position in range(max(start, 1), len(row)):
        slot = written % size
        grams[slot, 0] = row[position]
        for back in range(LONGEST):
            grams[slot, 1 + back] = row[position - 1 - back] if position - 1 - back >= 0 else -1
        bucket = row[position - 1] % BUCKETS
        before[slot] = newest[bucket]
        newest[bucket] = written
        written += 1
    return written


@_compiled
def _matches_of_row(row: Int32, tail: Int32, length: int, found: Int32) -> int:
    """Tokens of `row` behind an end of `tail` (newest token first), with how many tokens agree; their number."""
    n = 0
    for position in range(1, len(row)):
        if row[position - 1] != tail[0]:
            continue
        same = 1
        while same < length and position - 1 - same >= 0 and row[position - 1 - same] == tail[same]:
            same += 1
        found[n, 0], found[n, 1] = row[position], same
        n += 1
    return n


@_compiled
def _matches_of_ring(
    tail: Int32, length: int, grams: Int32, before: Int64, newest: Int64, written: int, found: Int32
) -> int:
    """The same over the newest of the ring."""
    n = looked = 0
    size = len(grams)
    position = newest[tail[0] % BUCKETS]
    while (
        position >= 0 and position >= written - size and looked < MOST_MATCHES
    ):  # an older one was written over
        looked += 1
        gram = grams[position % size]
        if gram[1] == tail[0]:
            same = 1
            while same < length and gram[1 + same] == tail[same]:
                same += 1
            found[n, 0], found[n, 1] = gram[0], same
            n += 1
        position = before[position % size]
    return n


@_compiled
def _add_matches(
    found: Int32, n: int, length: int, left: float, count: Int32, chance: Float64, touched: Int32, known: int
) -> tuple[float, int]:
    """Add the chances from the matches of `length` tokens or more; the chance left, and how many tokens have one."""
    total = 0
    for i in range(n):
        if found[i, 1] >= length:
            total += 1
            count[found[i, 0]] += 1
    if total == 0:
        return left, known
    distinct = 0
    for i in range(n):
        if found[i, 1] >= length and count[found[i, 0]] > 0:
            distinct += 1
            count[found[i, 0]] = -count[found[i, 0]]
    scale = left / (total + distinct)
    for i in range(n):
        token = found[i, 0]
        if found[i, 1] >= length and count[token] < 0:
            if chance[token] == 0.0:
                touched[known] = token
                known += 1
            chance[token] += scale * -count[token]
            count[token] = 0
    return left * (distinct / (total + distinct)), known


@_compiled
def _children(tail: Int32, length: int, tokens: Int32, children: Int64, begin: Int64) -> tuple[int, int]:
    """Where the continuations of the tail's last `length` tokens lie in the trie's flat arrays; (0, 0) if unseen."""
    low, high = begin[0], begin[1]
    for level in range(length):
        token = tail[length - 1 - level]
        end = high
        while low < high:
            middle = (low + high) // 2
            if tokens[middle] < token:
                low = middle + 1
            else:
                high = middle
        if low == end or tokens[low] != token:
            return 0, 0
        # Every level has one child offset more than it has tokens.
        position = low + level
        low, high = begin[level + 1] + children[position], begin[level + 1] + children[position + 1]
    return low, high


@_compiled
def _add_trie(
    tokens: Int32,
    counts: Int32,
    place: tuple[int, int],
    left: float,
    chance: Float64,
    touched: Int32,
    known: int,
) -> tuple[float, int]:
    """Add the chances from one context of the trie, as `_add_matches`."""
    low, high = place
    total = 0
    for i in range(low, high):
        total += counts[i]
    if total == 0:
        return left, known
    distinct = high - low
    scale = left / (total + distinct)
    for i in range(low, high):
        token = tokens[i]
        if chance[token] == 0.0:
            touched[known] = token
            known += 1
        chance[token] += scale * counts[i]
    return left * (distinct / (total + distinct)), known


@_compiled
def _likeliest(chance: Float64, touched: Int32, known: int) -> tuple[int, float]:
    """The likeliest token, of equal ones the least, and its chance; the table is left empty."""
    best, most = -1, 0.0
    for i in range(known):
        token = touched[i]
        if chance[token] > most or (chance[token] == most and token < best):
            best, most = token, chance[token]
        chance[token] = 0.0
    return best, most


@_compiled
def _chain(
    row: Int32,
    most: int,
    end: int,
    least: float,
    ring: tuple[Int32, Int64, Int64],
    written: int,
    trie: tuple[Int32, Int32, Int64, Int64],
    scratch: tuple[Int32, Int32, Float64, Int32, Int32],
    drafted: Int32,
) -> int:
    """Fill `drafted` with the likeliest continuation of `row`; its length."""
    grams, before, newest = ring
    tokens, counts, children, begin = trie
    own, recent, chance, count, touched = scratch
    static = len(begin) - 2
    tail = np.full(LONGEST, -1, np.int32)
    length = min(LONGEST, len(row))
    for back in range(length):
        tail[back] = row[len(row) - 1 - back]
    n, sure = 0, 1.0
    while n < most and length > 0:
        in_row = _matches_of_row(row, tail, length, own)
        in_ring = _matches_of_ring(tail, length, grams, before, newest, written, recent)
        left, known = 1.0, 0
        for size in range(length, 0, -1):
            left, known = _add_matches(own, in_row, size, left, count, chance, touched, known)
            left, known = _add_matches(recent, in_ring, size, left, count, chance, touched, known)
            if size <= static:
                place = _children(tail, size, tokens, children, begin)
                left, known = _add_trie(tokens, counts, place, left, chance, touched, known)
            if left < ESCAPED:
                break
        token, likely = _likeliest(chance, touched, known)
        sure *= likely
        if token < 0 or sure < least:
            break
        drafted[n] = token
        n += 1
        if token == end:
            break
        tail[1:] = tail[:-1].copy()
        tail[0] = token
        length = min(LONGEST, length + 1)
    return n


class Chains:
    """The n-gram model of a batch.

    Parameters
    ----------
    trie
        Static n-grams, or None.
    recent
        Tokens of answers that are remembered, of all requests together; the oldest are written over.
    """

    def __init__(self, trie: Trie | None, recent: int = 1 << 15) -> None:
        self._ring = (
            np.zeros((recent, 1 + LONGEST), np.int32),
            np.full(recent, -1, np.int64),
            np.full(BUCKETS, -1, np.int64),
        )
        self._written = 0
        self._trie = _flat(trie)
        self._scratch = _scratch(trie.vocabulary if trie else 1, 1)

    def remember(self, row: Int32, start: int) -> None:
        """Count ``row[start:]`` among the recent answers; the contexts begin where the row int32[n] does."""
        self._make_room(row)
        self._written = _remember(row, start, *self._ring, self._written)

    def draft(self, row: Int32, most: int, end: int | None, least: float) -> list[int]:
        """The likeliest continuation of a text int32[n], at most `most` tokens.

        It ends behind the token `end`, and before its chance falls below `least`.
        """
        drafted = np.empty(most, np.int32)
        self._make_room(row)
        n = _chain(
            row,
            most,
            -1 if end is None else end,
            least,
            self._ring,
            self._written,
            self._trie,
            self._scratch,
            drafted,
        )
        return cast("list[int]", drafted[:n].tolist())

    def _make_room(self, row: Int32) -> None:
        """Let the scratch tables hold every token seen so far, and as many matches as `row` is long."""
        own, _, chance, _, _ = self._scratch
        vocabulary = max(int(row.max(initial=0)) + 1, len(chance))
        if vocabulary > len(chance) or len(row) > len(own):
            self._scratch = _scratch(vocabulary, max(2 * len(row), len(own)))


def _scratch(vocabulary: int, text: int) -> tuple[Int32, Int32, Float64, Int32, Int32]:
    """Matches in the text and in the ring, and by token its chance, its count, and a list of those that have one."""
    return (
        np.empty((text, 2), np.int32),
        np.empty((MOST_MATCHES, 2), np.int32),
        np.zeros(vocabulary, np.float64),
        np.zeros(vocabulary, np.int32),
        np.empty(vocabulary, np.int32),
    )


def _flat(trie: Trie | None) -> tuple[Int32, Int32, Int64, Int64]:
    """Tokens, counts and child offsets of the first levels one behind another, and where each level begins."""
    levels = () if trie is None else trie.levels[: LONGEST + 1]
    begin = np.cumsum([0, *(len(level.tokens) for level in levels)])
    return (
        _joined([level.tokens for level in levels], np.int32),
        _joined([level.counts for level in levels], np.int32),
        _joined([level.children for level in levels], np.int64),
        np.asarray(begin if levels else [0, 0], np.int64),
    )


def _joined(arrays: Sequence[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate(arrays).astype(kind) if arrays else np.zeros(0, kind)
