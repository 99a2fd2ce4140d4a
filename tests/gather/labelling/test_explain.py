"""`gather explain` and `gather annotate` give one answer to one list of genes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gather
from benchmarks.annotation.textbook import LISTS
from gather.annotation import Annotation
from gather.cli import app
from gather.inputs.marker_sets import MarkerWork
from gather.inputs.marker_tables import MarkerTable
from gather.labelling.annotator import Annotator, Parameters
from gather.labelling.explain import ALONE, ORDER
from gather.labelling.plain_words import LEFT_OUT, status_reason
from gather.retrieval.scores import Retriever
from tests.conftest import ROOT
from vckg.base.errors import InputError
from vckg.graph.graph import Graph


def annotated(graph: Graph, lists: dict[str, tuple[str, ...]]) -> dict[str, Annotation]:
    """The answers of `gather annotate` to a table of these lists."""
    work = MarkerWork(MarkerTable(lists, {}, "lists"))
    panel, _, _ = work.panel(graph)
    annotator = Annotator(graph, panel, Parameters(hyper_entities=()), contrast=False)
    return {one.name: annotator.annotate_one(one) for one in work.cell_sets(panel)}


def same(explained: gather.Explanation, answer: Annotation) -> bool:
    told = explained.answer
    assert told is not None
    assert [c.curie for c in told.candidates] == [c.curie for c in answer.candidates]
    assert explained.items[0].curie == answer.candidates[0].curie
    return (told.status, told.curie, status_reason(told)) == (
        answer.status, answer.curie, status_reason(answer),
    ) and told.confidence == pytest.approx(answer.confidence)  # fmt: skip


def test_the_answer_comes_first_and_the_nodes_in_its_order(blood_graph: Graph) -> None:
    genes = ("CD3D", "CD3E", "LCK")
    found = gather.explain(list(genes), graph=blood_graph)
    assert same(found, annotated(blood_graph, {"0": genes})["0"])
    assert found.verdict.startswith("answer: ")
    kept = found.to_dict()["answer"]
    assert set(kept) == {"label", "curie", "status", "confidence", "certainty", "reason"}
    assert json.loads(json.dumps(kept)) == kept


def test_no_answer_says_why_and_other_targets_have_none(blood_graph: Graph) -> None:
    assert "a name needs 3" in gather.explain(["CD3D"], graph=blood_graph).verdict
    other = gather.explain(["CD3D"], graph=blood_graph, target="BiologicalProcess")
    assert (other.verdict, other.to_dict()["answer"]) == ("", None)


def test_a_tissue_prefers_the_types_that_are_known_there(
    blood_graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = gather.explain(["CD3D", "CD79A"], graph=blood_graph)
    last = plain.items[-1].curie
    monkeypatch.setattr(
        "gather.labelling.explain.types_of_tissue", lambda graph, _tissue: [graph.index(last)]
    )
    told = gather.explain(["CD3D", "CD79A"], graph=blood_graph, tissue="blood")
    assert told[last].score == plain[last].score
    assert all(told[item.curie].score < item.score for item in plain if item.curie != last)
    assert told.answer is not None
    assert {c.curie: c.score for c in told.answer.candidates}[last] == pytest.approx(plain[last].score)
    with pytest.raises(InputError, match="a tissue prefers cell types, not Pathway; leave it out"):
        gather.explain(["CD3D"], graph=blood_graph, target="Pathway", tissue="blood")


def test_the_command_says_that_a_list_has_no_other_cells_to_compare_with(
    blood_graph: Graph, tmp_path
) -> None:
    words = ["explain", "CD3D", "CD3E", "LCK", "--graph", str(blood_graph.save(tmp_path / "graph"))]
    ran = CliRunner().invoke(app, words)
    assert ran.stdout.startswith("answer: ")
    assert ALONE in ran.stderr
    assert ALONE not in CliRunner().invoke(app, [*words, "--target", "BiologicalProcess"]).stderr


def test_a_closed_retriever_answers_from_its_list(blood_graph: Graph) -> None:
    closed = Retriever(blood_graph, candidates=[blood_graph.index("CL:0000236")])
    found = gather.explain(["CD3D", "CD3E", "CD79A"], retriever=closed)
    assert found.answer is not None
    assert found.answer.closed
    assert {item.curie for item in found.items} == {"CL:0000236"}


@pytest.mark.xdist_group("core-graph")
def test_genes_of_families_that_are_left_out_are_no_unknown_genes(core_graph: Graph) -> None:
    found = gather.explain("RPL13 RPS6 NOGENE1 MT-CO1", graph=core_graph)
    assert found.verdict == f"answer: unknown ({LEFT_OUT})"
    assert not found.items
    assert gather.explain("RPL13 RPS6", graph=core_graph, target="BiologicalProcess").items


@pytest.mark.xdist_group("core-graph")
def test_real_lists_get_the_answer_of_annotate(core_graph: Graph) -> None:
    lists = {name: tuple(genes.split()) for _truth, name, genes in LISTS[:: len(LISTS) // 6]}
    lists["user"] = ("CD3D", "CD3E", "TRAC")
    for name, answer in annotated(core_graph, lists).items():
        assert same(gather.explain(list(lists[name]), graph=core_graph), answer), name


@pytest.mark.xdist_group("core-graph")
def test_the_list_of_the_readme_is_named_rightly(core_graph: Graph, tmp_path: Path) -> None:
    line = re.search(r"^gather (explain .*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert line is not None
    core_graph.save(tmp_path / "graph")
    ran = CliRunner().invoke(app, [*line[1].split(), "--graph", str(tmp_path / "graph")])
    assert ran.stdout.splitlines()[0].startswith("answer: regulatory T cell (CL:0000815), high")


@pytest.mark.xdist_group("core-graph")
def test_an_order_that_is_not_that_of_the_scores_is_explained(core_graph: Graph, tmp_path: Path) -> None:
    core_graph.save(tmp_path / "graph")
    for top in (1, 4):
        found = gather.explain("CD3D CD8A", graph=core_graph, top=top, walks=0)
        scores = [item.score for item in found.items]
        assert (scores != sorted(scores, reverse=True)) is (top == 4)
        words = [
            "explain",
            "CD3D",
            "CD8A",
            "--top",
            str(top),
            "--walks",
            "0",
            "--graph",
            str(tmp_path / "graph"),
        ]
        assert (ORDER in CliRunner().invoke(app, words).stdout) is (top == 4)


@pytest.mark.xdist_group("core-graph")
def test_one_gene_that_speaks_alone_is_no_answer_and_is_named(core_graph: Graph) -> None:
    """The graph lists GAD1 and NPY somewhere above the pancreatic D cell; they add nothing to its score."""
    found = gather.explain(["SST", "GAD1", "NPY"], graph=core_graph)
    assert found.answer is not None
    assert (found.answer.status, found.answer.reason) == ("unknown", "few_genes")
    assert "1 gene of 3 speaks for the best, pancreatic D cell: SST;" in found.verdict
    assert gather.explain(["SST", "HHEX", "LEPR"], graph=core_graph).items[0].curie == "CL:0000173"


@pytest.mark.data
@pytest.mark.parametrize(
    ("genes", "answer", "first", "second"),
    [
        ("CD3D CD3E MS4A1 CD79A", "T cell", "CD3D, CD3E: T cell", "MS4A1, CD79A: B cell"),
        (
            "PECAM1 VWF COL1A1 DCN",
            "endothelial cell",
            "PECAM1, VWF: endothelial cell",
            "COL1A1, DCN: fibroblast",
        ),
        (
            "PMEL MLANA TYR CD3D CD3E CD8A",
            "melanocyte",
            "PMEL, MLANA, TYR: melanocyte",
            "CD3D, CD3E, CD8A: T cell",
        ),
        ("PPBP PF4 CD3D CD3E TRAC", "unknown", "PPBP, PF4: megakaryocyte", "CD3D, CD3E, TRAC: T cell"),
        (
            "EPCAM KRT8 KRT18 CD3D CD3E TRAC",
            "unknown",
            "CD3D, CD3E, TRAC: T cell",
            "EPCAM, KRT8, KRT18: epithelial cell",
        ),
    ],
)
def test_two_cell_types_in_one_list_are_named_with_their_genes(
    full_graph: Graph, genes: str, answer: str, first: str, second: str
) -> None:
    found = gather.explain(genes, graph=full_graph)
    assert found.answer is not None
    assert found.answer.label == answer
    assert [f"{', '.join(v.genes)}: {v.label}" for v in found.two_types] == [first, second]
    assert found.remark.startswith(f"two cell types? {first} (CL:")
    assert (", but a second cell type speaks" in found.verdict) is (answer != "unknown")
    assert [voice["label"] for voice in found.to_dict()["two_types"]] == [v.label for v in found.two_types]


@pytest.mark.data
def test_few_textbook_lists_seem_to_mix_two_types(core_graph: Graph) -> None:
    retriever = Retriever(core_graph)
    lists = [genes for _, _, genes in LISTS[::4]]
    flagged = [genes for genes in lists if gather.explain(genes, retriever=retriever).two_types]
    assert len(flagged) <= len(lists) / 20
