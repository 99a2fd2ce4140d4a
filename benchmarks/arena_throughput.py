"""Time and memory of a whole pass over SC-Arena: ``python -m benchmarks.arena_throughput``.

The contestant ``gold`` answers at once, with the engine, logs, parsers and scoring of any other. So the figures are
those of the arena itself: 608 samples of each of three tasks, 138 perturbations and 254 questions. The command runs
in a process of its own. SC-Arena's files come from ``VCKG_MIRROR`` or are downloaded.
"""

from __future__ import annotations

import argparse
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

PROGRAM: Final = """
import atexit, os, pathlib
from arena.cli import main
from benchmarks.streaming import peak_gigabytes
atexit.register(lambda: pathlib.Path(os.environ["PEAK"]).write_text(str(peak_gigabytes())))
main()
"""


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
    peak = folder / "peak"
    try:
        asked = ["run", "-m", "gold", "-d", dataset, "-q", "-o", str(folder / "run")]
        command = [sys.executable, "-c", PROGRAM, *asked]
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        environment = os.environ | {"PEAK": str(peak)}
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL, env=environment)
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        (run,) = find_runs([folder / "run"])
        answers = read_answers(run).answers
        assert not any(a.error for a in answers)
        peak_mb = 1000 * float(peak.read_text(encoding="utf-8"))
    finally:
        shutil.rmtree(folder)
    return {
        "samples": len(answers),
        "wall_s": wall,
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_mb": peak_mb,
    }


def main() -> None:
    """Print the figures as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="Other options go to `arena run`.")
    _, options = parser.parse_known_args()
    figures = measure(*options)
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system().lower()}"
    lines = (
        f"| samples | wall, s | CPU, s | peak memory, MB | per sample, ms |  ({machine})",
        "|--:|--:|--:|--:|--:|",
        f"| {figures['samples']:,} | {figures['wall_s']:.0f} | {figures['cpu_s']:.0f} | {figures['peak_mb']:.0f} "
        f"| {1000 * figures['wall_s'] / figures['samples']:.0f} |",
    )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
