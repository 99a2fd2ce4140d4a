"""A graph from the point of view of one species: its own evidence, and that of its orthologues, kept separate.

The graph of a build speaks of human genes; what is known of genes of another species stands in relations of its own
(`vckg.graph.schema.OF_ORTHOLOGS`). `of_species` returns a graph with the same nodes whose genes are those of the
species. An edge of an orthologue is an edge of the gene there, marked in `Graph.orthology`.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np

from vckg.base.errors import GraphError, did_you_mean
from vckg.base.types import Array, Bytes, Ints, Longs
from vckg.graph.assemble import neighbour_lists
from vckg.graph.edge_table import LIST_NAMES, spans_of
from vckg.graph.graph import Graph
from vckg.graph.parts import EDGE_ARRAYS, Parts
from vckg.graph.schema import (
    CATEGORY_CODE,
    OF_ORTHOLOGS,
    ORTHOLOGY,
    RELATION_CODE,
    RELATION_NAMES,
    RELATIONS,
)

NATIVE, ONE_TO_ONE, ONE_TO_MANY = 0, 1, 2
ORTHOLOGY_WORDS = ("native", "one to one", "one to many")
"""What the codes of `Graph.orthology` mean; one to many stands for many to many too."""
SPECIES = ("human", "mouse")
_GENE, _OTHER = CATEGORY_CODE["Gene"], CATEGORY_CODE["OrthologGene"]


@lru_cache(maxsize=4)
def of_species(graph: Graph, species: str) -> Graph:
    """Return the graph of a species; ``human`` is with what is known of mouse orthologues besides.

    Parameters
    ----------
    graph
        A graph as built.
    species
        One of `SPECIES`.

    Returns
    -------
    A graph in memory with the nodes of `graph`. `Graph.orthology` holds a code of `ORTHOLOGY_WORDS` for each edge,
    and `Graph.borrowed_from` the gene of the other species, -1 for native edges. Of two genes at the ends of one edge
    the looser code counts.

    Raises
    ------
    GraphError
        The species is unknown, or the graph has no genes of mouse.

    Examples
    --------
    >>> import vckg
    >>> from vckg.graph.species import of_species
    >>> mouse = of_species(vckg.example_graph(), "mouse")
    Traceback (most recent call last):
    ...
    vckg.base.errors.GraphError: the graph has no mouse genes; build it with the source mouse_genes
    """
    if species not in SPECIES:
        raise GraphError(
            f"no species {species!r}{did_you_mean(species, SPECIES)}; one of {', '.join(SPECIES)}"
        )
    span = graph.rows(ORTHOLOGY)
    if span.start == span.stop:
        raise GraphError("the graph has no mouse genes; build it with the source mouse_genes")
    own = _GENE if species == "human" else _OTHER
    return Graph(_parts(graph, species, own, _Rows(graph, own)), graph.folder)


def orthologs(graph: Graph) -> tuple[Ints, Ints, Bytes]:
    """Return the distinct pairs of orthologues: human gene, gene of the other species, the best code of the pair."""
    span = graph.rows(ORTHOLOGY)
    lists, words = graph.list_codes("evidence"), graph.words("evidence")
    rows = np.arange(span.start, span.stop)
    positions, owner = spans_of(lists.indptr, rows)
    single = np.zeros(len(rows), bool)
    codes = lists.codes[positions]
    one = [code for code in np.unique(codes).tolist() if words[code] == "one2one"]
    single[owner[np.isin(codes, one)]] = True
    pair = graph.object[span].astype(np.int64) * graph.n + graph.subject[span]
    code = np.where(single, ONE_TO_ONE, ONE_TO_MANY).astype(np.uint8)
    order = np.lexsort((code, pair))
    first = np.flatnonzero(np.diff(pair[order], prepend=-1))
    pair, code = pair[order][first], code[order][first]
    return (pair // graph.n).astype(np.int32), (pair % graph.n).astype(np.int32), code


class _Rows:
    """The edges of the new graph: their row in the old one, their ends, and what was borrowed."""

    def __init__(self, graph: Graph, own: int) -> None:
        other = _OTHER if own == _GENE else _GENE
        self._foreign = graph.category == other
        kept = np.flatnonzero(graph.relation != RELATION_CODE[ORTHOLOGY])
        subject, target = graph.subject[kept], graph.object[kept]
        borrowed = np.where(self._foreign[target], target, -1).astype(np.int32)
        borrowed = np.where(self._foreign[subject], subject, borrowed).astype(np.int32)
        self.row, self.subject, self.object, self.borrowed = kept, subject, target, borrowed
        self.code: Bytes = np.zeros(len(kept), np.uint8)
        human, mouse, code = orthologs(graph)
        theirs, ours = (mouse, human) if own == _GENE else (human, mouse)
        order = np.lexsort((ours, theirs))
        self._ours, self._codes = ours[order], code[order]
        best = np.full(graph.n, 255, np.uint8)
        np.minimum.at(best, ours, code)
        self.orthologs: Bytes = np.where(best == 255, NATIVE, best).astype(np.uint8)
        """Of each gene the best code of its orthologues, 0 where it has none."""
        self._indptr = np.searchsorted(theirs[order], np.arange(graph.n + 1))
        for end in ("subject", "object"):
            self._carry_over(end)

    def _carry_over(self, end: str) -> None:
        """Put the orthologues, each in an edge of its own, for the foreign genes at one end."""
        ends: Ints = getattr(self, end)
        foreign = self._foreign[ends]
        away, stay = np.flatnonzero(foreign), np.flatnonzero(~foreign)
        positions, owner = spans_of(self._indptr, ends[away])
        rows = np.concatenate([stay, away[owner]])
        code = np.concatenate([self.code[stay], np.maximum(self.code[away[owner]], self._codes[positions])])
        moved = np.concatenate([ends[stay], self._ours[positions]])
        for name in ("row", "subject", "object", "borrowed"):
            setattr(self, name, getattr(self, name)[rows])
        setattr(self, end, moved)
        self.code = code


def _parts(graph: Graph, species: str, own: int, rows: _Rows) -> Parts:
    plain = np.arange(len(RELATION_NAMES), dtype=np.uint8)
    for name, ours in OF_ORTHOLOGS.items():
        plain[RELATION_CODE[name]] = RELATION_CODE[ours]
    relation = plain[graph.relation[rows.row]]
    symmetric = np.array([r.symmetric for r in RELATIONS])[relation] & (rows.subject > rows.object)
    subject = np.where(symmetric, rows.object, rows.subject)
    target = np.where(symmetric, rows.subject, rows.object)
    order = np.lexsort((graph.source[rows.row], target, subject, relation))
    origin: Longs = rows.row[order]
    arrays: dict[str, Array] = {name: np.asarray(getattr(graph, name))[origin] for name in EDGE_ARRAYS}
    arrays |= {"subject": subject[order], "object": target[order], "relation": relation[order]}
    arrays |= {"orthology": rows.code[order], "borrowed_from": rows.borrowed[order]}
    arrays |= neighbour_lists(arrays["relation"], arrays["subject"], arrays["object"], graph.n)
    for name in LIST_NAMES:
        arrays[f"{name}_indptr"], arrays[f"{name}_codes"] = graph.list_codes(name).take(origin)
    category = np.array(graph.category)
    category[graph.category == own], category[rows._foreign] = _GENE, _OTHER
    arrays["category"] = category
    arrays["orthologs"] = rows.orthologs
    arrays |= {name: graph.parts.arrays[name] for name in ("name_indptr", "name_kind", "name_node")}
    seal = hashlib.sha256(f"{graph.content_hash} seen from {species}".encode()).hexdigest()
    manifest: dict[str, Any] = graph.manifest | {"species": species, "content_hash": seal}
    return Parts(graph.parts.nodes, arrays, graph.parts.dictionaries, manifest | {"edges": len(origin)})
