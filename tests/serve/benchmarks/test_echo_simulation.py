"""The simulated rows of Echo's page."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.arrivals import bursty_trace, read_recorded
from benchmarks.echo_simulation import ALONE, ECHO, LADDER, STRICT, run, table
from benchmarks.simulated_server import Server
from serve.errors import InputError
from serve.request import Priority

SMALL = Server(n_blocks=160)
"""Room for five of the trace's ten prefixes."""


def test_prefix_groups_more_than_double_the_batch_work_at_no_cost_to_users() -> None:
    arrivals = bursty_trace(np.random.default_rng(0), 0.5, 4.0, batch=1000)
    strict, _ = run(STRICT, SMALL, arrivals, 10.0)
    full, _ = run(ECHO, SMALL, arrivals, 10.0)
    assert full.offline_tokens_s > 2 * strict.offline_tokens_s
    assert full.attainment >= strict.attainment
    assert full.smooth_goodput >= strict.smooth_goodput


def test_every_scheduler_of_the_ladder_serves_every_user() -> None:
    arrivals = bursty_trace(np.random.default_rng(2), 0.5, 3.0, batch=40)
    users = sum(a.priority is Priority.ONLINE for a in arrivals)
    for name in LADDER:
        _, outcome = run(name, SMALL, arrivals, 8.0)
        assert len(outcome.online) == users, name
        assert bool(outcome.offline) == (name != ALONE)


def test_the_table_compares_with_strict_priority_and_with_sorted_prompts() -> None:
    rows = [
        line.split(" | ")
        for line in table(
            SMALL, [bursty_trace(np.random.default_rng(0), 0.5, 3.0, batch=1500)], 23.0
        ).splitlines()[2:]
    ]
    assert [row[0].removeprefix("| ") for row in rows] == list(LADDER)
    assert rows[2][7] == rows[3][8].removesuffix(" |") == "1.00"


def test_a_recorded_trace_keeps_its_gaps_and_lengths_in_proportion(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    lines = [f"2023-11-16 18:{i // 60:02d}:{i % 60:02d}.5,{100 + i},{10 + i % 7}" for i in range(0, 1200, 3)]
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]))
    trace = read_recorded(path).trace(np.random.default_rng(0), 0.5, 100.0, batch=0)
    gaps = np.diff([arrival.at_s for arrival in trace])
    assert len(trace) in (50, 51)
    assert np.allclose(gaps, 2.0)
    assert all(0 <= arrival.at_s < 100.0 for arrival in trace)
    prompts = np.array([len(arrival.prompt) for arrival in trace])
    assert np.all(np.abs(np.diff(prompts) - 3 * 165 / (100 + 598.5)) <= 1)


def test_a_file_that_is_no_trace_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time,tokens\n1,2\n")
    with pytest.raises(InputError, match="not a trace with the columns TIMESTAMP"):
        read_recorded(path)


def test_a_step_whose_only_request_gives_up_its_blocks_does_not_end_the_run() -> None:
    """Without prefix groups the chosen request of a full cache may be the one that is preempted."""
    arrivals = bursty_trace(np.random.default_rng(1), 0.5, 30.0, batch=300)
    for blocks in (45, 60, 80):
        _, outcome = run("Echo without prefix groups", Server(n_blocks=blocks), arrivals, 40.0)
        assert len(outcome.online) == sum(a.priority is Priority.ONLINE for a in arrivals)
