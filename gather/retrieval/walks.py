"""Evidence for a node: which query genes speak for it, by which walks, and where every edge comes from.

Walks are found as arrays of nodes and of edge rows; names and provenance are looked up for what is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gather.annotation import EvidenceItem, GeneSupport, Walk
from gather.retrieval.edges import edge_refs, edge_rows
from gather.retrieval.metapaths import Sparse
from gather.retrieval.scores import Convergence, Retriever
from vckg.graph.graph import spans_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Positions = npt.NDArray[np.intp]

SHOWN_WALKS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Walks:
    """The best walks from the genes of a query to some candidates: all that evidence is made of, before the words.

    Attributes
    ----------
    candidate
        Which of the candidates asked about a walk leads to, intp[walks]; ascending, each one's best walk first.
    rank
        Of its gene in the query, intp[walks].
    weight
        As in `gather.annotation.Walk`, float64[walks].
    nodes
        Graph nodes from the gene to the candidate, int32[walks, longest]; -1 after the end of a shorter walk.
    steps
        Which step each two nodes are, intp[walks, longest - 1]; -1 after the end.
    starts, rows
        The edges of step s are the graph's rows ``rows[starts[s] : starts[s + 1]]``, the best attested first.
    """

    candidate: Positions
    rank: Positions
    weight: Floats
    nodes: Ints
    steps: Positions
    starts: Positions
    rows: Ints


class _Found(NamedTuple):
    """Walks without their edges, as in `Walks`."""

    candidate: Positions
    rank: Positions
    weight: Floats
    nodes: Ints


def best_walks(
    retriever: Retriever, convergence: Convergence, positions: Iterable[int], *, top: int = SHOWN_WALKS
) -> Walks:
    """Return the best walks from the query genes to some candidates of a convergence, at most `top` to each.

    First those that bring a candidate its score, by what they bring: the gene's rank weight times the evidence weight
    of its edge to the node, or to an ancestor that the node inherits from. Where they are too few, the longer ones of
    greatest rank weight times the steps' damped weights. Ties go to the better gene, then to the lower nodes.
    """
    targets = convergence.nodes[np.fromiter(positions, np.intp)]
    found = [_telling(retriever, convergence, targets, top)]
    many = np.bincount(found[0].candidate, minlength=len(targets))
    for few in np.flatnonzero(many < top).tolist():
        found.append(_longer(retriever, convergence, few, int(targets[few]), top - int(many[few])))
    width = max(part.nodes.shape[1] for part in found)
    candidate, rank, weight = (np.concatenate([part[i] for part in found]) for i in range(3))
    nodes = np.concatenate([_padded(part.nodes, width) for part in found])
    order = np.argsort(candidate, kind="stable")
    nodes = nodes[order]
    inside = nodes[:, 1:] >= 0
    pairs = nodes[:, :-1][inside].astype(np.int64) * retriever.graph.n + nodes[:, 1:][inside]
    distinct, which = np.unique(pairs, return_inverse=True)
    steps = np.full(inside.shape, -1, np.intp)
    steps[inside] = which
    a, b = np.divmod(distinct, retriever.graph.n)
    starts, rows = edge_rows(retriever.graph, a, b, exclude=retriever.exclude)
    return Walks(candidate[order], rank[order], weight[order], nodes, steps, starts, rows)


def _telling(retriever: Retriever, convergence: Convergence, targets: Ints, top: int) -> _Found:
    """The heaviest walks that bring candidates their score."""
    query = convergence.query
    lines = [retriever.lines_to(node) for node in targets.tolist()]
    if not lines or not len(query):
        return _none()
    column, share, nodes = (np.concatenate(parts) for parts in zip(*lines, strict=True))
    owner = np.repeat(np.arange(len(lines)), [len(line.share) for line in lines])
    distinct, which = np.unique(column, return_inverse=True)
    told = query.weights * _columns(retriever.weights.direct, query.genes, distinct)[which] * share[:, None]
    line, rank = np.nonzero(told > 0)
    weight, candidate = told[line, rank], owner[line]
    order = np.lexsort(
        (line, rank, -weight, candidate)
    )  # a candidate's lines are in the order of their nodes
    place = np.arange(len(order)) - np.searchsorted(candidate[order], candidate[order])
    best = order[place < top]
    walks = np.column_stack([query.genes[rank[best]], nodes[line[best]]])
    return _Found(candidate[best], rank[best], weight[best], walks)


def _none() -> _Found:
    nothing = np.zeros(0, np.intp)
    return _Found(nothing, nothing, np.zeros(0), np.zeros((0, 2), np.int32))


def _padded(nodes: Ints, width: int) -> Ints:
    return np.pad(nodes, ((0, 0), (0, width - nodes.shape[1])), constant_values=-1)


def _columns(matrix: Sparse, rows: Positions | Ints, columns: Positions | Ints) -> Floats:
    """Some distinct columns of some rows of a CSR matrix, float64[columns, rows]: at a few dozen rows a tenth of what
    slicing costs.
    """
    at, row = spans_of(matrix.indptr, rows)
    place = np.full(matrix.shape[1], -1, np.intp)
    place[columns] = np.arange(len(columns))
    column = place[matrix.indices[at]]
    kept = np.flatnonzero(column >= 0)
    dense = np.zeros((len(columns), len(rows)))
    dense[column[kept], row[kept]] = matrix.data[at[kept]]
    return dense


def _longer(retriever: Retriever, convergence: Convergence, candidate: int, node: int, top: int) -> _Found:
    """The heaviest walks to one node over inner nodes, which are never of its category."""
    operators = retriever.operators
    column = operators.column_of[node]
    found: list[tuple[float, int, tuple[int, ...]]] = []
    if operators.hops >= 2:
        onward = np.zeros(operators.last.shape[1])
        span = slice(int(operators.last.indptr[column]), int(operators.last.indptr[column + 1]))
        onward[operators.last.indices[span]] = operators.last.data[span]
        found += _over_inner(retriever, convergence, node, onward, None, top)
    if operators.hops >= 3:
        onward, via = _best_between(operators.between, operators.last, column)
        found += _over_inner(retriever, convergence, node, onward, via, top)
    best = sorted(found, key=lambda walk: (-walk[0], *walk[1:]))[:top]
    if not best:
        return _none()
    weights, ranks, walks = zip(*best, strict=True)
    nodes = np.full((len(best), max(map(len, walks))), -1, np.int32)
    for i, walk in enumerate(walks):
        nodes[i, : len(walk)] = walk
    return _Found(np.full(len(best), candidate), np.array(ranks, np.intp), np.array(weights), nodes)


def _best_between(between: Sparse, last: Sparse, column: int) -> tuple[Floats, Ints]:
    """For every inner node the best weight to the target over one more inner node, and that node."""
    best, via = np.zeros(between.shape[0]), np.full(between.shape[0], -1, np.int32)
    span = slice(int(last.indptr[column]), int(last.indptr[column + 1]))
    for inner, weight in zip(last.indices[span].tolist(), last.data[span].tolist(), strict=True):
        near = slice(int(between.indptr[inner]), int(between.indptr[inner + 1]))
        nodes, weights = between.indices[near], between.data[near] * weight
        better = weights > best[nodes]
        best[nodes[better]] = weights[better]
        via[nodes[better]] = inner
    return best, via


def _over_inner(
    retriever: Retriever, convergence: Convergence, node: int, onward: Floats, via: Ints | None, top: int
) -> list[tuple[float, int, tuple[int, ...]]]:
    """Weight, rank and nodes of the best walks; `onward` is the weight from each inner node to the target."""
    query, first = convergence.query, retriever.operators.first
    at, rank = spans_of(first.indptr, retriever.operators.rows(query.genes))
    inner = first.indices[at]
    weights = first.data[at] * onward[inner] * query.weights[rank]
    kept = np.flatnonzero(weights > 0)
    kept = kept[np.lexsort((inner[kept], rank[kept], -weights[kept]))][:top]
    found = []
    for i in kept.tolist():
        middle = (int(inner[i]),) if via is None else (int(inner[i]), int(via[inner[i]]))
        found.append((float(weights[i]), int(rank[i]), (int(query.genes[rank[i]]), *middle, node)))
    return found


# ---- evidence as it is shown --------------------------------------------------------------------------------


def evidence_items(
    retriever: Retriever,
    convergence: Convergence,
    positions: Iterable[int],
    *,
    first: int = 1,
    walks: int = SHOWN_WALKS,
) -> tuple[EvidenceItem, ...]:
    """Return the evidence for some candidates of a convergence, numbered from ``E<first>``; walks best first."""
    graph, asked = retriever.graph, np.fromiter(positions, np.intp)
    found = best_walks(retriever, convergence, asked, top=walks)
    supports = _supports(retriever, convergence, asked)
    refs = edge_refs(graph, found.rows)
    bounds = found.starts.tolist()
    edges = [tuple(refs[low:high]) for low, high in pairwise(bounds)]
    shown: list[list[Walk]] = [[] for _ in asked]
    for candidate, nodes, steps, weight in zip(
        found.candidate.tolist(),
        found.nodes.tolist(),
        found.steps.tolist(),
        found.weight.tolist(),
        strict=True,
    ):
        walk = [i for i in nodes if i >= 0]
        ids, names = tuple(graph.ids[i] for i in walk), tuple(graph.names[i] for i in walk)
        shown[candidate].append(Walk(ids[0], ids, names, tuple(edges[s] for s in steps if s >= 0), weight))
    items = []
    for number, position in enumerate(asked.tolist()):
        about = graph.node(int(convergence.nodes[position]))
        items.append(
            EvidenceItem(
                id=f"E{first + number}",
                curie=about.id,
                name=about.name,
                category=about.category,
                description=about.description,
                score=float(convergence.score[position]),
                p=float(convergence.p[position]),
                fdr=float(convergence.fdr[position]),
                n_genes=len(supports[number]),
                genes=supports[number],
                walks=tuple(shown[number]),
            )
        )
    return tuple(items)


def _supports(
    retriever: Retriever, convergence: Convergence, positions: Positions
) -> list[tuple[GeneSupport, ...]]:
    """Query genes that reach each candidate, by descending share; the share of genes without direct evidence is
    0.
    """
    query, operators, graph = convergence.query, retriever.operators, retriever.graph
    distinct, which = np.unique(positions, return_inverse=True)
    direct = (query.weights * _columns(retriever.matrix, query.genes, distinct))[which]
    rows = operators.rows(query.genes)
    columns = np.searchsorted(operators.targets, convergence.nodes[distinct])
    reached = np.zeros(direct.shape, np.intp)  # bit h: at hop h + 1
    for hop, reach in enumerate(operators.weights):
        reached |= np.left_shift(_columns(reach, rows, columns)[which] > 0, hop, dtype=np.intp)
    hops_of = [
        tuple(h + 1 for h in range(operators.hops) if bits >> h & 1) for bits in range(1 << operators.hops)
    ]
    curies = [graph.ids[i] for i in query.genes.tolist()]
    symbols = [graph.names[i] for i in query.genes.tolist()]
    weights = query.weights.tolist()
    supports = []
    for mine, reaches in zip(direct, reached, strict=True):
        share = mine / mine.sum() if mine.sum() > 0 else mine
        supporting = np.flatnonzero((reaches > 0) | (share > 0))
        order = supporting[np.lexsort((supporting, -share[supporting]))].tolist()
        shares, hops = share.tolist(), reaches.tolist()
        supports.append(
            tuple(
                GeneSupport(
                    curie=curies[i],
                    symbol=symbols[i],
                    name_in_file=query.names[i],
                    rank=i,
                    weight=weights[i],
                    contribution=shares[i],
                    hops=hops_of[hops[i]],
                )
                for i in order
            )
        )
    return supports
