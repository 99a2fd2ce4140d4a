"""Runs on disk, free of the run engine: a manifest and three files of JSON lines, each written whole or not
at all.

::

    RUN/manifest.json      format, version, `RunManifest`
    RUN/samples.jsonl      `Sample`, one a line
    RUN/answers.jsonl      `Answer`, one per sample and epoch
    RUN/scores.jsonl       `Score`, one per answer, scorer and dimension
    RUN/judgements/        `Score` of judges, one file a judge and endpoint, only ever added to
    RUN/logs/              the engine's own logs: what resuming needs, transcripts, token counts
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TypeVar

from arena.types import (
    RUN_FORMAT,
    RUN_VERSION,
    Answer,
    Run,
    RunManifest,
    Sample,
    Score,
    Usage,
    canonical_json,
)
from vckg.base.atomic import write_text
from vckg.base.errors import InputError

MANIFEST, SAMPLES, ANSWERS, SCORES = "manifest.json", "samples.jsonl", "answers.jsonl", "scores.jsonl"

Record = TypeVar("Record", Sample, Answer, Score)


def write_atomic(path: Path, text: str | Iterable[str]) -> None:
    """Write a text file whole, through a temporary sibling; pieces of text are written as they come."""
    write_text(path, text)


def write_manifest(folder: Path, manifest: RunManifest) -> None:
    """Write the manifest of a run folder."""
    value = {"format": RUN_FORMAT, "version": RUN_VERSION, **asdict(manifest)}
    write_atomic(folder / MANIFEST, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_records(path: Path, records: Iterable[Sample | Answer | Score]) -> None:
    """Write records as JSON lines in the order given."""
    write_atomic(path, (canonical_json(asdict(r)) + "\n" for r in records))


def append_records(path: Path, records: Iterable[Score]) -> None:
    """Add records behind those a file holds; a line that a kill cut off is dropped first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write("".join(canonical_json(asdict(r)) + "\n" for r in records).encode())
        file.flush()
        os.fsync(file.fileno())


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
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}"
        raise InputError(f"{where}: not JSON ({error.msg}); run the same `arena run` again") from None
    if not isinstance(value, dict) or value.pop("format", None) != RUN_FORMAT:
        raise InputError(f"{path}: not an arena run; wanted format {RUN_FORMAT!r}")
    version = value.pop("version", None)
    if version != RUN_VERSION:
        raise InputError(
            f"{path}: written as version {version}, this arena reads version {RUN_VERSION}; "
            "report it with the arena that made it, or run it again"
        )
    for name in ("tasks", "judges"):
        value[name] = tuple(value.get(name, ()))
    try:
        return RunManifest(**value)
    except TypeError as error:
        raise InputError(f"{path}: not a complete manifest ({error}); run `arena run` again") from None


def read_samples(path: Path) -> dict[str, Sample]:
    """Samples of a file by id, in file order."""
    return {sample.id: sample for sample in _read(path, Sample)}


def read_run(folder: Path) -> Run:
    """Return a run as `arena run` left it.

    Raises
    ------
    InputError
        The folder is no run, of another version, has a damaged line, or no answer yet.
    """
    run = read_answers(folder)
    return replace(run, scores=tuple(read_scores(folder / SCORES)))


def read_answers(folder: Path) -> Run:
    """Return a run without its scores, which may not be there yet; errors as `read_run`."""
    manifest = read_manifest(folder)
    samples = read_samples(folder / SAMPLES)
    if not (folder / ANSWERS).is_file():
        raise InputError(f"{folder}: the run has no answers yet; finish it with the same `arena run` command")
    answers = tuple(_read(folder / ANSWERS, Answer))
    if not answers:
        raise InputError(f"{folder}: an empty run, {ANSWERS} has no line; run it again without --limit 0")
    strangers = [a.sample_id for a in answers if a.sample_id not in samples]
    if strangers:
        raise InputError(f"{folder}: an answer to {strangers[0]!r}, which {SAMPLES} does not hold")
    return Run(str(folder), manifest, samples, answers, ())


def read_scores(path: Path) -> list[Score]:
    """Scores of a file, in file order."""
    return _read(path, Score)


def read_answer_texts(path: Path) -> dict[str, str]:
    """Reply texts by sample id, from a run's ``answers.jsonl`` or any JSON lines with those two keys."""
    texts: dict[str, str] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                texts[str(row["sample_id"])] = str(row["text"])
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise InputError(
                    f"{path}:{number}: wanted sample_id and text in a JSON object ({error!r})"
                ) from None
    return texts


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Run folders among and directly or deeper below the given folders, ascending, each once.

    A path may also be the beginning of folder names, up to ``--``: ``runs/gather`` finds
    ``runs/gather--fresh--92f5605874``.

    Raises
    ------
    InputError
        A path does not exist or holds no run.
    """
    found: dict[Path, None] = {}
    for path in paths:
        named = [path] if path.exists() else _called(path)
        if not named:
            raise InputError(f"{path}: no such folder of runs")
        manifests = (manifest for folder in named for manifest in folder.rglob(MANIFEST))
        below = sorted(manifest.parent for manifest in manifests if _is_run(manifest))
        if not below:
            raise InputError(f"{path}: no run in it; `arena run ... -o {path}` makes one")
        found.update(dict.fromkeys(below))
    return sorted(found)


def finished(folders: Sequence[Path], named: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Runs with answers, and those without, which are left out unless the user has named them."""
    unfinished = [f for f in folders if not (f / ANSWERS).is_file() and f not in named]
    return [f for f in folders if f not in unfinished], unfinished


def _called(path: Path) -> list[Path]:
    """Folders beside `path` whose name goes on with two dashes after its own."""
    return (
        [p for p in path.parent.iterdir() if p.name.startswith(f"{path.name}--")]
        if path.parent.is_dir()
        else []
    )


def _is_run(manifest: Path) -> bool:
    """Other folders carry a manifest.json too; a damaged one is left for `read_manifest` to name."""
    return (manifest.parent / SAMPLES).exists() or RUN_FORMAT in manifest.read_text(encoding="utf-8")


def _read(path: Path, kind: type[Record]) -> list[Record]:
    if not path.is_file():
        raise InputError(f"{path}: missing; run the same `arena run` (or `arena score`) again")
    known = {f.name for f in fields(kind)}
    records = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                value = json.loads(line)
                if value.keys() - known:
                    raise InputError(f"{path}:{number}: unknown key {sorted(value.keys() - known)[0]!r}")
                if "usage" in value:
                    value["usage"] = Usage(**value["usage"])
                records.append(kind(**value))
            except (json.JSONDecodeError, AttributeError, TypeError) as error:
                raise InputError(
                    f"{path}:{number}: a damaged line ({error}); run the same command again"
                ) from None
    return records
