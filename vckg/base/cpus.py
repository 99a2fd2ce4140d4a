"""Count the CPUs that this process may use; containers and batch jobs allow fewer than the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def usable_cpus(own: Path = OWN, root: Path = CGROUPS) -> int:
    """Return the smaller of the affinity mask and the quotas of the control groups, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(share) for share in _quotas(own, root))]))


def _quotas(own: Path, root: Path) -> list[float]:
    """Return the CPUs that each control group of this process grants (versions 2 and 1)."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []
    shares = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / controllers if controllers else root
        own_folder = base / path.lstrip("/")
        for folder in (own_folder, *own_folder.parents):
            shares += _quota(folder)
            if folder == base:
                break
    return shares


def _quota(folder: Path) -> list[float]:
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
    except (OSError, ValueError):  # no quota here
        return []
    if quota in ("max", "-1") or not float(period):
        return []
    return [float(quota) / float(period)]
