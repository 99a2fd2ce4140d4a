"""The annotation report: one HTML file with the embedding, every cell set, and its evidence down to
publications.

The page is made by `vckg.pages`: it fetches nothing and shows hostile labels as text. The table of cell
sets is plain HTML and readable without a script; embedding, evidence and drawings are made by
``templates/report.js`` from the JSON blocks written here, each cell set's block only when it is opened.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gather.evidence import Annotation, Contradiction, EdgeRef, EvidenceItem, Status, Walk
from vckg import pages
from vckg.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

TEMPLATES = Path(__file__).parent / "templates"
MOST_POINTS = 40_000
MOST_SETS = 2_000
_BASES = ("X_umap", "X_tsne", "X_draw_graph_fa", "X_diffmap", "X_pca")
_TONES: dict[Status, str] = {"named": "good", "backed_off": "info", "unknown": "warn", "ungrounded": "bad"}
_STATUS = {
    "named": "named",
    "backed_off": "backed off",
    "unknown": "unknown",
    "ungrounded": "ungrounded",
}

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Embedding:
    """Where each cell lies, and in which cell set.

    Attributes
    ----------
    name
        As the file calls it, e.g. ``X_umap``.
    coordinates
        float32[cells, 2].
    cell_set
        Position in the annotations, int32[cells]; -1 for a cell in none of them.
    """

    name: str
    coordinates: npt.NDArray[np.float32]
    cell_set: npt.NDArray[np.int32]


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


def embedding_of(
    adata: AnnData, cell_set: npt.NDArray[np.int32], basis: str | None = None
) -> Embedding | None:
    """Return an embedding of a file: the named one, else UMAP, t-SNE and so on, else None.

    Raises
    ------
    InputError
        The named one is not there or has fewer than two columns.
    """
    names = [basis] if basis else [name for name in _BASES if name in adata.obsm]
    if not names:
        return None
    name = names[0]
    if name not in adata.obsm:
        raise InputError(f"no obsm[{name!r}]; this file has {sorted(adata.obsm)}")
    coordinates = np.asarray(adata.obsm[name])
    if coordinates.ndim != 2 or coordinates.shape[1] < 2:
        raise InputError(f"obsm[{name!r}] has shape {coordinates.shape}; two columns are wanted")
    return Embedding(name, coordinates[:, :2].astype(np.float32), np.asarray(cell_set, np.int32))


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
    detail: Detail | None = None,
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

    Raises
    ------
    InputError
        The embedding does not fit the annotations.
    """
    shown = list(annotations[:MOST_SETS])
    words = _Words()
    limits = detail or Detail.for_sets(len(shown))
    sets = {f"set-{at}": _set_block(a, limits, words) for at, a in enumerate(shown)}
    labels = _labels(annotations)
    html = pages.render(
        TEMPLATES / "report.html.j2",
        title=title,
        styles=[TEMPLATES / "report.css"],
        scripts=[TEMPLATES / name for name in ("embedding.js", "convergence.js", "report.js")],
        data={
            "report": {
                "labels": [{"label": label, "cells": n} for label, n in labels.items()],
                "sets": len(shown),
                "embedding": _embedding_block(embedding, annotations, list(labels)),
            },
            **sets,
            "words": words.list,
        },
        rows=[_row(at, a) for at, a in enumerate(shown)],
        n_sets=len(annotations),
        n_cells=sum(a.n_cells for a in annotations),
        statuses=[(_STATUS[s], _TONES[s], n) for s, n in _statuses(annotations).items()],
        embedding=_embedding_words(embedding),
        graph=_graph_words(graph),
        parameters={str(k): str(v) for k, v in (parameters or {}).items()},
        versions={str(k): str(v) for k, v in (versions or {}).items()},
        model={str(k): str(v) for k, v in (model or {}).items()},
    )
    path = Path(path)
    pages.write(path, html)
    return path


# --- the table ---------------------------------------------------------------------------------------------


def _statuses(annotations: Sequence[Annotation]) -> dict[Status, int]:
    counts = Counter(a.status for a in annotations)
    return {status: counts[status] for status in _TONES if counts[status]}


def _row(at: int, a: Annotation) -> dict[str, Any]:
    remarks = [f"{n} {word}{'' if n == 1 else 's'}" for n, word in _remarks(a) if n]
    return {
        "at": at,
        "cell_set": a.cell_set or "(no name)",
        "label": a.label,
        "curie": a.curie,
        "status": _STATUS[a.status],
        "tone": _TONES[a.status],
        "confidence": _finite(a.confidence),
        "fdr": _finite(a.fdr),
        "fdr_text": f"{a.fdr:.1e}" if _finite(a.fdr) is not None else "",
        "cells": a.n_cells,
        "remarks": remarks,
        "by": {"llm": "model", "fallback": "model gave no answer"}.get(a.decided_by, ""),
    }


