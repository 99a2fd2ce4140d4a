from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serve.errors import OverloadedError
from serve.kv_cache import prefix_cache as kv
from serve.kv_cache.prefix_cache import ROOT, PrefixForest, chain_hash


def hash_chain(tokens, block_tokens):
    """Chained hashes of the full blocks of a token sequence, first block first."""
    chain, parent = [], ROOT
    for start in range(0, len(tokens) - block_tokens + 1, block_tokens):
        parent = kv.chain_hash(parent, tokens[start : start + block_tokens])
        chain.append(parent)
    return chain


def fill(forest, tokens):
    """Compute a prompt the way a scheduler does; its block table."""
    chain = hash_chain(tokens, forest.block_tokens)
    found = forest.match(tokens, chain)
    table = forest.acquire(found) + forest.allocate(forest.blocks_for(len(tokens)) - len(found))
    for i in range(len(found), len(chain)):
        piece = tokens[i * forest.block_tokens : (i + 1) * forest.block_tokens]
        table[i] = forest.register(table[i], table[i - 1] if i else None, piece, chain[i])
    return table


def test_a_prefix_is_shared_block_by_block():
    forest = PrefixForest(10, 4)
    first = fill(forest, list(range(10)))
    second = fill(forest, [*range(8), 99, 98])
    assert first[:2] == second[:2]
    assert first[2] != second[2]
    assert forest.n_in_use == 4


def test_only_full_blocks_are_shared():
    forest = PrefixForest(10, 4)
    forest.release(fill(forest, list(range(7))))
    assert (forest.n_cached, forest.n_free) == (1, 9)
    assert len(forest.match(list(range(7)), hash_chain(list(range(7)), 4))) == 1


def test_the_same_block_under_another_parent_is_another_block():
    forest = PrefixForest(10, 2)
    fill(forest, [1, 2, 3, 4])
    assert forest.match([9, 9, 3, 4], hash_chain([9, 9, 3, 4], 2)) == []


def test_a_hash_collision_is_a_miss(monkeypatch):
    forest = PrefixForest(10, 2)
    monkeypatch.setattr(kv, "chain_hash", lambda parent, tokens: 7)
    table = fill(forest, [1, 2])
    assert forest.match([3, 4], hash_chain([3, 4], 2)) == []
    other = fill(forest, [3, 4])
    assert other != table  # stays private
    forest.release(other)
    forest.release(table)
    assert (forest.n_cached, forest.n_free) == (1, 9)


def test_a_twin_computed_meanwhile_replaces_the_own_block():
    forest = PrefixForest(10, 2)
    a, b = forest.allocate(1), forest.allocate(1)
    key = chain_hash(kv.ROOT, [1, 2])
    assert forest.register(a[0], None, [1, 2], key) == a[0]
    assert forest.register(b[0], None, [1, 2], key) == a[0]
    assert forest.blocks[a[0]].users == 2
    assert forest.n_free == 9


def test_the_oldest_leaf_is_evicted_first():
    forest = PrefixForest(4, 2)
    forest.release(fill(forest, [1, 2, 3, 4]))
    forest.release(fill(forest, [1, 2, 5, 6]))
    forest.allocate(2)  # one free, so one goes: the leaf (3, 4)
    assert len(forest.match([1, 2, 3, 4], hash_chain([1, 2, 3, 4], 2))) == 1
    assert len(forest.match([1, 2, 5, 6], hash_chain([1, 2, 5, 6], 2))) == 2


def test_an_allocation_that_does_not_fit_changes_nothing():
    forest = PrefixForest(3, 2)
    forest.release(fill(forest, [1, 2]))
    forest.allocate(1)
    with pytest.raises(OverloadedError, match="3 cache blocks wanted, 2 available"):
        forest.allocate(3)
    assert (forest.n_cached, forest.n_free, forest.n_in_use) == (1, 1, 1)


class Forest(RuleBasedStateMachine):
    """Random requests come and go; a list of live token sequences is the definition."""

    def __init__(self):
        super().__init__()
        self.forest = PrefixForest(12, 2)
        self.live: list[tuple[list[int], list[int]]] = []

    @rule(tokens=st.lists(st.integers(0, 2), min_size=1, max_size=9))
    def come(self, tokens):
        chain = hash_chain(tokens, 2)
        found = self.forest.match(tokens, chain)
        fresh = self.forest.blocks_for(len(tokens)) - len(found)
        if fresh + sum(b.users == 0 for b in found) <= self.forest.n_available:
            self.live.append((tokens, fill(self.forest, tokens)))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def go(self, data):
        _, table = self.live.pop(data.draw(st.integers(0, len(self.live) - 1)))
        self.forest.release(table)

    @invariant()
    def accounting_holds(self):
        self.forest.check()
        users: dict[int, int] = {}
        for _, table in self.live:
            for block in table:
                users[block] = users.get(block, 0) + 1
        assert {b.id: b.users for b in self.forest.blocks if b.users} == users

    @invariant()
    def a_live_prefix_is_found_whole_and_shared(self):
        for tokens, table in self.live:
            full = len(tokens) // 2
            assert [b.id for b in self.forest.match(tokens, hash_chain(tokens, 2))] == table[:full]


TestForest = Forest.TestCase
TestForest.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
