"""Tree search against the definition in dictionaries; best-first trees; unions."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.spec_decode.ngram_trie import Trie
from serve.spec_decode.tree import (
    Candidates,
    SearchSettings,
    TreeSearch,
    _following,
    _levels,
    best_first,
    keep,
    path_chances,
    union,
)
from tests.serve.spec_decode.slow_query import query

END = 0


def paths_of(c: Candidates) -> list[tuple[int, ...]]:
    paths: list[tuple[int, ...]] = []
    for token, parent in zip(c.tokens.tolist(), c.parents.tolist(), strict=True):
        paths.append((*(paths[parent] if parent >= 0 else ()), token))
    return paths


def by_definition(
    tokens: npt.NDArray[np.int64],
    chance: npt.NDArray[np.float64],
    root: tuple[int, int],
    trie: Trie | None,
    s: SearchSettings,
) -> list[tuple[int, ...]]:
    """The paper's search, with dictionaries."""
    beam: dict[tuple[int, ...], float] = {(): 0.0}
    everything: dict[tuple[int, ...], float] = {}
    for level in range(len(tokens)):
        share = chance[level] / chance[level].sum()
        weight, decay = (level + 1) ** -s.depth_power, s.level_decay**level
        following = {}
        for path, score in beam.items():
            context = [*root, *path][-2:]
            q = query(trie, context, tokens[level].tolist())[0] if trie else np.zeros(len(share))
            for token, p, n in zip(tokens[level].tolist(), share, q, strict=True):
                gain = weight * decay * min(0.0, math.log(p + 1e-10))
                if trie and level:
                    gain += weight * s.beta * min(0.0, math.log(n + 1e-10))
                following[(*path, token)] = score + gain
        everything |= following
        alive = {path: x for path, x in following.items() if path[-1] != END}
        beam = dict(sorted(alive.items(), key=lambda item: (-item[1], item[0]))[: s.beam])
    return sorted(everything, key=lambda path: (-round(everything[path], 9), len(path), path))[: s.nodes]


