"""`build`: from a profile to a graph folder, under a lock, atomically."""

from __future__ import annotations

import gc
import platform
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from vckg.base.console import progress
from vckg.base.lock import locked
from vckg.build.fetch import Places, fetch_reachable
from vckg.build.ground_sources import build_graph
from vckg.build.source_table import Source, choose
from vckg.build.sssom import write_sssom
from vckg.export.kgx import edge_table, node_table
from vckg.graph.folder import new_folder, refuse_foreign, write_files
from vckg.graph.graph import Graph

EDGES_AT_ONCE = 250_000
PACKAGES = ("vckg", "numpy", "pandas", "pyarrow")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let the cyclic collector rest: parsed terms are millions of objects that stay, and walking over them again and
    again takes half the time of reading.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def make(
    folder: Path,
    sources: Sequence[Source],
    places: Places,
    *,
    profile: str,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> Graph:
    """Fetch, build and write a graph folder and return the graph, read back from it.

    The folder appears at once and whole, by a rename; an older graph there is replaced. A second build of the
    same folder waits for the first.
    """
    include, exclude = sorted(set(include)), sorted(set(exclude))
    chosen, excluded_parts = choose(sources, profile, include, exclude)
    folder = folder.absolute()
    refuse_foreign(folder)
    taken, absent = fetch_reachable(chosen, places)
    with (
        locked(folder.parent / f".{folder.name}.lock", f"is building {folder}"),
        progress(f"building {folder.name} from {len(taken)} sources"),
        _uncollected(),
    ):
        graph, mappings = build_graph(taken, excluded_parts)
        graph.manifest |= _parameters(profile, include, exclude) | {"absent": absent}
        with new_folder(folder) as scratch:
            with ThreadPoolExecutor(1) as pool:
                edges = pool.submit(write_edges, graph, scratch / "edges.parquet")
                pq.write_table(node_table(graph), scratch / "nodes.parquet", compression="zstd")
                licence = "see the manifest: each source under its own licence"
                write_sssom(mappings.table(graph.names), scratch / "mappings.sssom.tsv", licence=licence)
                edges.result()
            write_files(graph.parts, scratch)
    return Graph.load(folder)


def write_edges(graph: Graph, path: Path) -> None:
    """Write the edges with KGX columns, some at a time: as text they are many times the graph."""
    with pq.ParquetWriter(path, edge_table(graph, np.arange(0)).schema, compression="zstd") as writer:
        for start in range(0, graph.m, EDGES_AT_ONCE):
            rows = np.arange(start, min(start + EDGES_AT_ONCE, graph.m))
            writer.write_table(edge_table(graph, rows))


def _parameters(profile: str, include: Sequence[str], exclude: Sequence[str]) -> dict[str, Any]:
    return {
        "parameters": {"profile": profile, "source": list(include), "exclude_source": list(exclude)},
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
    }
