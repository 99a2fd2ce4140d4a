"""Which cache block belongs to whom: a pool of fixed-size blocks and the prefix forest over the full ones.

A block holds the keys and values of `block_tokens` consecutive tokens. A full block of committed tokens is
registered in the forest under (parent block, its tokens), so a later request with the same prefix shares it.
Lookup goes by a chained hash and is confirmed by comparing the tokens, so a hash collision is a miss, never a
wrong prefix. Nothing here knows a tensor: the tree that is kept is also what FlashForge plans over and what
Echo counts its future users on.

A block is in exactly one of three states:

free      without users; its content is meaningless
in use    in the block table of `users` >= 1 requests (registered in the forest or private)
cached    registered in the forest, `users` == 0; reusable, and evictable leaves first
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from serve.errors import OverloadedError

ROOT = 0
"""Hash that the first block of every chain has as its parent."""


def chain_hash(parent: int, tokens: Sequence[int]) -> int:
    """64-bit hash of a block under its parent's hash."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(parent.to_bytes(8, "little"))
    for token in tokens:
        digest.update(token.to_bytes(4, "little"))
    return int.from_bytes(digest.digest(), "little") or 1


@dataclass(slots=True, eq=False)
class Block:
    """One block of the cache. `hash` is 0 while it is private."""

    id: int
    users: int = 0
    hash: int = 0
    tokens: tuple[int, ...] = ()
    parent: Block | None = None
    children: set[int] = field(default_factory=set)


class PrefixForest:
    """Pool of `n_blocks` blocks with prefix sharing.

    Every method leaves free + cached + in use == n_blocks. No clock is read.
    """

    def __init__(self, n_blocks: int, block_tokens: int = 16) -> None:
        self.block_tokens = block_tokens
        self.blocks = [Block(i) for i in range(n_blocks)]
        self._free = list(range(n_blocks - 1, -1, -1))
        self._registered: dict[int, Block] = {}
        self._cached: OrderedDict[int, Block] = OrderedDict()  # least recently used first

    @property
    def n_free(self) -> int:
        """Blocks that hold nothing."""
        return len(self._free)

    @property
    def n_cached(self) -> int:
        """Number of blocks that hold a reusable prefix and have no user."""
        return len(self._cached)

    @property
    def n_available(self) -> int:
        """Blocks that an allocation could get."""
        return len(self._free) + len(self._cached)

    @property
    def n_in_use(self) -> int:
        """Blocks in some request's table."""
        return len(self.blocks) - self.n_available

    def blocks_for(self, n_tokens: int) -> int:
        """Blocks needed to hold `n_tokens` tokens."""
        return -(-n_tokens // self.block_tokens)

    def match(self, tokens: Sequence[int], chain: Sequence[int]) -> list[Block]:
        """Blocks of the longest registered prefix of `tokens`; `chain` has the hashes of its full blocks."""
        found: list[Block] = []
        parent: Block | None = None
        for i, key in enumerate(chain):
            block = self._registered.get(key)
            piece = tuple(tokens[i * self.block_tokens : (i + 1) * self.block_tokens])
            if block is None or block.tokens != piece or block.parent is not parent:
                break
            found.append(block)
            parent = block
        return found

    def acquire(self, blocks: Sequence[Block]) -> list[int]:
        """Add one user to each block (registered ones, from `match`) and return their ids."""
        for block in blocks:
            if block.users == 0:
                del self._cached[block.id]
            block.users += 1
        return [block.id for block in blocks]

    def allocate(self, n: int) -> list[int]:
        """Ids of `n` private blocks with one user, evicting cached prefixes if need be.

        Raises
        ------
        OverloadedError
            if fewer than `n` blocks are available; nothing is changed then.
        """
        if n > self.n_available:
            raise OverloadedError(f"{n} cache blocks wanted, {self.n_available} available")
        while len(self._free) < n:
            self._evict_one()
        ids = [self._free.pop() for _ in range(n)]
        for i in ids:
            self.blocks[i].users = 1
        return ids

    def register(self, block_id: int, parent_id: int | None, tokens: Sequence[int], key: int) -> int:
        """Make a full private block of one user shareable and return the id its owner must use from now on.

        That is another block where one with this content was registered meanwhile; the own one is freed then.
        A block stays private if its hash collides or its parent is not registered.
        """
        block = self.blocks[block_id]
        parent = None if parent_id is None else self.blocks[parent_id]
        if parent is not None and not parent.hash:
            return block_id
        twin = self._registered.get(key)
        if twin is not None:
            if twin.tokens != tuple(tokens) or twin.parent is not parent:
                return block_id
            self.acquire([twin])
            block.users = 0
            self._free.append(block_id)
            return twin.id
        block.hash, block.tokens, block.parent = key, tuple(tokens), parent
        if parent is not None:
            parent.children.add(block_id)
        self._registered[key] = block
        return block_id

    def release(self, ids: Sequence[int]) -> None:
        """Take one user from each block of a table; unused private blocks become free, registered ones cached."""
        for i in reversed(ids):  # children first, so that they are older than their parents and go first
            block = self.blocks[i]
            if block.users <= 0:
                raise AssertionError(f"block {i} released without a user")
            block.users -= 1
            if block.users:
                continue
            if block.hash:
                self._cached[i] = block
            else:
                self._free.append(i)

    def _evict_one(self) -> None:
        """Free the least recently used cached leaf.

        A child never has a user or a younger access than its parent, so the oldest entry is a leaf.
        """
        block = next(b for b in self._cached.values() if not b.children)
        del self._cached[block.id]
        del self._registered[block.hash]
        if block.parent is not None:
            block.parent.children.discard(block.id)
        block.hash, block.tokens, block.parent = 0, (), None
        self._free.append(block.id)

    def drop_cached(self) -> None:
        """Drop every cached prefix without users."""
        while self._cached:
            self._evict_one()

    def registered(self) -> Iterator[Block]:
        """Every block of the forest, in no particular order."""
        yield from self._registered.values()

    def check(self) -> None:
        """Raise AssertionError if the accounting is broken; for tests and the soak."""
        free, cached = set(self._free), set(self._cached)
        used = {b.id for b in self.blocks if b.users > 0}
        sound = (
            len(free) == len(self._free)
            and not (free & cached or free & used or cached & used)
            and len(free | cached | used) == len(self.blocks)
            and all(b.users >= 0 for b in self.blocks)
            and all(not b.children or b.hash for b in self.blocks)
            and all(b.parent is None or b.parent.users >= b.users for b in self._registered.values())
        )
        if not sound:
            raise AssertionError(
                f"{len(free)} free, {len(cached)} cached, {len(used)} in use of {len(self.blocks)}"
            )
