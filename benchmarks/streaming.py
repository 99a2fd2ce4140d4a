"""Cells a second and memory peak of single-cell annotation from files of growing size, for `benchmarks.speed`."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vckg.graph.graph import Graph


def streaming(graph: Graph, data: Path) -> Iterator[str]:
    """Cells a second from files of growing size, made from real cells of the Kang set."""
    import scipy.sparse as sp

    from gather.cells.file import open_h5ad

    adata = open_h5ad(data / "h5ad" / "pbmc_kang18_ifnb_muscat.h5ad")
    cells: Any = sp.csr_matrix(adata.X, dtype=np.float32)
    rng = np.random.default_rng(0)
    yield "| single cells, streamed from disk | cells per second | memory peak, GB |"
    yield "|---|--:|--:|"
    plan = [("csr", 10_000), ("csr", 100_000), ("csr", 1_000_000)]
    plan += [(form, 100_000) for form in ("dense", "csc", "gzip", "zarr")]
    with tempfile.TemporaryDirectory(prefix="gather-stream-") as folder:
        for form, n in plan:
            path = Path(folder) / f"{form}-{n}"
            _write(cells, rng.integers(0, cells.shape[0], n), path, form)
            per_s, peak = _measured(graph, path, adata.var)
            yield f"| {form}, {n:,} cells | {per_s:,.0f} | {peak:.2f} |"


def _write(cells: Any, chosen: npt.NDArray[np.int64], path: Path, form: str) -> None:
    """Write cells drawn from real ones, block by block so that a million fit."""
    import h5py
    import zarr
    from anndata.io import write_elem

    if form == "csr" and len(chosen) > 200_000:
        _write_large(cells, chosen, path)
        return
    matrix = cells[chosen]
    stored = {"dense": lambda: matrix.toarray(), "csc": lambda: matrix.tocsc()}.get(form, lambda: matrix)()
    if form == "zarr":
        write_elem(zarr.open_group(str(path), mode="w"), "X", stored)
        return
    with h5py.File(path, "w") as file:
        write_elem(file, "X", stored, dataset_kwargs={"compression": "gzip"} if form == "gzip" else {})


def _write_large(cells: Any, chosen: npt.NDArray[np.int64], path: Path) -> None:
    import h5py

    lengths = np.diff(cells.indptr)[chosen]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs["encoding-type"], group.attrs["encoding-version"] = "csr_matrix", "0.1.0"
        group.attrs["shape"] = [len(chosen), cells.shape[1]]
        group["indptr"] = indptr
        data = group.create_dataset("data", (int(indptr[-1]),), np.float32)
        indices = group.create_dataset("indices", (int(indptr[-1]),), np.int32)
        for low in range(0, len(chosen), 50_000):
            part = cells[chosen[low : low + 50_000]]
            span = slice(int(indptr[low]), int(indptr[min(low + 50_000, len(chosen))]))
            data[span], indices[span] = part.data, part.indices


def _measured(graph: Graph, path: Path, var: Any) -> tuple[float, float]:
    """Stream a file in a fresh process, so that the memory peak is its own; cells a second and gigabytes."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_stream_file, str(graph.folder), str(path), list(var.index)).result()


def _stream_file(folder: str, path: str, names: list[str]) -> tuple[float, float]:
    import h5py
    import pandas as pd
    import zarr

    from gather.cells.expression import names_that_ground
    from gather.cells.per_cell import make_annotator, stream, survey_in_threads
    from gather.cells.row_blocks import Rows
    from gather.labelling.annotator import Parameters
    from vckg.graph.graph import Graph

    graph = Graph.load(folder)
    var = pd.DataFrame(index=names)
    store: Any = zarr.open_group(path, mode="r") if Path(path).is_dir() else h5py.File(path, "r")

    def annotator_of(rows: Rows) -> Any:
        panel = names_that_ground(graph, var).panel
        return make_annotator(rows, panel, survey_in_threads(rows), graph, Parameters())

    with Rows(store["X"]) as rows:  # compile and warm up on a first block, not timed
        annotator = annotator_of(rows)
        next(stream(rows, annotator, stop=min(500, rows.shape[0])))
    started = time.perf_counter()
    with Rows(store["X"]) as rows:
        annotator = annotator_of(rows)
        n = sum(len(part.term) for part in stream(rows, annotator))
    return n / (time.perf_counter() - started), peak_gigabytes()


def peak_gigabytes() -> float:
    """Most memory this process had resident.

    Linux keeps the larger peak of the parent for a child in ``ru_maxrss``, so the process's own is asked for.
    """
    status = Path("/proc/self/status")
    if status.exists():
        own = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return float(own.split()[1]) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
