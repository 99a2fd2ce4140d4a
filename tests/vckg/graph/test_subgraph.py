"""Subgraphs, metapaths, and the networks of other libraries."""

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import rustworkx
from hypothesis import given, settings
from hypothesis import strategies as st

from vckg.base.errors import GraphError
from vckg.export.networks import to_networkx, to_rustworkx
from vckg.graph.graph import Graph
from vckg.graph.metapaths import metagraph, metapaths
from vckg.graph.subgraph import subgraph

NODES = pd.DataFrame(
    [
        ("HGNC:1", "Gene", "CD3D", ["T3D"]),
        ("HGNC:2", "Gene", "CD3E", []),
        ("HGNC:3", "Gene", "MS4A1", []),
        ("CL:0000084", "Cell", "T cell", []),
        ("CL:0000236", "Cell", "B cell", []),
        ("CL:0000542", "Cell", "lymphocyte", []),
        ("UBERON:0000178", "AnatomicalEntity", "blood", []),
        ("GO:0006955", "BiologicalProcess", "immune response", []),
    ],
    columns=["id", "category", "name", "synonyms"],
)
EDGES = pd.DataFrame(
    [
        ("HGNC:1", "is_marker_for", "CL:0000084", "a", 0, ["PMID:1", "PMID:2"], ["UBERON:0000178"]),
        ("HGNC:1", "is_marker_for", "CL:0000084", "b", 0, [], []),
        ("HGNC:2", "is_marker_for", "CL:0000084", "a", 0, ["PMID:2"], []),
        ("HGNC:3", "is_marker_for", "CL:0000236", "a", 0, ["PMID:3"], ["UBERON:0000178"]),
        ("CL:0000084", "subclass_of", "CL:0000542", "cl", 0, [], []),
        ("CL:0000236", "subclass_of", "CL:0000542", "cl", 0, [], []),
        ("CL:0000542", "part_of", "UBERON:0000178", "cl", 0, [], []),
        ("HGNC:1", "participates_in", "GO:0006955", "go", 0, [], []),
        ("CL:0000542", "capable_of", "GO:0006955", "cl", 0, [], []),
        ("HGNC:1", "regulates", "HGNC:2", "tri", -1, ["PMID:9"], []),
    ],
    columns=["subject", "relation", "object", "source", "sign", "publications", "tissues"],
)


@pytest.fixture(scope="module")
def graph():
    return Graph.from_frames(NODES, EDGES, {"a": {"knowledge_level": "observation"}})


def edge_set(graph):
    return {graph.edge(r) for r in range(graph.m)}


def without_nan(edges):
    return {tuple(None if v != v else v for v in edge) for edge in edges}


def test_networkx_holds_every_node_and_edge_with_provenance(graph):
    result = to_networkx(graph)
    assert isinstance(result, nx.MultiDiGraph)
    assert set(result) == set(graph.ids)
    assert result.number_of_edges() == graph.m
    assert result.nodes["CL:0000084"] == {"category": "Cell", "name": "T cell"}
    entry = result.edges["HGNC:1", "CL:0000084", "vckg:is_marker_for/HGNC:1/CL:0000084/a"]
    assert entry == {
        "relation": "is_marker_for",
        "predicate": "biolink:expressed_in",
        "source_name": "a",
        "sign": 0,
        "evidence_count": 1,
        "publications": ["PMID:1", "PMID:2"],
        "tissues": ["UBERON:0000178"],
        "knowledge_level": "observation",
        "agent_type": "not_provided",
    }
    for row in range(graph.m):
        edge = graph.edge(row)
        (matching,) = [
            d
            for d in result.get_edge_data(edge.subject, edge.object).values()
            if (d["relation"], d["source_name"], d["sign"]) == (edge.relation, edge.source, edge.sign)
        ]
        assert tuple(matching.get("publications", ())) == edge.publications


def test_rustworkx_keeps_indices_and_edge_rows(graph):
    result = to_rustworkx(graph)
    assert isinstance(result, rustworkx.PyDiGraph)
    assert [result[i] for i in range(graph.n)] == list(graph.ids)
    assert sorted(result.weighted_edge_list()) == [
        (int(graph.subject[r]), int(graph.object[r]), r)
        for r in sorted(range(graph.m), key=lambda r: (graph.subject[r], graph.object[r], r))
    ]


def test_subgraph_of_everything_says_the_same(graph):
    whole = subgraph(graph, range(graph.n))
    assert whole.content_hash == graph.content_hash
    assert without_nan(edge_set(whole)) == without_nan(edge_set(graph))


