"""Marker lists as people type them, in one line with commas, on the graph that they get."""

from __future__ import annotations

import pytest

import gather
from benchmarks.annotation.textbook import LISTS
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
