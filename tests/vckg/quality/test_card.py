"""The graph card: its numbers against slow counts, its page in a real browser."""

import json
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from tests.vckg.toy import EDGES, NODES, SOURCES, random_graph, toy
from vckg.graph.graph import Graph
from vckg.graph.metapaths import metagraph
from vckg.quality import card, metagraph_drawing

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module", params=[0, 1])
def graph(request):
    return random_graph(request.param)


def test_categories_and_their_edge_ends_are_counted(graph):
    rows = card.category_counts(graph)
    nodes = Counter(graph.node(i).category for i in range(graph.n))
    ends = Counter()
    for row in range(graph.m):
        for end in (graph.subject[row], graph.object[row]):
            ends[graph.node(int(end)).category] += 1
    assert {r["name"]: (r["nodes"], r["ends"]) for r in rows} == {c: (nodes[c], ends[c]) for c in nodes}
    for row in rows:
        touching = [graph.out_edges(i).size + graph.in_edges(i).size for i in graph.nodes_of(row["name"])]
        assert (row["median"], row["alone"]) == (int(np.median(touching)), touching.count(0))


def test_sources_are_counted_with_their_parts():
    edges = EDGES.assign(source=EDGES["source"].replace({"go": "go:part"}))
    graph = Graph.from_frames(NODES, edges, SOURCES | {"go:part": SOURCES["go"] | {"part_of": "go"}})
    (row,) = [r for r in card.source_rows(graph) if r["name"] == "go"]
    assert (row["edges"], row["parts"]) == (int((EDGES["source"] == "go").sum()), 1)
    assert row["relations"][0] in ("participates_in", "regulates")


def test_licences_add_up_and_closed_ones_are_apart():
    rows = card.licence_rows(toy())
    assert sum(r["edges"] for r in rows) == len(EDGES)
    (closed,) = [r for r in rows if r["redistribute"] is False]
    assert (closed["licence"], list(closed["sources"]), closed["edges"]) == (
        "academic use only",
        ["closed"],
        2,
    )


def test_hubs_are_the_nodes_with_most_edges(graph):
    touching = {graph.ids[i]: graph.out_edges(i).size + graph.in_edges(i).size for i in range(graph.n)}
    expected = sorted((t for t in touching.items() if t[1]), key=lambda t: (-t[1], t[0]))[: card.SHOWN_HUBS]
    assert [(h.id, h.edges) for h in card.hubs(graph)] == expected


def test_marker_genes_of_a_type_are_counted_once():
    graph = toy()
    marked = card.marker_genes(graph)
    assert marked[graph.index("CL:0000084")] == 2  # three edges, two genes
    assert marked[graph.index("CL:0000542")] == 0
    whole = card.coverage_of(graph, "", "all", graph.nodes_of("Cell"), marked)
    assert (whole.types, whole.well, whole.some, whole.none) == (3, 0, 2, 1)


def test_lineages_hold_what_is_below_them_and_the_rest_is_named():
    nodes = [("CL:0000988", "Cell", "hematopoietic cell"), ("CL:0000540", "Cell", "neuron")]
    nodes += [(f"CL:{i}", "Cell", f"c{i}") for i in range(1, 4)]
    edges = [("CL:1", "subclass_of", "CL:0000988", "cl"), ("CL:2", "subclass_of", "CL:1", "cl")]
    graph = Graph.from_frames(
        pd.DataFrame(nodes, columns=["id", "category", "name"]),
        pd.DataFrame(edges, columns=["subject", "relation", "object", "source"]),
    )
    result = card.lineage_coverage(graph, card.marker_genes(graph))
    assert [(c.name, c.types) for c in result] == [("hematopoietic cell", 3), ("in none of these", 2)]


def test_tissues_count_types_genes_and_edges():
    (blood,) = card.tissue_coverage(toy())
    assert blood == ("UBERON:0000178", "blood", 2, 2, 2)


