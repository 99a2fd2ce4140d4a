"""A run's folder as it is read: what is damaged, unfinished or foreign is named; fingerprints; plain JSON lines."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from arena.runner import run_folder as record
from arena.types import Answer, RunManifest, Sample, Score, Usage
from vckg.base.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sample = Sample(
        "s", "qa", {"kind": "k", "question": "q"}, {"answer": "a", "claims": []}, {}, "c", {"kind": "k"}, {}
    )
    answer = Answer("s", "me", "qa", "t", {"answer": "a"}, True, False, Usage(1, 2))
    record.write_manifest(
        tmp_path, RunManifest("me", ("qa",), "fresh", 0, None, 1, {"qa": "x"}, {"qa": "p@1"}, "g")
    )
    record.write_records(tmp_path / record.SAMPLES, [sample])
    record.write_records(tmp_path / record.ANSWERS, [answer])
    record.write_records(tmp_path / record.SCORES, [Score("s", "me", "qa", "metrics", "d", None)])
    assert record.read_run(tmp_path).answers == (answer,)
    assert record.read_run(tmp_path).samples == {"s": sample}
    return tmp_path


def _edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (record.ANSWERS, lambda t: t[:40], r"answers.jsonl:1: a damaged line"),
        (record.ANSWERS, lambda t: "", r"an empty run"),
        (
            record.ANSWERS,
            lambda t: t.replace('"s"', '"z"'),
            r"an answer to 'z', which samples.jsonl does not hold",
        ),
        (
            record.SCORES,
            lambda t: t.replace("dimension", "dimenson"),
            r"scores.jsonl:1: unknown key 'dimenson'",
        ),
        (
            record.MANIFEST,
            lambda t: t.replace('"version": 1', '"version": 7'),
            r"version 7, this arena reads version 1",
        ),
        (record.MANIFEST, lambda t: t.replace("vckg-arena-run", "other"), r"not an arena run"),
        (record.MANIFEST, lambda t: t[:50], r"manifest.json:\d+: not JSON"),
        (record.MANIFEST, lambda t: t.replace('"seed"', '"sead"'), r"not a complete manifest"),
    ],
)
def test_a_damaged_folder_is_named_with_the_fix(
    folder: Path, name: str, change: Callable[[str], str], message: str
) -> None:
    _edit(folder / name, change)
    with pytest.raises(InputError, match=message):
        record.read_run(folder)


def test_an_unfinished_and_a_missing_run_are_told_apart(folder: Path, tmp_path: Path) -> None:
    (folder / record.ANSWERS).unlink()
    with pytest.raises(InputError, match="no answers yet"):
        record.read_run(folder)
    with pytest.raises(InputError, match="no such folder of runs"):
        record.find_runs([tmp_path / "absent"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no run in it"):
        record.find_runs([tmp_path / "empty"])


def test_runs_are_found_below_a_folder_once_each(folder: Path, tmp_path: Path) -> None:
    inner = tmp_path / "b" / "inner"
    inner.mkdir(parents=True)
    for file in folder.glob("*.json*"):
        (inner / file.name).write_bytes(file.read_bytes())
    assert record.find_runs([inner, folder, folder]) == [folder, inner]
    named = inner.rename(tmp_path / "b" / "gather--fresh--0f")
    assert record.find_runs([tmp_path / "b" / "gather"]) == [named]


def test_fingerprints_differ_where_anything_but_the_contestant_does() -> None:
    one = RunManifest("me", ("qa",), "fresh", 0, None, 1, {"qa": "x"}, {"qa": "p@1"}, "g")
    assert replace(one, contestant="you", created="later").fingerprint("qa") == one.fingerprint("qa")
    for changed in (
        replace(one, samples_sha256={"qa": "y"}),
        replace(one, prompts={"qa": "p@2"}),
        replace(one, graph_hash="h"),
        replace(one, dataset="sc-arena"),
    ):
        assert changed.fingerprint("qa") != one.fingerprint("qa")


def test_answers_are_plain_json_lines(folder: Path) -> None:
    (line,) = (folder / record.ANSWERS).read_text().splitlines()
    assert json.loads(line)["usage"] == {
        "cached": False,
        "cost_usd": None,
        "input_tokens": 1,
        "output_tokens": 2,
    }
