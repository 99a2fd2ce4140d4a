"""Samples: the virtual cell's five views, SC-Arena's data repaired and untouched, the fresh set."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arena.cli import app
from arena.datasets import make_cells, scarena
from arena.datasets.admission import BLURRED
from arena.datasets.facts import replicated
from arena.datasets.fresh import make, markers_of_types, signed_targets
from arena.datasets.lineages import CellTerms
from arena.datasets.virtual_cell import (
    Interaction,
    Question,
    VirtualCell,
    read_cells,
    write_cells,
)
from arena.tasks import TASKS
from arena.tasks.samples import make_samples, view_all, views
from arena.types import Sample, samples_sha256
from tests.arena.toy import PROFILES, write_mirror
from vckg.base.errors import InputError, SourceError
from vckg.graph.graph import Graph

WHOLE = VirtualCell(
    id="c1",
    dataset="mine",
    cell_type="T cell",
    cl_id="CL:0000084",
    tissue="lung",
    species="human",
    expression=("CD3D", "CD3E"),
    description="A lymphocyte.",
    markers=("CD3D",),
    interactions=(Interaction(("GATA1",), "activation", ("KLF1", "HBG1"), ("SPI1",)),),
    questions=(Question("Marker Reasoning", "Which?", "CD3D.", ("CD3D.",), publications=("PMID:1",)),),
)


# ---- one virtual cell, five views -------------------------------------------------------------------------------


def test_a_whole_cell_gives_all_tasks_and_a_bare_one_what_its_fields_allow() -> None:
    assert views(WHOLE) == TASKS
    assert views(replace(WHOLE, description="")) == ("annotation", "generation", "perturbation", "qa")
    assert views(replace(WHOLE, expression=())) == ("generation", "perturbation", "qa")
    assert views(VirtualCell("x", "mine", interactions=WHOLE.interactions)) == ("perturbation",)
    assert views(VirtualCell("x", "mine")) == ()


def test_a_panel_of_genes_is_no_reference_for_a_generated_cell() -> None:
    (sample,) = view_all([replace(WHOLE, partial=True)], "generation", seed=0)
    assert sample.gold["sentences"] == []
    assert sample.gold["markers"] == ["CD3D"]


@pytest.mark.parametrize("task", TASKS)
def test_what_a_view_hides_is_not_in_what_it_shows(task: str) -> None:
    hidden = {
        "annotation": ["T cell"],
        "captioning": ["T cell", "lymphocyte"],
        "generation": ["CD3D"],
        "perturbation": [],
        "qa": ["CD3D"],
    }
    (sample,) = view_all([WHOLE], task, seed=0)
    shown = " ".join(sample.variables.values())
    assert not [word for word in hidden[task] if word in shown]
    assert all(isinstance(v, str) for v in sample.variables.values())


def test_cells_survive_a_file_and_a_wrong_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(write_cells([WHOLE]))
    assert list(read_cells(path)) == [WHOLE]
    path.write_text('{"id": "a", "celltype": "T cell"}\n')
    with pytest.raises(
        InputError, match=r"mine.jsonl:1: a virtual cell has no 'celltype' \(did you mean 'cell_type'"
    ):
        list(read_cells(path))
    path.write_text("{nope\n")
    with pytest.raises(InputError, match=r"mine.jsonl:1: not JSON"):
        list(read_cells(path))
    with pytest.raises(InputError, match="no such file"):
        list(read_cells(tmp_path / "absent.jsonl"))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ('"expression": "CD3D CD3E"', "expression: Input should be a valid array"),
        ('"expression": [1]', "expression.0: Input should be a valid string"),
        ('"interactions": [1]', "interactions.0: Input should be"),
        ('"interactions": null', "interactions: Input should be a valid array"),
        (
            '"interactions": [{"regulators": [], "effect": "knockdown", "up": [], "down": []}]',
            "interactions.0.regulators: Tuple should have at least 1 item",
        ),
        ('"questions": [{"kinds": "open"}]', r"no 'questions.0.kinds' \(did you mean 'kind'"),
    ],
)
def test_a_value_of_another_type_is_named_and_not_read_as_letters(
    tmp_path: Path, fields: str, complaint: str
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f'{{"id": "a", {fields}}}\n')
    with pytest.raises(InputError, match=rf"mine.jsonl:1: .*{complaint}"):
        list(read_cells(path))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match=r"mine.jsonl:1: not JSON"):
        list(read_cells(path))


def test_an_interaction_that_moves_no_gene_asks_nothing() -> None:
    still = Interaction(("GATA1",), "knockdown", (), ())
    moving = Interaction(("GATA1",), "knockdown", ("KLF1",), ())
    asked = view_all([VirtualCell("a", "mine", interactions=(still, moving))], "perturbation", seed=0)
    assert [sample.gold["up"] for sample in asked] == [["KLF1"]]


def test_two_cells_of_one_id_are_refused() -> None:
    with pytest.raises(InputError, match="two annotation samples have the id"):
        view_all([WHOLE, WHOLE], "annotation", seed=0)


def _interaction(cell: str, genes: int) -> VirtualCell:
    up = tuple(f"U{i}" for i in range(genes // 2))
    down = tuple(f"D{i}" for i in range(genes // 2))
    return VirtualCell(cell, "mine", interactions=(Interaction(("X",), "activation", up, down),))


def test_candidates_are_shuffled_for_each_item_by_seed_and_not_by_the_order_of_the_file() -> None:
    cells = [_interaction(f"c{i}", 20) for i in range(12)]
    orders = [tuple(s.fields["candidates"]) for s in view_all(cells, "perturbation", seed=0)]
    assert len(set(orders)) == len(orders)
    assert [tuple(s.fields["candidates"]) for s in view_all(cells[::-1], "perturbation", seed=0)] == orders
    assert [tuple(s.fields["candidates"]) for s in view_all(cells, "perturbation", seed=1)] != orders


def test_a_smaller_limit_draws_a_part_of_a_greater_one() -> None:
    cells = [_interaction(f"c{i}", 4) for i in range(30)]
    few, many = (
        {s.id for s in make_samples(cells, ("perturbation",), seed=3, limit=n)["perturbation"]}
        for n in (7, 19)
    )
    assert len(few) == 7
    assert few < many
    with pytest.raises(InputError, match="--limit 0"):
        make_samples(cells, ("perturbation",), seed=3, limit=0)


def test_an_unknown_data_set_is_named_with_the_nearest(fresh_graph: Graph) -> None:
    with pytest.raises(InputError, match=r"no data set 'sc-arina' \(did you mean 'sc-arena'"):
        make_cells("sc-arina", fresh_graph, seed=0)


# ---- SC-Arena ---------------------------------------------------------------------------------------------------


def _files(mirror: Path) -> scarena.Files:
    base = mirror / "scarena"
    names = (
        "cell_sentences_fixed.jsonl",
        "test_perturbation.json",
        "ScientificQA_final.json",
        "cell_marker.txt",
    )
    return scarena.Files(*(base / name for name in names))


@pytest.fixture(scope="module")
def repaired(mirror: Path, fresh_graph: Graph) -> list[VirtualCell]:
    return scarena.read_cells(_files(mirror), fresh_graph)


@pytest.fixture(scope="module")
def untouched(mirror: Path, fresh_graph: Graph) -> list[VirtualCell]:
    return scarena.read_cells(_files(mirror), fresh_graph, compat=True)


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
    printed = scarena.read_markers(_files(mirror).markers)
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


# ---- the fresh set ----------------------------------------------------------------------------------------------


def _fresh(graph: Graph, seed: int) -> list[VirtualCell]:
    return make_cells("fresh", graph, seed=seed)[1]


@pytest.fixture(scope="module")
def fresh(fresh_graph: Graph) -> list[VirtualCell]:
    return _fresh(fresh_graph, 0)


def _samples(cells: list[VirtualCell], seed: int = 0) -> dict[str, list[Sample]]:
    return dict(make_samples(cells, TASKS, seed=seed, limit=None))


def test_the_fresh_set_gives_all_five_tasks(fresh: list[VirtualCell]) -> None:
    assert set(_samples(fresh)) == set(TASKS)


def test_the_same_seed_gives_the_same_set_and_another_another(
    fresh_graph: Graph, fresh: list[VirtualCell]
) -> None:
    again, other = _fresh(fresh_graph, 0), _fresh(fresh_graph, 1)
    for task in TASKS:
        digest = samples_sha256(_samples(fresh)[task])
        assert samples_sha256(_samples(again)[task]) == digest
        assert samples_sha256(_samples(other, 1)[task]) != digest


def test_sources_that_differ_on_a_sign_ask_nothing() -> None:
    import pandas as pd

    nodes = pd.DataFrame(
        [("HGNC:1", "Gene", "A"), ("HGNC:2", "Gene", "B")], columns=["id", "category", "name"]
    )
    edges = pd.DataFrame(
        [("HGNC:1", "regulates", "HGNC:2", "one", 1), ("HGNC:1", "regulates", "HGNC:2", "two", -1)],
        columns=["subject", "relation", "object", "source", "sign"],
    )
    assert signed_targets(Graph.from_frames(nodes, edges)) == {0: {}}


def test_every_fresh_question_has_two_facts_of_two_resources_and_holds_no_answer(
    fresh: list[VirtualCell], fresh_graph: Graph
) -> None:
    for sample in _samples(fresh)["qa"]:
        assert sample.fields["publications"]
        assert len(sample.gold["claims"]) == 2
        for claim in sample.gold["claims"]:
            assert claim in sample.gold["answer"]
            assert claim.partition(": ")[2] not in sample.fields["question"]
        for subject, relation, target, _source in sample.provenance["edges"]:
            pair = fresh_graph.index(subject), fresh_graph.index(target)
            assert len(replicated(fresh_graph, relation)[pair].resources) >= 2


def test_markers_are_ordered_by_sources_then_publications_then_curie() -> None:
    import pandas as pd

    genes = [(f"HGNC:{i}", "Gene", f"G{i}") for i in range(1, 5)]
    nodes = pd.DataFrame([("CL:1", "Cell", "c"), *genes], columns=["id", "category", "name"])
    edges = pd.DataFrame(
        [
            ("HGNC:1", "is_marker_for", "CL:1", "a", ["PMID:1"]),
            ("HGNC:2", "is_marker_for", "CL:1", "a", ["PMID:1", "PMID:2"]),
            ("HGNC:3", "is_marker_for", "CL:1", "a", []),
            ("HGNC:3", "is_marker_for", "CL:1", "b", []),
            ("HGNC:4", "is_marker_for", "CL:1", "a", ["PMID:1"]),
        ],
        columns=["subject", "relation", "object", "source", "publications"],
    )
    graph = Graph.from_frames(nodes, edges)
    ((_cell, ordered),) = markers_of_types(graph).items()
    assert [graph.names[g] for g in ordered] == ["G3", "G2", "G1", "G4"]


def test_real_cells_name_the_rows_they_are_the_mean_of_and_carry_the_canary(fresh: list[VirtualCell]) -> None:
    real = [c for c in fresh if c.expression]
    assert {c.provenance["set"] for c in real} == {"wu2021", *PROFILES}
    for cell in real:
        assert len(set(cell.provenance["rows"])) == len(cell.provenance["rows"]) <= 20
        assert len(set(cell.expression)) == len(cell.expression) <= 200
    assert all("canary" in c.provenance["canary"] for c in fresh)
    monocyte = next(c for c in real if c.cl_id == "CL:0001054")
    assert {"LYZ", "CST3"} < set(monocyte.expression[:40])


def test_no_cell_that_is_drawn_from_is_a_reference(toy_mirror: Path, fresh_graph: Graph) -> None:
    made = make(fresh_graph, seed=0, mirrors=(toy_mirror,))
    halves: dict[str, set[str]] = {}
    for cell in made.cells:
        if cell.id.startswith("wu2021/"):
            halves.setdefault(cell.cl_id, set()).update(cell.provenance["rows"])
    assert all(len(rows) <= 20 for rows in halves.values())  # forty cells of a type, half of them references


def test_a_type_whose_cells_look_like_anothers_is_rejected_and_counted(
    tmp_path: Path, fresh_graph: Graph
) -> None:
    """Of two types every second cell carries the other's label: nothing that is measured tells them apart."""
    import anndata
    import numpy as np

    mirror = write_mirror(tmp_path)
    path = mirror / "h5ad_more" / "breast_tnbc_wu2021_cid4465.h5ad"
    data = anndata.read_h5ad(path)
    labels = data.obs["cell_type"].astype(str).to_numpy().copy()
    two = ["CD14-positive monocyte", "dendritic cell"]
    mixed = np.flatnonzero(np.isin(labels, two))
    labels[mixed] = np.resize(two, len(mixed))
    data.obs["cell_type"] = labels
    data.write_h5ad(path)
    made = make(fresh_graph, seed=0, mirrors=(mirror,))
    named = {c.cell_type for c in made.cells if c.id.startswith("wu2021/") and c.expression}
    assert named == {"T cell"}
    assert made.admission.rejected[BLURRED] == 2


