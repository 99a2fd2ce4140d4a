"""Which cell types may be the answer: all of them, a declared list, or those of a tissue. Never read from
labels silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vckg.errors import InputError
from vckg.schema import CATEGORIES

if TYPE_CHECKING:
    from vckg.graph import Graph

Ints = npt.NDArray[np.int32]
_INSIDE = ("is_a_or_part_of", "part_of", "subclass_of")


def ground_cell_types(graph: Graph, names: Sequence[str], *, where: str) -> list[int]:
    """Return the nodes of cell types given by CL id or label; every name that is none is named in the
    error.
    """
    grounded = graph.cells.ground(names)
    lost = [found.name for found in grounded if found.curie is None]
    if lost:
        shown = ", ".join(repr(name) for name in lost[:5]) + (" ..." if len(lost) > 5 else "")
        raise InputError(
            f"{where}: {len(lost)} of {len(names)} are no cell types of the graph: {shown}; give CL ids"
        )
    return sorted({graph.index(found.curie) for found in grounded if found.curie})


def read_candidate_names(path: Path) -> list[str]:
    """Read a declared candidate list: one CL id or label a line; text after a tab or # is ignored."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a candidate list ({error})") from error
    names = [line.partition("#")[0].partition("\t")[0].strip() for line in lines]
    names = [name for name in names if name]
    if not names:
        raise InputError(f"{path}: holds no cell type; wanted one CL id or label a line")
    return names


def tissue_node(graph: Graph, tissue: str) -> int:
    """Return the node of a tissue given by UBERON id or name."""
    found = graph.get(tissue)
    if found is not None and CATEGORIES[graph.category[found]] == "AnatomicalEntity":
        return found
    from vckg.ground import LabelGrounder

    grounded = LabelGrounder.of(graph, "anatomy").ground([tissue])[0]
    if grounded.curie is None:
        raise InputError(
            f"no tissue {tissue!r} in the graph; give an UBERON id such as UBERON:0000178 (blood)"
        )
    return graph.index(grounded.curie)


def candidates_of_tissue(graph: Graph, tissue: str) -> list[int]:
    """Return the cell types seen in a tissue or a part of it: by where their markers were observed, or by
    the ontology.
    """
    inside = _parts(graph, tissue_node(graph, tissue))
    cell = CATEGORIES.index("Cell")
    found: set[int] = set()
    for relation in ("part_of", "has_soma_location"):
        rows = graph.rows(relation)
        located = (graph.category[graph.subject[rows]] == cell) & np.isin(graph.object[rows], list(inside))
        found.update(graph.subject[rows][located].tolist())
    span = graph.rows("is_marker_for")
    for row in range(span.start, span.stop):
        target = int(graph.object[row])
        if target not in found and not inside.isdisjoint(graph.tissues(row).tolist()):
            found.add(target)
    for node in list(found):
        found.update(graph.descendants(node).tolist())
    if not found:
        raise InputError(f"no cell type is known in {tissue!r}; use a wider tissue or leave --tissue out")
    return sorted(found)


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
