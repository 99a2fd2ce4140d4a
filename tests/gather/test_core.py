"""The graph that a user's first command builds: what it is made of, and what it answers."""

from vckg.graph import Graph


def test_it_is_made_of_all_that_pip_brings(core_graph: Graph) -> None:
    assert core_graph.manifest["parameters"] == {"profile": "core", "source": [], "exclude_source": []}
    assert core_graph.manifest["absent"] == {}
    assert {"cellmarker", "singlecellbase", "marker_atlas", "panglaodb"} <= set(core_graph.manifest["sources"])
