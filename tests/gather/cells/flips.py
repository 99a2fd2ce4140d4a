"""Annotate damaged copies of one h5ad, each in a forked process, and print the outcomes as JSON lines.

``python flips.py FILE GRAPH FOLDER GROUPBY SEED N SECONDS``; a script, so that a crash is an exit code.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path


def damaged(data: bytes, seed: int) -> bytes:
    """Flip bits in one to eight bytes; every other time close together, as a bad block does."""
    rng = random.Random(seed)
    made, near = bytearray(data), rng.random() < 0.5
    start = rng.randrange(len(made))
    for _ in range(rng.choice([1, 2, 4, 8])):
        at = (start + rng.randrange(64)) % len(made) if near else rng.randrange(len(made))
        made[at] ^= 1 << rng.randrange(8) if rng.random() < 0.5 else rng.randrange(1, 256)
    return bytes(made)


def main() -> None:
    os.environ["NUMBA_THREADING_LAYER"] = "workqueue"  # the one that survives a fork
    source, graph_folder, folder, groupby, seed, n, seconds = sys.argv[1:8]
    import anndata  # noqa: F401
    import scanpy  # noqa: F401

    from gather.cells.command import annotate_file
    from gather.cells.options import Options
    from vckg.base.errors import KnownError
    from vckg.graph.graph import Graph

    graph, data = Graph.load(graph_folder), Path(source).read_bytes()
    options = Options(groupby=groupby)
    annotate_file(
        Path(source), Path(folder) / "whole.h5ad", graph, options, overwrite=True
    )  # compile, warm up
    for number in range(int(seed), int(seed) + int(n)):
        copy, out = Path(folder) / f"{number}.h5ad", Path(folder) / f"{number}-out.h5ad"
        copy.write_bytes(damaged(data, number))
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            code, said = 1, ""
            try:
                annotate_file(copy, out, graph, options)
                code = 0
            except KnownError as error:
                code, said = 2, str(error)
            except BaseException:  # noqa: BLE001
                import traceback

                said = traceback.format_exc()
            (Path(folder) / f"{number}.said").write_text(said)
            os._exit(code)
        code = _wait(pid, started + float(seconds))
        said = Path(folder) / f"{number}.said"
        text = said.read_text() if said.exists() else ""
        left = sorted(p.name for p in Path(folder).iterdir() if p.name.startswith(f".{number}-out"))
        row = {"seed": number, "code": code, "s": round(time.monotonic() - started, 1), "said": text,
               "wrote": out.exists(), "left": left}  # fmt: skip
        print(json.dumps(row), flush=True)  # noqa: T201
        for path in (copy, out, said):
            path.unlink(missing_ok=True)


def _wait(pid: int, until: float) -> int:
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 124


if __name__ == "__main__":
    main()
