"""The annotation report: one HTML file with the embedding, every cell set, and its evidence down to
publications.

The page is made by `vckg.base.html`: it fetches nothing and shows hostile labels as text. The table of cell
sets is plain HTML and readable without a script; embedding, evidence and drawings are made by
``templates/report.js`` from the JSON blocks written here, each cell set's block only when it is opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gather.annotation import Annotation, Contradiction, EdgeRef, EvidenceItem, Status, Walk
from gather.labelling.plain_words import answer, best_genes, objections, status_reason
from gather.report.embedding import Embedding, embedding_block, embedding_of, embedding_words, sample_points
from vckg.base import html as pages
from vckg.base.atomic import write_text

TEMPLATES = Path(__file__).parent / "templates"
MOST_SETS = 2_000
REASONS, MORE_REASONS = 5, 8
"""Genes named next to a label in the table, and above its evidence."""
FIRST_LOOK, DOUBTFUL = 3, 0.9
"""So many sets of a lower confidence than this are named above the table."""
_TONES: dict[Status, str] = {
    "named": "good", "backed_off": "info", "mixed": "warn", "unknown": "warn", "ungrounded": "bad",
}  # fmt: skip
_BY = {"llm": "model", "fallback": "retrieval, not the model"}
_STATUS = {status: status.replace("_", " ") for status in _TONES}


@dataclass(frozen=True, slots=True)
class Detail:
    """How much evidence the page carries for each cell set; the rest stays in the annotated file."""

    candidates: int = 8
    nodes: int = 15
    genes: int = 20
    walks: int = 5
    edges: int = 6
    publications: int = 6

    @classmethod
    def for_sets(cls, n: int) -> Detail:
        """Return less the more cell sets there are, so that a thousand make a page of some 20 MB."""
        return cls() if n <= 200 else cls(candidates=4, nodes=4, genes=12, walks=2, edges=3, publications=3)


def write_report(
    annotations: Sequence[Annotation],
    path: Path | str,
    *,
    title: str,
    graph: Mapping[str, Any],
    embedding: Embedding | None = None,
    parameters: Mapping[str, object] | None = None,
    versions: Mapping[str, str] | None = None,
    model: Mapping[str, object] | None = None,
    review: Mapping[str, object] | None = None,
) -> Path:
    """Write the page and return its path.

    Parameters
    ----------
    title
        Usually the name of the annotated file.
    graph
        The manifest of the graph (`vckg.Graph.manifest`): its hash and its sources.
    embedding
        More than 40,000 cells are cut to a sample that keeps every cell set.
    parameters, versions
        How the annotations were made; shown as they are.
    model
        What an LLM run took: name, prompts, calls, tokens, fallbacks.
    review
        The block of `gather.report.review_block.review_block`; without it the page only shows.

    Raises
    ------
    InputError
        The embedding does not fit the annotations.
    """
    shown = list(annotations[:MOST_SETS])
    words = _Words()
    limits = Detail.for_sets(len(shown))
    sets = {f"set-{at}": _set_block(a, limits, words) for at, a in enumerate(shown)}
    labels = _labels(annotations)
    position = {label: at for at, label in enumerate(labels)}
    label_at = [position[_kind(a)] for a in annotations]
    html = pages.render(
        TEMPLATES / "report.html.j2",
        title=title,
        styles=[TEMPLATES / "report.css", TEMPLATES / "review.css"],
        scripts=[TEMPLATES / f"{name}.js" for name in ("embedding", "convergence", "review", "report")],
        data={
            "report": {
                "labels": [{"label": label, "cells": n} for label, n in labels.items()],
                "sets": len(shown),
                "embedding": embedding_block(embedding, annotations, label_at, most_sets=MOST_SETS),
            },
            **sets,
            "words": words.list,
            **({"review-data": review} if review is not None else {}),
        },
        review=review is not None,
        rows=[_row(at, a, label_at[at]) for at, a in enumerate(shown)],
        doubtful=_doubtful(shown),
        n_sets=len(annotations),
        n_cells=sum(a.n_cells for a in annotations),
        statuses=[(_STATUS[s], _TONES[s], n) for s, n in _statuses(annotations).items()],
        embedding=embedding_words(embedding),
        graph=_graph_words(graph),
        parameters={k: str(v) for k, v in (parameters or {}).items() if v not in ("", -1, (), None)},
        versions={str(k): str(v) for k, v in (versions or {}).items()},
        model={str(k): str(v) for k, v in (model or {}).items()},
    )
    path = Path(path)
    write_text(path, html)
    return path


# --- the table ---


def _statuses(annotations: Sequence[Annotation]) -> dict[Status, int]:
    counts = Counter(a.status for a in annotations)
    return {status: counts[status] for status in _TONES if counts[status]}


def _row(at: int, a: Annotation, label_at: int) -> dict[str, Any]:
    remarks = objections(a)
    remarks += [_BY[a.decided_by]] if a.decided_by in _BY else []
    remarks += [state.name for state in a.states if state.present]
    remarks += [answer(a)] if a.closed and not a.curie and not a.mixture else []
    remarks += [status_reason(a)] if a.status != "named" else []
    return {
        "at": at,
        "cell_set": a.cell_set or "(no name)",
        "label": _shown(a),
        "label_at": label_at,
        "because": [g.symbol + " (disputed)" * g.disputed for g in best_genes(a, REASONS) if a.curie],
        "curie": a.curie,
        "status": _STATUS[a.status],
        "tone": _TONES[a.status],
        "confidence": _finite(a.confidence) if a.curie else None,
        "fdr": _finite(a.fdr),
        "fdr_text": f"{a.fdr:.1e}" if _finite(a.fdr) is not None else "",
        "cells": a.n_cells,
        "remarks": remarks,
    }


def _doubtful(annotations: Sequence[Annotation]) -> list[dict[str, Any]]:
    """The cell sets to look at first: of those that are not sure, the ones with most cells in doubt.

    These are the cells times one minus the confidence, so that a set of two cells comes last.
    """
    sure = [float(np.nan_to_num(a.confidence)) if a.curie else 0.0 for a in annotations]
    low = [at for at, confidence in enumerate(sure) if confidence < DOUBTFUL]
    low.sort(key=lambda at: -annotations[at].n_cells * (1 - sure[at]))
    return [
        {
            "at": at,
            "cell_set": annotations[at].cell_set or "(no name)",
            "confidence": _finite(annotations[at].confidence) if annotations[at].curie else None,
            "status": _STATUS[annotations[at].status],
        }
        for at in low[:FIRST_LOOK]
    ]


def _shown(a: Annotation) -> str:
    """The label, or both names of a mixed set."""
    return answer(a) if a.mixture else a.label


def _kind(a: Annotation) -> str:
    """What the legend calls a set: its label, or ``mixed``."""
    return "mixed" if a.mixture else a.label


def _labels(annotations: Sequence[Annotation]) -> dict[str, int]:
    """Labels with their numbers of cells, the most frequent first, ties by name."""
    counts: Counter[str] = Counter()
    for a in annotations:
        counts[_kind(a)] += a.n_cells
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


# --- the evidence of one cell set ---


class _Words:
    """Texts that recur (names, sources, licences) are written once and referred to by position."""

    def __init__(self) -> None:
        self.list: list[str] = []
        self._position: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        at = self._position.setdefault(text, len(self.list))
        if at == len(self.list):
            self.list.append(text)
        return at


def _set_block(a: Annotation, limits: Detail, words: _Words) -> dict[str, Any]:
    return {
        "cell_set": a.cell_set,
        "cells": a.n_cells,
        "status": _STATUS[a.status],
        "tone": _TONES[a.status],
        "label": a.label,
        "answer": _shown(a),
        "why": status_reason(a) if a.status != "named" else "",
        "curie": a.curie,
        "confidence": _finite(a.confidence) if a.curie else None,
        "fdr": _finite(a.fdr),
        "by": a.decided_by,
        "reasons": list(a.reasons),
        "because": [[words(g.symbol), _finite(g.share), str(g)] for g in best_genes(a, MORE_REASONS)],
        "note": a.note,
        "closed": a.closed,
        "candidates": [
            [c.curie, words(c.label), *map(_finite, (c.score, c.p, c.fdr, c.confidence)), c.n_genes]
            for c in a.candidates
        ],
        "evidence": [_item(item, limits, words) for item in a.evidence[: limits.candidates]],
        "convergence": [_item(item, limits, words) for item in a.convergence[: limits.nodes]],
        "more": [
            max(len(a.evidence) - limits.candidates, 0),
            max(len(a.convergence) - limits.nodes, 0),
        ],
        "contradictions": [_contradiction(c, limits, words) for c in a.contradictions],
        "coverage": [[words(c.label), c.curie, c.message, list(c.missing), c.n_missing] for c in a.coverage],
        "genes": list(a.query_genes),
        "ambiguous": list(a.ambiguous_genes),
        "ungrounded": list(a.ungrounded_genes),
    }


def _item(item: EvidenceItem, limits: Detail, words: _Words) -> dict[str, Any]:
    return {
        "id": item.id,
        "curie": item.curie,
        "name": words(item.name),
        "category": words(item.category),
        "about": words(item.description),
        "score": _finite(item.score),
        "p": _finite(item.p),
        "fdr": _finite(item.fdr),
        "n": item.n_genes,
        "genes": [
            [g.curie, words(g.symbol), g.rank, _finite(g.weight), _finite(g.contribution), list(g.hops)]
            for g in item.genes[: limits.genes]
        ],
        "walks": [_walk(walk, limits, words) for walk in item.walks[: limits.walks]],
    }


def _walk(walk: Walk, limits: Detail, words: _Words) -> list[Any]:
    return [
        [[curie, words(name)] for curie, name in zip(walk.nodes, walk.names, strict=True)],
        [
            [[_edge(edge, limits, words) for edge in step[: limits.edges]], max(len(step) - limits.edges, 0)]
            for step in walk.steps
        ],
        _finite(walk.weight),
    ]


def _edge(edge: EdgeRef, limits: Detail, words: _Words) -> list[Any]:
    return [
        edge.subject,
        words(edge.relation),
        words(edge.predicate),
        words(edge.cited_source),
        words(edge.licence),
        words(edge.knowledge_level),
        edge.evidence_count,
        edge.sign,
        list(edge.publications[: limits.publications]),
        len(edge.publications),
        [words(tissue) for tissue in edge.tissues[:3]],
        words(edge.orthologue),
    ]


def _contradiction(c: Contradiction, limits: Detail, words: _Words) -> list[Any]:
    edges = [_edge(edge, limits, words) for edge in c.edges[: limits.edges]]
    return [
        words(c.symbol),
        c.gene,
        c.kind,
        _finite(c.fraction_in_set),
        _finite(c.fraction_in_file),
        edges,
    ]


def _finite(value: float) -> float | None:
    """JSON has no word for NaN and infinity; four digits are what a page shows."""
    return float(f"{value:.4g}") if np.isfinite(value) else None


# --- provenance ---


def _graph_words(manifest: Mapping[str, Any]) -> dict[str, Any]:
    sources = manifest.get("sources", {})
    return {
        "hash": str(manifest.get("content_hash", "")),
        "nodes": manifest.get("nodes"),
        "edges": manifest.get("edges"),
        "sources": [
            {
                "name": name,
                "title": str(said.get("title") or name),
                "release": str(said.get("release") or ""),
                "licence": str(said.get("licence") or ""),
                "citation": str(said.get("citation") or ""),
                "homepage": str(said.get("homepage") or ""),
                "redistribute": said.get("redistribute"),
                "kept": said.get("kept"),
            }
            for name, said in sorted(sources.items())
        ],
    }


__all__ = ["Detail", "Embedding", "embedding_of", "sample_points", "write_report"]
