"""Operators and the definition of reach agree."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.reach import Walker
from gather.retrieval.metapaths import blocks, target_named
from gather.retrieval.path_matrices import build, operators
from gather.retrieval.query import query_genes
from gather.retrieval.scores import Retriever
from vckg.base.errors import InputError

GENES = [f"HGNC:{i}" for i in range(6)]
CELLS = [f"CL:{i:07}" for i in range(5)]
INNER = (
    [f"UBERON:{i:07}" for i in range(3)]
    + [f"GO:{i:07}" for i in range(3)]
    + [f"MONDO:{i:07}" for i in range(2)]
)
RELATIONS = (
    "is_marker_for",
    "is_negative_marker_for",
    "expressed_in",
    "participates_in",
    "part_of",
    "subclass_of",
)

edge_lists = st.lists(
    st.tuples(
        st.sampled_from(GENES + CELLS + INNER),
        st.sampled_from(RELATIONS),
        st.sampled_from(GENES + CELLS + INNER),
    ).filter(lambda e: e[0] != e[2]),
    min_size=1,
    max_size=40,
    unique=True,
)


def reach_by_sets(edges, category, gene, hop, target):
    """Reach as plain sets: all sequences of nodes, checked edge by edge."""
    allowed = {(s, o) for s, r, o in edges if r != "is_negative_marker_for" and not o.startswith("HGNC")}
    either = allowed | {(o, s) for s, o in allowed}
    inner = [n for n in category if category[n] not in ("Gene", target)]
    found = set()
    for middle in product(inner, repeat=hop - 1):
        for end in (n for n in category if category[n] == target):
            walk = (gene, *middle, end)
            steps = list(pairwise(walk))
            if steps[0] in allowed and all(step in either for step in steps[1:]):
                found.add(end)
    return found


def reached_from(graph, operators, gene, hop):
    """The targets that have a weight in the row of a gene."""
    row = operators.weights[hop - 1][operators.rows(np.array([gene]))]
    return [graph.ids[operators.targets[column]] for column in row.indices]


@settings(max_examples=150, deadline=None)
@given(edges=edge_lists, target=st.sampled_from(["Cell", "AnatomicalEntity"]))
def test_operators_walks_and_plain_sets_reach_the_same_nodes(make_graph, edges, target):
    graph = make_graph(edges, nodes=GENES[:1])
    category = {graph.ids[i]: graph.categories[c] for i, c in enumerate(graph.category)}
    made, walker = build(graph, target, hops=3), Walker(graph, target)
    for gene in (g for g in GENES if g in category):
        node = graph.index(gene)
        for hop in (1, 2, 3):
            by_operators = set(reached_from(graph, made, node, hop))
            by_walks = {graph.ids[i] for i in walker.reach(node, hop)}
            assert by_operators == by_walks == reach_by_sets(edges, category, gene, hop, target)


@settings(max_examples=60, deadline=None)
@given(edges=edge_lists, order=st.permutations(range(6)), hops=st.sampled_from([1, 2, 3]))
def test_the_score_paper_is_the_definition_over_its_candidates(make_graph, edges, order, hops):
    graph = make_graph(edges, nodes=[*GENES, *CELLS])
    candidates = [graph.index(c) for c in CELLS]
    retriever = Retriever(graph, score="paper", hops=hops, candidates=candidates)
    query = query_genes(graph, [graph.names[graph.index(GENES[i])] for i in order])
    expected = Walker(graph).paper_scores(query.genes.tolist(), hops=hops, keep=retriever.nodes.tolist())
    found = retriever.scored(query)
    scores = dict(zip(found.nodes.tolist(), found.score.tolist(), strict=True))
    assert {node: s for node, s in scores.items() if s > 0} == pytest.approx(expected)


def test_a_path_weight_is_the_product_of_damped_degrees(make_graph):
    """G -> U <- C: G has 2 tissues, U has 1 gene and 2 cells, C is in 1 tissue."""
    graph = make_graph(
        [
            ("HGNC:0", "expressed_in", "UBERON:0000001"),
            ("HGNC:0", "expressed_in", "UBERON:0000002"),
            ("CL:0000001", "part_of", "UBERON:0000001"),
            ("CL:0000002", "part_of", "UBERON:0000001"),
        ]
    )
    weight = build(graph, hops=2, damping=0.4).weights[1].toarray()
    np.testing.assert_allclose(weight, [[(2 * 1) ** -0.4 * (1 * 2) ** -0.4] * 2], rtol=1e-6)


def test_a_source_can_be_left_out(make_graph):
    graph = make_graph(
        [
            {"subject": "HGNC:0", "relation": "is_marker_for", "object": "CL:0000001", "source": "toy"},
            {"subject": "HGNC:0", "relation": "is_marker_for", "object": "CL:0000002", "source": "other"},
        ]
    )
    assert build(graph, hops=1, exclude=("other",)).weights[0].nnz == 1


def test_transcription_factors_and_drugs_are_reached_against_their_arrows(make_graph):
    graph = make_graph(
        [
            ("HGNC:9", "regulates", "HGNC:0"),
            ("CHEMBL.COMPOUND:1", "targets", "HGNC:0"),
            ("HGNC:0", "regulates", "HGNC:1"),
        ]
    )
    gene = graph.index("HGNC:0")
    for target, reached in (("Regulon", "HGNC:9"), ("Drug", "CHEMBL.COMPOUND:1")):
        made = build(graph, target, hops=1)
        assert reached_from(graph, made, gene, 1) == [reached]
        assert {graph.ids[i] for i in Walker(graph, target).reach(gene, 1)} == {reached}


def test_stored_operators_are_read_back_as_they_were(make_graph, tmp_path):
    edges = [("HGNC:0", "is_marker_for", "CL:0000001"), ("HGNC:1", "expressed_in", "UBERON:0000001")]
    graph = make_graph([*edges, ("CL:0000002", "part_of", "UBERON:0000001")])
    graph.save(tmp_path / "graph")
    stored = type(graph).load(tmp_path / "graph")
    first, again, plain = operators(stored), operators(stored), build(graph)
    assert first.key == again.key
    for a, b in zip(again.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(a.toarray(), b.toarray())
    assert (tmp_path / "graph" / "operators" / first.key).is_dir()
    assert operators(stored, hops=1).key != first.key


def test_unwritable_folder_still_gives_operators(make_graph, tmp_path, monkeypatch):
    graph = make_graph([("HGNC:0", "is_marker_for", "CL:0000001")])
    graph.save(tmp_path / "graph")
    stored = type(graph).load(tmp_path / "graph")
    (tmp_path / "graph" / "operators").write_text("a file where the folder should be")
    monkeypatch.setenv("VCKG_CACHE", str(tmp_path / "cache"))
    made = operators(stored)
    assert made.weights[0].nnz == 1
    assert (tmp_path / "cache" / "operators" / made.key).is_dir()


@pytest.mark.parametrize("hops", [0, 4])
def test_hops_outside_the_range_are_refused(make_graph, hops):
    graph = make_graph([("HGNC:0", "is_marker_for", "CL:0000001")])
    with pytest.raises(InputError, match="1 to 3"):
        build(graph, hops=hops)


def test_an_unknown_target_says_what_was_meant():
    with pytest.raises(InputError, match="did you mean 'Cell'"):
        target_named("Cel")


def test_inner_nodes_are_never_genes_nor_of_the_target_category(make_graph):
    graph = make_graph(
        [
            ("HGNC:0", "is_marker_for", "CL:0000001"),
            ("CL:0000001", "subclass_of", "CL:0000002"),
            ("HGNC:0", "interacts_with", "HGNC:1"),
            ("HGNC:1", "is_marker_for", "CL:0000003"),
        ]
    )
    made = build(graph, hops=3)
    assert [m.nnz for m in made.weights] == [2, 0, 0]
    assert blocks(graph, target_named("Cell")).first.nnz == 0
