"""Scores: how strongly the genes of a query converge on each candidate. One flag, `--score`, chooses.

calibrated   evidence weights over the length of the candidate's measured marker list (the default)
paper        the published score of the reference implementation

p-values and false discovery rates are those of the null of the evidence weights (`gather.retrieval.null.Null`), or on
targeted panels those of the contrast with the file's other sets (`Retriever.p_among_sets`).
`benchmarks.annotation.comparison_scores` holds scores for comparison only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from gather.metrics.multiple_testing import benjamini_hochberg
from gather.retrieval.evidence_weights import GENERATIONS, Weights, evidence_weights, kinds_of
from gather.retrieval.metapaths import Sparse, Target, target_named
from gather.retrieval.null import Null
from gather.retrieval.panel_null import TARGETED, p_of_separation, sums_of_powers
from gather.retrieval.path_matrices import HOP_CODES, Operators, Table, operators
from gather.retrieval.query import TIE_DECIMALS, GeneQuery, Panel, rank_weights
from vckg.base.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Score = Literal["calibrated", "paper"]
SCORES: tuple[Score, ...] = ("calibrated", "paper")

DIRECT: tuple[Score, ...] = ("calibrated",)
"""Scores of direct evidence alone."""
LEAST_VOICE = 0.02
"""A gene that adds less to a candidate's score, relative to the gene that adds most, does not count as one that speaks
for it: SST alone is no pancreatic D cell because NPY is listed somewhere above it."""
NOT_PREFERRED = 0.8
"""What the score of a cell type counts that is not preferred, where others are (docs/results/tissues.md)."""
LENGTH_EXPONENT = 0.8
"""Of the norm of a candidate's measured marker list: 0 favours hubs, 1 favours tiny lists."""


@dataclass(frozen=True, eq=False)
class Convergence:
    """Where one query converges.

    Attributes
    ----------
    nodes
        Candidates, graph nodes, int32[c], ascending.
    score, p, fdr
        float64[c]; a score of 0 means that no query gene reaches the candidate.
    separation
        How all measured genes speak for the candidate against the file's other sets, float64[c]
        (`Retriever.separation`); None where there are no others.
    attested
        How many resources name a marker of it (`Weights.attested`), int[c]; None for single cells and other scores.
    """

    query: GeneQuery
    target: str
    nodes: Ints
    score: Floats
    p: Floats
    fdr: Floats
    separation: Floats | None = None
    attested: npt.NDArray[np.intp] | None = None

    def best(self, top: int) -> npt.NDArray[np.intp]:
        """Positions of the best candidates with a positive score; ties, to nine decimals, by CURIE."""
        reached = np.flatnonzero(self.score > 0)
        order = np.lexsort((reached, -np.round(self.score[reached], TIE_DECIMALS)))
        return reached[order[:top]]


def _voices(rows: Sparse, weights: Floats) -> npt.NDArray[np.intp]:
    """How many genes speak for each candidate, int[c], given rows of the matrix and the genes' rank weights."""
    added = sp.csc_array(sp.diags_array(weights) @ rows)
    loudest, column = np.zeros(added.shape[1]), np.repeat(np.arange(added.shape[1]), np.diff(added.indptr))
    np.maximum.at(loudest, column, added.data)
    heard = (added.data > 0) & (added.data >= LEAST_VOICE * loudest[column])
    return np.bincount(column[heard], minlength=added.shape[1])


@dataclass(frozen=True, eq=False)
class Support:
    """How the genes of a query support each candidate.

    Attributes
    ----------
    share
        Share of the query's weight whose genes speak for it, float64[c].
    similarity
        Cosine of the query with its measured evidence weights, float64[c].
    genes
        How many genes speak for it, each with `LEAST_VOICE` of what the loudest adds to the score at least, int[c].
    """

    share: Floats
    similarity: Floats
    genes: npt.NDArray[np.intp]


class Lines(NamedTuple):
    """Inheritance chains that end at one candidate, one for each ancestor that contributes evidence.

    `columns` of the evidence weights, int32[lines]; the `share` that is inherited, by all ways up of which the line is
    a shortest one, float64[lines]; the `nodes`, int32[lines, generations + 1], -1 after the end.
    """

    columns: Ints
    share: Floats
    nodes: Ints


