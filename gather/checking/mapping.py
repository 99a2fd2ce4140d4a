"""Labels to the Cell Ontology: by the graph's names, corrected by a table that the user may edit and give back."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gather.checking.opinion import MappedLabel
from gather.metrics.labels import ROOTS
from vckg.base.atomic import write_text
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

HEADER = ("label", "cell_type_ontology_term_id", "cell_type", "how", "suggestions")
"""Columns of the table; the first two are read back."""
OWN_NAMES = ("label", "normalised")
"""How a type's own name is found: synonyms such as *alpha cell* mean different types in different tissues."""
MOST_SUGGESTIONS = 3
MOST_WORDS = 8


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
        if label in given:
            curie = given[label]
            name = graph.names[graph.index(curie)] if curie else ""
            found[label] = MappedLabel(label, curie, name, "mapping")
        elif grounded.curie:
            name = graph.names[graph.index(grounded.curie)]
            found[label] = MappedLabel(label, grounded.curie, name, grounded.how)
        else:
            near = grounded.candidates or _near(graph, label)
            found[label] = MappedLabel(label, "", "", grounded.how, near[:MOST_SUGGESTIONS])
    return found


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
