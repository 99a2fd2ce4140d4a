"""A class that few resources know gives way to a kind of it that more know."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from gather.cells.expression import rank_cell_sets, read_expression
from gather.labelling.annotator import Annotator
from gather.labelling.decide import KNOWN, Labeller, kind_instead
from gather.ontology import Ontology
from gather.retrieval.evidence_weights import evidence_weights
from gather.retrieval.metapaths import target_named
from gather.retrieval.query import GeneQuery, query_genes
from gather.retrieval.scores import Convergence, Retriever
from vckg.graph.graph import Graph

EDGES = ((1, 0), (6, 0), (2, 1), (3, 1), (4, 2), (5, 2))


@pytest.fixture(scope="module")
def ontology() -> Ontology:
    """0 > (1 > (2 > (4, 5), 3), 6)"""
    child, parent = (np.array(ends, np.int32) for ends in zip(*EDGES, strict=True))
    return Ontology([f"CL:{i}" for i in range(7)], child, parent)


def below(term: int) -> set[int]:
    kinds = {child for child, parent in EDGES if parent == term}
    return kinds | {k for kind in kinds for k in below(kind)}


@pytest.mark.parametrize("seed", range(50))
def test_it_is_the_first_kind_that_more_resources_know(ontology: Ontology, seed: int) -> None:
    rng = np.random.default_rng(seed)
    terms = rng.permutation(7)[: rng.integers(1, 8)]
    score, known = rng.uniform(0.3, 1.0, len(terms)), rng.integers(0, 12, len(terms))
    wanted = 0
    for place in range(1, len(terms)):
        if int(terms[place]) in below(int(terms[0])):
            times = known[place] / max(known[0], 1)
            if known[place] > max(known[0], 1) and score[place] * times**KNOWN > score[0]:
                wanted = place
            break
    assert kind_instead(score, terms, known, ontology) == wanted


def test_a_kind_goes_first_and_the_rest_keep_their_order(ontology: Ontology) -> None:
    nodes, score = np.array([2, 4, 6], np.int32), np.array([1.0, 0.9, 0.2])
    query = GeneQuery("q", np.arange(3, dtype=np.int32), np.ones(3), ("g",) * 3)

    def best(known: list[int] | None) -> list[int]:
        attested = None if known is None else np.array(known)
        found = Convergence(query, "Cell", nodes, score, np.ones(3), np.ones(3), attested=attested)
        return Labeller(ontology).best(found, 3).tolist()

    assert best(None) == best([8, 8, 8]) == best([8, 4, 99]) == [0, 1, 2]
    assert best([4, 8, 8]) == [1, 0, 2]


def test_a_resource_counts_once_and_not_for_borrowed_or_inherited_markers(blood_graph: Graph) -> None:
    weights = evidence_weights(blood_graph, target_named("Cell"))
    rows = np.arange(blood_graph.m)[blood_graph.rows("is_marker_for")]
    for node, found in zip(weights.nodes.tolist(), weights.attested.tolist(), strict=True):
        mine = rows[blood_graph.object[rows] == node]
        assert found == len({blood_graph.underlying[s] for s in blood_graph.source[mine].tolist()})
    assert (weights.attested[~weights.own] == 0).all()


def test_the_published_score_has_no_such_rule(blood_graph: Graph) -> None:
    query = query_genes(blood_graph, ["CD3D", "CD3E"])
    assert Retriever(blood_graph, score="paper").scored(query).attested is None
    assert Retriever(blood_graph).scored(query).attested is not None


@pytest.mark.data
@pytest.mark.xdist_group("core-graph")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("CD4+/CD45RA+/CD25- Naive T", "naive thymus-derived CD4-positive, alpha-beta T cell"),
        ("CD8+/CD45RA+ Naive Cytotoxic", "naive thymus-derived CD8-positive, alpha-beta T cell"),
    ],
)
def test_naive_t_cells_of_blood_are_told_apart(core_graph: Graph, mirror: Path, name: str, kind: str) -> None:
    """Four resources of the graph list the naive T cell, six and five its two usual kinds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cells = ad.read_h5ad(mirror / "h5ad" / "pbmc68k_reduced.h5ad")
    expression = read_expression(cells, core_graph)
    sets = {
        one.name: one for one in rank_cell_sets(expression, cells.obs["bulk_labels"].astype(str).tolist())
    }
    found = Annotator(expression.graph, expression.panel).annotate_one(sets[name])
    assert [c.label for c in found.candidates[:2]] == [kind, "naive T cell"]
