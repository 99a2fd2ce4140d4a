"""Annotations as frames and columns: what an h5ad keeps in ``uns``, and what a table prints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from gather.annotation import Annotation, annotation_from_dict
from gather.labelling.decide import UNKNOWN

_COLUMNS = {
    "cell_sets": {
        "cell_set": str, "n_cells": int, "status": str, "cell_type": str, "cell_type_ontology_term_id": str,
        "confidence": float, "fdr": float, "decided_by": str, "closed": bool, "score": str, "note": str,
    },
    "candidates": {
        "cell_set": str, "rank": int, "cell_type_ontology_term_id": str, "cell_type": str, "score": float, "p": float,
        "fdr": float, "confidence": float, "n_genes": int,
    },
    "evidence": {
        "cell_set": str, "id": str, "node": str, "name": str, "category": str, "score": float, "p": float,
        "fdr": float, "n_genes": int,
    },
    "genes": {
        "cell_set": str, "evidence": str, "gene": str, "symbol": str, "rank": int, "weight": float,
        "contribution": float, "hops": str,
    },
    "walks": {
        "cell_set": str, "evidence": str, "walk": int, "step": int, "weight": float, "subject": str, "relation": str,
        "object": str, "source": str, "release": str, "licence": str, "knowledge_level": str, "publications": str,
        "n_publications": int,
    },
    "contradictions": {
        "cell_set": str, "cell_type_ontology_term_id": str, "gene": str, "symbol": str, "kind": str,
        "fraction_in_set": float, "fraction_in_file": float,
    },
    "coverage": {
        "cell_set": str, "cell_type_ontology_term_id": str, "cell_type": str, "missing": str, "n_missing": int,
        "n_markers": int, "message": str,
    },
}  # fmt: skip


def tables(annotations: Iterable[Annotation]) -> dict[str, pd.DataFrame]:
    """Return the frames `cell_sets`, `candidates`, `evidence`, `genes`, `walks`, `contradictions`,
    `coverage`.

    Lists are joined with ``|``; every frame has its columns and types even when it is empty, so that all of
    them survive h5ad and zarr.
    """
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _COLUMNS}
    for a in annotations:
        s = a.cell_set
        curie = a.curie or UNKNOWN
        rows["cell_sets"].append(
            (
                s,
                a.n_cells,
                a.status,
                a.label,
                curie,
                a.confidence,
                a.fdr,
                a.decided_by,
                a.closed,
                a.score,
                a.note,
            )
        )
        rows["candidates"] += [
            (s, c.rank, c.curie, c.label, c.score, c.p, c.fdr, c.confidence, c.n_genes) for c in a.candidates
        ]
        for e in (*a.evidence, *a.convergence):
            rows["evidence"].append((s, e.id, e.curie, e.name, e.category, e.score, e.p, e.fdr, e.n_genes))
            rows["genes"] += [
                (s, e.id, g.curie, g.symbol, g.rank, g.weight, g.contribution, "|".join(map(str, g.hops)))
                for g in e.genes
            ]
            rows["walks"] += [
                (s, e.id, number, step, walk.weight, edge.subject, edge.relation, edge.object, edge.source,
                 edge.release, edge.licence, edge.knowledge_level, "|".join(edge.publications), edge.n_publications)
                for number, walk in enumerate(e.walks, start=1)
                for step, edges in enumerate(walk.steps, start=1)
                for edge in edges
            ]  # fmt: skip
        rows["contradictions"] += [
            (s, c.curie, c.gene, c.symbol, c.kind, c.fraction_in_set, c.fraction_in_file)
            for c in a.contradictions
        ]
        rows["coverage"] += [
            (s, w.curie, w.label, "|".join(w.missing), w.n_missing, w.n_markers, w.message)
            for w in a.coverage
        ]
    return {name: _frame(name, found) for name, found in rows.items()}


def _frame(name: str, rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    columns = _COLUMNS[name]
    frame = pd.DataFrame(rows, columns=list(columns))
    frame = frame.astype({column: object if kind is str else kind for column, kind in columns.items()})
    frame.index = frame.index.astype(str)
    return frame


def to_json(annotations: Sequence[Annotation], about: dict[str, Any] | None = None) -> str:
    """Return annotations as one JSON document, keys sorted."""
    return json.dumps((about or {}) | {"annotations": [a.to_dict() for a in annotations]}, sort_keys=True)


def from_json(text: str) -> list[Annotation]:
    """Rebuild annotations from `to_json`, e.g. from ``adata.uns['gather']['annotations']``."""
    return [annotation_from_dict(value) for value in json.loads(text)["annotations"]]


def best_evidence(annotation: Annotation, top: int = 3) -> list[str]:
    """Return the `top` best direct walks to the label in words; for a label that was backed off, to the
    best candidate. Where no direct walk is among those kept: the genes that give most of the score.
    """
    item = annotation.item(annotation.curie) or (annotation.evidence[0] if annotation.evidence else None)
    if item is None:
        return []
    direct = [walk for walk in item.walks if walk.hops == 1][:top]
    if not direct:
        genes = sorted(item.genes, key=lambda gene: (-gene.contribution, gene.rank))
        return [gene.symbol for gene in genes[:top]]
    return [
        f"{walk.names[0]} ({_count(len(walk.steps[0]), 'source')}, "
        f"{_count(sum(e.n_publications for e in walk.steps[0]), 'paper')})"
        for walk in direct
    ]


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
