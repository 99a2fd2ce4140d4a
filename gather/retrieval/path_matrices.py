"""Reach and path-weight matrices of a graph, computed once, stored next to it and memory-mapped.

For a target category and each hop h: ``D_h`` [genes, targets] is the sum over walks of exactly h edges of the
product of their damped edge weights (a degree-weighted path count); its sparsity pattern is the reach matrix
``R_h``. All weights are positive, so nothing cancels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from gather.retrieval.metapaths import DAMPING, MAX_HOPS, Blocks, Sparse, Target, blocks, target_named
from vckg.base.atomic import replacing
from vckg.base.errors import InputError
from vckg.base.resources import default_cache
from vckg.graph.folder import sha256_of
from vckg.graph.stamps import fingerprint, is_stamped, stamp

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

Ints = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]

FORMAT_VERSION = 2
HOP_CODES = (4, 2, 1)
"""Byte value of reaching at hop 1, 2, 3: a sum of them is four times the published hop weight."""
TABLE_LIMIT_BYTES = 256 << 20


@dataclass(frozen=True, eq=False)
class Operators:
    """The matrices of one target.

    Attributes
    ----------
    genes, targets
        Graph nodes of rows and columns, int32, ascending: column order is CURIE order.
    weights
        ``D_h`` for h = 1 .. hops, float32 CSR [genes, targets].
    first, between, last
        The blocks walks are traced through (`gather.retrieval.metapaths.Blocks`).
    """

    target: Target
    hops: int
    genes: Ints
    targets: Ints
    weights: tuple[Sparse, ...]
    first: Sparse
    between: Sparse
    last: Sparse
    key: str = ""
    _tables: dict[int, Table] = field(default_factory=dict, repr=False)

    @cached_property
    def column_of(self) -> dict[int, int]:
        """Column of each target node."""
        return {node: column for column, node in enumerate(self.targets.tolist())}

    def rows(self, gene_nodes: Ints) -> npt.NDArray[np.intp]:
        """Rows of gene nodes."""
        found = np.searchsorted(self.genes, gene_nodes)
        assert np.array_equal(self.genes[found], gene_nodes), "a query holds a node that is not a gene"
        return found

    def table(self, hops: int) -> Table:
        """Return the dense byte table of reach within `hops`; made once, a few tens of megabytes."""
        if not 1 <= hops <= self.hops:
            raise InputError(f"hops is {hops}; these operators hold 1 to {self.hops}")
        if hops not in self._tables:
            self._tables[hops] = Table.of(self, hops)
        return self._tables[hops]


@dataclass(frozen=True, eq=False)
class Table:
    """Reach as bytes: which targets each gene reaches at which hops, laid out for one pass over memory.

    Attributes
    ----------
    row
        Table row of every operator row, int32[genes]; -1 for genes that reach nothing.
    columns
        Operator column of every table column, int32[active].
    codes
        Sum of `HOP_CODES` of the hops at which the gene reaches the target, uint8[active genes, padded
        targets]; rows are padded with zeros to 64 bytes.
    bits
        The same as bits, uint64[active genes, padded targets / 64].
    df
        How many targets each gene reaches, int32[active genes].
    """

    row: Ints
    columns: Ints
    codes: Bytes
    bits: Words
    df: Ints

    @cached_property
    def single(self) -> npt.NDArray[np.float32]:
        """`codes` as float32, four times the size: what a matrix product without a compiled kernel reads."""
        return self.codes.astype(np.float32)

    @classmethod
    def of(cls, operators: Operators, hops: int, keep: Ints | None = None) -> Table:
        """Lay out the table; `keep` restricts it to some operator columns (ascending)."""
        allowed = np.zeros(len(operators.targets), bool)
        allowed[slice(None) if keep is None else keep] = True
        coded = _coded(operators.weights[:hops])
        rows = np.repeat(np.arange(coded.shape[0]), np.diff(coded.indptr))
        inside = allowed[coded.indices]
        rows, columns, codes = rows[inside], coded.indices[inside], coded.data[inside]
        used_rows, used_columns = np.unique(rows), np.unique(columns)
        padded = max(64, -(-len(used_columns) // 64) * 64)
        if len(used_rows) * padded > TABLE_LIMIT_BYTES:
            raise InputError(
                f"the reach table of {operators.target.name} would take {len(used_rows) * padded >> 20} MB; "
                "restrict the candidates or use another score than 'paper'"
            )
        row = np.full(len(operators.genes), -1, np.int32)
        row[used_rows] = np.arange(len(used_rows), dtype=np.int32)
        dense = np.zeros((len(used_rows), padded), np.uint8)
        dense[row[rows], np.searchsorted(used_columns, columns)] = codes
        bits = np.packbits(dense != 0, axis=1, bitorder="little").view(np.uint64)
        df = np.bincount(row[rows], minlength=len(used_rows)).astype(np.int32)
        return cls(row, used_columns.astype(np.int32), dense, np.ascontiguousarray(bits), df)


def _coded(weights: tuple[Sparse, ...]) -> Sparse:
    """Sum over hops of the hop's code where it is reached, uint8."""
    total: Sparse = None
    for code, matrix in zip(HOP_CODES, weights, strict=False):
        codes = np.full(len(matrix.data), code, np.uint8)
        part = sp.csr_array((codes, matrix.indices, matrix.indptr), shape=matrix.shape)
        total = part if total is None else total + part
    assert total is not None
    return total


