"""The page of a check: one HTML file with the review queue, all labels with their evidence, and the mapping.

Everything is plain HTML, readable without a script; `vckg.base.html` makes it fetch nothing and shows labels as text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gather.checking.opinion import CheckResult, LabelCheck, LabelRelation, Reason, SetCheck
from gather.checking.queue import LEAST_SHARE
from gather.checking.terminal import against, for_it, meaning
from vckg.base import html as pages
from vckg.base.atomic import write_text

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_GENES, SHOWN_WALKS, SHOWN_EDGES, SHOWN_PUBLICATIONS = 12, 3, 2, 3
MOST_DETAILS = 500
"""Cell sets whose evidence the page holds."""
_TONES: dict[LabelRelation, str] = {
    "same": "good",
    "finer": "info",
    "coarser": "info",
    "related": "warn",
    "conflict": "bad",
    "no answer": "",
    "not grounded": "warn",
}
_REASONS: dict[Reason, str] = {
    "conflict": "another lineage than our answer",
    "weak conflict": "another lineage than our answer, but genes speak for both",
    "other kind": "the same lineage, neither above nor below our answer",
    "too fine": "below our answer, and the evidence does not reach that far",
    "not supported": "little evidence for the label, and we have no answer",
    "mixed": f"fewer than {LEAST_SHARE:.0%} of the set's cells have this label",
    "not grounded": "the label has no term of the Cell Ontology, so that it cannot be weighed",
    "few cells": "doubtful, but the set has too few cells to tell",
}


def write_page(found: CheckResult, path: Path | str, *, title: str) -> Path:
    """Write the page and return its path."""
    path = Path(path)
    write_text(path, page_html(found, title=title))
    return path


def page_html(found: CheckResult, *, title: str) -> str:
    """Return the page as text."""
    place = {one.cell_set: i for i, one in enumerate(found.sets)}
    answers = {one.cell_set: one.answer for one in found.sets}
    rows = [
        {
            "check": check,
            "place": place[check.cell_set],
            "answer": answers[check.cell_set],
            "meaning": meaning(check),
            "against": against(check),
            "for_it": for_it(check),
        }
        for check in found.queue
    ]
    return pages.render(
        TEMPLATES / "check.html.j2",
        title=title,
        found=found,
        rows=rows,
        reasons={r: words for r, words in _REASONS.items() if any(r in c.reasons for c in found.queue)},
        n_cells=sum(one.n_cells for one in found.sets),
        several=len(found.columns) > 1,
        sets=[_set_words(i, one) for i, one in enumerate(found.sets[:MOST_DETAILS])],
        parameters={str(k): _words(v) for k, v in found.parameters.items()},
    )


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v:g}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _set_words(place: int, one: SetCheck) -> dict[str, Any]:
    labels = [
        {"check": check, "meaning": meaning(check), "tone": _TONES[check.relation], "walks": _walks(check)}
        for check in one.labels
    ]
    return {"place": place, "one": one, "labels": labels}


def _walks(check: LabelCheck) -> list[dict[str, Any]]:
    """The best walks in words, each step's best edges with source, release, licence and publications."""
    if check.evidence is None:
        return []
    return [
        {
            "names": walk.names,
            "edges": [
                {
                    "source": edge.cited_source,
                    "licence": edge.licence,
                    "publications": edge.publications[:SHOWN_PUBLICATIONS],
                }
                for step in walk.steps
                for edge in step[:SHOWN_EDGES]
            ],
        }
        for walk in check.evidence.walks[:SHOWN_WALKS]
    ]
