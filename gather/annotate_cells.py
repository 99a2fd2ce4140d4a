"""Every cell by itself, streamed: two passes over the file, blocks of rows, memory that does not grow with
the cells.

First pass: in how many cells each gene is detected. Second: each cell's top genes by TF-IDF, scores, label.
Per-cell answers carry label, confidence, p-bound and status; evidence is for cell sets (``gather explain``
takes a cell's genes).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from gather._cell_kernels import count_dense, count_sparse, label_cells, rank_dense, rank_sparse
from gather.annotate_input import TARGET_SUM, looks_like_counts, names_that_ground
from gather.annotator import Parameters
from gather.label import MAX_FDR, UNKNOWN, Calibration, calibration_with
from gather.null import Null
from gather.ontology import Ontology
from gather.query import TIE_DECIMALS, Panel, rank_weights
from gather.score import Retriever
from gather.stream import Block, Rows
from vckg.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import anndata as ad

    from vckg.graph import Graph

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Done = Callable[[float], None]
Made = TypeVar("Made")

STATUSES = ("ungrounded", "unknown", "backed_off", "named")


@dataclass(frozen=True, eq=False)
class CellAnswers:
    """Answers for a run of cells; arrays of length cells.

    Attributes
    ----------
    term
        Position in the ontology, int32; -1 for unknown.
    status
        Position in `STATUSES`, uint8.
    confidence, fdr
        float64. `fdr` is a bound: the best candidate's p times the candidates, but at most `MAX_FDR` where there
        is an answer, because no answer's is greater.
    """

    term: Array
    status: Array
    confidence: Floats
    fdr: Floats

    @classmethod
    def joined(cls, parts: Iterable[CellAnswers]) -> CellAnswers:
        """Return the answers of consecutive runs as one."""
        runs = list(parts)
        return cls(
            *(np.concatenate([getattr(r, f) for r in runs]) for f in ("term", "status", "confidence", "fdr"))
        )


def _listed(rows: list[npt.NDArray[Any]]) -> tuple[Array, Array]:
    """Lists of positions as CSR parts."""
    starts = np.cumsum([0, *(len(row) for row in rows)])
    return starts.astype(np.int64), np.concatenate([np.zeros(0, np.int32), *rows]).astype(np.int32)


class CellAnnotator:
    """Annotates blocks of cells of one file.

    Parameters
    ----------
    panel
        The measured genes, with the fraction of cells that detect them.
    n_cells
        Of the file: inverse document frequencies need it.
    counts
        Whether the values are counts (to be normalised) or log-normalised already.
    """

    def __init__(
        self,
        graph: Graph,
        panel: Panel,
        n_cells: int,
        parameters: Parameters,
        *,
        counts: bool,
        candidates: Iterable[int] | None = None,
    ) -> None:
        if parameters.score != "calibrated":
            raise InputError(
                f"score {parameters.score!r} is not streamed; use calibrated, or annotate cell sets"
            )
        self.counts, self.top = counts, parameters.top
        self.ontology = Ontology.of_cells(graph)
        self.calibration: Calibration = calibration_with(parameters.threshold)
        self.back_off = candidates is None
        self.retriever = Retriever(
            graph, panel=panel, candidates=candidates, exclude=parameters.exclude_source
        )
        assert panel.detected is not None
        rare = (
            np.log(n_cells / (panel.detected * n_cells + 1.0)) if n_cells > 1 else np.ones(len(panel.names))
        )
        self.idf = np.where(panel.nodes >= 0, np.maximum(rare, 1e-12), -1.0)
        asked = np.zeros(graph.n)
        asked[panel.nodes[panel.nodes >= 0]] = (panel.detected * self.idf)[panel.nodes >= 0]
        self.null = Null.of(self.retriever.matrix, self.retriever.genes, asked)
        by_column = self.retriever.matrix[np.maximum(panel.nodes, 0)]
        by_column.sort_indices()
        self._evidence = (  # unsigned: the kernel need not ask whether an index counts from the end
            by_column.indptr.astype(np.int64),
            by_column.indices.astype(np.uint32),
            by_column.data,
        )
        self._length = self.retriever.length
        self._inverse = self.retriever.inverse_length
        self._ranks = rank_weights(self.top)
        self._norms = np.sqrt(np.concatenate([[1.0], np.cumsum(self._ranks**2)]))
        c = self.calibration
        self._map = np.array([c.intercept, c.belief, c.similarity, c.support])
        self._lines()
        n = int((self._length > 0).sum())
        self._counts = 2 ** np.arange(max(n, 1).bit_length())
        self._levels = MAX_FDR * self._counts / max(n, 1)
        self._critical = np.full((self.top + 1, len(self._counts), len(self._length)), np.nan)
        self._known = np.zeros(self.top + 1, bool)

    def _lines(self) -> None:
        """For every ontology term, which candidates lie on its line; for every candidate, its answerable
        ancestors.
        """
        ontology = self.ontology
        at = {node: i for i, node in enumerate(ontology.nodes.tolist())}
        self._position = np.array([at[n] for n in self.retriever.nodes.tolist()], np.int32)
        closure = ontology.closure
        over, below = closure[:, self._position], closure[self._position].T.copy()
        for i in range(len(ontology)):
            same = ontology.equivalents(i)
            if len(same) > 1:
                over[i] = closure[list(same)][:, self._position].any(axis=0)
                below[i] = ontology.at_or_below(i)[self._position]
        self._line = _listed([np.flatnonzero(row) for row in over | below])
        self._below = _listed([np.flatnonzero(row) for row in below])
        answerable = ontology.information >= self.calibration.vague
        self._vague = ~answerable[self._position]
        above = []
        for p in self._position.tolist():
            higher = ontology.ancestors(p)
            higher = higher[answerable[higher]]
            above.append(higher[np.lexsort((higher, -ontology.information[higher]))])
        self._above = _listed(above)

    def annotate(self, block: Block) -> CellAnswers:
        """Annotate the cells of one block of rows."""
        n = block.shape[0]
        columns, found = np.zeros((n, self.top), np.int32), np.zeros(n, np.int32)
        if isinstance(block, np.ndarray):
            rank_dense(block, self.counts, TARGET_SUM, self.idf, columns, found)
        else:
            rank_sparse(
                block.indptr, block.indices, block.data, self.counts, TARGET_SUM, self.idf, columns, found
            )
        for length in np.unique(found[found > 0]).tolist():
            if not self._known[length]:  # told last: other threads may read the row from then on
                self._critical[length] = self.null.critical(self._ranks[:length], self._levels)
                self._known[length] = True
        best, statistic = np.full(n, -1, np.int32), np.zeros(n)
        answers = CellAnswers(np.full(n, -1, np.int32), np.zeros(n, np.uint8), np.zeros(n), np.ones(n))
        label_cells(
            columns, found, self._ranks, self._evidence, self._inverse, self._length, self._norms, self._position,
            self._vague, self._line, self._above, self._below, self._critical, self._counts, self._map,
            self.calibration.threshold, int(self.calibration.sharpness), 10.0**TIE_DECIMALS, self.back_off, best,
            statistic, answers.term, answers.status, answers.confidence,
        )  # fmt: skip
        for c in np.unique(best[best >= 0]).tolist():
            cells = np.flatnonzero(best == c)
            p = self.null.p_of_prefixes(c, statistic[cells], found[cells], self._ranks)
            most = np.where(answers.term[cells] >= 0, MAX_FDR, 1.0)
            answers.fdr[cells] = np.minimum(p * len(self._position), most)
        return answers


def annotate_each_cell(
    adata: ad.AnnData,
    graph: Graph,
    parameters: Parameters,
    *,
    layer: str | None = None,
    candidates: Iterable[int] | None = None,
    done: Done = lambda _steps: None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Annotate every cell of an AnnData, backed or in memory; return ``obs`` columns and what to say about
    it.
    """
    with ExitStack() as stack:
        matrix, where, var = matrix_of(adata, layer, stack)
        rows = stack.enter_context(Rows(matrix, where=where))
        names_from, annotator = prepare(
            rows, var, graph, parameters, candidates=candidates, done=lambda n: done(n / 2)
        )
        answers = CellAnswers.joined(stream(rows, annotator, done=lambda n: done(n / 2)))
    return obs_of(answers, annotator.ontology), {"values": where, "gene_names": names_from}