def random_levels(
    rng: np.random.Generator, depth: int, k: int, vocabulary: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    tokens = np.stack([rng.choice(vocabulary, k, replace=False) for _ in range(depth)])
    return tokens, rng.dirichlet(np.full(k, 0.4), size=depth) * 0.9 + 1e-6


def random_trie(rng: np.random.Generator, vocabulary: int) -> Trie:
    texts = [rng.integers(1, vocabulary, size=30).tolist() for _ in range(8)]
    return Trie.build(texts, 3, vocabulary, END)


@pytest.mark.parametrize("seed", range(30))
def test_the_search_is_the_papers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vocabulary = int(rng.integers(4, 12))
    tokens, chance = random_levels(rng, int(rng.integers(1, 6)), int(rng.integers(1, vocabulary)), vocabulary)
    s = SearchSettings(beam=int(rng.integers(1, 6)), nodes=int(rng.integers(1, 40)))
    trie = random_trie(rng, vocabulary) if seed % 2 else None
    root = (int(rng.integers(vocabulary)), int(rng.integers(vocabulary)))
    found = TreeSearch(s, trie, END)(tokens, chance, root)
    assert set(paths_of(found)) == set(by_definition(tokens, chance, root, trie, s))
    for path, own in zip(paths_of(found), found.chance, strict=True):
        level = len(path) - 1
        assert own == chance[level, tokens[level].tolist().index(path[-1])]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_a_tree_is_sound(seed: int, sure: bool) -> None:
    """Closed under prefixes, of the size asked for, no twin siblings, parents first, nothing after the end token."""
    rng = np.random.default_rng(seed)
    tokens, chance = random_levels(rng, 5, 4, 9)
    if sure:
        chance[:] = [
            1.0,
            0.0,
            0.0,
            0.0,
        ]  # gains of exactly 0: only the tie rule keeps parents before children
    s = SearchSettings(beam=3, nodes=int(rng.integers(1, 60)))
    found = TreeSearch(s, random_trie(rng, 9), END)(tokens, chance, (1, 2))
    paths = paths_of(found)
    assert len(found) == min(s.nodes, len(paths)) <= s.nodes
    assert len(set(paths)) == len(paths)
    assert all(-1 <= p < i for i, p in enumerate(found.parents.tolist()))
    assert all(END not in path[:-1] and len(path) <= 5 for path in paths)
    assert paths_of(TreeSearch(s, None, END)(tokens, chance, (1, 2))) == paths_of(
        TreeSearch(s, None, END)(tokens[:, ::-1].copy(), chance[:, ::-1].copy(), (5, 6))
    )


def test_one_node_is_a_chain_of_one() -> None:
    tokens, chance = np.array([[3, 4], [5, 6]]), np.array([[0.3, 0.6], [0.5, 0.5]])
    found = TreeSearch(SearchSettings(nodes=1), None, END)(tokens, chance, (1, 2))
    assert paths_of(found) == [(4,)]
    assert found.chance.tolist() == [0.6]


def test_n_grams_decide_from_the_second_level_on() -> None:
    trie = Trie.build([[7, 3, 6], [7, 4, 5]] * 3, 3, 9, END)
    tokens, chance = np.array([[3, 4], [5, 6]]), np.array([[0.6, 0.4], [0.55, 0.45]])
    s = SearchSettings(nodes=3)
    assert paths_of(TreeSearch(s, trie, END)(tokens, chance, (1, 7))) == [(3,), (4,), (3, 6)]
    without = SearchSettings(nodes=3, beta=0.0)
    assert paths_of(TreeSearch(without, trie, END)(tokens, chance, (1, 7))) == [(3,), (4,), (3, 5)]


def bigram(text: Sequence[int]) -> list[tuple[int, float]]:
    return {1: [(2, 0.5), (3, 0.25)], 2: [(1, 0.9)], 3: [(END, 0.8)]}.get(text[-1], [])


def test_best_first_takes_the_likeliest_paths_in_order() -> None:
    found = best_first(bigram, [1], nodes=5, depth=3, end=END)
    assert paths_of(found) == [(2,), (2, 1), (3,), (2, 1, 2), (3, END)]
    assert path_chances(found).tolist() == pytest.approx([0.5, 0.45, 0.25, 0.225, 0.2])
    assert len(best_first(bigram, [1], nodes=50, depth=3, end=END)) == 6
    assert len(best_first(lambda path: [], [1], nodes=5, depth=3, end=END)) == 0


def test_best_first_stops_below_the_least_chance_and_takes_what_has_just_that() -> None:
    for least, nodes in ((0.0, 6), (0.2, 5), (0.21, 4), (0.225, 4), (0.23, 3), (0.6, 0)):
        assert len(best_first(bigram, [1], nodes=50, depth=3, end=END, least=least)) == nodes, least


def test_best_first_asks_for_what_follows_the_whole_text_down_to_its_depth() -> None:
    asked: list[list[int]] = []

    def one_way(text: list[int]) -> list[tuple[int, float]]:
        asked.append(text)
        return [(len(text), 0.5), (END, 0.5)]

    found = best_first(one_way, [7, 8, 9], nodes=50, depth=2, end=END)
    assert asked == [[7, 8, 9], [7, 8, 9, 3]]  # not after the end token, nor below depth 2
    assert paths_of(found) == [(3,), (END,), (3, 4), (3, END)]
    assert len(best_first(one_way, [7, 8, 9], nodes=50, depth=1, end=END)) == 2


def test_of_equal_paths_the_shallower_comes_first_and_then_the_earlier() -> None:
    follow = {1: [(2, 0.5), (3, 0.25), (4, 0.25)], 2: [(5, 0.5)], 5: []}
    found = best_first(lambda text: follow.get(text[-1], []), [1], nodes=9, depth=5, end=END)
    assert paths_of(found) == [(2,), (3,), (4,), (2, 5)]


def test_nothing_drafted_is_an_empty_tree() -> None:
    nothing = Candidates.empty()
    some = best_first(bigram, [1], nodes=3, depth=3, end=END)
    assert len(nothing) == len(nothing.tree.tokens) == len(path_chances(nothing)) == 0
    for both in (union(nothing, some), union(some, nothing)):
        assert (paths_of(both), both.chance.tolist()) == (paths_of(some), some.chance.tolist())


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_n_grams_shorter_than_three_decide_nothing_and_longer_ones_as_three_do(order: int) -> None:
    rng = np.random.default_rng(order)
    texts = [rng.integers(1, 7, size=30).tolist() for _ in range(8)]
    s = SearchSettings(beam=3, nodes=12)
    tokens, chance = random_levels(rng, 4, 4, 7)
    found = TreeSearch(s, Trie.build(texts, order, 7, END), END)(tokens, chance, (1, 2))
    three = Trie.build(texts, 3, 7, END) if order >= 3 else None
    assert set(paths_of(found)) == set(by_definition(tokens, chance, (1, 2), three, s))
    assert set(paths_of(found)) != set(by_definition(tokens, chance, (1, 2), None, s)) or order < 3


@given(st.integers(0, 1000))
def test_a_union_has_every_path_of_both_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    trees = []
    for _ in range(2):
        tokens, chance = random_levels(rng, 3, 3, 6)
        trees.append(TreeSearch(SearchSettings(beam=2, nodes=8), None, END)(tokens, chance, (1, 2)))
    a, b = trees
    both = union(a, b)
    assert sorted(paths_of(both)) == sorted(set(paths_of(a)) | set(paths_of(b)))
    assert both.tree.parents.tolist() == both.parents.tolist()
    best = {
        path: max(c for t in trees for p, c in zip(paths_of(t), t.chance, strict=True) if p == path)
        for path in paths_of(both)
    }
    assert dict(zip(paths_of(both), both.chance, strict=True)) == best


def test_keeping_some_nodes_moves_their_parents() -> None:
    found = best_first(bigram, [1], nodes=5, depth=3, end=END)
    kept = keep(found, np.array([True, False, True, False, True]))
    assert paths_of(kept) == [(2,), (3,), (3, END)]


def test_the_defaults_are_the_papers() -> None:
    s = SearchSettings()
    assert (s.beam, s.candidates, s.nodes) == (20, 25, 59)
    assert (s.beta, s.level_decay, s.depth_power) == (0.5, 0.9, 0.7)


@pytest.mark.parametrize("seed", range(8))
def test_the_compiled_look_up_is_the_tries_after_every_two_tokens(seed: int) -> None:
    """The lowest token too, and tokens that were never seen: where a search among sorted siblings goes wrong first."""
    rng = np.random.default_rng(seed)
    vocabulary = 7
    seen = rng.choice(vocabulary - 1, 4, replace=False)
    trie = Trie.build([rng.choice(seen, size=12).tolist() for _ in range(3)], 3, vocabulary, vocabulary - 1)
    candidates, q = np.arange(vocabulary), np.empty(vocabulary)
    for older in range(vocabulary):
        for newer in range(vocabulary):
            _following(older, newer, candidates, _levels(trie), q)
            assert q.tolist() == query(trie, [older, newer], candidates.tolist())[0].tolist(), (older, newer)


def test_the_context_below_the_first_node_is_the_root_and_that_node() -> None:
    """After "7 3" came 6 alone, after "1 3" 5 alone; 3 was mostly followed by 5."""
    trie = Trie.build([[7, 3, 6]] + [[1, 3, 5]] * 3, 3, 9, END)
    tokens, chance = np.array([[3, 4], [5, 6]]), np.array([[0.9, 0.1], [0.5, 0.5]])
    search = TreeSearch(SearchSettings(nodes=2), trie, END)
    assert paths_of(search(tokens, chance, (1, 7))) == [(3,), (3, 6)]
    assert paths_of(search(tokens, chance, (7, 1))) == [(3,), (3, 5)]


def test_roots_have_no_parent_and_children_keep_theirs() -> None:
    found = best_first(bigram, [1], nodes=5, depth=3, end=END)
    assert found.parents.tolist() == [-1, 0, -1, 1, 2]
    kept = keep(found, np.array([True, True, False, False, False]))
    assert kept.parents.tolist() == [-1, 0]
