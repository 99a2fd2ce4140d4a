"""Annotations as tables and back: what an h5ad keeps in ``uns``, without a loss.

Each edge of the graph stands once in `edges`; walks and contradictions name it by its position there. Texts that
repeat are categorical, so that a file keeps them once.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, fields
from html import escape
from typing import Any

import pandas as pd

from gather.annotation import (
    Annotation,
    Candidate,
    Contradiction,
    CoverageWarning,
    EdgeRef,
    EvidenceItem,
    GeneSupport,
    Mixture,
    Standing,
    State,
    Walk,
)
from gather.labelling.decide import UNKNOWN

_COLUMNS = {
    "cell_sets": {
        "cell_set": str, "n_cells": int, "status": str, "cell_type": str, "cell_type_ontology_term_id": str,
        "confidence": float, "fdr": float, "decided_by": str, "closed": bool, "score": str, "note": str,
        "query_genes": list, "ambiguous_genes": list, "ungrounded_genes": list, "reasons": list, "reason": str,
    },
    "candidates": {
        "cell_set": str, "rank": int, "cell_type_ontology_term_id": str, "cell_type": str, "score": float, "p": float,
        "fdr": float, "confidence": float, "n_genes": int,
    },
    "standings": {"cell_set": str, "cell_type_ontology_term_id": str, "confidence": float, "fdr": float},
    "evidence": {
        "cell_set": str, "id": str, "node": str, "name": str, "category": str, "description": str, "score": float,
        "p": float, "fdr": float, "n_genes": int, "candidate": bool,
    },
    "genes": {
        "cell_set": str, "evidence": str, "gene": str, "symbol": str, "name_in_file": str, "rank": int,
        "weight": float, "contribution": float, "hops": list,
    },
    "walks": {
        "cell_set": str, "evidence": str, "walk": int, "gene": str, "nodes": list, "names": list, "weight": float,
    },
    "steps": {"cell_set": str, "evidence": str, "walk": int, "step": int, "edge": int},
    "edges": {
        "subject": str, "subject_name": str, "relation": str, "predicate": str, "object": str, "object_name": str,
        "source": str, "source_title": str, "release": str, "licence": str, "publications": list,
        "evidence_count": int, "knowledge_level": str, "agent_type": str, "sign": int, "tissues": list,
        "n_publications": int,
    },
    "contradictions": {
        "cell_set": str, "cell_type_ontology_term_id": str, "gene": str, "symbol": str, "kind": str,
        "fraction_in_set": float, "fraction_in_file": float, "edges": list,
    },
    "mixtures": {
        "cell_set": str, "curies": list, "labels": list, "share": float, "expected": float, "fdr": float,
    },
    "states": {
        "cell_set": str, "name": str, "present": bool, "p": float, "fdr": float, "fraction_in_set": float,
        "fraction_in_file": float, "genes": list,
    },
    "coverage": {
        "cell_set": str, "cell_type_ontology_term_id": str, "cell_type": str, "missing": list, "n_missing": int,
        "n_markers": int, "message": str,
    },
}  # fmt: skip
_EDGE_FIELDS = tuple(field.name for field in fields(EdgeRef))
_PART = re.compile(r"(?:[^\\|]|\\.)*", re.DOTALL)
Tables = dict[str, pd.DataFrame]
Rows = dict[str, list[tuple[Any, ...]]]


def tables(annotations: Iterable[Annotation]) -> Tables:
    """Return the frames `cell_sets`, `candidates`, `standings`, `evidence`, `genes`, `walks`, `steps`, `edges`,
    `contradictions`, `mixtures`, `states`, `coverage`.

    Lists are joined with ``|``, which stands behind a backslash within a value. Every frame has its columns and types
    even when it is empty, so that all of them survive h5ad and zarr. `annotations_of` reads them back.
    """
    rows: Rows = {name: [] for name in _COLUMNS}
    edges: dict[EdgeRef, int] = {}
    for annotation in annotations:
        _add_answer(annotation, rows, edges)
        _add_evidence(annotation, rows, edges)
    rows["edges"] = [tuple(getattr(edge, name) for name in _EDGE_FIELDS) for edge in edges]
    return {name: _frame(name, entries) for name, entries in rows.items()}


def _add_answer(a: Annotation, rows: Rows, edges: dict[EdgeRef, int]) -> None:
    s = a.cell_set
    rows["cell_sets"].append(
        (s, a.n_cells, a.status, a.label, a.curie or UNKNOWN, a.confidence, a.fdr, a.decided_by, a.closed, a.score,
         a.note, a.query_genes, a.ambiguous_genes, a.ungrounded_genes, a.reasons, a.reason)
    )  # fmt: skip
    rows["candidates"] += [
        (s, c.rank, c.curie, c.label, c.score, c.p, c.fdr, c.confidence, c.n_genes) for c in a.candidates
    ]
    rows["standings"] += [(s, t.curie, t.confidence, t.fdr) for t in a.standings]
    rows["contradictions"] += [
        (s, c.curie, c.gene, c.symbol, c.kind, c.fraction_in_set, c.fraction_in_file,
         [edges.setdefault(edge, len(edges)) for edge in c.edges])
        for c in a.contradictions
    ]  # fmt: skip
    rows["mixtures"] += [(s, *astuple(a.mixture))] if a.mixture else []
    rows["states"] += [(s, *astuple(state)) for state in a.states]
    rows["coverage"] += [
        (s, w.curie, w.label, w.missing, w.n_missing, w.n_markers, w.message) for w in a.coverage
    ]


def _add_evidence(a: Annotation, rows: Rows, edges: dict[EdgeRef, int]) -> None:
    s = a.cell_set
    items = [(item, True) for item in a.evidence] + [(item, False) for item in a.convergence]
    for e, candidate in items:
        rows["evidence"].append(
            (s, e.id, e.curie, e.name, e.category, e.description, e.score, e.p, e.fdr, e.n_genes, candidate)
        )
        rows["genes"] += [
            (s, e.id, g.curie, g.symbol, g.name_in_file, g.rank, g.weight, g.contribution, g.hops)
            for g in e.genes
        ]
        for number, walk in enumerate(e.walks, start=1):
            rows["walks"].append((s, e.id, number, walk.gene, walk.nodes, walk.names, walk.weight))
            rows["steps"] += [
                (s, e.id, number, step, edges.setdefault(edge, len(edges)))
                for step, parallel in enumerate(walk.steps, start=1)
                for edge in parallel
            ]


def _frame(name: str, rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    columns = _COLUMNS[name]
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    series: dict[str, Any] = {}
    for (column, kind), entries in zip(columns.items(), values, strict=True):
        texts = [_joined(entry) for entry in entries] if kind is list else list(entries)
        series[column] = (
            pd.Series(texts, dtype=kind)
            if kind not in (str, list)
            else pd.Series(pd.Categorical(pd.Series(texts, dtype=object)))
        )
    frame = pd.DataFrame(series)
    frame.index = frame.index.astype(str)
    return frame


def _joined(values: Iterable[Any]) -> str:
    return "|".join(str(value).replace("\\", "\\\\").replace("|", "\\|") for value in values)


def _split(text: str) -> tuple[str, ...]:
    """The values that `_joined` made one text of."""
    if "\\" not in text:
        return tuple(text.split("|")) if text else ()
    parts, start = [], 0
    while start <= len(text):
        part = _PART.match(text, start)
        assert part is not None  # the pattern matches no character at all
        parts.append(re.sub(r"\\(.)", r"\1", part.group(), flags=re.DOTALL))
        start = part.end() + 1
    return tuple(parts)


def annotations_of(kept: Mapping[str, Any]) -> tuple[Annotation, ...]:
    """Return the annotations that `tables` made frames of, from memory or as h5ad and zarr give them back.

    Raises
    ------
    KeyError
        A frame or a column is missing.
    """
    edges = [EdgeRef(**row) for row in _rows(kept, "edges")]
    by_walk: dict[tuple[str, str, int], dict[int, list[EdgeRef]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(kept, "steps"):
        by_walk[row["cell_set"], row["evidence"], row["walk"]][row["step"]].append(edges[row["edge"]])
    walks, genes = defaultdict(list), defaultdict(list)
    for row in _rows(kept, "walks"):
        steps = by_walk[row["cell_set"], row["evidence"], row["walk"]]
        parallel = tuple(tuple(steps[number]) for number in sorted(steps))
        walk = Walk(row["gene"], row["nodes"], row["names"], parallel, row["weight"])
        walks[row["cell_set"], row["evidence"]].append(walk)
    for row in _rows(kept, "genes"):
        gene = GeneSupport(
            row["gene"], row["symbol"], row["name_in_file"], row["rank"], row["weight"], row["contribution"],
            tuple(int(n) for n in row["hops"]),
        )  # fmt: skip
        genes[row["cell_set"], row["evidence"]].append(gene)
    parts: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(kept, "evidence"):
        s, number = row["cell_set"], row["id"]
        item = EvidenceItem(
            number, row["node"], row["name"], row["category"], row["description"], row["score"], row["p"], row["fdr"],
            row["n_genes"], tuple(genes[s, number]), tuple(walks[s, number]),
        )  # fmt: skip
        parts[s]["evidence" if row["candidate"] else "convergence"].append(item)
    _collect_answers(kept, edges, parts)
    return tuple(_annotation(row, parts[row["cell_set"]]) for row in _rows(kept, "cell_sets"))


def _collect_answers(
    kept: Mapping[str, Any], edges: list[EdgeRef], parts: dict[str, dict[str, list[Any]]]
) -> None:
    """File candidates, standings, contradictions and coverage warnings under their cell set."""
    curie = "cell_type_ontology_term_id"
    for row in _rows(kept, "candidates"):
        figures = (row[name] for name in ("score", "p", "fdr", "confidence", "n_genes"))
        parts[row["cell_set"]]["candidates"].append(
            Candidate(row["rank"], row[curie], row["cell_type"], *figures)
        )
    for row in _rows(kept, "standings"):
        parts[row["cell_set"]]["standings"].append(Standing(row[curie], row["confidence"], row["fdr"]))
    for row in _rows(kept, "contradictions"):
        gene = (
            row[curie],
            row["gene"],
            row["symbol"],
            row["kind"],
            row["fraction_in_set"],
            row["fraction_in_file"],
        )
        parts[row["cell_set"]]["contradictions"].append(
            Contradiction(*gene, tuple(edges[int(n)] for n in row["edges"]))
        )
    for name, table, part in (("mixture", "mixtures", Mixture), ("states", "states", State)):
        for row in _rows(kept, table):
            cell_set = row.pop("cell_set")
            parts[cell_set][name].append(part(**row))
    for row in _rows(kept, "coverage"):
        marker = (row["missing"], row["n_missing"], row["n_markers"], row["message"])
        parts[row["cell_set"]]["coverage"].append(CoverageWarning(row[curie], row["cell_type"], *marker))


def _annotation(row: dict[str, Any], parts: dict[str, list[Any]]) -> Annotation:
    same = ("cell_set", "n_cells", "status", "confidence", "fdr", "decided_by", "closed", "score", "note",
            "query_genes", "ambiguous_genes", "ungrounded_genes", "reasons", "reason")  # fmt: skip
    curie = row["cell_type_ontology_term_id"]
    mixture = parts.pop("mixture", [None])[0]
    lists: dict[str, Any] = {name: tuple(entries) for name, entries in parts.items()}
    return Annotation(
        label=row["cell_type"],
        curie="" if curie == UNKNOWN else curie,
        mixture=mixture,
        **{name: row[name] for name in same},
        **lists,
    )


def _rows(kept: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The rows of a frame, each value of its own type."""
    columns = _COLUMNS[name]
    values = []
    for column, kind in columns.items():
        entries = kept[name][column].tolist()
        values.append([_split(str(v)) if kind is list else kind(v) for v in entries])
    for row in zip(*values, strict=True):
        yield dict(zip(columns, row, strict=True))


def html_table(title: str, frame: pd.DataFrame) -> str:
    """Return a titled table as HTML; every text is escaped."""
    table = frame.to_html(escape=True, border=0, float_format=lambda value: f"{value:.2g}")
    return f"<p>{escape(title)}</p>{table}"
