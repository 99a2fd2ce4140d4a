"""Runs on disk, without the run engine: a manifest and three files of JSON lines, each written whole or not at all.

::

    RUN/manifest.json      format, version, `RunManifest`
    RUN/samples.jsonl      `Sample`, one a line
    RUN/answers.jsonl      `Answer`, one per sample and epoch
    RUN/scores.jsonl       `Score`, one per answer, scorer and dimension
    RUN/judgements/        `Score` of judges, one file per judge and endpoint, rows are only added
    RUN/logs/              logs of the engine: what resuming needs, transcripts, token counts

Readers check every line against its type, and every record against the samples and the contestant of the run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json

from arena.tasks import TASK_TABLE
from arena.types import (
    RUN_FORMAT,
    RUN_VERSION,
    Answer,
    Run,
    RunManifest,
    Sample,
    Score,
    canonical_json,
    first_fault,
)
from vckg.base.atomic import write_text
from vckg.base.console import err
from vckg.base.errors import InputError

MANIFEST, SAMPLES, ANSWERS, SCORES = "manifest.json", "samples.jsonl", "answers.jsonl", "scores.jsonl"
LONGEST_CAUSE: Final = 160
"""Letters of a message about a damaged line."""

Record = TypeVar("Record", Sample, Answer, Score)


# ---- writing ----------------------------------------------------------------------------------------------


def write_manifest(folder: Path, manifest: RunManifest) -> None:
    """Write the manifest of a run folder."""
    value = {"format": RUN_FORMAT, "version": RUN_VERSION, **asdict(manifest)}
    write_text(folder / MANIFEST, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_records(path: Path, records: Iterable[Sample | Answer | Score]) -> None:
    """Write records as JSON lines in the order given."""
    write_text(path, (canonical_json(asdict(record)) + "\n" for record in records))


def append_records(path: Path, records: Iterable[Score]) -> None:
    """Add records to a file; a last line that a kill cut off is dropped first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write("".join(canonical_json(asdict(record)) + "\n" for record in records).encode())
        file.flush()
        os.fsync(file.fileno())


# ---- reading ----------------------------------------------------------------------------------------------


def read_manifest(folder: Path) -> RunManifest:
    """Return the manifest of a run folder.

    Raises
    ------
    InputError
        No manifest, not JSON, or of another format or version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder}: not a run folder (no {MANIFEST}); give a folder that `arena run` wrote")
    try:
        value = from_json(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); run the same `arena run` again") from None
    if not isinstance(value, dict) or value.pop("format", None) != RUN_FORMAT:
        raise InputError(f"{path}: not an arena run; wanted format {RUN_FORMAT!r}")
    version = value.pop("version", None)
    if version != RUN_VERSION:
        raise InputError(
            f"{path}: written as version {str(version)[:20]}, this arena reads version {RUN_VERSION}; "
            "report it with the arena that wrote it, or run it again"
        )
    try:
        return TypeAdapter(RunManifest).validate_json(json.dumps(value))
    except ValidationError as error:
        raise InputError(
            f"{path}: not a complete manifest ({_cause(error)}); run `arena run` again"
        ) from None


def read_samples(path: Path) -> dict[str, Sample]:
    """Return the samples of a file by id, in file order.

    Raises
    ------
    InputError
        The file is missing, a line is damaged, or an id stands there twice.
    """
    samples: dict[str, Sample] = {}
    for number, sample in _records(path, Sample):
        task = TASK_TABLE.get(sample.task)
        if task is None:
            raise InputError(
                f"{path}:{number}: no task {sample.task[:40]!r}; install the package that has it "
                f"(here: {', '.join(TASK_TABLE)})"
            )
        _check(task.fields, sample.fields, f"{path}:{number}: fields")
        _check(task.gold, sample.gold, f"{path}:{number}: gold")
        if sample.id in samples:
            raise InputError(
                f"{path}:{number}: the id {sample.id!r} stands there twice; run `arena run` again"
            )
        samples[sample.id] = sample
    return samples


def read_run(folder: Path) -> Run:
    """Return a run as `arena run` left it.

    Raises
    ------
    InputError
        The folder is no run, of another version, has a damaged line, or no answer yet.
    """
    run = read_answers(folder)
    scores = read_scores(folder / SCORES, run.answers)
    keys = [(s.sample_id, s.epoch, s.scorer, s.dimension) for s in scores]
    if len(set(keys)) < len(keys):
        raise InputError(f"{folder / SCORES}: a score stands there twice; run `arena score {folder}` again")
    return replace(run, scores=tuple(scores))


def read_answers(folder: Path) -> Run:
    """Return a run without its scores, which may not be there yet; errors as `read_run`."""
    manifest = read_manifest(folder)
    samples = read_samples(folder / SAMPLES)
    path = folder / ANSWERS
    if not path.is_file():
        raise InputError(f"{folder}: the run has no answers yet; finish it with the same `arena run` command")
    answers: dict[tuple[str, int], Answer] = {}
    for number, answer in _records(path, Answer):
        where = f"{path}:{number}"
        sample = samples.get(answer.sample_id)
        if sample is None:
            raise InputError(f"{where}: an answer to {answer.sample_id!r}, which {SAMPLES} does not hold")
        if (answer.task, answer.contestant) != (sample.task, manifest.contestant):
            raise InputError(f"{where}: its task or contestant is not that of the sample and {MANIFEST}")
        if (answer.sample_id, answer.epoch) in answers:
            raise InputError(f"{where}: a second answer to {answer.sample_id!r} in epoch {answer.epoch}")
        if answer.parsed is not None:
            _check(TASK_TABLE[answer.task].answer, answer.parsed, f"{where}: parsed")
        answers[answer.sample_id, answer.epoch] = answer
    if not answers:
        raise InputError(f"{folder}: an empty run, {ANSWERS} has no line; run it again without --limit 0")
    return Run(str(folder), manifest, samples, tuple(answers.values()), ())


class _Marks(BaseModel):
    """What readers use of a score's metadata, where it is there."""

    model_config = ConfigDict(strict=True)
    answer: str | None = None
    asked: str | None = None
    spread: float = 0.0
    repeats: int = 1
    rated: int = 0
    repaired: bool = False
    refused_citations: int = 0
    cited: list[dict[str, Any]] | None = None


