"""Questions of the benchmark: sentences ranked against one another, lists of a left-out resource."""

import json

import numpy as np
import pytest

from benchmarks.annotation.__main__ import paper
from benchmarks.annotation.data_sets import (
    LEAST_LIST,
    by_rarity,
    list_questions,
    paper_questions,
    sentence_questions,
)
from benchmarks.annotation.scores import Bench
from gather.retrieval.query import ground_panel, rank_weights
from vckg.base.errors import InputError

SENTENCES = [("CD79A", "CD3D", "nonsense"), ("CD3D", "CD3E"), ("CD3E", "CD3D", "CD14"), ("CD14", "CD3D")]


def test_a_gene_of_every_sentence_comes_last_and_unknown_names_are_kept(blood_graph):
    panel = ground_panel(blood_graph, sorted({g for s in SENTENCES for g in s}))
    assert by_rarity(panel, SENTENCES) == [
        ("CD79A", "CD3D", "nonsense"), ("CD3E", "CD3D"), ("CD3E", "CD14", "CD3D"), ("CD14", "CD3D")
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_the_order_is_that_of_rank_weight_times_inverse_document_frequency(blood_graph, seed):
    rng = np.random.default_rng(seed)
    genes = ["CD3D", "CD3E", "CD79A", "MS4A1", "CD19", "CD14", "LYZ"]
    sentences = [tuple(rng.permutation(genes)[: rng.integers(2, 7)].tolist()) for _ in range(9)]
    panel = ground_panel(blood_graph, genes)
    for sentence, ordered in zip(sentences, by_rarity(panel, sentences), strict=True):
        df = {g: sum(g in s for s in sentences) for g in sentence}
        worth = {
            g: w * max(np.log(9 / (df[g] + 1)), 0)
            for g, w in zip(sentence, rank_weights(len(sentence)), strict=True)
        }
        assert ordered == tuple(sorted(sentence, key=lambda g: (-worth[g], sentence.index(g))))


def test_labels_take_no_part_in_the_ranking(blood_graph, tmp_path):
    """The same sentences under other truths are the same questions."""
    (tmp_path / "scarena").mkdir()
    asked = []
    for truth in ("CL:0000084", "CL:0000236"):
        rows = [{"cell_sentence": " ".join(s), "cell_ontology_id": truth} for s in SENTENCES]
        path = tmp_path / "scarena" / "cell_sentences_fixed.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        found = sentence_questions(blood_graph, tmp_path)
        assert {q.truth for q in found} == {truth}
        assert [q.role for q in found] == ["choosing half", "held half"] * 2
        asked.append([q.query.names for q in found])
        by_expression = sentence_questions(blood_graph, tmp_path, ranking="expression")
        assert by_expression[2].query.names == ("CD3E", "CD3D", "CD14")
    assert asked[0] == asked[1]


def test_a_list_is_asked_where_another_source_knows_the_type(make_graph):
    def markers(cell, source, n):
        relation = {"relation": "is_marker_for", "object": cell, "source": source}
        return [{"subject": f"HGNC:{i}"} | relation for i in range(n)]

    long, short = LEAST_LIST + 1, LEAST_LIST - 1
    first, second = "CL:0000001", "CL:0000002"
    graph = make_graph(
        [*markers(first, "toy", long), *markers(first, "other", short), *markers(second, "toy", long)]
    )
    asked = list_questions(graph, "toy", graph)
    assert [q.truth for q in asked] == [first]
    assert [graph.ids[i] for i in asked[0].query.genes] == sorted(f"HGNC:{i}" for i in range(long))
    assert list_questions(graph, "other", graph) == []
    elsewhere = make_graph([*markers(first, "other", LEAST_LIST), *markers(second, "toy", long)])
    questions = list_questions(graph, "toy", elsewhere)
    assert [(q.truth, len(q.query)) for q in questions] == [(first, long)]
    assert [elsewhere.ids[i] for i in questions[0].query.genes] == sorted(f"HGNC:{i}" for i in range(long))


@pytest.mark.data
@pytest.mark.parametrize(("name", "n"), [("immune", 34), ("lung", 30)])
def test_each_candidate_of_the_paper_has_one_real_cell(core_graph, mirror, name, n):
    questions = paper_questions(core_graph, mirror, name)
    assert len(questions) == n
    assert {q.closed for q in questions} == {questions[0].closed}
    assert sorted(q.truth for q in questions) == sorted(questions[0].closed)
    assert {q.data_set for q in questions} == {name}
    assert max(len(q.query) for q in questions) == 50


def test_a_candidate_without_a_sentence_is_an_error(blood_graph, tmp_path):
    (tmp_path / "scarena").mkdir()
    row = {"cell_sentence": "CD3D CD3E", "cell_ontology_id": "CL:0000084"}
    (tmp_path / "scarena" / "cell_sentences_fixed.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(InputError, match=r"no sentence of .*plasmablast.*wanted all 34 candidates"):
        paper_questions(blood_graph, tmp_path, "immune")


@pytest.mark.data
@pytest.mark.slow
def test_the_table_of_the_paper_has_every_score_and_its_paired_tests(core_graph, mirror):
    lines = list(paper(Bench(core_graph), mirror))
    for score in ("calibrated", "paper", "dwpc", "ppr", "hypergeometric", "paper, hop 1"):
        assert sum(line.startswith(f"| {score} | closed | 34 |") for line in lines) == 1
        assert sum(line.startswith(f"| {score} | closed | 30 |") for line in lines) == 1
    assert sum(line.startswith("| hypergeometric | ") and ", p " in line for line in lines) == 2
    assert [line for line in lines if "with a language model |" in line] == [
        "| the paper, with a language model | closed | | 0.2745 | | | |",
        "| the paper, with a language model | closed | | 0.5964 | | | |",
    ]
