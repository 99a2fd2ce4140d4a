"""The CPUs a process may use: the affinity mask, and the quota of a control group."""

import os
from pathlib import Path

import pytest

from vckg.base.cpus import usable_cpus


def test_the_affinity_mask_counts(tmp_path: Path) -> None:
    mine = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mine)})
        assert usable_cpus(tmp_path / "none", tmp_path) == 1
    finally:
        os.sched_setaffinity(0, mine)


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("0::/pod/box\n", {"pod/cpu.max": "100000 100000\n", "pod/box/cpu.max": "max 100000\n"}),
        ("4:cpu:/box\n", {"cpu/box/cpu.cfs_quota_us": "50000", "cpu/box/cpu.cfs_period_us": "100000"}),
    ],
)  # fmt: skip
def test_a_quota_of_a_control_group_above_counts(tmp_path: Path, line: str, files: dict[str, str]) -> None:
    (tmp_path / "own").write_text(line)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cpus(tmp_path / "own", tmp_path) == 1


def test_no_quota_leaves_the_mask(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/box\n3:memory:/box\n")
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "cpu.max").write_text("max 100000\n")
    assert usable_cpus(tmp_path / "own", tmp_path) == len(os.sched_getaffinity(0))