def test_rejected_rows_are_listed_with_reason_and_examples():
    entry = {
        "read": 100,
        "rejected": {"not human": 30, "no cell type id": 5},
        "examples": {"not human": ["Mouse"]},
    }
    graph = Graph.from_frames(NODES, EDGES, SOURCES | {"go": SOURCES["go"] | entry | {"title": "GO"}})
    first, second = card.reject_rows(graph)
    assert first == {"source": "GO", "reason": "not human", "rows": 30, "read": 100, "examples": ["Mouse"]}
    assert second["rows"] == 5


def test_the_drawing_keeps_discs_on_the_canvas_and_apart():
    nodes = [(f"X:{c}{i}", c, "x") for c in metagraph_drawing.PLACES for i in range(3)]
    graph = Graph.from_frames(
        pd.DataFrame(nodes, columns=["id", "category", "name"]),
        pd.DataFrame([], columns=["subject", "relation", "object", "source"]).astype(str),
    )
    discs = metagraph_drawing.drawing(graph)["discs"]
    assert {d.category for d in discs} == set(graph.categories)
    largest = metagraph_drawing._radius(10_000_000)
    for i, d in enumerate(discs):
        assert largest <= d.x <= 960 - largest
        assert largest <= d.y <= 590 - largest - 31
        for other in discs[:i]:
            assert np.hypot(d.x - other.x, d.y - other.y) > 2 * largest


def test_the_page_is_deterministic_and_says_its_hash():
    page = card.card(toy())
    assert page == card.card(toy())
    assert toy().content_hash in page


# ---- in the browser --------------------------------------------------------------------------------------------


def hostile():
    nodes = NODES.assign(name=NODES["name"].replace({"B cell": HOSTILE, "blood": HOSTILE}))
    entry = {
        "title": HOSTILE,
        "licence": HOSTILE,
        "read": 9,
        "rejected": {HOSTILE: 3},
        "examples": {HOSTILE: [HOSTILE]},
    }
    return Graph.from_frames(nodes, EDGES, SOURCES | {"go": SOURCES["go"] | entry})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return card.write_card(hostile(), tmp_path_factory.mktemp("card") / "card.html")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_card_is_accessible_in_both_themes(page, axe, written, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(written.as_uri())
    assert axe(page) == []
    assert page.locator("script:not([type])").count() == 1
    assert page.locator("img").count() == 0


@pytest.mark.browser
def test_the_card_fits_a_phone(page, axe, written):
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(written.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert axe(page) == []


@pytest.mark.browser
def test_following_a_category_dims_the_rest_and_filters_the_table(page, written):
    page.goto(written.as_uri())
    page.get_by_role("group", name="Follow").get_by_role("button", name="Disease").click()
    assert page.locator("#kinds tbody tr:visible").all_inner_texts()[0].startswith("associated_with")
    assert page.locator("#kinds tbody tr:visible").count() == 1
    near = page.locator("#metagraph .disc.near").evaluate_all(
        "discs => discs.map(d => d.dataset.category).sort()"
    )
    assert near == ["Disease", "Gene"]
    page.locator('#metagraph .disc[data-category="Disease"] circle').click()  # again: everything
    page.mouse.move(0, 0)
    assert page.locator("#kinds tbody tr:visible").count() == len(metagraph(hostile()))
    assert page.locator("#metagraph.following").count() == 0


@pytest.mark.browser
def test_without_script_everything_is_still_there(browser, written):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(written.as_uri())
    text = page.inner_text("main")
    assert HOSTILE in text  # as text
    for heading in (
        "Shape",
        "Sources and licences",
        "Cell types with markers",
        "Hubs",
        "Rejected rows",
        "Audit",
    ):
        assert page.get_by_role("heading", name=heading, exact=True).count() == 1
    assert re.search(r"UBERON:0000178", text)
    context.close()


def test_the_page_asks_for_nothing_outside_itself(written):
    text = written.read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']+""", text.replace(HOSTILE, ""))
    assert "default-src &#39;none&#39;" in text
    assert json.dumps(HOSTILE)[1:-1] not in text
