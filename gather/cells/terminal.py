"""What a terminal shows of answers: a table of cell sets, or what all single cells come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from vckg.base.console import err, out
from vckg.base.words import counted

if TYPE_CHECKING:
    from gather.annotation import Annotation
    from gather.cells.adata import Outcome

MOST = 10
"""Labels of single cells that are shown."""
MOST_REFUSED = 3
"""Candidates that chance refused most often, which are named."""
MOST_UNKNOWN = 2 / 3
"""Share of cells without an answer above which clusters are recommended."""


def print_outcome(outcome: Outcome, key: str) -> None:
    """Print the table of cell sets, or the counts of single cells."""
    if outcome.annotations:
        print_annotations(outcome.annotations)
    elif f"{key}_status" in outcome.columns:
        for line in in_words(cell_counts(outcome.columns, key), key):
            err().print(line, soft_wrap=True)


def as_dicts(outcome: Outcome, key: str) -> list[dict[str, Any]]:
    """Return one dict a cell set, or one with the counts of all single cells."""
    if outcome.annotations or f"{key}_status" not in outcome.columns:
        return [annotation.to_dict() for annotation in outcome.annotations]
    return [cell_counts(outcome.columns, key)]


def print_annotations(annotations: Sequence[Annotation]) -> None:
    """Print one row a cell set: label, certainty, the genes that speak for it, what speaks against, the status."""
    from rich.markup import escape
    from rich.table import Table

    from gather.labelling.plain_words import answer, best_evidence, certainty, objections, status_reason

    table = Table(title=None, show_lines=False)
    table.add_column("cell set")
    of_cells = any(a.n_cells > 1 for a in annotations)  # else tables of markers or mean profiles
    if of_cells:
        table.add_column("cells", justify="right")
    table.add_column("label", overflow="fold")
    table.add_column("certainty", no_wrap=True)
    for name in ("best evidence", "against", "status"):
        table.add_column(name, overflow="fold")
    for a in annotations:
        sure = f"{certainty(a)} {a.confidence:.2f}" if a.curie else "-"
        words = (
            a.cell_set,
            *([f"{a.n_cells:,}"] if of_cells else []),
            answer(a),
            sure,
            "; ".join(best_evidence(a)),
            "; ".join(objections(a)),
            "; ".join([status_reason(a), *(s.name for s in a.states if s.present)]),
        )
        table.add_row(*(escape(word) for word in words))
    console = out()
    console.width = max(console.width, 140)
    console.print(table)


def cell_counts(columns: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return how many cells have each status, reason of no answer, label, and candidate that chance refused.

    The commonest comes first.

    Parameters
    ----------
    columns
        Of ``obs``, as `gather.cells.cell_answers.obs_of` makes them, each name behind `key` and ``_``.
    """
    status = pd.Series(columns[f"{key}_status"]).astype(str)
    answered = status.isin(("named", "backed_off")).to_numpy()
    reason = pd.Series(columns[f"{key}_reason"]).astype(str)
    found = {
        "status": status,
        "reason": reason[~answered],
        "cell_type": pd.Series(columns[f"{key}_cell_type"]).astype(str)[answered],
        "refused": pd.Series(columns[f"{key}_best_cell_type"]).astype(str)[
            ~answered & (reason == "chance").to_numpy()
        ],
    }
    counts = {
        name: {str(k): int(n) for k, n in values.value_counts().items()} for name, values in found.items()
    }
    return {"cells": len(status), **counts}


def in_words(counts: Mapping[str, Any], key: str) -> Iterator[str]:
    """Yield the lines that a terminal shows."""
    told = [f"{n:,} {status.replace('_', ' ')}" for status, n in counts["status"].items()]
    yield f"{counted(counts['cells'], 'cell')}: {', '.join(told)}"
    if counts["reason"]:
        why = ", ".join(f"{reason.replace('_', ' ')} {n:,}" for reason, n in counts["reason"].items())
        yield f"no answer because of: {why}; each cell's best candidate is in obs['{key}_best_cell_type']"
    refused = list(counts["refused"].items())
    if refused:
        most = ", ".join(f"{name} ({n:,})" for name, n in refused[:MOST_REFUSED])
        total = sum(n for _, n in refused)
        yield f"{counted(total, 'cell')} unanswered by chance, mostly {most}: annotate clusters for these"
    if counts["status"].get("unknown", 0) > MOST_UNKNOWN * counts["cells"]:
        yield "most cells have no answer: one cell has few genes that tell; clusters get more answers (--groupby auto)"
    labels = list(counts["cell_type"].items())
    if labels:
        more = f" and {len(labels) - MOST} more" if len(labels) > MOST else ""
        yield f"answers: {', '.join(f'{label} {n:,}' for label, n in labels[:MOST])}{more}"
