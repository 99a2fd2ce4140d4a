"""Names of cell types as people and tools write them, to the Cell Ontology.

A name is looked up among other tools' labels (`data/tool_labels.tsv`), then among the graph's names. What is still
unknown is read once more with its words in another order (*T cells CD8*), without words for a state (*NK
Proliferating*) and without a number (*Fibroblast 2*).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations
from typing import TYPE_CHECKING

from gather.metrics.labels import ROOTS
from vckg.base.resources import table
from vckg.graph.grounding import Grounded

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

OWN_NAMES = ("label", "normalised")
"""How a type's own name is found: synonyms such as *alpha cell* mean different types in different tissues."""
STATES = {
    "activated", "cycling", "dividing", "hypoxic", "ifn", "interferon", "isg", "proliferating", "proliferative",
    "resting", "stimulated", "stressed",
}  # fmt: skip
"""Words of a label that say a state and no type."""
NO_TYPE = {
    "ambiguous", "debris", "doublet", "low quality", "multiplet", "na", "n/a", "nan", "none", "other", "unassigned",
    "unclassified", "undefined", "unknown",
}  # fmt: skip
"""Labels of cells that nobody names."""
MOST_WORDS, MOST_ORDERED = 8, 4
GREEK = str.maketrans({"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon"})
_BETWEEN = re.compile(r"[\s_:.,()]+|-(?=cell)|-(?=\d+$)")
_CLUSTER = re.compile(r"(cluster|c)?[\s_-]*(\d+([.,_-]\d+)*|(?P<letter>[a-z]))", re.IGNORECASE)
_NUMBER = re.compile(r"[Cc]?\d+")


def ground_labels(graph: Graph, labels: Sequence[str]) -> list[Grounded]:
    """Return what each label means, in order.

    `how` may also be ``tool_label``, ``word_order`` or ``without_state``, or ``no_type`` for labels such as *Doublets*.
    It is ``cluster`` for all of them where they are numbers, or letters such as *A*, *B*, *C*.

    Labels without the word *cell* mean the type of that very name (*Dendritic*). Only a type's own label goes before
    the table of other tools.
    """
    if _name_clusters(labels):
        return [Grounded(label, None, "cluster") for label in labels]
    completed = graph.cells.ground([f"{label} cell" for label in labels])
    found = []
    for label, plain, whole in zip(labels, graph.cells.ground(list(labels)), completed, strict=True):
        by_whole_name = not plain.curie and not plain.candidates and whole.how in OWN_NAMES
        one = whole if by_whole_name else plain
        customary = _customary().get(_key(label), "")
        if customary and customary in graph and plain.how not in OWN_NAMES:
            one = Grounded(label, customary, "tool_label")
        elif not one.curie and _key(label) in NO_TYPE:
            one = Grounded(label, None, "no_type")
        elif not one.curie and not one.candidates:
            one = _rearranged(graph, label) or one
        found.append(one._replace(name=label))
    return found


def _name_clusters(labels: Sequence[str]) -> bool:
    """Whether all labels are numbers, or lone letters with *A* among them: *B* and *T* alone are types."""
    found = [_CLUSTER.fullmatch(label) for label in labels]
    names = {match["letter"].upper() for match in found if match and match["letter"]}
    return bool(found) and all(found) and (not names or (len(names) > 1 and "A" in names))


def readings(graph: Graph, labels: Sequence[str]) -> list[str]:
    """Return in words how labels were read that are neither ids nor a type's own name."""
    found = [one for one in ground_labels(graph, labels) if one.curie and one.how not in ("id", *OWN_NAMES)]
    return [f"{one.name} as {graph.names[graph.index(one.curie)]}" for one in found if one.curie]


@lru_cache(maxsize=1)
def tool_labels() -> dict[str, str]:
    """Return the CL id of each label of `data/tool_labels.tsv`."""
    return {row["label"]: row["cl_id"] for row in table("data", "tool_labels.tsv")}


@lru_cache(maxsize=1)
def _customary() -> dict[str, str]:
    """CL id of each label of other tools, by `_key`."""
    return {_key(label): cl_id for label, cl_id in tool_labels().items()}


@lru_cache(maxsize=1)
def _in_any_order() -> dict[tuple[str, ...], str]:
    """CL id of each label of other tools, by its sorted words."""
    return {tuple(sorted(key.split())): cl_id for key, cl_id in _customary().items()}


def _key(label: str) -> str:
    """Words of a label in lower case, in the singular and without *cell*; signs such as those of *CD34+* stay."""
    words = _BETWEEN.sub(" ", label.lower().translate(GREEK)).split()
    singular = (word.removesuffix("s") if len(word) > 3 else word for word in words)
    return " ".join(word for word in singular if word != "cell")


def _rearranged(graph: Graph, label: str) -> Grounded | None:
    """What a label means whose words are reordered, then without states and numbers."""
    words = [re.sub("^cells$", "cell", word) for word in _BETWEEN.sub(" ", label).split()]
    kept = [word for word in words if word.lower() not in STATES and not _NUMBER.fullmatch(word)]
    for some, how in ((words, "word_order"), (kept, "without_state")):
        customary = _in_any_order().get(tuple(sorted(_key(" ".join(some)).split())))
        if customary and customary in graph:
            return Grounded(label, customary, how)
        if not 0 < len(some) <= MOST_ORDERED:
            continue
        orders = [" ".join(order) for order in permutations(some)]
        known = [one.curie for one in graph.cells.ground(orders) if one.curie]
        if "cell" in some:
            bare = [" ".join(order) for order in permutations([word for word in some if word != "cell"])]
            known += [one.curie for one in graph.cells.ground(bare) if one.curie]
        else:
            whole = graph.cells.ground([f"{order} cell" for order in orders])
            known += [one.curie for one in whole if one.curie and one.how in OWN_NAMES]
        if known:
            return Grounded(label, known[0], how)
    return None


def near_cell_types(graph: Graph, label: str, most: int = 3) -> tuple[str, ...]:
    """CURIEs that parts of a label mean, the longest part first; else of the cell types with the nearest names, or with
    all its words in theirs.
    """
    words = re.findall(r"[^\W_]+", label)[:MOST_WORDS]
    parts = [
        " ".join(words[first : first + length])
        for length in range(len(words), 0, -1)
        for first in range(len(words) - length + 1)
    ]
    found = [one.curie for one in graph.cells.ground(parts) if one.curie and one.curie not in ROOTS]
    if not found:
        names = {graph.names[i].lower(): graph.ids[i] for i in graph.nodes_of("Cell").tolist()}
        near = difflib.get_close_matches(label.lower(), names, n=most, cutoff=0.75)
        asked, whole = set(_key(label).split()), f"{label.lower().removesuffix(' cell')} cell"
        ordered = sorted(names, key=lambda name: (not name.endswith(whole), len(name)))
        with_all = (name for name in ordered if asked and asked <= set(_key(name).split()))
        found = [names[name] for name in near or with_all]
    return tuple(curie for curie in dict.fromkeys(found) if curie not in ROOTS)[:most]
