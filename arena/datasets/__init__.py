"""Virtual cells: from SC-Arena's public data, from the graph and real cells, or from a file of cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from arena.datasets.virtual_cell import VirtualCell
from vckg.base.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

FRESH, SC_ARENA, SC_ARENA_COMPAT = "fresh", "sc-arena", "sc-arena-compat"
DATASETS: Final = {
    FRESH: "real cells of the files at hand and facts of the graph, drawn by seed (default)",
    SC_ARENA: "SC-Arena's public data, repaired",
    SC_ARENA_COMPAT: "the same, untouched, to compare with published figures (--compat sc-arena)",
}


def make_cells(dataset: str, graph: Graph, *, seed: int) -> tuple[str, list[VirtualCell]]:
    """Name and virtual cells of a data set: one of `DATASETS`, or the path of a file of cells.

    Raises
    ------
    InputError
        No such data set and no such file.
    """
    if dataset == FRESH:
        from arena.datasets import fresh
        from vckg.build.fetch import default_mirrors

        return dataset, fresh.read_cells(graph, seed=seed, mirrors=default_mirrors())
    if dataset in (SC_ARENA, SC_ARENA_COMPAT):
        from arena.datasets import scarena
        from arena.datasets.files import scarena_files

        return dataset, scarena.read_cells(scarena_files(), graph, compat=dataset == SC_ARENA_COMPAT)
    path = Path(dataset)
    if path.suffix == ".jsonl":
        from arena.datasets.virtual_cell import read_cells

        return path.stem, list(read_cells(path))
    raise InputError(
        f"no data set {dataset!r}{did_you_mean(dataset, DATASETS)}; "
        f"known: {', '.join(DATASETS)}, or a .jsonl file of virtual cells"
    )
