"""The anchors on real data: all 608 cell types and 138 perturbations of SC-Arena, the Cell Ontology in full."""

import json
from pathlib import Path

import cellxgene_ontology_guide
import numpy as np
import pandas as pd
import pytest
import zstandard

from arena import rankings
from arena.scoring import metrics
from arena.scoring.grounding import names_of
from arena.types import Answer, Sample
from vckg.graph.graph import Graph

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def cells() -> Graph:
    """The Cell Ontology of the installed package, live terms only."""
    folder = Path(cellxgene_ontology_guide.__file__).parent / "data"
    newest = max(folder.glob("CL-ontology-*.json.zst"))
    with zstandard.open(newest, "rt", encoding="utf-8") as lines:
        terms = {i: t for i, t in json.load(lines).items() if i.startswith("CL:") and not t.get("deprecated")}
    nodes = pd.DataFrame(
        [
            {
                "id": i,
                "category": "Cell",
                "name": t["label"],
                "synonyms": tuple(t.get("synonyms") or ()),
                "description": t.get("description") or "",
            }
            for i, t in terms.items()
        ]
    )
    edges = [
        (i, "subclass_of", parent, "cl")
        for i, t in terms.items()
        for parent, distance in t["ancestors"].items()
        if distance == 1 and parent in terms
    ]
    return Graph.from_frames(nodes, pd.DataFrame(edges, columns=["subject", "relation", "object", "source"]))


@pytest.fixture(scope="module")
def annotations(mirror: Path) -> list[Sample]:
    lines = (mirror / "scarena" / "cell_sentences_fixed.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [
        Sample(
            f"sc-arena/annotation/{row['cell_ontology_id']}",
            "annotation",
            {},
            {"cell_type": row["cell_type"], "cl_id": row["cell_ontology_id"]},
            {"genes": row["cell_sentence"].split(), "tissue": row["tissue"], "species": ""},
            row["cell_ontology_id"],
            {},
            {},
        )
        for row in rows
    ]


def scored(sample: Sample, cell_type: str, graph: Graph) -> dict[str, float]:
    answer = Answer(sample.id, "x", sample.task, "", {"cell_type": cell_type}, True, False)
    return {s.dimension: s.value for s in metrics.score(sample, answer, graph) if s.value is not None}


def test_gold_is_1_in_every_dimension_for_all_608_types(annotations: list[Sample], cells: Graph) -> None:
    assert len(annotations) == 608
    for sample in annotations:
        found = scored(sample, sample.gold["cell_type"], cells)
        assert set(found.values()) == {1.0}, sample.id
        assert scored(sample, sample.gold["cl_id"], cells)["exact"] == 1


def test_gold_above_sibling_above_unrelated_for_every_type(annotations: list[Sample], cells: Graph) -> None:
    names = names_of(cells)
    ontology = names.ontology
    children: dict[int, list[int]] = {}
    for i in range(len(ontology)):
        for parent in ontology.parents(i):
            children.setdefault(parent, []).append(i)
    rng = np.random.default_rng(0)
    unrelated, siblings, blind = [], [], []
    for sample in annotations:
        truth = ontology.position(str(names.truth(sample)))
        far = ontology.terms[int(rng.choice(np.flatnonzero(ontology.lin_to_all(truth) < 0.2)))]
        unrelated.append(scored(sample, far, cells)["lin"])
        assert unrelated[-1] < 0.2
        blind.append(scored(sample, "cell", cells)["lin"])
        parent = max(ontology.parents(truth), key=lambda i: ontology.information[i])
        near = [i for i in children[parent] if ontology.relation(i, truth) == "sibling"]
        if near and ontology.information[parent] > 0.15:  # children of "cell" have nothing in common
            siblings.append(scored(sample, ontology.terms[near[0]], cells)["lin"])
            assert 1 > siblings[-1] > unrelated[-1], sample.id
    assert len(siblings) > 500
    # Only a type that is itself next to the root ("somatic cell") has anything in common with "cell".
    assert np.mean(blind) < 0.002
    assert max(blind) < 0.1
    assert np.mean(siblings) > 0.5 > 0.15 > np.mean(unrelated)


def test_a_blind_answer_scores_what_chance_says(annotations: list[Sample], cells: Graph) -> None:
    """Random labels stay within the interval around the expected similarity, far below 1."""
    ontology = names_of(cells).ontology
    rng = np.random.default_rng(1)
    labels = [s.gold["cell_type"] for s in annotations]
    drawn = rng.permutation(labels)
    found = np.array(
        [scored(s, str(label), cells)["lin"] for s, label in zip(annotations, drawn, strict=True)]
    )
    at = [ontology.position(str(names_of(cells).truth(s))) for s in annotations]
    expected = np.mean([ontology.lin_to_all(i)[at].mean() for i in at])
    assert abs(found.mean() - expected) < 3 * found.std() / np.sqrt(len(found))
    assert found.mean() < 0.4


def test_copying_the_control_has_jaccard_0_811_and_changes_nothing(mirror: Path, cells: Graph) -> None:
    rows = json.loads((mirror / "scarena" / "test_perturbation.json").read_text(encoding="utf-8"))
    overlaps = []
    for row in rows:
        control, outcome = row["ctrl_sentence"].split(), row["pert_sentence"].split()
        overlaps.append(rankings.jaccard(control, outcome))
        assert rankings.delta_correlation(control, outcome, control) == 0
        assert rankings.delta_correlation(control, outcome, outcome) == pytest.approx(1)
    assert np.mean(overlaps) == pytest.approx(0.811, abs=0.002)
