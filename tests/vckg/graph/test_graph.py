"""`Graph` against slow definitions on random frames, and its errors."""

import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vckg.base.errors import GraphError
from vckg.graph.graph import Graph
from vckg.graph.parts import content_hash
from vckg.graph.schema import RELATION_NAMES
from vckg.graph.string_array import Strings

GENES = [f"HGNC:{i}" for i in range(6)]
CELLS = [f"CL:{i}" for i in range(6)]
ARCHIVES = Path(__file__).parent / "archives"
TISSUES = ["UBERON:1", "UBERON:2"]
NODES = pd.DataFrame(
    [(i, "Gene", i) for i in GENES]
    + [(i, "Cell", i) for i in CELLS]
    + [(i, "AnatomicalEntity", i) for i in TISSUES],
    columns=["id", "category", "name"],
)


def edge(subjects: list[str], relation: str, objects: list[str]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries(
        {
            "subject": st.sampled_from(subjects),
            "relation": st.just(relation),
            "object": st.sampled_from(objects),
            "source": st.sampled_from(["a", "a:part", "b"]),
            "sign": st.sampled_from([-1, 0, 1]),
            "evidence_count": st.integers(1, 3),
            "weight": st.sampled_from([float("nan"), 0.5, 2.0]),
            "publications": st.lists(st.sampled_from(["PMID:1", "PMID:2", "PMID:3"]), max_size=3),
            "tissues": st.lists(st.sampled_from(TISSUES), max_size=2),
        }
    )


EDGES = st.lists(
    st.one_of(
        edge(GENES, "is_marker_for", CELLS),
        edge(GENES, "interacts_with", GENES),
        edge(CELLS, "subclass_of", CELLS),
    ),
    min_size=1,
    max_size=40,
)


def merged(rows: list[dict[str, object]]) -> dict[tuple[object, ...], list[dict[str, object]]]:
    """The definition: rows of one (relation, subject, object, source, sign) are one edge."""
    result: dict[tuple[object, ...], list[dict[str, object]]] = defaultdict(list)
    for r in rows:
        ends = [str(r["subject"]), str(r["object"])]
        if r["relation"] == "interacts_with":
            ends.sort()
        result[RELATION_NAMES.index(str(r["relation"])), *ends, r["source"], r["sign"]].append(r)
    return dict(sorted(result.items()))


@settings(max_examples=60, deadline=None)
@given(EDGES, st.randoms(use_true_random=False))
def test_edges_are_the_rows_merged_in_order(rows: list[dict[str, object]], rng: object) -> None:
    graph = Graph.from_frames(NODES, pd.DataFrame(rows))
    expected = merged(rows)
    assert graph.m == len(expected)
    for row, (key, group) in enumerate(expected.items()):
        result = graph.edge(row)
        assert (
            RELATION_NAMES.index(result.relation),
            result.subject,
            result.object,
            result.source,
            result.sign,
        ) == key
        assert result.evidence_count == sum(int(str(g["evidence_count"])) for g in group)
        cited = {p for g in group for p in g["publications"]}  # type: ignore[attr-defined]
        assert result.publications == tuple(sorted(cited))
        assert graph.n_publications[row] == len(cited)
        assert set(result.tissues) == {t for g in group for t in g["tissues"]}  # type: ignore[attr-defined]
        weights = [w for g in group if not np.isnan(w := float(str(g["weight"])))]
        assert np.array_equal(result.weight, np.float32(max(weights, default=np.nan)), equal_nan=True)
    rng.shuffle(rows)  # type: ignore[attr-defined]
    assert Graph.from_frames(NODES, pd.DataFrame(rows)).content_hash == graph.content_hash


@settings(max_examples=60, deadline=None)
@given(EDGES)
def test_neighbours_matrices_and_hierarchy_follow_the_edges(rows: list[dict[str, object]]) -> None:
    graph = Graph.from_frames(NODES, pd.DataFrame(rows))
    every = range(graph.m)
    for node in range(graph.n):
        assert graph.out_edges(node).tolist() == [r for r in every if graph.subject[r] == node]
        assert graph.in_edges(node).tolist() == [r for r in every if graph.object[r] == node]
        marks = graph.rows("is_marker_for")
        own = [r for r in range(marks.start, marks.stop) if graph.subject[r] == node]
        assert graph.out_edges(node, "is_marker_for").tolist() == own
        above, frontier = set(), {node}
        while frontier:
            frontier = {int(p) for i in frontier for p in graph.parents(i)} - above
            above |= frontier
        assert set(graph.ancestors(node).tolist()) == above - {node}
    reached = {i: set(graph.ancestors(i).tolist()) for i in every_node(graph)}
    for node in every_node(graph):
        assert graph.descendants(node).tolist() == [i for i in every_node(graph) if node in reached[i]]
    for pair in [(0, graph.n - 1), (6, 7), (6, 8), (7, 9)]:
        common = set.intersection(*({i} | reached[i] for i in pair))
        lowest = sorted(c for c in common if not any(c in reached[d] for d in common))
        assert graph.lowest_common_ancestors(pair).tolist() == lowest
    for values, column in (("evidence", graph.evidence_count), ("publications", graph.n_publications)):
        dense = np.zeros((graph.n, graph.n))
        span = graph.rows("interacts_with")
        np.add.at(dense, (graph.subject[span], graph.object[span]), column[span])
        assert np.array_equal(graph.adjacency("interacts_with", values=values).toarray(), dense)  # type: ignore[arg-type]
    only = graph.adjacency("is_marker_for", sources=["a"]).toarray() if "a" in graph.underlying else None
    if only is not None:
        pairs = {(int(graph.subject[r]), int(graph.object[r])) for r in every if graph.sources[graph.source[r]] != "b"
                 and RELATION_NAMES[graph.relation[r]] == "is_marker_for"}  # fmt: skip
        assert {(int(i), int(j)) for i, j in zip(*np.nonzero(only), strict=True)} == pairs


def every_node(graph: Graph) -> range:
    return range(graph.n)


def ladder(levels: int) -> Graph:
    """Two classes a level, each below both of the level above: 2^levels paths from top to bottom."""
    ids = [f"CL:{i:03d}" for i in range(2 * levels)]
    nodes = pd.DataFrame({"id": ids, "category": "Cell", "name": ids})
    rows = [
        (ids[2 * i + a], "subclass_of", ids[2 * i - 2 + b], "cl")
        for i in range(1, levels)
        for a in (0, 1)
        for b in (0, 1)
    ]
    return Graph.from_frames(nodes, pd.DataFrame(rows, columns=["subject", "relation", "object", "source"]))


def test_each_class_is_looked_at_once_however_many_paths_lead_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = ladder(100)
    looked: list[int] = []
    direct = Graph._direct
    monkeypatch.setattr(
        Graph, "_direct", lambda self, way, node: looked.append(node) or direct(self, way, node)
    )
    assert graph.ancestors("CL:199").tolist() == list(range(198))
    assert sorted(looked) == [*range(198), 199]
    assert graph.descendants(0).size == 198
    assert graph.lowest_common_ancestors(["CL:198", "CL:199"]).tolist() == [196, 197]


@pytest.mark.parametrize("n", [256, 257, 300])
def test_more_sources_than_a_byte_names_are_refused(n: int) -> None:
    pairs = [(g, c) for g in GENES for c in CELLS]
    rows = [(*pairs[i % 36], "is_marker_for", f"s{i:03d}") for i in range(n) for _ in range(2)]
    frame = pd.DataFrame(rows, columns=["subject", "object", "relation", "source"])
    if n <= 256:
        graph = Graph.from_frames(NODES, frame)
        assert sorted(graph.sources[c] for c in graph.source) == [f"s{i:03d}" for i in range(n)]
    else:
        with pytest.raises(GraphError, match=f"{n} sources and parts, 256 at most"):
            Graph.from_frames(NODES, frame)


@pytest.mark.parametrize(
    ("column", "value"), [("sign", 2), ("sign", -2), ("sign", 0.5), ("evidence_count", 2**31)]
)
def test_a_number_that_a_column_cannot_hold_is_refused(column: str, value: float) -> None:
    row = {"subject": "HGNC:1", "relation": "is_marker_for", "object": "CL:1", "source": "a", column: value}
    with pytest.raises(GraphError, match=f"{column.replace('_', ' ')}|{column}"):
        Graph.from_frames(NODES, pd.DataFrame([row]))


def hierarchy() -> Graph:
    pairs = [
        ("CL:1", "CL:0"),
        ("CL:2", "CL:1"),
        ("CL:3", "CL:1"),
        ("CL:4", "CL:2"),
        ("CL:4", "CL:3"),
        ("CL:5", "CL:0"),
    ]
    edges = pd.DataFrame(
        [(s, "subclass_of", o, "cl") for s, o in pairs], columns=["subject", "relation", "object", "source"]
    )
    return Graph.from_frames(NODES, edges)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (["CL:2", "CL:3"], ["CL:1"]),
        (["CL:4", "CL:2"], ["CL:2"]),
        (["CL:4", "CL:5"], ["CL:0"]),
        (["CL:4"], ["CL:4"]),
        ([], []),
        (["CL:4", "HGNC:1"], []),
    ],
)
def test_lowest_common_ancestors(of: list[str], expected: list[str]) -> None:
    graph = hierarchy()
    result = graph.lowest_common_ancestors([graph.index(c) for c in of])
    assert graph.ids.pick(result) == expected


