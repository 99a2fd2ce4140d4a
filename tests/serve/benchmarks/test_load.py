"""The load generator against a real server on loopback, and the report it feeds."""

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import compare_servers as compare
from benchmarks.load.generator import (
    Load,
    drive,
    poisson,
    read_run,
    read_trace,
    token_times,
    write_served,
)
from benchmarks.load.report import Choices, Run, figures, report, report_json, summary
from serve.engine.engine import Engine
from serve.errors import InputError, KnownError
from serve.goodput import Ending, Timeline


@pytest.fixture
def url(tiny_engine: Callable[..., Engine]) -> Iterator[str]:
    """A tiny model behind our own HTTP server."""
    import uvicorn

    from serve.server.app import Server
    from serve.server.preparation import Limits

    server = Server(tiny_engine(), "tiny", Limits(100_000, 30.0, 200, 64, 32, 64), None)
    config = uvicorn.Config(server.app(), host="127.0.0.1", port=0, log_level="warning")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/v1"
    running.should_exit = True
    thread.join(timeout=20)


def messages() -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in ("hello", "a longer question")]


def test_every_request_of_a_run_comes_back_in_order_with_its_tokens(url: str, tmp_path: Path) -> None:
    arrivals = np.array([0.0, 0.02, 0.03, 0.2, 0.25])
    served = asyncio.run(drive(Load(url, "tiny", messages(), arrivals, max_tokens=12, drain=20), None))
    assert [s.timeline.request_id for s in served] == [f"r{i:05d}" for i in range(5)]
    assert {s.status for s in served} == {200}
    committed = [s.timeline.committed_s for s in served]
    np.testing.assert_allclose(np.diff(committed), np.diff(arrivals), atol=1e-6)
    for row in served:
        assert row.timeline.ending is Ending.FINISHED, row
        assert 1 <= row.timeline.n <= 12
    write_served(tmp_path / "run.jsonl", served, {"rate": 2.0, "window_s": 1.0})
    timelines, settings = read_run(tmp_path / "run.jsonl")
    assert timelines == [s.timeline for s in served]
    assert settings == {"rate": 2.0, "window_s": 1.0}


def test_a_user_without_patience_and_a_refused_request_are_told_apart(url: str) -> None:
    hasty = Load(url, "tiny", messages(), np.zeros(1), max_tokens=60, patience=1e-4)
    assert asyncio.run(drive(hasty, None))[0].timeline.ending is Ending.CANCELLED
    wrong = Load(url, "no-such-model", messages(), np.zeros(1))
    row = asyncio.run(drive(wrong, None))[0]
    assert row.timeline.ending is Ending.DROPPED
    assert row.error
    nobody = Load("http://127.0.0.1:9/v1", "tiny", messages(), np.zeros(1))
    assert asyncio.run(drive(nobody, None))[0].timeline.ending is Ending.DROPPED


def test_a_chunks_tokens_all_have_its_time() -> None:
    def words(text: str) -> int:
        return len(text.split())

    assert token_times([1, 2, 3], ["one two", " three", " four five"], None, words) == [1, 1, 2, 3, 3]
    assert token_times([1, 2], ["one two", " three"], 4, words) == [1, 1, 2, 2]
    assert token_times([1, 2], ["one", " two"], 1, words) == [1]
    assert token_times([1, 2], ["one two", " three"], None, None) == [1, 2]
    assert token_times([], [], 3, None) == []


def test_arrivals(tmp_path: Path) -> None:
    times = poisson(10, 100, seed=1)
    assert 800 < len(times) < 1200
    assert (np.diff(times) >= 0).all()
    assert times[-1] < 100
    assert poisson(10, 100, seed=1).tolist() == times.tolist()
    trace = tmp_path / "trace"
    trace.write_text("0\n0.5\n\n2\n")
    assert read_trace(trace).tolist() == [0, 0.5, 2]
    for bad in ("0\nx\n", "1\n0\n", "", "-1\n", "nan\n"):
        trace.write_text(bad)
        with pytest.raises(InputError, match="trace"):
            read_trace(trace)


def runs() -> list[Run]:
    rng = np.random.default_rng(0)
    out = []
    for rate in (1.0, 2.0):
        steps = [np.cumsum(rng.exponential(0.1 * rate, size=20)) + k for k in range(6)]
        out.append(
            Run(rate, 10.0, tuple(Timeline(str(k), float(k), tuple(t), t[-1]) for k, t in enumerate(steps)))
        )
    return out


