"""Which walks count: the metapaths from a query gene to a target, as typed, degree-damped adjacency blocks.

A walk of h edges leaves a gene forwards (``Gene -> X``) and may cross its later edges either way; inner nodes
are never genes and never of the target's category. Edges that deny something (negative markers, lacking surface
proteins) carry no walk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from vckg.base.errors import InputError, did_you_mean
from vckg.graph.schema import CATEGORIES, OF_ORTHOLOGS, ORTHOLOGY, RELATION_NAMES

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int32]
Sparse = Any
"""A scipy CSR array; its stubs lose the shape in slices and products."""

DENYING = ("is_negative_marker_for", "lacks_surface_part", ORTHOLOGY, *OF_ORTHOLOGS)
MAX_HOPS = 3
DAMPING = 0.4
"""Exponent of the degree damping; Hetionet's value (Himmelstein et al., eLife 2017)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where walks end: nodes of `category`.

    `back` names a relation by which the target points at genes, for targets that no edge leaves a gene for (a
    drug targets a gene); it is crossed backwards as the first step. `hops` is the longest walk that makes
    sense. `inherits`: what speaks for a node speaks also for the kinds of it (cell types; not GO, where genes
    of the narrow term belong to the wide one).
    """

    name: str
    category: str
    back: str | None = None
    hops: int = MAX_HOPS
    inherits: bool = False


_NO_TARGETS = ("Gene", "OrthologGene", "Drug", "SmallMolecule", "ProteinComplex")
TARGETS = {
    **{c: Target(c, c) for c in CATEGORIES if c not in _NO_TARGETS},
    "Cell": Target("Cell", "Cell", inherits=True),
    "Drug": Target("Drug", "Drug", back="targets"),
    "SmallMolecule": Target("SmallMolecule", "SmallMolecule", back="targets"),
    "ProteinComplex": Target("ProteinComplex", "ProteinComplex", back="has_component"),
    # a regulon is a transcription factor with the genes it regulates; longer walks would not be regulation
    "Regulon": Target("Regulon", "Gene", back="regulates", hops=1),
}


def target_named(name: str) -> Target:
    """Return the target of a name; `InputError` with the nearest one otherwise."""
    if name not in TARGETS:
        raise InputError(f"no target {name!r}{did_you_mean(name, TARGETS)}; one of {', '.join(TARGETS)}")
    return TARGETS[name]


@dataclass(frozen=True, slots=True)
class Blocks:
    """The adjacency blocks whose products are the walks; values are degree-damped edge weights.

    Attributes
    ----------
    genes, targets
        Graph nodes of the rows and columns, int32, ascending.
    direct
        Gene -> target, [genes, targets].
    first
        Gene -> inner node, [genes, n].
    between
        Inner node (-> | <-) inner node, symmetric, [n, n].
    last
        Inner node (-> | <-) target, [n, targets].
    """

    genes: Ints
    targets: Ints
    direct: Sparse
    first: Sparse
    between: Sparse
    last: Sparse


def walkable_rows(
    graph: Graph, target: Target, exclude: Iterable[str] = ()
) -> dict[str, npt.NDArray[np.int64]]:
    """Edge rows that a walk to the target may cross, by relation; rows of the `exclude`d sources are left
    out.
    """
    gene = graph.category == CATEGORIES.index("Gene")
    excluded = graph.source_codes(exclude) if exclude else np.zeros(0, np.uint8)
    found: dict[str, npt.NDArray[np.int64]] = {}
    for relation in RELATION_NAMES:
        span = graph.rows(relation)
        if relation in DENYING or span.start == span.stop:
            continue
        keep = np.ones(span.stop - span.start, bool)
        if relation != target.back:
            keep &= ~gene[graph.object[span]]  # no walk enters a gene
        if len(excluded):
            keep &= ~np.isin(graph.source[span], excluded)
        if keep.any():
            found[relation] = np.flatnonzero(keep) + span.start
    return found


def blocks(graph: Graph, target: Target, *, exclude: Iterable[str] = (), damping: float = DAMPING) -> Blocks:
    """Return the typed blocks of a target.

    An edge of relation r weighs ``(out-degree of its subject * in-degree of its object) ** -damping``, degrees
    counted within r over distinct neighbours (Himmelstein and Baranzini, PLoS Comput Biol 2015).
    """
    n = graph.n
    is_gene = graph.category == CATEGORIES.index("Gene")
    is_target = graph.category == CATEGORIES.index(target.category)
    inner = ~is_gene & ~is_target
    parts: dict[str, list[Any]] = {"direct": [], "first": [], "between": [], "last": []}

    def add(part: str, rows: Ints, columns: Ints, weights: npt.NDArray[np.float32], keep: Bools) -> None:
        if keep.any():
            parts[part].append(sp.coo_array((weights[keep], (rows[keep], columns[keep])), shape=(n, n)))

    for relation, edge_rows in walkable_rows(graph, target, exclude).items():
        subject, obj = _distinct(graph.subject[edge_rows], graph.object[edge_rows], n)
        weights = _damped(subject, obj, n, damping)
        if relation == target.back:
            add("direct", obj, subject, weights, is_gene[obj] & is_target[subject])
            continue
        add("direct", subject, obj, weights, is_gene[subject] & is_target[obj])
        add("first", subject, obj, weights, is_gene[subject] & inner[obj])
        for rows, columns in ((subject, obj), (obj, subject)):
            add("between", rows, columns, weights, inner[rows] & inner[columns])
            add("last", rows, columns, weights, inner[rows] & is_target[columns])
    total = {part: _sum(matrices, n) for part, matrices in parts.items()}
    targets = np.flatnonzero(is_target).astype(np.int32)
    genes = np.flatnonzero(is_gene).astype(np.int32)
    return Blocks(
        genes,
        targets,
        total["direct"][genes][:, targets],
        total["first"][genes],
        total["between"],
        total["last"][:, targets],
    )


def _distinct(subject: Ints, obj: Ints, n: int) -> tuple[Ints, Ints]:
    """Distinct (subject, object) pairs; rows of one relation come sorted, so repeats are neighbours."""
    key = subject.astype(np.int64) * n + obj
    first = np.ones(len(key), bool)
    first[1:] = key[1:] != key[:-1]
    return subject[first], obj[first]


def _damped(subject: Ints, obj: Ints, n: int, damping: float) -> npt.NDArray[np.float32]:
    degree = np.bincount(subject, minlength=n)[subject] * np.bincount(obj, minlength=n)[obj]
    return (degree.astype(np.float64) ** -damping).astype(np.float32)


def _sum(matrices: list[Any], n: int) -> Sparse:
    """Sum of the relations' blocks in a fixed order, duplicates added."""
    if not matrices:
        return sp.csr_array((n, n), dtype=np.float32)
    rows = np.concatenate([m.row for m in matrices])
    columns = np.concatenate([m.col for m in matrices])
    data = np.concatenate([m.data for m in matrices])
    total = sp.csr_array((data, (rows, columns)), shape=(n, n))
    total.sum_duplicates()
    return total


__all__ = ["DAMPING", "MAX_HOPS", "TARGETS", "Blocks", "Target", "blocks", "target_named", "walkable_rows"]
