"""The n-gram trie against a Counter, its file, and the growing counts of requests."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.errors import ModelError
from serve.spec_decode.ngram_trie import GrowingGrams, Trie
from tests.serve.spec_decode.slow_query import query

END, VOCABULARY = 9, 10
documents = st.lists(st.lists(st.integers(0, 8), max_size=12), max_size=6)


def counted(texts: list[list[int]], order: int) -> Counter[tuple[int, ...]]:
    """The definition: every prefix of every window of at most `order` tokens."""
    found: Counter[tuple[int, ...]] = Counter()
    for text in texts:
        whole = [*text, END]
        for start in range(len(whole)):
            for length in range(1, min(order, len(whole) - start) + 1):
                found[tuple(whole[start : start + length])] += 1
    return found


def contents(trie: Trie) -> Counter[tuple[int, ...]]:
    """Every n-gram of a trie, by walking it."""
    found: Counter[tuple[int, ...]] = Counter()
    paths: list[tuple[int, ...]] = [()]
    for length, level in enumerate(trie.levels):
        if length == 0:
            parents = np.zeros(len(level.tokens), int)
        else:
            above = trie.levels[length - 1]
            parents = np.repeat(np.arange(len(above.tokens)), np.diff(above.children))
        paths = [(*paths[p], int(t)) for p, t in zip(parents, level.tokens, strict=True)]
        found.update(dict(zip(paths, level.counts.tolist(), strict=True)))
    return found


@given(documents, st.integers(1, 4))
def test_the_trie_counts_every_window(texts: list[list[int]], order: int) -> None:
    assert contents(Trie.build(texts, order, VOCABULARY, END)) == counted(texts, order)


@given(documents, st.integers(1, 3))
def test_pruning_keeps_what_was_seen_often_enough(texts: list[list[int]], least: int) -> None:
    pruned = Trie.build(texts, 3, VOCABULARY, END).prune(least)
    assert contents(pruned) == Counter({k: n for k, n in counted(texts, 3).items() if n >= least})


@given(documents, st.lists(st.integers(0, 9), max_size=4))
def test_a_query_backs_off_to_the_longest_context_seen_with_the_candidate(
    texts: list[list[int]], context: list[int]
) -> None:
    counts = counted(texts, 3)
    p, matched = query(Trie.build(texts, 3, VOCABULARY, END), context, range(VOCABULARY))
    for token in range(VOCABULARY):
        expected, length = 0.0, 0
        for n in (2, 1):
            suffix = tuple(context[-n:])
            if len(suffix) == n and counts[(*suffix, token)]:
                expected, length = counts[(*suffix, token)] / counts[suffix], n
                break
        assert (p[token], matched[token]) == (expected, length)


@given(documents, st.lists(st.integers(0, 9), min_size=1, max_size=2))
def test_children_are_seen_at_most_as_often_as_their_context(
    texts: list[list[int]], context: list[int]
) -> None:
    trie = Trie.build(texts, 3, VOCABULARY, END)
    tokens, counts = trie.continuations(context)
    assert sorted(set(tokens.tolist())) == tokens.tolist()
    assert counts.sum() <= counted(texts, 3)[tuple(context)]


TEXTS = [[1, 2, 3, 1, 2, 4], [1, 2, 3]]


def test_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    trie = Trie.build(TEXTS, 3, VOCABULARY, END)
    trie.save(tmp_path / "small.ngram", "tokenizer-a")
    again = Trie.load(tmp_path / "small.ngram", "tokenizer-a")
    assert contents(again) == contents(trie)
    assert query(again, [1, 2], [3, 4])[0].tolist() == query(trie, [1, 2], [3, 4])[0].tolist()
    assert [p.name for p in tmp_path.iterdir()] == ["small.ngram"]


def test_a_foreign_or_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.ngram"
    Trie.build(TEXTS, 3, VOCABULARY, END).save(path, "tokenizer-a")
    good = path.read_bytes()
    with pytest.raises(ModelError, match="another tokenizer"):
        Trie.load(path, "tokenizer-b")
    for bad, word in [
        (good[:-1], "damaged or cut short"),
        (good[:-5] + b"\xff" + good[-4:], "damaged or cut short"),
        (good[:20], "damaged"),
        (b"GGUF" + good[4:], "not an n-gram file"),
        (b"", "not an n-gram file"),
        (good.replace(b'"version": 1', b'"version": 7'), "version 1"),
    ]:
        path.write_bytes(bad)
        with pytest.raises(ModelError, match=word):
            Trie.load(path)
    with pytest.raises(ModelError, match="No such file"):
        Trie.load(tmp_path / "none")


def test_a_token_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(ModelError, match="outside the vocabulary"):
        Trie.build([[1, 99]], 3, VOCABULARY, END)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 4), max_size=30), st.integers(0, 30))
def test_growing_counts_are_the_same_however_the_text_arrived(text: list[int], cut: int) -> None:
    at_once, in_parts = GrowingGrams(longest=3), GrowingGrams(longest=3)
    at_once.extend(text, 0)
    in_parts.extend(text[:cut], 0)
    in_parts.extend(text, min(cut, len(text)))
    for length in (1, 2, 3):
        for start in range(len(text) - length):
            context = tuple(text[start : start + length])
            expected = Counter(
                text[i + length] for i in range(len(text) - length) if tuple(text[i : i + length]) == context
            )
            assert at_once.continuations(context) == in_parts.continuations(context) == expected


def test_old_contexts_are_forgotten_when_there_are_too_many() -> None:
    grams = GrowingGrams(longest=1, most=50)
    grams.extend(list(range(200)), 0)
    assert grams.continuations((0,)) is not None  # one older generation is still read
    grams.extend([1000 + i for i in range(100)], 0)
    grams.extend([2000 + i for i in range(100)], 0)
    assert grams.continuations((0,)) is None