class Retriever:
    """Scores queries against one target of one graph, for the genes one file measured.

    Parameters
    ----------
    graph
        Where the evidence is.
    target
        Name of the category to converge on.
    score
        One of `SCORES`.
    hops
        Longest walk of `paper`; `calibrated` uses direct evidence, which names cells best on data
        that were not used for choosing.
    panel
        The measured genes; None where every gene counts as measured (cell sentences, gene lists).
    candidates
        Graph nodes the answer must come from; None for every node that a gene speaks for directly. A declared
        candidate may live on what it inherits.
    preferred
        Graph nodes that are likelier than others beforehand: the scores of all others count `NOT_PREFERRED`.
    exclude
        Sources to leave out.
    """

    scores: ClassVar[tuple[str, ...]] = SCORES
    direct: ClassVar[tuple[str, ...]] = DIRECT

    def __init__(
        self,
        graph: Graph,
        *,
        target: str = "Cell",
        score: str = "calibrated",
        hops: int = 2,
        panel: Panel | None = None,
        candidates: Iterable[int] | None = None,
        preferred: Iterable[int] | None = None,
        exclude: Iterable[str] = (),
        weights: Weights | None = None,
    ) -> None:
        if score not in self.scores:
            known = ", ".join(self.scores)
            raise InputError(f"no score {score!r}{did_you_mean(score, self.scores)}; one of {known}")
        self.graph, self.score, self.hops, self.panel = graph, score, hops, panel
        self.target: Target = target_named(target)
        self.exclude = tuple(sorted(exclude))
        self.weights = weights or evidence_weights(graph, self.target, exclude=self.exclude)
        self._without_evidence: Ints = np.zeros(0, np.int32)
        self._last_measured: tuple[Ints, Sparse, tuple[Floats, Floats]] | None = None
        self.nodes = self._candidate_nodes(candidates)
        near = np.ones(len(self.nodes), bool) if preferred is None else np.isin(self.nodes, list(preferred))
        self.preference: Floats = np.where(near, 1.0, NOT_PREFERRED)

    def _candidate_nodes(self, candidates: Iterable[int] | None) -> Ints:
        if candidates is None:
            return self.weights.nodes[self.weights.own]
        declared = np.unique(np.fromiter(candidates, np.int32))
        self._without_evidence = np.setdiff1d(declared, self.weights.nodes)
        return np.intersect1d(declared, self.weights.nodes).astype(np.int32)

    @cached_property
    def silent(self) -> Ints:
        """Candidates that no measured gene speaks for, graph nodes, int32, ascending: they cannot be the answer."""
        unmeasured = self.nodes[self.length == 0]
        return np.union1d(self._without_evidence, unmeasured).astype(np.int32)

    @cached_property
    def genes(self) -> Ints:
        """Measured gene nodes, ascending, int32."""
        if self.panel is not None:
            return self.panel.genes
        return np.flatnonzero(np.diff(self.weights.direct.indptr) > 0).astype(np.int32)

    @cached_property
    def matrix(self) -> Sparse:
        """Evidence weights, inherited ones included, of the measured genes: float64 CSR [graph nodes, c]."""
        columns = np.searchsorted(self.weights.nodes, self.nodes)
        measured = np.zeros(self.graph.n)
        measured[self.genes] = 1.0
        kept = sp.csr_array(sp.diags_array(measured) @ self.weights.direct)
        kept.eliminate_zeros()
        inherited = sp.csr_array(kept @ self.weights.share.tocsc()[:, columns].tocsr())
        inherited.sort_indices()
        return inherited

    @cached_property
    def length(self) -> Floats:
        """Euclidean norm of each candidate's measured weights, float64[c]."""
        return np.sqrt(np.asarray(self.matrix.power(2).sum(axis=0), dtype=np.float64).ravel())

    @cached_property
    def null(self) -> Null:
        """Moments of the evidence weights over the file's background."""
        known = self.panel is not None and self.panel.detected is not None
        background = self.panel.background(self.graph.n) if self.panel is not None and known else None
        return Null.of(self.matrix, self.genes, background)

    @cached_property
    def operators(self) -> Operators:
        """Reach and path weights, memory-mapped."""
        return operators(self.graph, self.target, hops=self.hops, exclude=self.exclude)

    def lines_to(self, node: int) -> Lines:
        """The lines by which a candidate gets its evidence; kept, because every query asks for the same few nodes."""
        if node not in self._lines_to:
            lines: dict[int, tuple[int, ...]] = {node: (node,)}
            frontier = [node]
            for _generation in range(GENERATIONS):
                above = {
                    p: (p, *lines[i]) for i in frontier for p in self._parents.get(i, ()) if p not in lines
                }
                lines |= above
                frontier = sorted(above)
            told = sorted(line for top, line in lines.items() if top in self.weights.column_of)
            nodes = np.full((len(told), GENERATIONS + 1), -1, np.int32)
            for i, line in enumerate(told):
                nodes[i, : len(line)] = line
            columns = np.array([self.weights.column_of[line[0]] for line in told], np.int32)
            self._lines_to[node] = Lines(columns, self._taken_over(node, columns), nodes)
        return self._lines_to[node]

    def _taken_over(self, node: int, columns: Ints) -> Floats:
        """Share that a candidate inherits from each column, by all ways up together, float64[columns]."""
        shares, own = self._shares, self.weights.column_of[node]
        span = slice(int(shares.indptr[own]), int(shares.indptr[own + 1]))
        share = np.zeros(len(self.weights.nodes))
        share[shares.indices[span]] = shares.data[span]
        return share[columns]

    @cached_property
    def _shares(self) -> Any:
        """The shares by the node that inherits, float64 CSC [t from, t to]."""
        return self.weights.share.tocsc()

    @cached_property
    def _parents(self) -> dict[int, list[int]]:
        parents: dict[int, list[int]] = {}
        for child, parent in zip(*(ends.tolist() for ends in kinds_of(self.graph, self.target)), strict=True):
            parents.setdefault(child, []).append(parent)
        return parents

    @cached_property
    def _lines_to(self) -> dict[int, Lines]:
        return {}

    @cached_property
    def _table(self) -> Table:
        keep = np.searchsorted(self.operators.targets, self.nodes).astype(np.int32)
        return Table.of(self.operators, min(self.hops, self.operators.hops), keep)

    # ---- scoring ------------------------------------------------------------------------------------------

    def asked(self, query: GeneQuery) -> GeneQuery:
        """The query as direct evidence scores it: without genes that the null never draws.

        These are genes of which the graph says nothing, where no panel says what was measured. They are named
        in `outside`, and the ranks close up, as they do for genes that the graph does not know.
        """
        inside = np.isin(query.genes, self.genes)
        if inside.all():
            return query
        kept, lost = (np.flatnonzero(x).tolist() for x in (inside, ~inside))
        return replace(
            query,
            genes=query.genes[kept],
            weights=rank_weights(len(kept)),
            names=tuple(query.names[i] for i in kept),
            outside=(*query.outside, *(query.names[i] for i in lost)),
            strengths=tuple(query.strengths[i] for i in kept) if query.strengths else (),
        )

    def _scored(self, query: GeneQuery) -> GeneQuery:
        """The query that the score is of: longer walks may speak where direct evidence does not."""
        return self.asked(query) if self.score in self.direct else query

    def converge(self, queries: Sequence[GeneQuery]) -> list[Convergence]:
        """Score every candidate for every query."""
        return [self._tested(self.scored(query)) for query in queries]

    def scored(self, query: GeneQuery) -> Convergence:
        """The scores alone: every p and FDR is 1."""
        query, nothing = self._scored(query), np.ones(len(self.nodes))
        score = getattr(self, f"_{self.score}")(query) * self.preference
        known = self.weights.attested[np.searchsorted(self.weights.nodes, self.nodes)]
        deciding = self.separation(query), known if self.score == "calibrated" else None
        return Convergence(query, self.target.name, self.nodes, score, nothing, nothing, *deciding)

    def _tested(self, found: Convergence) -> Convergence:
        testable = self.length > 0
        among_sets = self.p_among_sets(found.query) if self.targeted else None
        p = self.p_values(found.query) if among_sets is None else among_sets
        fdr = np.ones(len(p))
        fdr[testable] = benjamini_hochberg(p[testable])
        return replace(found, p=p, fdr=fdr)

    def statistic(self, query: GeneQuery) -> Floats:
        """``sum_g w_g W[g, c]``, float64[c]."""
        return np.asarray(query.weights @ self.matrix[query.genes], dtype=np.float64).ravel()

    def separation(self, query: GeneQuery) -> Floats | None:
        """``sum_g z_g W[g, c] / |W[:, c]|`` over all measured genes with the contrast z of the set, float64[c].

        A marker that the file's other sets have and this one lacks counts against the candidate. None where the
        query has no contrast, and for scores other than `calibrated`.
        """
        if query.contrast is None or query.measured is None or self.score != "calibrated":
            return None
        rows, _ = self._measured(query.measured)
        total = np.asarray(query.contrast @ rows, dtype=np.float64).ravel() * self.preference
        return np.divide(total, self.length, out=np.zeros(len(total)), where=self.length > 0)

    @property
    def targeted(self) -> bool:
        """Whether the file measured so few genes that it is a targeted panel."""
        return self.panel is not None and len(self.genes) < TARGETED

    def p_among_sets(self, query: GeneQuery) -> Floats | None:
        """Upper-tail p of the separation if the contrasts fell on the panel's genes at random, float64[c].

        None where `separation` is; see `gather.retrieval.panel_null`.
        """
        if query.contrast is None or query.measured is None or self.score != "calibrated":
            return None
        rows, sums = self._measured(query.measured)
        return p_of_separation(query.contrast, rows, self.length, sums)

    def _measured(self, genes: Ints) -> tuple[Sparse, tuple[Floats, Floats]]:
        """The rows of the matrix for all measured genes, and their sums; kept, because a file's sets share them."""
        if self._last_measured is None or not np.array_equal(self._last_measured[0], genes):
            rows = self.matrix[genes]
            self._last_measured = genes, rows, sums_of_powers(rows)
        return self._last_measured[1], self._last_measured[2]

    def support(self, query: GeneQuery) -> Support:
        """How the query's genes support each candidate."""
        query = self._scored(query)
        rows = self.matrix[query.genes]
        speaks = rows > 0
        share = np.asarray(query.weights @ speaks, dtype=np.float64).ravel()
        share /= max(float(query.weights.sum()), 1e-12)
        scale = self.length * float(np.linalg.norm(query.weights))
        similarity = np.zeros(len(scale))
        np.divide(np.asarray(query.weights @ rows).ravel(), scale, out=similarity, where=scale > 0)
        return Support(share, similarity, _voices(rows, query.weights))

    def p_values(self, query: GeneQuery) -> Floats:
        """Upper-tail p of the statistic under the null, float64[c] in [`gather.retrieval.null.P_FLOOR`, 1]."""
        asked = self.asked(query)
        if not len(asked):
            return np.ones(len(self.nodes))
        return self.null.p_values(self.statistic(asked), asked.weights)

    def _calibrated(self, query: GeneQuery) -> Floats:
        """Statistic over the damped length of the candidate's measured weights."""
        return self.statistic(query) * self.inverse_length

    @cached_property
    def inverse_length(self) -> Floats:
        """``1 / length ** LENGTH_EXPONENT``, 0 for candidates without measured evidence, float64[c]."""
        length = self.length
        return np.power(length, -LENGTH_EXPONENT, out=np.zeros(len(length)), where=length > 0)

    def _paper(self, query: GeneQuery) -> Floats:
        """Published score, hub bias and all."""
        table, score = self._table, np.zeros(len(self.nodes))
        rows = table.row[self.operators.rows(query.genes)]
        inside = rows >= 0
        rows = rows[inside]
        if not len(rows):
            return score
        union = np.bitwise_or.reduce(table.bits[rows], axis=0)
        n_reached = int.from_bytes(union.tobytes(), "little").bit_count()
        weights = query.weights[inside] * np.log(n_reached / table.df[rows] + 1.0)
        total = weights @ (table.codes[rows] / HOP_CODES[0])
        at = np.searchsorted(self.nodes, self.operators.targets[table.columns])
        score[at] = total[: len(table.columns)]
        return score
