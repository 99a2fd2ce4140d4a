"""The fresh set: real cells, questions of two sources, what is rejected, and a user's own file."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arena.cli import app
from arena.contestants.graph_questions import gene_words
from arena.datasets import make_cells
from arena.datasets.admission import BLURRED
from arena.datasets.cell_files import user_table
from arena.datasets.facts import replicated
from arena.datasets.fresh import make, markers_of_types, signed_targets
from arena.datasets.lineages import CellTerms
from arena.datasets.virtual_cell import (
    VirtualCell,
)
from arena.tasks import TASKS
from arena.tasks.samples import make_samples
from arena.types import Sample, samples_sha256
from gather.checking.mapping import map_labels
from tests.arena.toy import PROFILES, write_mirror
from vckg.base.errors import InputError
from vckg.graph.graph import Graph


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


def test_no_fact_is_asked_from_both_ends_and_no_name_gives_its_answer_away(
    fresh: list[VirtualCell], fresh_graph: Graph
) -> None:
    asked: list[frozenset[str]] = []
    for sample in _samples(fresh)["qa"]:
        edges = [(subject, target) for subject, _, target, _ in sample.provenance["edges"]]
        asked += map(frozenset, edges) if sample.fields["kind"] in ("receptors", "ligands") else ()
        for claim in sample.gold["claims"]:
            answer = claim.partition(": ")[2]
            assert not any(word in answer for word in gene_words(sample.fields["question"]))
    assert len(set(asked)) == len(asked)


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
    with pytest.raises(InputError, match=r"no added file 'min' \(did you mean 'mine'\?\); there are mine"):
        CliRunner().invoke(app, ["data", "--remove", "min"], catch_exceptions=False)
    done = CliRunner().invoke(app, ["data", "--remove", "mine"])
    assert done.output.startswith("mine: no longer in the fresh set"), done.output
    assert not user_table().read_text().splitlines()[1:]
    with pytest.raises(InputError, match="no file was added"):
        CliRunner().invoke(app, ["data", "--remove", "mine"], catch_exceptions=False)
    command[6] = "lnug"
    with pytest.raises(InputError, match="no tissue 'lnug' in the graph"):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_an_added_file_tells_its_name_and_what_it_replaces_and_a_column_without_types_is_refused(
    toy_mirror: Path, fresh_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import anndata

    monkeypatch.setenv("VCKG_CACHE", str(tmp_path / "cache"))
    data = anndata.read_h5ad(toy_mirror / "h5ad_more" / "breast_tnbc_wu2021_cid4465.h5ad")
    data.obs["other"], data.obs["donor"] = data.obs["cell_type"], "D1"
    data.obs["general"], data.obs["blank"] = "cell", ""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        data.write_h5ad(tmp_path / folder / "mine.h5ad")
    data.write_h5ad(tmp_path / "wang2016.h5ad")

    def told(*words: str) -> str:
        done = CliRunner().invoke(app, ["data", *words, "-g", str(fresh_folder)])
        return done.output if done.exception is None else str(done.exception)

    mine, other = str(tmp_path / "one" / "mine.h5ad"), str(tmp_path / "two" / "mine.h5ad")
    for column, example in (("donor", "D1"), ("general", "cell: too general"), ("blank", "it is empty")):
        with pytest.raises(
            InputError, match=rf"no label of '{column}' names a cell type \({example}\); name another"
        ):
            CliRunner().invoke(
                app,
                ["data", "--add", mine, "--label", column, "-g", str(fresh_folder)],
                catch_exceptions=False,
            )
    assert not user_table().is_file()
    first = told("--add", mine)
    assert "mine.h5ad: is 'mine' in the fresh set; " in first
    assert "replaced" not in first
    replaced = f"replaced: the earlier 'mine', the labels of 'cell_type' in {mine}"
    assert replaced in told("--add", mine, "--label", "other")
    assert f"replaced: the earlier 'mine', the labels of 'other' in {mine}" in told("--add", other)
    assert told("--add", str(tmp_path / "wang2016.h5ad")).endswith(
        "'wang2016' is a file of the fresh set; rename yours"
    )
    assert [row.split("\t")[1] for row in user_table().read_text().splitlines()[1:]] == [other]
    assert told("--remove", mine).startswith("mine: no longer in the fresh set")
    assert not user_table().read_text().splitlines()[1:]


def test_a_user_s_labels_are_read_as_gather_check_reads_them_and_absent_types_are_named(
    toy_mirror: Path, fresh_folder: Path, fresh_graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import anndata

    monkeypatch.setenv("VCKG_CACHE", str(tmp_path / "cache"))
    data = anndata.read_h5ad(toy_mirror / "h5ad_more" / "breast_tnbc_wu2021_cid4465.h5ad")
    labels = data.obs["cell_type"].astype(str).replace("T cell", "T cells 2").tolist()
    few = [i for i, label in enumerate(labels) if label == "dendritic cell"]
    for i in few[:30]:
        labels[i] = "Doublet"
    data.obs["cell_type"] = labels
    data.write_h5ad(tmp_path / "mine.h5ad")
    command = ["data", "--add", str(tmp_path / "mine.h5ad"), "--tissue", "lung", "-g", str(fresh_folder)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    said = done.output.splitlines()
    checked = map_labels(fresh_graph, labels)
    assert f"labels read: T cells 2 as {checked['T cells 2'].name}" in said
    assert "labels without a cell type: Doublet 30" in said
    assert "tissue: lung (UBERON:0002048)" in said
    assert said[-3:] == [
        "types without a sample of a cell (seed 0): 2 of 4",
        "  fewer than 20 cells (1): dendritic cell",
        "  no type of one lineage, or too general (1): B cell",
    ]
    shown = {c.cl_id for c in make(fresh_graph, seed=0, mirrors=()).cells if c.expression}
    assert shown == {m.curie for m in checked.values() if m.curie} - {
        checked["dendritic cell"].curie,
        checked["B cell"].curie,
    }


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
