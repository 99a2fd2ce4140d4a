"""Echo's settings, and its cache policy: blocks that waiting batch requests need are evicted last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from serve.kv_cache.prefix_cache import Block, PrefixForest
from serve.request import Priority


@dataclass(frozen=True, slots=True)
class EchoConfig:
    """The knobs, each of which can be switched off for an ablation.

    Token i of an interactive request is due ``allowance_s + pace_s * i`` after its arrival (Eq. 5 of smooth goodput
    with a tolerated response delay). `tolerance` of that slack stays unused. `neighbours` bounds how many batch
    requests one step adds or pauses. `omega` weighs prompt tokens that the cache saves against new ones. `recent` is
    how long, in cache accesses, an interactive request's blocks count as recent. A batch request that waits longer than
    `max_wait_s` goes first; no step is planned to last longer than `longest_step_s`, since nobody knows who comes next.
    Where a reader's token will be late even without batch work, that work may lengthen the step by `late_share`:
    beside a step that is made anyway a few more decodes cost next to nothing, and an overload does not stop batch work.
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
    """A prefix forest that knows which blocks waiting batch requests will use.

    `future` counts them by block hash. Eviction takes, first to last: batch blocks nobody waits for; interactive
    blocks not used lately; batch blocks by how few wait for them; recent interactive blocks. Leaves go before their
    parents, the longest unused first within a rank.
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
        """Note the class of the request that last used these blocks."""
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
        """Evict idle batch blocks nobody waits for beyond the share of the pool they may fill."""
        limit = int(self.config.offline_cache_share * len(self.blocks))
        idle = [b for b in self._cached.values() if b.id in self._offline and not self.future[b.hash]]
        for block in sorted(idle, key=lambda b: (-b.depth, b.last_access))[: max(0, len(idle) - limit)]:
            if not block.children:
                self._evict(block)
