"""What a whole pass costs (anchor 10); its seconds are in docs/results/arena.md and depend on the machine."""

from pathlib import Path

import pytest

from benchmarks.arena_throughput import measure
from vckg.graph.graph import Graph


@pytest.mark.slow
@pytest.mark.data
def test_2216_samples_take_less_than_600_megabytes(
    mirror: Path, core_graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VCKG_MIRROR", str(mirror))
    took = measure("-g", str(core_graph.folder))
    assert took["samples"] == 2216
    assert took["cpu_s"] > 0
    assert took["peak_mb"] < 600
