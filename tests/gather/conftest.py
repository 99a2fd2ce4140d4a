"""Small graphs for the tests, made in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import pytest

from vckg.graph import Graph

PREFIX = {
    "HGNC": "Gene",
    "CL": "Cell",
    "UBERON": "AnatomicalEntity",
    "GO": "BiologicalProcess",
    "REACT": "Pathway",
    "MONDO": "Disease",
    "PR": "Protein",
    "CHEMBL.COMPOUND": "Drug",
}
SOURCES = {
    "toy": {"title": "Toy", "release": "1", "licence": "CC0-1.0", "knowledge_level": "knowledge_assertion"},
    "other": {"title": "Other", "release": "2", "licence": "CC-BY-4.0", "knowledge_level": "observation"},
}


def graph_of(
    edges: Iterable[tuple[str, str, str]] | Iterable[Mapping[str, Any]],
    *,
    names: Mapping[str, str] | None = None,
    nodes: Iterable[str] = (),
) -> Graph:
    """A graph of (subject, relation, object) rows; categories follow from the prefixes."""
    rows = [
        dict(zip(("subject", "relation", "object"), e, strict=True)) if isinstance(e, tuple) else dict(e)
        for e in edges
    ]
    for row in rows:
        row.setdefault("source", "toy")
    ids = sorted({*nodes, *(r["subject"] for r in rows), *(r["object"] for r in rows), *(names or {})})
    frame = pd.DataFrame(
        {
            "id": ids,
            "category": [PREFIX[i.rpartition(":")[0]] for i in ids],
            "name": [(names or {}).get(i, i.replace(":", "")) for i in ids],
        }
    )
    columns = ["subject", "relation", "object", "source"]
    edge_frame = pd.DataFrame(rows, columns=[*columns, *sorted({k for r in rows for k in r} - set(columns))])
    return Graph.from_frames(
        frame, edge_frame, sources={s: SOURCES.get(s, {}) for s in edge_frame["source"].unique()}
    )


@pytest.fixture(scope="session")
def make_graph():
    """`graph_of`, for tests that make their own graphs."""
    return graph_of
