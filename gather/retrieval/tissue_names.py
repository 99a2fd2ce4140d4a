"""Which tissue a user means: by Uberon id, by name, or by a word that files of cells use (``PBMC``, ``gut``)."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from vckg.base.errors import InputError, did_you_mean
from vckg.base.resources import table
from vckg.graph.schema import CATEGORIES

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

LOCATED = ("part_of", "has_soma_location")
"""Relations by which the ontology places cell types."""
NO_ORGANS = dict.fromkeys((
    "tumor", "tumors", "tumour", "tumours", "cancer", "cancers", "carcinoma", "adenocarcinoma",
    "lymphoma", "leukemia", "leukaemia", "metastasis", "metastases", "organoid", "organoids",
    "xenograft", "pdx", "cell line", "cell lines",
), "") | {
    "melanoma": "skin", "glioma": "brain", "glioblastoma": "brain", "gbm": "brain", "pdac": "pancreas", "hcc": "liver",
    "nsclc": "lung", "luad": "lung", "lusc": "lung", "sclc": "lung", "crc": "colon", "tnbc": "breast", "rcc": "kidney",
    "ccrcc": "kidney", "hnscc": "head and neck", "aml": "bone marrow",
}  # fmt: skip
"""What samples are called by and what is no tissue, its cells being those of an organ; the organ of some."""
_PLURALS = (("ies", "y"), ("es", ""), ("s", ""), ("i", "us"), ("ia", "ion"), ("ae", "a"))
_CUTOFF, _LEAST_CUTOFF = 0.8, 0.6
"""Likeness of a hint; the lower one where the first letter is right and the name is no abbreviation."""
_ABBREVIATION = 4
_ANATOMY = CATEGORIES.index("AnatomicalEntity")
_CELL = CATEGORIES.index("Cell")


def tissue_node(graph: Graph, tissue: str) -> int:
    """Return the node of a tissue given by UBERON id, name, or a word of `data/tissue_words.tsv`.

    Raises
    ------
    InputError
        None is known; the hint is a tissue whose cell types are known, or asks for the organ.
    """
    found = _found(graph, tissue)
    if found is None:
        raise InputError(f"no tissue {tissue!r} in the graph{_hint(graph, tissue)}")
    return found


def _found(graph: Graph, tissue: str) -> int | None:
    """Return the node of a tissue; None where it is unknown."""
    for name in _spellings(tissue):
        meant = graph.get(tissue_words().get(name, ""))
        if meant is not None:
            return meant
        grounded = graph.labels("anatomy").ground([name])[0]
        if grounded.curie is not None:
            return graph.index(grounded.curie)
    return None


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
    return {row["word"].casefold(): row["uberon_id"] for row in table("data", "tissue_words.tsv")}


def _spellings(tissue: str) -> list[str]:
    """Return a name, its singulars (``islets of Langerhans``), and both without the word tissue."""
    name = " ".join(tissue.replace("_", " ").split()).casefold()
    bare = name.removesuffix(" tissue").removesuffix(" tissues")
    found = [tissue.strip()]  # UBERON_0000178 keeps its underscore
    for words in (name.split(), bare.split()):
        found.append(" ".join(words))
        found += [
            " ".join([*words[:i], word.removesuffix(plural) + singular, *words[i + 1 :]])
            for i, word in enumerate(words)
            for plural, singular in _PLURALS
            if word.endswith(plural)
        ]
    return list(dict.fromkeys(found))


def _hint(graph: Graph, tissue: str) -> str:
    name = " ".join(tissue.replace("_", " ").split()).casefold()
    rest = " ".join(word for word in name.split() if word not in NO_ORGANS)
    known = _names_of_tissues(graph)
    organ = next((word for word in (rest, *rest.split()[::-1]) if word in known), "")
    if name in NO_ORGANS or rest != name:
        grown = next(filter(None, (NO_ORGANS.get(word) for word in name.split())), "")
        node = _found(graph, organ or rest)
        organ = grown if node is None else graph.names[node]
        return f"; give the organ: {organ or 'the one it grows in or resembles, such as lung'}"
    near = did_you_mean(name, known, cutoff=_CUTOFF) or (f" (did you mean {organ!r}?)" if organ else "")
    if not near:
        longer = sorted((k for k in known if {*name.split()} <= {*k.split()}), key=lambda k: (len(k), k))
        alike = [k for k in known if k[:1].casefold() == name[:1] and len(name) > _ABBREVIATION]
        near = did_you_mean(name, longer[:1] or alike, cutoff=0.0 if longer else _LEAST_CUTOFF)
    return f"{near}; give an UBERON id such as UBERON:0000178 (blood)"


def known_tissues(graph: Graph) -> Counter[int]:
    """Return the tissues where cell types are known, each with the number of marker edges that name it."""
    span = graph.rows("is_marker_for")
    nodes = Counter(graph.list_codes("tissues").take(np.arange(span.start, span.stop)).codes.tolist())
    for relation in LOCATED:
        rows = graph.rows(relation)
        placed = graph.object[rows][graph.category[graph.subject[rows]] == _CELL].tolist()
        nodes.update(dict.fromkeys(placed, 0))
    return Counter({n: count for n, count in nodes.items() if graph.category[n] == _ANATOMY})


def _names_of_tissues(graph: Graph) -> set[str]:
    """Return the names of the tissues where cell types are known, and the words for them."""
    nodes = known_tissues(graph)
    return {graph.names[n] for n in nodes} | {
        w for w, curie in tissue_words().items() if graph.get(curie) in nodes
    }
