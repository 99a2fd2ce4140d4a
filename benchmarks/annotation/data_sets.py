"""Questions of the benchmark: cell sets of labelled files, SC-Arena's cell sentences, marker lists.

The files are not shipped. ``--data`` names a folder with ``h5ad/`` and ``scarena/``, as in `docs/sources.md`.
`data/benchmark_sets.tsv` gives the column of the truth and the role of each set. *Development* sets chose the
recipe, a *vote* guarded it against overfitting, *held out* sets came last, and *abstention* has no markers of its
types.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from benchmarks.annotation.textbook import LISTS
from gather.benchmark.paper_protocol import TOP as PAPER_TOP
from gather.benchmark.paper_protocol import paper_set
from gather.benchmark.suite_data import by_rarity
from gather.cells.adata import cell_groups
from gather.cells.expression import Expression, rank_cell_sets, read_expression
from gather.cells.file import open_h5ad
from gather.cells.options import AUTO, Ranking
from gather.retrieval.query import (
    DEFAULT_TOP,
    CellSet,
    GeneQuery,
    Panel,
    ground_panel,
    make_query,
    query_genes,
)
from vckg.base.errors import InputError
from vckg.base.resources import table

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

Mode = Literal["label groups", "clusters", "sentences", "lists"]
SentenceRanking = Literal["tf-idf", "expression"]


@dataclass(frozen=True, eq=False)
class Question:
    """Cell set with its truth.

    `closed` is the candidate list of its data set: the truths of all labels.
    """

    data_set: str
    role: str
    mode: Mode
    cell_set: CellSet
    query: GeneQuery
    panel: Panel | None
    truth: str
    closed: tuple[str, ...] = ()


def file_questions(
    graph: Graph, folder: Path, *, ranking: Ranking = "specific", top: int = DEFAULT_TOP, seed: int = 0
) -> list[Question]:
    """Return the label groups and the clusters of every labelled file.

    The truth of a cluster is the commonest truth of its cells, ties by CURIE.
    """
    maps = _label_maps(folder / "h5ad" / "label_to_cl.tsv")
    questions: list[Question] = []
    for row in read_sets():
        questions += _questions_of(graph, folder / "h5ad" / row["file"], row, maps, ranking, top, seed)
    return questions


def read_sets() -> list[dict[str, str]]:
    """Return the rows of `data/benchmark_sets.tsv`."""
    return table("data", "benchmark_sets.tsv")


def groups_of(
    adata: Any, expression: Expression, row: dict[str, str], seed: int = 0
) -> dict[Mode, npt.NDArray[np.object_]]:
    """Return the group of every cell by label and by cluster."""
    return {
        "label groups": cell_groups(adata, expression, row["truth"], seed),
        "clusters": cell_groups(adata, expression, row["clusters"] or AUTO, seed),
    }


def _label_maps(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; --data names a folder with h5ad/label_to_cl.tsv in it")
    maps: dict[str, dict[str, str]] = {}
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            maps.setdefault(row["dataset"], {})[row["label"]] = row["cl_id"]
    return maps


def _questions_of(
    graph: Graph,
    path: Path,
    row: dict[str, str],
    maps: dict[str, dict[str, str]],
    ranking: Ranking,
    top: int,
    seed: int,
) -> list[Question]:
    adata = open_h5ad(path)
    expression = read_expression(adata, graph)
    groupings = groups_of(adata, expression, row, seed)
    labels = groupings["label groups"]
    known = maps.get(path.stem, {})
    truths = np.array([row["truth_of_all"] or known.get(str(label), "") for label in labels], dtype=object)
    closed = tuple(sorted({t for t in truths.tolist() if t}))
    found = []
    for mode, groups in groupings.items():
        for cell_set in rank_cell_sets(expression, groups.tolist(), ranking=ranking):
            truth = _commonest(truths[(groups == cell_set.name) & (truths != "")].tolist())
            if truth:
                query = make_query(expression.panel, cell_set, top=top)
                found.append(
                    Question(row["name"], row["role"], mode, cell_set, query, expression.panel, truth, closed)
                )
    return found


def _commonest(truths: Sequence[str]) -> str:
    return min(set(truths), key=lambda t: (-truths.count(t), t)) if truths else ""


SENTENCE_TOP = 100
"""Query genes of a cell sentence."""


def sentence_questions(
    graph: Graph, folder: Path, *, top: int = SENTENCE_TOP, ranking: SentenceRanking = "tf-idf"
) -> list[Question]:
    """Return SC-Arena's 608 cell sentences in file order; even positions are the half for choosing.

    Parameters
    ----------
    ranking
        ``expression`` keeps the order of a sentence, which begins with genes that every cell expresses.
        ``tf-idf`` (`by_rarity`) ranks the genes of each cell against the other cells, as ``gather annotate
        --groupby cell`` does. No label takes part in either.
    """
    path = folder / "scarena" / "cell_sentences_fixed.jsonl"
    if not path.is_file():
        raise InputError(f"{path}: no such file; --data names a folder with scarena/ in it")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    sentences = [tuple(dict.fromkeys(row["cell_sentence"].split())) for row in rows]
    panel = ground_panel(graph, sorted({gene for sentence in sentences for gene in sentence}))
    ranked = sentences if ranking == "expression" else by_rarity(panel, sentences)
    questions = []
    for index, (row, genes) in enumerate(zip(rows, ranked, strict=True)):
        cell_set = CellSet(str(index), genes)
        role = "choosing half" if index % 2 == 0 else "held half"
        query = make_query(panel, cell_set, top=top)
        truth = row["cell_ontology_id"]
        questions.append(Question("scarena", role, "sentences", cell_set, query, None, truth))
    return questions


def paper_questions(graph: Graph, folder: Path, name: str) -> list[Question]:
    """Return the SC-Arena sentences of one of the paper's closed lists: one real cell for each candidate.

    A stand-in for the paper's own cells, whose files are large. Sentences have 50 genes, as the paper's have.

    Raises
    ------
    InputError
        The sentences are absent, or a candidate is no term of the graph or has no sentence.
    """
    candidates = paper_set(name).candidates
    grounded = {found.name: found.curie or "" for found in graph.cells.ground(list(candidates))}
    closed = tuple(grounded[candidate] for candidate in candidates)
    questions = [
        replace(question, data_set=name, closed=closed)
        for question in sentence_questions(graph, folder, top=PAPER_TOP)
        if question.truth in set(closed)
    ]
    lost = [c for c in candidates if grounded[c] not in {question.truth for question in questions}]
    if lost:
        raise InputError(f"{folder}: no sentence of {'; '.join(lost)}; wanted all {len(closed)} candidates")
    return questions


LEFT_OUT = ("accordion:CELLxGENE", "accordion:HUSCH", "accordion:Azimuth")
"""Resources with marker lists computed from cells of many tissues."""
LEAST_LIST = 15


def list_questions(lists: Graph, source: str, asked: Graph) -> list[Question]:
    """Return the marker lists of a source in one graph as questions to a graph, the same or another, without it.

    Each cell type with at least `LEAST_LIST` genes of the source and some other evidence in `asked` gives one
    question. A list has no order, so its genes weigh the same.
    """
    subject, listed, of_source = _markers(lists, source)
    _, known, not_asked = _markers(asked, source)
    answerable = {asked.ids[cell] for cell in np.unique(known[~not_asked]).tolist()}
    questions = []
    for cell in np.unique(listed[of_source]).tolist():
        curies = [lists.ids[i] for i in np.unique(subject[of_source & (listed == cell)]).tolist()]
        genes = np.array([i for c in curies if (i := asked.get(c)) is not None], np.int32)
        truth = lists.ids[cell]
        if len(genes) < LEAST_LIST or truth not in answerable:
            continue
        names = tuple(asked.names[i] for i in genes.tolist())
        query = GeneQuery(truth, genes, np.ones(len(genes)), names)
        questions.append(Question(source, "left out", "lists", CellSet(truth, names), query, None, truth))
    return questions


def _markers(
    graph: Graph, source: str
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Genes and cell types of all marker edges, and which edges are of a source; none where the graph lacks it."""
    rows = np.arange(*graph.rows("is_marker_for").indices(graph.m)[:2])
    if source not in graph.sources:
        return graph.subject[rows], graph.object[rows], np.zeros(len(rows), np.bool_)
    of_source = np.isin(graph.source[rows], graph.source_codes([source]))
    return graph.subject[rows], graph.object[rows], of_source


def textbook_questions(graph: Graph) -> list[Question]:
    """Return the textbook lists as questions; their first genes weigh most, as a ranked query's do."""
    return [
        Question(
            "textbook",
            "open",
            "lists",
            CellSet(name, tuple(g.split())),
            query_genes(graph, g.split()),
            None,
            truth,
        )
        for truth, name, g in LISTS
    ]
