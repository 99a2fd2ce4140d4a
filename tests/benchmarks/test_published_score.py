"""The batched published score equals its definition, in both engines; a score worked by hand."""

from math import log, log2

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.published_score import pad_queries, paper_batch
from benchmarks.reach import Walker, in_order
from gather.retrieval.path_matrices import Table, build
from tests.gather.conftest import graph_of
from tests.gather.retrieval.test_traverse import CELLS, GENES, edge_lists


@settings(max_examples=150, deadline=None)
@given(edges=edge_lists, order=st.permutations(range(6)), hops=st.sampled_from([1, 2, 3]))
def test_both_engines_give_the_published_score_and_order_of_the_definition(edges, order, hops):
    graph = graph_of(edges, nodes=GENES)
    query = [graph.index(GENES[i]) for i in order]
    expected = Walker(graph).paper_scores(query, hops=hops)
    ranked = in_order(expected)
    made = build(graph, hops=3)
    rows = pad_queries([made.rows(np.array(query))])
    for engine in ("numba", "numpy"):
        batch = paper_batch(made.table(hops), rows, top=5, engine=engine)
        columns = batch.columns[0][batch.columns[0] >= 0]
        assert [int(made.targets[c]) for c in columns] == ranked[:5]
        assert batch.reached[0] == len(ranked)
        np.testing.assert_allclose(
            batch.scores[0][: len(columns)], [expected[n] for n in ranked[:5]], rtol=1e-9
        )


@settings(max_examples=60, deadline=None)
@given(edges=edge_lists, kept=st.sets(st.sampled_from(CELLS), min_size=1))
def test_restricted_candidates_count_only_themselves(edges, kept):
    graph = graph_of(edges, nodes=[*GENES, *CELLS])
    query = [graph.index(g) for g in GENES]
    keep = sorted(graph.index(c) for c in kept)
    expected = Walker(graph).paper_scores(query, hops=2, keep=keep)
    made = build(graph, hops=2)
    table = Table.of(made, 2, np.array([made.column_of[i] for i in keep], np.int32))
    batch = paper_batch(table, pad_queries([made.rows(np.array(query))]), top=5)
    columns = batch.columns[0][batch.columns[0] >= 0]
    assert [int(made.targets[c]) for c in columns] == in_order(expected)[:5]


def test_the_published_score_of_a_worked_example():
    """Two genes, two cells. G0 reaches A at hop 1 and both at hop 2; G1 reaches B at hop 1.

    N = 2 candidates. df: G0 reaches {A, B} -> 2, G1 reaches {B} -> 1. Rank weights 1/log2(2) = 1 and
    1/log2(3); both come to 1.5 ln 2.
    """
    graph = graph_of(
        [
            ("HGNC:0", "is_marker_for", "CL:0000001"),
            ("HGNC:0", "expressed_in", "UBERON:0000001"),
            ("CL:0000001", "part_of", "UBERON:0000001"),
            ("CL:0000002", "part_of", "UBERON:0000001"),
            ("HGNC:1", "is_marker_for", "CL:0000002"),
        ]
    )
    g0, g1, a, b = (graph.index(i) for i in ("HGNC:0", "HGNC:1", "CL:0000001", "CL:0000002"))
    w0, w1 = 1.0 * log(2 / 2 + 1), (1 / log2(3)) * log(2 / 1 + 1)
    by_hand = {a: w0 * (1 + 0.5), b: w0 * 0.5 + w1}
    made = build(graph, hops=2)
    batch = paper_batch(made.table(2), pad_queries([made.rows(np.array([g0, g1]))]), top=3)
    assert [int(made.targets[c]) for c in batch.columns[0][:2]] == [
        a,
        b,
    ]  # both are 1.5 ln 2: the lower CURIE first
    assert batch.columns[0][2] == -1
    np.testing.assert_allclose(sorted(batch.scores[0][:2]), sorted(by_hand.values()), rtol=1e-12)


def test_a_batch_over_several_chunks_and_threads_equals_single_queries():
    rng = np.random.default_rng(0)
    edges = {(f"HGNC:{rng.integers(50)}", "is_marker_for", f"CL:{rng.integers(80):07}") for _ in range(600)}
    made = build(graph_of(sorted(edges)), hops=1)
    queries = np.stack([rng.permutation(len(made.genes))[:10] for _ in range(5000)]).astype(np.int32)
    together = paper_batch(made.table(1), queries, top=7, threads=2)
    alone = paper_batch(made.table(1), queries[4321:4322], top=7, engine="numpy")
    np.testing.assert_array_equal(together.columns[4321], alone.columns[0])
    np.testing.assert_array_equal(together.scores[4321], alone.scores[0])
