"""A run's folder as it is read: what is damaged, unfinished or foreign is named; fingerprints; plain JSON lines."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from arena import run_folder
from arena.types import Answer, RunManifest, Sample, Score, Usage
from vckg.base.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shown = {"kind": "k", "question": "q"}
    fields = {**shown, "title": "", "abstract": "", "passage": "", "publications": []}
    sample = Sample("s", "qa", shown, {"answer": "a", "claims": []}, fields, "c", {"kind": "k"}, {})
    answer = Answer("s", "me", "qa", "t", {"answer": "a"}, True, False, Usage(1, 2))
    run_folder.write_manifest(
        tmp_path, RunManifest("me", ("qa",), "fresh", 0, None, 1, {"qa": "x"}, {"qa": "p@1"}, "g")
    )
    run_folder.write_records(tmp_path / run_folder.SAMPLES, [sample])
    run_folder.write_records(tmp_path / run_folder.ANSWERS, [answer])
    run_folder.write_records(tmp_path / run_folder.SCORES, [Score("s", "me", "qa", "metrics", "d", None)])
    assert run_folder.read_run(tmp_path).answers == (answer,)
    assert run_folder.read_run(tmp_path).samples == {"s": sample}
    return tmp_path


def test_a_run_that_cannot_be_read_takes_no_other_from_the_page(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path_factory.mktemp("foreign") / "run"
    shutil.copytree(folder, foreign)
    samples = foreign / run_folder.SAMPLES
    samples.write_bytes(samples.read_bytes().replace(b'"qa"', b'"kin"'))
    assert [run.folder for run in run_folder.readable([folder, foreign], [])] == [str(folder)]
    assert "no task 'kin'; install the package that has it" in capsys.readouterr().err.replace("\n", " ")
    with pytest.raises(InputError, match="no task 'kin'"):
        run_folder.readable([folder, foreign], [foreign])
    with pytest.raises(InputError, match="no task 'kin'"):
        run_folder.readable([foreign], [])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (run_folder.ANSWERS, lambda t: t[:40], "answers.jsonl:1: a damaged line"),
        (run_folder.ANSWERS, lambda t: b"", "an empty run"),
        (run_folder.ANSWERS, lambda t: t + t, "answers.jsonl:2: a second answer to 's'"),
        (run_folder.ANSWERS, lambda t: t.replace(b'"s"', b'"z"'), "'z', which samples.jsonl does not hold"),
        (
            run_folder.ANSWERS,
            lambda t: t.replace(b'"me"', b'"%s"' % (b"x" * 5000)),
            "is not that of the sample",
        ),
        (run_folder.ANSWERS, lambda t: t.replace(b'"error":""', b'"error":"\\ud800"'), "hex escape"),
        (
            run_folder.ANSWERS,
            lambda t: t.replace(b'"answer":"a"', b'"answer":5'),
            "parsed: answer: .* string",
        ),
        (run_folder.ANSWERS, lambda t: t.replace(b'"input_tokens":1', b'"input_tokens":-1'), "input_tokens"),
        (run_folder.ANSWERS, lambda t: b"[" * 200_000, "recursion"),
        (run_folder.SAMPLES, lambda t: t.replace(b'"q"', b'"\xff"'), "samples.jsonl:1: a damaged line"),
        (run_folder.SAMPLES, lambda t: t + t, "samples.jsonl:2: the id 's' stands there twice"),
        (run_folder.SAMPLES, lambda t: t.replace(b'"claims"', b'"claim"'), "gold: claims: Field required"),
        (run_folder.SAMPLES, lambda t: t.replace(b'"passage"', b'"page"'), "fields: passage: Field required"),
        (run_folder.SCORES, lambda t: t.replace(b"dimension", b"dimenson"), "unknown key 'dimenson'"),
        (run_folder.SCORES, lambda t: t.replace(b'"me"', b'"you"'), "scores.jsonl:1: a score of no answer"),
        (run_folder.SCORES, lambda t: t + t, "a score stands there twice"),
        (run_folder.SCORES, lambda t: t.replace(b'"value":null', b'"value":1e300'), "value: .* less than"),
        (run_folder.SCORES, lambda t: t.replace(b'metadata":{', b'metadata":{"spread":[]'), "spread"),
        (
            run_folder.MANIFEST,
            lambda t: t.replace(b'"version": 1', b'"version": 7'),
            "version 7, .* reads version 1",
        ),
        (run_folder.MANIFEST, lambda t: t.replace(b"vckg-arena-run", b"other"), "not an arena run"),
        (run_folder.MANIFEST, lambda t: t[:50], r"manifest.json: not JSON \(.* line \d+"),
        (run_folder.MANIFEST, lambda t: t.replace(b'"fresh"', b'"\xff"'), "manifest.json: not JSON"),
        (run_folder.MANIFEST, lambda t: t.replace(b'"seed"', b'"sead"'), "not a complete manifest"),
    ],
)
def test_a_damaged_folder_is_named_with_the_fix(
    folder: Path, name: str, change: Callable[[bytes], bytes], message: str
) -> None:
    before = (folder / name).read_bytes()
    assert change(before) != before
    (folder / name).write_bytes(change(before))
    with pytest.raises(InputError, match=message) as raised:
        run_folder.read_run(folder)
    assert len(str(raised.value)) < 400 + len(str(folder))
    assert "\n" not in str(raised.value)


def test_an_unfinished_and_a_missing_run_are_told_apart(folder: Path, tmp_path: Path) -> None:
    (folder / run_folder.ANSWERS).unlink()
    with pytest.raises(InputError, match="no answers yet"):
        run_folder.read_run(folder)
    with pytest.raises(InputError, match="no such folder of runs"):
        run_folder.find_runs([tmp_path / "absent"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no run in it"):
        run_folder.find_runs([tmp_path / "empty"])


def test_runs_are_found_below_a_folder_once_each(folder: Path, tmp_path: Path) -> None:
    inner = tmp_path / "b" / "inner"
    inner.mkdir(parents=True)
    for file in folder.glob("*.json*"):
        (inner / file.name).write_bytes(file.read_bytes())
    assert run_folder.find_runs([inner, folder, folder]) == [folder, inner]
    named = inner.rename(tmp_path / "b" / "gather--fresh--0f")
    assert run_folder.find_runs([tmp_path / "b" / "gather"]) == [named]


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
    (line,) = (folder / run_folder.ANSWERS).read_text().splitlines()
    assert json.loads(line)["usage"] == {
        "cached": False,
        "cost_usd": None,
        "input_tokens": 1,
        "output_tokens": 2,
    }
