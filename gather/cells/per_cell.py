"""Annotate every cell by itself, in two passes over blocks of rows; memory does not grow with the cells.

The first pass surveys the values and counts the cells that detect each gene. The second ranks each cell's genes by
expression and scores the candidates. Among the best of them all genes that the cell expresses speak, and the cell
gets its label. `gather.labelling.decide.Labeller` owns the rule of the label. Compiled code follows it, and leaves to
it the cells that need exact false discovery rates.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from gather._compiled import say_if_compiling
from gather.cells._cell_kernels import UNDECIDED, label_cells
from gather.cells.cell_answers import CellAnswers, obs_of
from gather.cells.cell_contrast import CellContrast, expressed_genes
from gather.cells.cell_ranking import CellRanking
from gather.cells.expression import names_that_ground, species_of
from gather.cells.options import CELL
from gather.cells.row_blocks import Block, Rows
from gather.cells.values import Place, Survey, choose, rows_of, survey_of
from gather.labelling.annotator import Parameters
from gather.labelling.decide import (
    CHANCE_SHARPNESS,
    CONSIDERED,
    EXACT_BONUS,
    LEAST_GENES,
    MAX_FDR_OF_CELL,
    SEPARATION,
    Calibration,
    Decision,
    Labeller,
    calibration_with,
)
from gather.metrics.multiple_testing import benjamini_hochberg
from gather.ontology import Ontology
from gather.retrieval.candidates import Choice
from gather.retrieval.null import Null
from gather.retrieval.query import TIE_DECIMALS, GeneQuery, Panel, rank_weights
from gather.retrieval.scores import LEAST_VOICE, Convergence, Retriever
from gather.retrieval.unknown_names import unknown_in_words
from gather.species import declared_taxon, in_words
from vckg.base.console import err
from vckg.base.cpus import usable_cpus
from vckg.base.errors import InputError

if TYPE_CHECKING:
    import anndata as ad

    from vckg.graph.graph import Graph

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Done = Callable[[float], None]
Result = TypeVar("Result")

_COUNTS_RATIO = 1.3
"""Between numbers of discoveries whose critical values are kept: a smaller one leaves fewer cells undecided."""
_CONSIDERED = (CONSIDERED, CHANCE_SHARPNESS, EXACT_BONUS, LEAST_GENES, SEPARATION, LEAST_VOICE)


def _listed(rows: list[npt.NDArray[Any]]) -> tuple[Array, Array]:
    """Lists of positions as CSR parts."""
    starts = np.cumsum([0, *(len(row) for row in rows)])
    return starts.astype(np.int64), np.concatenate([np.zeros(0, np.int32), *rows]).astype(np.int32)


class CellAnnotator:
    """Annotates blocks of cells of one file.

    Parameters
    ----------
    panel
        The measured genes, with the fraction of cells that express them.
    rows
        The cells, from which the null of single cells is estimated (`CellRanking.asked`).
    """

    def __init__(
        self,
        graph: Graph,
        panel: Panel,
        rows: Rows,
        parameters: Parameters,
        *,
        candidates: Iterable[int] | None = None,
        preferred: Iterable[int] | None = None,
    ) -> None:
        if parameters.score != "calibrated":
            raise InputError(
                f"score {parameters.score!r} is not streamed; use calibrated, or annotate cell sets"
            )
        self.ranking = CellRanking(panel, parameters.top)
        self.ontology = Ontology.of_cells(graph)
        self.calibration: Calibration = calibration_with(parameters.threshold)
        self.back_off = candidates is None
        self.retriever = Retriever(
            graph, panel=panel, candidates=candidates, preferred=preferred, exclude=parameters.exclude_source
        )
        preference = self.retriever.preference
        self._order = panel.nodes
        column = np.full(graph.n, -1)
        column[panel.nodes[panel.nodes >= 0]] = np.flatnonzero(panel.nodes >= 0)
        genes = self.retriever.genes
        self.null = Null(
            sp.csr_array(self.retriever.matrix[genes]), self.ranking.asked(rows)[:, column[genes]]
        )
        by_column = self.retriever.matrix[np.maximum(panel.nodes, 0)]
        by_column.sort_indices()
        self._by_column = by_column
        self._evidence = (  # unsigned: the kernel need not ask whether an index counts from the end
            by_column.indptr.astype(np.int64),
            by_column.indices.astype(np.uint32),
            by_column.data,
        )
        self._contrast = CellContrast.of(panel, sp.csr_array(by_column @ sp.diags_array(preference)))
        self._labeller = Labeller(
            self.ontology, self.calibration, back_off=self.back_off, max_fdr=MAX_FDR_OF_CELL
        )
        length = self.retriever.length
        self._testable = length > 0
        self._ranks = rank_weights(self.ranking.top)
        norms = np.sqrt(np.concatenate([[1.0], np.cumsum(self._ranks**2)]))
        cosine = np.divide(1.0, length, out=np.zeros_like(length), where=self._testable)
        self._scaling = (self.retriever.inverse_length * preference, cosine, norms)
        c = self.calibration
        coefficients = np.array([c.intercept, c.belief, c.similarity, c.support])
        self._calibration = (coefficients, c.threshold, int(c.sharpness))
        self._lines()
        n = int(self._testable.sum())
        grid = np.rint(_COUNTS_RATIO ** np.arange(np.log(max(n, 2)) / np.log(_COUNTS_RATIO) + 1))
        self._counts = np.unique(np.minimum(grid, max(n, 1)).astype(np.int64))
        self._levels = MAX_FDR_OF_CELL * self._counts / max(n, 1)
        self._critical = np.empty((len(self._ranks) + 1, len(self._counts), len(length)))
        self._known = np.zeros(len(self._ranks) + 1, bool)
        self._plain = self._without_preference() if preferred else None

    def _without_preference(self) -> CellAnnotator:
        """Return the same annotator without preferred types."""
        plain, panel = copy(self), self.retriever.panel
        assert panel is not None
        plain._contrast = CellContrast.of(panel, sp.csr_array(self._by_column))
        plain._scaling = (self.retriever.inverse_length, *self._scaling[1:])
        plain._plain = None
        return plain

    def _lines(self) -> None:
        """For every term, the candidates on its line, at or below it, and of its kind; for every candidate, its
        answerable ancestors.
        """
        ontology = self.ontology
        index = {node: i for i, node in enumerate(ontology.nodes.tolist())}
        position = np.array([index[n] for n in self.retriever.nodes.tolist()], np.int32)
        closure = ontology.closure
        over, below = closure[:, position], closure[position].T.copy()
        kinds = _listed([np.flatnonzero(row) for row in below])
        for i in range(len(ontology)):
            same = ontology.equivalents(i)
            if len(same) > 1:
                over[i] = closure[list(same)][:, position].any(axis=0)
                below[i] = ontology.at_or_below(i)[position]
        line = _listed([np.flatnonzero(row) for row in over | below])
        lin = np.array([ontology.lin_to_all(p)[position] for p in position.tolist()])
        answerable = ontology.information >= self.calibration.vague
        above = []
        for p in position.tolist():
            higher = ontology.ancestors(p)
            higher = higher[answerable[higher]]
            above.append(higher[np.lexsort((higher, -ontology.information[higher]))])
        self._candidates = (position, ~answerable[position], lin)
        below_lists = _listed([np.flatnonzero(row) for row in below])
        self._terms = (line, below_lists, kinds, _listed(above), closure)

    def annotate(self, block: Block) -> CellAnswers:
        """Annotate the cells of one block of rows."""
        columns, n_genes = self.ranking.ranked(block)
        n = len(n_genes)
        for length in np.unique(n_genes[n_genes > 0]).tolist():
            if not self._known[length]:  # set last: other threads may read the row from then on
                self._critical[length] = self.null.critical(self._ranks[:length], self._levels)
                self._known[length] = True
        best, statistic = np.full(n, -1, np.int32), np.zeros(n)
        term, codes, none = np.full(n, -1, np.int32), np.zeros(n, np.uint8), np.zeros(n)
        answers = CellAnswers(term, codes, none, np.ones(n), codes.copy(), term.copy(), none.copy(), term)
        labels = (answers.term, answers.status, answers.confidence, answers.reason, answers.best_confidence)
        arrays = (columns, n_genes, *expressed_genes(block), best, statistic, *labels)
        self._label(arrays, self._critical, self._counts)
        self._settle(arrays)
        for c in np.unique(best[best >= 0]).tolist():
            cells = np.flatnonzero(best == c)
            p = self.null.p_of_prefixes(c, statistic[cells], n_genes[cells], self._ranks)
            most = np.where(answers.term[cells] >= 0, MAX_FDR_OF_CELL, 1.0)
            answers.fdr[cells] = np.minimum(p * len(self._testable), most)
            answers.best[cells] = self._candidates[0][c]
        return answers if self._plain is None else replace(answers, plain=self._plain.annotate(block).term)

    def _label(self, arrays: tuple[Array, ...], critical: Array, counts: Array) -> None:
        columns, n_genes, starts, genes, *filled = arrays
        label_cells(
            columns, n_genes, (starts, genes), self._ranks, self._evidence, self._contrast.arrays, self._scaling,
            self._candidates, self._terms, _CONSIDERED, critical, counts, self._calibration, 10.0**TIE_DECIMALS,
            self.back_off, *filled,
        )  # fmt: skip

    def _settle(self, arrays: tuple[Array, ...]) -> None:
        """Label the undecided cells again, with exactly what Benjamini-Hochberg discovers for each."""
        columns, n_genes, starts, genes, *filled = arrays
        status = filled[3]
        undecided = np.flatnonzero(status == UNDECIDED).tolist()
        critical = np.empty((len(self._critical) if undecided else 0, 1, len(self._testable)))
        for cell in undecided:
            n = int(n_genes[cell])
            p = self.null.p_values(self._statistic(columns[cell, :n]), self._ranks[:n])
            critical[n, 0] = np.where(self._fdr(p) <= MAX_FDR_OF_CELL, -np.inf, np.inf)
            one = slice(cell, cell + 1)
            of_cell = (columns[one], n_genes[one], starts[cell : cell + 2], genes, *(a[one] for a in filled))
            self._label(of_cell, critical, np.ones(1, np.int64))

    def _statistic(self, columns: Array) -> Floats:
        return np.asarray(self._ranks[: len(columns)] @ self._by_column[columns], dtype=np.float64).ravel()

    def _fdr(self, p: Floats) -> Floats:
        """False discovery rates over the candidates with measured evidence."""
        fdr = np.ones(len(p))
        fdr[self._testable] = benjamini_hochberg(p[self._testable])
        return fdr

    def decide(self, columns: Array, expressed: Array) -> Decision:
        """Decide one cell as `gather.labelling.decide.Labeller` does.

        `annotate` gives the same term, status and confidence, a hundred times faster. The null is that of single
        cells: at each rank genes are drawn as often as cells have them there.

        Parameters
        ----------
        columns, expressed
            Its ranked genes and all genes that it expresses, columns of the file.
        """
        names = self.retriever.panel.names if self.retriever.panel is not None else ()
        nodes = self._order[columns].astype(np.int32)
        weights = self._ranks[: len(columns)]
        query = GeneQuery("cell", nodes, weights, tuple(names[c] for c in columns.tolist()))
        statistic = self._statistic(columns)
        p = self.null.p_values(statistic, weights) if len(query) else np.ones(len(statistic))
        score = statistic * self._scaling[0]
        separation = self._contrast.of_cell(expressed) * self._scaling[1]
        convergence = Convergence(query, "Cell", self.retriever.nodes, score, p, self._fdr(p), separation)
        return self._labeller.decide(convergence, self.retriever.support(query), top=1)


def annotate_each_cell(
    adata: ad.AnnData,
    graph: Graph,
    parameters: Parameters,
    *,
    layer: str | None = None,
    species: str = "auto",
    choice: Choice = Choice(),
    done: Done = lambda _steps: None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Annotate every cell of an AnnData, backed or in memory; return ``obs`` columns and their origin by name."""
    say_if_compiling(label_cells, "the loops of per-cell annotation")
    if CELL in adata.obs:
        said = f"every cell is named; obs[{CELL!r}] is not read: give it another name to annotate its sets"
        err().print(said, soft_wrap=True)
    with ExitStack() as stack:
        file = opened_file(adata, stack)
        held: dict[str, Rows] = {}

        def survey(place: Place) -> Survey:
            rows = held[place.where] = stack.enter_context(rows_of(place, adata.n_obs))
            return survey_in_threads(rows, done=lambda n: done(n / 2))

        place, surveyed = choose(adata, layer, survey, file=file)
        rows = held[place.where]
        told = species_of(place.var, wanted=species, declared=declared_taxon(adata.obs, adata.uns))
        names_from, panel, graph = names_that_ground(graph, place.var, told)
        annotator = make_annotator(rows, panel, surveyed, graph, parameters, choice)
        answers = CellAnswers.joined(stream(rows, annotator, done=lambda n: done(n / 2)))
    origin = {"values": place.where, "gene_names": names_from, "species": in_words(told, graph, panel)}
    origin["unknown_genes"] = unknown_in_words(panel, graph)
    return obs_of(answers, annotator.ontology), origin | answers.changes(choice, annotator.ontology)


