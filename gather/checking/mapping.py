"""Labels to the Cell Ontology, corrected by a table that the user may edit and give back.

A label is looked up among other tools' labels (`data/tool_labels.tsv`), then among the graph's names. What is still
unknown is read once more with its words in another order (*T cells CD8*), without words for a state (*NK
Proliferating*) and without a number (*Fibroblast 2*).
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

from gather.checking.opinion import MappedLabel
from gather.metrics.labels import ROOTS
from vckg.base.atomic import write_text
from vckg.base.errors import InputError
from vckg.base.resources import resource

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

HEADER = ("label", "cell_type_ontology_term_id", "cell_type", "how", "suggestions")
"""Columns of the table; the first two are read back."""
OWN_NAMES = ("label", "normalised")
"""How a type's own name is found: synonyms such as *alpha cell* mean different types in different tissues."""
STATES = frozenset(
    "activated cycling dividing hypoxic ifn interferon isg proliferating proliferative resting stimulated stressed".split()
)
"""Words of a label that say a state and no type."""
MOST_SUGGESTIONS = 3
MOST_WORDS, MOST_ORDERED = 8, 4


def map_labels(
    graph: Graph, labels: Iterable[str], given: Mapping[str, str] | None = None
) -> dict[str, MappedLabel]:
    """Return what each label means, by label, ascending.

    Parameters
    ----------
    given
        CL id of labels that the user decided; ``""`` says that a label has no term. Others are ground by name, or by
        name and the word "cell" (*Dendritic*).
    """
    given = given or {}
    names = sorted(set(labels))
    found = {}
    completed = graph.cells.ground([f"{name} cell" for name in names])
    for label, plain, whole in zip(names, graph.cells.ground(names), completed, strict=True):
        by_whole_name = not plain.curie and not plain.candidates and whole.how in OWN_NAMES
        grounded = whole if by_whole_name else plain
        curie, how = grounded.curie or "", grounded.how
        if label in given:
            curie, how = given[label], "mapping"
        elif customary := _customary().get(_key(label), ""):
            if customary in graph:
                curie, how = customary, "tool_label"
        elif not curie and not grounded.candidates:
            curie, how = _rearranged(graph, label) or (curie, how)
        if curie or how == "mapping":
            found[label] = MappedLabel(label, curie, graph.names[graph.index(curie)] if curie else "", how)
        else:
            near = grounded.candidates or _near(graph, label)
            found[label] = MappedLabel(label, "", "", how, near[:MOST_SUGGESTIONS])
    return found


@lru_cache(maxsize=1)
def _customary() -> dict[str, str]:
    """CL id of each label of other tools, by `_key`."""
    with resource("data", "tool_labels.tsv").open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader((line for line in lines if not line.startswith("#")), delimiter="\t")
        return {_key(row["label"]): row["cl_id"] for row in rows}


def _key(label: str) -> str:
    """Words of a label in lower case, in the singular and without *cell*; signs such as those of *CD34+* stay."""
    words = re.sub(r"[\s_:.,()]+|-(?=cell)", " ", label.lower()).split()
    singular = (word.removesuffix("s") if len(word) > 3 else word for word in words)
    return " ".join(word for word in singular if word != "cell")


def _rearranged(graph: Graph, label: str) -> tuple[str, str] | None:
    """CURIE of a label whose words are reordered, then without states and numbers; and which of the two helped."""
    words = [re.sub("^cells$", "cell", word) for word in re.split(r"[\s_:.,()]+", label) if word]
    kept = [word for word in words if word.lower() not in STATES and not word.isdigit()]
    for some, how in ((words, "word_order"), (kept, "without_state")):
        if not 0 < len(some) <= MOST_ORDERED:
            continue
        orders = [" ".join(order) for order in permutations(some)]
        known = [c for order in orders if (c := _customary().get(_key(order)))]
        known += [one.curie for one in graph.cells.ground(orders) if one.curie]
        if "cell" not in some:
            whole = graph.cells.ground([f"{order} cell" for order in orders])
            known += [one.curie for one in whole if one.curie and one.how in OWN_NAMES]
        if known:
            return known[0], how
    return None


def _near(graph: Graph, label: str) -> tuple[str, ...]:
    """CURIEs that parts of a label mean, the longest part first, then of the cell types with the nearest names."""
    words = re.findall(r"[^\W_]+", label)[:MOST_WORDS]
    parts = [
        " ".join(words[first : first + length])
        for length in range(len(words), 0, -1)
        for first in range(len(words) - length + 1)
    ]
    found = [grounded.curie for grounded in graph.cells.ground(parts) if grounded.curie]
    if not found:
        names = {graph.names[i].lower(): graph.ids[i] for i in graph.nodes_of("Cell").tolist()}
        near = difflib.get_close_matches(label.lower(), names, n=MOST_SUGGESTIONS, cutoff=0.75)
        found = [names[name] for name in near]
    return tuple(curie for curie in dict.fromkeys(found) if curie not in ROOTS)


def read_mapping(path: Path, graph: Graph) -> dict[str, str]:
    """Read a table of ``label`` and ``cell_type_ontology_term_id``; CL id by label, ``""`` for an empty id.

    Raises
    ------
    InputError
        The file cannot be read, lacks a column, names a label twice, or names no cell type of the graph.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = csv.DictReader(io.StringIO(text), delimiter="\t", restval="")
        listed = [(rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a mapping ({error}); give a TSV file") from error
    missing = [name for name in HEADER[:2] if name not in (rows.fieldnames or ())]
    if missing:
        raise InputError(
            f"{path}:1: no column {missing[0]!r}; wanted tab-separated columns {' and '.join(HEADER[:2])}"
        )
    found: dict[str, str] = {}
    for number, row in listed:
        where, label, asked = f"{path}:{number}", row[HEADER[0]], row[HEADER[1]].strip()
        if label in found:
            raise InputError(f"{where}: label {label!r} stands twice; keep one of the rows")
        grounded = graph.cells.ground([asked])[0].curie if asked else ""
        if grounded is None:
            raise InputError(
                f"{where}: {asked!r} is no cell type of the graph; give a CL id such as CL:0000084, or nothing"
            )
        found[label] = grounded
    return found


def write_mapping(path: Path, mapping: Iterable[MappedLabel]) -> None:
    """Write the table that `read_mapping` reads, for the user to edit."""
    text = io.StringIO()
    rows = csv.writer(text, delimiter="\t", lineterminator="\n")
    rows.writerow(HEADER)
    rows.writerows((m.label, m.curie, m.name, m.how, " ".join(m.suggestions)) for m in mapping)
    write_text(path, text.getvalue())
