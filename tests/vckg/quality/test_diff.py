"""Differences between two Cell Ontology releases, and between two graphs."""

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vckg.toy import EDGES, NODES, SOURCES, random_graph, toy
from vckg.base.errors import InputError
from vckg.graph.graph import Graph
from vckg.quality.diff import Change, Term, TermDiff, as_json, diff_graphs, diff_terms, read_release

OLD, NEW = "CL@v2025-02-13", "CL@v2026-03-26"


@pytest.fixture(scope="module")
def releases():
    return read_release(OLD), read_release(NEW)


@pytest.fixture(scope="module")
def change(releases):
    return diff_terms(*releases)


# Checked by hand: each id looked up in both JSON files (label, deprecated, replaced_by, ancestors at distance 1).
BY_HAND = [
    ("added", Change("CL:0008042", "tanycyte of subfornical organ")),
    ("merged", Change("CL:0000054", "bone matrix secreting cell", instead="CL:0000062")),
    ("merged", Change("CL:0000452", "thyroid hormone secreting cell", instead="CL:0002258")),
    ("merged", Change("CL:0000651", "mucous neck cell", instead="CL:0002181")),
    ("merged", Change("CL:4023083", "chandelier cell", instead="CL:4023036")),
    ("obsoleted", Change("CL:0000055", "non-terminally differentiated cell")),
    ("obsoleted", Change("CL:0000213", "lining cell")),
    ("renamed", Change("CL:0000842", "mononuclear leukocyte", was="mononuclear cell")),
    ("moved", Change("CL:0000115", "endothelial cell", left=("CL:0000213",))),
    ("moved", Change("CL:0000030", "glioblast", left=("CL:0000055",), joined=("CL:0011026",))),
    ("moved", Change("CL:0000037", "hematopoietic stem cell", joined=("CL:0000255",))),
]


@pytest.mark.parametrize(("kind", "expected"), BY_HAND, ids=[c.id for _, c in BY_HAND])
def test_a_term_checked_by_hand(change, kind, expected):
    assert expected in getattr(change, kind)
    elsewhere = {k for k in TermDiff.__slots__ if any(c.id == expected.id for c in getattr(change, k))} - {
        kind
    }
    assert elsewhere <= {"renamed", "moved"}


def test_untouched_terms_are_in_no_list(change, releases):
    touched = {c.id for kind in TermDiff.__slots__ for c in getattr(change, kind)}
    assert releases[0]["CL:0000236"] == releases[1]["CL:0000236"]
    assert not touched & {"CL:0000236", "CL:0000084"}  # B cell, T cell


def test_numbers_add_up(change, releases):
    old, new = ({i for i, t in r.items() if not t.obsolete} for r in releases)
    gone = len(change.removed) + len(change.obsoleted) + len(change.merged)
    assert len(old) - gone + len(change.added) + len(change.restored) == len(new)


def test_backwards_what_was_added_is_removed_and_what_was_merged_is_restored(change, releases):
    back = diff_terms(releases[1], releases[0])
    ids = {k: {c.id for c in getattr(change, k)} for k in TermDiff.__slots__}
    ids_back = {k: {c.id for c in getattr(back, k)} for k in TermDiff.__slots__}
    assert ids_back["removed"] == ids["added"]
    assert ids_back["restored"] == ids["merged"] | ids["obsoleted"]
    assert ids_back["moved"] == ids["moved"]
    assert ids_back["renamed"] == ids["renamed"]


TERMS = st.dictionaries(
    st.sampled_from([f"CL:{i}" for i in range(8)]),
    st.builds(
        Term,
        label=st.sampled_from("abc"),
        parents=st.frozensets(st.sampled_from([f"CL:{i}" for i in range(8)]), max_size=2),
        obsolete=st.booleans(),
        replaced_by=st.none() | st.just("CL:0"),
    ),
)


@settings(deadline=None)
@given(TERMS, TERMS)
def test_applying_a_difference_gives_the_new_release(old, new):
    assert not diff_terms(old, old)
    change = diff_terms(old, new)
    made = {i: (t.label, t.parents) for i, t in old.items() if not t.obsolete}
    for kind in ("removed", "obsoleted", "merged"):
        for c in getattr(change, kind):
            del made[c.id]
    for c in (*change.added, *change.restored):
        made[c.id] = (c.label, new[c.id].parents)
    for c in change.renamed:
        assert made[c.id][0] == c.was
        made[c.id] = (c.label, made[c.id][1])
    for c in change.moved:
        label, parents = made[c.id]
        made[c.id] = (label, parents - set(c.left) | set(c.joined))
    assert made == {i: (t.label, t.parents) for i, t in new.items() if not t.obsolete}


def test_an_unknown_release_lists_the_known_ones():
    with pytest.raises(InputError, match=r"known releases: CL@v2025-02-13, .*CL@v2026-03-26"):
        read_release("CL@v1999-01-01")
    with pytest.raises(InputError, match="neither a graph folder, nor an ontology file"):
        read_release("nowhere.json")


