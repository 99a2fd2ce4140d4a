"""How long the graph takes and how much memory: ``python -m benchmarks.build_graph`` prints the table.

``--part`` prints only some of it: ``use`` (build, load, show ...), ``export``, ``grow`` (random graphs). Each
figure is taken in a process of its own, so that its peak memory is its own. VCKG_MIRROR names the folder of source
files for the profile `full`; what has to be downloaded is downloaded before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from vckg.base.resources import default_cache
from vckg.build.build_folder import make
from vckg.build.fetch import Places, fetch_reachable
from vckg.build.source_table import choose, shipped_sources
from vckg.export.export import export
from vckg.export.writers import FORMATS
from vckg.graph.assemble import assemble
from vckg.graph.edge_table import EdgeRows, Pairs, merge
from vckg.graph.graph import Graph
from vckg.graph.grounding import NameTable, name_rows
from vckg.graph.schema import CATEGORY_CODE, RELATION_CODE

PARTS = ("use", "export", "grow")
SEED = 0
SYNTHETIC_NODES = 200_000


def places() -> Places:
    """Where the measured builds find their files: only what is at hand."""
    return Places.named(offline=True)


def build(profile: str, folder: Path) -> str:
    """Build a profile and say what came out."""
    graph = make(folder, shipped_sources(), places(), profile=profile)
    return f"{graph.n:,} nodes, {graph.m:,} edges"


def load(folder: Path) -> str:
    """Map a graph into memory and touch one edge."""
    graph = Graph.load(folder)
    graph.edge(graph.m // 2)
    return f"{sum(p.stat().st_size for p in folder.rglob('*') if p.is_file()) / 1e6:,.0f} MB on disk"


def verify(folder: Path) -> str:
    """Load with every file's checksum compared."""
    return f"{len(Graph.load(folder, verify=True).manifest['files'])} files"


def show(folder: Path) -> str:
    """Find a cell type by its label and describe all its edges."""
    graph = Graph.load(folder)
    (answer,) = graph.cells.ground(["T cell"])
    index = graph.index(str(answer.curie))
    rows = np.concatenate((graph.out_edges(index), graph.in_edges(index)))
    return f"{len([graph.edge(r) for r in rows]):,} edges of {answer.curie}"


def neighbourhood(folder: Path) -> str:
    """Every node within two steps of CD3D, either way."""
    graph = Graph.load(folder)
    reached = {graph.index(str(graph.genes.ground(["CD3D"])[0].curie))}
    for _ in range(2):
        rows = [np.concatenate((graph.out_edges(i), graph.in_edges(i))) for i in sorted(reached)]
        every = np.concatenate(rows)
        reached |= set(graph.subject[every].tolist()) | set(graph.object[every].tolist())
    return f"{len(reached):,} nodes"


def export_to(folder: Path, form: str) -> str:
    """Write a graph in an exchange format."""
    out = folder.with_name(f"{folder.name}-{form}")
    export(Graph.load(folder), form, out, i_have_the_right=True)
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    shutil.rmtree(out)
    return f"{size / 1e6:,.0f} MB"


def ground(folder: Path) -> str:
    """Ground every gene symbol of the graph at once."""
    graph = Graph.load(folder)
    names = graph.ids.pick(graph.nodes_of("Gene"))
    return f"{sum(g.curie is not None for g in graph.genes.ground(names)):,} names"


