"""Export to the Cell Annotation Standard (CAS): labels with their evidence, as one JSON file.

Source: https://github.com/cellannotation/cell-annotation-schema, release 1.1.0, general and CAP schemas. Its type
``Review`` requires a field ``verdict`` and allows none of that name, so reviews go into a label set of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from gather.annotation import Annotation, EvidenceItem
from gather.labelling.decide import UNKNOWN
from gather.labelling.plain_words import certainty, direct_genes, objections, speaking, status_reason
from gather.review.annotated import REVIEWED, Annotated
from gather.review.decisions import Event, standing

SCHEMA_VERSION = "1.1.0"
REPOSITORY = "https://github.com/vckg/vckg"
MOST_RATIONALE, MOST_TITLE = 2000, 200
"""Limits of the standard, in characters."""
NO_ANNOTATION = "NA"
"""The standard's word for cells without an annotation."""
GENES, PAPERS = 12, 3
"""So many genes of a rationale, and publications of each."""


def to_cas(annotated: Annotated, *, author: str = "", title: str = "", url: str = "") -> dict[str, Any]:
    """Return the annotations of a file as a CAS document.

    One label set holds our labels, a second one the reviewed labels where there are any. Each has one annotation a
    cell set, and one for the cells in none. Publications without a DOI stand as PMIDs in the rationale.

    Parameters
    ----------
    author
        First and last name; by default the latest reviewer, else ``not stated``.
    title
        By default that of the file, else its name.
    url
        Where the annotations are published; the CAP schema asks for it and accepts an empty one.
    """
    reviewers = [event.reviewer for event in annotated.history]
    decided = standing(annotated.history)
    key = annotated.key
    cells = np.array([*annotated.cells], dtype=object)
    ours, reviewed = f"{key}_cell_type", f"{key}_{REVIEWED[0]}"
    annotations = []
    for index, annotation in enumerate(annotated.annotations):
        ids = cells[annotated.cell_set == index].tolist()
        annotations.append({"labelset": ours, **_ours(annotation, annotated), "cell_ids": ids})
        if decided:
            event = decided.get(annotation.cell_set)
            annotations.append({"labelset": reviewed, **_reviewed(annotation, event), "cell_ids": ids})
    rest = cells[annotated.cell_set < 0].tolist()
    for labelset, label in ((ours, UNKNOWN), (reviewed, NO_ANNOTATION))[: 2 if decided else 1]:
        if rest:
            reason = "These cells are in no cell set, or without expression."
            annotations.append(
                {"labelset": labelset, **_label(label, ""), "rationale": reason, "cell_ids": rest}
            )
    return {
        "title": (title or annotated.title or annotated.path.stem)[:MOST_TITLE],
        "description": f"Cell types by GATHER from graph {annotated.graph}; evidence as genes and publications.",
        "author_name": author or (reviewers[-1] if reviewers else "not stated"),
        "cellannotation_schema_version": SCHEMA_VERSION,
        "cellannotation_timestamp": _moment(annotated),
        "cellannotation_version": f"1.{len(annotated.history)}.0",
        "cellannotation_url": url,
        "labelsets": list(_labelsets(annotated, ours, reviewed if decided else "")),
        "annotations": annotations,
    }


def _moment(annotated: Annotated) -> str:
    """The latest decision, else when the file was written; a later export of one file says the same."""
    if annotated.history:
        return max(event.date for event in annotated.history)
    written = datetime.fromtimestamp(int(annotated.path.stat().st_mtime), UTC)
    return written.isoformat().replace("+00:00", "Z")


def _labelsets(annotated: Annotated, ours: str, reviewed: str) -> Iterator[dict[str, Any]]:
    yield {
        "name": ours,
        "description": "Cell types from marker genes in a knowledge graph, one label a cell set",
        "annotation_method": "algorithmic",
        "automated_annotation": {
            "algorithm_name": "GATHER",
            "algorithm_version": annotated.versions.get("vckg", "not stated"),
            "algorithm_repo_url": REPOSITORY,
            "reference_location": "",  # no labels are transferred; cas-tools 1.1.8 opens no file without the field
        },
    }
    if reviewed:
        yield {
            "name": reviewed,
            "description": f"Labels of {ours} after review; NA where a cell set was not reviewed",
            "annotation_method": "both",
        }


