"""Which cell types may be the answer: all of them or a declared list; and which are likelier, those of a tissue.
Never read from labels silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gather.retrieval.cell_names import ground_labels, near_cell_types
from gather.retrieval.tissue_names import LOCATED, known_tissues, tissue_node
from vckg.base.atomic import reason
from vckg.base.errors import InputError
from vckg.base.resources import table
from vckg.graph.schema import CATEGORIES

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

_INSIDE = ("is_a_or_part_of", "part_of", "subclass_of")
_CELL = CATEGORIES.index("Cell")
ENOUGH = 4
"""So many pairs of a resource and a marker gene place a type in a tissue."""
MOST_MEANINGS = 8
"""Of a word of several organs that are listed."""


class Choice(NamedTuple):
    """Which cell types may be the answer (None: every one), and which are preferred: graph nodes, ascending.

    `tissue` is the id of the one whose types are preferred.
    """

    allowed: list[int] | None = None
    preferred: list[int] | None = None
    tissue: str = ""


def ground_cell_types(graph: Graph, names: Sequence[str], *, where: str) -> list[int]:
    """Return the nodes of cell types given by CL id or label; the error names those that are none, and a near one."""
    grounded = [found for found in ground_labels(graph, names) if found.how != "no_type"]
    lost = [found.name for found in grounded if found.curie is None]
    if lost:
        near = {
            name: [graph.names[graph.index(c)] for c in near_cell_types(graph, name)] for name in lost[:5]
        }
        shown = ", ".join(
            f"{name!r}" + (f" (did you mean {' or '.join(map(repr, meant))}?)" if meant else "")
            for name, meant in near.items()
        )
        more = " ..." if len(lost) > 5 else ""
        raise InputError(
            f"{where}: no cell types of the graph, {len(lost)} of {len(names)}: {shown}{more}; give names or CL ids"
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


def types_of_tissue(graph: Graph, tissue: str) -> list[int]:
    """Return the cell types that are known in a tissue, ascending.

    A type is known there where the ontology places it, or a type it is a kind of, in the tissue or a part of it; and
    where markers of it or of its kinds were observed there, `ENOUGH` pairs of a resource and a gene. Terms of one
    organ are taken together (`data/tissues_of_one_organ.tsv`). Nobody has listed all types of a tissue, so these are
    preferred, and no other is left out.

    Parameters
    ----------
    tissue
        UBERON id, name, or a usual word (`data/tissue_words.tsv`).

    Raises
    ------
    InputError
        The tissue is unknown.
    """
    inside = set().union(*(_parts(graph, one) for one in _of_one_organ(graph, tissue_node(graph, tissue))))
    return sorted(_placed(graph, inside) | _observed(graph, inside))


def more_exact_tissues(graph: Graph, tissue: str) -> list[str]:
    """Return what a word of several organs may mean, such as cortex, each with its id; none for other tissues.

    No cell type is known in the very tissue then, but in others with its words in their names. Those inside another one
    are left out. The ones with most marker edges come first.
    """
    node, known = tissue_node(graph, tissue), known_tissues(graph)
    words = {*tissue.casefold().split()}
    inside = {n: _parts(graph, n) for n in known if words <= {*graph.names[n].casefold().split()}}
    if node in known or len(inside) < 2:
        return []
    parts = set().union(*(below - {n} for n, below in inside.items()))
    found = sorted(inside.keys() - parts, key=lambda n: (-sum(known[i] for i in inside[n]), graph.ids[n]))
    return [f"{graph.names[n]} ({graph.ids[n]})" for n in found[:MOST_MEANINGS]]


def _of_one_organ(graph: Graph, node: int) -> list[int]:
    """A tissue and those that `data/tissues_of_one_organ.tsv` pairs with it: the breast has its gland's cells."""
    curie, found = graph.ids[node], [node]
    for row in table("data", "tissues_of_one_organ.tsv"):
        pair = [row["uberon_id"], row["other_uberon_id"]]
        if curie in pair:
            other = graph.get(pair[1 - pair.index(curie)])
            found += [] if other is None else [other]
    return found


def _placed(graph: Graph, inside: set[int]) -> set[int]:
    """Types that the ontology places in some anatomy, with all their kinds."""
    found: set[int] = set()
    for relation in LOCATED:
        rows = graph.rows(relation)
        located = (graph.category[graph.subject[rows]] == _CELL) & np.isin(graph.object[rows], list(inside))
        for node in set(graph.subject[rows][located].tolist()) - found:
            found |= {node, *graph.descendants(node).tolist()}
    return found


def _observed(graph: Graph, tissues: set[int]) -> set[int]:
    """Types with enough markers that name one of the tissues, their own or those of their kinds.

    Publications are no evidence here: an edge joins those of all its tissues.
    """
    span = graph.rows("is_marker_for")
    lists = graph.list_codes("tissues").take(np.arange(span.start, span.stop))
    told = np.repeat(np.arange(span.start, span.stop), np.diff(lists.indptr))
    seen: dict[int, set[tuple[str, int]]] = {}
    for row in np.unique(told[np.isin(lists.codes, list(tissues))]).tolist():
        pair = graph.underlying[graph.source[row]], int(graph.subject[row])
        seen.setdefault(int(graph.object[row]), set()).add(pair)
    known: dict[int, set[tuple[str, int]]] = {}
    for node, pairs in seen.items():
        for above in (node, *graph.ancestors(node).tolist()):
            known.setdefault(above, set()).update(pairs)
    return {node for node, pairs in known.items() if len(pairs) >= ENOUGH}


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
