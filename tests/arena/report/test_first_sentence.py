"""The first sentence of the page says what the tests allow: for a table, a tie, one contestant, an open book."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from arena.leaderboard.build import build
from arena.leaderboard.schema import Rank
from arena.report.html import html
from arena.report.markdown import markdown
from arena.report.summary import table_lines
from arena.report.view import GroupView, headline
from arena.types import Run

NONE = "gave an answer in the form that was asked for"


def said(runs: list[Run]) -> str:
    return headline(build(runs, resamples=500))[0]


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ({"a": 0.5}, "a is the only contestant on its set of samples, so nothing can be compared."),
        (
            {"a": 0.5, "b": 0.5},
            "On “Answer questions” with 40 samples the two contestants cannot be told apart.",
        ),
        (
            {"a": 0.95, "b": 0.1, "c": 0.1},
            "On “Answer questions” with 40 samples a scores higher than every other contestant.",
        ),
        (
            {"gather": 1.0, "a": 0.95, "b": 0.1},
            "On “Answer questions” with 40 samples a scores higher than every other ranked contestant.",
        ),
        (
            {"gather": 1.0, "a": 0.95},
            "On “Answer questions” with 40 samples there is nobody to compare.",
        ),
    ],
)
def test_the_first_sentence(
    field: dict[str, float], sentence: str, make_runs: Callable[..., list[Run]]
) -> None:
    assert said(make_runs(field, tasks=("qa",), judges=())) == sentence


def unanswered(run: Run, task: str) -> Run:
    """The run without a readable answer to a task: each scores 0."""
    answers = [replace(a, parsed=None, format_ok=False) if a.task == task else a for a in run.answers]
    scores = [replace(s, value=0.0) if s.task == task else s for s in run.scores]
    return replace(run, answers=tuple(answers), scores=tuple(scores))


def test_who_gave_no_answer_is_best_at_nothing(make_runs: Callable[..., list[Run]]) -> None:
    full = unanswered(make_runs({"replay full": 0.9})[0], "qa")
    others = make_runs({"a": 0.1, "majority": 0.1}, tasks=("annotation",))
    group = build([full, *others], resamples=100).groups[0]
    view = GroupView(group)
    _, qa = group.tasks
    assert view.best_at(qa) == (None, f"Nobody who looks at the cell and has the book closed {NONE}.")
    assert next(r for r in group.rows if r.name == "replay full").tasks["qa"].rank is None, "alone there"
    assert view.conclusion.endswith(f"on “Answer questions” with 40 samples nobody {NONE}.")
    assert f"Nobody who looks at the cell and has the book closed {NONE}." in html(
        build([full, *others], resamples=100)
    )
    silent = [unanswered(run, "qa") for run in make_runs({"a": 0.5, "b": 0.5}, tasks=("qa",))]
    assert said(silent) == f"On “Answer questions” with 40 samples nobody {NONE}."
    mixed = build(make_runs({"a": 0.5, "b": 0.0}, tasks=("qa",)), resamples=100).groups[0]
    best, said_of_it = GroupView(mixed).best_at(mixed.tasks[0])
    assert best is not None
    assert (best.name, said_of_it) == ("a", "Significantly better than all others that look at the cell.")
    (wrong,) = build(make_runs({"a": 0.0, "b": 0.0}, tasks=("qa",)), resamples=100).groups
    assert GroupView(wrong).best_at(wrong.tasks[0]) == (None, "Every such answer scored 0.")


def test_the_best_is_not_said_to_beat_whom_it_was_not_shown_to_beat(
    make_runs: Callable[..., list[Run]],
) -> None:
    """Where a beats b and b beats c, but a against c is open."""
    group = build(make_runs({"a": 0.9, "b": 0.5, "c": 0.1}, tasks=("qa",)), resamples=100).groups[0]
    places = {"a": (1, 2), "b": (2, 2), "c": (2, 3)}
    rows = [
        row.model_copy(
            update={
                "tasks": {
                    "qa": row.tasks["qa"].model_copy(
                        update={"rank": Rank(best=places[row.name][0], worst=places[row.name][1])}
                    )
                }
            }
        )
        for row in group.rows
    ]
    told = GroupView(group.model_copy(update={"rows": tuple(rows)})).conclusion
    assert told.endswith(
        "a is not shown to score higher than every other contestant, and nobody higher than it."
    )


def test_with_several_rankings_the_first_sentence_counts_them_and_one_of_each_follows(
    make_runs: Callable[..., list[Run]],
) -> None:
    runs = [*make_runs({"full": 0.5}, n=20), *make_runs({"a": 0.5, "b": 0.5}, n=12, tasks=("qa",))]
    board = build(runs, resamples=100)
    of = "(fresh, seed 1,"
    lines = [
        "Here are 2 rankings, because the runs differ in their samples, prompts or graph.",
        f"Ranking 1 {of} 12 samples): On “Answer questions” with 12 samples the two contestants cannot be told apart.",
        f"Ranking 2 {of} 40 samples): full is the only contestant on its set of samples, so nothing can be compared.",
    ]
    assert headline(board) == lines
    assert markdown(board).splitlines()[2:7:2] == lines
    page = html(board).partition("</header>")[0]
    assert all(part in page for line in lines for part in line.rstrip(".").split(": "))
    shown = list(table_lines(board, ["full"]))
    assert [line for line in shown if "anking" in line] == lines
    assert sum("full " in line for line in shown) == 2, "its sentence, and its row"
    (other,) = [line for line in shown if line.startswith("  qa: ")]
    assert re.fullmatch(r"  qa: [ab] 0\.\d{3}( \[.*?\]| \*), [ab] 0\.\d{3}( \[.*?\]| \*)", other)
    assert (shown[-1] == "*: too few independent samples for an interval") == (" *" in other)


def test_one_sample_is_not_called_samples(make_runs: Callable[..., list[Run]]) -> None:
    group = build(make_runs({"a": 1.0, "b": 1.0}, tasks=("qa",), n=1, judges=()), resamples=500).groups[0]
    assert (
        GroupView(group).conclusion
        == "On “Answer questions” with 1 sample the two contestants cannot be told apart."
    )


def test_tasks_of_which_the_same_is_to_say_share_half_a_sentence(make_runs: Callable[..., list[Run]]) -> None:
    made = make_runs({"a": 0.5, "b": 0.5}, tasks=("qa", "perturbation"), judges=())
    said = GroupView(build(made, resamples=500).groups[0]).conclusion
    tasks = "“Predict a response” and “Answer questions” with 40 samples each"
    assert said == f"On {tasks} the two contestants cannot be told apart."


def test_a_difference_that_no_digit_shows_is_called_none(make_runs: Callable[..., list[Run]]) -> None:
    group = build(make_runs({"a": 0.5, "gather+a": 0.5}, tasks=("qa",), judges=()), resamples=200).groups[0]
    (task,) = group.tasks
    pair = task.effects[0].model_copy(update={"difference": -0.0004, "p": 0.0001})
    for difference, reading in ((-0.0004, "not shown"), (-0.1, "hurts"), (0.1, "helps")):
        told = pair.model_copy(update={"difference": difference})
        shown = group.model_copy(update={"tasks": (task.model_copy(update={"effects": (told,)}),)})
        assert [text for _, _, text in GroupView(shown).effects] == [reading]


@pytest.mark.parametrize("seed", range(3))
def test_on_one_task_the_rank_column_says_what_the_sentence_says(
    seed: int, make_runs: Callable[..., list[Run]]
) -> None:
    field = {"a": 0.75, "b": 0.6, "c": 0.4, "d": 0.35, "random": 0.1}
    group = build(make_runs(field, tasks=("perturbation",), judges=()), seed=seed, resamples=500).groups[0]
    ranks = {row.name: row.rank for row in group.rows if row.rank}
    assert ranks == {row.name: row.tasks["perturbation"].rank for row in group.rows}
    first = [name for name, rank in ranks.items() if rank.best == 1]
    assert all(name in GroupView(group).conclusion for name in first)


def test_the_floor_names_who_leaves_it_and_the_tasks_where_nobody_does(
    make_runs: Callable[..., list[Run]],
) -> None:
    runs = make_runs({"a": 0.95, "b": 0.1, "random": 0.1}, tasks=("qa",), judges=())
    view = GroupView(build(runs, resamples=500).groups[0])
    assert (
        view.floor_note
        == "The best answer that ignores the cell is the floor: on “Answer questions” a scored above it."
    )
    nobody = make_runs({"b": 0.1, "random": 0.1}, tasks=("qa",), judges=())
    said = GroupView(build(nobody, resamples=500).groups[0]).floor_note
    assert said.endswith("on “Answer questions” no model is shown to score above it.")
    alone = make_runs({"b": 0.1}, tasks=("qa",), judges=())
    assert GroupView(build(alone, resamples=500).groups[0]).floor_note == "", "without a baseline no floor"


def test_evidence_and_tools_are_compared_with_the_same_model_even_where_they_are_open_book(
    make_runs: Callable[..., list[Run]],
) -> None:
    runs = make_runs({"a": 0.1, "gather+a": 0.95, "tools+a": 0.1, "gather+b": 0.5}, tasks=("qa",), judges=())
    group = build(runs, resamples=500).groups[0]
    assert group.tasks[0].made_from_graph
    found = {(p.first, p.second): reading for _task, p, reading in GroupView(group).effects}
    assert found == {("gather+a", "a"): "helps", ("tools+a", "a"): "not shown"}
    assert {row.name: row.kind for row in group.rows}["tools+a"] == "model+tools"
    assert "| gather+a | a | 0." in markdown(build(runs, resamples=500))


def test_a_model_under_another_name_keeps_its_pair(make_runs: Callable[..., list[Run]]) -> None:
    named = {"gather+a": "with evidence", "a": "a"}
    runs = [
        replace(
            run, manifest=replace(run.manifest, model_args=run.manifest.model_args | {"model": "endpoint/a"})
        )
        for run in make_runs({"a": 0.1, "gather+a": 0.95}, tasks=("annotation",), judges=())
    ]
    runs = [
        replace(
            run,
            manifest=replace(run.manifest, contestant=named[run.manifest.contestant]),
            answers=tuple(replace(a, contestant=named[a.contestant]) for a in run.answers),
            scores=tuple(replace(s, contestant=named[s.contestant]) for s in run.scores),
        )
        for run in runs
    ]
    (pair,) = build(runs, resamples=500).groups[0].tasks[0].effects
    assert (pair.first, pair.second) == ("with evidence", "a")
