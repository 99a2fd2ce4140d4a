"""Which cell types a tissue leaves: on the core graph, and on a small one whose evidence is counted by hand."""

import pandas as pd
import pytest

from benchmarks.tissues import TISSUES, row
from gather.retrieval.candidates import (
    ENOUGH_GENES,
    FEW_TYPES,
    MOST_KINDS,
    candidates_of_tissue,
    tissue_taken,
)
from vckg.base.errors import InputError
from vckg.graph.graph import Graph

#: Of these singlecellbase is the second resource; the mirror lacks it.
SECOND_BY_SINGLECELLBASE = {
    ("lung", "club cell"),
    ("heart", "pericyte"),
    ("retina", "amacrine cell"),
    ("retina", "Mueller cell"),
}


@pytest.mark.data
@pytest.mark.parametrize(("tissue", "residents", "strangers"), TISSUES, ids=[name for name, *_ in TISSUES])
def test_a_tissue_keeps_its_residents_and_no_strangers(
    core_graph: Graph, tissue: str, residents: list[str], strangers: list[str]
) -> None:
    if "singlecellbase" not in core_graph.sources:
        residents = [name for name in residents if (tissue, name) not in SECOND_BY_SINGLECELLBASE]
    found = row(core_graph, tissue, residents, strangers)
    assert found.kept <= found.types / 4
    assert found.absent == []
    assert found.strangers == []


@pytest.mark.data
@pytest.mark.parametrize(("tissue", "residents", "strangers"), TISSUES, ids=[name for name, *_ in TISSUES])
def test_a_tissue_keeps_its_residents_and_no_strangers_on_all_files(
    full_graph: Graph, tissue: str, residents: list[str], strangers: list[str]
) -> None:
    if "singlecellbase" not in full_graph.sources:
        residents = [name for name in residents if (tissue, name) not in SECOND_BY_SINGLECELLBASE]
    found = row(full_graph, tissue, residents, strangers)
    assert found.kept <= found.types / 4
    assert found.absent == []
    assert found.strangers == []


@pytest.mark.data
@pytest.mark.parametrize(
    "tissue", ["breast", "prostate gland", "adipose tissue", "muscle organ", "ileum", "eye"]
)
def test_every_organ_holds_vessels_blood_and_connective_tissue(core_graph: Graph, tissue: str) -> None:
    """Without them a T cell of a prostate would be called whatever else is known there."""
    kept = {core_graph.names[i] for i in candidates_of_tissue(core_graph, tissue)}
    assert {
        "T cell",
        "B cell",
        "macrophage",
        "endothelial cell",
        "pericyte",
        "fibroblast",
        "mast cell",
    } <= kept


@pytest.mark.data
def test_blood_holds_no_fibroblasts_and_a_tissue_of_few_types_is_widened(core_graph: Graph) -> None:
    blood = {core_graph.names[i] for i in candidates_of_tissue(core_graph, "blood")}
    assert not {"Schwann cell", "vascular associated smooth muscle cell"} & blood
    assert tissue_taken(core_graph, "lung") == ""
    whole = tissue_taken(core_graph, "ileum")
    assert whole
    ileum, wider = (set(candidates_of_tissue(core_graph, name)) for name in ("ileum", whole))
    assert wider <= ileum
    assert len(ileum) >= FEW_TYPES


KIDNEY, CORTEX, LIVER = "UBERON:0002113", "UBERON:0001225", "UBERON:0002107"
CELL, NEURON, PURKINJE, PODOCYTE, HEPATOCYTE = "CL:0", "CL:1", "CL:2", "CL:3", "CL:4"
Marker = tuple[str, str, str]
"""Cell type, tissue, source."""