def prepare(
    rows: Rows,
    var: pd.DataFrame,
    graph: Graph,
    parameters: Parameters,
    *,
    candidates: Iterable[int] | None = None,
    done: Done = lambda _steps: None,
) -> tuple[str, CellAnnotator]:
    """Ground the genes, count detections over the whole file (the first pass), and return the annotator."""
    if not rows.shape[0]:
        raise InputError("the file holds no cells; there is nothing to annotate")
    names_from, panel = names_that_ground(graph, var)
    detected = count_detected(rows, done=done)
    return names_from, make_annotator(rows, panel, detected, graph, parameters, candidates=candidates)


def count_detected(
    rows: Rows, *, start: int = 0, stop: int | None = None, done: Done = lambda _steps: None
) -> npt.NDArray[np.int64]:
    """In how many of the cells each column is above zero, int64[columns]; refuses values that are no
    expression.
    """

    def counted(block: Block) -> npt.NDArray[np.int64]:
        _check_values(block, rows.where)
        mine = np.zeros(rows.shape[1], np.int64)
        if isinstance(block, np.ndarray):
            count_dense(block, mine)
        else:
            count_sparse(block.indices, block.data, mine)
        return mine

    detected = np.zeros(rows.shape[1], np.int64)
    for n, mine in _worked(rows, counted, start, stop):
        detected += mine
        done(n)
    return detected


