"""How long a whole pass over SC-Arena takes, and how much memory: ``python -m benchmarks.arena_throughput``.

The model answers at once (the reference, by the same engine, logs, parsers and scoring as any other), so what
is measured is the arena itself: 608 samples of each of three tasks, 138 perturbations and 254 questions. The
command under test runs in a process of its own. SC-Arena's files come from ``VCKG_MIRROR`` or are downloaded.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

PROGRAM: Final = "from arena.cli import main; main()"


def measure(*options: str, dataset: str = "sc-arena") -> dict[str, Any]:
    """Run ``arena run -m gold`` on a data set in a process of its own.

    Returns
    -------
    dict
        ``samples``; ``wall_s`` and ``cpu_s``, seconds; ``peak_mb``, the process's largest resident memory,
        memory-mapped graph included, in MB of 1,000,000 bytes.
    """
    from arena.run_folder import find_runs, read_answers

    folder = Path(tempfile.mkdtemp(prefix="arena-bench-"))
    try:
        command = [sys.executable, "-c", PROGRAM, "run", "-m", "gold", "-d", dataset, "-q", "-o", str(folder)]
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        (run,) = find_runs([folder])
        answers = read_answers(run).answers
        assert not any(a.error for a in answers)
    finally:
        shutil.rmtree(folder)
    return {
        "samples": len(answers),
        "wall_s": wall,
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_mb": after.ru_maxrss * 1024 / 1e6,
    }


def main() -> None:
    """Print the figures as a Markdown table."""
    took = measure(*sys.argv[1:])
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system().lower()}"
    lines = (
        f"| samples | wall, s | CPU, s | peak memory, MB | per sample, ms |  ({machine})",
        "|--:|--:|--:|--:|--:|",
        f"| {took['samples']:,} | {took['wall_s']:.0f} | {took['cpu_s']:.0f} | {took['peak_mb']:.0f} "
        f"| {1000 * took['wall_s'] / took['samples']:.0f} |",
    )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
