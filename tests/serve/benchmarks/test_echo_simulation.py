"""The deployer's question, simulated: how much batch work fits, and how many replicas it takes."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.echo_simulation import LADDER, bursty_trace, run
from benchmarks.simulated_server import Server, read_trace, replicas_needed
from serve.cli import app
from serve.errors import InputError
from serve.request import Priority

SMALL = Server(n_blocks=160)
"""Room for five of the trace's ten prefixes."""


def test_prefix_groups_more_than_double_the_batch_work_at_no_cost_to_users() -> None:
    arrivals = bursty_trace(np.random.default_rng(0), 0.5, 4.0, batch=1000)
    strict, _ = run("strict priority", SMALL, arrivals, 10.0)
    full, _ = run("full Echo", SMALL, arrivals, 10.0)
    assert full.offline_tokens_s > 2 * strict.offline_tokens_s
    assert full.attainment >= strict.attainment
    assert full.smooth_goodput >= strict.smooth_goodput


def test_every_scheduler_of_the_ladder_serves_every_user() -> None:
    arrivals = bursty_trace(np.random.default_rng(2), 0.5, 3.0, batch=40)
    users = sum(a.priority is Priority.ONLINE for a in arrivals)
    for name in LADDER:
        _, outcome = run(name, SMALL, arrivals, 8.0)
        assert len(outcome.online) == users, name


def test_more_batch_work_takes_more_replicas() -> None:
    arrivals = bursty_trace(np.random.default_rng(0), 0.5, 3.0, batch=1000)
    one, rung = replicas_needed(SMALL, arrivals, 6.0, target=0.5)
    wanted = 1.3 * rung.offline_tokens_s
    more, _ = replicas_needed(SMALL, arrivals, 6.0, target=0.5, offline_tokens_s=wanted)
    assert (one, more) == (1, 2)
    with pytest.raises(InputError, match="1 replicas do not reach"):
        replicas_needed(SMALL, arrivals, 6.0, target=0.5, offline_tokens_s=wanted, most=1)


def test_a_trace_file_is_read_and_a_bad_line_named(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    row = {"at_s": 1.5, "prompt_tokens": 20, "output_tokens": 6}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (arrival,) = read_trace(path)
    assert (arrival.at_s, len(arrival.prompt), arrival.output_tokens) == (1.5, 20, 6)
    assert arrival.priority is Priority.ONLINE
    path.write_text(json.dumps(row) + '\n{"at_s": 2}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"trace.jsonl:2: .*wanted at_s, prompt_tokens, output_tokens"):
        read_trace(path)
    with pytest.raises(InputError, match="no such file"):
        read_trace(tmp_path / "absent.jsonl")


def test_the_command_answers_how_many_replicas_and_how_much_batch_work(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    rows = [{"at_s": 0.3 * i, "prompt_tokens": 60, "output_tokens": 10} for i in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = ["plan", "--online-trace", str(path), "--slo", "0.3", "--batch", "60", "--seconds", "6"]
    said = CliRunner().invoke(app, arguments, catch_exceptions=False).output
    assert "simulated" in said
    assert "replicas           1" in said
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).output)
    assert found["replicas"] == 1
    assert found["attainment"] == 1.0
    assert found["offline_tokens_s"] > 0
