"""Which cache blocks which query rows share: a forest whose paths are the rows' contexts.

A *row* is one query position: a decoding request has one, a request verifying a draft tree has several with the
same context. Two rows share a node while their block tables agree; a block that is only partly inside a row's
context is shared with rows that see the same part of it. Nothing here knows a tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Forest:
    """N nodes over R rows, parents before children.

    Attributes
    ----------
    parent
        int64[N]; -1 for a root.
    block_indptr, blocks
        Cache blocks of node i: ``blocks[block_indptr[i]:block_indptr[i + 1]]``; int64[N + 1], int64[B].
    n_tokens
        Tokens of each node inside its rows' contexts, int64[N]; only its last block may be part-filled.
    row_indptr, rows
        Rows below node i, ascending: ``rows[row_indptr[i]:row_indptr[i + 1]]``; int64[N + 1], int64[sum n_q].
    leaf
        Node at which each row's path ends, int64[R]; -1 for an empty context.
    block_tokens
        Tokens a full block holds.
    """

    parent: Ints
    block_indptr: Ints
    blocks: Ints
    n_tokens: Ints
    row_indptr: Ints
    rows: Ints
    leaf: Ints
    block_tokens: int

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.parent)

    @property
    def n_rows(self) -> int:
        """Number of query rows."""
        return len(self.leaf)

    @property
    def n_sharing(self) -> Ints:
        """How many rows share each node (n_q), int64[N]."""
        return np.diff(self.row_indptr)

    def path(self, row: int) -> list[int]:
        """Nodes from the root to a row's leaf."""
        nodes: list[int] = []
        node = int(self.leaf[row])
        while node >= 0:
            nodes.append(node)
            node = int(self.parent[node])
        return nodes[::-1]

    def slots(self, node: int) -> Ints:
        """Cache slots (block * block_tokens + offset) of a node's tokens, in order."""
        blocks = self.blocks[self.block_indptr[node] : self.block_indptr[node + 1]]
        slots = (blocks[:, None] * self.block_tokens + np.arange(self.block_tokens)).ravel()
        return slots[: self.n_tokens[node]]


@dataclass(slots=True)
class _Node:
    keys: list[int]
    children: dict[int, _Node]
    rows: list[int]
    """Every row below."""
    ends: list[int]
    """Rows whose context ends here."""


def forest_of(block_tables: Sequence[Sequence[int]], lengths: Sequence[int], block_tokens: int) -> Forest:
    """Return the forest of the rows' contexts.

    Parameters
    ----------
    block_tables
        Cache blocks of each row's context, first tokens first; entries beyond the context are not looked at.
    lengths
        Tokens of each row's context.
    block_tokens
        Tokens a block holds.

    Raises
    ------
    ValueError
        If a table is too short for its length, or a length is negative.
    """
    root = _Node([], {}, [], [])
    for row, (table, length) in enumerate(zip(block_tables, lengths, strict=True)):
        _insert(root, _keys(table, int(length), block_tokens), row)
    return _flatten(root, len(lengths), block_tokens)


def _keys(table: Sequence[int], length: int, block_tokens: int) -> list[int]:
    """One integer per block: which one and how much of it is inside the context."""
    n_blocks = -(-length // block_tokens)
    if length < 0 or n_blocks > len(table):
        raise ValueError(f"a context of {length} tokens needs {n_blocks} blocks, the table has {len(table)}")
    keys = [block * (block_tokens + 1) + block_tokens for block in table[:n_blocks]]
    if keys and length % block_tokens:
        keys[-1] += length % block_tokens - block_tokens
    return keys


def _insert(root: _Node, keys: list[int], row: int) -> None:
    """Walk down while the keys agree, split the node where they part, hang the rest below it."""
    node, at = root, 0
    node.rows.append(row)
    while at < len(keys):
        child = node.children.get(keys[at])
        if child is None:
            child = _Node(keys[at:], {}, [], [])
            node.children[keys[at]] = child
        common = _common_prefix(child.keys, keys, at)
        if common < len(child.keys):
            lower = _Node(child.keys[common:], child.children, list(child.rows), child.ends)
            child.keys, child.children, child.ends = child.keys[:common], {lower.keys[0]: lower}, []
        child.rows.append(row)
        node, at = child, at + common
    node.ends.append(row)


def _common_prefix(node_keys: list[int], keys: list[int], at: int) -> int:
    limit = min(len(node_keys), len(keys) - at)
    if node_keys[:limit] == keys[at : at + limit]:
        return limit
    return next(i for i in range(limit) if node_keys[i] != keys[at + i])


def _flatten(root: _Node, n_rows: int, block_tokens: int) -> Forest:
    parent: list[int] = []
    nodes: list[_Node] = []
    leaf = np.full(n_rows, -1, np.int64)
    stack = [(child, -1) for child in reversed(root.children.values())]
    while stack:
        node, above = stack.pop()
        index = len(nodes)
        nodes.append(node)
        parent.append(above)
        leaf[node.ends] = index
        stack.extend((child, index) for child in reversed(node.children.values()))
    keys = np.array([k for node in nodes for k in node.keys], np.int64)
    block_indptr = np.concatenate(([0], np.cumsum([len(n.keys) for n in nodes]))).astype(np.int64)
    blocks, used = np.divmod(keys, block_tokens + 1)
    filled = np.concatenate(([0], np.cumsum(used)))
    return Forest(
        parent=np.array(parent, np.int64),
        block_indptr=block_indptr,
        blocks=blocks,
        n_tokens=np.diff(filled[block_indptr]),
        row_indptr=np.concatenate(([0], np.cumsum([len(n.rows) for n in nodes]))).astype(np.int64),
        rows=np.array([r for node in nodes for r in node.rows], np.int64),
        leaf=leaf,
        block_tokens=block_tokens,
    )
