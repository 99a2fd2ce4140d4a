"""Names of cell types as biologists write them, to the Cell Ontology.

Names are read as those of a file's labels (`gather.retrieval.cell_names`). What is still unknown is read once more with
its abbreviations written out: *plasmacytoid DC*, *enteric glia*, *CD4+ effector memory T cell*.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gather.retrieval.cell_names import ground_labels
from vckg.graph.graph import Graph
from vckg.graph.grounding import Grounded
from vckg.graph.name_keys import normal_key

LONGEST: Final = 10
"""Words of a name at most; more are prose."""
DC: Final = re.compile(r"\bDCs?\b")
_WRITTEN_OUT: Final = (
    (DC, "dendritic cell"),
    (re.compile(r"\bECs\b"), "endothelial cells"),
    (re.compile(r"\bM[φΦ]s?\b"), "macrophage"),
    (re.compile(r"αβ"), " alpha-beta"),
    (re.compile(r"γδ"), " gamma-delta"),
    (re.compile(r"\bglia$"), "glial cell"),
    (re.compile(r"thelium$"), "thelial cell"),
    (re.compile(r"\b(?:pancreatic )?islets?(?: of Langerhans)?(?= \w)"), "pancreatic"),
)
_T_CELL: Final = re.compile(r"(.*?)\b(CD[48])(?:\+|-positive)?(.*?)\bT[ -](?:cell|lymphocyte)s?")
_ALPHA_BETA: Final = re.compile(r"\b(?:alpha|α)[ -]?(?:beta|β)\b")


def read_name(graph: Graph, name: str) -> Grounded:
    """Return what one name means; `how` may be that of `ground_labels`, or ``written_out``."""
    first = _read(graph, name)
    if first.curie or first.candidates or len(name.split()) > LONGEST:
        return first
    for other in _written_out(name):
        found = _read(graph, other)
        if found.curie:
            return Grounded(name, found.curie, "written_out")
    return first


def _read(graph: Graph, name: str) -> Grounded:
    backwards = normal_key(name)[1:].startswith("cell ")  # "cell T" is the words of a name and no name
    return (graph.cells.ground([name]) if backwards else ground_labels(graph, [name]))[0]


def _written_out(name: str) -> Iterator[str]:
    """Yield longer forms of a name.

    Examples
    --------
    >>> list(_written_out("enteric glia")), next(_written_out("CD4+ effector memory T cells"))
    (['enteric glial cell'], 'effector memory CD4-positive, alpha-beta T cell')
    """
    whole = name
    for short, words in _WRITTEN_OUT:
        whole = short.sub(words, whole)
    if whole != name:
        yield " ".join(whole.split())
    if found := _T_CELL.fullmatch(whole):
        kind = " ".join(_ALPHA_BETA.sub(" ", f"{found[1]} {found[3]}").split())
        yield f"{kind} {found[2]}-positive, alpha-beta T cell"
        yield f"{found[2]}-positive, alpha-beta {kind} T cell"
        yield f"{kind} thymus-derived {found[2]}-positive, alpha-beta T cell"
