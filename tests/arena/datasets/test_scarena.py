"""SC-Arena's data, repaired and untouched."""

from collections import Counter
from pathlib import Path

import pytest

from arena.datasets import scarena
from arena.datasets.virtual_cell import (
    VirtualCell,
)
from arena.tasks.samples import view_all
from arena.types import samples_sha256
from tests.arena.toy import scarena_files
from vckg.base.errors import SourceError
from vckg.graph.graph import Graph


@pytest.fixture(scope="module")
def repaired(mirror: Path, fresh_graph: Graph) -> list[VirtualCell]:
    return scarena.read_cells(scarena_files(mirror), fresh_graph)


@pytest.fixture(scope="module")
def untouched(mirror: Path, fresh_graph: Graph) -> list[VirtualCell]:
    return scarena.read_cells(scarena_files(mirror), fresh_graph, compat=True)


def test_the_public_data_has_the_published_sizes(untouched: list[VirtualCell]) -> None:
    # the toy graph knows few types, so captioning is counted by the cells that have expression
    assert Counter(len(view_all(untouched, t, seed=0)) for t in ("annotation", "generation")) == {608: 2}
    assert sum(bool(c.expression) for c in untouched) == 608
    assert len(view_all(untouched, "perturbation", seed=0)) == 138
    assert len(view_all(untouched, "qa", seed=0)) == 254


def test_the_screen_is_an_activation_in_k562_and_not_a_knockdown(repaired: list[VirtualCell]) -> None:
    samples = view_all(repaired, "perturbation", seed=0)
    assert {s.fields["effect"] for s in samples} == {"activation"}
    assert all("CRISPRi" not in s.variables["perturbation"] for s in samples)
    assert {s.fields["context"] for s in samples} == {"a human cell from the K562 erythroleukaemia line"}
    own = [(s, gene) for s in samples for gene in s.fields["perturbed"]]
    assert sum(g in s.gold["up"] for s, g in own) > 5 * sum(g in s.gold["down"] for s, g in own)


def test_untouched_the_prompt_calls_it_a_knockdown_in_the_printed_cell(untouched: list[VirtualCell]) -> None:
    samples = view_all(untouched, "perturbation", seed=0)
    assert all("CRISPRi knockdown" in s.variables["perturbation"] for s in samples)
    assert Counter(s.variables["context"] for s in samples) == {"a A549 cell": 116, "a K562(?) cell": 22}


def test_untouched_every_row_has_one_permutation_and_repaired_none_two(
    repaired: list[VirtualCell], untouched: list[VirtualCell]
) -> None:
    def permutations(cells: list[VirtualCell]) -> set[tuple[int, ...]]:
        found = set()
        for sample in view_all(cells, "perturbation", seed=0):
            listed = [*sample.gold["up"], *sample.gold["down"]]
            found.add(tuple(listed.index(g) for g in sample.fields["candidates"]))
        return found

    assert len(permutations(untouched)) == 1
    assert len(permutations(repaired)) == 138


def test_no_passage_holds_another_question(repaired: list[VirtualCell], untouched: list[VirtualCell]) -> None:
    def leaks(cells: list[VirtualCell]) -> int:
        passages = [s.fields["passage"] for s in view_all(cells, "qa", seed=0)]
        return sum("###" in p or "Question:" in p for p in passages)

    assert leaks(untouched) == 19
    assert leaks(repaired) == 0
    cut = [q for c in repaired for q in c.questions if q.provenance["passage_cut"]]
    assert len([q for q in cut if q.passage]) == len(cut)


def test_pubmed_ids_and_question_types_are_clean(repaired: list[VirtualCell]) -> None:
    samples = view_all(repaired, "qa", seed=0)
    assert all(p.removeprefix("PMID:").isdigit() for s in samples for p in s.fields["publications"])
    kinds = Counter(s.fields["kind"] for s in samples)
    assert set(kinds) <= {*scarena.KINDS, scarena.OTHER_KIND}
    assert kinds[scarena.OTHER_KIND] == 8
    assert all(s.cluster == s.fields["publications"][0] for s in samples)


def test_a_tissue_is_no_species(repaired: list[VirtualCell], untouched: list[VirtualCell]) -> None:
    shown = {s.variables["context"] for s in view_all(repaired, "annotation", seed=0)}
    assert {"a human cell", "a human cell from lung", "a human cell from tumour"} <= shown
    assert "a others cell" in {s.variables["context"] for s in view_all(untouched, "annotation", seed=0)}


def test_samples_are_the_same_in_every_process_whatever_the_order_of_the_cells(
    repaired: list[VirtualCell],
) -> None:
    for task in ("generation", "perturbation"):
        there, back = (view_all(cells, task, seed=0) for cells in (repaired, repaired[::-1]))
        assert samples_sha256(there) == samples_sha256(back)
        assert len({s.id for s in there}) == len(there)


def test_markers_are_approved_symbols_once_and_the_rest_is_counted(
    mirror: Path, fresh_graph: Graph, repaired: list[VirtualCell]
) -> None:
    printed = scarena.read_markers(scarena_files(mirror).markers)
    assert sum(map(len, printed.values())) == 66_589
    for cell in repaired:
        if cell.markers:
            assert len(set(cell.markers)) == len(cell.markers) == cell.provenance["markers_kept"]
            assert cell.provenance["markers_printed"] == len(printed[cell.cl_id])


def test_a_file_of_another_form_is_named_with_its_row(tmp_path: Path, fresh_graph: Graph) -> None:
    cells = tmp_path / "cells.jsonl"
    cells.write_text('{"tissue": "lung"}\n')
    markers = tmp_path / "markers.txt"
    markers.write_text("Specific_Cell_Ontology_ID\tCell_Marker\n")
    empty = tmp_path / "empty.json"
    empty.write_text("[]")
    with pytest.raises(SourceError, match=r"cells.jsonl: row 1 has no 'cell_ontology_id'"):
        scarena.read_cells(scarena.Files(cells, empty, empty, markers), fresh_graph)
    markers.write_text("other\n")
    with pytest.raises(SourceError, match=r"markers.txt:1: header is"):
        scarena.read_cells(scarena.Files(cells, empty, empty, markers), fresh_graph)


def test_no_published_sentence_keeps_a_name_with_an_id_behind_it(
    repaired: list[VirtualCell], untouched: list[VirtualCell]
) -> None:
    def named(cells: list[VirtualCell]) -> int:
        return sum(any("_ENSG" in gene for gene in cell.expression) for cell in cells)

    assert (named(untouched), named(repaired)) == (70, 0)
