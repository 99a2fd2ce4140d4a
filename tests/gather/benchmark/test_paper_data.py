"""``gather data``: the paper's test sets from files of their public form, written by hand here."""

import json
from pathlib import Path

import pytest

from benchmarks.annotation import stand_in
from gather.benchmark.llm_command import sentence_cases
from gather.benchmark.paper_data import prepare
from gather.benchmark.paper_protocol import official_cells, paper_sets
from gather.retrieval.candidates import read_candidate_names
from tests.gather.benchmark.paper_form import public_form
from vckg.base.errors import InputError
from vckg.graph.graph import Graph

pytestmark = pytest.mark.filterwarnings(
    "ignore::anndata.ImplicitModificationWarning", "ignore:Variable names are not unique:UserWarning"
)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_absent_file_says_where_it_is_to_be_had(core_graph, tmp_path):
    with pytest.raises(InputError, match=r"abl5197 is not shipped; fetch dominguez_conde_immune"):
        prepare("immune", tmp_path / "absent.h5ad", tmp_path / "o", core_graph)
    with pytest.raises(InputError, match=r"TS_Lung.h5ad.zip"):
        prepare("lung", None, tmp_path / "o", core_graph)
    with pytest.raises(InputError, match="did you mean 'lung'"):
        prepare("lungs", None, tmp_path / "o", core_graph)


def test_another_file_is_refused(core_graph, tmp_path):
    cells = public_form("immune")
    cells.write_h5ad(tmp_path / "immune.h5ad")
    with pytest.raises(InputError, match="no column 'cell_ontology_class'"):
        prepare("lung", tmp_path / "immune.h5ad", tmp_path / "o", core_graph)
    assert not (tmp_path / "o").exists()


def test_a_map_names_what_the_ontology_does_not(core_graph, tmp_path):
    public_form("lung").write_h5ad(tmp_path / "lung.h5ad")
    (tmp_path / "map.tsv").write_text("label\tcl_id\nnovel cell\tCL:0000236\n")
    label_map = tmp_path / "map.tsv"
    done = prepare("lung", tmp_path / "lung.h5ad", tmp_path / "o", core_graph, label_map=label_map)
    assert not done.unmapped
    assert {r["cell_ontology_id"] for r in read(tmp_path / "o") if r["cell_type"] == "novel cell"} == {
        "CL:0000236"
    }


def test_the_paper_s_sentences_are_written_with_their_terms(core_graph, tmp_path):
    cells = public_form("lung")
    cells.write_h5ad(tmp_path / "lung.h5ad")
    done = prepare("lung", tmp_path / "lung.h5ad", tmp_path / "out.jsonl", core_graph)
    rows = read(tmp_path / "out.jsonl")
    expected = official_cells(cells, paper_sets()["lung"])
    assert [(r["cell_type"], r["cell_sentence"].split(), r["num_genes"]) for r in rows] == [
        (c.label, list(c.genes), len(c.genes)) for c in expected if c.label != "novel cell"
    ]
    assert {r["cell_type"]: r["cell_ontology_id"] for r in rows}["natural killer cell"] == "CL:0000623"
    lost = sum(cell.label == "novel cell" for cell in expected)
    assert lost > 0
    assert dict(done.unmapped) == {"novel cell": lost}
    assert done.sentences == len(rows) == len(expected) - lost


@pytest.mark.data
@pytest.mark.xdist_group("core-graph")
@pytest.mark.parametrize(("name", "size"), [("immune", 34), ("lung", 30)])
def test_the_papers_closed_list_is_asked_about_on_real_cells(
    name: str, size: int, mirror: Path, core_graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in's files are what `gather benchmark-llm --candidates` reads, and no answer leaves the list."""
    monkeypatch.setattr(stand_in, "load", lambda _folder: core_graph)
    stand_in.write_questions(tmp_path, mirror)
    listed = read_candidate_names(tmp_path / f"{name}.txt")
    load = sentence_cases(tmp_path / f"{name}.jsonl", limit=100, seed=0, candidates=listed)
    cases = load(core_graph)
    assert len(cases) == len(set(listed)) == size
    assert {case.truth for case in cases} == set(listed)
    assert all(case.annotation.closed for case in cases)
    assert {c.curie for case in cases for c in case.annotation.candidates} <= set(listed)
