"""The rungs of the ladder that a judge has to climb, by hand."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from arena.judging.ladder import ladder
from arena.scoring.grounding import names_of
from arena.types import Sample
from gather.ontology import Ontology
from tests.arena.judging.checked_samples import ANNOTATION, CAPTION, GENERATION, PERTURBATION, QA
from vckg.graph.graph import Graph


def rungs_of(sample: Sample, graph: Graph) -> dict[str, dict[str, Any]]:
    return {r.name: r.parsed for r in ladder(sample, graph)}


@pytest.fixture(scope="module")
def town() -> Graph:
    """Cells of a made-up body, a name of which is written in another way, and one that two types share."""
    cells = {  # id -> (name, parents, synonyms)
        "CL:0000000": ("cell", (), ()),
        "CL:0000010": ("blood cell", ("CL:0000000",), ()),
        "CL:0000011": ("stem cell", ("CL:0000010", "CL:0000000"), ("A-twin", "Stem-Cell", "progenitor")),
        "CL:0000012": ("red cell", ("CL:0000010",), ("A-twin",)),
        "CL:0000013": ("pale red cell", ("CL:0000012",), ()),
        "CL:0000014": ("young red cell", ("CL:0000010", "CL:0000012"), ()),
        "CL:0000020": ("bone cell", ("CL:0000000",), ()),
        "CL:0000021": ("long bone cell", ("CL:0000020",), ()),
        "CL:0000022": ("short-lived bone cell", ("CL:0000020",), ()),
    }
    nodes = [
        {"id": i, "category": "Cell", "name": name, "synonyms": synonyms, "description": f"A {name}."}
        for i, (name, _, synonyms) in cells.items()
    ]
    edges = [
        {"subject": child, "relation": "subclass_of", "object": parent, "source": "cl"}
        for child, (_, parents, _) in cells.items()
        for parent in parents
    ]
    return Graph.from_frames(pd.DataFrame(nodes), pd.DataFrame(edges))


def of_type(curie: str, name: str, key: str = "t/annotation/town") -> Sample:
    return replace(ANNOTATION, id=key, gold={"cell_type": name, "cl_id": curie})


def test_the_rungs_of_a_type_by_hand(town: Graph) -> None:
    """Its name written otherwise is no synonym, nor one that two bear; the parent is the most special, not the root."""
    rungs = rungs_of(of_type("CL:0000011", "stem cell"), town)
    named = {rung: parsed["cell_type"] for rung, parsed in rungs.items()}
    assert {n: named[n] for n in ("gold", "synonym", "parent", "sibling", "empty")} == {
        "gold": "stem cell",
        "synonym": "progenitor",
        "parent": "blood cell",
        "sibling": "red cell",
        "empty": "",
    }
    assert list(rungs_of(of_type("CL:0000010", "blood cell"), town))[:2] == [
        "gold",
        "wrong",
    ]  # below the root
    deep = rungs_of(of_type("CL:0000013", "pale red cell"), town)
    assert deep["parent"] == {"cell_type": "red cell"}
    assert deep["sibling"] == {"cell_type": "young red cell"}
    assert rungs_of(of_type("CL:0000014", "young red cell"), town)["parent"] == {"cell_type": "red cell"}


def test_the_wrong_type_is_any_plain_leaf_that_shares_next_to_nothing(town: Graph) -> None:
    wrong = Counter(
        rungs_of(of_type("CL:0000011", "stem cell", str(i)), town)["wrong"]["cell_type"] for i in range(20)
    )
    ontology: Ontology = names_of(town).ontology
    at = ontology.position("CL:0000011")
    assert wrong == {"long bone cell": 20}  # the short-lived one's name is not plain, the bone cell no leaf
    assert ontology.lin(at, ontology.position("CL:0000021")) < 0.25
    assert ontology.lin(at, ontology.position("CL:0000012")) >= 0.25


def test_a_type_that_the_ontology_does_not_hold_has_no_rung_of_its_own(blood: Graph) -> None:
    unknown = replace(ANNOTATION, gold={"cell_type": "ghost", "cl_id": "CL:9999999"})
    assert list(rungs_of(unknown, blood)) == ["empty", "injected", "verbose"]


def test_a_caption_says_the_type_and_its_own_definition(blood: Graph) -> None:
    rungs = rungs_of(CAPTION, blood)
    own = "A lymphocyte with a T cell receptor."
    assert rungs["gold"] == {"caption": f"T cell: {own}"}
    assert rungs["synonym"] == {"caption": f"T lymphocyte: {own}"}
    assert rungs["parent"] == {"caption": "lymphocyte: A leukocyte of the lymphoid line."}
    assert rungs["sibling"] == {"caption": "B cell: A lymphocyte that makes antibodies."}
    assert rungs["wrong"]["caption"] in (
        "fibroblast: A cell of connective tissue.",
        "neuron: The cell of the nervous system.",
    )
    assert rungs["empty"] == {"caption": ""}
    assert rungs["verbose"]["caption"].startswith(rungs["wrong"]["caption"] + ".")


@pytest.mark.parametrize("length", [4, 5])
def test_half_a_list_of_genes_is_every_second_one_and_random_genes_between(length: int, blood: Graph) -> None:
    gold = ["CD3D", "ACTB", "CD3E", "TRAC", "CD4"][:length]
    sample = replace(GENERATION, gold={**GENERATION.gold, "sentences": [gold]})
    rungs = {name: parsed["genes"] for name, parsed in rungs_of(sample, blood).items()}
    assert rungs["gold"] == gold
    assert rungs["half"][::2] == gold[::2]
    assert rungs["half"][1::2] == rungs["wrong"][1::2]
    assert rungs == {name: parsed["genes"] for name, parsed in rungs_of(sample, blood).items()}
    assert len(rungs["wrong"]) == len(set(rungs["wrong"])) == length
    assert rungs["injected"][:-1] == rungs["wrong"]
    assert rungs["empty"] == []


def test_half_a_perturbation_has_the_first_half_of_its_genes_on_the_wrong_side(blood: Graph) -> None:
    """Of A B C in order of name, two are turned round; a single gene has no half."""

    def called(up: list[str], down: list[str]) -> dict[str, tuple[list[str], list[str]]]:
        sample = replace(PERTURBATION, gold={"up": up, "down": down, "sentence": []})
        return {n: (p["up"], p["down"]) for n, p in rungs_of(sample, blood).items()}

    three = called(["C", "A"], ["B"])
    assert three["gold"] == (["C", "A"], ["B"])
    assert three["half"] == (["B", "C"], ["A"])
    assert three["wrong"] == (["B"], ["C", "A"])
    assert three["empty"] == ([], [])
    assert (three["injected"][0][:1], three["injected"][1]) == (["B"], ["C", "A"])
    assert called(["A"], ["B"])["half"] == ([], ["A", "B"])
    assert "half" not in called(["A"], [])


def test_half_an_answer_is_its_first_half(blood: Graph) -> None:
    for text, half in (("one", "one"), ("one two three", "one"), ("one two three four", "one two")):
        rungs = rungs_of(replace(QA, gold={"answer": text, "claims": []}), blood)
        assert (rungs["gold"], rungs["half"]) == ({"answer": text}, {"answer": half})
        assert rungs["verbose"]["answer"].startswith(rungs["wrong"]["answer"])
