"""``decisions.json``: what reviewers decided about the cell sets of one annotated file, as an append-only history.

Decisions
├── graph, answers, key, cell_sets      which answers were reviewed (`gather.report.review_block.answers_hash`)
└── history: Event                      one decision, comment or withdrawal, in the order in which they were made
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from gather.report.review_block import FORMAT, FORMAT_VERSION
from vckg.base.atomic import reason as reason_of
from vckg.base.errors import InputError

Action = Literal["accept", "choose", "comment", "undo"]
MOST_BYTES = 64 << 20
"""Size of the largest decisions file that is read."""


def _is_printable(text: str) -> bool:
    return not any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 for c in text)


def _printable(text: str) -> str:
    """Refuse control characters but the ends of lines and tabs: no file format of tables keeps them all."""
    if not _is_printable(text):
        raise ValueError("has control characters")
    return text


def _moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Id = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, AfterValidator(_printable)]
Moment = Annotated[
    str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$"), AfterValidator(_moment)
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Event(_Model):
    """One entry of the history.

    `action` is ``accept`` (our label stands), ``choose`` (`label` and `curie` of another type), ``comment``, or
    ``undo``, which withdraws the event `undoes`. `date` is UTC.
    """

    id: Id
    date: Moment
    reviewer: Annotated[Text, Field(min_length=1, max_length=200)]
    cell_set: str
    action: Action
    label: Annotated[str, Field(max_length=1000)] = ""
    curie: Annotated[str, Field(pattern=r"^([A-Za-z][A-Za-z0-9_.]{0,30}:[A-Za-z0-9_.-]{1,60})?$")] = ""
    reason: Annotated[Text, Field(max_length=2000)] = ""
    undoes: Annotated[str, Field(pattern=r"^([0-9a-f]{16})?$")] = ""


class Decisions(_Model):
    """The file. `key` is the entry of ``uns`` that holds the answers."""

    format: Literal["gather-decisions"] = FORMAT
    format_version: Literal[1] = FORMAT_VERSION
    graph: Hash
    answers: Hash
    key: Annotated[str, Field(pattern=r"^\w[\w.-]{0,63}$")]
    title: str = ""
    cell_sets: tuple[str, ...]
    history: tuple[Event, ...]


def read_decisions(path: Path) -> Decisions:
    """Read a decisions file.

    Raises
    ------
    InputError
        The file is missing, too large, or not of the documented form; the message names the first wrong field.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(
                f"{path}: has more than {MOST_BYTES >> 20} MiB; give the decisions.json of the report"
            )
        text = path.read_bytes()
    except (OSError, ValueError) as error:
        why = reason_of(error) if isinstance(error, OSError) else str(error)
        raise InputError(
            f"{path}: cannot be read ({why}); give the decisions.json that the report saved"
        ) from error
    try:
        decisions = Decisions.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(
            f"{path}: {place}: {first['msg']}; give the decisions.json that the report saved"
        ) from error
    _check_history(path, decisions)
    return decisions


def _check_history(path: Path, decisions: Decisions) -> None:
    """Refuse entries that name another's id, no cell set of the file, or withdraw what does not stand before."""
    names, seen = set(decisions.cell_sets), set[str]()
    for number, event in enumerate(decisions.history, start=1):
        where = f"{path}: entry {number} of history"
        if event.id in seen:
            raise InputError(f"{where}: repeats the id {event.id}; save the decisions again in the report")
        if event.cell_set not in names:
            raise InputError(f"{where}: no cell set {event.cell_set[:80]!r} among those of the file")
        if (event.action == "undo") != bool(event.undoes) or (event.undoes and event.undoes not in seen):
            raise InputError(f"{where}: withdraws no earlier entry; save the decisions again in the report")
        if event.action == "choose" and not (event.label and event.curie):
            raise InputError(f"{where}: chooses no cell type; wanted a label and a Cell Ontology id")
        if event.action == "choose" and not _is_printable(event.label):
            raise InputError(
                f"{where}: the label has control characters; save the decisions again in the report"
            )
        seen.add(event.id)


def standing(history: Iterable[Event]) -> dict[str, Event]:
    """Return the decision that stands for each cell set: the latest that was not withdrawn."""
    events = sorted(history, key=lambda event: datetime.fromisoformat(event.date))
    withdrawn = {event.undoes for event in events if event.action == "undo"}
    return {
        event.cell_set: event
        for event in events
        if event.action in ("accept", "choose") and event.id not in withdrawn
    }