def test_the_oracle_names_what_entered(fresh_graph: Graph, toy_mirror: Path) -> None:
    made = make(fresh_graph, seed=0, mirrors=(toy_mirror,))
    right = [made.admission.oracle[c.id] == c.cl_id for c in made.cells if c.id in made.admission.oracle]
    assert sum(right) / len(right) >= 0.9


FEW = (
    "h5ad/pancreas_wang2016_scclassify h5ad_more/breast_tnbc_wu2021_cid4465 profiles/h_adult_heart_hca "
    "profiles/h_adult_muscle_demicheli profiles/h_adult_skin_hca profiles/h_adult_pancreas_hca "
    "profiles/h_pancreas_baron profiles/h_adult_ileum_wang profiles/h_adult_rectum_wang "
    "profiles/m_adult_muscle profiles/m_neonatal_muscle profiles/m_adult_pancreas profiles/m_neonatal_pancreas"
)


def _few(mirror: Path, folder: Path) -> Path:
    """Return a folder with links to thirteen of the real sets and to the tables of their labels."""
    for file in (f"{stem}.h5ad" for stem in FEW.split()):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).symlink_to(mirror / file)
    for table in (part / "label_to_cl.tsv" for part in folder.iterdir()):
        if (mirror / table.relative_to(folder)).is_file():
            table.symlink_to(mirror / table.relative_to(folder))
    return folder


