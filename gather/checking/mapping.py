"""Labels to the Cell Ontology (`gather.retrieval.cell_names`), corrected by a table that the user may edit."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gather.checking.opinion import SETTLED, MappedLabel
from gather.retrieval.cell_names import ground_labels, near_cell_types
from vckg.base.atomic import write_text
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

HEADER = ("label", "cell_type_ontology_term_id", "cell_type", "how", "suggestions")
"""Columns of the table; the first two are read back."""


def map_labels(
    graph: Graph, labels: Iterable[str], given: Mapping[str, str] | None = None
) -> dict[str, MappedLabel]:
    """Return what each label means, by label, ascending.

    Parameters
    ----------
    given
        CL id of labels that the user decided; ``""`` says that a label has no term.
    """
    given = given or {}
    names = sorted(set(labels))
    found = {}
    for label, grounded in zip(names, ground_labels(graph, names), strict=True):
        curie, how = (given[label], "mapping") if label in given else (grounded.curie or "", grounded.how)
        near: tuple[str, ...] = ()
        if not curie and how not in SETTLED:
            near = grounded.candidates[:3] or near_cell_types(graph, label)
        name, *others = (graph.names[graph.index(one)] if one else "" for one in (curie, *near))
        found[label] = MappedLabel(label, curie, name, how, near, tuple(others))
    return found


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
