"""The gate on real cells: how many cells a name needs, what a profile needs, and a file of one set."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import gather
from gather.cells.expression import rank_cell_sets, read_expression
from gather.cells.file import open_h5ad
from gather.labelling.annotator import PRESENT, Annotator, Parameters
from gather.labelling.decide import FEW_CELLS, FEW_CELLS_FDR, LEAST_CELLS
from gather.retrieval.query import CellSet
from vckg.graph.graph import Graph

pytestmark = [pytest.mark.data, pytest.mark.xdist_group("core-graph")]
LABELS = [
    "CD14+ Monocyte", "CD19+ B", "CD34+", "CD4+/CD25 T Reg", "CD4+/CD45RA+/CD25- Naive T", "CD4+/CD45RO+ Memory",
    "CD56+ NK", "CD8+ Cytotoxic T", "CD8+/CD45RA+ Naive Cytotoxic", "Dendritic",
]  # fmt: skip


@pytest.fixture(scope="module")
def cells(mirror: Path) -> ad.AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ad.read_h5ad(mirror / "h5ad" / "pbmc68k_reduced.h5ad")


@pytest.fixture(scope="module")
def asked(cells: ad.AnnData, core_graph: Graph) -> tuple[Annotator, dict[str, CellSet]]:
    expression = read_expression(cells, core_graph)
    sets = rank_cell_sets(expression, cells.obs["bulk_labels"].astype(str).tolist())
    return Annotator(expression.graph, expression.panel), {one.name: one for one in sets}


@pytest.mark.parametrize("label", LABELS)
def test_few_cells_need_more_and_a_profile_of_many_cells_does_not(
    asked: tuple[Annotator, dict[str, CellSet]], label: str
) -> None:
    annotator, sets = asked
    many, few, single, profile = (
        annotator.annotate_one(replace(sets[label], n_cells=n, profile=is_profile))
        for n, is_profile in ((FEW_CELLS, False), (LEAST_CELLS, False), (LEAST_CELLS - 1, False), (1, True))
    )
    assert (single.status, single.reason, single.curie) == ("unknown", "few_cells", "")
    assert single.best == many.best
    assert few.status == "unknown" or few.fdr <= FEW_CELLS_FDR
    assert (profile.status, profile.curie, profile.confidence, profile.reason) == (
        many.status, many.curie, many.confidence, many.reason,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("label", "term"), [("CD19+ B", "CL:0000236"), ("CD56+ NK", "CL:0000623")], ids=["B", "NK"]
)
def test_the_only_set_of_a_file_is_named_without_a_contrast(
    cells: ad.AnnData, core_graph: Graph, label: str, term: str
) -> None:
    only = cells[(cells.obs["bulk_labels"] == label).to_numpy()].copy()
    only.obs["all"] = np.repeat("all", only.n_obs)
    gather.annotate(only, "all", graph=core_graph)
    assert [(a.curie, a.status) for a in gather.results(only).annotations] == [(term, "named")]


def test_a_marker_of_some_kinds_or_of_another_type_is_no_reason_against_a_general_answer(
    mirror: Path, core_graph: Graph
) -> None:
    """Asked as if some set had every gene often: most markers that these sets lack are rare in the whole file."""
    tumour = open_h5ad(mirror / "h5ad_more" / "breast_tnbc_wu2021_cid4465.h5ad")
    expression = read_expression(tumour, core_graph)
    sets = rank_cell_sets(expression, tumour.obs["cell_type"].astype(str).tolist())
    often = np.ones(len(expression.panel.names))
    annotator = Annotator(core_graph, expression.panel, Parameters(hyper_entities=(), evidence=0))
    answers = annotator.annotate([replace(one, most=often) for one in sets])
    against = {a.cell_set: (a.label, [c.symbol for c in a.contradictions]) for a in answers}
    assert against["T cells CD4+"] == ("T cell", ["ICOS", "CD5"])  # not CD8B and CD4, each of a kind
    assert against["NKT cells"] == ("lymphocyte", [])  # not LYVE1, FLT4 and PDPN of lymphatic vessels
    assert against["DCs"] == ("dendritic cell", ["CD1C", "ITGAX", "CCL17"])  # not LILRA4 of one kind


def test_lost_reads_of_a_tumour_are_no_objections(mirror: Path, core_graph: Graph) -> None:
    """Markers that no set has in a quarter of its cells say nothing; planted wrong cells still meet objections."""
    found = open_h5ad(mirror / "h5ad_more" / "breast_tnbc_wu2021_cid4465.h5ad")
    expression = read_expression(found, core_graph)
    sets = {s.name: s for s in rank_cell_sets(expression, found.obs["cell_type"].astype(str).tolist())}
    annotator = Annotator(core_graph, expression.panel, Parameters(hyper_entities=(), evidence=0))
    answers = annotator.annotate(list(sets.values()))
    absent = [c for a in answers for c in a.contradictions if c.kind == "expected_absent"]
    for one in absent:
        column = annotator.panel_column[core_graph.index(one.gene)]
        assert max(s.detected[column] for s in sets.values() if s.detected is not None) >= PRESENT
    assert len(absent) <= 5
    wrong = next(a for a in answers if "T-cells" in a.cell_set and a.curie)
    cells = next(s for name, s in sets.items() if "CAF" in name)
    decision = annotator.decide(sets[wrong.cell_set])[2]
    assert [c for c in annotator._contradictions(decision, cells) if c.kind == "expected_absent"]


@pytest.mark.parametrize("name", ["mouse_cortex_zeisel2015_scenic", "marrow_he2020_scdiagnostics"])
def test_missing_markers_are_usual_ones_and_of_no_type_above_the_answer(
    mirror: Path, core_graph: Graph, name: str
) -> None:
    """A macrophage is a myeloid cell whatever was measured; what one paper found in interneurons is no usual marker."""
    found = open_h5ad(mirror / "h5ad_more" / f"{name}.h5ad")
    expression = read_expression(found, core_graph)
    sets = rank_cell_sets(expression, found.obs["cell_type"].astype(str).tolist())
    annotator = Annotator(expression.graph, expression.panel, Parameters(hyper_entities=(), evidence=0))
    told = [(a, warning) for a in annotator.annotate(sets) for warning in a.coverage]
    ontology, weights = annotator.ontology, annotator.retriever.weights
    assert told
    for answer, warning in told:
        best = answer.curie or answer.candidates[0].curie
        pair = ontology.position(warning.curie), ontology.position(best)
        assert ontology.relation(*pair) != "ancestor"
        genes = [
            node
            for node in annotator.markers(warning.curie)
            if annotator.graph.names[node] in warning.missing
        ]
        column = weights.column_of[annotator.graph.index(warning.curie)]
        assert weights.resources[genes][:, [column]].toarray().min() >= 3
