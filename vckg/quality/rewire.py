"""Rewire a graph: the same degrees, random neighbours.

It is the control for any claim that the content of a graph helps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vckg.base.types import Array
from vckg.graph.edge_table import LIST_NAMES
from vckg.graph.graph import Graph
from vckg.graph.parts import Parts, content_hash
from vckg.graph.schema import CATEGORY_CODE, RELATIONS

DEFAULT_ROUNDS = 20
"""Swaps offered per edge; after about ten, few edges are unchanged."""


def rewired(graph: Graph, seed: int, *, rounds: int = DEFAULT_ROUNDS) -> Graph:
    """Return a graph with gene edges shuffled by degree-preserving swaps; ontologies are unchanged.

    Swaps (Maslov & Sneppen, Science 2002, https://doi.org/10.1126/science.1065103) exchange pairs of nodes within one
    relation and one pair of categories. Every node keeps its number of neighbours by relation and category. Edges of
    several sources between one pair move together and keep their provenance. No edge is doubled, no edge is a loop.

    Parameters
    ----------
    graph
        The graph to shuffle.
    seed
        Seed of the random generator; the result repeats.
    rounds
        Number of swaps offered to each edge.

    Examples
    --------
    >>> import vckg
    >>> graph = vckg.example_graph()
    >>> shuffled = rewired(graph, seed=0)
    >>> shuffled.m == graph.m, shuffled.manifest["rewired"]["seed"]
    (True, 0)
    """
    rng = np.random.default_rng(seed)
    subject, target = graph.subject.astype(np.int64), graph.object.astype(np.int64)
    category = graph.category.astype(np.int64)
    gene = CATEGORY_CODE["Gene"]
    touches_gene = (category[subject] == gene) | (category[target] == gene)
    group = (graph.relation.astype(np.int64) << 16) | (category[subject] << 8) | category[target]
    for code in np.unique(group[touches_gene]):
        rows = np.flatnonzero(group == code)
        pairs, of_row = np.unique(subject[rows] * graph.n + target[rows], return_inverse=True)
        swap = _swap_either_end if RELATIONS[code >> 16].symmetric else _swap_objects
        ends = np.divmod(pairs, graph.n)
        new_subject, new_target = swap(*ends, graph.n, rng, rounds)
        subject[rows], target[rows] = new_subject[of_row], new_target[of_row]
    return _with_ends(graph, subject, target, {"rewired": {"of": graph.content_hash, "seed": seed}})


def _swap_objects(
    subject: Array, target: Array, n: int, rng: np.random.Generator, rounds: int
) -> tuple[Array, Array]:
    """Exchange the objects of random pairs of edges unless a new edge exists already or is a loop."""
    target = target.copy()
    for _ in range(rounds):
        one, other = _partners(len(subject), rng)
        first, second = subject[one] * n + target[other], subject[other] * n + target[one]
        loop = (subject[one] == target[other]) | (subject[other] == target[one])
        fine = ~loop & _all_new(first, second, subject * n + target)
        one, other = one[fine], other[fine]
        target[one], target[other] = target[other], target[one]
    return subject, target


def _swap_either_end(
    subject: Array, target: Array, n: int, rng: np.random.Generator, rounds: int
) -> tuple[Array, Array]:
    """Exchange either end of edges without direction, which keep the lower end first."""
    for _ in range(rounds):
        flip = rng.random(len(subject)) < 0.5
        a, b = np.where(flip, target, subject), np.where(flip, subject, target)
        one, other = _partners(len(a), rng)
        loop = (a[one] == b[other]) | (a[other] == b[one])
        fine = ~loop & _all_new(
            _undirected(a[one], b[other], n), _undirected(a[other], b[one], n), subject * n + target
        )
        one, other = one[fine], other[fine]
        b[one], b[other] = b[other], b[one]
        subject, target = np.minimum(a, b), np.maximum(a, b)
    return subject, target


def _undirected(a: Array, b: Array, n: int) -> Array:
    return np.asarray(np.minimum(a, b) * n + np.maximum(a, b))


def _partners(m: int, rng: np.random.Generator) -> tuple[Array, Array]:
    order = rng.permutation(m)
    half = m // 2
    return order[:half], order[half : 2 * half]


def _all_new(first: Array, second: Array, present: Array) -> Array:
    """Return where both proposed edges are absent and proposed once in this round."""
    proposed = np.concatenate((first, second))
    _, inverse, times = np.unique(proposed, return_inverse=True, return_counts=True)
    fine = (times[inverse] == 1) & ~np.isin(proposed, present)
    return np.asarray(fine[: len(first)] & fine[len(first) :])


def _with_ends(graph: Graph, subject: Array, target: Array, entries: dict[str, Any]) -> Graph:
    """Return the graph with other ends for its edges, in the order of edge rows."""
    arrays: dict[str, Array] = dict(graph.parts.arrays)
    order = np.lexsort((graph.sign, graph.source, target, subject, graph.relation))
    for name in (
        "relation",
        "source",
        "sign",
        "evidence_count",
        "n_publications",
        "weight",
        "specificity",
    ):
        arrays[name] = np.asarray(arrays[name])[order]
    arrays["subject"], arrays["object"] = subject[order].astype(np.int32), target[order].astype(np.int32)
    for way, ends in (("out", arrays["subject"]), ("in", arrays["object"])):
        counts = np.bincount(ends, minlength=graph.n)
        arrays[f"{way}_indptr"] = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        arrays[f"{way}_rows"] = np.argsort(ends, kind="stable").astype(np.int32)
    for name in LIST_NAMES:
        lists = graph.list_codes(name).take(order)
        arrays[f"{name}_indptr"], arrays[f"{name}_codes"] = lists
    manifest = {key: value for key, value in graph.manifest.items() if key != "content_hash"} | entries
    parts = Parts(graph.node_table, arrays, graph.parts.dictionaries, manifest)
    manifest["content_hash"] = content_hash(parts)
    return Graph(parts)
