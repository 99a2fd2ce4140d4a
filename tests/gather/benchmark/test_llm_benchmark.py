"""The table of language models: fair, counted, complete; and the table of the central claim."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from gather.benchmark.baselines.interface import Question
from gather.benchmark.llm import (
    Case,
    claim,
    compare,
    make_cases,
    method_names,
    render,
    render_claim,
    render_costs,
    rows,
)
from gather.labelling.annotator import Annotator
from gather.llm.base import ModelFailure, Scripted
from gather.llm.label import shared_candidates
from gather.ontology import Ontology
from gather.retrieval.query import CellSet, ground_panel

RIGHT = {"T": "CL:0000084", "B": "CL:0000236", "M": "CL:0000576"}
GENES = {
    "T": ("CD3D", "CD3E", "CD2", "IL7R", "LCK", "TRAC"),
    "B": ("CD79A", "MS4A1", "CD19", "CD79B", "BLK", "BANK1"),
    "M": ("CD14", "LYZ", "FCN1", "S100A8", "VCAN", "CSF1R"),
}


def cases_of(graph) -> list[Case]:
    names = [g for genes in GENES.values() for g in genes]
    annotator = Annotator(graph, ground_panel(graph, names))
    sets = [CellSet(name, genes, n_cells=30) for name, genes in GENES.items()]
    return make_cases(annotator, sets, [RIGHT[s.name] for s in sets], dataset="toy")


def oracle(prompt: str) -> str:
    """Knows the markers, so it answers right where it sees the genes; takes whatever a method asks."""
    if "as few sub-objectives" in prompt:
        return json.dumps({"objectives": ["which cell"]})
    if "relation paths" in prompt:
        return json.dumps({"paths": [["is_marker_for"]]})
    if "Say in a few words" in prompt:
        return json.dumps({"memory": ["markers"]})
    if re.search(r'\{"chosen"', prompt):
        return json.dumps({"chosen": [{"number": 1, "score": 1.0}]})
    genes = re.search(r"(?:expresses|distinctive first): ([\w, ]+)", prompt)
    assert genes, prompt
    kind = next(k for k, markers in GENES.items() if set(markers) & set(genes[1].split(", ")))
    return json.dumps({"sufficient": True, "cell_type_ontology_term_id": RIGHT[kind], "reasons": ["E1"]})


def test_every_method_answers_every_case_and_is_counted(blood_graph) -> None:
    results = compare(cases_of, blood_graph, Scripted(oracle), seeds=2)
    assert [r.method for r in results] == list(method_names())
    for result in results:
        assert len(result.curies) == 3
        assert result.counters.asked == result.counters.calls
        if result.method == "llm shuffled":
            assert result.curies == tuple(RIGHT.values())[1:] + tuple(RIGHT.values())[:1]
        elif result.method != "gather rewired":
            assert result.curies == tuple(RIGHT.values()), result.method
    calls = {r.method: r.counters.asked for r in results}
    assert (calls["retrieval"], calls["gather"], calls["llm alone"], calls["rog"]) == (0, 3, 3, 6)
    assert calls["tog"] > calls["gather"]


def test_a_silent_model_is_wrong_everywhere_but_where_users_get_a_fall_back(blood_graph) -> None:
    def silent(_: str) -> str:
        raise ModelFailure("500, 5 times", attempts=5)

    results = {r.method: r for r in compare(cases_of, blood_graph, Scripted(silent))}
    assert results["gather"].curies == results["retrieval"].curies
    assert results["gather"].fell_back == 3
    for name in set(method_names()) - {"gather", "retrieval"}:
        assert results[name].curies == (None, None, None), name
        assert results[name].unanswered == 3


def test_all_methods_are_offered_the_same_candidates(blood_graph) -> None:
    model = Scripted(oracle)
    compare(cases_of, blood_graph, model, seeds=2)
    listed = {
        p.partition("\nCandidates\n")[2].partition("\n\n")[0] for p in model.prompts if "\nCandidates\n" in p
    }
    assert len(listed) == 1
    mine = shared_candidates([c.annotation for c in cases_of(blood_graph)])
    assert [line.split()[0] for line in listed.pop().splitlines()] == [curie for curie, _ in mine]


def test_the_rewired_control_sees_other_evidence_but_the_same_question(blood_graph) -> None:
    prompts = {}
    for name in ("gather strict", "gather rewired"):
        model = Scripted(oracle)
        compare(cases_of, blood_graph, model, methods=[name])
        prompts[name] = model.prompts
    for one, other in zip(*prompts.values(), strict=True):
        assert one != other
        first = re.search(r"distinctive first: (.*)", one)[1]
        assert first == re.search(r"distinctive first: (.*)", other)[1]


def test_the_table_tests_every_method_against_gather(blood_graph) -> None:
    ontology = Ontology.of_cells(blood_graph)
    cases = cases_of(blood_graph)
    results = compare(cases_of, blood_graph, Scripted(oracle), methods=["retrieval", "gather", "rog"])
    wrong = replace(results[2], curies=(None, None, None))
    table = rows([*results[:2], wrong], cases, ontology, RIGHT.values())
    by_method = {row["method"]: row for row in table}
    assert by_method["gather"]["exact"].value == 1.0
    assert by_method["gather"]["p_vs_gather"] is None
    assert by_method["retrieval"]["p_vs_gather"] == 1.0
    assert by_method["rog"]["p_vs_gather"] < by_method["retrieval"]["p_vs_gather"]
    assert by_method["rog"]["unanswered"] == 3
    assert by_method["rog"]["calls"] == 2.0
    lines = list(render(table))
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert any(line.startswith("| rog | 0.000") for line in lines)


def test_the_claim_is_tested_at_equal_length(blood_graph) -> None:
    cases = cases_of(blood_graph)
    model = Scripted(oracle)
    table = claim(cases, model, budgets=(60, 300), items=(1,))
    kinds = ("both", "convergence", "unranked", "paths", "neither")
    assert [(row.limit, row.kind) for row in table][:5] == [("60 tokens", kind) for kind in kinds]
    for row in table:
        assert row.result.counters.asked == 3
        if row.limit.endswith("tokens"):
            assert row.evidence_tokens <= float(row.limit.split()[0])
        else:
            assert row.items <= 1
        if row.kind == "neither":
            assert row.evidence_tokens == 0
    lines = list(render_claim(table, cases, Ontology.of_cells(blood_graph)))
    lines = [line for line in lines if line.startswith("|")]
    assert len(lines) == 2 + 3 * len(kinds)
    assert len({line.count("|") for line in lines}) == 1
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert all(row[-5:-3] == ["", ""] for row in cells if row[1] == "paths")
    assert all(re.fullmatch(r"[+-]\d\.\d{3} \[[+-]\d\.\d{3}, [+-]\d\.\d{3}\]", row[-3]) for row in cells)


def test_costs_are_stated_for_every_seed_cap() -> None:
    lines = list(render_costs())
    assert "| tog | 48 | 68 | 108 | 228 |" in lines
    assert "| rog | 2 | 2 | 2 | 2 |" in lines
    assert any(line.startswith("| tog2 | 8 |") for line in lines)


def test_a_question_asks_for_all_genes_and_starts_from_its_seeds() -> None:
    question = Question(tuple(range(50)), tuple(f"G{i}" for i in range(50)), (), seeds=7)
    assert question.topics == tuple(range(7))
    assert question.text.count("G") == 50


def test_runs_are_the_same_every_time(blood_graph) -> None:
    runs = []
    for _ in range(2):
        model = Scripted(oracle)
        compare(cases_of, blood_graph, model, seeds=2, workers=1)
        runs.append(model.prompts)
    assert np.array_equal(*runs)


@pytest.mark.parametrize("name", method_names())
def test_one_method_can_be_run_alone(blood_graph, name: str) -> None:
    (result,) = compare(cases_of, blood_graph, Scripted(oracle), methods=[name], seeds=1)
    assert result.method == name
