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
from serve.spec_decode.tree import place_of

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Scratch = tuple[Int32, Int32, Int32, Int32, Float64, Int32, Int32]
Function = TypeVar("Function", bound=Callable[..., Any])

LONGEST = 4
"""Tokens of the longest context."""
BUCKETS = 1 << 16
MOST_MATCHES = 128
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
        slot = written & (size - 1)
        grams[slot, 0] = row[position]
        for back in range(LONGEST):
            grams[slot, 1 + back] = row[position - 1 - back] if position - 1 - back >= 0 else -1
        bucket = row[position - 1] % BUCKETS
        before[slot] = newest[bucket]
        newest[bucket] = written
        written += 1
    return written


@_compiled
def _tally(token: int, same: int, place: Int32, tokens: Int32, counts: Int32, n: int) -> int:
    """Count a token that stood behind an end of `same` tokens; how many distinct tokens were counted."""
    entry = place[token]
    if entry < 0:
        entry = place[token] = n
        tokens[n] = token
        counts[n] = 0
        n += 1
    counts[entry, same] += 1
    return n


@_compiled
def _finish(place: Int32, tokens: Int32, counts: Int32, n: int) -> int:
    """Let `counts` [n, same] hold the matches of `same` tokens or more; the place of every token is free again."""
    for i in range(n):
        place[tokens[i]] = -1
        for same in range(LONGEST - 1, 0, -1):
            counts[i, same] += counts[i, same + 1]
    return n


@_compiled
def _tally_row(row: Int32, tail: Int32, length: int, place: Int32, tokens: Int32, counts: Int32) -> int:
    """Count what stands in `row` behind ends of `tail` (newest token first); the distinct tokens."""
    n = 0
    for position in range(1, len(row)):
        if row[position - 1] != tail[0]:
            continue
        same = 1
        while same < length and position - 1 - same >= 0 and row[position - 1 - same] == tail[same]:
            same += 1
        n = _tally(row[position], same, place, tokens, counts, n)
    return _finish(place, tokens, counts, n)


@_compiled
def _tally_ring(
    tail: Int32,
    length: int,
    ring: tuple[Int32, Int64, Int64],
    written: int,
    place: Int32,
    tokens: Int32,
    counts: Int32,
) -> int:
    """The same over the newest of the ring."""
    grams, before, newest = ring
    n = looked = 0
    size = len(grams)
    position = newest[tail[0] % BUCKETS]
    while (
        position >= 0 and position >= written - size and looked < MOST_MATCHES
    ):  # an older one was written over
        looked += 1
        slot = position & (size - 1)
        if grams[slot, 1] == tail[0]:
            same = 1
            while same < length and grams[slot, 1 + same] == tail[same]:
                same += 1
            n = _tally(grams[slot, 0], same, place, tokens, counts, n)
        position = before[slot]
    return _finish(place, tokens, counts, n)


@_compiled
def _add(
    tokens: Int32,
    counts: Int32,
    span: tuple[int, int],
    left: float,
    chance: Float64,
    touched: Int32,
    known: int,
) -> tuple[float, int]:
    """Add the chances by the counts of a span of tokens; the chance left, and how many tokens have one."""
    low, high = span
    total = distinct = 0
    for i in range(low, high):
        total += counts[i]
        distinct += counts[i] > 0
    if total == 0:
        return left, known
    scale = left / (total + distinct)
    for i in range(low, high):
        if counts[i] > 0:
            token = tokens[i]
            if chance[token] == 0.0:
                touched[known] = token
                known += 1
            chance[token] += scale * counts[i]
    return left * (distinct / (total + distinct)), known


