"""The run engine, in one process: what a run folder holds, what fails how, what a cache may share, how judges fail."""

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arena import run_folder
from arena.contestants.resolve import resolve
from arena.report.summary import task_lines
from arena.runner import inspect_engine, run
from arena.runner.judge import judge as judge_run
from arena.types import Sample
from tests.arena.runner.replies import right
from vckg.base.errors import InputError, KnownError
from vckg.graph.graph import Graph

pytestmark = [  # the engine's own: a tenacity argument; clients and streams that it leaves to the garbage collector
    pytest.mark.filterwarnings("ignore:The 'initial' parameter:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:[Uu]nclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
]

Server = Callable[..., Any]


# ---- a run and its folder ---------------------------------------------------------------------------------------


def test_a_run_is_one_folder_with_every_answer_by_its_id(
    plan: Callable[..., run.Plan], tmp_path: Path
) -> None:
    folder = run.run(plan(), tmp_path)
    found = run_folder.read_run(folder)
    assert sorted(found.samples) == [a.sample_id for a in found.answers]
    assert all(a.format_ok and not a.error and a.model == "arena/gold" for a in found.answers)
    assert {s.value for s in found.scores if s.dimension in ("lin", "direction_accuracy")} == {1.0}
    manifest = found.manifest
    assert manifest.engine == "inspect-ai 0.3.285"
    assert set(manifest.samples_sha256) == set(manifest.prompts) == {"annotation", "perturbation"}
    assert all("@" in p for p in manifest.prompts.values())


def test_the_same_command_asks_nothing_again_and_writes_the_same_bytes(
    plan: Callable[..., run.Plan], tmp_path: Path, openai_server: Server
) -> None:
    server = openai_server(right)
    contents = []
    for _ in range(2):
        folder = run.run(plan("toy", server.url), tmp_path)
        contents.append(
            [
                (folder / name).read_bytes()
                for name in (run_folder.ANSWERS, run_folder.SCORES, run_folder.MANIFEST)
            ]
        )
    assert contents[0] == contents[1]
    assert len(server.prompts) == len(set(server.prompts)) == 8


def test_how_answers_are_fetched_may_change_between_a_run_and_its_resuming(
    plan: Callable[..., run.Plan], tmp_path: Path, openai_server: Server
) -> None:
    server = openai_server(right)
    for sampling in (
        inspect_engine.Sampling(),
        inspect_engine.Sampling(connections=3, timeout_s=50, retries=1),
    ):
        run.run(plan("toy", server.url, sampling=sampling), tmp_path)
    assert len(server.prompts) == 8


def test_an_endpoint_that_is_silent_is_told_in_words(plan: Callable[..., run.Plan], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        patience = inspect_engine.Sampling(connections=8, timeout_s=1, retries=1)
        with pytest.raises(run.RunFailed, match=r"the first error: no reply within 1 s, nor in any retry$"):
            run.run(plan("toy", url, sampling=patience), tmp_path)


def test_an_endpoint_that_refuses_the_tier_of_batch_work_is_asked_without_it(
    plan: Callable[..., run.Plan], tmp_path: Path, openai_server: Server, refuse: type[Exception]
) -> None:
    def of_one_tier(prompt: str) -> str:
        if "service_tier" in server.bodies[-1]:
            raise refuse(400, "Flex is not available for this model.")
        return right(prompt)

    server = openai_server(of_one_tier)
    one_by_one = inspect_engine.Sampling(connections=1)
    found = run_folder.read_run(run.run(plan("toy", server.url, sampling=one_by_one), tmp_path))
    assert not any(a.error for a in found.answers)
    assert sum("service_tier" in body for body in server.bodies) == 1


def test_epochs_are_kept_apart(plan: Callable[..., run.Plan], tmp_path: Path, openai_server: Server) -> None:
    server = openai_server(right)
    found = run_folder.read_run(run.run(plan("toy", server.url, epochs=3), tmp_path))
    assert len(server.prompts) == 24
    assert {(a.sample_id, a.epoch) for a in found.answers} == {
        (i, e) for i in found.samples for e in (1, 2, 3)
    }


def test_sampling_reaches_the_endpoint_and_the_served_id_the_answer(
    plan: Callable[..., run.Plan], tmp_path: Path, openai_server: Server
) -> None:
    server = openai_server(right, model="toy-2026-01-01")
    sampling = inspect_engine.Sampling(temperature=0.3, max_tokens=77)
    found = run_folder.read_run(
        run.run(plan("toy", server.url, sampling=sampling, prices=(1.0, 2.0)), tmp_path)
    )
    assert {(b["model"], b["temperature"], b["max_tokens"]) for b in server.bodies} == {("toy", 0.3, 77)}
    assert {b["service_tier"] for b in server.bodies} == {"flex"}  # batch work, for a server that has classes
    assert {a.model for a in found.answers} == {"toy-2026-01-01"}
    assert {(a.usage.input_tokens, a.usage.output_tokens) for a in found.answers} == {(10, 5)}
    assert found.answers[0].usage.cost_usd == pytest.approx((10 * 1 + 5 * 2) / 1e6)


def test_evidence_stands_in_the_prompt_and_gold_does_not(
    plan: Callable[..., run.Plan], samples: dict[Any, list[Sample]], tmp_path: Path, openai_server: Server
) -> None:
    server = openai_server(right)
    only = {"perturbation": samples["perturbation"]}
    run.run(plan("gather+toy", server.url, samples=only), tmp_path)
    assert len(server.prompts) == 2
    assert all("collectri" in p and "activates" in p for p in server.prompts)


def test_long_texts_come_back_whole(
    plan: Callable[..., run.Plan], samples: dict[Any, list[Sample]], tmp_path: Path, openai_server: Server
) -> None:
    """The engine's log keeps long texts apart, as attachments."""
    long = "[Predicted_Cell_Type: T cell] " + "because of CD3D " * 200
    server = openai_server(lambda _prompt: long)
    only = {"annotation": samples["annotation"][:2]}
    answers = run_folder.read_run(run.run(plan("toy", server.url, samples=only), tmp_path)).answers
    assert {a.text for a in answers} == {long}
    assert {a.prompt for a in answers} == set(server.prompts)


# ---- failures -----------------------------------------------------------------------------------------------------


def test_a_failed_sample_shifts_no_other_and_only_it_is_asked_again(
    plan: Callable[..., run.Plan],
    samples: dict[Any, list[Sample]],
    fresh_graph: Graph,
    tmp_path: Path,
    openai_server: Server,
    refuse: type[Exception],
) -> None:
    broken = True

    def reply(prompt: str) -> str:
        if broken and "GATA1" in prompt:
            raise refuse(400, "too long")
        return f"[Up: none][Down: {'X' if 'GATA1' in prompt else 'Y'}]"

    server = openai_server(reply)
    only = {"perturbation": samples["perturbation"]}
    asked = plan("toy", server.url, samples=only)
    first = run_folder.read_run(run.run(asked, tmp_path))
    failed, answered = sorted(first.answers, key=lambda a: not a.error)
    assert "too long" in failed.error
    assert failed.parsed is None
    assert not answered.error
    assert answered.parsed == {"up": [], "down": ["Y"], "sentence": []}
    assert all(s.value is None for s in first.scores if s.sample_id == failed.sample_id)
    judge = openai_server(lambda _prompt: "[Score: 4]")
    critic = resolve("critic", base_url=judge.url)
    judge_run(Path(first.folder), critic, lambda: fresh_graph, compat=True)
    assert len(judge.prompts) == 1
    broken = False
    before = len(server.prompts)
    second = run_folder.read_run(run.run(asked, tmp_path))
    assert len(server.prompts) == before + 1
    assert not [a for a in second.answers if a.error]
    judge_run(Path(first.folder), critic, lambda: fresh_graph, compat=True)
    assert len(judge.prompts) == 2  # the answer that was judged before is not judged again
    judged = [s for s in run_folder.read_run(Path(first.folder)).scores if s.scorer.startswith("critic")]
    assert {s.sample_id for s in judged if s.value == pytest.approx(0.8)} == set(second.samples)


def test_a_run_that_gets_no_answer_at_all_says_why(
    plan: Callable[..., run.Plan], tmp_path: Path, openai_server: Server, refuse: type[Exception]
) -> None:
    def reply(prompt: str) -> str:
        raise refuse(401, "invalid key")

    server = openai_server(reply)
    with pytest.raises(
        KnownError, match=r"-m toy answered no sample; the first error: 401 [^()]*invalid key"
    ):
        run.run(plan("toy", server.url), tmp_path)


def test_a_dead_endpoint_is_noticed_before_any_sample(plan: Callable[..., run.Plan], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"http://127.0.0.1:9/v1: no server answers"):
        run.run(plan("toy", "http://127.0.0.1:9/v1"), tmp_path)


def test_a_file_where_runs_go_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with (
        pytest.raises(InputError, match="runs/new: cannot write there"),
        run.locked(tmp_path / "runs" / "new"),
    ):
        pass


def test_a_missing_key_is_named(
    plan: Callable[..., run.Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        run.run(plan("openai/gpt-4o-mini"), tmp_path)


def test_a_key_is_written_nowhere(
    plan: Callable[..., run.Plan], tmp_path: Path, openai_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zipfile

    monkeypatch.setenv("OPENAI_API_KEY", "sk-arena-secret-0123456789")
    server = openai_server(right)
    folder = run.run(plan("toy", server.url), tmp_path)
    for path in folder.rglob("*"):
        if path.suffix == ".eval":
            with zipfile.ZipFile(path) as packed:
                data = b"".join(packed.read(name) for name in packed.namelist())
        else:
            data = path.read_bytes() if path.is_file() else b""
        assert b"sk-arena-secret" not in data, path


def test_a_half_written_log_is_named_and_nothing_is_lost(
    plan: Callable[..., run.Plan], tmp_path: Path
) -> None:
    folder = run.run(plan(), tmp_path)
    log = sorted((folder / "logs" / "answers").glob("*.eval"))[0]
    before = (folder / run_folder.ANSWERS).read_bytes()
    log.write_bytes(log.read_bytes()[:300])
    with pytest.raises(InputError, match=r"\.eval: a half-written or damaged log .* move it away"):
        run.run(plan(), tmp_path)
    assert (folder / run_folder.ANSWERS).read_bytes() == before
    log.rename(tmp_path / "away.eval")
    assert run_folder.read_run(run.run(plan(), tmp_path)).answers == run_folder.read_run(folder).answers


def test_two_at_once_in_one_folder_are_refused(plan: Callable[..., run.Plan], tmp_path: Path) -> None:
    folder = tmp_path / run.run_name(run.make_manifest(plan()))
    with run.locked(folder), pytest.raises(InputError, match="another arena process writes here"):
        run.run(plan(), tmp_path)


def test_an_upgrade_does_not_resume_the_answers_of_older_code(plan: Callable[..., run.Plan]) -> None:
    old = run.make_manifest(plan())
    new = replace(old, arena_version=f"{old.arena_version}.1")
    assert run.run_name(old) != run.run_name(new)
    of_model = [replace(m, model_args=m.model_args | {"kind": "model"}) for m in (old, new)]
    assert run.run_name(of_model[0]) == run.run_name(of_model[1])


# ---- what runs may share ------------------------------------------------------------------------------------------


def test_models_of_other_arguments_share_neither_folder_nor_cache(
    plan: Callable[..., run.Plan], tmp_path: Path, openai_server: Server
) -> None:
    server = openai_server(right)
    cache = tmp_path / "replies.sqlite3"
    asked = plan("toy", server.url, cache=cache)
    folders = {run.run(asked, tmp_path / "a")}
    assert len(server.prompts) == 8
    for changed in (
        replace(asked, sampling=inspect_engine.Sampling(temperature=0.9)),
        replace(asked, contestant=replace(asked.contestant, model="endpoint/other")),
    ):
        before = len(server.prompts)
        folders.add(run.run(changed, tmp_path / "a"))
        assert len(server.prompts) == before + 8
    for number in (1, 2):
        file = tmp_path / f"{number}.jsonl"
        lines = [{"sample_id": s.id, "text": right("")} for group in asked.samples.values() for s in group]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        replayed = plan(f"replay:{file}")
        same_name = replace(replayed, contestant=replace(replayed.contestant, name="replayed"))
        folders.add(run.run(same_name, tmp_path / "a"))
    assert len(folders) == 5


def test_corrected_answers_are_another_run_and_only_results_go_to_stdout(
    plan: Callable[..., run.Plan],
    samples: dict[Any, list[Sample]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, texts = tmp_path / "answers.jsonl", ("T cell", "B cell", "B cell")
    ids, found = [s.id for s in samples["annotation"]], []
    for text in texts:
        rows = [{"sample_id": i, "text": f"[Predicted_Cell_Type: {text}]"} for i in ids]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        asked = replace(plan(f"replay:{file}"), samples={"annotation": samples["annotation"]})
        found.append(run.run(asked, tmp_path / "runs"))
    assert len(set(found)) == 2
    for folder, text in zip(found, texts, strict=True):
        assert {a.parsed["cell_type"] for a in run_folder.read_run(folder).answers if a.parsed} == {text}
    assert capsys.readouterr().out == ""  # the third run only resumed


def test_a_replay_of_some_answers_says_how_many_are_missing(
    plan: Callable[..., run.Plan], samples: dict[Any, list[Sample]], tmp_path: Path
) -> None:
    file, asked = tmp_path / "answers.jsonl", samples["annotation"]
    file.write_text(json.dumps({"sample_id": asked[0].id, "text": "[Predicted_Cell_Type: T cell]"}) + "\n")
    folder = run.run(replace(plan(f"replay:{file}"), samples={"annotation": asked}), tmp_path / "runs")
    (line,) = task_lines(run_folder.read_run(folder))
    assert f"answered     1 of {len(asked)}, {len(asked) - 1} missing" in line


def test_a_cached_run_makes_no_call_and_costs_the_same_at_list_price(
    plan: Callable[..., run.Plan], tmp_path: Path, openai_server: Server
) -> None:
    server = openai_server(right)
    asked = plan("toy", server.url, cache=tmp_path / "replies.sqlite3", prices=(1.0, 2.0))
    anew, cached = (run_folder.read_run(run.run(asked, tmp_path / where)) for where in ("a", "b"))
    assert len(server.prompts) == 8
    assert not any(a.usage.cached for a in anew.answers)
    assert all(a.usage.cached for a in cached.answers)
    assert [a.usage.cost_usd for a in anew.answers] == [a.usage.cost_usd for a in cached.answers]
    assert [a.parsed for a in anew.answers] == [a.parsed for a in cached.answers]


# ---- tools ------------------------------------------------------------------------------------------------------


def test_a_contestant_with_tools_calls_the_graph_and_answers_within_its_rounds(
    tmp_path: Path, plan: Callable[..., run.Plan], samples: dict[Any, list[Sample]], openai_server: Server
) -> None:
    def reply(prompt: str) -> str | dict[str, Any]:
        if "CL:0000084" in prompt:
            return "[Predicted_Cell_Type: T cell]"
        name, asked = (
            ("node", {"name": "T cell"}) if prompt.startswith("error:") else ("path", {"start": "?"})
        )
        function = {"name": name, "arguments": json.dumps(asked)}
        return {"content": None, "tool_calls": [{"id": "c1", "type": "function", "function": function}]}

    server = openai_server(reply)
    one = {"annotation": samples["annotation"][:1]}
    done = run.run(plan("tools+toy", base_url=server.url, samples=one), tmp_path)
    (answer,) = run_folder.read_run(done).answers
    assert answer.parsed == {"cell_type": "T cell"}
    first, second, last = server.bodies
    assert {t["function"]["name"] for t in first["tools"]} == {"explain", "node", "path"}
    assert [m["role"] for m in second["messages"]] == ["user", "assistant", "tool"]
    assert second["messages"][1]["tool_calls"][0]["id"] == second["messages"][2]["tool_call_id"]
    assert "tools" not in last, "after two rounds it has to answer"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (30, 15), "all rounds are counted"
    assert 'CALL node {"name": "T cell"}' in answer.prompt
    assert run_folder.read_manifest(done).model_args["kind"] == "model+tools"


def test_an_endpoint_without_tools_fails_the_samples_and_says_why(
    tmp_path: Path, plan: Callable[..., run.Plan], openai_server: Server, refuse: type[Exception]
) -> None:
    def reply(_prompt: str) -> str:
        raise refuse(400, "the model's chat template takes no tools")  # type: ignore[call-arg]

    with pytest.raises(KnownError, match="takes no tools"):
        run.run(plan("tools+toy", base_url=openai_server(reply).url), tmp_path)
