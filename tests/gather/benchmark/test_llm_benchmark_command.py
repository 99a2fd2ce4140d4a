"""``gather benchmark-llm``: real loaders, a real server, one table."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gather.benchmark.llm_command import h5ad_cases, sentence_cases
from gather.cli import app
from vckg.base.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:anndata.*")
ROWS = [
    {"cell_ontology_id": "CL:0000084", "cell_sentence": "CD3D CD3E CD2 IL7R LCK TRAC"},
    {"cell_ontology_id": "CL_0000236", "cell_sentence": "CD79A MS4A1 CD19 CD79B BLK BANK1"},
    {"cell_ontology_id": "CL:9999999", "cell_sentence": "CD14 LYZ"},
]


@pytest.fixture
def sentences(tmp_path: Path) -> Path:
    path = tmp_path / "cells.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS))
    return path


def test_sentences_become_cases_with_their_truths(sentences: Path, blood_graph, capsys) -> None:
    cases = sentence_cases(sentences, limit=10, seed=0)(blood_graph)
    assert [(c.truth, c.annotation.curie, c.dataset) for c in cases] == [
        ("CL:0000084", "CL:0000084", "cells"),
        ("CL:0000236", "CL:0000236", "cells"),
    ]
    assert cases[0].symbols[:2] == ("CD3D", "CD3E")
    assert "1 types are not in the graph" in capsys.readouterr().err


def test_a_closed_list_keeps_the_questions_that_it_can_answer(
    sentences: Path, endpoint, blood_graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A T cell is asked about among T cells and monocytes; a B cell, which the list lacks, is left out."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = ("T cell", "CL:0000576")
    (case,) = sentence_cases(sentences, limit=10, seed=0, candidates=names)(blood_graph)
    assert (case.truth, case.annotation.closed) == ("CL:0000084", True)
    assert {c.curie for c in case.annotation.candidates} <= {"CL:0000084", "CL:0000576"}
    right = json.dumps({"cell_type_ontology_term_id": "CL:0000084", "reasons": []})
    server = endpoint(lambda *_: ("say", right))
    (tmp_path / "list.txt").write_text("\n".join(names))
    result = run(
        *("--sentences", str(sentences), "--candidates", str(tmp_path / "list.txt"), "--budget", "50"),
        *("--method", "retrieval", "--method", "llm alone", "--base-url", server.url),
        *("--graph", str(blood_graph.save(tmp_path / "graph"))),
    )
    assert result.exit_code == 0, result.output
    assert "1 cell sets, closed set, 2 candidates offered to every method" in result.output
    assert [
        line.split(" | ")[1].split()[0] for line in result.output.splitlines() if "| llm alone" in line
    ] == ["1.000"]
    assert "| 50 tokens | paths |" in result.output
    assert "| 5 items |" not in result.output  # who names one limit gets that one
    assert all("CL:0000236" not in json.dumps(request) for request in server.requests)


def test_a_choice_of_sentences_depends_on_its_seed_only(sentences: Path, blood_graph) -> None:
    chosen = [[c.truth for c in sentence_cases(sentences, limit=1, seed=3)(blood_graph)] for _ in range(2)]
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize("text", ["not json", '{"cell_sentence": "A"}', '["A"]', '{"cell_sentence": 3}'])
def test_what_are_no_sentences_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match="wanted JSON lines"):
        sentence_cases(path, limit=1, seed=0)


def test_labelled_cells_become_cases_by_a_table_or_by_their_own_labels(
    blood_cells, blood_graph, tmp_path: Path, capsys
) -> None:
    blood_cells.write_h5ad(tmp_path / "blood.h5ad")
    table = tmp_path / "labels.tsv"
    table.write_text("dataset\tlabel\tcl_id\nblood\tT cells\tCL:0000084\nother\tB cells\tCL:0000236\n")
    cases = h5ad_cases(tmp_path / "blood.h5ad", "group", table)(blood_graph)
    assert [(c.annotation.cell_set, c.truth) for c in cases] == [("T cells", "CL:0000084")]
    assert "2 groups have no truth" in capsys.readouterr().err
    own = h5ad_cases(tmp_path / "blood.h5ad", "group", None)(blood_graph)
    assert {c.truth for c in own} <= {"CL:0000084", "CL:0000236", "CL:0000576"}
    with pytest.raises(InputError, match="no column 'grup'"):
        h5ad_cases(tmp_path / "blood.h5ad", "grup", None)(blood_graph)


def run(*arguments: str):
    return CliRunner().invoke(app, ["benchmark-llm", "--model", "m", *arguments])


def test_the_command_prints_and_writes_its_tables(
    endpoint, sentences: Path, blood_cells, blood_graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    right = json.dumps({"sufficient": True, "cell_type_ontology_term_id": "CL:0000084", "chosen": [1]})
    server = endpoint(lambda *_: ("say", right))
    blood_cells.write_h5ad(tmp_path / "blood.h5ad")
    table = tmp_path / "labels.tsv"
    table.write_text("dataset\tlabel\tcl_id\nblood\tmonocytes\tCL:0000576\n")
    folder, out = blood_graph.save(tmp_path / "graph"), tmp_path / "table.md"
    arguments = ["--base-url", server.url, "--sentences", str(sentences), "--seeds", "2", "-o", str(out)]
    arguments += ["--h5ad", f"{tmp_path / 'blood.h5ad'}=group", "--labels", str(table)]
    result = run(*arguments, "--graph", str(folder))
    assert result.exit_code == 0, result.output
    text = out.read_text()
    assert text.startswith("model m, temperature 0, seed 0")
    assert "3 cell sets, open set" in text
    for method in ("retrieval", "llm alone", "gather", "gather rewired", "tog", "tog2", "rog", "pog"):
        assert f"\n| {method} |" in text
    assert "\n| 400 tokens | paths |" in text
    assert "| tog | 48 | 68 | 108 | 228 |" in text
    assert set(text.splitlines()) <= set(result.output.splitlines())
    paid = len(server.requests)
    assert run(*arguments, "--graph", str(folder)).exit_code == 0
    assert len(server.requests) == paid


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give --sentences, --h5ad, or both"),
        (["--h5ad", "cells.h5ad"], "wanted FILE=COLUMN"),
        (["--sentences", "x.jsonl", "--method", "tag"], "did you mean 'tog'"),
        (["--sentences", "x.jsonl"], "x.jsonl"),
    ],
)
def test_a_mistake_is_said_in_one_line(arguments: list[str], complaint: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, InputError)
    assert complaint in str(result.exception)
