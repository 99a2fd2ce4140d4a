"""Evidence for a node: which query genes speak for it, by which walks, and where every edge comes from.

Made only for what is shown: scoring needs none of it, and it is what a single query spends its time on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from gather.evidence import EdgeRef, EvidenceItem, GeneSupport, Walk
from gather.metapath import DENYING, Sparse
from gather.query import GeneQuery
from gather.score import Convergence, Retriever
from gather.weights import INHERITANCE

if TYPE_CHECKING:
    from vckg.graph import Graph

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]

SHOWN_WALKS = 5
SHOWN_PUBLICATIONS = 10


@dataclass(frozen=True, slots=True)
class _Found:
    """A walk as node indices, with its weight."""

    weight: float
    rank: int
    nodes: tuple[int, ...]


class _Near(NamedTuple):
    """What lies one step from a query's genes: rows of genes, by columns; shared by all nodes asked about, and so
    are the genes' ids and names, and the edges of steps that several walks take. `evidence` with what candidates
    inherit, `direct` without.
    """

    evidence: Sparse
    direct: Sparse
    weights: tuple[Sparse, ...]
    curies: tuple[str, ...]
    symbols: tuple[str, ...]
    edges: dict[tuple[int, int], tuple[EdgeRef, ...]]

    @classmethod
    def of(cls, retriever: Retriever, query: GeneQuery) -> _Near:
        rows, graph = retriever.operators.rows(query.genes), retriever.graph
        return cls(
            _rows(retriever.matrix, query.genes),
            _rows(retriever.weights.direct, query.genes),
            tuple(_rows(w, rows) for w in retriever.operators.weights),
            tuple(graph.ids[i] for i in query.genes.tolist()),
            tuple(graph.names[i] for i in query.genes.tolist()),
            {},
        )


def evidence_items(
    retriever: Retriever,
    convergence: Convergence,
    positions: Iterable[int],
    *,
    first: int = 1,
    walks: int = SHOWN_WALKS,
) -> tuple[EvidenceItem, ...]:
    """Return the evidence for some candidates of a convergence, numbered from ``E<first>``; walks best first."""
    near = _Near.of(retriever, convergence.query)
    return tuple(
        _evidence_item(retriever, convergence, near, int(position), f"E{number}", walks)
        for number, position in enumerate(positions, start=first)
    )


def _evidence_item(
    retriever: Retriever, convergence: Convergence, near: _Near, position: int, item_id: str, walks: int
) -> EvidenceItem:
    graph, node = retriever.graph, int(convergence.nodes[position])
    about = graph.node(node)
    found = _best_walks(retriever, convergence, near, node, walks)
    genes = _supports(retriever, convergence, near, position)
    return EvidenceItem(
        id=item_id,
        curie=about.id,
        name=about.name,
        category=about.category,
        description=about.description,
        score=float(convergence.score[position]),
        p=float(convergence.p[position]),
        fdr=float(convergence.fdr[position]),
        n_genes=len(genes),
        genes=genes,
        walks=tuple(_walk(graph, w, retriever.exclude, near.edges) for w in found),
    )


def _supports(
    retriever: Retriever, convergence: Convergence, near: _Near, position: int
) -> tuple[GeneSupport, ...]:
    """Query genes that reach the node, by descending share; the share of genes without direct evidence is
    0.
    """
    query, operators = convergence.query, retriever.operators
    direct = query.weights * _column(near.evidence, position)
    share = direct / direct.sum() if direct.sum() > 0 else direct
    column = operators.column_of[int(convergence.nodes[position])]
    reached = np.stack([_column(w, column) > 0 for w in near.weights], axis=1)
    supporting = np.flatnonzero(reached.any(axis=1) | (share > 0))
    order = supporting[np.lexsort((supporting, -share[supporting]))].tolist()
    weights, shares, hops = query.weights.tolist(), share.tolist(), reached.tolist()
    return tuple(
        GeneSupport(
            curie=near.curies[i],
            symbol=near.symbols[i],
            name_in_file=query.names[i],
            rank=i,
            weight=weights[i],
            contribution=shares[i],
            hops=tuple(hop for hop, reaches in enumerate(hops[i], start=1) if reaches),
        )
        for i in order
    )


def _rows(matrix: Sparse, rows: npt.NDArray[np.intp] | Ints) -> Sparse:
    """Some rows of a matrix by columns, so that many of its columns can be looked at."""
    return matrix[np.asarray(rows)].tocsc()


def _column(by_columns: Sparse, column: int) -> Floats:
    """One column of `_rows`, dense."""
    values = np.zeros(by_columns.shape[0])
    span = slice(int(by_columns.indptr[column]), int(by_columns.indptr[column + 1]))
    values[by_columns.indices[span]] = by_columns.data[span]
    return values


def _best_walks(
    retriever: Retriever, convergence: Convergence, near: _Near, node: int, top: int
) -> list[_Found]:
    """Return the best walks from the query genes to a node.

    First those that bring it its score, by what they bring: the gene's rank weight times the evidence weight of its
    edge to the node, or to an ancestor that the node inherits from. Where they are too few, the longer ones of
    greatest rank weight times the steps' damped weights. Ties go to the better gene, then to the lower nodes.
    """
    query, operators = convergence.query, retriever.operators
    told = query.weights * _column(near.direct, retriever.weights.column_of[node])
    found = [_Found(float(told[i]), i, (int(query.genes[i]), node)) for i in _heaviest(told, top)]
    found += _inherited(retriever, near.direct, query, node, top)
    if len(found) >= top:
        return _best(found)[:top]
    longer: list[_Found] = []
    column = operators.column_of[node]
    if operators.hops >= 2:
        longer += _longer(retriever, convergence, node, _dense_row(operators.last, column), None, top)
    if operators.hops >= 3:
        onward, via = _best_between(operators.between, operators.last, column)
        longer += _longer(retriever, convergence, node, onward, via, top)
    known = {walk.nodes for walk in found}
    return (_best(found) + [walk for walk in _best(longer) if walk.nodes not in known])[:top]


def _best(found: Iterable[_Found]) -> list[_Found]:
    return sorted(found, key=lambda walk: (-walk.weight, walk.rank, walk.nodes))


def _heaviest(weights: Floats, top: int) -> list[int]:
    """Positions of the greatest positive weights, equals by position."""
    positive = np.flatnonzero(weights > 0)
    kept: list[int] = positive[np.argsort(-weights[positive], kind="stable")][:top].tolist()
    return kept


def _inherited(retriever: Retriever, near: Sparse, query: GeneQuery, node: int, top: int) -> list[_Found]:
    """The heaviest direct walks to each ancestor, carried down to the node; each generation costs the share that is
    inherited.
    """
    found: list[_Found] = []
    for generation, column, line in retriever.inherited_from(node):
        direct = query.weights * _column(near, column) * INHERITANCE**generation
        found += [_Found(float(direct[i]), i, (int(query.genes[i]), *line)) for i in _heaviest(direct, top)]
    return found


def _dense_row(matrix: Sparse, row: int) -> Floats:
    dense = np.zeros(matrix.shape[1])
    span = slice(int(matrix.indptr[row]), int(matrix.indptr[row + 1]))
    dense[matrix.indices[span]] = matrix.data[span]
    return dense


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


def _longer(
    retriever: Retriever, convergence: Convergence, node: int, onward: Floats, via: Ints | None, top: int
) -> list[_Found]:
    """Best walks over inner nodes; `onward` is the weight from each inner node to the target."""
    query, first = convergence.query, retriever.operators.first
    rows = retriever.operators.rows(query.genes)
    spans = [slice(int(first.indptr[r]), int(first.indptr[r + 1])) for r in rows.tolist()]
    lengths = np.array([s.stop - s.start for s in spans])
    if not lengths.sum():
        return []
    inner = np.concatenate([first.indices[s] for s in spans])
    rank = np.repeat(np.arange(len(rows)), lengths)
    weights = np.concatenate([first.data[s] for s in spans]) * onward[inner] * query.weights[rank]
    kept = np.flatnonzero(weights > 0)
    kept = kept[np.lexsort((inner[kept], rank[kept], -weights[kept]))][:top]
    found = []
    for i in kept.tolist():
        middle = (int(inner[i]),) if via is None else (int(inner[i]), int(via[inner[i]]))
        found.append(_Found(float(weights[i]), int(rank[i]), (int(query.genes[rank[i]]), *middle, node)))
    return found


def _walk(
    graph: Graph, found: _Found, exclude: Iterable[str], edges: dict[tuple[int, int], tuple[EdgeRef, ...]]
) -> Walk:
    """A walk with names and provenance; `edges` keeps those of the steps met so far."""
    steps = list(zip(found.nodes, found.nodes[1:], strict=False))
    for step in steps:
        if step not in edges:
            edges[step] = edges_between(graph, *step, exclude=exclude)
    return Walk(
        gene=graph.ids[found.nodes[0]],
        nodes=tuple(graph.ids[i] for i in found.nodes),
        names=tuple(graph.names[i] for i in found.nodes),
        steps=tuple(edges[step] for step in steps),
        weight=found.weight,
    )


def edges_between(
    graph: Graph, a: int, b: int, *, exclude: Iterable[str] = (), relations: Iterable[str] | None = None
) -> tuple[EdgeRef, ...]:
    """Every edge between two nodes that may carry a walk, or of the given `relations`; the best attested
    first.
    """
    outgoing, incoming = graph.out_edges(a), graph.in_edges(a)
    rows = np.concatenate([outgoing[graph.object[outgoing] == b], incoming[graph.subject[incoming] == b]])
    excluded = {graph.sources[c] for c in graph.source_codes(exclude)} if exclude else set()
    wanted = None if relations is None else set(relations)
    refs = [
        ref
        for ref in (edge_ref(graph, int(row)) for row in rows)
        if ref.source not in excluded
        and (ref.relation not in DENYING if wanted is None else ref.relation in wanted)
    ]
    return tuple(sorted(refs, key=lambda r: (-r.n_publications, -r.evidence_count, r.source, r.relation)))


def edge_ref(graph: Graph, row: int) -> EdgeRef:
    """One edge with names and provenance; of many publications the first `SHOWN_PUBLICATIONS` are kept, and
    their number.
    """
    edge = graph.edge(row, publications=SHOWN_PUBLICATIONS)
    title, release, licence = _about_source(graph, int(graph.source[row]))
    return EdgeRef(
        subject=edge.subject,
        subject_name=graph.names[int(graph.subject[row])],
        relation=edge.relation,
        predicate=edge.predicate,
        object=edge.object,
        object_name=graph.names[int(graph.object[row])],
        source=edge.source,
        source_title=title,
        release=release,
        licence=licence,
        publications=edge.publications,
        evidence_count=edge.evidence_count,
        knowledge_level=edge.knowledge_level,
        agent_type=edge.agent_type,
        sign=edge.sign,
        tissues=edge.tissues,
        n_publications=int(graph.n_publications[row]),
    )


def _about_source(graph: Graph, code: int) -> tuple[str, str, str]:
    """Title, release and licence of a source; a part has the release of its whole."""
    name = graph.sources[code]
    said = graph.manifest["sources"].get(name, {})
    whole = graph.manifest["sources"].get(said.get("part_of", ""), {})
    return (
        str(said.get("title", name)),
        str(said.get("release", whole.get("release", ""))),
        str(said.get("licence", whole.get("licence", ""))),
    )
