"""The ladder on a real engine: a tiny random model computes every step."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import echo_ladder as ladder
from benchmarks.echo_ladder import STRICT, BusyClock, Drive, Steps, climb, feasible, make_engine, table
from benchmarks.echo_simulation import ALONE, FCFS, LADDER
from benchmarks.simulated_server import Server, rung_of
from benchmarks.simulator import Arrival, Outcome
from serve.errors import InputError
from serve.goodput import Ending
from serve.model.decoder import Model
from serve.model.loader import Checkpoint
from serve.request import Priority
from serve.scheduling.estimators import TimeModel
from serve.scheduling.step_work import StepWork
from tests.serve.conftest import save_tiny

SMALL = Server(n_blocks=64, block_tokens=4, max_running=4, step_tokens=16)
SHARED = tuple(range(1, 33))

TRACE = [
    *(Arrival(0.02 * i, tuple(range(40 + i, 60 + i)), 8) for i in range(4)),
    *(Arrival(0.0, (*SHARED, 100 + i, 101 + i), 5, Priority.OFFLINE) for i in range(6)),
]


@pytest.fixture
def drive(tiny: Callable[..., Checkpoint], tiny_model: Callable[..., Model]) -> Callable[..., Outcome]:
    """One scheduler of the ladder over a trace, to its end; the engine has to be empty then."""

    def run(name: str, trace: list[Arrival], until_s: float = 60.0) -> Outcome:
        steps = Steps(BusyClock())
        engine = make_engine(tiny_model(), tiny(), SMALL, LADDER[name](SMALL, steps.clock))
        outcome = Drive(engine, trace, until_s, steps)()
        assert not engine.has_work
        assert engine.forest.n_in_use == 0
        assert len(steps.works) == len(steps.seconds) == outcome.steps
        assert min(steps.seconds) > 0
        return outcome

    return run


@pytest.mark.parametrize("name", [name for name in LADDER if name not in (ALONE, FCFS)])
def test_every_token_of_batch_work_is_counted_once(name: str, drive: Callable[..., Outcome]) -> None:
    outcome = drive(name, TRACE)
    assert [len(t.token_s) for t in outcome.online] == [8] * 4
    assert [len(t.token_s) for t in outcome.offline] == [5] * 6
    assert {t.ending for t in outcome.online + outcome.offline} == {Ending.FINISHED}
    assert outcome.offline_finished == 6
    # The last token of an answer is never fed, so it is not computed.
    assert outcome.first_time_tokens + outcome.cached_tokens == 6 * (len(SHARED) + 2 + 5 - 1)
    for line in outcome.online:
        assert list(line.token_s) == sorted(line.token_s)
        assert line.token_s[0] > line.committed_s


def test_prefix_groups_read_a_shared_beginning_from_the_cache(drive: Callable[..., Outcome]) -> None:
    outcome = drive("Echo", TRACE)
    # Three of six, or more: the first waits for nobody, and what runs beside it cannot have its blocks yet.
    assert outcome.cached_tokens >= 3 * len(SHARED)


def test_a_run_that_is_cut_off_says_so_and_gives_everything_back(drive: Callable[..., Outcome]) -> None:
    outcome = drive(STRICT, [replace(a, output_tokens=100) for a in TRACE], until_s=0.05)
    assert outcome.offline_finished == 0
    assert {t.ending for t in outcome.online + outcome.offline} == {Ending.UNFINISHED}
    assert outcome.ended_s >= 0.05


def test_engine_and_simulator_climb_the_same_trace_and_first_come_first_served_gets_its_classes_back(
    tiny: Callable[..., Checkpoint], tiny_model: Callable[..., Model]
) -> None:
    names = ["first come, first served", STRICT, "Echo"]
    pairs = climb(tiny_model(), tiny(), SMALL, TRACE, 20.0, Steps(BusyClock()), names)
    assert [p.real.scheduler for p in pairs] == [p.simulated.scheduler for p in pairs] == names
    for pair in pairs:
        assert (pair.real.offline_requests, pair.simulated.offline_requests) == (6, 6)
    whole = 6 * (len(SHARED) + 2 + 5)
    assert pairs[0].real.offline_tokens_s * 20.0 == pytest.approx(whole)
    assert pairs[1].real.offline_tokens_s * 20.0 == pytest.approx(whole - 6)
    lines = table([pairs, pairs]).splitlines()
    assert len(lines) == 2 + 3
    strict = next(line for line in lines if line.startswith(f"| {STRICT} "))
    assert strict.split("|")[6].strip() == "1.00"
    alone = table([pairs[:1]]).splitlines()[-1]
    assert alone.split("|")[6].strip() == "nan"  # nothing to compare with


def test_the_clock_counts_processor_time_and_what_was_skipped() -> None:
    clock = BusyClock()
    before = clock()
    time.sleep(0.05)
    assert clock() - before < 0.04
    clock.skip_to(before + 100)
    assert clock() == pytest.approx(before + 100, abs=0.5)
    clock.skip_to(before)  # never back
    assert clock() >= before + 100


def test_deadlines_and_load_follow_from_the_step_times_by_rule() -> None:
    times = TimeModel.fit(
        [StepWork.chunk(n, 0) for n in (16, 64, 256)] * 5
        + [StepWork(decodes=n, decode_context=300 * n) for n in (1, 4, 8)] * 5,
        [0.01 + 0.002 * n for n in (16, 64, 256)] * 5 + [0.01 + 0.005 * n for n in (1, 4, 8)] * 5,
    )
    server, rate = feasible(replace(SMALL, times=times))
    assert server.echo.pace_s == pytest.approx(2 * 0.05, rel=0.1)
    assert server.echo.allowance_s == pytest.approx(3 * 0.522, rel=0.1)
    assert server.echo.longest_step_s == server.echo.allowance_s / 2
    assert rate == pytest.approx(1 / 6 / (0.34 + 70 * 0.03 / 4), rel=0.1)
    nothing = TimeModel(np.zeros(6))
    with pytest.raises(InputError, match="could not tell"):
        feasible(replace(SMALL, times=nothing))


def test_the_command_prints_the_ladder_and_the_error_of_its_step_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    threads = torch.get_num_threads()
    model = save_tiny(tmp_path / "model", vocab_size=49_000, max_position_embeddings=1024)
    chosen = ["--seconds", "1.5", "--seeds", "3", "--schedulers", STRICT, "Echo", "--model", str(model)]
    monkeypatch.setattr(sys, "argv", ["ladder", *chosen])
    try:
        ladder.main()
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    assert "mean absolute relative error over" in said
    assert f"| {STRICT} |" in said
    assert "| Echo |" in said


def test_a_rung_of_no_readers_misses_nobody() -> None:
    rung = rung_of(STRICT, SMALL, Outcome(first_time_tokens=30, cached_tokens=10, ended_s=4.0), 4.0)
    assert (rung.attainment, rung.offline_tokens_s) == (1.0, 10.0)
