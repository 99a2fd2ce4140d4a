"""Submissions and forms: checked before they are scored, and a perfect person scores 1."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from arena import submission
from arena.cli_inputs import samples_for
from arena.contestants.resolve import resolve
from arena.datasets import make_cells
from arena.run_folder import read_answer_texts
from arena.scoring import metrics
from arena.tasks import TASK_TABLE, read_reply
from arena.tasks.samples import make_samples
from arena.types import Answer, Sample
from vckg.base.errors import InputError
from vckg.graph.graph import Graph


@pytest.fixture(scope="module")
def asked(fresh_graph: Graph) -> list[Sample]:
    cells = make_cells("fresh", fresh_graph, seed=0)[1]
    return [
        s for listed in make_samples(cells, submission.FORM_TASKS, seed=0, limit=3).values() for s in listed
    ]


def test_a_form_holds_no_key_and_comes_back_as_a_human_s_answers(
    asked: list[Sample], fresh_graph: Graph, tmp_path: Path
) -> None:
    form, key = submission.write_form(tmp_path, asked)
    rows = list(csv.DictReader(io.StringIO(form.read_text())))
    assert [row["sample_id"] for row in rows] == [
        json.loads(line)["sample_id"] for line in key.read_text().splitlines()
    ]
    assert all(row["answer"] == "" for row in rows)
    for row, sample in zip(rows, asked, strict=True):
        gold = sample.gold
        sides = f"up: {', '.join(gold.get('up', []))}; down: {', '.join(gold.get('down', []))}"
        row["answer"] = gold.get("caption") or gold.get("cell_type") or gold.get("answer") or sides
    with form.open("w", newline="") as file:
        writer = csv.DictWriter(file, submission.COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    answers = submission.read_form(form, asked)
    assert submission.check_submission(answers, asked) == submission.Checked(len(asked), (), (), ())
    with pytest.raises(InputError, match="is a file"):
        submission.write_form(answers, asked)
    texts = {row["sample_id"]: row["text"] for row in map(json.loads, answers.read_text().splitlines())}
    for sample in asked:
        parsed, _refused = read_reply(sample.task, texts[sample.id])
        answer = Answer(sample.id, "human", sample.task, "", parsed, True, False)
        scores = {s.dimension: s.value for s in metrics.score(sample, answer, fresh_graph)}
        assert scores[metrics.HEADLINE[sample.task]] == pytest.approx(1.0), sample.id


@pytest.mark.parametrize("written", [b"\x89PNG\r\n\xff", b"x" * 200_000])
def test_what_is_no_form_is_refused(asked: list[Sample], tmp_path: Path, written: bytes) -> None:
    path = tmp_path / "form.csv"
    path.write_bytes(written)
    with pytest.raises(InputError, match=r"form\.csv: cannot be read as a form"):
        submission.read_form(path, asked)


@pytest.mark.parametrize(
    "written", ["up: {0}, {1}; down: {2}", "Down: {2}. Up: {0}, {1}.", "{0} {1}\ndown {2}"]
)
def test_both_directions_are_read_in_either_order(asked: list[Sample], tmp_path: Path, written: str) -> None:
    sample = next(s for s in asked if s.task == "perturbation")
    sample = replace(sample, fields=dict(sample.fields) | {"candidates": ["UPF1", "MYC", "TNF"]})
    _fill(tmp_path / "form.csv", {sample.id: written.format("UPF1", "MYC", "TNF")})
    (line,) = submission.read_form(tmp_path / "form.csv", [sample]).read_text().splitlines()
    parsed, _refused = read_reply("perturbation", json.loads(line)["text"])
    assert parsed == {"up": ["UPF1", "MYC"], "down": ["TNF"], "sentence": []}


def test_an_answer_to_another_form_is_not_dropped(asked: list[Sample], tmp_path: Path) -> None:
    _fill(tmp_path / "form.csv", {asked[0].id: "T cell", "fresh/annotation/other": "B cell"})
    with pytest.raises(InputError, match=r"answers to no question .*: 1, e\.g\. 'fresh/annotation/other'"):
        submission.read_form(tmp_path / "form.csv", asked)
    assert not (tmp_path / submission.ANSWERS).exists()


def _fill(form: Path, answers: dict[str, str]) -> None:
    with form.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(submission.COLUMNS)
        writer.writerows((i, "", text) for i, text in answers.items())


def test_two_answers_to_one_sample_are_refused_and_blank_lines_are_not(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"sample_id": "a", "text": "x"}\n\n')
    assert read_answer_texts(path) == {"a": "x"}
    path.write_text('{"sample_id": "a", "text": "x"}\n\n{"sample_id": "a", "text": "y"}\n')
    with pytest.raises(InputError, match=r"answers\.jsonl:3: a second answer to 'a'"):
        read_answer_texts(path)


def test_a_replay_says_what_it_leaves_out_and_needs_one_answer(
    asked: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"sample_id": asked[0].id, "text": "I do not know"}) + "\n")
    samples_for({asked[0].task: asked}, resolve(f"replay:{path}"))
    said = capsys.readouterr().err
    assert f"samples without an answer (each scores 0): {len(asked) - 1} (" in said
    assert f"answers not in the form that the prompt asks for (each scores 0): 1 ({asked[0].id})" in said
    path.write_text('{"sample_id": "of another seed", "text": "x"}\n')
    with pytest.raises(InputError, match="answers none of these"):
        samples_for({asked[0].task: asked}, resolve(f"replay:{path}"))


def test_names_of_no_cell_type_are_listed(asked: list[Sample], fresh_graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    cells = [sample for sample in asked if sample.task == "annotation"]
    replies = [
        "[Predicted_Cell_Type: zorblax cell]",
        *(f"[Predicted_Cell_Type: {s.gold['cell_type']}]" for s in cells[1:]),
    ]
    rows = [{"sample_id": s.id, "text": text} for s, text in zip(cells, replies, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert submission.check_submission(path, cells, fresh_graph).unnamed == (cells[0].id,)
    assert "answers that name no cell type of the graph (each scores 0): 1 (" in "".join(
        submission.check_submission(path, cells, fresh_graph).lines()
    )


def test_what_a_submission_lacks_is_named(asked: list[Sample], tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    first, second = asked[:2]
    right = TASK_TABLE[first.task].wrap(TASK_TABLE[first.task].perfect(first))
    rows = [(first.id, right), (second.id, "I do not know"), ("fresh/annotation/nothing", "x")]
    path.write_text("".join(json.dumps({"sample_id": i, "text": text}) + "\n" for i, text in rows))
    found = submission.check_submission(path, asked)
    assert found.answered == 2
    assert found.unread == (second.id,)
    assert found.unknown == ("fresh/annotation/nothing",)
    assert len(found.missing) == len(asked) - 2


@pytest.mark.parametrize(("text", "message"), [("a,b\n1,2\n", "wanted sample_id"), ("", "wanted sample_id")])
def test_a_form_of_another_kind_is_refused(
    asked: list[Sample], tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "form.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        submission.read_form(path, asked)


def test_an_empty_form_is_no_submission(asked: list[Sample], tmp_path: Path) -> None:
    form, _key = submission.write_form(tmp_path, asked)
    with pytest.raises(InputError, match="no question"):
        submission.read_form(form, asked)
    assert not (tmp_path / submission.ANSWERS).exists()