def test_a_graph_survives_the_folder(tmp_path: Path) -> None:
    graph = hierarchy()
    again = Graph.load(graph.save(tmp_path / "graph"), verify=True)
    assert again.content_hash == graph.content_hash
    assert [str(again.edge(r)) for r in range(again.m)] == [str(graph.edge(r)) for r in range(graph.m)]
    assert isinstance(again.subject.base, np.memmap)
    assert not list((tmp_path / "graph").rglob("*.pkl"))


def test_arrays_that_hold_pickles_are_refused(tmp_path: Path) -> None:
    folder = hierarchy().save(tmp_path / "graph")
    victim = folder / "graph" / "subject.npy"
    size = victim.stat().st_size
    victim.write_bytes(pickle.dumps(object()).ljust(size, b"\0"))
    with pytest.raises(GraphError, match=r"subject\.npy: damaged"):
        Graph.load(folder)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"subject": "HGNC:99"}, "subject 'HGNC:99' of an edge is not a node"),
        ({"relation": "is_marker_of"}, "did you mean 'is_marker_for'"),
    ],
)
def test_an_edge_that_does_not_fit_is_refused(wrong: dict[str, str], message: str) -> None:
    row = {"subject": "HGNC:1", "relation": "is_marker_for", "object": "CL:1", "source": "a"} | wrong
    with pytest.raises(GraphError, match=message):
        Graph.from_frames(NODES, pd.DataFrame([row]))


