"""The leaderboard counts what the runs hold, keeps apart what must not be compared, and repeats itself."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from arena.leaderboard import schema
from arena.leaderboard.build import build
from arena.leaderboard.compare import compare
from arena.report.view import GroupView
from arena.tasks import TASKS
from arena.types import Run
from vckg.base.errors import InputError

MakeRuns = Callable[..., list[Run]]
FIELD = {"gold": 1.0, "strong": 0.9, "weak": 0.5, "weak twin": 0.5, "majority": 0.3, "random": 0.1}


@pytest.fixture(scope="module")
def group(make_runs: MakeRuns) -> schema.Group:
    return build(make_runs(FIELD, n=120), resamples=400).groups[0]


def test_scores_are_raw_and_the_best_trivial_baseline_is_a_line(group: schema.Group) -> None:
    rows = {row.name: row for row in group.rows}
    assert group.rows[0].name == "gold"
    assert rows["gold"].rank is None
    for task in group.tasks:
        assert task.floor_of == "majority"
        assert task.floor == rows["majority"].tasks[task.task].score.value
        assert rows["gold"].tasks[task.task].score.value == 1
        shares = [row.tasks[task.task].score for row in group.rows]
        assert all(0 <= s.low <= s.value <= s.high <= 1 for s in shares)


def test_no_score_of_the_page_leaves_0_to_1_where_the_floor_nears_1(make_runs: MakeRuns) -> None:
    """The scale (score - floor) / (1 - floor) has no bound there."""
    board_ = build(make_runs({"m": 0.5, "n": 0.4, "majority": 0.97}, n=60), resamples=300)
    group = board_.groups[0]
    for row in group.rows:
        for shown in (row.overall, *(cell.score for cell in row.tasks.values())):
            assert 0 <= shown.low <= shown.value <= shown.high <= 1
    assert group.rows[0].name == "majority"


def test_the_overall_win_rate_is_the_mean_share_of_others_beaten(group: schema.Group) -> None:
    rows = {row.name: row for row in group.rows if row.name != "gold"}
    for name, row in rows.items():
        shares = []
        for task in group.tasks:
            mine = row.tasks[task.task].score.value
            others = [r.tasks[task.task].score.value for n, r in rows.items() if n != name]
            shares.append(np.mean([float(mine > o) + 0.5 * (mine == o) for o in others]))
        assert row.overall.value == pytest.approx(np.mean(shares), abs=1e-6)
        assert row.overall.low <= row.overall.value <= row.overall.high
    assert {row.overall for row in group.rows if row.name == "gold"} == {None}


def test_the_weight_of_a_task_does_not_depend_on_its_floor(make_runs: MakeRuns) -> None:
    """Of two tasks each counts half, however near to 1 one of them has its floor."""
    names = {"a": 0.9, "b": 0.5, "c": 0.2}
    plain = build(make_runs(names, n=60), resamples=100).groups[0]
    with_floor = build(make_runs({**names, "majority": 0.95}, n=60), resamples=100).groups[0]
    order = [row.name for row in plain.rows]
    assert [row.name for row in with_floor.rows if row.name != "majority"] == order == ["a", "b", "c"]


def test_below_ten_clusters_there_is_no_interval(make_runs: MakeRuns) -> None:
    group = build(make_runs({"a": 0.9, "b": 0.5, "majority": 0.2}, n=9), resamples=100).groups[0]
    assert {task.effective_clusters for task in group.tasks} == {9.0}
    for row in group.rows:
        assert row.overall.low is row.overall.high is None
        assert row.rank == schema.Rank(best=1, worst=3)
        assert all(cell.score.low is None for cell in row.tasks.values())
    assert all(pair.low is None and pair.p is not None for task in group.tasks for pair in task.pairs)


def said(runs: list[Run]) -> str:
    return GroupView(build(runs, resamples=100).groups[0]).conclusion


def test_the_first_sentence_says_what_the_tests_allow(make_runs: MakeRuns) -> None:
    settled = said(make_runs({"a": 0.95, "b": 0.3, "majority": 0.2}, n=100))
    assert settled == "On each of the 2 tasks a scores higher than every other contestant."
    tie = said(make_runs({"a": 0.5, "b": 0.5, "majority": 0.5}, n=60, tasks=("qa",)))
    assert tie == "On “Answer questions” with 60 samples no two of the 3 contestants can be told apart."
    two = said(make_runs({"a": 0.5, "b": 0.5}, n=60, tasks=("qa",)))
    assert two == "On “Answer questions” with 60 samples the two contestants cannot be told apart."
    one = said(make_runs({"a": 0.5, "gold": 1.0}, n=60))
    assert one == "a is the only contestant on its set of samples, so nothing can be compared."
    best = said(make_runs({"a": 0.9, "b": 0.9, "majority": 0.1}, n=100, tasks=("qa",)))
    assert best == "On “Answer questions” with 100 samples a and b cannot be told apart as the best."


def test_programs_have_no_token_cost(make_runs: MakeRuns) -> None:
    group = build(make_runs({"gather": 0.9, "gather+m": 0.9, "m": 0.5, "random": 0.1}), resamples=50).groups[
        0
    ]
    tokens = {row.name: row.cost.input_tokens for row in group.rows}
    assert tokens == {"gather": None, "gather+m": 10_000.0, "m": 10_000.0, "random": None}


def test_ranks_are_intervals_and_twins_are_tied(group: schema.Group) -> None:
    rows = {row.name: row for row in group.rows}
    assert rows["strong"].rank == schema.Rank(best=1, worst=1)
    assert rows["weak"].rank == rows["weak twin"].rank == schema.Rank(best=2, worst=3)
    assert [row.tied_with_above for row in group.rows if row.name in ("weak", "weak twin")] == [False, True]


def test_pairs_carry_their_test_and_win_rate(group: schema.Group) -> None:
    pair = next(p for p in group.tasks[0].pairs if (p.first, p.second) == ("random", "strong"))
    assert pair.difference < 0
    assert pair.low < pair.difference < pair.high < 0
    assert pair.p_holm < 0.05
    assert pair.win_rate < 0.5
    assert pair.mcnemar_p < 0.05
    assert {p.first for p in group.tasks[0].pairs} | {p.second for p in group.tasks[0].pairs} == set(
        FIELD
    ) - {"gold"}


def test_judge_columns_stand_beside_and_count_what_is_unscored(group: schema.Group) -> None:
    cell = next(row for row in group.rows if row.name == "strong").tasks["annotation"]
    judged = cell.judges["knowledge"]
    assert judged.unscored == 120 - judged.total.n > 0
    assert judged.total.value == pytest.approx(0.8 * cell.score.value, abs=0.05)
    trust = group.tasks[0].trust[0]
    assert (trust.judge, trust.rated + trust.unscored) == ("knowledge", 6 * 120)
    agreement = group.tasks[0].agreement[0]
    assert (agreement.first, agreement.second) == ("deterministic", "knowledge")
    assert agreement.spearman == pytest.approx(1)


def test_breakdowns_cover_every_sample_once(group: schema.Group) -> None:
    strata = group.tasks[0].strata
    assert [s.level for s in strata] == ["tissue 0", "tissue 1", "tissue 2"]
    assert sum(s.n for s in strata) == 120


def test_the_same_runs_in_any_order_give_the_same_bytes(make_runs: MakeRuns) -> None:
    runs = make_runs(FIELD)
    first = build(runs, resamples=100).to_json()
    assert build(runs[::-1], resamples=100).to_json() == first
    assert build(runs, resamples=100, seed=1).to_json() != first
    assert "NaN" not in first
    assert schema.Leaderboard.model_validate_json(first).to_json() == first
    assert json.loads(first)["format"] == "vckg-arena-leaderboard"


def test_runs_on_other_samples_prompts_or_graphs_are_kept_apart(make_runs: MakeRuns) -> None:
    runs = make_runs({"a": 0.5, "b": 0.5})
    for change in (
        {"graph_hash": "other"},
        {"prompts": {"annotation": "x", "qa": "y"}},
        {"dataset": "sc-arena"},
    ):
        other = replace(runs[1], manifest=replace(runs[1].manifest, **change))  # type: ignore[arg-type]
        groups = build([runs[0], other], resamples=50).groups
        assert [[row.name for row in g.rows] for g in groups] in ([["a"], ["b"]], [["b"], ["a"]])


def columns_of(runs: list[Run]) -> list[dict[str, set[str]]]:
    """Contestants by task, one dictionary a ranking."""
    groups = build(runs, resamples=20).groups
    return [{t.task: {r.name for r in g.rows if t.task in r.tasks} for t in g.tasks} for g in groups]


def test_the_same_samples_of_a_task_stand_in_one_ranking_whatever_else_was_asked(make_runs: MakeRuns) -> None:
    short = make_runs({"majority": 0.2, "random": 0.1}, n=12)
    (mine,) = make_runs({"mine": 0.5}, n=12, tasks=("annotation",))
    (full,) = make_runs({"full": 0.5}, n=20, tasks=TASKS)
    three = {"majority", "random", "mine"}
    assert columns_of([*short, mine]) == [{"annotation": three, "qa": three - {"mine"}}]
    apart, others = columns_of([full, *short, mine]), {task: {"full"} for task in TASKS}
    assert apart == [{"annotation": three, "qa": three - {"mine"}}, others], "the larger ranking comes first"


def test_a_run_with_one_task_s_samples_in_common_is_compared_on_that_task(make_runs: MakeRuns) -> None:
    first, mine = make_runs({"a": 0.5, "mine": 0.6}, n=12)
    (other,) = make_runs({"mine": 0.6}, n=20, tasks=("qa", "perturbation"))
    marks, theirs = mine.manifest, other.manifest
    mixed = replace(
        mine,
        manifest=replace(
            marks,
            tasks=("annotation", "qa", "perturbation"),
            samples_sha256={**theirs.samples_sha256, "annotation": marks.samples_sha256["annotation"]},
            prompts={**theirs.prompts, **marks.prompts},
        ),
        samples={**other.samples, **{s.id: s for s in mine.samples.values() if s.task == "annotation"}},
        answers=(*other.answers, *(a for a in mine.answers if a.task == "annotation")),
        scores=(*other.scores, *(s for s in mine.scores if s.task == "annotation")),
    )
    for runs in ([first, mixed], [mixed, first]):
        shared, apart = sorted(columns_of(runs), key=lambda c: "annotation" not in c)
        assert shared["annotation"] == {"a", "mine"}
        assert {len(names) for task, names in (*shared.items(), *apart.items()) if task != "annotation"} == {
            1
        }
        assert len(apart["qa"]) == len(shared["qa"]) == 1
        assert apart["qa"] != shared["qa"]
    assert "annotation" in compare([first], [mixed], resamples=20).text()
    assert " qa " not in compare([first], [mixed], resamples=20).text()


def test_a_task_that_one_contestant_answered_takes_no_rank_from_the_others(make_runs: MakeRuns) -> None:
    runs = [*make_runs({"a": 0.9, "b": 0.1}, tasks=("annotation",)), *make_runs({"full": 0.5}, tasks=TASKS)]
    (group,) = build(runs, resamples=50).groups
    assert {row.name for row in group.rows if row.rank} == {"a", "b", "full"}
    assert {task for row in group.rows for task, cell in row.tasks.items() if cell.rank} == {"annotation"}


def test_one_contestant_twice_on_the_same_samples_is_refused_by_folder(make_runs: MakeRuns) -> None:
    runs = make_runs({"a": 0.5})
    with pytest.raises(
        InputError, match=r"/runs/a and /runs/copy are both runs of 'a' on the same annotation samples"
    ):
        build([runs[0], replace(runs[0], folder="/runs/copy")])
    with pytest.raises(InputError, match="no runs"):
        build([])


def test_tasks_of_one_contestant_may_come_from_several_runs(make_runs: MakeRuns) -> None:
    both = make_runs({"a": 0.5, "b": 0.6})
    parts = [
        replace(
            both[0],
            folder=f"/runs/{task}",
            answers=tuple(x for x in both[0].answers if x.task == task),
            scores=tuple(x for x in both[0].scores if x.task == task),
        )
        for task in ("annotation", "qa")
    ]
    whole, split = build(both, resamples=50).groups, build([*parts, both[1]], resamples=50).groups
    assert len(split) == 1
    assert split[0].rows == whole[0].rows


def test_who_did_not_take_every_task_has_no_overall_score(make_runs: MakeRuns) -> None:
    runs = [*make_runs({"a": 0.5, "b": 0.6}), *make_runs({"part": 0.9}, tasks=("annotation",))]
    rows = {row.name: row for row in build(runs, resamples=50).groups[0].rows}
    assert rows["part"].overall is None
    assert rows["part"].rank is None
    assert list(rows["part"].tasks) == ["annotation"]
    assert rows["a"].overall is not None


def test_an_unfinished_run_is_said_to_be_and_failures_are_not_wrong_answers(make_runs: MakeRuns) -> None:
    runs = make_runs({"a": 1.0, "b": 1.0}, tasks=("qa",))
    failed = replace(runs[0].answers[0], error="503", parsed=None, format_ok=False)
    scores = tuple(replace(s, value=None) if s.sample_id == failed.sample_id else s for s in runs[0].scores)
    unfinished = replace(runs[0], answers=(failed, *runs[0].answers[1:30]), scores=scores)
    found = build([unfinished, runs[1]], resamples=50).groups[0]
    cell = next(r for r in found.rows if r.name == "a").tasks["qa"]
    assert cell.failed_calls == 1
    assert cell.format_failures.count == 0
    assert cell.score.value == 1
    assert any("a left 10 of 40 unanswered" in note for note in found.notes)


def test_epochs_are_averaged_within_the_sample_before_anything_is_counted(make_runs: MakeRuns) -> None:
    run = make_runs({"a": 0.5}, tasks=("qa",))[0]
    again = replace(
        run,
        answers=(*run.answers, *(replace(a, epoch=2) for a in run.answers)),
        scores=(*run.scores, *(replace(s, epoch=2, value=0.0) for s in run.scores)),
    )
    once, twice = (build([r], resamples=50).groups[0].rows[0].tasks["qa"].score for r in (run, again))
    assert twice.value == pytest.approx(once.value / 2)
    assert twice.n == once.n == 40


def test_the_frontier_holds_the_cheaper_and_the_better(make_runs: MakeRuns) -> None:
    runs = make_runs({"cheap": 0.5, "waste": 0.2, "best": 0.9})
    frontier = {row.name for row in build(runs, resamples=50).groups[0].rows if row.cost.frontier}
    assert frontier == {"cheap", "best"}


def test_what_is_counted_is_whole(group: schema.Group) -> None:
    for row in group.rows:
        for cell in row.tasks.values():
            counted = (
                cell.answered,
                cell.failed_calls,
                cell.score.n,
                cell.format_failures.count,
                cell.refusals.n,
            )
            assert all(type(n) is int for n in (*counted, *(j.unscored for j in cell.judges.values())))


def test_who_can_look_the_answer_up_is_marked(make_runs: MakeRuns) -> None:
    group = build(make_runs({"gather": 0.9, "gather+m": 0.9, "m": 0.5}), resamples=50).groups[0]
    assert {row.name: row.open_book for row in group.rows} == {"gather": True, "gather+m": True, "m": False}
    assert any(note.startswith("Open book: gather and gather+m") for note in group.notes)
    assert {t.task: t.made_from_graph for t in group.tasks} == {"annotation": False, "qa": True}


@pytest.mark.parametrize(("ran", "kind"), [("gather+m", "retrieval+model"), ("marker-overlap", "baseline")])
def test_a_name_of_your_own_hides_nobody_who_can_look_the_answer_up(
    make_runs: MakeRuns, ran: str, kind: str
) -> None:
    """`arena run --name` changes what the tables show and nothing else."""
    runs = make_runs({"mine": 0.9, "m": 0.5, "n": 0.4}, n=10)
    arguments = {"kind": kind, "model": f"arena/{ran}"}
    runs[0] = replace(runs[0], manifest=replace(runs[0].manifest, model_args=arguments))
    rows = {row.name: row for row in build(runs, resamples=20).groups[0].rows}
    assert (rows["mine"].kind, rows["mine"].open_book) == (kind, True)
    assert rows["mine"].tasks["qa"].rank is None
    assert rows["m"].tasks["qa"].rank is not None


def test_a_name_of_your_own_makes_no_model_of_a_baseline_and_no_contestant_of_the_reference(
    make_runs: MakeRuns,
) -> None:
    runs = make_runs({"maj": 0.3, "perfect": 1.0, "m": 0.5, "majority": 0.4}, n=10)
    ran = {"maj": "arena/majority", "perfect": "arena/gold", "m": "openai/m", "majority": "openai/x"}
    for i, run in enumerate(runs):
        name = run.manifest.contestant
        kind = "baseline" if ran[name].startswith("arena/") else "model"
        runs[i] = replace(run, manifest=replace(run.manifest, model_args={"kind": kind, "model": ran[name]}))
    group = build(runs, resamples=20).groups[0]
    rows = {row.name: row for row in group.rows}
    assert {name: row.kind for name, row in rows.items()} == {
        "maj": "trivial",
        "perfect": "ceiling",
        "m": "model",
        "majority": "model",
    }
    assert group.rows[0].name == "perfect"
    assert [name for name, row in rows.items() if row.rank is None] == ["perfect"]
    assert {task.floor_of for task in group.tasks} == {"maj"}
    with pytest.raises(InputError, match="perfect is the reference and is not compared"):
        compare([runs[[r.manifest.contestant for r in runs].index("perfect")]], [runs[0]])


def test_who_can_look_the_answer_up_is_not_ranked_there(make_runs: MakeRuns) -> None:
    """Ranked among all on annotation, apart on QA, and in no win rate over both."""
    group = build(make_runs({"gather": 0.9, "m": 0.5, "n": 0.4}), resamples=50).groups[0]
    rows = {row.name: row for row in group.rows}
    assert rows["gather"].rank is None
    assert rows["gather"].overall is None
    assert rows["gather"].tasks["annotation"].rank is not None
    assert rows["gather"].tasks["qa"].rank is None
    assert {rows[name].tasks["qa"].rank is not None for name in ("m", "n")} == {True}
