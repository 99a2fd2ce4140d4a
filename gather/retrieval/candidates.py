"""Which cell types may be the answer: all of them, a declared list, or those of a tissue. Never read from
labels silently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gather.retrieval.cell_names import ground_labels, near_cell_types
from gather.retrieval.tissue_names import LOCATED, tissue_node
from vckg.base.atomic import reason
from vckg.base.errors import InputError
from vckg.base.resources import resource
from vckg.graph.schema import CATEGORIES

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

Seen = dict[int, set[tuple[str, int]]]
_INSIDE = ("is_a_or_part_of", "part_of", "subclass_of")
_CELL = CATEGORIES.index("Cell")
RESOURCES = 2
"""So many resources must agree; one where only one of a graph's names tissues."""
ENOUGH_GENES = 10
"""So many marker genes of one resource are enough: some tissues are the subject of one resource alone."""
MOST_KINDS = 20
"""A type with more kinds is general: where it lives says nothing about each of them."""
FEW_TYPES, MOST_TYPES = 50, 250
"""Of a tissue with fewer known types those of the smallest near whole that knows more are taken (small intestine for
ileum), but none of a whole of very many: an endocrine system is no adrenal gland."""
_STEPS = 3
_BLOOD = "UBERON:0000178"


def ground_cell_types(graph: Graph, names: Sequence[str], *, where: str) -> list[int]:
    """Return the nodes of cell types given by CL id or label; the error names those that are none, and a near one."""
    grounded = [found for found in ground_labels(graph, names) if found.how != "no_type"]
    lost = [found.name for found in grounded if found.curie is None]
    if lost:
        hints = [(name, near_cell_types(graph, name, 1)) for name in lost[:5]]
        shown = ", ".join(
            f"{name!r}" + (f" (did you mean {graph.names[graph.index(near[0])]!r}?)" if near else "")
            for name, near in hints
        )
        more = " ..." if len(lost) > 5 else ""
        raise InputError(
            f"{where}: {len(lost)} of {len(names)} are no cell types of the graph: {shown}{more}; give names or CL ids"
        )
    if not grounded:
        raise InputError(f"{where}: names no cell type; give names or CL ids")
    return sorted({graph.index(found.curie) for found in grounded if found.curie})


def read_candidate_names(path: Path) -> list[str]:
    """Read a declared candidate list: one CL id or label a line; text after a tab or # is ignored."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise InputError(f"{path}: cannot be read as a candidate list ({why})") from error
    names = [line.partition("#")[0].partition("\t")[0].strip() for line in lines]
    names = [name for name in names if name]
    if not names:
        raise InputError(f"{path}: holds no cell type; wanted one CL id or label a line")
    return names


def candidates_of_tissue(graph: Graph, tissue: str) -> list[int]:
    """Return the cell types of a tissue, ascending.

    A type is kept where the ontology places it, or a type it is a kind of, in the tissue or a part of it. It is
    kept where markers of it or of its kinds were observed there by two resources, or for `ENOUGH_GENES` genes
    by one. A type whose markers name no tissue at all follows its direct parents, unless a parent is general
    (more than `MOST_KINDS` kinds): what holds for neurons says nothing about Purkinje cells. The cells of blood,
    vessels, nerves and connective tissue (`data/cells_of_every_organ.tsv`) live in every organ but the blood.
    Terms of one organ are taken together (`data/tissues_of_one_organ.tsv`). Where few types are known the tissue
    is widened (`tissue_taken`).

    Parameters
    ----------
    tissue
        UBERON id, name, or a usual word (`data/tissue_words.tsv`).

    Raises
    ------
    InputError
        The tissue is unknown, or no cell type is known there.
    """
    node = tissue_node(graph, tissue)
    taken = _Tissues(graph).taken(node)
    if not taken.types:
        raise InputError(f"no cell type is known in {tissue!r}; use a wider tissue or leave --tissue out")
    inside_blood = node in _parts(graph, graph.index(_BLOOD)) if graph.get(_BLOOD) is not None else False
    everywhere = set() if inside_blood else {n for c in _of_every_organ() if (n := graph.get(c)) is not None}
    return sorted(taken.types | everywhere)


def tissue_taken(graph: Graph, tissue: str) -> str:
    """Return the name of the whole whose types `candidates_of_tissue` takes; ``""`` where the tissue has enough."""
    node = tissue_node(graph, tissue)
    taken = _Tissues(graph).taken(node).node
    return "" if taken == node else graph.names[taken]


@lru_cache(maxsize=1)
def _of_every_organ() -> tuple[str, ...]:
    text = resource("data", "cells_of_every_organ.tsv").read_text(encoding="utf-8")
    return tuple(line.split("\t")[0] for line in text.splitlines() if line.startswith("CL:"))


def _of_one_organ(graph: Graph, node: int) -> list[int]:
    """A tissue and those that `data/tissues_of_one_organ.tsv` pairs with it: the breast has its gland's cells."""
    curie, found = graph.ids[node], [node]
    for line in resource("data", "tissues_of_one_organ.tsv").read_text(encoding="utf-8").splitlines():
        pair = line.split("\t")[:2]
        if curie in pair:
            other = graph.get(pair[1 - pair.index(curie)])
            found += [] if other is None else [other]
    return found