def _label(label: str, curie: str) -> dict[str, Any]:
    named = {"cell_label": label, "cell_fullname": label}
    if not curie:
        return named
    return named | {"cell_ontology_term_id": curie, "cell_ontology_term": label, "cell_ontology_exists": True}


def _ours(a: Annotation, annotated: Annotated) -> dict[str, Any]:
    item = a.item(a.curie) if a.curie else None
    head = f"{status_reason(a)}; confidence {a.confidence:.2f} ({certainty(a)}), FDR {a.fdr:.1g}."
    fields = {
        "cell_set": a.cell_set,
        "status": a.status,
        "confidence": f"{a.confidence:.6g}",
        "fdr": f"{a.fdr:.6g}",
        "graph": annotated.graph,
    }
    sentences = [
        head,
        *_evidence(item),
        *([f"Against: {'; '.join(objections(a))}."] if objections(a) else []),
    ]
    return _label(a.label, a.curie) | _genes(a, item) | {
        "rationale": _cut(sentences),
        "rationale_dois": _dois(item),
        "author_annotation_fields": fields,
    }  # fmt: skip


def _reviewed(a: Annotation, event: Event | None) -> dict[str, Any]:
    if event is None:
        return _label(NO_ANNOTATION, "") | {
            "author_annotation_fields": {"cell_set": a.cell_set, "review": "open"}
        }
    item = a.item(event.curie) if event.curie else None
    verb = "accepts" if event.action == "accept" else f"chooses, in place of {a.label},"
    said = f"{event.reviewer} {verb} {event.label} ({event.date[:10]})."
    fields = {"cell_set": a.cell_set, "review": event.action, "reviewer": event.reviewer, "date": event.date}
    return _label(event.label, event.curie) | _genes(a, item, event.curie) | {
        "rationale": _cut([said, *([event.reason] if event.reason else []), *_evidence(item)]),
        "rationale_dois": _dois(item),
        "author_annotation_fields": fields,
    }  # fmt: skip


def _genes(a: Annotation, item: EvidenceItem | None, curie: str | None = None) -> dict[str, Any]:
    """Genes of the file that speak for the type, and markers of it: the best of those, absent and unmeasured ones."""
    type_id = a.curie if curie is None else curie
    direct = speaking(direct_genes(item)) if item else []
    absent = [c.symbol for c in a.contradictions if c.curie == type_id and c.kind == "expected_absent"]
    unmeasured = [gene for warning in a.coverage if warning.curie == type_id for gene in warning.missing]
    canonical = dict.fromkeys([*(gene.symbol for gene in direct[:GENES]), *absent, *unmeasured])
    return {
        "marker_gene_evidence": list(dict.fromkeys(gene.name_in_file for gene in direct)),
        "canonical_marker_genes": list(canonical),
    }


def _evidence(item: EvidenceItem | None) -> Iterator[str]:
    """Name the direct genes, each with the sources and publications of its edges."""
    if item is None:
        return
    steps = {walk.gene: walk.steps[0] for walk in item.walks if walk.hops == 1}
    for gene in direct_genes(item)[:GENES]:
        edges = steps.get(gene.curie, ())
        sources = list(dict.fromkeys(f"{e.source_title} ({e.licence})" for e in edges))
        papers = list(dict.fromkeys(p for e in edges for p in e.publications))[:PAPERS]
        words = "; ".join([*sources[:PAPERS], *papers])
        yield f"{gene.symbol}: {words}." if words else f"{gene.symbol}."


def _publications(item: EvidenceItem | None) -> Iterable[str]:
    walks = item.walks if item else ()
    return (p for walk in walks if walk.hops == 1 for edge in walk.steps[0] for p in edge.publications)


def _dois(item: EvidenceItem | None) -> list[str]:
    """The publications that the graph knows by DOI."""
    return list(dict.fromkeys(p[4:] for p in _publications(item) if p.lower().startswith("doi:")))


def _cut(sentences: Sequence[str]) -> str:
    """Join whole sentences as long as the standard's limit holds; cut a first one that is too long."""
    text = sentences[0][:MOST_RATIONALE]
    for sentence in sentences[1:]:
        if len(text) + 1 + len(sentence) > MOST_RATIONALE:
            break
        text += f" {sentence}"
    return text
