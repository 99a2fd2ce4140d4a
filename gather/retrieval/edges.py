"""Edges between two nodes of a graph, the best attested first, with names and where each comes from."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gather.annotation import EdgeRef
from gather.retrieval.metapaths import DENYING
from vckg.graph.graph import spans_of
from vckg.graph.schema import RELATION_NAMES, RELATIONS
from vckg.graph.species import ORTHOLOGY_WORDS

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

Ints = npt.NDArray[np.int32]
Positions = npt.NDArray[np.intp]

SHOWN_PUBLICATIONS = 10


def edge_rows(
    graph: Graph,
    a: npt.NDArray[np.integer],
    b: npt.NDArray[np.integer],
    *,
    exclude: Iterable[str] = (),
    relations: Iterable[str] | None = None,
) -> tuple[Positions, Ints]:
    """Return the edge rows between a[i] and b[i], in either direction, that may
    carry a walk, or of the given `relations`.

    Returns
    -------
    starts, rows
        Of pair i ``rows[starts[i] : starts[i + 1]]``, the best attested first.
    """
    (there, pair), (back, pair_back) = graph.rows_between(a, b), graph.rows_between(b, a)
    rows, pair = np.concatenate([there, back]), np.concatenate([pair, pair_back])
    wanted = set(relations) if relations is not None else set(RELATION_NAMES).difference(DENYING)
    allowed = np.array([name in wanted for name in RELATION_NAMES])[graph.relation[rows]]
    if exclude:
        allowed &= ~np.isin(graph.source[rows], graph.source_codes(exclude))
    rows, pair = rows[allowed], pair[allowed]
    order = np.lexsort(
        (
            _alphabetical(RELATION_NAMES)[graph.relation[rows]],
            _alphabetical(graph.sources)[graph.source[rows]],
            -graph.evidence_count[rows],
            -graph.n_publications[rows],
            pair,
        )
    )
    return np.searchsorted(pair[order], np.arange(len(a) + 1)), rows[order]


@lru_cache(maxsize=8)
def _alphabetical(names: tuple[str, ...]) -> Positions:
    """The place of each name in their order."""
    return np.argsort(np.argsort(np.array(names, dtype=object)))


def edges_between(
    graph: Graph, a: int, b: int, *, exclude: Iterable[str] = (), relations: Iterable[str] | None = None
) -> tuple[EdgeRef, ...]:
    """Every edge between two nodes that may carry a walk, or of the given `relations`; the best attested
    first.
    """
    _, rows = edge_rows(graph, np.array([a]), np.array([b]), exclude=exclude, relations=relations)
    return tuple(edge_refs(graph, rows))


def edge_refs(graph: Graph, rows: Ints) -> list[EdgeRef]:
    """Edges with names and provenance; of many publications the first `SHOWN_PUBLICATIONS` are kept, and
    their number.
    """
    ends = np.concatenate([graph.subject[rows], graph.object[rows]]).tolist()
    named = {i: (graph.ids[i], graph.names[i]) for i in set(ends)}
    subjects, objects = ends[: len(rows)], ends[len(rows) :]
    codes = graph.source[rows].tolist()
    sources = {code: _about_source(graph, code) for code in set(codes)}
    relations = [RELATIONS[code] for code in graph.relation[rows].tolist()]
    counts, published = graph.evidence_count[rows].tolist(), graph.n_publications[rows].tolist()
    signs = graph.sign[rows].tolist()
    publications = _listed(graph, "publications", rows, SHOWN_PUBLICATIONS)
    tissues = _listed(graph, "tissues", rows)
    orthologues = _orthologues(graph, rows)
    refs = []
    for i in range(len(rows)):
        name, title, release, licence, level, agent = sources[codes[i]]
        refs.append(
            EdgeRef(
                subject=named[subjects[i]][0],
                subject_name=named[subjects[i]][1],
                relation=relations[i].name,
                predicate=relations[i].predicate,
                object=named[objects[i]][0],
                object_name=named[objects[i]][1],
                source=name,
                source_title=title,
                release=release,
                licence=licence,
                publications=publications[i],
                evidence_count=counts[i],
                knowledge_level=level,
                agent_type=agent,
                sign=signs[i],
                tissues=tissues[i],
                n_publications=published[i],
                orthologue=orthologues[i],
            )
        )
    return refs


def _orthologues(graph: Graph, rows: Ints) -> list[str]:
    """The gene of another species that each edge is borrowed from, e.g. ``CD3D (HGNC:1673), one to one``."""
    if graph.borrowed_from is None or graph.orthology is None:
        return [""] * len(rows)
    genes, codes = graph.borrowed_from[rows].tolist(), graph.orthology[rows].tolist()
    return [
        f"{graph.names[gene]} ({graph.ids[gene]}), {ORTHOLOGY_WORDS[code]}" if gene >= 0 else ""
        for gene, code in zip(genes, codes, strict=True)
    ]


def _listed(graph: Graph, name: str, rows: Ints, at_most: int | None = None) -> list[tuple[str, ...]]:
    """The ``publications`` or ``tissues`` of some edges, or the first few of each, in words."""
    lists, words = graph.list_codes(name), graph.words(name)
    index, _ = spans_of(lists.indptr, rows)
    codes = lists.codes[index].tolist()
    known = {code: words[code] for code in set(codes)}
    bounds = [0, *np.cumsum(lists.indptr[rows + 1] - lists.indptr[rows]).tolist()]
    return [tuple(known[code] for code in codes[low:high][:at_most]) for low, high in pairwise(bounds)]


def _about_source(graph: Graph, code: int) -> tuple[str, str, str, str, str, str]:
    """Name, title, release, licence, knowledge level and agent of a source; a part has the release of its whole."""
    name = graph.sources[code]
    entry = graph.manifest["sources"].get(name, {})
    whole = graph.manifest["sources"].get(entry.get("part_of", ""), {})
    return (
        name,
        str(entry.get("title", name)),
        str(entry.get("release", whole.get("release", ""))),
        str(entry.get("licence", whole.get("licence", ""))),
        entry.get("knowledge_level", "not_provided"),
        entry.get("agent_type", "not_provided"),
    )