def _remarks(a: Annotation) -> list[tuple[int, str]]:
    return [(len(a.coverage), "coverage warning"), (len(a.contradictions), "contradiction")]


def _labels(annotations: Sequence[Annotation]) -> dict[str, int]:
    """Labels with their numbers of cells, the most frequent first, ties by name."""
    counts: Counter[str] = Counter()
    for a in annotations:
        counts[a.label] += a.n_cells
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


# --- the embedding ----------------------------------------


def _embedding_block(
    embedding: Embedding | None, annotations: Sequence[Annotation], labels: Sequence[str]
) -> dict[str, Any] | None:
    """Points as base64 of little-endian numbers: uint16 x, uint16 y, int32 cell set, uint16 label, uint8."""
    if embedding is None:
        return None
    _check(embedding, len(annotations))
    at = sample_points(embedding)
    xy, sets = embedding.coordinates[at], embedding.cell_set[at]
    low, high = (xy.min(axis=0), xy.max(axis=0)) if len(xy) else (np.zeros(2), np.ones(2))
    span = max(float((high - low).max()), 1e-9)  # one scale for both axes: distances keep their meaning
    scaled = np.round((xy - (low + high) / 2) / span * 65_535 + 32_767.5).clip(0, 65_535)
    position = {label: i for i, label in enumerate(labels)}
    label_of = np.array([position[a.label] for a in annotations] + [65_535], np.uint16)
    confidence = [a.confidence if np.isfinite(a.confidence) else 0.0 for a in annotations] + [0.0]
    return {
        "name": embedding.name,
        "points": len(at),
        "xy": _base64(scaled.astype("<u2")),
        "set": _base64(np.where(sets < MOST_SETS, sets, -1).astype("<i4")),
        "label": _base64(label_of[sets].astype("<u2")),
        "confidence": _base64(np.round(np.clip(confidence, 0, 1) * np.float64(255)).astype("u1")[sets]),
    }


def sample_points(embedding: Embedding, *, most: int = MOST_POINTS, seed: int = 0) -> npt.NDArray[np.intp]:
    """Return which cells are drawn, ascending: all, or a sample that keeps every cell set.

    Each set gets its share of `most`, and at least 20 of its cells; the choice depends on `seed` only.
    Cells without finite coordinates are left out.
    """
    fine = np.flatnonzero(np.isfinite(embedding.coordinates).all(axis=1))
    if len(fine) <= most:
        return fine
    rng = np.random.default_rng(seed)
    order = rng.permutation(fine)
    sets = embedding.cell_set[order]
    by_set = np.argsort(sets, kind="stable")
    _, start, size = np.unique(sets[by_set], return_index=True, return_counts=True)
    wanted = np.minimum(size, np.maximum(20, size * most // len(fine)))
    kept = np.concatenate([by_set[s : s + n] for s, n in zip(start, wanted, strict=True)])
    return np.sort(order[kept])


def _check(embedding: Embedding, n_sets: int) -> None:
    n = len(embedding.coordinates)
    if embedding.coordinates.shape != (n, 2) or embedding.cell_set.shape != (n,):
        raise InputError(
            f"embedding {embedding.name}: coordinates {embedding.coordinates.shape} and cell sets "
            f"{embedding.cell_set.shape} do not belong together; wanted [cells, 2] and [cells]"
        )
    if n and not -1 <= embedding.cell_set.min() <= embedding.cell_set.max() < n_sets:
        raise InputError(f"embedding {embedding.name}: a cell is in a set that has no annotation")


def _embedding_words(embedding: Embedding | None) -> dict[str, Any] | None:
    if embedding is None:
        return None
    n, drawn = len(embedding.coordinates), len(sample_points(embedding))
    lost = n - int(np.isfinite(embedding.coordinates).all(axis=1).sum())
    return {"name": embedding.name.removeprefix("X_"), "cells": n, "drawn": drawn, "lost": lost}


def _base64(array: Array) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


# --- the evidence of one cell set ----------------------------------------


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
        "curie": a.curie,
        "confidence": _finite(a.confidence),
        "fdr": _finite(a.fdr),
        "by": a.decided_by,
        "reasons": list(a.reasons),
        "note": a.note,
        "closed": a.closed,
        "score": a.score,
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
        words(edge.source_title or edge.source),
        words(edge.release),
        words(edge.licence),
        words(edge.knowledge_level),
        edge.evidence_count,
        edge.sign,
        list(edge.publications[: limits.publications]),
        len(edge.publications),
        [words(tissue) for tissue in edge.tissues[:3]],
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


# --- provenance ----------------------------------------


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
