"""Which cell types a tissue prefers: on the core graph, and on a small one whose evidence is counted by hand."""

import pandas as pd
import pytest

from benchmarks.tissues import TISSUES, row
from gather.retrieval.candidates import ENOUGH, more_exact_tissues, types_of_tissue
from gather.retrieval.cell_names import near_cell_types
from gather.retrieval.tissue_names import tissue_in_words, tissue_node
from vckg.base.errors import InputError
from vckg.base.resources import resource
from vckg.graph.graph import Graph

#: `core` has too few markers of it that name a tissue.
NOT_ON_CORE = ("retina", "Mueller cell")


@pytest.mark.data
@pytest.mark.parametrize(("tissue", "residents", "strangers"), TISSUES, ids=[name for name, *_ in TISSUES])
def test_a_tissue_knows_its_residents_and_no_strangers(
    core_graph: Graph, tissue: str, residents: list[str], strangers: list[str]
) -> None:
    found = row(core_graph, tissue, residents, strangers)
    assert found.kept <= found.types / 4
    assert [(tissue, name) for name in found.absent] in ([], [NOT_ON_CORE])
    assert found.strangers == []


@pytest.mark.data
@pytest.mark.parametrize(("tissue", "residents", "strangers"), TISSUES, ids=[name for name, *_ in TISSUES])
def test_a_tissue_knows_its_residents_and_no_strangers_on_all_files(
    full_graph: Graph, tissue: str, residents: list[str], strangers: list[str]
) -> None:
    found = row(full_graph, tissue, residents, strangers)
    assert found.kept <= found.types / 4
    assert found.absent == []
    assert found.strangers == []


@pytest.mark.data
def test_blood_holds_no_fibroblasts_and_other_organs_hold_blood(core_graph: Graph) -> None:
    blood, breast = (
        {core_graph.names[i] for i in types_of_tissue(core_graph, t)} for t in ("blood", "breast")
    )
    assert not {"Schwann cell", "vascular associated smooth muscle cell"} & blood
    assert {"T cell", "B cell", "macrophage", "endothelial cell", "fibroblast"} <= breast


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
    return {graph.ids[i] for i in types_of_tissue(graph, tissue)}


HALF = ENOUGH // 2


def test_markers_of_all_resources_place_a_type_and_the_types_it_is_a_kind_of() -> None:
    rows = [(PODOCYTE, KIDNEY, "a"), (PODOCYTE, CORTEX, "b"), (PURKINJE, LIVER, "a")]
    assert left(small_graph(rows, genes=HALF)) == {PODOCYTE, CELL}
    assert left(small_graph([(PODOCYTE, KIDNEY, "a")], genes=ENOUGH)) == {PODOCYTE, CELL}


def test_few_markers_place_nothing_and_parts_of_one_resource_are_one_resource() -> None:
    assert left(small_graph([(PODOCYTE, KIDNEY, "a")], genes=ENOUGH - 1)) == set()
    twice = [(PODOCYTE, KIDNEY, "a:x"), (PODOCYTE, KIDNEY, "a:y")]
    assert left(small_graph(twice, genes=ENOUGH - 1)) == set()
    assert left(small_graph([(HEPATOCYTE, LIVER, "b")], genes=ENOUGH)) == set()


def test_kinds_of_a_type_count_as_the_type_and_do_not_follow_it() -> None:
    graph = small_graph([(PURKINJE, KIDNEY, "a"), (NEURON, KIDNEY, "b")], genes=HALF)
    assert left(graph) == {NEURON, CELL}


def test_what_the_ontology_places_there_counts_with_all_its_kinds() -> None:
    assert left(small_graph([], kinds={"CL:5": PURKINJE}, placed=NEURON)) == {NEURON, PURKINJE, "CL:5"}