def read_scores(path: Path, answers: Sequence[Answer] | None = None) -> list[Score]:
    """Return the scores of a file, in file order.

    Parameters
    ----------
    answers
        Those that the scores have to belong to; None leaves that to the caller.

    Raises
    ------
    InputError
        The file is missing, a line is damaged, or a score belongs to none of the answers.
    """
    known = None if answers is None else {(a.sample_id, a.epoch): (a.task, a.contestant) for a in answers}
    scores = []
    for number, score in _records(path, Score):
        _check(_Marks, score.metadata, f"{path}:{number}: metadata")
        if known is not None and known.get((score.sample_id, score.epoch)) != (score.task, score.contestant):
            raise InputError(f"{path}:{number}: a score of no answer in {ANSWERS}; run `arena score` again")
        scores.append(score)
    return scores


class _Replayed(BaseModel):
    sample_id: str
    text: str


def read_answer_texts(path: Path) -> dict[str, str]:
    """Return reply texts by sample id, from ``answers.jsonl`` or any JSON lines with those two keys.

    Raises
    ------
    InputError
        A line is no JSON object with both texts, or a second answer to one sample.
    """
    texts: dict[str, str] = {}
    for number, line in _lines(path):
        try:
            row = _Replayed.model_validate_json(line)
        except ValidationError as error:
            raise InputError(
                f"{path}:{number}: wanted sample_id and text in a JSON object ({_cause(error)})"
            ) from None
        if row.sample_id in texts:
            raise InputError(f"{path}:{number}: a second answer to {row.sample_id!r}; keep one of them")
        texts[row.sample_id] = row.text
    return texts


# ---- finding ----------------------------------------------------------------------------------------------


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Return run folders among and below the given folders, ascending, each once.

    A path may also be the beginning of folder names, up to ``--``: ``runs/gather`` finds
    ``runs/gather--fresh--92f5605874``.

    Raises
    ------
    InputError
        A path does not exist or holds no run.
    """
    found: dict[Path, None] = {}
    for path in paths:
        folders = [path] if path.exists() else _called(path)
        if not folders:
            raise InputError(f"{path}: no such folder of runs")
        manifests = (manifest for folder in folders for manifest in folder.rglob(MANIFEST))
        below = sorted(manifest.parent for manifest in manifests if _is_run(manifest))
        if not below:
            raise InputError(f"{path}: no run in it; `arena run ... -o {path}` makes one")
        found.update(dict.fromkeys(below))
    return sorted(found)


def finished(folders: Sequence[Path], named: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Split runs into those with answers and those without; runs that the user named count as the former."""
    unfinished = [f for f in folders if not (f / ANSWERS).is_file() and f not in named]
    return [f for f in folders if f not in unfinished], unfinished


def readable(folders: Sequence[Path], named: Sequence[Path]) -> list[Run]:
    """Read runs; one that the user did not name and that cannot be read is named and left out.

    Raises
    ------
    InputError
        A named run, or every run, cannot be read.
    """
    runs: list[Run] = []
    faults: list[InputError] = []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except InputError as error:
            if folder in named:
                raise
            faults.append(error)
    if not runs:
        raise faults[0]
    for fault in faults:
        err().print(f"left out: {fault}", soft_wrap=True)
    return runs


def _called(path: Path) -> list[Path]:
    """Return the folders next to `path` whose name is its own, two dashes and more."""
    if not path.parent.is_dir():
        return []
    return [folder for folder in path.parent.iterdir() if folder.name.startswith(f"{path.name}--")]


def _is_run(manifest: Path) -> bool:
    """Tell a run from other folders with a manifest.json; a damaged one is left for `read_manifest` to name."""
    return (manifest.parent / SAMPLES).exists() or RUN_FORMAT.encode() in manifest.read_bytes()


# ---- lines and their types --------------------------------------------------------------------------------


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if not path.is_file():
        raise InputError(f"{path}: missing; run the same `arena run` (or `arena score`) again")
    with path.open("rb") as lines:
        yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _records(path: Path, kind: type[Record]) -> Iterator[tuple[int, Record]]:
    adapter = TypeAdapter(kind)
    for number, line in _lines(path):
        try:
            yield number, adapter.validate_json(line)
        except ValidationError as error:
            raise InputError(f"{path}:{number}: a damaged line ({_cause(error)}); {_again(path)}") from None


def _again(path: Path) -> str:
    """Return what makes a damaged file whole."""
    if path.name == SCORES:
        return "run its `arena score` again"
    return "run its `arena run` again, which asks only what is missing"


def _check(shape: type[BaseModel], value: Mapping[str, Any], where: str) -> None:
    try:
        shape.model_validate(value)
    except ValidationError as error:
        raise InputError(f"{where}: {_cause(error)}; {_again(Path(where.partition(':')[0]))}") from None


def _cause(error: ValidationError) -> str:
    """Return the first fault in one line."""
    where, what = first_fault(error)
    if not what:
        return f"unknown key {where[:LONGEST_CAUSE]!r}"
    return f"{where}: {what}"[:LONGEST_CAUSE].removeprefix(": ")
