"""The metagraph (kinds of edge) and the metapaths (kinds of walk) of a graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from vckg.base.errors import GraphError, did_you_mean
from vckg.graph.graph import Graph
from vckg.graph.schema import CATEGORIES, CATEGORY_CODE, RELATION_NAMES


class Metapath(NamedTuple):
    """A kind of walk: categories and relations in turn."""

    categories: tuple[str, ...]
    relations: tuple[str, ...]
    directions: str
    """One character per relation: ``>`` along the edge, ``<`` against it."""

    def __str__(self) -> str:
        text = self.categories[0]
        steps = zip(self.relations, self.directions, self.categories[1:], strict=True)
        for relation, direction, category in steps:
            text += f" -{relation}-> {category}" if direction == ">" else f" <-{relation}- {category}"
        return text


def metagraph(graph: Graph) -> dict[tuple[str, str, str], int]:
    """Count the edges of each (category of the subject, relation, category of the object), most first.

    Examples
    --------
    >>> import vckg
    >>> next(iter(vckg.metagraph(vckg.example_graph()).items()))
    (('Gene', 'is_marker_for', 'Cell'), 4)
    """
    width = len(CATEGORIES)
    packed = graph.relation.astype(np.int64) * width + graph.category[graph.subject]
    packed = packed * width + graph.category[graph.object]
    kinds, counts = np.unique(packed, return_counts=True)
    named = {
        (CATEGORIES[k // width % width], RELATION_NAMES[k // width**2], CATEGORIES[k % width]): int(c)
        for k, c in zip(kinds.tolist(), counts.tolist(), strict=True)
    }
    return dict(sorted(named.items(), key=lambda item: (-item[1], item[0])))


def metapaths(
    graph: Graph, start: str, end: str, *, hops: int = 2, through: Iterable[str] | None = None
) -> list[Metapath]:
    """Return the metapaths of exactly `hops` edges whose steps all occur in the graph.

    That one walk takes all steps of a metapath in turn is not checked. The notion is that of Hetionet
    (Himmelstein et al., eLife 2017, https://doi.org/10.7554/eLife.26726).

    Parameters
    ----------
    graph
        The graph whose edges allow the steps.
    start, end
        Categories, e.g. ``"Gene"``, ``"Cell"``.
    hops
        Number of edges, at least 1.
    through
        Categories that inner nodes may have; all where None.

    Returns
    -------
    Metapaths, ascending by their text.

    Raises
    ------
    GraphError
        A category is unknown, or `hops` is below 1.

    Examples
    --------
    >>> import vckg
    >>> for metapath in vckg.metapaths(vckg.example_graph(), "Gene", "Cell", through=["BiologicalProcess"]):
    ...     print(metapath)
    Gene -participates_in-> BiologicalProcess <-capable_of- Cell
    """
    if hops < 1:
        raise GraphError(f"{hops} hops; a metapath has one edge or more")
    through = CATEGORIES if through is None else list(through)
    for category in (start, end, *through):
        if category not in CATEGORY_CODE:
            raise GraphError(f"no category {category!r}{did_you_mean(category, CATEGORIES)}")
    steps: dict[str, set[tuple[str, str, str]]] = {}
    for subject, relation, target in metagraph(graph):
        steps.setdefault(subject, set()).add((relation, ">", target))
        steps.setdefault(target, set()).add((relation, "<", subject))
    walks = [Metapath((start,), (), "")]
    for hop in range(hops):
        allowed = set(through) if hop < hops - 1 else {end}
        walks = [
            Metapath((*w.categories, category), (*w.relations, relation), w.directions + direction)
            for w in walks
            for relation, direction, category in steps.get(w.categories[-1], ())
            if category in allowed
        ]
    return sorted(walks, key=str)