OBO = """format-version: 1.2

[Term]
id: CL:1
name: cell one
is_a: CL:3

[Term]
id: CL:2
name: {two}
{more}

[Term]
id: CL:3
name: cell three
"""


def test_two_obo_files_are_compared_alike(tmp_path):
    (tmp_path / "old.obo").write_text(OBO.format(two="cell two", more="is_a: CL:3"))
    (tmp_path / "new.obo").write_text(
        OBO.format(two="obsolete cell two", more="is_obsolete: true\nreplaced_by: CL:1")
    )
    change = diff_terms(*(read_release(str(tmp_path / f"{name}.obo")) for name in ("old", "new")))
    assert change.merged == (Change("CL:2", "cell two", instead="CL:1"),)
    assert not any(getattr(change, kind) for kind in TermDiff.__slots__ if kind != "merged")


# ---- graphs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_graph_does_not_differ_from_itself_loaded_again(seed, tmp_path):
    graph = random_graph(seed)
    again = Graph.load(graph.save(tmp_path / "g"))
    assert not diff_graphs(graph, again)
    assert as_json(diff_graphs(graph, again)) == {
        "format": "vckg-diff",
        "format_version": 1,
        "kind": "graphs",
        "nodes": {},
        "edges": [],
        "sources": [],
    }


@pytest.mark.parametrize("seeds", [(0, 1), (2, 3)])
def test_edges_by_source_and_relation_agree_with_sets_of_edges(seeds):
    old, new = (random_graph(s) for s in seeds)
    sets = [{graph.edge(r)[:6] for r in range(graph.m)} for graph in (old, new)]
    for e in diff_graphs(old, new).edges:
        mine = [{x for x in s if (x[4], x[1]) == (e.source, e.relation)} for s in sets]
        assert e.added == len(mine[1] - mine[0])
        assert e.removed == len(mine[0] - mine[1])
        assert e.kept == len(mine[0] & mine[1])
        for words in e.examples_added:
            assert tuple(words.split()) in {(x[0], x[3]) for x in mine[1] - mine[0]}
    everything = diff_graphs(old, new).edges
    assert sum(e.added for e in everything) == len(sets[1] - sets[0])
    assert sum(e.removed for e in everything) == len(sets[0] - sets[1])


def test_nodes_edges_and_sources_that_changed_are_told_apart():
    nodes = NODES.assign(name=NODES["name"].replace({"lymphocyte": "lymphoid cell"}))
    nodes = pd.concat(
        [nodes, nodes.iloc[[4]].assign(id="CL:0000789", name="alpha-beta T cell")], ignore_index=True
    )
    edges = EDGES.drop(index=[3])  # MS4A1 marks B cells
    edges = edges.assign(evidence_count=[7, *edges["evidence_count"][1:]])
    edges = pd.concat(
        [
            edges,
            edges.iloc[[4]].assign(
                subject="CL:0000789", relation="subclass_of", object="CL:0000084", source="cl"
            ),
        ],
        ignore_index=True,
    )
    new = Graph.from_frames(nodes, edges, SOURCES | {"cl": SOURCES["cl"] | {"release": "2026-02"}})
    change = diff_graphs(toy(), new)
    assert set(change.nodes) == {"Cell"}
    assert change.nodes["Cell"].added == (Change("CL:0000789", "alpha-beta T cell"),)
    assert change.nodes["Cell"].renamed == (Change("CL:0000542", "lymphoid cell", was="lymphocyte"),)
    by_key = {(e.source, e.relation): e for e in change.edges}
    assert set(by_key) == {("open", "is_marker_for"), ("cl", "subclass_of")}
    markers = by_key["open", "is_marker_for"]
    assert (markers.added, markers.removed, markers.kept, markers.changed) == (0, 1, 2, 1)
    assert markers.examples_removed == ("HGNC:3 CL:0000236",)
    assert change.sources == (("cl", "release", "2026-01", "2026-02"),)
    assert json.loads(json.dumps(as_json(change)))["nodes"]["Cell"]["added"][0]["id"] == "CL:0000789"


def test_a_term_the_new_graph_knows_under_another_id_is_merged():
    names = pd.DataFrame([("cl:0000084", "cells.replaced", "CL:0000542")], columns=["name", "kind", "id"])
    names["name"] = "CL:0000084"
    kept = EDGES[(EDGES["subject"] != "CL:0000084") & (EDGES["object"] != "CL:0000084")]
    new = Graph.from_frames(NODES[NODES["id"] != "CL:0000084"], kept, SOURCES, names)
    change = diff_graphs(toy(), new).nodes["Cell"]
    assert change.merged == (Change("CL:0000084", "T cell", instead="CL:0000542"),)
    assert change.removed == ()
