"""Echo's settings, and its cache policy: blocks that waiting batch requests need are evicted last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from serve.kv_cache.prefix_cache import Block, PrefixForest
from serve.request import Priority


@dataclass(frozen=True, slots=True)
class EchoConfig:
    """Settings of Echo; an ablation can switch each part off.

    Token i of an interactive request is due ``allowance_s + pace_s * i`` after its arrival (Eq. 5 of smooth goodput
    with a tolerated response delay). `tolerance` of that slack stays unused. `neighbours` bounds how many batch
    requests one step adds or pauses. `omega` weighs prompt tokens that the cache saves against new ones. `recent` is
    how long, in cache accesses, an interactive request's blocks count as recent. A batch request that waits longer
    than `max_wait_s` goes first. No planned step exceeds `longest_step_s`, because a request may arrive at any time.
    If a reader's token is late even without batch work, that work may lengthen the step by `late_share`. A few more
    decodes cost little, and so an overload does not stop batch work.
    """

    pace_s: float = 0.2
    allowance_s: float = 1.0
    tolerance: float = 0.05
    neighbours: int = 8
    omega: float = 1.0
    max_wait_s: float = 600.0
    longest_step_s: float = 0.5
    recent: int = 2_000
    offline_cache_share: float = 1.0
    late_share: float = 0.1
    budget: bool = True
    count_users: bool = True
    group_prefixes: bool = True
    reserve: bool = True


class EchoForest(PrefixForest):
    """A prefix forest that counts the waiting batch requests that will use each block.

    `future` holds these counts by block hash. Eviction order: batch blocks without a future user, interactive blocks
    not used lately, batch blocks by rising number of future users, recent interactive blocks. Leaves are evicted before
    their parents, and the longest unused block comes first within a rank.
    """

    def __init__(self, n_blocks: int, block_tokens: int = 16, config: EchoConfig | None = None) -> None:
        super().__init__(n_blocks, block_tokens)
        self.config = config or EchoConfig()
        self.future: Counter[int] = Counter()
        self._offline: set[int] = set()

    def expect(self, chain: Sequence[int]) -> None:
        """Count one more future user of every block of a chain."""
        self.future.update(chain)

    def forget(self, chain: Sequence[int]) -> None:
        """Take one future user from every block of a chain."""
        for key in chain:
            self.future[key] -= 1
            if not self.future[key]:
                del self.future[key]

    def mark(self, ids: Sequence[int], priority: Priority) -> None:
        """Record the class of the request that used these blocks last."""
        (self._offline.update if priority is Priority.OFFLINE else self._offline.difference_update)(ids)

    def rank(self, block: Block) -> tuple[int, int, int]:
        """Eviction key: lower goes first."""
        users = self.future[block.hash] if self.config.count_users else 0
        if block.id in self._offline:
            return (2, users, block.last_access) if users else (0, 0, block.last_access)
        recent = self.tick - block.last_access <= self.config.recent
        return (3 if recent else 1, 0, block.last_access)

    def _evict_one(self) -> None:
        if not self.config.count_users:
            super()._evict_one()
            return
        leaves = (block for block in self._cached.values() if not block.children)
        self._evict(min(leaves, key=self.rank))

    def trim(self) -> None:
        """Evict batch blocks without users or future users beyond their share of the pool."""
        limit = int(self.config.offline_cache_share * len(self.blocks))
        idle = [b for b in self._cached.values() if b.id in self._offline and not self.future[b.hash]]
        for block in sorted(idle, key=lambda b: (-b.depth, b.last_access))[: max(0, len(idle) - limit)]:
            if not block.children:
                self._evict(block)
