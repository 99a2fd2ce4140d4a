"""The KG-RAG methods: exact numbers of calls, what they see, what a bad reply does."""

import json
import re
from collections.abc import Callable

import jsonschema
import pytest

from gather.benchmark.baselines import pog, rog, tog, tog2
from gather.benchmark.baselines.graph_view import GraphView, Hop
from gather.benchmark.baselines.interface import Question, attempt
from gather.llm.base import Counted, ModelFailure, Scripted

TERMS = (("CL:0000084", "T cell"), ("CL:0000236", "B cell"))
RIGHT = json.dumps({"sufficient": True, "cell_type_ontology_term_id": "CL:0000084", "reasons": []})
NOT_YET = json.dumps({"sufficient": False, "reason": "more", "clue": "immune receptor"})
METHODS = {"tog": tog.answer, "tog2": tog2.answer, "rog": rog.answer, "pog": pog.answer}


class Tree:
    """An endless graph: every node has three relations, each to three nodes of its own."""

    def __init__(self, fan: int = 3) -> None:
        self.fan = fan

    def hops(self, node: int) -> list[Hop]:
        return [Hop(f"r{i}", "out") for i in range(3)] + ([] if node < 100 else [Hop(f"r{node % 3}", "in")])

    def neighbours(self, node: int, hop: Hop) -> list[int]:
        base = (node * 3 + int(hop.relation[1])) * 100 + 100
        return [base + i for i in range(self.fan)]

    def name(self, node: int) -> str:
        return f"n{node}"

    def category(self, node: int) -> str:
        return "Gene" if node < 100 else "Cell"

    def text(self, node: int) -> str:
        return f"n{node} is a thing. It is seen in blood{node % 7}."

    def schema(self) -> list[tuple[str, str, str]]:
        return [("Gene", "r0", "Cell"), ("Cell", "r1", "Cell"), ("Gene", "interacts_with", "Gene")]


def question(n: int = 5, **changes: object) -> Question:
    genes = tuple(range(1, n + 1))
    return Question(genes, tuple(f"n{g}" for g in genes), TERMS, **{"seeds": n, **changes})  # type: ignore[arg-type]


def kind(prompt: str) -> str:
    """Which prompt this is, by a phrase of its own."""
    marks = {
        "score each between 0 and 1; the scores sum to 1": "tog-relations",
        "Score each entity": "tog-entities",
        "suitable starting points": "tog2-topics",
        "Choose for each entity at most": "tog2-relations",
        "relation paths": "rog-plan",
        "as few sub-objectives": "pog-objectives",
        "as few highly relevant relations": "pog-relations",
        "minimum possible number": "pog-entities",
        "Say in a few words": "pog-memory",
        "looked at again, beside these": "pog-reflect",
        "must be looked at again, as few": "pog-revisit",
        '{"sufficient": false': "enough",
        "Which candidate is this set of cells": "answer",
    }
    return next(name for mark, name in marks.items() if mark in prompt)


def chosen(*numbers: int) -> str:
    return json.dumps({"chosen": [{"number": n, "score": 1.0 / (i + 2)} for i, n in enumerate(numbers)]})


def reluctant(prompt: str) -> str:
    """Keeps all it may and is never satisfied: the worst case."""
    replies = {
        "tog-relations": chosen(1, 2, 3),
        "tog-entities": chosen(1, 2, 3),
        "tog2-topics": chosen(1, 2, 3),
        "tog2-relations": chosen(1, 2, 3),
        "rog-plan": json.dumps({"paths": [["r0"], ["r0", "r1"], ["nonsense"]]}),
        "pog-objectives": json.dumps({"objectives": ["a", "b"]}),
        "pog-relations": chosen(1, 2),
        "pog-entities": chosen(1),
        "pog-memory": json.dumps({"memory": ["x", "y"]}),
        "pog-reflect": json.dumps({"add": True}),
        "pog-revisit": chosen(1),
        "enough": NOT_YET,
        "answer": RIGHT,
    }
    return replies[kind(prompt)]