def test_a_repeated_node_is_refused() -> None:
    with pytest.raises(GraphError, match="'CL:0' is given twice"):
        Graph.from_frames(
            pd.concat([NODES, NODES[NODES["id"] == "CL:0"]]),
            pd.DataFrame([], columns=["subject", "object", "relation", "source"]),
        )


def test_names_that_are_not_there_are_met_with_the_nearest() -> None:
    graph = hierarchy()
    with pytest.raises(GraphError, match="did you mean 'CL:"):
        graph.index("CL:00")
    with pytest.raises(GraphError, match="prefixes here: CL, HGNC, UBERON"):
        graph.index("T cell")
    with pytest.raises(GraphError, match="did you mean 'Cell'"):
        graph.nodes_of("cell")
    with pytest.raises(GraphError, match="did you mean 'subclass_of'"):
        graph.rows("subclass")
    assert graph.get("CL:00") is None


def test_a_node_is_named_by_its_curie_or_its_index() -> None:
    graph = hierarchy()
    assert len(graph) == graph.n == len(list(graph))
    assert "CL:1" in graph
    assert "CL:99" not in graph
    assert 0 in graph
    assert graph.n not in graph
    assert None not in graph
    i = graph.index("CL:1")
    assert graph["CL:1"] == graph[i] == graph.node(np.int32(i))
    for method in ("out_edges", "in_edges", "parents", "children", "ancestors", "descendants", "neighbours"):
        named = getattr(graph, method)("CL:1")
        assert named.tolist() == getattr(graph, method)(i).tolist()
        assert named.size
    assert graph.lowest_common_ancestors(["CL:2", "CL:3"]).tolist() == [i]
    for missing in ("CL:99", "nothing", -1, graph.n):
        with pytest.raises(KeyError) as refusal:
            graph[missing]
        assert isinstance(refusal.value, GraphError)
        assert str(refusal.value).startswith(f"no node {missing!r} in the graph")


