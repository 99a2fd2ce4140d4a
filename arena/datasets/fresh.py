"""The fresh set: real cells of many studies, by a seed, and questions from facts that two resources state.

Another seed draws other cells and questions; what was drawn is hashed into the run's fingerprint. A sample enters
only if what it asks can be answered from what it shows (`arena.datasets.admission`), and what does not enter is
counted. Questions, and part of the claims about a cell, come from the graph: open book for contestants that read it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from arena.datasets.admission import FILTERED, UNNAMED, Admission
from arena.datasets.cell_files import Labelled, cell_files, read_labelled
from arena.datasets.lineages import CellTerms
from arena.datasets.profiles import profile_cells, profiles_of
from arena.datasets.questions import questions
from arena.datasets.real import cells_of, stimulated_cells
from arena.datasets.screen import screen
from arena.datasets.to_generate import cells_to_generate
from arena.datasets.virtual_cell import SENTENCE_LENGTH, VirtualCell
from vckg.graph.graph import Graph

OPEN_BOOK: Final = ("captioning", "qa")
"""Tasks of the fresh set whose reference comes, at least in part, from the graph."""


class Fresh(NamedTuple):
    """The fresh set."""

    cells: list[VirtualCell]
    admission: Admission
    """With what was rejected, and what the oracle answers."""


def read_cells(graph: Graph, *, seed: int, mirrors: Sequence[Path] = ()) -> list[VirtualCell]:
    """Return all virtual cells of the fresh set."""
    return make(graph, seed=seed, mirrors=mirrors).cells


def make(graph: Graph, *, seed: int, mirrors: Sequence[Path] = ()) -> Fresh:
    """Return the fresh set with the count of what was rejected."""
    terms = CellTerms(graph)
    entry = Admission(terms, seed)
    sets: list[Labelled] = []
    cells: list[VirtualCell] = []
    for source, path in cell_files(mirrors):
        labelled = read_labelled(source, path, graph)
        if labelled.filtered and source.use == "samples" and not source.of_user:  # users know their files
            entry.rejected[FILTERED] += len(set(labelled.types) - {""})
        else:
            sets.append(labelled)
    for labelled in sets:
        if labelled.source.use == "samples":
            entry.rejected[UNNAMED] += len(labelled.unnamed)
        if labelled.source.values != "profiles":
            cells += cells_of(labelled, entry)
    human, mouse = (profiles_of(sets, species, entry) for species in ("human", "mouse"))
    for profiles in (human, mouse):
        cells += profile_cells(profiles, entry)
    real: dict[str, list[list[str]]] = defaultdict(list)
    for profile in human:
        real[profile.cl_id].append(profile.symbols(SENTENCE_LENGTH))
    cells += cells_to_generate(real, entry, item="", sets=sorted({p.set for p in human}))
    cells += stimulated_cells(terms, mirrors=mirrors)
    cells += screen(graph, mirrors, entry)
    cells += questions(graph, entry)
    return Fresh(cells, entry)


# ---- what the graph says, for contestants that read it ----------------------------------------------------


def markers_of_types(graph: Graph) -> dict[int, list[int]]:
    """Marker genes of each cell type, the best supported first, ties by CURIE; node indices."""
    support: dict[int, dict[int, tuple[int, int, int]]] = defaultdict(dict)  # sources, publications, rows
    rows = graph.rows("is_marker_for")
    columns = (graph.subject, graph.object, graph.n_publications, graph.evidence_count)
    for gene, cell, publications, evidence in zip(*(c[rows].tolist() for c in columns), strict=True):
        had = support[cell].get(gene, (0, 0, 0))
        support[cell][gene] = (had[0] + 1, had[1] + publications, had[2] + evidence)
    return {
        cell: sorted(genes, key=lambda g: (*(-x for x in genes[g]), g))
        for cell, genes in sorted(support.items())
    }


def signed_targets(graph: Graph) -> dict[int, dict[int, int]]:
    """Sign of each target of each regulator; targets on whose sign the sources differ are left out."""
    signs: dict[int, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    rows = graph.rows("regulates")
    for regulator, target, sign in zip(
        *(c[rows].tolist() for c in (graph.subject, graph.object, graph.sign)), strict=True
    ):
        if sign and regulator != target:
            signs[regulator][target].add(sign)
    return {
        regulator: {t: next(iter(s)) for t, s in sorted(targets.items()) if len(s) == 1}
        for regulator, targets in sorted(signs.items())
    }
