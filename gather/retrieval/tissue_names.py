"""Which tissue a user means: by Uberon id, by name, or by a word that files of cells use (``PBMC``, ``gut``)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from vckg.base.errors import InputError, did_you_mean
from vckg.base.resources import resource
from vckg.graph.schema import CATEGORIES

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

LOCATED = ("part_of", "has_soma_location")
"""Relations by which the ontology places cell types."""
NO_ORGANS = frozenset({
    "tumor", "tumors", "tumour", "tumours", "cancer", "cancers", "carcinoma", "adenocarcinoma", "melanoma", "glioma",
    "glioblastoma", "lymphoma", "leukemia", "leukaemia", "metastasis", "metastases", "organoid", "organoids",
    "xenograft", "pdx", "cell line", "cell lines",
})  # fmt: skip
"""What samples are called by, and what is no tissue: its cells are those of an organ."""
_CUTOFF = 0.8
_ANATOMY = CATEGORIES.index("AnatomicalEntity")
_CELL = CATEGORIES.index("Cell")


def tissue_node(graph: Graph, tissue: str) -> int:
    """Return the node of a tissue given by UBERON id, name, or a word of `data/tissue_words.tsv`.

    Raises
    ------
    InputError
        None is known; the hint is a tissue whose cell types are known, or asks for the organ.
    """
    found = graph.get(tissue)
    if found is not None and graph.category[found] == _ANATOMY:
        return found
    for name in _spellings(tissue):
        meant = graph.get(tissue_words().get(name, ""))
        if meant is not None:
            return meant
        grounded = graph.labels("anatomy").ground([name])[0]
        if grounded.curie is not None:
            return graph.index(grounded.curie)
    raise InputError(f"no tissue {tissue!r} in the graph{_hint(graph, tissue)}")


def tissue_in_words(graph: Graph, tissue: str) -> str:
    """Return a tissue as the user gave it, with the name and id of what it was read as."""
    node = tissue_node(graph, tissue)
    name, curie = graph.names[node], graph.ids[node]
    plain = " ".join(tissue.split())
    same = plain.casefold() in (name.casefold(), curie.casefold())
    return f"{name} ({curie})" if same else f"{plain} ({name}, {curie})"


@lru_cache(maxsize=1)
def tissue_words() -> dict[str, str]:
    """Return the Uberon id of each word of `data/tissue_words.tsv`, in lower case."""
    text = resource("data", "tissue_words.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return {word.casefold(): curie for word, curie, _name in rows[1:]}


def _spellings(tissue: str) -> list[str]:
    """Return a name, and what it is without a plural and without the word tissue."""
    name = " ".join(tissue.replace("_", " ").split()).casefold()
    bare = name.removesuffix(" tissue").removesuffix(" tissues")
    return list(dict.fromkeys([name, name.removesuffix("s"), bare, bare.removesuffix("s")]))


def _hint(graph: Graph, tissue: str) -> str:
    name = " ".join(tissue.replace("_", " ").split()).casefold()
    rest = " ".join(word for word in name.split() if word not in NO_ORGANS)
    known = _names_of_tissues(graph)
    organ = next((word for word in (rest, *rest.split()[::-1]) if word in known), "")
    if name in NO_ORGANS or rest != name:
        return f"; give the organ: {organ or 'the one it grows in or resembles, such as lung'}"
    near = did_you_mean(name, known, cutoff=_CUTOFF) or (f" (did you mean {organ!r}?)" if organ else "")
    return f"{near}; give an UBERON id such as UBERON:0000178 (blood)"


def _names_of_tissues(graph: Graph) -> set[str]:
    """Return the names of the tissues where cell types are known, and the words for them."""
    span = graph.rows("is_marker_for")
    nodes = set(graph.list_codes("tissues").take(np.arange(span.start, span.stop)).codes.tolist())
    for relation in LOCATED:
        rows = graph.rows(relation)
        nodes.update(graph.object[rows][graph.category[graph.subject[rows]] == _CELL].tolist())
    names = {graph.names[n] for n in nodes if graph.category[n] == _ANATOMY}
    return names | {word for word, curie in tissue_words().items() if graph.get(curie) in nodes}