@settings(max_examples=20, deadline=None)
@given(EDGES)
def test_the_frames_of_a_graph_make_the_graph_again(rows: list[dict[str, object]]) -> None:
    graph = Graph.from_frames(NODES, pd.DataFrame(rows))
    again = Graph.from_frames(graph.nodes, graph.edges)
    assert again.content_hash == graph.content_hash
    assert graph.nodes["id"].tolist() == list(graph.ids)
    assert len(graph.edges) == graph.m


@given(st.sets(st.text(max_size=8)))
def test_positions_in_a_string_table_are_those_of_a_list(words: set[str]) -> None:
    words = {w for w in words if w.isprintable()}
    ordered = sorted(words)
    table = Strings(ordered)
    assert list(table) == ordered
    assert [table.position(w) for w in ordered] == list(range(len(ordered)))
    assert table.positions([*ordered, "\0absent"]).tolist() == [*range(len(ordered)), -1]
    assert table[-1:].arrow.to_pylist() == ordered[-1:]


@pytest.mark.parametrize("folder", [ARCHIVES / "v2"], ids=lambda folder: folder.name)
def test_graphs_that_earlier_programs_wrote_are_read(folder: Path) -> None:
    graph = Graph.load(folder, verify=True)
    assert (graph.n, graph.m) == (20, 23)
    assert content_hash(graph.parts) == graph.content_hash
    assert graph.genes.ground(["CD20"])[0].curie == "HGNC:7315"
    (row,) = graph.out_edges(graph.index("HGNC:1673"), "is_marker_for")
    assert graph.edge(row).publications == ("PMID:111", "PMID:112", "PMID:115")


def test_frames_that_make_no_graph_are_refused_in_words() -> None:
    nodes = pd.DataFrame({"id": ["CL:1"], "category": "Cell", "name": "T cell", "synonyms": "T-lymphocyte"})
    edges = pd.DataFrame(
        {c: ["CL:1"] for c in ("subject", "object")} | {"relation": "subclass_of", "source": "a"}
    )
    assert Graph.from_frames(nodes, edges)[0].synonyms == ("T-lymphocyte",)
    name = pd.DataFrame({"name": ["x"], "kind": ["cell.label"], "id": ["CL:1"]})
    for frames, said in (
        ((nodes.drop(columns="name"), edges), "nodes: no column 'name'"),
        ((nodes, edges.drop(columns="source")), "edges: no column 'source'"),
        ((nodes, edges.assign(source=[None])), "'source' has missing values"),
        ((nodes, edges, None, name), "did you mean 'cells.label'"),
    ):
        with pytest.raises(GraphError, match=said):
            Graph.from_frames(*frames)