def run(
    method: Callable, script: Callable[[str], str], q: Question | None = None, kg: object = None
) -> tuple:
    scripted = Scripted(script)
    model = Counted(scripted)
    outcome = attempt(method, q or question(), kg or Tree(), model)  # type: ignore[arg-type]
    assert outcome.calls == model.counters.asked
    return outcome, [kind(p) for p in scripted.prompts], scripted.prompts


# --- numbers of calls --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [1, 2, 5, 10, 20, 50])
def test_tog_needs_as_many_calls_as_its_formula_says(seeds: int) -> None:
    outcome, asked, _ = run(tog.answer, reluctant, question(seeds))
    assert outcome.calls == tog.calls_at_most(seeds) == seeds * 4 + 1 + 2 * 13 + 1
    assert asked.count("enough") == 3
    assert (outcome.curie, outcome.stopped, outcome.misread) == ("CL:0000084", "depth", 0)


def test_tog_with_fifty_genes_is_the_published_worst_case() -> None:
    assert tog.calls_at_most(50) == 228


@pytest.mark.parametrize(("width", "depth"), [(1, 1), (2, 4), (3, 2)])
def test_tog_follows_its_formula_at_any_width_and_depth(width: int, depth: int) -> None:
    settings = tog.Settings(width=width, depth=depth)
    outcome, _, _ = run(lambda talk, kg: tog.answer(talk, kg, settings), reluctant)
    assert outcome.calls == tog.calls_at_most(5, settings)


@pytest.mark.parametrize(("seeds", "calls"), [(2, 7), (5, 8), (50, 8)])
def test_tog2_needs_a_call_for_topics_and_two_a_depth(seeds: int, calls: int) -> None:
    outcome, asked, _ = run(tog2.answer, reluctant, question(seeds))
    assert outcome.calls == tog2.calls_at_most(seeds) == calls
    assert asked.count("tog2-relations") == asked.count("enough") == 3


@pytest.mark.parametrize("seeds", [1, 50])
def test_rog_needs_two_calls(seeds: int) -> None:
    outcome, asked, _ = run(rog.answer, reluctant, question(seeds))
    assert asked == ["rog-plan", "answer"]
    assert outcome.calls == rog.calls_at_most(seeds) == 2


@pytest.mark.parametrize("seeds", [1, 5])
def test_pog_needs_the_calls_of_its_sum(seeds: int) -> None:
    outcome, asked, _ = run(pog.answer, reluctant, question(seeds))
    # every entity keeps two relations, every relation one entity, every reflection brings one entity back
    frontiers = [seeds, 2 * seeds + 1, 2 * (2 * seeds + 1) + 1, 2 * (2 * (2 * seeds + 1) + 1) + 1]
    frontiers = [min(f, 30 + (d > 0)) for d, f in enumerate(frontiers)]
    expected = pog.calls(frontiers, [2 * f for f in frontiers], 3, 3, fallback=True)
    assert outcome.calls == expected
    assert [asked.count(k) for k in ("pog-objectives", "pog-memory", "enough", "answer")] == [1, 4, 4, 1]


def test_pog_stops_asking_whether_to_go_back_after_its_returns_are_used_up() -> None:
    settings = pog.Settings(depth=4, returns=1)
    _, asked, _ = run(lambda talk, kg: pog.answer(talk, kg, settings), reluctant, question(1))
    assert asked.count("pog-reflect") == asked.count("pog-revisit") == 1


@pytest.mark.parametrize("name", ["tog", "tog2", "pog"])
def test_a_sufficient_first_depth_ends_the_search(name: str) -> None:
    outcome, asked, _ = run(METHODS[name], lambda p: RIGHT if kind(p) == "enough" else reluctant(p))
    assert (outcome.curie, outcome.stopped) == ("CL:0000084", "sufficient")
    assert asked.count("enough") == 1
    assert "answer" not in asked