def test_the_report_for_scripts_has_every_measure_of_every_load_and_null_for_none() -> None:
    rejected = Timeline("r", 0.0, (), 1.0, Ending.REJECTED)
    told = json.loads(report_json([*runs(), Run(9.0, 10.0, (rejected,))], Choices()))
    assert [row["requests a second"] for row in told["loads"]] == [*sorted(r.rate for r in runs()), 9.0]
    assert told["loads"][-1]["TTFT P50 s"] is None
    assert told["loads"][0]["smooth goodput"] == pytest.approx(
        summary(min(runs(), key=lambda r: r.rate), Choices())["smooth goodput"]
    )
    assert told["choices"]["pace"] == 0.2


def test_the_report_says_what_was_chosen_and_draws_the_same_figures_twice(tmp_path: Path) -> None:
    text = report(runs(), Choices())
    assert "V = 0.2 s" in text
    assert "censored rule" in text
    assert text.count("| linear |") == 3
    row = summary(runs()[0], Choices())
    assert row["smooth goodput"] <= row["tokens a second"] == 12.0
    first = {p.name: p.read_bytes() for p in figures(runs(), Choices(), tmp_path / "a")}
    second = {p.name: p.read_bytes() for p in figures(runs(), Choices(), tmp_path / "b")}
    assert first == second
    assert sorted(first) == ["goodput.svg", "idle.svg", "timelines.svg"]


def test_servers_are_measured_in_turns_and_stand_in_one_table(url: str, tmp_path: Path) -> None:
    rows = [[{"role": "user", "content": f"question {i} of many"}] for i in range(12)]
    plan = compare.Plan((1, 4), (2, 6), 5, 4, 5, 3, 60, (20.0,), 0.5, 10.0, 4)
    said: list[str] = []
    at = {name: compare.Address(url, "tiny") for name in ("ours", "theirs")}
    ours, theirs = compare.measure(at, rows, plan, said.append)
    for server in (ours, theirs):
        assert [(m.clients, m.requests, m.tokens) for m in server.closed] == [(1, 2, 10), (4, 6, 30)]
        assert [(m.requests, m.tokens) for m in server.batch] == [(5, 15)]
    assert [line.split(":")[0] for line in said] == ["ours", "theirs"] * 4
    compare.write_servers(tmp_path / "a.json", [ours, theirs], plan)
    assert compare.read_servers([tmp_path / "a.json"])[0].closed == ours.closed
    lines = compare.table(compare.read_servers([tmp_path / "a.json"] * 2)).splitlines()
    assert lines[0].startswith("| server | tokens/s, 1 at once | tokens/s, 4 at once | batch: prompts/s")
    assert lines[2].startswith(f"| ours | {10 / ours.closed[0].seconds:.2f} |")
    assert sum(line.startswith("| 20 | ours |") for line in lines) == 2
    with pytest.raises(KnownError, match="404"):
        asyncio.run(compare.closed_loop(compare.Address(url, "another"), rows, 2, 4))
    with pytest.raises(InputError, match="give more prompts"):
        compare.measure(at, rows[:3], plan, said.append)
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match="not a measurement"):
        compare.read_servers([tmp_path / "a.json"])


def test_a_local_servers_processor_time_is_counted(url: str) -> None:
    at = compare.Address.parse(f"{url}#{os.getpid()}", "tiny", None)
    assert (at.url, at.pid) == (url, os.getpid())
    assert compare.cpu_seconds(os.getpid()) == pytest.approx(time.process_time(), rel=0.3, abs=0.5)
    assert asyncio.run(compare.closed_loop(at, messages(), 2, 30)).cpu_s > 0
    with pytest.raises(InputError, match="no process"):
        compare.cpu_seconds(2**30)


def test_batch_prompts_share_their_beginning_and_differ_in_their_end() -> None:
    rows = [[{"role": "user", "content": f"question number {i}"}] for i in range(8)]
    shared = compare.sharing(rows, 80)
    assert len({prompt[0]["content"] for prompt in shared}) == 1
    assert [p[1]["content"] for p in shared] == [f"question number {i}" for i in range(8 - len(shared), 8)]
    assert "question number 0" in shared[0][0]["content"]
    with pytest.raises(InputError, match="too few"):
        compare.sharing(rows, 10_000)
