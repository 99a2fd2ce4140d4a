"""Walks found as arrays are those of the plain definition, with every edge of every step."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gather.retrieval.edges import edge_rows
from gather.retrieval.evidence_weights import GENERATIONS, INHERITANCE
from gather.retrieval.metapaths import DENYING
from gather.retrieval.query import GeneQuery, rank_weights
from gather.retrieval.scores import Retriever
from gather.retrieval.walks import best_walks, evidence_items

GENES = [f"HGNC:{i}" for i in range(5)]
CELLS = [f"CL:{i:07}" for i in range(5)]
INNER = [f"UBERON:{i:07}" for i in range(2)] + [f"GO:{i:07}" for i in range(2)]
RELATIONS = (
    "is_marker_for",
    "is_negative_marker_for",
    "expressed_in",
    "participates_in",
    "part_of",
    "subclass_of",
)
edges_of_graphs = st.lists(
    st.fixed_dictionaries(
        {
            "subject": st.sampled_from(GENES + CELLS + INNER),
            "relation": st.sampled_from(RELATIONS),
            "object": st.sampled_from(GENES + CELLS + INNER),
            "source": st.sampled_from(("toy", "other")),
            "evidence_count": st.integers(1, 3),
        }
    ).filter(lambda e: e["subject"] != e["object"]),
    min_size=4,
    max_size=50,
    unique_by=lambda e: (e["subject"], e["relation"], e["object"], e["source"]),
)


def with_all_nodes(make_graph, edges):
    told = {"subject": GENES[0], "relation": "is_marker_for", "object": CELLS[0], "source": "other"}
    return make_graph([*edges, told] if told not in edges else edges, nodes=GENES + CELLS + INNER)


def query_of(graph, curies):
    genes = np.array([graph.index(c) for c in curies], np.int32)
    return GeneQuery("asked", genes, rank_weights(len(genes)), tuple(curies))


def telling(retriever, query, node):
    """Weights, ranks and nodes of all walks that bring a node its score, by definition, best first."""
    weights = retriever.weights
    direct = weights.direct.toarray()

    def taken_over(below, top, generations=GENERATIONS):
        """A type takes the same share of each of its parents, together `INHERITANCE`."""
        parents = [
            p for p in retriever.graph.parents(below).tolist() if retriever.graph.ids[p].startswith("CL:")
        ]
        above = [taken_over(p, top, generations - 1) for p in parents if generations]
        return (below == top) + INHERITANCE * sum(above) / max(len(parents), 1)

    lines, frontier = {node: (node,)}, [node]
    while frontier:
        above = {}
        for i in frontier:
            for parent in retriever.graph.parents(i).tolist():
                if parent not in lines and retriever.graph.ids[parent].startswith("CL:"):
                    above[parent] = (parent, *lines[i])
        lines |= above
        frontier = sorted(above)
    found = [
        (w * direct[gene, weights.column_of[top]] * taken_over(node, top), rank, (gene, *line))
        for top, line in lines.items()
        if top in weights.column_of and len(line) <= 6
        for rank, (gene, w) in enumerate(zip(query.genes.tolist(), query.weights.tolist(), strict=True))
    ]
    return sorted((f for f in found if f[0] > 0), key=lambda f: (-f[0], *f[1:]))


def longer(retriever, query, node):
    """The same of all walks over one inner node."""
    operators = retriever.operators
    first, last = operators.first.toarray(), operators.last.toarray()
    onward = last[operators.column_of[node]].astype(float)
    found = [
        (float(first[operators.rows(np.array([gene]))[0], x] * onward[x] * w), rank, (gene, x, node))
        for rank, (gene, w) in enumerate(zip(query.genes.tolist(), query.weights.tolist(), strict=True))
        for x in np.flatnonzero(onward).tolist()
    ]
    return sorted((f for f in found if f[0] > 0), key=lambda f: (-f[0], *f[1:]))


def edges_by_scan(graph, a, b):
    """All edges between two nodes that may carry a walk, by looking at every edge of the graph."""
    rows = [r for r in range(graph.m) if (graph.subject[r], graph.object[r]) == (a, b)]
    rows += [r for r in range(graph.m) if (graph.subject[r], graph.object[r]) == (b, a)]
    told = [(graph.edge(r), r) for r in rows]
    kept = [(e, r) for e, r in told if e.relation not in DENYING]
    kept.sort(key=lambda t: (-len(t[0].publications), -t[0].evidence_count, t[0].source, t[0].relation))
    return [r for _, r in kept]


@settings(max_examples=60, deadline=None)
@given(edges=edges_of_graphs, order=st.permutations(GENES), top=st.integers(1, 7))
def test_the_best_walks_and_all_their_edges_are_those_of_the_definition(make_graph, edges, order, top):
    graph = with_all_nodes(make_graph, edges)
    retriever = Retriever(graph, score="paper")
    query = query_of(graph, order)
    found = retriever.scored(query)
    positions = range(len(found.nodes))
    walks = best_walks(retriever, found, positions, top=top)
    for position, node in enumerate(found.nodes.tolist()):
        mine = np.flatnonzero(walks.candidate == position)
        told = telling(retriever, query, node)
        expected = (told + (longer(retriever, query, node) if len(told) < top else []))[:top]
        assert walks.weight[mine].tolist() == pytest.approx([w for w, _, _ in expected], rel=1e-6)
        assert [tuple(i for i in nodes if i >= 0) for nodes in walks.nodes[mine].tolist()] == [
            nodes for _, _, nodes in expected
        ]
        assert walks.rank[mine].tolist() == [rank for _, rank, _ in expected]
        for nodes, steps in zip(walks.nodes[mine].tolist(), walks.steps[mine].tolist(), strict=True):
            pairs = list(pairwise(i for i in nodes if i >= 0))
            assert [s for s in steps if s >= 0] == steps[: len(pairs)]
            for (a, b), s in zip(pairs, steps, strict=False):
                assert walks.rows[walks.starts[s] : walks.starts[s + 1]].tolist() == edges_by_scan(
                    graph, a, b
                )


cells_of_several_kinds = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(lambda e: e[0] > e[1]), max_size=10, unique=True
)
"""Kinds of cells, each of any number of those before it."""


@settings(max_examples=60, deadline=None)
@given(kinds=cells_of_several_kinds, marks=st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4))))
def test_what_all_the_walks_bring_together_is_the_statistic(make_graph, kinds, marks):
    edges = [(CELLS[child], "subclass_of", CELLS[parent]) for child, parent in kinds]
    edges += [(GENES[g], "is_marker_for", CELLS[c]) for g, c in sorted(marks | {(0, 0), (1, 1)})]
    graph = make_graph(edges, nodes=GENES + CELLS)
    retriever = Retriever(graph, hops=1, candidates=[graph.index(c) for c in CELLS])
    query = query_of(graph, GENES)
    found = retriever.scored(query)
    walks = best_walks(retriever, found, range(len(retriever.nodes)), top=1000)
    brought = np.bincount(walks.candidate, walks.weight, minlength=len(retriever.nodes))
    np.testing.assert_allclose(brought, retriever.statistic(found.query), atol=1e-12)


def test_of_two_kinds_a_cell_takes_half_the_share_of_each(make_graph):
    """Cell 3 is a kind of 1 and 2, which are both kinds of 0: half the share of each, and of 0 what both hand on."""
    kinds = [(3, 1), (3, 2), (1, 0), (2, 0)]
    edges = [(CELLS[child], "subclass_of", CELLS[parent]) for child, parent in kinds]
    edges += [(GENES[c], "is_marker_for", CELLS[c]) for c in (0, 1, 2, 3)]
    graph = make_graph(edges)
    retriever = Retriever(graph)
    at = [graph.index(c) for c in CELLS[:4]]
    lines = retriever.lines_to(at[3])
    share = dict(zip(lines.columns.tolist(), lines.share.tolist(), strict=True))
    half = INHERITANCE / 2
    expected = {at[3]: 1.0, at[1]: half, at[2]: half, at[0]: 2 * half * INHERITANCE}
    assert share == pytest.approx({retriever.weights.column_of[node]: s for node, s in expected.items()})
    ways = {tuple(n for n in line if n >= 0) for line in lines.nodes.tolist()}
    assert ways - {(at[0], at[1], at[3]), (at[0], at[2], at[3])} == {(at[3],), (at[1], at[3]), (at[2], at[3])}
    assert len(ways) == len(lines.nodes) == 4
    assert set(lines.nodes[lines.nodes < 0].tolist()) == {-1}


@settings(max_examples=30, deadline=None)
@given(edges=edges_of_graphs, order=st.permutations(GENES))
def test_what_is_shown_are_those_walks_in_words(make_graph, edges, order):
    graph = with_all_nodes(make_graph, edges)
    retriever = Retriever(graph)
    found = retriever.scored(query_of(graph, order))
    positions = range(len(found.nodes))
    walks = best_walks(retriever, found, positions)
    shown = [walk for item in evidence_items(retriever, found, positions) for walk in item.walks]
    assert [walk.weight for walk in shown] == walks.weight.tolist()
    for walk, nodes, steps in zip(shown, walks.nodes.tolist(), walks.steps.tolist(), strict=True):
        assert list(walk.nodes) == [graph.ids[i] for i in nodes if i >= 0]
        rows = [walks.rows[walks.starts[s] : walks.starts[s + 1]].tolist() for s in steps if s >= 0]
        assert [[(e.subject, e.relation, e.object, e.source) for e in step] for step in walk.steps] == [
            [(e.subject, e.relation, e.object, e.source) for e in map(graph.edge, step)] for step in rows
        ]


def test_no_candidates_and_no_genes_have_no_walks(make_graph):
    graph = with_all_nodes(make_graph, [])
    retriever = Retriever(graph)
    found = retriever.scored(query_of(graph, GENES))
    assert len(best_walks(retriever, found, []).rows) == 0
    assert evidence_items(retriever, found, []) == ()
    nothing = retriever.scored(query_of(graph, []))
    assert evidence_items(retriever, nothing, [0])[0].walks == ()


def test_a_left_out_source_and_a_wanted_relation_are_kept_to(make_graph):
    pair = {"subject": GENES[0], "object": CELLS[0]}
    edges = [pair | {"relation": r, "source": s} for r in RELATIONS[:3] for s in ("toy", "other")]
    graph = make_graph(edges)
    a, b = (np.array([graph.index(i)]) for i in (GENES[0], CELLS[0]))
    for options, many in (
        ({}, 4),
        ({"exclude": ("toy",)}, 2),
        ({"relations": ("is_negative_marker_for",)}, 2),
        ({"relations": ("is_marker_for",), "exclude": ("other",)}, 1),
    ):
        starts, rows = edge_rows(graph, a, b, **options)
        assert starts.tolist() == [0, many]
        assert edge_rows(graph, b, a, **options)[1].tolist() == rows.tolist()
