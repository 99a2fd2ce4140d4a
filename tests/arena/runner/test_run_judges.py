"""Judges of a run: what their garbage, their end and their change leave of the verdicts."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arena import run_folder
from arena.contestants.resolve import resolve
from arena.judging.evidence import evidence
from arena.judging.rubric import MOST_CITATIONS, verdict_schema
from arena.runner import inspect_engine, run
from arena.runner.judge import judge as judge_run
from arena.types import Sample
from tests.arena.runner.replies import right
from vckg.graph.graph import Graph

pytestmark = [  # the engine's own: a tenacity argument; clients and streams that it leaves to the garbage collector
    pytest.mark.filterwarnings("ignore:The 'initial' parameter:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:[Uu]nclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
]

Server = Callable[..., Any]


# ---- judges -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compat", [False, True])
def test_a_judge_s_garbage_leaves_answers_unscored_and_the_metrics_whole(
    plan: Callable[..., run.Plan],
    samples: dict[Any, list[Sample]],
    fresh_graph: Graph,
    tmp_path: Path,
    openai_server: Server,
    compat: bool,
) -> None:
    garbage = itertools.cycle(
        ["I like it.", "{not json", '{"score": 9}', "", '{"ratings": {"identity": 17}}']
    )
    folder = run.run(plan("majority", samples={"annotation": samples["annotation"]}), tmp_path)
    server = openai_server(lambda _prompt: next(garbage))
    before = {s for s in _values(folder) if s[0] in ("metrics", "knowledge")}
    with pytest.raises(run.RunFailed, match=r"no reply of j.* to 6 answers could be read as a verdict"):
        judge_run(folder, resolve("j", base_url=server.url), lambda: fresh_graph, compat=compat)
    after = _values(folder)
    assert {s for s in after if s[0] in ("metrics", "knowledge")} == before
    judged = [s for s in after if s[0].startswith("j")]
    assert len(judged) >= 6
    assert all(s[3] is None for s in judged)


def test_a_judge_that_is_gone_half_way_is_asked_again_about_the_rest_only(
    plan: Callable[..., run.Plan],
    fresh_graph: Graph,
    tmp_path: Path,
    openai_server: Server,
    refuse: type[Exception],
) -> None:
    folder = run.run(plan("majority"), tmp_path)
    n = len(run_folder.read_run(folder).answers)
    gone = 3

    def reply(prompt: str) -> str:
        if len(server.prompts) > gone:
            raise refuse(400, "out of credit")
        return "[Score: 3]"

    server = openai_server(reply)
    judge = resolve("j", base_url=server.url)
    one_by_one = inspect_engine.Sampling(connections=1)
    judge_run(folder, judge, lambda: fresh_graph, compat=True, sampling=one_by_one)
    totals = [
        s for s in run_folder.read_run(folder).scores if s.scorer.startswith("j") and s.dimension == "total"
    ]
    assert sum(s.value is not None for s in totals) == 3
    assert all("out of credit" in s.reason for s in totals if s.value is None)
    before, gone = len(server.prompts), 10**6
    judge_run(folder, judge, lambda: fresh_graph, compat=True, sampling=one_by_one)
    totals = [
        s for s in run_folder.read_run(folder).scores if s.scorer.startswith("j") and s.dimension == "total"
    ]
    assert [s.value for s in totals] == [pytest.approx(0.6)] * n
    assert len(server.prompts) == before + n - 3


def test_a_second_judge_is_added_beside_the_first_without_asking_the_contestant(
    plan: Callable[..., run.Plan], fresh_graph: Graph, tmp_path: Path, openai_server: Server
) -> None:
    server, first, second = (
        openai_server(right),
        openai_server(lambda _p: "[Score: 2]"),
        openai_server(lambda _p: "[Score: 4]"),
    )
    folder = run.run(plan("toy", server.url), tmp_path)
    for name, judge in (("one", first), ("two", second)):
        judge_run(folder, resolve(name, base_url=judge.url), lambda: fresh_graph, compat=True)
    found = run_folder.read_run(folder)
    means = {
        scorer: {
            round(s.value or 0.0, 6) for s in found.scores if s.scorer == scorer and s.dimension == "total"
        }
        for scorer in ("one:sc-arena", "two:sc-arena")
    }
    assert means == {"one:sc-arena": {0.4}, "two:sc-arena": {0.8}}
    assert found.manifest.judges == ("one", "two")
    assert len(server.prompts) == 8


def test_a_judge_of_a_few_samples_rates_the_same_of_every_contestant_and_more_when_asked_for_more(
    plan: Callable[..., run.Plan], fresh_graph: Graph, tmp_path: Path, openai_server: Server
) -> None:
    server = openai_server(lambda _prompt: "[Score: 3]")
    judge = resolve("j", base_url=server.url)
    rated = []
    for name in ("majority", "random"):
        folder = run.run(plan(name), tmp_path)
        judge_run(folder, judge, lambda: fresh_graph, compat=True, limit=2)
        scores = run_folder.read_run(folder).scores
        rated.append({s.sample_id for s in scores if s.scorer.startswith("j")})
    assert rated[0] == rated[1]
    assert len(server.prompts) == 2 * len(rated[0]) == 2 * 2 * 2
    judge_run(folder, judge, lambda: fresh_graph, compat=True)
    n = len(run_folder.read_run(folder).answers)
    assert len(server.prompts) == 8 + n - 4  # those rated before are not asked again


def test_judging_fewer_answers_or_elsewhere_takes_no_verdict_away(
    plan: Callable[..., run.Plan], fresh_graph: Graph, tmp_path: Path, openai_server: Server
) -> None:
    here, there = openai_server(lambda _p: "[Score: 3]"), openai_server(lambda _p: "[Score: 5]")
    folder = run.run(plan("majority"), tmp_path)
    judge_run(folder, resolve("j", base_url=here.url), lambda: fresh_graph, compat=True)
    before = verdicts(folder)
    assert {name for name, *_ in before} == {"j:sc-arena"}
    judge_run(folder, resolve("j", base_url=here.url), lambda: fresh_graph, compat=True, limit=1)
    assert verdicts(folder) == before
    for _ in range(2):
        judge_run(folder, resolve("j", base_url=there.url), lambda: fresh_graph, compat=True, limit=1)
        after = verdicts(folder)
        assert [v for v in after if v[0] == "j:sc-arena"] == before
        elsewhere = [v for v in after if v[0] != "j:sc-arena"]
        assert {(name, value) for name, _sample, value in elsewhere} == {
            (f"j [{there.url.removeprefix('http://')}]:sc-arena", 1.0)
        }
        assert len(elsewhere) == 2


def verdicts(folder: Path) -> list[tuple[str, str, float | None]]:
    scores = run_folder.read_run(folder).scores
    return [(s.scorer, s.sample_id, s.value) for s in scores if s.scorer.startswith("j")]


def test_a_verdict_cut_off_by_a_kill_is_dropped_and_the_rest_is_kept(
    plan: Callable[..., run.Plan], fresh_graph: Graph, tmp_path: Path, openai_server: Server
) -> None:
    server = openai_server(lambda _p: "[Score: 3]")
    folder = run.run(plan("majority"), tmp_path)
    judge = resolve("j", base_url=server.url)
    judge_run(folder, judge, lambda: fresh_graph, compat=True, limit=1)
    (path,) = (folder / "judgements").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    judge_run(folder, judge, lambda: fresh_graph, compat=True, limit=1)
    assert sorted(path.read_bytes().split()) == sorted(whole.split())


def test_a_judge_asked_otherwise_is_asked_again(
    plan: Callable[..., run.Plan], fresh_graph: Graph, tmp_path: Path, openai_server: Server
) -> None:
    """A verdict that was cut short must not stay because the same answer was judged before."""
    server = openai_server(lambda _prompt: "cut sh")
    judge = resolve("j", base_url=server.url)
    folder = run.run(plan("majority"), tmp_path)
    for tokens in (5, 5, 500):
        sampling = inspect_engine.Sampling(max_tokens=tokens)
        with pytest.raises(run.RunFailed, match=r"no reply of j.* to \d+ answers could be read as a verdict"):
            judge_run(folder, judge, lambda: fresh_graph, compat=True, limit=1, sampling=sampling)
    asked = [b["max_tokens"] for b in server.bodies]
    assert asked == [5] * (len(asked) // 2) + [500] * (len(asked) // 2)


def test_the_form_of_a_verdict_reaches_the_judge_with_every_bound(
    plan: Callable[..., run.Plan], fresh_graph: Graph, tmp_path: Path, openai_server: Server
) -> None:
    """The engine strips a schema of its bounds; a small judge then cites without end."""
    server = openai_server(lambda _prompt: "no verdict")
    folder = run.run(plan("majority"), tmp_path)
    with pytest.raises(run.RunFailed, match=r"no reply of j to 2 answers could be read as a verdict"):
        judge_run(folder, resolve("j", base_url=server.url), lambda: fresh_graph, limit=1)
    told = run_folder.read_run(folder)
    wanted = []
    for answer in told.answers:
        sample = told.samples[answer.sample_id]
        known = evidence(sample, answer, fresh_graph)
        wanted.append(verdict_schema(sample.task, {e.id: e.quotable() for e in known}))
    asked = [body["response_format"]["json_schema"]["schema"] for body in server.bodies]
    assert asked
    assert all(schema in wanted for schema in asked)
    assert {schema["properties"]["evidence"]["maxItems"] for schema in asked} == {MOST_CITATIONS}


def _values(folder: Path) -> list[tuple[str, str, str, float | None]]:
    return [(s.scorer, s.sample_id, s.dimension, s.value) for s in run_folder.read_run(folder).scores]


def test_a_dropped_connection_is_tried_a_stated_number_of_times_and_named(
    plan: Callable[..., run.Plan], samples: dict[Any, list[Sample]], tmp_path: Path, openai_server: Server
) -> None:
    def drop(_prompt: str) -> str:
        raise ConnectionResetError  # ends the handler, and with it the connection

    server = openai_server(drop)
    few = {"annotation": samples["annotation"][:1]}
    asked = plan("toy", server.url, samples=few, sampling=inspect_engine.Sampling(retries=1))
    with pytest.raises(run.RunFailed, match=r"(?i)connection|disconnected"):
        run.run(asked, tmp_path)
    assert len(server.prompts) == 2