@pytest.mark.data
@pytest.mark.parametrize(
    ("every", "rejected"), [(False, 20), pytest.param(True, 50, marks=pytest.mark.slow)], ids=["few", "every"]
)
def test_the_real_set_is_of_many_studies_two_species_and_told_by_the_oracle(
    mirror: Path, core_graph: Graph, tmp_path: Path, every: bool, rejected: int
) -> None:
    made = make(core_graph, seed=0, mirrors=(mirror if every else _few(mirror, tmp_path),))
    shown = [c for c in made.cells if c.expression]
    assert len({c.provenance["set"] for c in shown}) >= 8
    assert {c.species for c in shown} == {"human", "mouse"}
    assert len({c.tissue for c in shown}) >= 6
    assert not {"pbmc68k", "pbmc3k", "kang18"} & {c.provenance["set"] for c in shown}
    right = [made.admission.oracle[c.id] == c.cl_id for c in shown]
    assert sum(right) / len(right) >= 0.9
    assert sum(made.admission.rejected.values()) > rejected
    assert not {"leukocyte", "stem cell", "secretory cell"} & {c.cell_type for c in made.cells}


def test_a_user_s_own_file_joins_by_one_command_and_is_missed_where_it_is_gone(
    toy_mirror: Path,
    fresh_folder: Path,
    fresh_graph: Graph,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import shutil

    monkeypatch.setenv("VCKG_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "mine.h5ad"
    shutil.copy(toy_mirror / "h5ad_more" / "breast_tnbc_wu2021_cid4465.h5ad", path)
    command = [
        "data",
        "--add",
        str(path),
        "--label",
        "cell_type",
        "--tissue",
        "lung",
        "-g",
        str(fresh_folder),
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    added = [c for c in make(fresh_graph, seed=0, mirrors=()).cells if c.expression]
    assert {(c.provenance["set"], c.tissue) for c in added} == {("mine", "lung")}
    path.rename(tmp_path / "elsewhere.h5ad")
    capsys.readouterr()
    assert not [c for c in make(fresh_graph, seed=0, mirrors=()).cells if c.expression]
    assert "mine.h5ad is gone, so the fresh set lacks its cells" in capsys.readouterr().err


def test_samples_are_plain_json(fresh: list[VirtualCell]) -> None:
    for listed in _samples(fresh).values():
        for sample in listed:
            json.dumps([dict(sample.gold), dict(sample.fields), dict(sample.strata), dict(sample.provenance)])
        assert len({frozenset(s.strata) for s in listed}) == 1


def test_an_ensembl_id_behind_a_symbol_or_alone_becomes_the_symbol() -> None:
    """74 of the 608 published sentences hold such names."""
    import pandas as pd

    nodes = pd.DataFrame(
        [("HGNC:1", "Gene", "NEW", ("ENSEMBL:ENSG00000000001",)), ("CL:0000000", "Cell", "cell", ())],
        columns=["id", "category", "name", "xrefs"],
    )
    edges = pd.DataFrame([], columns=["subject", "relation", "object", "source"])
    terms = CellTerms(Graph.from_frames(nodes, edges))
    names = [
        "NEW",
        "OLD_ENSG00000000001",
        "ENSG00000000001.3",
        "RGS5_ENSG00000143248",
        "ENSG00000143248",
        "A_B",
    ]
    assert terms.symbols_of_ensembl(names) == ["NEW", "NEW", "NEW", "RGS5", "ENSG00000143248", "A_B"]


def test_no_published_sentence_keeps_a_name_with_an_id_behind_it(
    repaired: list[VirtualCell], untouched: list[VirtualCell]
) -> None:
    def named(cells: list[VirtualCell]) -> int:
        return sum(any("_ENSG" in gene for gene in cell.expression) for cell in cells)

    assert (named(untouched), named(repaired)) == (70, 0)


def test_a_type_of_the_fresh_set_has_several_cells_and_they_count_as_one_cluster(
    fresh: list[VirtualCell],
) -> None:
    by_type: dict[str, list[VirtualCell]] = {}
    for cell in fresh:
        if cell.expression:
            by_type.setdefault(cell.cl_id, []).append(cell)
    assert min(map(len, by_type.values())) > 1
    assert all(len({cell.cluster for cell in cells}) == 1 for cells in by_type.values())
    assert all(len({cell.expression for cell in cells}) > 1 for cells in by_type.values())