def opened_file(adata: ad.AnnData, stack: ExitStack) -> Any:
    """Return the open HDF5 file of a backed AnnData, None for one in memory."""
    if not adata.isbacked:
        return None
    import h5py

    return stack.enter_context(h5py.File(adata.filename, "r"))


def survey_in_threads(
    rows: Rows, *, start: int = 0, stop: int | None = None, done: Done = lambda _steps: None
) -> Survey:
    """Return the survey of rows `start` to `stop`, the first pass over a file; it stops at a negative value."""
    total = Survey.empty(rows.shape[1])
    for n, part in _map_blocks(rows, survey_of, start, stop):
        total = total + part
        done(n)
        if total.scaled:
            break
    return total


def _map_blocks(
    rows: Rows, work: Callable[[Block], Result], start: int, stop: int | None, threads: int | None = None
) -> Iterator[tuple[int, Result]]:
    """Yield the rows and the result of `work` for consecutive blocks; one thread reads while the others work."""
    threads = threads or min(usable_cpus(), 8)
    waiting: deque[tuple[int, Future[Result]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for low, high in rows.spans(start, stop):
            waiting.append((high - low, pool.submit(work, rows.block(low, high))))
            if len(waiting) > threads:
                n, first = waiting.popleft()
                yield n, first.result()
        while waiting:
            n, first = waiting.popleft()
            yield n, first.result()


def make_annotator(
    rows: Rows,
    panel: Panel,
    found: Survey,
    graph: Graph,
    parameters: Parameters,
    choice: Choice = Choice(),
) -> CellAnnotator:
    """Return the annotator of a surveyed file."""
    detected = found.detected / rows.shape[0]
    panel = Panel(panel.names, panel.nodes, detected, panel.ambiguous, panel.ungrounded, panel.technical)
    return CellAnnotator(
        graph, panel, rows, parameters, candidates=choice.allowed, preferred=choice.preferred
    )


def stream(
    rows: Rows,
    annotator: CellAnnotator,
    *,
    start: int = 0,
    stop: int | None = None,
    threads: int | None = None,
    done: Done = lambda _steps: None,
) -> Iterator[CellAnswers]:
    """Yield the answers of consecutive blocks."""
    for n, answers in _map_blocks(rows, annotator.annotate, start, stop, threads):
        yield answers
        done(n)
