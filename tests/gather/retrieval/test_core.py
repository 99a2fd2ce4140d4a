"""The graph that a user's first command builds: what it is made of, what it answers, and how sure that is."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

from gather.labelling.annotator import Annotator, Parameters
from gather.labelling.decide import Labeller
from gather.ontology import Ontology
from gather.retrieval.evidence_weights import evidence_weights
from gather.retrieval.metapaths import target_named
from gather.retrieval.null import P_FLOOR, Null
from gather.retrieval.query import CellSet, ground_panel, query_genes, rank_weights
from gather.retrieval.scores import Retriever
from vckg.graph.graph import Graph

pytestmark = pytest.mark.xdist_group("core-graph")

LISTS = {
    "CD3D CD3E CD3G TRAC CD2 IL7R CD27": "CL:0000084",
    "MS4A1 CD79A CD79B CD19 CD22 BANK1": "CL:0000236",
    "CD14 LYZ S100A8 S100A9 FCN1 VCAN": "CL:0000576",
    "INS IAPP MAFA NKX6-1 PDX1 G6PC2": "CL:0000169",
    "GFAP AQP4 SLC1A2 SLC1A3 ALDH1L1": "CL:0000127",
    "MBP MOG PLP1 MAG MOBP": "CL:0000128",
    "ALB APOA1 TTR SERPINA1 CYP3A4 HP": "CL:0000182",
    "PECAM1 VWF CDH5 CLDN5 KDR": "CL:0000115",
}
"""Textbook markers of T cell, B cell, monocyte, beta cell, astrocyte, oligodendrocyte, hepatocyte, endothelium."""


@pytest.fixture(scope="module")
def retriever(core_graph: Graph) -> Retriever:
    return Retriever(core_graph)


@pytest.fixture(scope="module")
def ontology(core_graph: Graph) -> Ontology:
    return Ontology.of_cells(core_graph)


def test_it_is_made_of_all_that_pip_brings(core_graph: Graph) -> None:
    assert core_graph.manifest["parameters"] == {"profile": "core", "source": [], "exclude_source": []}
    assert core_graph.manifest["absent"] == {}
    assert {"cellmarker", "singlecellbase", "marker_atlas", "panglaodb"} <= set(
        core_graph.manifest["sources"]
    )


@pytest.mark.parametrize(("genes", "truth"), LISTS.items())
def test_textbook_markers_lead_to_the_type_or_its_line(
    core_graph: Graph, retriever: Retriever, ontology: Ontology, genes: str, truth: str
) -> None:
    query = query_genes(core_graph, genes.split())
    (found,) = retriever.converge([query])
    decision = Labeller(ontology).decide(found, retriever.support(query))
    assert decision.fdr < 0.01
    answer = ontology.position(decision.candidates[0].curie)
    assert ontology.relation(answer, ontology.position(truth)) in ("exact", "ancestor", "descendant")


def test_endothelium_with_cd34_is_endothelium(
    core_graph: Graph, retriever: Retriever, ontology: Ontology
) -> None:
    genes = "CD34 PECAM1 VWF CDH5 CLDN5"
    test_textbook_markers_lead_to_the_type_or_its_line(core_graph, retriever, ontology, genes, "CL:0000115")


@pytest.mark.parametrize("genes", [*LISTS, "NKG7 GNLY", "COL1A1 DCN MBP INS CD3D", "GAPDH"])
def test_no_term_is_less_sure_than_a_kind_of_it(
    core_graph: Graph, retriever: Retriever, ontology: Ontology, genes: str
) -> None:
    query = query_genes(core_graph, genes.split(), keep_technical=True)
    (found,) = retriever.converge([query])
    sure = Labeller(ontology).confidences(found, retriever.support(query))
    for term in range(len(ontology)):
        assert all(sure[parent] >= sure[term] for parent in ontology.parents(term))
    assert ((sure >= 0) & (sure < 1)).all()


# --- p-values: the rate at which random genes get at most the nominal one ---

LEVELS = (0.05, 0.01, 1e-3, 1e-4)
MOST = (1.1, 1.1, 1.2, 1.6)
"""At most this many times the nominal rate, by level: the simulation's own error is within the room."""
LEAST = (0.7, 0.8, 0.7, 0.6)