def small_graph(
    markers: list[Marker], *, genes: int = 1, kinds: dict[str, str] | None = None, placed: str = ""
) -> Graph:
    """Cell > neuron > Purkinje cell; podocyte, hepatocyte below cell; the cortex a part of the kidney.

    Each marker row stands for `genes` genes; `kinds` adds types and their parents; `placed` is part of the cortex.
    """
    below = {NEURON: CELL, PURKINJE: NEURON, PODOCYTE: CELL, HEPATOCYTE: CELL} | (kinds or {})
    nodes = [(c, "Cell") for c in (CELL, *below)] + [(t, "AnatomicalEntity") for t in (KIDNEY, CORTEX, LIVER)]
    nodes += [(f"HGNC:{i}", "Gene") for i in range(genes)]
    rows: list[tuple[str, str, str, str, list[str]]] = [
        (kind, "subclass_of", above, "cl", []) for kind, above in below.items()
    ]
    rows.append((CORTEX, "is_a_or_part_of", KIDNEY, "uberon", []))
    if placed:
        rows.append((placed, "part_of", CORTEX, "cl", []))
    for cell, tissue, source in markers:
        tissues = [tissue] if tissue else []
        rows += [(f"HGNC:{i}", "is_marker_for", cell, source, tissues) for i in range(genes)]
    frame = pd.DataFrame([(i, c, i) for i, c in nodes], columns=["id", "category", "name"])
    columns = ["subject", "relation", "object", "source", "tissues"]
    return Graph.from_frames(frame, pd.DataFrame(rows, columns=columns))


def left(graph: Graph, tissue: str = KIDNEY) -> set[str]:
    return {graph.ids[i] for i in candidates_of_tissue(graph, tissue)}


ELSEWHERE = (HEPATOCYTE, LIVER, "b")  # so that the graph has two resources


def test_two_resources_place_a_type_and_the_types_it_is_a_kind_of() -> None:
    graph = small_graph([(PODOCYTE, KIDNEY, "a"), (PODOCYTE, CORTEX, "b"), (PURKINJE, KIDNEY, "a")])
    assert left(graph) == {PODOCYTE, CELL}


def test_parts_of_one_resource_are_one_resource() -> None:
    graph = small_graph([(PODOCYTE, KIDNEY, "a:x"), (PODOCYTE, KIDNEY, "a:y"), ELSEWHERE])
    with pytest.raises(InputError, match="no cell type is known in"):
        left(graph)


def test_kinds_of_a_type_count_as_the_type() -> None:
    graph = small_graph([(PURKINJE, KIDNEY, "a"), (NEURON, KIDNEY, "b")])
    assert left(graph) == {NEURON, CELL}


def test_many_genes_of_one_resource_are_enough() -> None:
    rows = [(PODOCYTE, KIDNEY, "a"), ELSEWHERE]
    assert left(small_graph(rows, genes=ENOUGH_GENES)) == {PODOCYTE, CELL}
    with pytest.raises(InputError, match="no cell type is known in"):
        left(small_graph(rows, genes=ENOUGH_GENES - 1))


def test_one_resource_is_enough_where_only_one_names_tissues() -> None:
    assert left(small_graph([(PODOCYTE, KIDNEY, "a"), (HEPATOCYTE, "", "b")])) == {PODOCYTE, CELL}


@pytest.mark.parametrize("n", [MOST_KINDS, MOST_KINDS + 1])
def test_a_general_type_passes_no_tissue_to_its_kinds(n: int) -> None:
    kinds = {f"CL:{100 + i}": NEURON for i in range(n - 1)}  # the Purkinje cell is one more
    rows = [(NEURON, KIDNEY, "a"), (NEURON, KIDNEY, "b"), (PURKINJE, LIVER, "a")]
    inherited = set(kinds) if n <= MOST_KINDS else set()
    assert left(small_graph(rows, kinds=kinds)) == {NEURON, CELL} | inherited


def test_only_direct_kinds_follow() -> None:
    rows = [(NEURON, KIDNEY, "a"), (NEURON, KIDNEY, "b")]
    assert left(small_graph(rows, kinds={"CL:5": PURKINJE})) == {NEURON, CELL, PURKINJE}


def test_what_the_ontology_places_there_counts_with_all_its_kinds() -> None:
    assert left(small_graph([], kinds={"CL:5": PURKINJE}, placed=NEURON)) == {NEURON, PURKINJE, "CL:5"}
