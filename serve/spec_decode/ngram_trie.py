"""N-gram statistics: a static trie in sorted arrays on disk, and growing counts of what requests say.

The trie is DART's (arXiv 2601.19278). Every window of at most `order` tokens of a document (its tokens and one end
token) adds one to each node of its path. The paper's is 100 GB of linked nodes in memory. Ours has arrays of tokens,
counts and child offsets for each level, memory-mapped. Siblings are sorted, so a lookup is a binary search and
nothing is parsed. A file is refused unless its checksum and the tokenizer's hash fit.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.atomic import replacing
from serve.errors import ModelError

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

MAGIC = b"DARTGRAM"
VERSION = 1
ALIGN = 64


@dataclass(frozen=True, slots=True)
class Level:
    """The n-grams of one length, sorted: `tokens` int32[n] and `counts` int32[n] of their last token.

    `children` int64[n + 1]: node i's continuations are ``children[i]:children[i + 1]`` of the next level
    (all 0 in the last).
    """

    tokens: Int32
    counts: Int32
    children: Int64


@dataclass(frozen=True, slots=True)
class Trie:
    """Counts of all n-grams up to `order`; `levels[l - 1]` holds those of length l."""

    vocabulary: int
    levels: tuple[Level, ...]

    @property
    def order(self) -> int:
        """Length of the longest n-gram."""
        return len(self.levels)

    @property
    def nodes(self) -> int:
        """Number of n-grams."""
        return sum(len(level.tokens) for level in self.levels)

    @classmethod
    def build(cls, documents: Iterable[Sequence[int]], order: int, vocabulary: int, end: int) -> Trie:
        """Count every window of at most `order` tokens of every document followed by `end`."""
        texts = [np.asarray([*d, end], np.int64) for d in documents]
        tokens = np.concatenate(texts) if texts else np.empty(0, np.int64)
        if len(tokens) and not (tokens.min() >= 0 and tokens.max() < vocabulary):
            raise ModelError(f"n-grams: token {tokens.max()} is outside the vocabulary of {vocabulary}")
        left = np.concatenate([np.arange(len(t), 0, -1) for t in texts]) if texts else tokens  # until the end
        position, rank = np.arange(len(tokens)), np.zeros(len(tokens), np.int64)
        keys, seen = [], []
        for length in range(order):
            inside = left[position] > length
            position, rank = position[inside], rank[inside]
            unique, rank, counts = np.unique(
                rank * vocabulary + tokens[position + length], return_inverse=True, return_counts=True
            )
            keys.append(unique)
            seen.append(counts)
        return _assemble(vocabulary, keys, seen)

    def _keys(self) -> list[Int64]:
        """Parent rank times the vocabulary plus token, per level."""
        keys = [self.levels[0].tokens.astype(np.int64)] if self.levels else []
        for above, level in itertools.pairwise(self.levels):
            parents = np.repeat(np.arange(len(above.tokens)), np.diff(above.children))
            keys.append(parents * self.vocabulary + level.tokens)
        return keys

    def prune(self, least: int) -> Trie:
        """Drop the n-grams seen fewer than `least` times; an n-gram is never seen more often than its prefix."""
        keys, counts, place = [], [], np.zeros(1, np.int64)
        v = self.vocabulary
        for key, level in zip(self._keys(), self.levels, strict=True):
            kept = level.counts >= least
            keys.append(place[key[kept] // v] * v + key[kept] % v)
            counts.append(level.counts[kept])
            place = np.cumsum(kept) - 1
        return _assemble(v, keys, counts)

    def find(self, context: Sequence[int]) -> int:
        """Index of an n-gram in the level of its length, -1 if unseen. The context is not longer than the order."""
        low, high, index = 0, len(self.levels[0].tokens), -1
        for length, token in enumerate(context):
            tokens = self.levels[length].tokens
            index = low + int(np.searchsorted(tokens[low:high], token))
            if index == high or tokens[index] != token:
                return -1
            if length + 1 < len(context):
                low, high = self.levels[length].children[index : index + 2].tolist()
        return index

    def continuations(self, context: Sequence[int]) -> tuple[Int32, Int32]:
        """Tokens (ascending) and counts seen after exactly this context; empty if none. Context shorter than order."""
        index = self.find(context)
        if index < 0 or len(context) >= self.order:
            return np.empty(0, np.int32), np.empty(0, np.int32)
        start, stop = self.levels[len(context) - 1].children[index : index + 2]
        below = self.levels[len(context)]
        return below.tokens[start:stop], below.counts[start:stop]

    def save(self, path: Path, tokenizer_hash: str) -> None:
        """Write the file atomically."""
        arrays = [array for level in self.levels for array in (level.tokens, level.counts, level.children)]
        payload = b"".join(_padded(array.tobytes()) for array in arrays)
        header = {
            "version": VERSION,
            "vocabulary": self.vocabulary,
            "sizes": [len(level.tokens) for level in self.levels],
            "tokenizer": tokenizer_hash,
            "sha256": hashlib.sha256(payload).hexdigest(),
        }
        encoded = json.dumps(header, sort_keys=True).encode()
        with replacing(path) as temporary:
            temporary.write_bytes(_padded(MAGIC + len(encoded).to_bytes(8, "little") + encoded) + payload)

    @classmethod
    def load(cls, path: Path, tokenizer_hash: str | None = None) -> Trie:
        """Map a file into memory; refuse it if it is damaged or counts another tokenizer's tokens."""
        header, start = _read_header(path)
        if tokenizer_hash is not None and header["tokenizer"] != tokenizer_hash:
            raise ModelError(f"{path}: counts the tokens of another tokenizer; build it again for this model")
        raw = np.memmap(path, np.uint8, mode="r")[start:]
        if hashlib.sha256(raw.data).hexdigest() != header["sha256"]:
            raise ModelError(f"{path}: damaged or cut short (its checksum does not fit); build it again")
        levels, offset = [], 0
        for size in header["sizes"]:
            parts: list[npt.NDArray[np.generic]] = []
            for length, kind in ((size, np.int32), (size, np.int32), (size + 1, np.int64)):
                width = length * np.dtype(kind).itemsize
                parts.append(raw[offset : offset + width].view(kind))
                offset += width + -width % ALIGN
            levels.append(Level(*parts))  # type: ignore[arg-type]
        return cls(header["vocabulary"], tuple(levels))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGN)


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Header of a file and where its arrays begin."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
            if start[:8] != MAGIC:
                raise ModelError(f"{path}: not an n-gram file; build one with vckg-serve build-ngrams")
            size = int.from_bytes(start[8:], "little")
            header = json.loads(file.read(min(size, 1 << 20)))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{path}: damaged header; build it again") from error
    if not isinstance(header, dict) or header.get("version") != VERSION:
        raise ModelError(f"{path}: not a version {VERSION} n-gram file; build it again")
    return header, 16 + size + -(16 + size) % ALIGN


