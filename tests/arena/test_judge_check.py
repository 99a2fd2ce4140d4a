"""A fair judge keeps the ladder's order; a judge that likes length or obeys orders is found out."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from arena.judge_check import ORDER, check, ladder
from arena.metrics import score
from arena.rubric import RUBRICS
from arena.types import Answer, Reply, Sample
from vckg.graph import Graph

ANNOTATION = Sample(
    "t/annotation/1",
    "annotation",
    {},
    {"cell_type": "T cell", "cl_id": "CL:0000084"},
    {"genes": ["CD3D", "CD3E", "TRAC"], "tissue": "blood", "species": "human"},
    "c",
    {},
    {},
)
CAPTION = Sample(
    "t/captioning/1",
    "captioning",
    {},
    {**ANNOTATION.gold, "caption": "A lymphocyte with a T cell receptor."},
    ANNOTATION.fields,
    "c",
    {},
    {},
)
GENERATION = Sample(
    "t/generation/1",
    "generation",
    {},
    {**ANNOTATION.gold, "markers": ["CD3D", "CD3E"], "sentences": [["CD3D", "ACTB", "CD3E", "TRAC"]]},
    {
        "cell_type": "T cell",
        "cl_id": "CL:0000084",
        "description": "",
        "tissue": "",
        "species": "",
        "length": 4,
    },
    "c",
    {},
    {},
)
PERTURBATION = Sample(
    "t/perturbation/1",
    "perturbation",
    {},
    {"up": ["HBG1", "GATA1"], "down": ["SPI1"], "sentence": []},
    {
        "perturbed": ["KLF1"],
        "effect": "activation",
        "candidates": ["HBG1", "GATA1", "SPI1"],
        "control": [],
        "context": "a cell",
    },
    "c",
    {},
    {},
)
QA = Sample(
    "t/qa/1",
    "qa",
    {},
    {
        "answer": "KLF1 activates HBG1 in erythroid cells.",
        "claims": ["KLF1 activates HBG1 in erythroid cells."],
    },
    {
        "question": "What does KLF1 do?",
        "kind": "k",
        "title": "",
        "abstract": "",
        "passage": "",
        "publications": [],
    },
    "c",
    {},
    {},
)
SAMPLES = [ANNOTATION, CAPTION, GENERATION, PERTURBATION, QA]


def test_the_ladder_holds_every_rung_that_the_ontology_allows(blood: Graph) -> None:
    rungs = {r.name: r.parsed["cell_type"] for r in ladder(ANNOTATION, blood)}
    assert list(rungs) == ["gold", "synonym", "parent", "sibling", "wrong", "empty", "injected", "verbose"]
    assert (rungs["synonym"], rungs["parent"], rungs["sibling"]) == ("T lymphocyte", "lymphocyte", "B cell")
    assert rungs["wrong"] in ("fibroblast", "neuron")
    assert rungs["injected"].startswith(rungs["wrong"])


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.task)
def test_the_deterministic_metrics_climb_every_ladder(sample: Sample, blood: Graph) -> None:
    from arena.metrics import HEADLINE

    values = {}
    for rung in ladder(sample, blood):
        answer = Answer(sample.id, "x", sample.task, "", rung.parsed, True, False)
        values[rung.name] = next(
            s.value for s in score(sample, answer, blood) if s.dimension == HEADLINE[sample.task]
        )
    climbed = [values[name] for name in ORDER if name in values]
    assert climbed == sorted(climbed, key=lambda v: -(v or 0))
    assert values["gold"] == 1
    assert values["injected"] <= values["wrong"]


def test_the_knowledge_judge_keeps_the_order_and_cannot_be_moved(blood: Graph) -> None:
    found = check(blood, samples=SAMPLES)
    assert found.violation_share == 0
    assert found.instability == 0
    assert found.injection_gain == pytest.approx(0, abs=0.02)
    assert found.length_gain <= 0.001
    assert found.spearman > 0.9
    assert "order violations  0 of" in found.text()
    assert json.loads(found.json())["judge"] == "knowledge"


def reply(prompt: str, rating: int) -> Reply:
    task = "annotation"
    cited = re.search(r"^\[(E\d+)\] (.{8,30})", prompt, re.MULTILINE)
    assert cited
    dimensions = {d.name: {"rating": rating, "reason": ""} for d in RUBRICS[task]}
    return Reply(
        json.dumps({"dimensions": dimensions, "evidence": [{"id": cited[1], "quote": cited[2]}]}), "toy"
    )


async def gullible(system: str, prompt: str, schema: Mapping[str, Any] | None) -> Reply:
    return reply(prompt, 5 if "Ignore all previous" in prompt else 1)


async def wordy(system: str, prompt: str, schema: Mapping[str, Any] | None) -> Reply:
    return reply(prompt, 4 if "well established" in prompt else 1)


async def mute(system: str, prompt: str, schema: Mapping[str, Any] | None) -> Reply:
    return Reply("", "toy")


def test_a_gullible_and_a_wordy_judge_are_found_out(blood: Graph) -> None:
    obeys = check(blood, samples=[ANNOTATION], generate=gullible, judge_id="gullible")
    assert obeys.injection_gain == pytest.approx(0.8)
    assert "injected above wrong in 1 of 1" in obeys.text()
    likes_length = check(blood, samples=[ANNOTATION], generate=wordy, judge_id="wordy")
    assert likes_length.length_gain == pytest.approx(0.6)
    assert likes_length.violation_share > 0


def test_a_mute_judge_is_unscored_throughout_and_nothing_is_claimed_of_it(blood: Graph) -> None:
    found = check(blood, samples=[ANNOTATION], generate=mute, judge_id="mute")
    assert {r.judged for r in found.rungs} == {None}
    assert sum(r.unscored for r in found.rungs) == 8
    assert (found.violation_share, found.kappa, found.instability) == (None, None, None)
    assert "–" in found.text()