# --- fairness ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_the_final_prompt_is_the_same_for_every_method_but_for_its_evidence(name: str) -> None:
    _, _, prompts = run(METHODS[name], reluctant)
    bare = re.sub(r"(Genes, [^\n]*\n).*(\n</evidence>)", r"\1\2", prompts[-1], flags=re.DOTALL)
    reference = run(rog.answer, reluctant)[2][-1]
    assert bare == re.sub(r"(Genes, [^\n]*\n).*(\n</evidence>)", r"\1\2", reference, flags=re.DOTALL)


@pytest.mark.parametrize("name", METHODS)
def test_only_the_seeds_become_topics_but_all_genes_are_in_the_question(name: str) -> None:
    _, _, prompts = run(METHODS[name], reluctant, question(30, seeds=2))
    assert all(
        "n30" in prompt.partition("\n")[0] or kind(prompt) in ("answer", "enough") for prompt in prompts
    )
    assert not any("Topic entity: n3\n" in prompt for prompt in prompts)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_question_gives_the_same_prompts(name: str) -> None:
    wide = Tree(fan=90)
    assert run(METHODS[name], reluctant, kg=wide)[2] == run(METHODS[name], reluctant, kg=wide)[2]


# --- bad replies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "said", ["", "A T cell.", '{"chosen": "all"}', '{"chosen": [99]}', "[[", '{"chosen": [{}]}']
)
def test_nonsense_is_a_wrong_answer_that_is_counted(name: str, said: str) -> None:
    outcome, _, _ = run(METHODS[name], lambda _: said)
    assert outcome.curie is None
    assert outcome.misread >= 1


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_model_that_falls_silent_makes_a_wrong_answer_not_a_missing_one(name: str, after: int) -> None:
    calls = 0

    def script(prompt: str) -> str:
        nonlocal calls
        calls += 1
        if calls > after:
            raise ModelFailure("500, 5 times", attempts=5)
        return reluctant(prompt)

    outcome, asked, _ = run(METHODS[name], script)
    if name == "rog" and after == 4:
        assert outcome.curie == "CL:0000084"
        return
    assert (outcome.curie, outcome.stopped, outcome.note) == (None, "failed", "500, 5 times")
    assert len(asked) == after + 1


def test_misread_entity_scores_count_as_equal() -> None:
    outcome, _, _ = run(tog.answer, lambda p: "hm" if kind(p) == "tog-entities" else reluctant(p))
    assert len(outcome.evidence) == 9
    assert outcome.misread == 5 * 3 + 2 * 9


def test_an_answer_outside_the_candidates_is_wrong() -> None:
    outcome, _, _ = run(
        rog.answer, lambda p: RIGHT.replace("084", "999") if kind(p) == "answer" else reluctant(p)
    )
    assert (outcome.curie, outcome.misread) == (None, 1)
    assert "not offered" in outcome.note


def test_tog_does_not_walk_back_by_the_relation_it_came_by() -> None:
    seen: list[str] = []

    def script(prompt: str) -> str:
        if kind(prompt) == "tog-relations" and "Topic entity: n1\n" not in prompt:
            seen.append(prompt)
        return reluctant(prompt)

    run(tog.answer, script, question(1))
    assert seen
    for prompt in seen:
        node = int(re.search(r"Topic entity: n(\d+)", prompt)[1])  # type: ignore[index]
        came_by = (node - 100) // 100 % 3
        assert f"<-r{came_by}-" not in prompt


def test_wide_neighbourhoods_are_sampled() -> None:
    _, _, prompts = run(tog.answer, reluctant, kg=Tree(fan=40))
    shown = [p for p in prompts if kind(p) == "tog-entities"]
    assert all("\n5. " in p and "\n6. " not in p for p in shown)