def build(
    graph: Graph,
    target: Target | str = "Cell",
    *,
    hops: int = 2,
    exclude: Iterable[str] = (),
    damping: float = DAMPING,
) -> Operators:
    """Compute the operators of a target: ``D_1 = direct``, ``D_2 = first @ last``, ``D_3 = first @ (between
    @ last)``.

    The product of `between` and `last` comes first: it has few rows that matter, and its result is small.
    """
    goal = target_named(target) if isinstance(target, str) else target
    hops = _checked_hops(goal, hops)
    typed = blocks(graph, goal, exclude=exclude, damping=damping)
    matrices = [typed.direct]
    onward = typed.last
    for _hop in range(2, hops + 1):
        matrices.append(_sorted(typed.first @ onward))
        if len(matrices) < hops:
            onward = typed.between @ onward
    return _from_blocks(goal, hops, typed, tuple(_sorted(m) for m in matrices))


def _from_blocks(goal: Target, hops: int, typed: Blocks, matrices: tuple[Sparse, ...]) -> Operators:
    return Operators(
        goal,
        hops,
        typed.genes,
        typed.targets,
        matrices,
        typed.first,
        typed.between,
        _sorted(typed.last.T.tocsr()),
    )


def _sorted(matrix: Sparse) -> Sparse:
    matrix = sp.csr_array(matrix, dtype=np.float32)
    matrix.sort_indices()
    return matrix


def _checked_hops(target: Target, hops: int) -> int:
    if not 1 <= hops <= MAX_HOPS:
        raise InputError(f"hops is {hops}; walks have 1 to {MAX_HOPS} edges")
    return min(hops, target.hops)


# ---- storage
# ------------------------------------------------------------------------------------------------


def operators(
    graph: Graph,
    target: Target | str = "Cell",
    *,
    hops: int = 2,
    exclude: Iterable[str] = (),
    damping: float = DAMPING,
) -> Operators:
    """Return the operators of a target: memory-mapped where they are stored, else computed and stored.

    They lie in ``operators/`` of the graph's folder, or in the user's cache where that cannot be written, under
    a key made of the graph's content hash and every parameter, so that a stale one is never read. Damaged ones are
    computed again.
    """
    goal = target_named(target) if isinstance(target, str) else target
    hops = _checked_hops(goal, hops)
    excluded = tuple(sorted(exclude))
    key = _key(graph, goal, hops, excluded, damping)
    for folder in _folders(graph):
        if _is_sound(folder / key):
            return _read(folder / key, goal, hops, key)
    made = build(graph, goal, hops=hops, exclude=excluded, damping=damping)
    if graph.folder is None:
        return made
    for folder in _folders(graph):
        if _write(made, folder, key):
            return _read(folder / key, goal, hops, key)
    return made


def _key(graph: Graph, target: Target, hops: int, exclude: tuple[str, ...], damping: float) -> str:
    parameters = json.dumps([FORMAT_VERSION, graph.content_hash, target.name, hops, exclude, damping])
    return f"{target.name}-{hops}-{hashlib.sha256(parameters.encode()).hexdigest()[:16]}"


def _folders(graph: Graph) -> list[Path]:
    if graph.folder is None:
        return []
    return [graph.folder / "operators", default_cache() / "operators"]


def _arrays(made: Operators) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = {"genes": made.genes, "targets": made.targets}
    named = {f"weights{h}": m for h, m in enumerate(made.weights, start=1)}
    named |= {"first": made.first, "between": made.between, "last": made.last}
    for name, matrix in named.items():
        arrays |= {
            f"{name}.data": matrix.data,
            f"{name}.indices": matrix.indices.astype(np.int32),
            f"{name}.indptr": matrix.indptr.astype(np.int32),  # scipy wants both index arrays alike
        }
    return arrays


def _write(made: Operators, parent: Path, key: str) -> bool:
    """Write a folder atomically; False where this place cannot be written (read-only, full)."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with replacing(parent / key) as partial:
            partial.mkdir()
            shapes = {}
            for name, array in _arrays(made).items():
                np.save(partial / f"{name}.npy", array, allow_pickle=False)
                shapes[name] = list(array.shape)
            manifest = {
                "format": "gather-operators",
                "format_version": FORMAT_VERSION,
                "key": key,
                "shapes": shapes,
                "sha256": {p.name: sha256_of(p) for p in sorted(partial.glob("*.npy"))},
            }
            (partial / "manifest.json").write_text(
                json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8"
            )
    except OSError:
        return False
    return True


def _is_sound(folder: Path) -> bool:
    """Whether a folder holds the arrays that were written; they are hashed once (`vckg.graph.stamps`)."""
    try:
        checksums = json.loads((folder / "manifest.json").read_bytes())["sha256"]
        seen = fingerprint(folder, ["manifest.json", *checksums], folder.name)
        if is_stamped(seen):
            return True
        sound = all(sha256_of(folder / name) == checksum for name, checksum in checksums.items())
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ):  # damaged: computed again
        return False
    if sound:
        stamp(seen)
    return sound


def _read(folder: Path, target: Target, hops: int, key: str) -> Operators:
    def load(name: str) -> npt.NDArray[Any]:
        return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))

    genes, targets = load("genes"), load("targets")

    def matrix(name: str, columns: int | None = None) -> Sparse:
        indptr = load(f"{name}.indptr")
        parts = (load(f"{name}.data"), load(f"{name}.indices"), indptr)
        n_columns = len(targets) if columns is None else columns
        made = sp.csr_array((len(indptr) - 1, n_columns), dtype=np.float32)
        # assigned, not passed: the constructor would read every index to check it
        made.data, made.indices, made.indptr = parts
        made.has_sorted_indices = True
        return made

    between_rows = len(load("between.indptr")) - 1
    return Operators(
        target,
        hops,
        genes,
        targets,
        tuple(matrix(f"weights{h}") for h in range(1, hops + 1)),
        matrix("first", between_rows),
        matrix("between", between_rows),
        matrix("last", between_rows),
        key,
    )
