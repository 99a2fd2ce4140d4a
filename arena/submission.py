"""Answers that somebody brings: files of a hosted model's replies, and forms that people fill in.

A submission is JSON lines with ``sample_id`` and ``text``, one for each sample; ``arena run -m replay:FILE`` scores
it like any other contestant. A form is the same questions as a table for people, with the key in another file.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from arena.run_folder import read_answer_texts
from arena.scoring.grounding import names_of
from arena.tasks import TASK_TABLE, read_reply, render
from arena.types import Sample
from gather.metrics.labels import ROOTS
from vckg.base.atomic import write_text
from vckg.base.errors import InputError
from vckg.graph.graph import Graph

FORM_TASKS: Final = ("annotation", "captioning", "perturbation", "qa")
"""Tasks that a person answers in half a minute; two hundred ranked genes are none."""
PER_TASK: Final = 15
"""Samples of each in a form: sixty in all."""
COLUMNS: Final = ("sample_id", "question", "answer")
FORM, KEY, ANSWERS = "form.csv", "key.jsonl", "answers.jsonl"


class Checked(NamedTuple):
    """What a submission holds."""

    answered: int
    missing: tuple[str, ...]
    """Samples without an answer: each scores 0."""
    unknown: tuple[str, ...]
    """Ids of no sample that is asked: they are not read."""
    unread: tuple[str, ...]
    """Samples whose text has no answer in the form that the prompt asks for: each scores 0."""
    unnamed: tuple[str, ...] = ()
    """Samples whose answer names no cell type of the graph: each scores 0."""

    def lines(self, most: int = 3) -> list[str]:
        """Return one line for each kind of id that scores 0 or is not read, with at most so many ids."""
        faults = (
            ("samples without an answer (each scores 0)", self.missing),
            ("answers to samples that are not asked for (not read)", self.unknown),
            ("answers not in the form that the prompt asks for (each scores 0)", self.unread),
            ("answers that name no cell type of the graph (each scores 0)", self.unnamed),
        )
        return [
            f"{what}: {len(ids)} ({', '.join(ids[:most])}{' ...' if ids[:most] != ids else ''})"
            for what, ids in faults
            if ids
        ]


def check_submission(path: Path, samples: Sequence[Sample], graph: Graph | None = None) -> Checked:
    """Compare a file of answers with the samples that they are for; with a graph, read the cell types that they name.

    Raises
    ------
    InputError
        The file is missing, or a line is no object with two texts.
    """
    texts = read_answer_texts(path)
    known = {sample.id: sample for sample in samples}
    given = {i: text for i, text in texts.items() if i in known}
    replies = {i: read_reply(known[i].task, text)[0] for i, text in sorted(given.items())}
    named = {i: str(r["cell_type"]) for i, r in replies.items() if r and known[i].task == "annotation"}
    unnamed = [
        i for i, name in named.items() if graph and names_of(graph).resolve(name).curie in (None, *ROOTS)
    ]
    return Checked(
        answered=len(given),
        missing=tuple(sorted(known.keys() - texts.keys())),
        unknown=tuple(sorted(texts.keys() - known.keys())),
        unread=tuple(i for i, reply in replies.items() if reply is None),
        unnamed=tuple(unnamed),
    )


def write_form(folder: Path, samples: Sequence[Sample]) -> tuple[Path, Path]:
    """Write the questions as a table with an empty column, and the key into a file of its own; return both.

    Raises
    ------
    InputError
        The folder is a file.
    """
    if folder.is_file():
        raise InputError(f"{folder}: is a file; give a folder for the form")
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows((sample.id, render(sample), "") for sample in samples)
    key = [json.dumps({"sample_id": s.id, "reference": TASK_TABLE[s.task].reference(s)}) for s in samples]
    write_text(folder / FORM, text.getvalue())
    write_text(folder / KEY, "\n".join(key) + "\n")
    return folder / FORM, folder / KEY


def read_form(path: Path, samples: Sequence[Sample]) -> Path:
    """Turn a filled form into a submission next to it and return its path.

    Raises
    ------
    InputError
        The file is missing or has other columns, no question has an answer, or an answer has no question here.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such form; `arena form -o FOLDER` writes one")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            columns, rows = reader.fieldnames or (), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path}: cannot be read as a form ({error}); give the CSV file filled in"
        ) from error
    if not set(COLUMNS) <= set(columns):
        raise InputError(f"{path}: columns {columns}, wanted {', '.join(COLUMNS)}")
    known = {sample.id: sample for sample in samples}
    answers = [(row["sample_id"], text) for row in rows if (text := (row["answer"] or "").strip())]
    if foreign := [str(i) for i, _text in answers if i not in known]:
        raise InputError(
            f"{path}: answers to no question of this data set and seed: {len(foreign)}, e.g. {foreign[0]!r}; "
            "give the --dataset and --seed of the form"
        )
    replies = [
        json.dumps({"sample_id": i, "text": _as_reply(known[i], text)}, ensure_ascii=False)
        for i, text in answers
    ]
    if not replies:
        raise InputError(f"{path}: no question has an answer; fill the last column")
    submission = path.with_name(ANSWERS)
    write_text(submission, "\n".join(replies) + "\n")
    return submission


def _as_reply(sample: Sample, text: str) -> str:
    """Return what a person wrote as the reply that the parser reads."""
    if read_reply(sample.task, text)[0] is not None:
        return text
    (key, *_more) = TASK_TABLE[sample.task].answer.model_fields
    return TASK_TABLE[sample.task].wrap(_sides(sample, text) if key == "up" else {key: text})


def _sides(sample: Sample, text: str) -> dict[str, Any]:
    """Read "up: A, B; down: C", in either order; a gene after neither word rises."""
    named: dict[str, set[str]] = {"up": set(), "down": set()}
    side = "up"
    for word in re.split(r"[\s,;:]+", text.lower()):
        turn = re.fullmatch(r"(up|down)(?:-?regulated)?\.?", word)
        side = turn[1] if turn else side
        named[side].add(word.rstrip("."))
    genes = [str(g) for g in sample.fields["candidates"]]
    return {side: [g for g in genes if g.lower() in words] for side, words in named.items()} | {
        "sentence": []
    }
