"""Marker lists as people type them, in one line with commas, on the graph that they get."""

from __future__ import annotations

import pytest

import gather
from benchmarks.annotation.textbook import LISTS
from gather.retrieval.unknown_names import with_hints
from vckg.base.errors import InputError
from vckg.graph.graph import Graph

pytestmark = pytest.mark.xdist_group("core-graph")


@pytest.mark.parametrize(
    ("name", "genes"), [(name, genes) for _truth, name, genes in LISTS[:: len(LISTS) // 8]]
)
def test_a_list_typed_in_one_line_is_the_list(name: str, genes: str, core_graph: Graph) -> None:
    """Separators change no candidate and no score."""
    listed = gather.explain(genes.split(), graph=core_graph)
    typed = gather.explain(", ".join(genes.split()), graph=core_graph)
    assert typed.items, name
    assert [(i.curie, i.score) for i in typed.items] == [(i.curie, i.score) for i in listed.items]


@pytest.mark.data
def test_names_that_are_no_symbols_are_shown_with_what_they_may_mean(core_graph: Graph) -> None:
    found = gather.explain("CD3 CD8 PD1 FOOBAR MS4A1", graph=core_graph, top=1, walks=0)
    assert {"CD3D", "CD3E", "CD3G"} == set(found.hints["CD3"])
    assert found.hints["PD1"][0] == "PDCD1"
    assert "FOOBAR" not in found.hints
    assert gather.explain("FOXP33 MS4A1", graph=core_graph, top=1, walks=0).hints == {"FOXP33": ("FOXP3",)}
    assert "CD3D" in gather.explain("CD3X MS4A1", graph=core_graph, top=1, walks=0).hints["CD3X"]
    assert found.read_as == {"CD8": "CD8A"}
    assert gather.explain("-- MS4A1", graph=core_graph, top=1, walks=0).hints == {}
    marked = gather.explain("LAG-3 TIM-3 HLADRA NKX2.1 MS4A1", graph=core_graph, top=1, walks=0).hints
    assert {name: symbols[0] for name, symbols in marked.items()} == {
        "LAG-3": "LAG3", "TIM-3": "HAVCR2", "HLADRA": "HLA-DRA", "NKX2.1": "NKX2-1"
    }  # fmt: skip
    assert with_hints(["CD3", "FOOBAR"], {"CD3": ("CD3D", "CD3E")}) == "CD3 (CD3D? CD3E?), FOOBAR"
    with pytest.raises(InputError, match=r"none of the genes is known and unambiguous \(.*CD3 \(CD3"):
        gather.explain("CD3 FOOBAR", graph=core_graph)
