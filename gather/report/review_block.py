"""What the review of a report needs: which answers are reviewed, and the cell types that a reviewer can choose."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gather.annotation import Annotation

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

FORMAT, FORMAT_VERSION = "gather-decisions", 1


def answers_hash(graph: str, cells: Iterable[str], annotations: Sequence[Annotation]) -> str:
    """Return the sha256 of a file's cells and their answers, in hexadecimal.

    Two files have one hash where the graph, the names of the cells, and the cell sets with their labels and
    confidence are the same.

    Examples
    --------
    >>> answer = Annotation("0", 2, "named", "T cell", "CL:0000084", 0.93, 1e-9)
    >>> answers_hash("9af1", ["AAAC-1", "AAAG-1"], [answer])[:8]
    '5eb286a3'
    """
    rows = [
        [a.cell_set, a.n_cells, a.label, a.curie, f"{a.confidence:.6g}", [c.curie for c in a.candidates]]
        for a in annotations
    ]
    text = json.dumps([graph, list(cells), rows], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def review_block(
    graph: Graph, cells: Iterable[str], annotations: Sequence[Annotation], key: str
) -> dict[str, Any]:
    """Return the JSON block of a page that can be reviewed.

    Parameters
    ----------
    cells
        Names of the cells of the file.
    key
        Name of the ``uns`` entry of the annotated file.

    Returns
    -------
    dict
        The head of ``decisions.json``, and `terms`: id, label and synonyms of every cell type of the graph.
    """
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "graph": graph.content_hash,
        "answers": answers_hash(graph.content_hash, cells, annotations),
        "key": key,
        "cell_sets": [a.cell_set for a in annotations],
        "terms": _terms(graph),
    }


def _terms(graph: Graph) -> list[list[str]]:
    nodes = (graph.node(i) for i in graph.nodes_of("Cell").tolist())
    return [
        [node.id, node.name, *dict.fromkeys(s for s in node.synonyms if s.lower() != node.name.lower())]
        for node in nodes
    ]