def rates(null: Null, chance: np.ndarray | None, asked: int, queries: int, seed: int) -> list[float]:
    """How many times the nominal rate p falls to each level, over queries of genes drawn one by one, none twice."""
    rng, w, n = np.random.default_rng(seed), rank_weights(asked), null.rows.shape[0]
    reached, tested, critical = np.zeros(len(LEVELS)), 0, null.critical(w, np.array(LEVELS))
    for _block in range(queries // 1000):
        clocks = rng.exponential(size=(1000, n)) / (1.0 if chance is None else chance)
        first = np.argpartition(clocks, asked, axis=1)[:, :asked]
        first = np.take_along_axis(first, np.argsort(np.take_along_axis(clocks, first, 1), axis=1), 1)
        drawn = sp.csr_array(
            (np.tile(w, 1000), first.ravel(), np.arange(0, 1000 * asked + 1, asked)), (1000, n)
        )
        statistic = (drawn @ null.rows).toarray()
        reached += [(statistic >= at * (1 - 1e-12)).sum() for at in critical]
        tested += statistic.size
    return [float(r / tested / level) for r, level in zip(reached, LEVELS, strict=True)]


def of_columns(null: Null, step: int) -> Null:
    """Every so many of the candidates that some gene speaks for, short lists and long ones alike."""
    size = np.diff(sp.csc_array(null.rows).indptr)
    order = np.argsort(size, kind="stable")
    kept = np.sort(order[size[order] > 0][::step])
    return Null(sp.csr_array(null.rows[:, kept]), null.chance)


def check(found: list[float]) -> None:
    for level, rate, least, most in zip(LEVELS, found, LEAST, MOST, strict=True):
        assert least <= rate <= most, f"{rate:.2f} times too many at {level}"


def test_the_tail_is_right_on_all_genes(retriever: Retriever) -> None:
    check(rates(of_columns(retriever.null, 8), None, 50, 6_000, seed=1))


@pytest.mark.parametrize("asked", [10, 50])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_tail_is_right_on_a_panel_of_two_hundred_genes(
    retriever: Retriever, weighted: bool, asked: int
) -> None:
    """Draws of 218 genes that each mark something: a fifth of the rate was reached at .0001 with independent parts."""
    rng = np.random.default_rng(0)
    speaking = retriever.genes[np.argsort(-np.diff(retriever.matrix.indptr)[retriever.genes])[:4000]]
    panel = np.sort(rng.choice(speaking, 218, replace=False)).astype(np.int32)
    background = np.zeros(retriever.graph.n)
    background[panel] = rng.beta(0.6, 2.0, 218)
    chance = background[panel] if weighted else None
    null = of_columns(Null.of(retriever.matrix, panel, background if weighted else None), 4)
    check(rates(null, chance, asked, 40_000, seed=2))


def test_two_genes_have_the_p_that_counting_all_pairs_gives(retriever: Retriever) -> None:
    """Ordered pairs of genes, all of them, for a type of few markers; p is their share that reaches as much."""
    size = np.diff(sp.csc_array(retriever.matrix).indptr)
    column = int(np.argsort(size, kind="stable")[len(size) // 4])
    null = Null(sp.csr_array(retriever.null.rows[:, [column]]), None)
    w, weight = rank_weights(2), np.sort(null.rows.toarray().ravel())
    n = len(weight)
    for at in np.outer(w, np.quantile(weight[weight > 0], [0.1, 0.5, 0.9, 1.0])).ravel().tolist():
        most = at * (1 - 1e-9)
        reached = (n - np.searchsorted(weight, (most - w[0] * weight) / w[1])).sum()
        exact = (reached - (w.sum() * weight >= most).sum()) / (n * (n - 1))
        assert exact <= null.p_values(np.array([at]), w)[0] * 1.1
        assert null.p_values(np.array([at]), w)[0] <= 2.0 * exact + 1e-5  # near 0 the grid is coarse


def test_genes_of_which_the_graph_says_nothing_change_nothing(
    core_graph: Graph, retriever: Retriever
) -> None:
    mute = np.setdiff1d(core_graph.nodes_of("Gene"), retriever.genes)[:40]
    few = query_genes(core_graph, ["CD3D", "CD3E"])
    names = ["CD3D", "CD3E", *(core_graph.names[i] for i in mute.tolist())]
    many = query_genes(core_graph, names, keep_technical=True)
    assert len(many) > 30
    (a,), (b,) = retriever.converge([few]), retriever.converge([many])
    np.testing.assert_array_equal(a.p, b.p)
    np.testing.assert_array_equal(a.score, b.score)
    assert len(b.query.outside) == len(many) - 2
    np.testing.assert_array_equal(retriever.support(few).share, retriever.support(many).share)


def test_no_p_is_below_the_stated_floor(core_graph: Graph, retriever: Retriever) -> None:
    (found,) = retriever.converge([query_genes(core_graph, " ".join(LISTS).split())])
    assert found.p.min() >= P_FLOOR * (1 - 1e-6)


def test_candidates_that_no_gene_speaks_for_are_counted_and_shown(core_graph: Graph) -> None:
    """One declared type has markers and the panel none of them, one has none at all."""
    panel = ground_panel(core_graph, ["CD3D", "CD3E", "CD3G", "MS4A1"])
    spoken_for = evidence_weights(core_graph, target_named("Cell")).nodes
    mute = int(np.setdiff1d(core_graph.nodes_of("Cell"), spoken_for)[0])
    declared = [core_graph.index("CL:0000084"), core_graph.index("CL:0000169"), mute]
    annotator = Annotator(core_graph, panel, Parameters(hyper_entities=(), evidence=0), candidates=declared)
    assert mute in annotator.retriever.silent
    found = annotator.annotate_one(CellSet("0", ("CD3D", "CD3E", "MS4A1")))
    count = len(annotator.retriever.silent)
    assert f"no measured gene speaks for {count} of 3 candidates" in found.note
    assert core_graph.names[mute] in found.note


def test_importing_gather_is_cheap_and_explaining_needs_no_walker() -> None:
    script = (
        "import sys, time, gather\n"
        "assert time.process_time() < 0.25, time.process_time()\n"
        "heavy = {'rustworkx', 'scanpy', 'numba', 'torch', 'openai'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "gather.explain\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
