"""A plan of a run over six cells and two perturbations, made for any contestant."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from arena.contestants.resolve import resolve
from arena.datasets import make_cells
from arena.runner import run
from arena.tasks.samples import make_samples
from arena.types import Sample
from vckg.graph.graph import Graph


@pytest.fixture(autouse=True)
def garbage_is_collected_where_it_was_made() -> Iterator[None]:
    """Otherwise the engine's unclosed sockets fail whichever test comes next."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def samples(fresh_graph: Graph) -> dict[Any, list[Sample]]:
    """Six cells to name, and the two perturbations whose regulators the graph knows."""
    cells = make_cells("fresh", fresh_graph, seed=0)[1]
    made = make_samples(cells, ("annotation", "perturbation"), seed=0, limit=6)
    known = [s for s in made["perturbation"] if {*s.fields["perturbed"]} & {"GATA1", "MYC"}]
    assert (len(made["annotation"]), len(known)) == (6, 2)
    return made | {"perturbation": known}


@pytest.fixture
def plan(fresh_graph: Graph, samples: dict[Any, list[Sample]]) -> Callable[..., run.Plan]:
    def make(model: str = "gold", base_url: str = "", **changes: Any) -> run.Plan:
        contestant = resolve(model, base_url=base_url)
        mine = {t: s for t, s in samples.items() if t in contestant.tasks}
        made = run.Plan(contestant, "fresh", mine, fresh_graph.content_hash, lambda: fresh_graph)
        return replace(made, **changes)

    return make