@pytest.mark.data
def test_every_word_for_a_tissue_leads_to_one_with_cell_types(core_graph: Graph) -> None:
    text = resource("data", "tissue_words.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")][1:]
    assert len(rows) == len({word.casefold() for word, *_ in rows}) >= 50
    for word, curie, name in rows:
        node = tissue_node(core_graph, word)
        assert (core_graph.ids[node], core_graph.names[node]) == (curie, name)
    empty = 0
    for curie in sorted({curie for _, curie, _ in rows}):
        empty += not types_of_tissue(core_graph, curie)
    assert empty <= 2  # nerve roots and skeletal muscle: `core` has too few markers of them


@pytest.mark.data
@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("skin", "skin (skin of body, UBERON:0002097)"),
        ("PBMCs", "PBMCs (blood, UBERON:0000178)"),
        ("bm", "bm (bone marrow, UBERON:0002371)"),
        ("Lung tissue", "Lung tissue (lung, UBERON:0002048)"),
        ("Blood", "blood (UBERON:0000178)"),
        ("UBERON:0000178", "blood (UBERON:0000178)"),
        ("UBERON_0000178", "UBERON_0000178 (blood, UBERON:0000178)"),
        ("islets of Langerhans", "islets of Langerhans (islet of Langerhans, UBERON:0000006)"),
        ("ovaries", "ovaries (ovary, UBERON:0000992)"),
        ("dorsal root ganglia", "dorsal root ganglia (dorsal root ganglion, UBERON:0000044)"),
        ("head and neck", "head and neck (craniocervical region, UBERON:0007811)"),
        ("renal", "renal (kidney, UBERON:0002113)"),
    ],
)
def test_a_tissue_is_shown_by_the_users_word(core_graph: Graph, given: str, shown: str) -> None:
    assert tissue_in_words(core_graph, given) == shown


@pytest.mark.data
@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("tumor", "; give the organ: the one it grows in or resembles, such as lung"),
        ("breast tumour", "; give the organ: breast"),
        ("brain organoids", "; give the organ: brain"),
        ("cell line", "; give the organ: the one it grows in or resembles, such as lung"),
        ("bone marow", r" \(did you mean 'bone marrow'\?\); give an UBERON id"),
        ("upper lung", r" \(did you mean 'lung'\?\); give an UBERON id"),
        ("bluud", r" \(did you mean 'blood'\?\); give an UBERON id"),
        ("plasma", r" \(did you mean 'blood plasma'\?\); give an UBERON id"),
        ("PDAC", "; give the organ: pancreas"),
        ("gastric cancer", "; give the organ: stomach"),
        ("xyzzy", "; give an UBERON id"),
    ],
)
def test_hints_are_tissues_with_cell_types_or_ask_for_the_organ(
    core_graph: Graph, given: str, hint: str
) -> None:
    with pytest.raises(InputError, match=f"no tissue {given!r} in the graph{hint}"):
        tissue_node(core_graph, given)


@pytest.mark.data
def test_a_word_of_several_organs_is_answered_with_these(core_graph: Graph) -> None:
    found = more_exact_tissues(core_graph, "cortex")
    assert {"cerebral cortex (UBERON:0000956)", "ovarian cortex (UBERON:0013191)"} <= {*found}
    assert "prefrontal cortex (UBERON:0000451)" not in found  # it is in the cerebral one
    for exact in ("cerebral cortex", "kidney", "blood", "PBMC", "skin", "muscle", "UBERON:0001851"):
        assert more_exact_tissues(core_graph, exact) == []


@pytest.mark.data
def test_breast_and_mammary_gland_are_one_organ_and_no_class_of_glands(core_graph: Graph) -> None:
    kept = [
        {core_graph.names[i] for i in types_of_tissue(core_graph, t)} for t in ("breast", "mammary gland")
    ]
    assert kept[0] == kept[1]
    assert {name for name in kept[0] if "luminal" in name and "mammary" in name}
    assert "hepatocyte" not in kept[0]
    assert "pancreatic acinar cell" not in kept[0]


@pytest.mark.data
def test_a_label_without_its_organ_leads_to_the_types_that_have_all_its_words(core_graph: Graph) -> None:
    names = [core_graph.names[core_graph.index(c)] for c in near_cell_types(core_graph, "stellate")]
    assert {"hepatic stellate cell", "pancreatic stellate cell"} <= {*names}
