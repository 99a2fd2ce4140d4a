"""A forest of shared cache blocks: each path from a root is the context of some query rows.

A *row* is one query position: a decoding request has one, a request verifying a draft tree has several with the
same context. Two rows share a node while their block tables agree. A block that is only partly inside a row's
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
    n_rows
        Number of query rows, those of an empty context too.
    block_tokens
        Tokens a full block holds.
    """

    parent: Ints
    block_indptr: Ints
    blocks: Ints
    n_tokens: Ints
    row_indptr: Ints
    rows: Ints
    n_rows: int
    block_tokens: int

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.parent)

    @property
    def n_sharing(self) -> Ints:
        """Number of rows that share each node (n_q), int64[N]."""
        return np.diff(self.row_indptr)


@dataclass(slots=True)
class _Open:
    """A node whose rows are still coming: blocks ``low:high`` of sorted rows from `first` on, and its children."""

    low: int
    high: int
    first: int
    children: list[int]


def forest_of(
    block_tables: Sequence[Sequence[int]] | Ints, lengths: Sequence[int] | Ints, block_tokens: int
) -> Forest:
    """Return the forest of the rows' contexts.

    Rows are sorted by their blocks, so that rows with the same prefix are neighbours. One pass over the sorted rows
    compares each with the one before it and finds every node.

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
    keys, n_blocks = _keys(block_tables, lengths, block_tokens)
    written = [row.tobytes() for row in keys]
    order = np.array(sorted(range(len(keys)), key=written.__getitem__), np.int64)
    keys, n_blocks = keys[order], n_blocks[order]
    return _flatten(_nodes(n_blocks, _common(keys, n_blocks)), keys, order, block_tokens)


def _keys(
    block_tables: Sequence[Sequence[int]] | Ints, lengths: Sequence[int] | Ints, block_tokens: int
) -> tuple[Ints, Ints]:
    """One integer per block, which one and how much of it is inside the context, -1 beyond; and blocks per row."""
    used = np.asarray(lengths, np.int64)
    n_blocks = -(-used // block_tokens)
    for length, wanted, table in zip(used, n_blocks, block_tables, strict=True):
        if length < 0 or wanted > len(table):
            raise ValueError(
                f"a context of {length} tokens needs {wanted} blocks, the table has {len(table)}"
            )
    keys = np.full((len(used), int(n_blocks.max(initial=0))), -1, np.int64)
    for row, (table, wanted) in enumerate(zip(block_tables, n_blocks, strict=True)):
        keys[row, :wanted] = table[:wanted]
    rows = np.flatnonzero(n_blocks)
    inside = np.arange(keys.shape[1]) < n_blocks[:, None]
    keys[inside] = keys[inside] * (block_tokens + 1) + block_tokens
    keys[rows, n_blocks[rows] - 1] += (used[rows] - 1) % block_tokens + 1 - block_tokens
    return keys, n_blocks


def _common(keys: Ints, n_blocks: Ints) -> Ints:
    """Blocks that each sorted row shares with the one before it; int64[R], 0 first."""
    common = np.zeros(len(keys), np.int64)
    if len(keys) > 1 and keys.shape[1]:
        differ = keys[1:] != keys[:-1]
        first = np.where(differ.any(axis=1), differ.argmax(axis=1), keys.shape[1])
        common[1:] = np.minimum(first, np.minimum(n_blocks[1:], n_blocks[:-1]))
    return common


_Closed = tuple[int, int, int, int, list[int]]
"""A finished node: its first and last block (exclusive), its first and last sorted row, its children."""


def _nodes(n_blocks: Ints, common: Ints) -> list[_Closed]:
    """Every node, children before parents, by one pass over the sorted rows."""
    closed: list[_Closed] = []
    path: list[_Open] = []

    def close(node: _Open, end: int, low: int) -> int:
        closed.append((low, node.high, node.first, end, node.children))
        return len(closed) - 1

    def part(shared: int, row: int) -> None:
        """Close what row `row` does not share, and cut the node in which it leaves the path."""
        while path and path[-1].low >= shared:
            node = path.pop()
            index = close(node, row, node.low)
            if path and node.low:
                path[-1].children.append(index)
        if path and path[-1].high > shared:
            node = path[-1]
            path[-1] = _Open(node.low, shared, node.first, [close(node, row, shared)])

    for row, (shared, blocks) in enumerate(zip(common.tolist(), n_blocks.tolist(), strict=True)):
        part(shared, row)
        if blocks > shared:
            path.append(_Open(shared, blocks, row, []))
    part(0, len(n_blocks))
    return closed


def _flatten(closed: list[_Closed], keys: Ints, order: Ints, block_tokens: int) -> Forest:
    """Flat arrays, parents before children and siblings by their lowest row."""
    rows_of = [np.sort(order[first:last]) for _, _, first, last, _ in closed]
    ranks = sorted(range(len(closed)), key=lambda i: (closed[i][0], int(rows_of[i][0])))
    index = {node: position for position, node in enumerate(ranks)}
    parent = np.full(len(closed), -1, np.int64)
    pieces: list[Ints] = []
    for position, node in enumerate(ranks):
        low, high, first, _, children = closed[node]
        parent[[index[child] for child in children]] = position
        pieces.append(keys[first, low:high])
    rows = [rows_of[node] for node in ranks]
    blocks, used = np.divmod(np.concatenate([*pieces, np.empty(0, np.int64)]), block_tokens + 1)
    block_indptr = np.concatenate(([0], np.cumsum([len(piece) for piece in pieces]))).astype(np.int64)
    filled = np.concatenate(([0], np.cumsum(used)))
    return Forest(
        parent=parent,
        block_indptr=block_indptr,
        blocks=blocks,
        n_tokens=np.diff(filled[block_indptr]),
        row_indptr=np.concatenate(([0], np.cumsum([len(r) for r in rows]))).astype(np.int64),
        rows=np.concatenate([*rows, np.empty(0, np.int64)]),
        n_rows=len(order),
        block_tokens=block_tokens,
    )
