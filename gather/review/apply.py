"""``gather apply OUT.h5ad decisions.json``: reviewed labels beside ours, and the history that led to them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gather.cells.file import write_annotated
from gather.report.review_block import FORMAT, FORMAT_VERSION
from gather.review.annotated import REVIEWED, Annotated, history_frame, read_annotated
from gather.review.decisions import Decisions, Event, read_decisions, standing
from vckg.base.atomic import check_outputs
from vckg.base.errors import InputError

OPEN = "open"
"""The state of a cell set without a decision."""


@dataclass(frozen=True)
class Applied:
    """What `apply_decisions` did: how many entries are new, and how many cell sets stand in each state."""

    path: Path
    new: int
    known: int
    states: dict[str, int]


def apply_decisions(
    source: Path, decisions_path: Path, output: Path | None = None, *, overwrite: bool = False
) -> Applied:
    """Write the reviewed labels of a decisions file into the annotated file, or into a copy.

    The columns ``{key}_reviewed_cell_type``, ``{key}_reviewed_cell_type_ontology_term_id`` and ``{key}_review``
    (``accepted``, ``changed`` or ``open``) are added to ``obs``; the first two are missing where a set is open.
    ``uns['{key}_review']`` keeps every entry of the history with reviewer, date and reason. Entries that the file
    has already are not added again; without a new entry the file stays as it is.

    Parameters
    ----------
    output
        The copy to write; by default `source` is replaced in one step.

    Raises
    ------
    InputError
        The decisions are damaged, or of another graph, another file or other answers; nothing is written then.
    """
    decisions = read_decisions(decisions_path)
    if output is not None:
        check_outputs([output], inputs=[source, decisions_path], overwrite=overwrite)
    annotated = read_annotated(source, decisions.key)
    _check_same(decisions_path, decisions, annotated)
    new = _new_events(decisions_path, decisions, annotated)
    history = (*annotated.history, *new)
    states = review_states(annotated, history)
    counts = Counter(states)
    applied = Applied(output or source, len(new), len(decisions.history) - len(new), dict(counts))
    if new or output is not None:
        kept = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "graph": decisions.graph,
            "answers": decisions.answers,
            "history": history_frame(history),
        }
        columns = _columns(annotated, history, states)
        write_annotated(source, output or source, columns, f"{annotated.key}_review", kept)
    return applied


def review_states(annotated: Annotated, history: tuple[Event, ...]) -> list[str]:
    """Return ``accepted``, ``changed`` or ``open`` for each cell set."""
    decided = standing(history)
    states = []
    for annotation in annotated.annotations:
        event = decided.get(annotation.cell_set)
        same = event is not None and (event.action == "accept" or event.curie == annotation.curie)
        states.append(OPEN if event is None else "accepted" if same else "changed")
    return states


def _check_same(path: Path, decisions: Decisions, annotated: Annotated) -> None:
    if decisions.graph != annotated.graph:
        raise InputError(
            f"{path}: is about answers of graph {decisions.graph[:12]}, {annotated.path} has those of "
            f"{annotated.graph[:12] or 'an unnamed graph'}; review the report of that file"
        )
    names = tuple(a.cell_set for a in annotated.annotations)
    if decisions.answers != annotated.answers or decisions.cell_sets != names:
        raise InputError(
            f"{path}: is about another file or other answers than {annotated.path}; review the report of that file"
        )
    labels = {a.cell_set: (a.label, a.curie) for a in annotated.annotations}
    for number, event in enumerate(decisions.history, start=1):
        if event.action == "accept" and labels[event.cell_set] != (event.label, event.curie):
            raise InputError(
                f"{path}: entry {number} of history accepts {event.label!r} for cell set {event.cell_set!r}, which "
                f"is {labels[event.cell_set][0]!r}; save the decisions again in the report"
            )


def _new_events(path: Path, decisions: Decisions, annotated: Annotated) -> tuple[Event, ...]:
    """Return the events that the file has not; InputError where one that it has reads otherwise."""
    known = {event.id: event for event in annotated.history}
    for event in decisions.history:
        if event.id in known and known[event.id] != event:
            raise InputError(
                f"{path}: entry {event.id} reads otherwise than the one that {annotated.path} keeps; the history "
                "only grows: make a new decision in the report"
            )
    return tuple(event for event in decisions.history if event.id not in known)


def _columns(annotated: Annotated, history: tuple[Event, ...], states: list[str]) -> dict[str, Any]:
    """Return the columns of ``obs``; refuse to replace any that an earlier run did not write."""
    names = [f"{annotated.key}_{suffix}" for suffix in REVIEWED]
    taken = [name for name in names if name in annotated.columns]
    if taken and not annotated.history:
        raise InputError(
            f"{annotated.path}: obs[{taken[0]!r}] exists and was not written by gather; rename it"
        )
    decided = standing(history)
    events = [decided.get(a.cell_set) for a in annotated.annotations]
    labels = [event.label if event else None for event in events] + [None]
    ids = [(event.curie or "unknown") if event else None for event in events] + [None]
    of_cell = annotated.cell_set  # -1, a cell of no set, is the last entry
    values = (np.array(entries, dtype=object)[of_cell] for entries in (labels, ids, [*states, OPEN]))
    return {name: pd.Categorical(entries) for name, entries in zip(names, values, strict=True)}
