"""The rewired control keeps every degree and shuffles who is joined to whom."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from vckg.graph.graph import Graph
from vckg.quality.rewire import rewired


@pytest.fixture(scope="module")
def graph() -> Graph:
    rng = np.random.default_rng(3)
    genes = [f"HGNC:{i}" for i in range(60)]
    cells = [f"CL:{i:07}" for i in range(20)]
    terms = [f"GO:{i:07}" for i in range(20)]
    edges = []
    for relation, objects in (
        ("is_marker_for", cells),
        ("participates_in", terms),
        ("interacts_with", genes),
    ):
        for gene in genes:
            for other in rng.choice(objects, size=rng.integers(1, 8), replace=False):
                if gene != other:
                    edges.append((gene, relation, other, "one", [f"PMID:{len(edges)}"]))
    edges += [(s, r, o, "two", ["PMID:7"]) for s, r, o, _, _ in edges[::5]]
    edges += [(cells[i], "subclass_of", cells[i // 2], "one", []) for i in range(1, 20)]
    nodes = pd.DataFrame({"id": genes + cells + terms})
    nodes["name"] = nodes["id"]
    nodes["category"] = ["Gene"] * 60 + ["Cell"] * 20 + ["BiologicalProcess"] * 20
    columns = ["subject", "relation", "object", "source", "publications"]
    return Graph.from_frames(nodes, pd.DataFrame(edges, columns=columns))


def degrees(graph: Graph) -> Counter[tuple[str, int, str]]:
    counts: Counter[tuple[str, int, str]] = Counter()
    pairs = {
        (int(r), int(s), int(o)) for r, s, o in zip(graph.relation, graph.subject, graph.object, strict=True)
    }
    for relation, subject, target in pairs:
        name = graph.relations[relation]
        ways = ("any", "any") if name == "interacts_with" else ("out", "in")
        counts[name, subject, ways[0]] += 1
        counts[name, target, ways[1]] += 1
    return counts


def edge_set(graph: Graph, relation: str) -> set[tuple[int, int]]:
    rows = graph.rows(relation)
    return set(zip(graph.subject[rows].tolist(), graph.object[rows].tolist(), strict=True))


def test_degrees_stay_and_neighbours_change(graph: Graph) -> None:
    control = rewired(graph, seed=1)
    assert control.m == graph.m
    assert degrees(control) == degrees(graph)
    for relation in ("is_marker_for", "participates_in"):
        before, after = edge_set(graph, relation), edge_set(control, relation)
        assert len(before & after) < 0.6 * len(before)  # a dense toy: many pairs recur by chance


def test_the_ontology_stays_as_it_is(graph: Graph) -> None:
    assert edge_set(rewired(graph, seed=1), "subclass_of") == edge_set(graph, "subclass_of")


def test_no_edge_is_doubled_loops_or_loses_its_provenance(graph: Graph) -> None:
    control = rewired(graph, seed=1)
    assert not (control.subject == control.object).any()
    edges = [control.edge(row) for row in range(control.m)]
    assert len({(e.relation, e.subject, e.object, e.source, e.sign) for e in edges}) == control.m
    publications = sorted(p for e in edges for p in e.publications)
    assert publications == sorted(p for row in range(graph.m) for p in graph.edge(row).publications)
    key = [(e.relation, e.subject, e.object, e.source) for e in edges]
    assert [control.relations.index(k[0]) for k in key] == sorted(control.relations.index(k[0]) for k in key)


def test_sources_that_agree_on_a_pair_still_agree(graph: Graph) -> None:
    def agreed(of: Graph) -> int:
        pairs = Counter(
            (int(r), int(s), int(o)) for r, s, o in zip(of.relation, of.subject, of.object, strict=True)
        )
        return sum(count > 1 for count in pairs.values())

    assert agreed(rewired(graph, seed=1)) == agreed(graph) > 0


def test_neighbour_lists_follow_the_edges(graph: Graph) -> None:
    control = rewired(graph, seed=1)
    for node in range(control.n):
        assert set(control.out_edges(node)) == set(np.flatnonzero(control.subject == node))
        assert set(control.in_edges(node)) == set(np.flatnonzero(control.object == node))


def test_a_seed_gives_one_graph_and_another_seed_another(graph: Graph) -> None:
    assert rewired(graph, seed=1).content_hash == rewired(graph, seed=1).content_hash
    assert rewired(graph, seed=1).content_hash != rewired(graph, seed=2).content_hash
    assert rewired(graph, seed=1).content_hash != graph.content_hash
