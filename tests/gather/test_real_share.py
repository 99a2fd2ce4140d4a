"""A quarter of gather's tests touch a real graph or a real file: ``python tests/gather/test_real_share.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
REAL = {"mirror", "core_graph", "full_graph"}
"""Fixtures that stand for real data."""
LEAST = 0.25


def counts(items: Sequence[pytest.Item]) -> dict[str, tuple[int, int]]:
    """Tests on real data and all tests, by file."""
    found: dict[str, tuple[int, int]] = {}
    for item in items:
        real = (
            bool(REAL & {*getattr(item, "fixturenames", ())}) or item.get_closest_marker("data") is not None
        )
        before = found.get(item.path.name, (0, 0))
        found[item.path.name] = before[0] + real, before[1] + 1
    return found


class _Collected:
    """Prints the counts of what was collected, as one line of JSON."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        sys.stdout.write(f"COUNTS {json.dumps(counts(session.items))}\n")


def collected() -> dict[str, tuple[int, int]]:
    """The counts of all of gather's tests, collected in another process."""
    done = subprocess.run([sys.executable, __file__, "count"], capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("COUNTS"))
    return {name: (real, whole) for name, (real, whole) in json.loads(line[7:]).items()}


def test_a_quarter_of_the_tests_touches_a_real_graph_or_file(request: pytest.FixtureRequest) -> None:
    every = {path.name for path in FOLDER.rglob("test_*.py")}
    found = counts([item for item in request.session.items if FOLDER in item.path.parents])
    if {*found} != every:  # a part of the suite runs
        found = collected()
    assert {*found} == every
    real, whole = (sum(column) for column in zip(*found.values(), strict=True))
    assert real >= LEAST * whole, f"{real} of {whole}"


if __name__ == "__main__":
    if sys.argv[1:] == ["count"]:
        sys.exit(pytest.main(["--collect-only", "-q", "-q", "-n", "0", str(FOLDER)], plugins=[_Collected()]))
    table = collected()
    table["all"] = sum(r for r, _ in table.values()), sum(w for _, w in table.values())
    sys.stdout.writelines(f"{name:40} {real:5} of {whole:5}\n" for name, (real, whole) in table.items())
