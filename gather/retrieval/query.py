"""What is asked: the ranked genes of a cell set, grounded to nodes of the graph.

A `CellSet` speaks the file's gene names, a `GeneQuery` the graph's node indices. Both keep what could not
be grounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vckg.base.errors import InputError
from vckg.base.resources import table

if TYPE_CHECKING:
    from vckg.graph.graph import Graph
    from vckg.graph.grounding import Grounded

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

DEFAULT_TOP = 50
TIE_DECIMALS = 9
"""Scores that agree to this many decimals are a tie, broken by CURIE: sums in another order must not
reorder."""
MOST_CONTRAST = 2.0
"""Spreads that a contrast counts at most, in either direction."""
LEAST_SPREAD = 0.1
"""Added to the spread of a gene over the sets, natural logarithm of expression: small differences stay small."""

LEAST_COMPARED = 10
"""Cells of a set whose fractions say how often other sets have a gene."""


@dataclass(frozen=True)
class Panel:
    """The genes a file measured, grounded once for all of its cell sets.

    Attributes
    ----------
    names
        As the file prints them.
    nodes
        Graph node of each name, int32[len(names)]; -1 where it does not ground, is ambiguous, is a technical
        gene, or where an earlier column already stands for the same gene.
    detected
        Fraction of the file's cells in which each gene is detected, float64[len(names)]; None where unknown.
    ambiguous
        Names that are an alias of several genes; they take no part in queries.
    ungrounded
        Names the graph does not know.
    technical
        Names of the families in `data/gene_families.tsv`, left out of queries.
    """

    names: tuple[str, ...]
    nodes: Ints
    detected: Floats | None = None
    ambiguous: tuple[str, ...] = ()
    ungrounded: tuple[str, ...] = ()
    technical: tuple[str, ...] = ()

    @property
    def n_grounded(self) -> int:
        """Number of distinct genes of the graph that the file measured."""
        return int((self.nodes >= 0).sum())

    @property
    def genes(self) -> Ints:
        """Measured gene nodes, ascending and distinct."""
        return np.unique(self.nodes[self.nodes >= 0])

    def background(self, n_nodes: int) -> Floats:
        """Detection frequency by node, float64[n_nodes]; 0 for genes not measured, 1 where it is unknown."""
        background = np.zeros(n_nodes)
        grounded = self.nodes >= 0
        background[self.nodes[grounded]] = 1.0 if self.detected is None else self.detected[grounded]
        return background


@dataclass(frozen=True)
class CellSet:
    """A set of cells (a cluster, or one cell) as its ranked genes.

    Attributes
    ----------
    name
        The group's name in the file, or the cell's barcode.
    genes
        Gene names as the file prints them, best first.
    n_cells
        How many cells the set holds.
    strengths
        The ranking statistic of each gene, descending; empty where only the order is known.
    detected
        Fraction of the set's cells that express each gene of the file's panel, float64[panel]; None where
        unknown.
    contrast
        How each gene of the panel stands out from the file's other sets (`contrasts`), float64[panel]; None where
        there are no others.
    profile
        Whether the set is one profile of unknown many cells: every set of the file has one row.
    most
        Fraction of the cells that express each gene in that set of the file where it is greatest, float64[panel]; None
        where unknown.
    """

    name: str
    genes: tuple[str, ...]
    n_cells: int = 1
    strengths: tuple[float, ...] = ()
    detected: Floats | None = None
    contrast: Floats | None = None
    profile: bool = False
    most: Floats | None = None


@dataclass(frozen=True)
class GeneQuery:
    """Grounded, ranked genes with their rank weights.

    Attributes
    ----------
    name
        Of the cell set.
    genes
        Graph nodes, best first, distinct, int32[q].
    weights
        ``1 / log2(rank + 2)`` with rank counted from 0 over the grounded genes, float64[q].
    names
        What the file called each of `genes`.
    ambiguous, ungrounded, technical
        Names of the ranked list that were passed over before `genes` was full, by reason.
    outside
        Names of genes that were cut because the graph says nothing of them (`gather.retrieval.scores.Retriever.asked`).
    measured, contrast
        Graph nodes of all measured genes, int32[m], and how each stands out from the file's other sets, float64[m];
        None where there are no others.
    """

    name: str
    genes: Ints
    weights: Floats
    names: tuple[str, ...]
    ambiguous: tuple[str, ...] = ()
    ungrounded: tuple[str, ...] = ()
    technical: tuple[str, ...] = ()
    n_cells: int = 1
    strengths: tuple[float, ...] = field(default=(), repr=False)
    outside: tuple[str, ...] = ()
    measured: Ints | None = field(default=None, repr=False)
    contrast: Floats | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.genes)


def rank_weights(n: int) -> Floats:
    """Return ``1 / log2(rank + 2)`` for ranks 0 to n - 1, the published gene weight; float64[n]."""
    return np.asarray(1.0 / np.log2(np.arange(n) + 2.0), dtype=np.float64)


def contrasts(mean: npt.NDArray[np.floating[Any]]) -> Floats | None:
    """Return how the mean expression of each set stands out from those of the other sets, in spreads over the sets.

    Parameters
    ----------
    mean
        Mean logarithmic expression, float[sets, genes].

    Returns
    -------
    float64[sets, genes] within `MOST_CONTRAST` of 0; None for fewer than two sets.
    """
    n = len(mean)
    if n < 2:
        return None
    values = np.asarray(mean, dtype=np.float64)
    others = (values.sum(axis=0) - values) / (n - 1)
    difference = (values - others) / (values.std(axis=0) + LEAST_SPREAD)
    return np.asarray(np.clip(difference, -MOST_CONTRAST, MOST_CONTRAST), dtype=np.float64)


def compared(cell_sets: Sequence[CellSet]) -> list[CellSet]:
    """Return the sets of a file, each with the greatest fraction of any of them (`CellSet.most`).

    Sets of fewer than `LEAST_COMPARED` cells say nothing of the others, unless all sets are profiles.
    """
    known = [
        one.detected
        for one in cell_sets
        if one.detected is not None and (one.profile or one.n_cells >= LEAST_COMPARED)
    ]
    most = np.max(known, axis=0) if known else None
    return [replace(one, most=most) for one in cell_sets]


def detection_contrasts(detected: Floats) -> tuple[Floats, Floats]:
    """Return how one cell stands out from its file by a gene that it lacks, and by one that it expresses.

    Parameters
    ----------
    detected
        Fraction of the file's cells that express each gene, float64[genes].

    Returns
    -------
    Two arrays like `contrasts`, of the values 0 and 1: float64[genes] within `MOST_CONTRAST` of 0.
    """
    spread = np.sqrt(detected * (1.0 - detected)) + LEAST_SPREAD
    lacks, has = -detected / spread, (1.0 - detected) / spread
    return np.maximum(lacks, -MOST_CONTRAST), np.minimum(has, MOST_CONTRAST)


@lru_cache(maxsize=1)
def technical_genes() -> frozenset[str]:
    r"""Symbols of housekeeping and technical genes, upper case.

    An explicit list (`data/gene_families.tsv`), because prefixes delete real markers: ``^ATP\d`` takes ATP1A2
    of astrocytes and ``^EEF\d`` EEF1A2 of neurons.
    """
    return frozenset(row["symbol"].upper() for row in table("data", "gene_families.tsv"))


def ground_panel(
    graph: Graph,
    names: Sequence[str],
    *,
    detected: Floats | None = None,
    keep_technical: bool = False,
    grounded: Sequence[Grounded] | None = None,
) -> Panel:
    """Ground a file's gene names once; the first of several columns for one gene stands for it.

    `grounded` is what became of the names, where the caller has asked already.
    """
    grounded = graph.genes.ground(list(names)) if grounded is None else grounded
    unwanted = frozenset() if keep_technical else technical_genes()
    known = graph.ids.positions([found.curie or "" for found in grounded]).tolist()
    nodes = np.full(len(names), -1, np.int32)
    passed: dict[str, list[str]] = {"ambiguous": [], "unknown": [], "technical": []}
    taken: set[int] = set()
    for column, (name, found, node) in enumerate(zip(names, grounded, known, strict=True)):
        if node < 0:
            passed["ambiguous" if found.how == "ambiguous" else "unknown"].append(name)
        elif name.upper() in unwanted or graph.names[node].upper() in unwanted:
            passed["technical"].append(name)
        elif node not in taken:
            taken.add(node)
            nodes[column] = node
    return Panel(
        tuple(names),
        nodes,
        detected,
        ambiguous=tuple(passed["ambiguous"]),
        ungrounded=tuple(passed["unknown"]),
        technical=tuple(passed["technical"]),
    )


def panel_of_list(graph: Graph, names: Iterable[str]) -> Panel:
    """Return the panel of a bare list: its genes, then all other genes of the graph, as if every one was measured."""
    listed = tuple(dict.fromkeys(names))
    panel = ground_panel(graph, listed)
    technical = technical_genes()
    others = np.setdiff1d(graph.nodes_of("Gene"), panel.nodes).tolist()
    kept = [node for node in others if graph.names[node].upper() not in technical]
    nodes = np.concatenate([panel.nodes, np.array(kept, np.int32)]).astype(np.int32)
    return replace(panel, names=(*listed, *(graph.ids[node] for node in kept)), nodes=nodes)


def make_query(panel: Panel, cell_set: CellSet, *, top: int = DEFAULT_TOP) -> GeneQuery:
    """Take the first `top` grounded genes of a cell set; the names passed over are kept by reason.

    Raises
    ------
    InputError
        If `top` is not positive, or a gene of the set is not in the panel.
    """
    if top < 1:
        raise InputError(f"top is {top}; a query needs at least one gene, use 50 if in doubt")
    column = _columns(panel)
    reasons = {
        "ambiguous": frozenset(panel.ambiguous),
        "ungrounded": frozenset(panel.ungrounded),
        "technical": frozenset(panel.technical),
    }
    passed: dict[str, list[str]] = {reason: [] for reason in reasons}
    genes: list[int] = []
    names: list[str] = []
    strengths: list[float] = []
    for rank, name in enumerate(cell_set.genes):
        if name not in column:
            raise InputError(f"cell set {cell_set.name!r}: gene {name!r} is not in the file's panel")
        node = int(panel.nodes[column[name]])
        if node < 0:
            for reason, known in reasons.items():
                if name in known:
                    passed[reason].append(name)
            continue
        if node in genes:
            continue
        genes.append(node)
        names.append(name)
        if cell_set.strengths:
            strengths.append(cell_set.strengths[rank])
        if len(genes) == top:
            break
    grounded = panel.nodes >= 0
    contrast = None if cell_set.contrast is None else cell_set.contrast[grounded]
    return GeneQuery(
        cell_set.name,
        np.array(genes, np.int32),
        rank_weights(len(genes)),
        tuple(names),
        n_cells=cell_set.n_cells,
        strengths=tuple(strengths),
        measured=None if contrast is None else panel.nodes[grounded],
        contrast=contrast,
        **{reason: tuple(found) for reason, found in passed.items()},
    )


@lru_cache(maxsize=8)
def _column_index(names: tuple[str, ...]) -> dict[str, int]:
    """Return the first column of every name."""
    columns: dict[str, int] = {}
    for column, name in enumerate(names):
        columns.setdefault(name, column)
    return columns


def _columns(panel: Panel) -> dict[str, int]:
    return _column_index(panel.names)


def query_genes(
    graph: Graph,
    names: Iterable[str],
    *,
    name: str = "query",
    top: int = DEFAULT_TOP,
    keep_technical: bool = False,
) -> GeneQuery:
    """Make a query from ranked names alone, e.g. a cell sentence or the arguments of ``gather explain``."""
    ranked = tuple(dict.fromkeys(names))
    panel = ground_panel(graph, ranked, keep_technical=keep_technical)
    return make_query(panel, CellSet(name, ranked), top=top)