def synthetic(edges: int, folder: Path) -> str:
    """Merge, write and load a random graph of that many rows."""
    rng = np.random.default_rng(SEED)
    ids = [f"HGNC:{i:07d}" for i in range(SYNTHETIC_NODES)]
    ends = rng.integers(0, SYNTHETIC_NODES, size=(2, edges), dtype=np.int32)
    nothing = np.full(edges, np.nan, dtype=np.float32)
    cited = np.arange(0, edges, 2, dtype=np.int64)
    rows = EdgeRows(
        subject=ends[0],
        object=ends[1],
        relation=np.full(edges, RELATION_CODE["regulates"], dtype=np.uint8),
        source=rng.integers(0, 8, size=edges, dtype=np.uint8),
        sign=np.zeros(edges, dtype=np.int8),
        evidence_count=np.ones(edges, dtype=np.int32),
        weight=nothing,
        specificity=nothing,
        lists={"publications": Pairs(cited, rng.integers(0, 100_000, size=cited.size, dtype=np.int32))},
    )
    texts = pa.array(ids)
    empty = pa.array([[]] * SYNTHETIC_NODES, pa.list_(pa.string()))
    nodes = pa.table({"id": texts, "name": texts, "description": texts, "synonyms": empty, "xrefs": empty})
    names = NameTable.build(name_rows("genes.id", texts, np.arange(SYNTHETIC_NODES, dtype=np.int32)))
    words = {
        "publications": pa.array([f"PMID:{i:06d}" for i in range(100_000)]),
        "evidence": pa.array([], pa.string()),
    }
    sources = [f"s{i}" for i in range(8)]
    category = np.full(SYNTHETIC_NODES, CATEGORY_CODE["Gene"], dtype=np.uint8)
    parts = assemble(nodes, category, merge(rows), words, names, {"source_names": sources, "sources": {}})
    loaded = Graph.load(Graph(parts).save(folder))
    return f"{loaded.m:,} edges"


def measure(name: str, *arguments: str) -> tuple[float, float, float, str]:
    """Seconds, processor seconds, peak gigabytes and the outcome of one task of this module, run alone."""
    command = [sys.executable, "-m", "benchmarks.build_graph", "--task", name, *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(said.stdout)
    return result["seconds"], result["processor"], result["gigabytes"], result["outcome"]


def run_task(name: str, arguments: list[str]) -> None:
    """Run one task here and print what it took; the time of importing is not in it."""
    tasks: dict[str, Callable[..., str]] = {
        t.__name__: t for t in (build, load, verify, show, neighbourhood, ground, export_to, synthetic)
    }
    given = [int(a) if a.isdigit() else Path(a) if os.sep in a else a for a in arguments]
    started, worked = time.perf_counter(), time.process_time()
    outcome = tasks[name](*given)
    seconds, processor = time.perf_counter() - started, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    said = {"seconds": seconds, "processor": processor, "gigabytes": peak, "outcome": outcome}
    json.dump(said, sys.stdout)


def main() -> None:
    """Print the table, or run one task of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--edges", type=int, nargs="*", default=[1_000_000, 5_000_000, 20_000_000])
    arguments = parser.parse_args()
    if arguments.task:
        run_task(arguments.task[0], arguments.task[1:])
        return
    for profile in ("core", "standard", "full"):
        chosen, _ = choose(shipped_sources(), profile)
        fetch_reachable(chosen, Places.named())
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")  # noqa: T201
    print("| what | seconds | processor s | peak GB | outcome |\n|---|---|---|---|---|")  # noqa: T201
    with tempfile.TemporaryDirectory(dir=default_cache()) as scratch:
        for name, task, *given in _rows(Path(scratch), arguments.part, arguments.edges):
            seconds, processor, peak, outcome = measure(task, *given)
            numbers = f"{seconds:.2f} | {processor:.2f} | {peak:.2f}"
            print(f"| {name} | {numbers} | {outcome} |", flush=True)  # noqa: T201


def _rows(scratch: Path, parts: list[str], sizes: list[int]) -> Iterator[tuple[str, ...]]:
    """What each line is called, its task and the task's arguments, in the order they have to be run."""
    for profile in ("core", "standard", "full") if "use" in parts else ():
        yield f"build {profile} from fetched files", "build", profile, str(scratch / profile)
        for task in ("load", "verify", "show", "neighbourhood", "ground"):
            yield f"{task}, {profile}", task, str(scratch / profile)
    if "export" in parts:
        if "use" not in parts:
            make(scratch / "full", shipped_sources(), places(), profile="full")
        for form in sorted(FORMATS):
            yield f"export {form}, full", "export_to", str(scratch / "full"), form
    for size in sizes if "grow" in parts else ():
        yield f"merge, write, load {size:,} random edges", "synthetic", str(size), str(scratch / "s")


if __name__ == "__main__":
    main()
