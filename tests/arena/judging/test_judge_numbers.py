"""What a judge's replies add up to, worked by hand, and how much of a sample a judge is shown."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema
import pytest

from arena.judging.llm_judge import (
    LONGEST_ANSWER,
    LONGEST_FIELD,
    answer_text,
    delimited,
    judge,
)
from arena.judging.rubric import LONGEST_RATIONALE, LONGEST_REASON, RUBRICS, TOP, total, verdict_schema
from arena.tasks import TASK_TABLE, TASKS
from arena.types import Answer, JudgeCallError, Reply, Sample, Score, TaskName, Usage
from vckg.graph.graph import Graph

CELL = {"cell_type": "T cell", "cl_id": "CL:0000084"}


def question_text(sample: Sample) -> str:
    return TASK_TABLE[sample.task].question(sample)


def reference_text(sample: Sample) -> str:
    return TASK_TABLE[sample.task].reference(sample)


def sample_of(task: TaskName, gold: Mapping[str, Any], fields: Mapping[str, Any], name: str = "s") -> Sample:
    return Sample(name, task, {}, dict(gold), dict(fields), "c", {}, {})


ANNOTATION = sample_of("annotation", CELL, {"genes": ["CD3D"], "tissue": "blood", "species": "human"})
QUESTION = sample_of(
    "qa",
    {"answer": "It rises.", "claims": []},
    {"question": "Why?", "kind": "k", "title": "", "abstract": "", "passage": "", "publications": []},
)


def answer(to: Sample = ANNOTATION, text: str = "T cell", **more: Any) -> Answer:
    parsed = {"cell_type": text} if to.task == "annotation" else {"answer": text}
    return Answer(to.id, "m", to.task, text, parsed, True, False, **more)


class Scripted:
    """A judge that gives these replies one after another; what is not a text is raised."""

    def __init__(self, *replies: str | Exception) -> None:
        self.replies = list(replies)
        self.prompts: list[str] = []
        self.schemas: list[Mapping[str, Any] | None] = []

    async def __call__(self, system: str, prompt: str, schema: Mapping[str, Any] | None) -> Reply:
        self.prompts.append(prompt)
        self.schemas.append(schema)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        n = len(self.prompts)
        return Reply(reply, f"model-{n}", Usage(10**n, 2 * 10**n, False, 0.5))


def rated(ratings: Sequence[int], word: str = "because", cited: Sequence[tuple[str, str]] = ()) -> str:
    """A verdict on a question that nothing is known of, so that nothing has to be cited."""
    names = [d.name for d in RUBRICS["qa"]]
    return json.dumps(
        {
            "dimensions": {
                n: {"rating": r, "reason": f"{word} {n}"} for n, r in zip(names, ratings, strict=True)
            },
            "evidence": [{"id": i, "quote": q} for i, q in cited],
            "rationale": word,
        }
    )


def asked(by: Scripted, graph: Graph, to: Answer | None = None, **how: Any) -> dict[str, Score]:
    scores = asyncio.run(judge(QUESTION, to or answer(QUESTION), graph, by, judge_id="j", **how))
    return {s.dimension: s for s in scores}


def test_the_scores_of_four_rounds_by_hand(blood: Graph) -> None:
    """Two rated, one repaired, one whose call failed: means over three, tokens of all that replied."""
    by = Scripted(
        rated([5, 0, 5], "first", cited=[("E9", "invented")]),
        rated([3, 5, 5], "second"),
        "hm",
        rated([1, 1, 0], "repaired"),
        JudgeCallError("timed out"),
    )
    found = asked(by, blood, repeats=4)
    assert {n: s.value for n, s in found.items()} == pytest.approx(
        {
            "correctness": (5 + 3 + 1) / 3 / 5,
            "completeness": (0 + 5 + 1) / 3 / 5,
            "grounding": (5 + 5 + 0) / 3 / 5,
            "total": (0.7 + 0.8 + 0.16) / 3,
        }
    )
    # 0.5 * 5/5 + 0.3 * 0/5 + 0.2 * 5/5 = 0.7;  0.3 + 0.3 + 0.2 = 0.8;  0.1 + 0.06 + 0 = 0.16
    assert found["correctness"].reason == "repaired correctness"
    assert found["total"].reason == "repaired"
    told = found["total"].metadata
    assert (told["repeats"], told["rated"], told["repaired"], told["refused_citations"]) == (4, 3, True, 1)
    mean = (0.7 + 0.8 + 0.16) / 3
    assert told["spread"] == pytest.approx((sum((t - mean) ** 2 for t in (0.7, 0.8, 0.16)) / 3) ** 0.5)
    assert (told["input_tokens"], told["output_tokens"]) == (11110, 22220)
    assert (told["model"], told["cited"]) == ("model-4", [])


def test_one_round_has_no_spread_and_is_not_repaired(blood: Graph) -> None:
    by = Scripted(rated([4, 4, 4]))
    told = asked(by, blood)["total"].metadata
    assert (told["spread"], told["repaired"], told["refused_citations"]) == (0.0, False, 0)
    assert (told["input_tokens"], told["output_tokens"]) == (10, 20)


def test_where_no_round_was_rated_the_last_problem_is_told(blood: Graph) -> None:
    found = asked(Scripted("hm", "hm", JudgeCallError("timed out")), blood, repeats=2)
    assert {s.value for s in found.values()} == {None}
    assert found["total"].reason == found["correctness"].reason == "the judge's call failed: timed out"
    told = found["total"].metadata
    assert (told["rated"], told["repeats"], told["input_tokens"], told["spread"]) == (0, 2, 110, 0.0)
    assert told["repaired"] is False


def test_the_compatible_scale_is_averaged_too_and_its_reason_is_the_end_of_the_reply(blood: Graph) -> None:
    long = "x" * 2000 + "[Score: 4]"
    by = Scripted("[Score: 1]", long)
    found = asked(by, blood, repeats=2, compat=True)
    assert list(found) == ["total"]
    assert found["total"].value == pytest.approx((0.2 + 0.8) / 2)
    assert found["total"].reason == long[-LONGEST_FIELD:]
    assert by.schemas == [None, None]
    assert "Not found" in by.prompts[0]
    assert found["total"].metadata["prompt"].startswith("arena/judge-sc-arena-qa@")


def test_a_judge_of_what_is_known_is_shown_it_and_of_nothing_told_so(blood: Graph) -> None:
    by = Scripted(rated([1, 1, 1]))
    asked(by, blood)
    assert "(none)" in by.prompts[0]
    for compat, nothing in ((False, "(none)"), (True, "Not found")):
        shown = Scripted("hm", "hm")
        asyncio.run(judge(ANNOTATION, answer(), blood, shown, judge_id="j", compat=compat))
        assert "[E1] " in shown.prompts[0]
        assert nothing not in shown.prompts[0]


def test_an_answer_that_is_none_says_whether_it_was_refused(blood: Graph) -> None:
    for refused, reason in ((True, "refused"), (False, "no answer in the reply")):
        nothing = Answer(QUESTION.id, "m", "qa", "", None, False, refused, epoch=3)
        found = asked(Scripted(), blood, nothing)
        assert {(s.value, s.reason, s.epoch) for s in found.values()} == {(0.0, reason, 3)}
        assert set(found) == {"correctness", "completeness", "grounding", "total"}
        assert [s.scorer for s in asked(Scripted(), blood, nothing, compat=True).values()] == ["j:sc-arena"]


def test_repeats_and_seeds_go_on_from_one_another(blood: Graph) -> None:
    """Turn 2 of seed 3 is turn 1 of seed 4: what is shown depends on their sum alone, and the first on the seed."""
    texts = [rated([1, 1, 1])] * 3
    three, four = Scripted(*texts), Scripted(*texts)
    asked(three, blood, seed=3, repeats=3)
    asked(four, blood, seed=4, repeats=2)
    assert three.prompts[1:] == four.prompts
    default, zero = Scripted(*texts), Scripted(*texts)
    asked(default, blood)
    asked(zero, blood, seed=0)
    assert default.prompts == zero.prompts
    assert len(default.prompts) == 1
    assert default.prompts[0] not in three.prompts


def test_the_reference_comes_first_about_as_often_as_the_answer(blood: Graph) -> None:
    by = Scripted(*[rated([1, 1, 1])] * 100)
    asked(by, blood, repeats=100)
    assert 30 < sum(p.index("REFERENCE") < p.index("<<<answer") for p in by.prompts) < 70


def test_only_too_long_an_answer_is_cut() -> None:
    text = "x" * LONGEST_ANSWER
    assert answer_text(answer(QUESTION, text)) == text
    assert answer_text(answer(QUESTION, text + "y")) == text + " [cut here]"


def test_the_code_of_the_marker_lines_changes_with_all_that_it_is_made_of() -> None:
    lines = {
        delimited(*of).splitlines()[0] for of in (("a", "s", 0), ("b", "s", 0), ("a", "t", 0), ("a", "s", 1))
    }
    assert len(lines) == 4
    opens, text, closes = delimited("a", "s", 0).splitlines()
    assert (text, closes) == ("a", opens.replace("<<<", "<<<end of "))


def test_what_a_judge_is_asked_and_told_of_each_task() -> None:
    fields = {"genes": [f"G{i}" for i in range(120)], "tissue": "blood", "species": "human"}
    hundred = " ".join(f"G{i}" for i in range(100))
    known = sample_of("annotation", CELL, fields)
    assert question_text(known) == f"Name the type of a cell (human blood) from its highest genes: {hundred}"
    unknown = sample_of(
        "captioning", {**CELL, "caption": "It kills."}, {"genes": ["G1"], "tissue": "", "species": ""}
    )
    assert question_text(unknown) == "Describe a cell (origin unknown) from its highest genes: G1"
    assert reference_text(known) == "T cell (CL:0000084)"
    assert reference_text(unknown) == "T cell (CL:0000084): It kills."
    length = {"length": 5, "cell_type": "T cell", "tissue": "", "species": ""}
    gold = {**CELL, "markers": [f"M{i}" for i in range(70)], "sentences": [[f"G{i}" for i in range(220)]]}
    assert question_text(sample_of("generation", gold, {**length, "tissue": "lung"})) == (
        "List 5 genes by descending expression of a T cell (lung)."
    )
    assert (
        question_text(sample_of("generation", gold, length))
        == "List 5 genes by descending expression of a T cell."
    )
    markers, cell = ", ".join(f"M{i}" for i in range(60)), " ".join(f"G{i}" for i in range(200))
    assert reference_text(sample_of("generation", gold, length)) == (
        f"T cell (CL:0000084). Markers: {markers}. A real cell: {cell}"
    )
    assert reference_text(sample_of("generation", {**CELL, "markers": [], "sentences": []}, length)) == (
        "T cell (CL:0000084). Markers: none known. A real cell: none at hand"
    )
    moved = sample_of(
        "perturbation",
        {"up": ["A", "B"], "down": []},
        {"context": "a cell", "effect": "knock-out", "perturbed": ["P", "Q"], "candidates": ["A", "B"]},
    )
    assert question_text(moved) == (
        "In a cell, knock-out of P and Q: which of these genes go up and which down? A, B"
    )
    assert reference_text(moved) == "up: A, B\ndown: none"
    called = Answer("s", "m", "perturbation", "", {"up": [], "down": ["A", "B"]}, True, False)
    assert answer_text(called) == "up: none\ndown: A, B\nsentence: none"


# ---- the rubric -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_a_dimension_moves_the_total_by_its_weight_alone(task: TaskName) -> None:
    names = [d.name for d in RUBRICS[task]]
    for dimension in RUBRICS[task]:
        assert total(task, {n: TOP * (n == dimension.name) for n in names}) == pytest.approx(dimension.weight)
        assert total(task, {n: TOP - (n == dimension.name) for n in names}) == pytest.approx(
            1 - dimension.weight / 5
        )


def test_the_mean_of_two_rated_dimensions_is_weighed_by_their_weights() -> None:
    assert total("annotation", {"identity": 5, "support": 0}) == pytest.approx(0.6 / 0.85)
    assert total("annotation", {"identity": 1, "support": 4, "specificity": None}) == pytest.approx(
        (0.6 * 0.2 + 0.25 * 0.8) / 0.85
    )


def test_without_evidence_nothing_has_to_be_cited_and_with_it_something() -> None:
    reply: dict[str, Any] = json.loads(rated([0, 5, 3]))
    jsonschema.validate(reply, verdict_schema("qa", {}))
    jsonschema.validate(
        reply | {"evidence": [{"id": "E1", "quote": "q", "stance": "supports"}]}, verdict_schema("qa", {})
    )
    for words in ({"E1": ["q"]}, {"E1": ["q"], "E2": ["r", "s"]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(reply, verdict_schema("qa", words))
        one = {"evidence": [{"id": "E1", "quote": "q", "stance": "contradicts"}]}
        jsonschema.validate(reply | one, verdict_schema("qa", words))
    crossed = {"evidence": [{"id": "E1", "quote": "r", "stance": "supports"}]}  # the words of another piece
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(reply | crossed, verdict_schema("qa", {"E1": ["q"], "E2": ["r", "s"]}))


def test_reasons_may_be_as_long_as_said_and_no_longer() -> None:
    schema = verdict_schema("qa", {})
    for key, most in (("reason", LONGEST_REASON), ("rationale", LONGEST_RATIONALE)):
        for length in (most, most + 1):
            reply = json.loads(rated([0, 5, 3]))
            place = reply["dimensions"]["grounding"] if key == "reason" else reply
            place[key] = "x" * length
            valid = jsonschema.Draft202012Validator(schema).is_valid(reply)
            assert valid == (length == most), (key, length)