def _assemble(vocabulary: int, keys: Sequence[Int64], counts: Sequence[npt.NDArray[np.integer]]) -> Trie:
    """Make a trie of sorted keys (parent rank times vocabulary plus token) and counts per level."""
    levels = []
    for i, (key, count) in enumerate(zip(keys, counts, strict=True)):
        children = np.zeros(len(key) + 1, np.int64)
        if i + 1 < len(keys):
            children = np.searchsorted(keys[i + 1] // vocabulary, np.arange(len(key) + 1)).astype(np.int64)
        levels.append(Level((key % vocabulary).astype(np.int32), np.asarray(count, np.int32), children))
    return Trie(vocabulary, tuple(levels))


class GrowingGrams:
    """Counts of what follows every context of at most `longest` tokens, kept up to date token by token.

    One per request holds its own prompt and answer; one for the server holds recent answers of all requests.
    When more than `most` contexts are held, the older half is forgotten (an older generation is kept for
    reading, as in a two-generation cache).
    """

    def __init__(self, longest: int = 4, most: int = 200_000) -> None:
        self.longest, self.most = longest, most
        self._young: dict[tuple[int, ...], Counter[int]] = {}
        self._old: dict[tuple[int, ...], Counter[int]] = {}

    def extend(self, tokens: Sequence[int], start: int) -> None:
        """Count ``tokens[start:]``, each after the contexts that end before it."""
        young = self._young
        for position in range(max(start, 1), len(tokens)):
            token = tokens[position]
            for length in range(1, min(self.longest, position) + 1):
                context = tuple(tokens[position - length : position])
                found = young.get(context)
                if found is None:
                    found = young[context] = self._old.pop(context, Counter())
                found[token] += 1
        if len(young) > self.most:
            self._old, self._young = young, {}

    def continuations(self, context: tuple[int, ...]) -> Counter[int] | None:
        """What was seen after exactly this context, None if nothing."""
        return self._young.get(context) or self._old.get(context)
