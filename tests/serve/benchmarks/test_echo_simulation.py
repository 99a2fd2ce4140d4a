"""The simulated rows of Echo's page."""

import numpy as np

from benchmarks.echo_simulation import ALONE, ECHO, LADDER, STRICT, bursty_trace, run, table
from benchmarks.simulated_server import Server
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
    rows = [line.split(" | ") for line in table(SMALL, 0.5, [0], 23.0).splitlines()[2:]]
    assert [row[0].removeprefix("| ") for row in rows] == list(LADDER)
    assert rows[2][7] == rows[3][8].removesuffix(" |") == "1.00"
