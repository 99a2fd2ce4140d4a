"""Claims of the graph as the tools give them: each with the id of its edge, source, licence and publications."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from gather.annotation import EdgeRef
from gather.species import MOUSE, graph_for
from vckg.base.errors import InputError
from vckg.base.words import plain
from vckg.export.kgx import edge_ids
from vckg.graph.graph import Graph
from vckg.graph.schema import RELATION_NAMES

PAPERS = 3
_SIGNS = {"": 0, "+": 1, "-": -1}
_MARKS = {sign: f"/{mark}" if mark else "" for mark, sign in _SIGNS.items()}


class Claim(BaseModel):
    """One edge of the graph. `id` is stable: the tools `edge` and `cite` take it, and the KGX export writes it."""

    id: str
    subject: str
    relation: str
    object: str
    source: str
    licence: str
    publications: list[str]
    n_publications: int


def claim_of(edge: EdgeRef) -> Claim:
    """Return an edge of an annotation's evidence as a claim."""
    return Claim(
        id=f"vckg:{edge.relation}/{edge.subject}/{edge.object}/{edge.source}{_MARKS[edge.sign]}",
        subject=plain(edge.subject_name),
        relation=edge.relation,
        object=plain(edge.object_name),
        source=plain(edge.cited_source),
        licence=plain(edge.licence),
        publications=list(edge.publications[:PAPERS]),
        n_publications=edge.n_publications or len(edge.publications),
    )


def claims_of(edges: Iterable[EdgeRef], most: int) -> list[Claim]:
    """Return the best attested edges as claims: one a source before a second of any."""
    ordered = sorted(edges, key=lambda edge: (-edge.n_publications, -edge.evidence_count, edge.source))
    first = {edge.source: edge for edge in reversed(ordered)}
    chosen = [edge for edge in ordered if first[edge.source] is edge]
    return [claim_of(edge) for edge in chosen[:most]]


def edge_of(graph: Graph, evidence_id: str) -> tuple[Graph, int]:
    """Return the row of the edge with an evidence id, and the graph it is of: as built, or that of mouse.

    Raises
    ------
    InputError
        The id is not of this form, or the graph has no such edge.
    """
    parts = evidence_id.removeprefix("vckg:").split("/")
    problem = f"no evidence {plain(evidence_id, 160)!r} in this graph; give an id that a tool of this server answered"
    if not evidence_id.startswith("vckg:") or parts[0] not in RELATION_NAMES or len(parts) < 4:
        raise InputError(problem)
    sign = _SIGNS.get(parts[-1], 0) if parts[-1] in ("+", "-") else 0
    source = parts[-2] if sign else parts[-1]
    subject, target = graph.get(parts[1]), graph.get(parts[2])
    if subject is None or target is None or source not in graph.sources:
        raise InputError(problem)
    for seen in dict.fromkeys(
        (graph, graph_for(graph, MOUSE))
    ):  # answers for files of mouse name edges of the latter
        rows, _ = seen.rows_between(np.array([subject]), np.array([target]))
        for row, name in zip(rows.tolist(), edge_ids(seen, rows).to_pylist(), strict=True):
            if name == evidence_id:
                return seen, int(row)
    raise InputError(problem)


def sources_of(graph: Graph, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return title, release, licence and citation of sources; a part has the release of its whole."""
    entries = []
    for name in dict.fromkeys(names):
        entry = graph.manifest["sources"].get(name, {})
        whole = graph.manifest["sources"].get(entry.get("part_of", ""), {})
        fields = {key: str(entry.get(key) or whole.get(key) or "") for key in ("title", "release", "licence")}
        citation = str(entry.get("citation") or whole.get("citation") or "")
        entries.append(
            {"source": name} | {k: plain(v) for k, v in fields.items()} | {"citation": plain(citation, 200)}
        )
    return entries
