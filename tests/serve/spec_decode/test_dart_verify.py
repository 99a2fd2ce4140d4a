"""Verification: greedy equals the target's own walk; sampling emits exactly the target's distribution."""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from serve.spec_decode.proposer import DraftTree
from serve.spec_decode.verify import RandomCoins, accept_greedy, accept_sampled

Float64 = npt.NDArray[np.float64]


class Enumerated:
    """Coins that follow a script and, past its end, always take the first branch, noting every branch not
    taken."""

    def __init__(self, script: tuple[int, ...]) -> None:
        self.script, self.taken, self.weight, self.open = script, list[int](), 1.0, list[tuple[int, ...]]()

    def _choose(self, probabilities: list[float]) -> int:
        at = len(self.taken)
        possible = [i for i, p in enumerate(probabilities) if p > 0]
        branch = self.script[at] if at < len(self.script) else possible[0]
        if at >= len(self.script):
            self.open += [(*self.taken, other) for other in possible[1:]]
        self.taken.append(branch)
        self.weight *= probabilities[branch]
        return branch

    def flip(self, probability: float) -> bool:
        return self._choose([1 - probability, probability]) == 1

    def draw(self, weights: Float64) -> int:
        return self._choose((weights / weights.sum()).tolist())


def every_outcome(
    tree: DraftTree, target: dict[tuple[int, ...], Float64]
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Emitted tokens with their exact probability, over every way the coins can fall."""
    paths = node_paths(tree)
    pending: list[tuple[int, ...]] = [()]
    while pending:
        coins = Enumerated(pending.pop())
        accepted = accept_sampled(tree, lambda row: target[paths[row]], coins)
        pending += coins.open
        yield accepted.tokens, coins.weight


def node_paths(tree: DraftTree) -> list[tuple[int, ...]]:
    paths: list[tuple[int, ...]] = [()]
    for token, parent in zip(tree.tokens.tolist(), tree.parents.tolist(), strict=True):
        paths.append((*paths[parent + 1], token))
    return paths


def random_tree(rng: np.random.Generator, vocabulary: int, size: int, depth: int) -> DraftTree:
    tokens, parents, depths, seen = list[int](), list[int](), [0], set[tuple[int, int]]()
    for _ in range(size):
        parent, token = int(rng.integers(-1, len(tokens))), int(rng.integers(vocabulary))
        if depths[parent + 1] < depth and (parent, token) not in seen:
            seen.add((parent, token))
            tokens.append(token)
            parents.append(parent)
            depths.append(depths[parent + 1] + 1)
    return DraftTree(np.asarray(tokens, np.int64), np.asarray(parents, np.int64))


def random_target(rng: np.random.Generator, vocabulary: int, depth: int) -> dict[tuple[int, ...], Float64]:
    """A next-token distribution after every prefix; about a third of the tokens have probability zero."""
    target = {}
    for length in range(depth + 1):
        for prefix in itertools.product(range(vocabulary), repeat=length):
            p = rng.exponential(size=vocabulary) * (rng.random(vocabulary) < 0.7)
            p[rng.integers(vocabulary)] += 0.1
            target[prefix] = p / p.sum()
    return target


@pytest.mark.parametrize("seed", range(40))
def test_sampling_emits_the_target_distribution_to_1e_12(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vocabulary, depth = int(rng.integers(2, 7)), int(rng.integers(1, 4))
    tree = random_tree(rng, vocabulary, int(rng.integers(0, 12)), depth)
    target = random_target(rng, vocabulary, depth)
    total = 0.0
    # Any emitted sequence stands for all its continuations: the chance that the text begins with a prefix
    # must be the target's. A sequence shorter than the prefix goes on by the target itself, as the next
    # rounds would.
    outcomes = list(every_outcome(tree, target))
    for prefix in itertools.product(range(vocabulary), repeat=depth):
        seen = 0.0
        for emitted, weight in outcomes:
            common = min(len(emitted), depth)
            if emitted[:common] == prefix[:common]:
                seen += weight * np.prod([target[prefix[:i]][prefix[i]] for i in range(common, depth)])
        wanted = np.prod([target[prefix[:i]][prefix[i]] for i in range(depth)])
        assert abs(seen - wanted) < 1e-12
        total += seen
    assert abs(total - 1) < 1e-12


def test_sampling_passes_a_chi_square_on_1e5_draws() -> None:
    rng = np.random.default_rng(7)
    tree = DraftTree(np.array([3, 1, 1, 0, 4]), np.array([-1, -1, 0, 0, 2]))
    p = rng.dirichlet(np.full(6, 0.7))
    p[2] = 0.0  # top-k took it out
    p /= p.sum()
    below = {row: rng.dirichlet(np.ones(6)) for row in range(1, 6)} | {0: p}
    counts, second = np.zeros(6), np.zeros(6)
    coins = RandomCoins(np.random.default_rng(11))
    for _ in range(100_000):
        tokens = accept_sampled(tree, below.__getitem__, coins).tokens
        counts[tokens[0]] += 1
        if tokens[0] == 3:
            second[tokens[1]] += 1
    assert counts[2] == 0
    kept = p > 0
    assert chisquare(counts[kept], counts.sum() * p[kept]).pvalue > 1e-3
    assert chisquare(second, second.sum() * below[1]).pvalue > 1e-3


def test_a_sure_child_is_always_accepted_and_an_impossible_one_never() -> None:
    tree = DraftTree(np.array([1, 0]), np.array([-1, -1]))
    coins = RandomCoins(np.random.default_rng(0))
    sure, other = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    for _ in range(200):
        accepted = accept_sampled(tree, lambda row: sure if row == 0 else other, coins)
        assert accepted.nodes == (1,)
        assert accepted.tokens == (0, 2)


@given(st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_greedy_is_the_targets_own_walk(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tree = random_tree(rng, vocabulary=4, size=12, depth=4)
    paths = node_paths(tree)
    choice = {path: int(rng.integers(4)) for path in paths}
    accepted = accept_greedy(tree, lambda row: choice[paths[row]])
    walked = tuple(int(tree.tokens[n]) for n in accepted.nodes)
    assert accepted.tokens[:-1] == walked
    assert walked in choice
    assert accepted.tokens[-1] == choice[walked]  # the next token after the walked path
    assert all(walked[i] == choice[walked[:i]] for i in range(len(walked)))
    assert (*walked, choice[walked]) not in set(paths)  # the walk left the tree


def test_an_empty_tree_gives_one_plain_token() -> None:
    assert accept_greedy(DraftTree.empty(), lambda row: 5).tokens == (5,)
    coins = RandomCoins(np.random.default_rng(0))
    assert accept_sampled(DraftTree.empty(), lambda row: np.array([0.0, 1.0]), coins).tokens == (1,)