class _Taken(NamedTuple):
    node: int
    types: set[int]


class _Tissues:
    """The cell types that are known to live in a tissue."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self._told = graph, _MarkersByTissue(graph)

    def types(self, node: int) -> set[int]:
        """Return the types of a tissue and its parts."""
        graph, told = self._graph, self._told
        inside = set().union(*(_parts(graph, one) for one in _of_one_organ(graph, node)))
        found = _placed(graph, inside)
        seen = told.inside(inside)
        found |= told.supported(_with_ancestors(graph, seen))
        for parent in told.supported(seen):
            kinds = set(graph.descendants(parent).tolist())
            if len(kinds) <= MOST_KINDS:
                found.update(c for c in graph.children(parent).tolist() if c not in told.types)
        return found

    def taken(self, node: int) -> _Taken:
        """Return a tissue with its types, or the smallest near whole of `FEW_TYPES` to `MOST_TYPES` types."""
        own = self.types(node)
        near, seen = [node], {node}
        for _step in range(_STEPS if len(own) < FEW_TYPES else 0):
            near = sorted({whole for n in near for whole in self._wholes(n)} - seen)
            seen.update(near)
            wider = [_Taken(n, own | self.types(n)) for n in near]
            enough = [one for one in wider if FEW_TYPES <= len(one.types) <= MOST_TYPES]
            if enough:
                return min(enough, key=lambda one: (len(one.types), one.node))
        return _Taken(node, own)

    def _wholes(self, node: int) -> Iterator[int]:
        graph, anatomy = self._graph, CATEGORIES.index("AnatomicalEntity")
        for relation in ("is_a_or_part_of", "part_of"):
            for edge in graph.out_edges(node, relation):
                whole = int(graph.object[edge])
                if (
                    graph.category[whole] == anatomy and "derived" not in graph.names[whole]
                ):  # by descent, not by place
                    yield whole


def _placed(graph: Graph, inside: set[int]) -> set[int]:
    """Types that the ontology places in some anatomy, with all their kinds."""
    found: set[int] = set()
    for relation in LOCATED:
        rows = graph.rows(relation)
        located = (graph.category[graph.subject[rows]] == _CELL) & np.isin(graph.object[rows], list(inside))
        for node in set(graph.subject[rows][located].tolist()) - found:
            found |= {node, *graph.descendants(node).tolist()}
    return found


class _MarkersByTissue:
    """The marker edges that name a tissue.

    Publications are no evidence here: an edge joins those of all its tissues.
    """

    def __init__(self, graph: Graph) -> None:
        span = graph.rows("is_marker_for")
        lists = graph.list_codes("tissues").take(np.arange(span.start, span.stop))
        self._row = np.repeat(np.arange(span.start, span.stop), np.diff(lists.indptr))
        self._tissue = lists.codes
        self._graph = graph
        self.types = set(graph.object[self._row].tolist())
        """Cell types with such edges."""
        underlying = {graph.underlying[code] for code in np.unique(graph.source[self._row]).tolist()}
        self._wanted = min(RESOURCES, len(underlying))

    def inside(self, tissues: set[int]) -> Seen:
        """Return what was observed in some tissues: (resource, gene) pairs by cell type."""
        graph = self._graph
        found: Seen = {}
        for row in np.unique(self._row[np.isin(self._tissue, list(tissues))]).tolist():
            pair = graph.underlying[graph.source[row]], int(graph.subject[row])
            found.setdefault(int(graph.object[row]), set()).add(pair)
        return found

    def supported(self, seen: Seen) -> set[int]:
        """Return the types with enough evidence."""
        genes = {node: Counter(resource for resource, _ in pairs) for node, pairs in seen.items()}
        return {n for n, by in genes.items() if len(by) >= self._wanted or max(by.values()) >= ENOUGH_GENES}


def _with_ancestors(graph: Graph, seen: Seen) -> Seen:
    """What was observed of each type or of a kind of it."""
    found: Seen = {}
    for node, pairs in seen.items():
        for above in (node, *graph.ancestors(node).tolist()):
            found.setdefault(above, set()).update(pairs)
    return found


def _parts(graph: Graph, node: int) -> set[int]:
    """The node and everything anatomical that is a kind or a part of it."""
    anatomy = CATEGORIES.index("AnatomicalEntity")
    seen, frontier = {node}, [node]
    while frontier:
        below: Iterable[int] = (
            int(child)
            for i in frontier
            for relation in _INSIDE
            for child in graph.subject[graph.in_edges(i, relation)]
            if graph.category[child] == anatomy
        )
        frontier = [child for child in dict.fromkeys(below) if child not in seen]
        seen.update(frontier)
    return seen