def _worked(
    rows: Rows, work: Callable[[Block], Made], start: int, stop: int | None, threads: int | None = None
) -> Iterator[tuple[int, Made]]:
    """Yield for consecutive blocks how many rows each has and what `work` makes of it; one thread reads while the
    others work, a few blocks in flight.
    """
    threads = threads or min(os.cpu_count() or 1, 8)
    waiting: deque[tuple[int, Future[Made]]] = deque()
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
    detected: npt.NDArray[np.int64],
    graph: Graph,
    parameters: Parameters,
    *,
    candidates: Iterable[int] | None = None,
) -> CellAnnotator:
    """Return the annotator of a file whose detections are counted."""
    counts = looks_like_counts(rows.block(*next(rows.spans())))
    panel = Panel(
        panel.names, panel.nodes, detected / rows.shape[0], panel.ambiguous, panel.ungrounded, panel.technical
    )
    return CellAnnotator(graph, panel, rows.shape[0], parameters, counts=counts, candidates=candidates)


def _check_values(block: Block, where: str) -> None:
    values = block if isinstance(block, np.ndarray) else block.data
    if values.size and not np.isfinite(values).all():
        raise InputError(f"{where} holds NaN or infinite values; remove or fill them first")
    if values.size and values.min() < 0:
        raise InputError(
            f"{where} has negative values (it was scaled); give counts or log-normalised values by --layer"
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
    for n, answers in _worked(rows, annotator.annotate, start, stop, threads):
        yield answers
        done(n)


def obs_of(answers: CellAnswers, ontology: Ontology) -> dict[str, Any]:
    """Return the columns of ``obs`` by suffix."""
    known, codes = np.unique(answers.term, return_inverse=True)
    labels = np.array([ontology.names[i] if i >= 0 else UNKNOWN for i in known.tolist()], dtype=object)
    curies = np.array([ontology.terms[i] if i >= 0 else UNKNOWN for i in known.tolist()], dtype=object)
    return {
        "cell_type": pd.Categorical(labels[codes]),
        "cell_type_ontology_term_id": pd.Categorical(curies[codes]),
        "confidence": answers.confidence,
        "fdr": answers.fdr,
        "status": pd.Categorical(np.array(STATUSES, dtype=object)[answers.status]),
    }


def matrix_of(adata: ad.AnnData, layer: str | None, stack: ExitStack) -> tuple[Any, str, pd.DataFrame]:
    """The matrix to stream, where it is, and its genes: a layer, else raw, else X."""
    if layer is not None and layer not in adata.layers:
        raise InputError(
            f"no layer {layer!r}{did_you_mean(layer, adata.layers)}; layers: {sorted(adata.layers)}"
        )
    raw = adata.raw
    use_raw = layer is None and raw is not None and raw.n_vars >= adata.n_vars
    where = f"layers/{layer}" if layer is not None else "raw/X" if use_raw else "X"
    var = raw.var if use_raw else adata.var
    if not adata.isbacked:
        return (adata.layers[layer] if layer is not None else raw.X if use_raw else adata.X), where, var
    import h5py

    file = stack.enter_context(h5py.File(adata.filename, "r"))
    return file[where], where, var