def test_subgraph_drops_tissues_that_are_not_in_it_and_still_grounds_names(graph):
    part = subgraph(graph, [graph.index("HGNC:1"), graph.index("CL:0000084")])
    assert list(part.ids) == ["CL:0000084", "HGNC:1"]
    assert [part.edge(r).source for r in range(part.m)] == ["a", "b"]
    assert part.edge(0).publications == ("PMID:1", "PMID:2")
    assert part.edge(0).tissues == ()
    assert part.dictionary("publications").to_pylist() == ["PMID:1", "PMID:2"]
    assert [g.curie for g in part.genes.ground(["T3D", "CD3E"])] == ["HGNC:1", None]


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, len(NODES) - 1), min_size=1), st.integers(0, 3))
def test_subgraph_agrees_with_breadth_first_search(chosen, hops):
    graph = Graph.from_frames(NODES, EDGES)
    ends = list(zip(graph.subject.tolist(), graph.object.tolist(), strict=True))
    inside = set(chosen)
    for _ in range(hops):
        inside |= {b for a, b in ends if a in inside} | {a for a, b in ends if b in inside}
    result = subgraph(graph, chosen, hops=hops)
    assert list(result.ids) == [graph.ids[i] for i in sorted(inside)]
    assert result.m == sum(a in inside and b in inside for a, b in ends)
    kept = {graph.edge(r)[:5] for r, (a, b) in enumerate(ends) if a in inside and b in inside}
    assert {e[:5] for e in edge_set(result)} == kept


def test_subgraph_walks_only_the_named_relations(graph):
    near = subgraph(graph, [graph.index("CL:0000084")], hops=3, relations=["subclass_of"])
    assert list(near.ids) == ["CL:0000084", "CL:0000236", "CL:0000542"]
    assert {near.edge(r).relation for r in range(near.m)} == {"subclass_of"}


def test_subgraph_survives_writing_and_loading(graph, tmp_path):
    part = subgraph(graph, [graph.index("CL:0000084")], hops=1)
    loaded = Graph.load(part.save(tmp_path / "part"), verify=True)
    assert loaded.content_hash == part.content_hash
    assert loaded.manifest["cut_from"] == graph.content_hash


def test_metagraph_counts_edges_by_their_ends(graph):
    assert metagraph(graph)["Gene", "is_marker_for", "Cell"] == 4
    assert sum(metagraph(graph).values()) == graph.m
    assert next(iter(metagraph(graph))) == ("Gene", "is_marker_for", "Cell")


def test_metapaths_from_genes_to_cells(graph):
    one = [str(p) for p in metapaths(graph, "Gene", "Cell", hops=1)]
    assert one == ["Gene -is_marker_for-> Cell"]
    two = [str(p) for p in metapaths(graph, "Gene", "Cell", hops=2, through=["BiologicalProcess"])]
    assert two == ["Gene -participates_in-> BiologicalProcess <-capable_of- Cell"]


def test_metapaths_agree_with_walks_over_the_graph(graph):
    """Every metapath a walk takes is listed."""
    steps = [
        (int(s), int(o), graph.relations[r], way)
        for s, o, r in zip(graph.subject, graph.object, graph.relation, strict=True)
        for s, o, way in ((s, o, ">"), (o, s, "<"))
    ]
    category = [graph.categories[c] for c in graph.category]
    walked = {
        ((category[a], category[b], category[d]), (r1, r2), w1 + w2)
        for a, b, r1, w1 in steps
        for c, d, r2, w2 in steps
        if b == c and category[a] == "Gene" and category[d] == "Cell"
    }
    assert walked <= {tuple(p) for p in metapaths(graph, "Gene", "Cell")}


def test_an_unknown_category_is_named_with_the_nearest(graph):
    with pytest.raises(GraphError, match="did you mean 'Gene'"):
        metapaths(graph, "Genes", "Cell")


def test_an_empty_subgraph_is_a_graph(graph):
    empty = subgraph(graph, [])
    assert (empty.n, empty.m) == (0, 0)
    assert to_networkx(empty).number_of_nodes() == 0
    assert metagraph(empty) == {}
    assert np.asarray(empty.rows("regulates").stop) == 0


def test_one_node_needs_no_list(graph):
    curie = next(iter(graph))
    assert list(subgraph(graph, curie)) == list(subgraph(graph, 0)) == [curie]


def test_a_metapath_has_an_edge(graph):
    with pytest.raises(GraphError, match="0 hops"):
        metapaths(graph, "Gene", "Cell", hops=0)


def test_a_row_that_is_no_edge_is_refused(graph):
    for row in (-1, graph.m):
        with pytest.raises(GraphError, match=f"no edge {row}"):
            graph.edge(row)
