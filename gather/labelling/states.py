"""Cell states, in addition to cell types: cycling, interferon response, stress, activation, hypoxia.

A state is a short gene set of one publication (`data/cell_states.tsv`). A cell set is in the state where these genes
stand out from the file's other sets more than its other genes do. The identity never depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from gather.annotation import State
from gather.metrics.multiple_testing import benjamini_hochberg
from gather.retrieval.panel_null import p_of_separation
from gather.retrieval.query import CellSet, Panel
from vckg.base.resources import table

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

STATES = ("cycling", "interferon", "stress", "activation", "hypoxia")
MOST_FDR = 0.05
"""Over all sets and states of a file."""
LEAST_GENES = 3
"""So many genes of a state must be measured."""
LEAST_RISE, LEAST_FRACTION = 1.5, 0.05
"""Mean fraction of the set's cells that express the genes: its odds against those in the file, and by itself."""


@lru_cache(maxsize=1)
def gene_sets() -> dict[str, tuple[str, ...]]:
    """Return the symbols of each state."""
    rows = table("data", "cell_states.tsv")
    return {state: tuple(row["symbol"] for row in rows if row["state"] == state) for state in STATES}


def states_of(graph: Graph, panel: Panel, cell_sets: Sequence[CellSet]) -> list[tuple[State, ...]]:
    """Return the states of every cell set of one file, with false discovery rates over all of them.

    None of a set without a contrast (the only one of its file) or of a mean profile, whose fractions are of no cells,
    and none of a state with too few measured genes.
    The p of a state is that of its genes' mean contrast if the contrasts fell on the measured genes at random.
    """
    columns = {state: _columns(graph, panel, symbols) for state, symbols in gene_sets().items()}
    columns = {state: found for state, found in columns.items() if len(found) >= LEAST_GENES}
    tested = [
        i
        for i, one in enumerate(cell_sets)
        if one.contrast is not None and one.detected is not None and not one.profile
    ]
    answers: list[tuple[State, ...]] = [()] * len(cell_sets)
    if not columns or not tested or panel.detected is None:
        return answers
    entries = [(c, k) for k, found in enumerate(columns.values()) for c in found.tolist()]
    rows, cols = zip(*entries, strict=True)
    member = sp.csr_array((np.ones(len(rows)), (rows, cols)), shape=(len(panel.names), len(columns)))
    length = np.sqrt([float(len(found)) for found in columns.values()])
    p = np.array([p_of_separation(cell_sets[i].contrast, member, length) for i in tested])  # type: ignore[arg-type]
    fdr = benjamini_hochberg(p.ravel()).reshape(p.shape)
    for row, i in enumerate(tested):
        answers[i] = tuple(
            _state(panel, cell_sets[i], state, found, float(p[row, k]), float(fdr[row, k]))
            for k, (state, found) in enumerate(columns.items())
        )
    return answers


def _state(
    panel: Panel, cell_set: CellSet, name: str, columns: npt.NDArray[np.intp], p: float, fdr: float
) -> State:
    assert cell_set.detected is not None
    assert panel.detected is not None
    inside, overall = float(cell_set.detected[columns].mean()), float(panel.detected[columns].mean())
    risen = inside * (1 - overall) >= LEAST_RISE * overall * (1 - inside)
    present = fdr <= MOST_FDR and inside >= LEAST_FRACTION and risen
    return State(name, present, p, fdr, inside, overall, tuple(panel.names[c] for c in columns.tolist()))


def _columns(graph: Graph, panel: Panel, symbols: Sequence[str]) -> npt.NDArray[np.intp]:
    """First column of each measured gene, by its node or, of a technical one, by its symbol."""
    nodes = {int(node): i for i, node in reversed(list(enumerate(panel.nodes.tolist()))) if node >= 0}
    names = {name.upper(): i for i, name in reversed(list(enumerate(panel.names)))}
    found = graph.genes.ground(list(symbols))
    known = graph.ids.positions([one.curie or "" for one in found]).tolist()
    places = (nodes.get(node, names.get(symbol)) for node, symbol in zip(known, symbols, strict=True))
    return np.unique(np.array([place for place in places if place is not None], np.intp))