@_compiled
def _children(tail: Int32, length: int, tokens: Int32, children: Int64, begin: Int64) -> tuple[int, int]:
    """Where the continuations of the tail's last `length` tokens lie in the trie's flat arrays; (0, 0) if unseen."""
    low, high = begin[0], begin[1]
    for level in range(length):
        found = place_of(tokens, low, high, tail[length - 1 - level])
        if found < 0:
            return 0, 0
        # Every level has one child offset more than it has tokens.
        position = found + level
        low, high = begin[level + 1] + children[position], begin[level + 1] + children[position + 1]
    return low, high


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
    scratch: Scratch,
    drafted: Int32,
) -> int:
    """Fill `drafted` with the likeliest continuation of `row`; its length."""
    tokens, counts, children, begin = trie
    own, of_own, recent, of_recent, chance, place, touched = scratch
    static = len(begin) - 2
    tail = np.full(LONGEST, -1, np.int32)
    length = min(LONGEST, len(row))
    for back in range(length):
        tail[back] = row[len(row) - 1 - back]
    n, sure = 0, 1.0
    while n < most and length > 0:
        in_row = _tally_row(row, tail, length, place, own, of_own)
        in_ring = _tally_ring(tail, length, ring, written, place, recent, of_recent)
        left, known = 1.0, 0
        for size in range(length, 0, -1):
            left, known = _add(own, of_own[:, size], (0, in_row), left, chance, touched, known)
            left, known = _add(recent, of_recent[:, size], (0, in_ring), left, chance, touched, known)
            if size <= static:
                span = _children(tail, size, tokens, children, begin)
                left, known = _add(tokens, counts, span, left, chance, touched, known)
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


@_compiled
def _chains(
    rows: Int32,
    lengths: Int64,
    rooms: Int64,
    end: int,
    least: float,
    ring: tuple[Int32, Int64, Int64],
    written: int,
    trie: tuple[Int32, Int32, Int64, Int64],
    scratch: Scratch,
    drafted: Int32,
    counts: Int64,
) -> None:
    """`_chain` of every row [B, T]."""
    for i in range(len(rows)):
        if rooms[i] > 0:
            row = rows[i, : lengths[i]]
            counts[i] = _chain(row, rooms[i], end, least, ring, written, trie, scratch, drafted[i])


class Chains:
    """The n-gram model of a batch.

    Parameters
    ----------
    trie
        Static n-grams, or None.
    recent
        Tokens of answers that are remembered, of all requests together, a power of two; the oldest are written over.
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
        self._make_room(int(row.max(initial=0)), len(row))
        self._written = _remember(row, start, *self._ring, self._written)

    def draft_all(
        self, rows: Int32, lengths: Int64, rooms: Int64, end: int | None, least: float
    ) -> list[list[int]]:
        """The likeliest continuations of the texts ``rows[i, : lengths[i]]``, at most ``rooms[i]`` tokens of each.

        Each ends behind the token `end`, and before its chance falls below `least`.
        """
        self._make_room(int(rows.max(initial=0)), rows.shape[1])
        drafted = np.empty((len(rows), max(int(rooms.max(initial=0)), 1)), np.int32)
        counts = np.zeros(len(rows), np.int64)
        stop = -1 if end is None else end
        _chains(
            rows, lengths, rooms, stop, least, self._ring, self._written, self._trie, self._scratch, drafted, counts
        )  # fmt: skip
        return [tokens[:n] for tokens, n in zip(drafted.tolist(), counts.tolist(), strict=True)]

    def _make_room(self, largest: int, length: int) -> None:
        """Let the scratch tables hold every token seen so far, and as many matches as a text is long."""
        own, *_, chance, _, _ = self._scratch
        vocabulary = max(largest + 1, len(chance))
        if vocabulary > len(chance) or length > len(own):
            self._scratch = _scratch(vocabulary, max(2 * length, len(own)))


def _scratch(vocabulary: int, text: int) -> Scratch:
    """Tokens matched in the text and in the ring with their counts; by token its chance and its place among the
    matched, and a list of those that have a chance.
    """
    return (
        np.empty(text, np.int32),
        np.empty((text, 1 + LONGEST), np.int32),
        np.empty(MOST_MATCHES, np.int32),
        np.empty((MOST_MATCHES, 1 + LONGEST), np.int32),
        np.zeros(vocabulary, np.float64),
        np.full(vocabulary, -1, np.int32),
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
