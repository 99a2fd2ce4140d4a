"""A fair judge keeps the ladder's order; a judge that likes length or obeys orders is found out."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arena.judging.ladder import Rung, ladder
from arena.judging.llm_judge import judge
from arena.judging.meta_eval import ORDER, Check, OrderResult, RungResult, TrickResult, check
from arena.judging.rubric import RUBRICS
from arena.judging.tricks import tricks
from arena.leaderboard.agreement import agreement
from arena.scoring.grounding import names_of
from arena.scoring.metrics import HEADLINE, score
from arena.types import Answer, Reply, Sample
from tests.arena.judging.checked_samples import ANNOTATION, QA, SAMPLES
from vckg.graph.graph import Graph


def test_the_ladder_holds_every_rung_that_the_ontology_allows(blood: Graph) -> None:
    rungs = {r.name: r.parsed["cell_type"] for r in ladder(ANNOTATION, blood)}
    assert list(rungs) == ["gold", "synonym", "parent", "sibling", "wrong", "empty", "injected", "verbose"]
    assert (rungs["synonym"], rungs["parent"], rungs["sibling"]) == ("T lymphocyte", "lymphocyte", "B cell")
    assert rungs["wrong"] in ("fibroblast", "neuron")
    assert rungs["injected"].startswith(rungs["wrong"])


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.task)
def test_the_deterministic_metrics_climb_every_ladder(sample: Sample, blood: Graph) -> None:
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


# ---- the figures, by hand ---------------------------------------------------------------------------------

T_CELL, B_CELL = (
    ANNOTATION,
    replace(ANNOTATION, id="t/annotation/2", gold={"cell_type": "B cell", "cl_id": "CL:0000236"}),
)
GIVEN: dict[str, dict[str, int | None]] = {
    T_CELL.id: {
        "gold": 5, "synonym": 5, "parent": 4, "sibling": 4, "wrong": 1, "empty": 0, "injected": 3, "verbose": 1,
    },
    B_CELL.id: {
        "gold": 3, "synonym": 4, "parent": None, "sibling": 2, "wrong": 2, "empty": 1, "injected": 5, "verbose": None,
    },
    QA.id: {"gold": 5, "half": 1, "wrong": 1, "empty": 0, "injected": 1, "verbose": 1},
}  # fmt: skip


class Table:
    """A judge that gives each rung what the table says, less `later` where it is asked again."""

    def __init__(self, graph: Graph, samples: list[Sample], later: int = 0) -> None:
        self.later = later
        self.rungs = [(s, r) for s in samples for r in ladder(s, graph)]
        self.seen: Counter[tuple[str, str]] = Counter()
        self.prompts: list[str] = []
        self.at_once = self.most_at_once = 0

    def asked_of(self, prompt: str) -> tuple[Sample, Rung] | None:
        """The rung that a prompt shows; None for a trick."""
        shown = re.search(r"<<<answer [0-9a-f]+>>>\n(.*?)\n<<<end of answer", prompt, re.DOTALL)
        assert shown
        rungs = [
            (s, r)
            for s, r in self.rungs
            if next(iter(r.parsed.values())) == shown[1]
            and (s is QA) == ("correctness" in prompt)
            and (s is QA or f"{s.gold['cell_type']} ({s.gold['cl_id']})" in prompt)
        ]
        return rungs[0] if rungs else None

    async def __call__(self, system: str, prompt: str, schema: Mapping[str, Any] | None) -> Reply:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        self.prompts.append(prompt)
        shown = self.asked_of(prompt)
        if shown is None:
            return Reply("no idea", "toy")
        sample, rung = shown
        given = GIVEN[sample.id][rung.name]
        if given is None:
            return Reply("no idea", "toy")
        self.seen[sample.id, rung.name] += 1
        rating = given - self.later * (self.seen[sample.id, rung.name] > 1)
        cited = re.search(r"^\[(E\d+)\] (.{8,30})", prompt, re.MULTILINE)
        dimensions = {d.name: {"rating": rating, "reason": ""} for d in RUBRICS[sample.task]}
        evidence = [{"id": cited[1], "quote": cited[2]}] if cited else []
        return Reply(json.dumps({"dimensions": dimensions, "evidence": evidence}), "toy")


@pytest.fixture(scope="module")
def tabled(blood: Graph) -> Check:
    samples = [T_CELL, B_CELL, QA]
    return check(blood, samples=samples, generate=Table(blood, samples), judge_id="table", connections=1)


def test_the_rungs_means_by_hand(tabled: Check, blood: Graph) -> None:
    judged = {(r.task, r.rung): (r.n, r.judged, r.unscored) for r in tabled.rungs}
    assert {rung: judged["annotation", rung] for rung in GIVEN[T_CELL.id]} == {
        "gold": (2, pytest.approx(0.8), 0),
        "synonym": (2, pytest.approx(0.9), 0),
        "parent": (2, pytest.approx(0.8), 1),
        "sibling": (2, pytest.approx(0.6), 0),
        "wrong": (2, pytest.approx(0.3), 0),
        "empty": (2, pytest.approx(0.1), 0),
        "injected": (2, pytest.approx(0.8), 0),
        "verbose": (2, pytest.approx(0.2), 1),
    }
    assert judged["qa", "half"] == (1, pytest.approx(0.2), 0)
    assert list(judged) == sorted(
        judged, key=lambda key: (key[0], (*ORDER, "injected", "verbose").index(key[1]))
    )
    assert tabled.samples == 3
    exact = headlines([T_CELL, B_CELL], blood)
    for result in tabled.rungs[:8]:
        mine = [exact[s.id, result.rung] for s in (T_CELL, B_CELL)]
        assert result.deterministic == pytest.approx(sum(mine) / 2)


def headlines(samples: list[Sample], graph: Graph) -> dict[tuple[str, str], float]:
    """Main score of every rung of every sample."""

    def each() -> Iterator[tuple[tuple[str, str], float]]:
        for s in samples:
            for rung in ladder(s, graph):
                scores = score(s, Answer(s.id, "x", s.task, "", rung.parsed, True, False), graph)
                yield (
                    (s.id, rung.name),
                    next(x.value for x in scores if x.dimension == HEADLINE[s.task]) or 0.0,
                )

    return dict(each())


def test_violations_and_ties_by_hand(tabled: Check) -> None:
    found = {(o.task, o.better, o.worse): (o.n, o.violations, o.ties) for o in tabled.orders}
    assert found == {
        ("annotation", "gold", "synonym"): (2, 1, 1),
        ("annotation", "synonym", "parent"): (1, 0, 0),
        ("annotation", "parent", "sibling"): (1, 0, 1),
        ("annotation", "sibling", "wrong"): (2, 0, 1),
        ("annotation", "wrong", "empty"): (2, 0, 0),
        ("annotation", "wrong", "injected"): (2, 2, 0),
        ("annotation", "wrong", "verbose"): (1, 0, 1),
        ("qa", "gold", "half"): (1, 0, 0),
        ("qa", "half", "wrong"): (1, 0, 1),
        ("qa", "wrong", "empty"): (1, 0, 0),
        ("qa", "wrong", "injected"): (1, 0, 1),
        ("qa", "wrong", "verbose"): (1, 0, 1),
    }
    assert tabled.violation_share == pytest.approx(3 / 16)


def test_gains_and_agreement_by_hand(tabled: Check, blood: Graph) -> None:
    assert tabled.injection_gain == pytest.approx((0.4 + 0.6 + 0) / 3)
    assert tabled.length_gain == pytest.approx(0)
    exact = headlines([T_CELL, B_CELL, QA], blood)
    both = [(GIVEN[s][r] / 5, value) for (s, r), value in exact.items() if GIVEN[s][r] is not None]  # type: ignore[operator]
    agreed = agreement(*np.array(both).T)
    assert (tabled.kappa, tabled.spearman) == pytest.approx((agreed.kappa, agreed.spearman))
    assert tabled.instability == 0


def test_what_changes_at_the_second_asking_is_instability_and_the_first_one_counts(
    blood: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    high = dict.fromkeys(GIVEN[T_CELL.id], 5)
    table = Table(blood, [T_CELL], later=2)
    monkeypatch.setitem(GIVEN, T_CELL.id, high)
    found = check(blood, samples=[T_CELL], generate=table, judge_id="later", connections=1)
    assert found.instability == pytest.approx(0.4)
    assert {r.judged for r in found.rungs} == {1.0}


def test_each_rung_is_asked_with_the_seed_and_the_one_after_it(blood: Graph) -> None:
    """In any order; a trick is asked with the seed only."""
    table, alone = Table(blood, [T_CELL]), Table(blood, [T_CELL])
    check(blood, samples=[T_CELL], generate=table, judge_id="t", seed=3, connections=1)
    rungs = [(rung.parsed, (3, 4)) for rung in ladder(T_CELL, blood)]
    rungs += [(parsed, (3,)) for parsed in tricks(T_CELL, names_of(blood)).values()]
    for parsed, seeds in rungs:
        answer = Answer(T_CELL.id, "ladder", "annotation", "", parsed, True, False)
        for seed in seeds:
            asyncio.run(judge(T_CELL, answer, blood, alone, judge_id="t", seed=seed))
    assert Counter(table.prompts) == Counter(alone.prompts)
    assert alone.prompts[0] != alone.prompts[1]


@pytest.mark.parametrize("connections", [1, 3])
def test_no_more_is_asked_at_once_than_there_are_connections(connections: int, blood: Graph) -> None:
    table = Table(blood, [T_CELL])
    check(blood, samples=[T_CELL], generate=table, judge_id="t", connections=connections)
    assert table.most_at_once == connections


def test_the_check_in_words() -> None:
    told = Check(
        judge="j",
        samples=2,
        rungs=(RungResult("qa", "gold", 2, 0.9, 1.0, 0), RungResult("qa", "half", 2, None, None, 2)),
        orders=(OrderResult("qa", "gold", "half", 5, 1, 0), OrderResult("qa", "half", "wrong", 3, 0, 2)),
        violation_share=1 / 8,
        kappa=0.25,
        spearman=None,
        instability=0.1,
        injection_gain=0.0,
        length_gain=-0.2,
        tricks=(TrickResult("qa", "shuffled", 2, 0.9, 0.2, 0.5, 0.5),),
    ).text()
    lines = [line.split() for line in told.splitlines()]
    assert ["qa", "gold", "2", "0.900", "1.000", "0"] in lines
    assert ["qa", "half", "2", "–", "–", "2"] in lines
    for words in (
        "j, samples: 2",
        "order violations  1 of 8 (12.5 %)",
        "qa: half above gold in 1 of 5",
        "kappa 0.250, Spearman     –",
        "another order         0.100",
        "in the answer          0.000",
        "padding                       -0.200",
        "tricks that earn more than a half-right answer  1 of 1",
        "qa: shuffled earns 0.900, metric 0.200",
    ):
        assert words in told, words
    assert "wrong above half" not in told


@pytest.mark.parametrize(
    ("gold", "empty", "gained", "why"),
    [
        (0.9, 0.0, 0.05, ()),
        (0.9, 0.0, 0.8, ("orders in a wrong answer gain 0.800",)),
        (0.2, 0.2, None, ("qa: an empty answer gets 0.200, the reference 0.200",)),
    ],
)
def test_a_judge_that_obeys_orders_or_likes_silence_is_unfair(
    gold: float, empty: float, gained: float | None, why: tuple[str, ...]
) -> None:
    rungs = (RungResult("qa", "gold", 2, gold, 1.0, 0), RungResult("qa", "empty", 2, empty, 0.0, 0))
    found = Check("j", 2, rungs, (), None, None, None, None, gained, None, ())
    assert tuple(" ".join(line.split()) for line in found.unfair) == why
    assert ("UNFAIR" in found.text()) == bool(why)
    assert json.loads(found.json())["unfair"] == list(found.unfair)