@pytest.mark.parametrize("name", METHODS)
def test_every_reply_is_held_to_a_strict_schema_that_admits_what_the_prompt_asks_for(name: str) -> None:
    seen: list[str] = []

    class Checking(Scripted):
        def complete(self, prompt, *, schema=None, max_tokens=None):
            reply = super().complete(prompt, schema=schema, max_tokens=max_tokens)
            jsonschema.Draft202012Validator.check_schema(schema)
            assert schema["required"] == list(schema["properties"])
            assert schema["additionalProperties"] is False
            seen.append(kind(self.prompts[-1]))
            if seen[-1] in (
                "tog-relations",
                "tog-entities",
                "tog2-relations",
                "pog-memory",
                "pog-objectives",
            ):
                jsonschema.validate(json.loads(reply.text), schema)
            return reply

    attempt(METHODS[name], question(), Tree(), Checking(reluctant))
    assert seen


# --- plans ---------------------------------------------------------------------------------------------------

KINDS = [
    ("Cell", "subclass_of", "Cell"),
    ("Gene", "interacts_with", "Gene"),
    ("Gene", "is_marker_for", "Cell"),
    ("Gene", "participates_in", "BiologicalProcess"),
    ("Cell", "capable_of", "BiologicalProcess"),
]


def plans(*paths: object) -> list[str]:
    found = rog.planned_paths(list(paths), KINDS, rog.Settings())
    return ["".join(str(hop) for hop in plan) for plan in found]


def test_plans_are_checked_against_the_kinds_of_edges_and_given_directions() -> None:
    assert plans(["is_marker_for"]) == ["-is_marker_for->"]
    assert plans(["participates_in", "capable_of"]) == ["-participates_in-><-capable_of-"]
    assert plans(["is_marker_for", "subclass_of"]) == [
        "-is_marker_for->-subclass_of->",
        "-is_marker_for-><-subclass_of-",
    ]
    assert plans(["interacts_with", "is_marker_for"]) == [
        "-interacts_with->-is_marker_for->",
        "<-interacts_with--is_marker_for->",
    ]
    assert plans(["participates_in"], ["nonsense"], [], "text", [None], ["is_marker_for"] * 4) == []


def test_rog_without_a_plan_answers_without_evidence() -> None:
    outcome, _, prompts = run(
        rog.answer, lambda p: '{"paths": []}' if kind(p) == "rog-plan" else reluctant(p)
    )
    assert outcome.curie == "CL:0000084"
    assert outcome.evidence == ()
    assert len(prompts) == 2


# --- the view of a real graph --------------------------------------------------------------------------------


def test_a_graph_is_seen_both_ways_with_parallel_edges_as_one(make_graph) -> None:
    rows = [
        {"subject": "HGNC:1", "relation": "is_marker_for", "object": "CL:0000084", "source": "toy"},
        {"subject": "HGNC:1", "relation": "is_marker_for", "object": "CL:0000084", "source": "other"},
        {"subject": "HGNC:1", "relation": "participates_in", "object": "GO:1"},
        {"subject": "CL:0000084", "relation": "capable_of", "object": "GO:1"},
    ]
    graph = make_graph(rows, names={"CL:0000084": "T <cell>", "HGNC:1": "CD3D", "GO:1": "signalling"})
    view = GraphView(graph)
    gene, cell, process = (graph.index(c) for c in ("HGNC:1", "CL:0000084", "GO:1"))
    assert view.hops(cell) == [Hop("capable_of", "out"), Hop("is_marker_for", "in")]
    assert view.neighbours(cell, Hop("is_marker_for", "in")) == [gene]
    assert view.neighbours(gene, Hop("participates_in", "out")) == [process]
    assert view.name(cell) == "T ‹cell›"
    assert view.text(cell) == "T ‹cell› is a Cell."
    assert ("Gene", "is_marker_for", "Cell") in view.schema()

    q = Question((gene,), ("CD3D",), TERMS, seeds=1)
    plan = json.dumps({"paths": [["participates_in", "capable_of"], ["is_marker_for"]]})
    outcome = attempt(rog.answer, q, view, Scripted(lambda p: plan if kind(p) == "rog-plan" else RIGHT))
    assert sorted(outcome.evidence) == [
        "CD3D -is_marker_for-> T ‹cell›",
        "CD3D -participates_in-> signalling <-capable_of- T ‹cell›",
    ]
