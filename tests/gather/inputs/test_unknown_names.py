"""What is told of names that are no genes, of text that is no AnnData, and what is written without ``-o``."""

import anndata as ad
import pandas as pd
import pytest
from typer.testing import CliRunner

import gather
from gather.cells.command import annotate_file
from gather.cells.options import Options
from gather.cells.terminal import in_words
from gather.cli import app
from gather.inputs.marker_sets import MarkerWork, as_anndata
from gather.inputs.marker_tables import MarkerTable
from gather.retrieval.query import ground_panel
from gather.retrieval.unknown_names import unknown_in_words
from gather.species import by_upper_case, detect
from gather.species import in_words as species_in_words
from vckg.base.errors import InputError
from vckg.graph.graph import Graph

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:anndata.*")
XENIUM = [
    "NegControlProbe_00042",
    "NegControlCodeword_0500",
    "BLANK_0006",
    "antisense_PROKR2",
    "UnassignedCodeword_0001",
]
COSMX = ["NegPrb1", "Negative01", "SystemControl1"]
MERSCOPE = ["Blank-1"]


@pytest.mark.data
def test_control_probes_dates_and_unknown_names_are_named(core_graph: Graph) -> None:
    names = ["CD3D", "NEGR1", "ANTXR1", *XENIUM, *COSMX, *MERSCOPE, "1-Mar", "2-Sep", "NOGENE1"]
    told = unknown_in_words(ground_panel(core_graph, names), core_graph)
    unknown, controls, dates, import_as = told.split("; ")
    assert unknown == "1 name is unknown: NOGENE1"
    assert controls == f"9 names are control probes and left out: {', '.join(XENIUM)}, ..."
    assert dates == "2 names are dates that a spreadsheet made of a gene symbol: 1-Mar, 2-Sep"
    assert import_as == "import the column as text"
    assert unknown_in_words(ground_panel(core_graph, ["CD3D", "NEGR1"]), core_graph) == ""


@pytest.mark.data
def test_names_of_another_day_are_told_and_the_counts_add_up(core_graph: Graph) -> None:
    names = ["CD3D", "SLC9A3R2", "CTGF", "CCN2", "ACTB", "NOGENE1", "ENSG00000156738", "MUM1"]
    panel = ground_panel(core_graph, names)
    told = unknown_in_words(panel, core_graph)
    assert "2 names are read as another symbol: CTGF is CCN2, SLC9A3R2 is NHERF2" in told
    assert "1 name is of a gene with an earlier column, and left out: CCN2" in told
    known = species_in_words(detect(names), core_graph, panel)
    assert known.endswith(": 5 of 8 genes known (1 housekeeping or technical, left out)")
    assert "1 name is unknown: NOGENE1; 1 name is ambiguous and left out: MUM1" in told  # 5 + 1 + 1 + 1 are 8


def test_the_species_is_told_once_and_unknown_names_are_named(blood_graph, tmp_path) -> None:
    table = tmp_path / "markers.csv"
    table.write_text("gene,cluster\nCd3d,0\nCd3e,0\nIl7r,0\nCd2,0\nBLANK_1,0\n")
    folder = blood_graph.save(tmp_path / "graph")
    done = CliRunner().invoke(app, ["annotate", str(table), "-g", str(folder)])
    assert done.exit_code == 0, done.output
    assert done.stderr.count("mouse, told by") == 1
    assert "1 name is a control probe and left out: BLANK_1" in done.stderr
    assert "marker table, 1 cluster, 5 genes" in done.stderr


def test_one_gene_of_one_cluster_is_told_in_the_singular(blood_graph, tmp_path) -> None:
    table = tmp_path / "markers.csv"
    table.write_text("gene,cluster\nCD3D,0\n")
    folder = blood_graph.save(tmp_path / "graph")
    done = CliRunner().invoke(app, ["annotate", str(table), "-g", str(folder)])
    assert done.exit_code == 0, done.output
    assert "1 cluster, 1 gene," in done.stderr
    assert "1 of 1 gene known" in done.stderr
    told = list(
        in_words({"cells": 1, "status": {"named": 1}, "reason": {}, "refused": {}, "cell_type": {}}, "key")
    )
    assert told == ["1 cell: 1 named"]


@pytest.mark.data
def test_symbols_joined_to_ensembl_ids_are_known(core_graph: Graph) -> None:
    ids = {"CD3D": "ENSG00000167286", "MS4A1": "ENSG00000156738", "RPL3": "ENSG00000100316"}
    panel = ground_panel(core_graph, [f"{symbol}_{curie}" for symbol, curie in ids.items()])
    assert [core_graph.names[node] for node in panel.nodes if node >= 0] == ["CD3D", "MS4A1"]
    assert panel.technical == ("RPL3_ENSG00000100316",)
    assert detect([f"Odd{i}_ENSMUSG0000000000{i}" for i in range(9)]).by == "gene ids"
    assert by_upper_case(["CD3D_ENSMMUG00000000001"], "macaque") == ["CD3D"]


def joined(graph: Graph, name: str) -> str:
    """A symbol joined to its Ensembl id, the symbol itself unknown: the id must tell the gene."""
    (found,) = graph.genes.ground([name])
    return name if found.curie is None else f"old-{name}_ENSG{int(found.curie.split(':')[1]):011}"


def test_cells_whose_symbols_are_joined_to_ids_are_answered_alike(blood_graph, blood_cells) -> None:
    plain = gather.annotate(blood_cells, "group", graph=blood_graph, copy=True)
    blood_cells.var_names = [joined(blood_graph, name) for name in blood_cells.var_names]
    found = gather.annotate(blood_cells, "group", graph=blood_graph, copy=True)
    assert found.obs["gather_cell_type"].tolist() == plain.obs["gather_cell_type"].tolist()


def test_a_table_whose_symbols_are_joined_to_ids_is_answered_alike(blood_graph) -> None:
    genes = ("CD3D", "CD3E", "IL7R", "CD2")
    tables = [MarkerTable({"0": names}, {}, "list")
              for names in (genes, tuple(joined(blood_graph, gene) for gene in genes))]  # fmt: skip
    plain, found = (MarkerWork(t)(as_anndata(t), blood_graph, Options()).annotations[0] for t in tables)
    assert (found.best.label, found.best.score) == (plain.best.label, plain.best.score)
    assert found.best.label == "T cell"


def test_the_path_of_a_file_is_no_anndata() -> None:
    with pytest.raises(InputError, match=r"the text 'in\.h5ad' is no AnnData.*`gather annotate FILE`"):
        gather.annotate("in.h5ad", "louvain")
    with pytest.raises(InputError, match="a DataFrame is no AnnData"):
        gather.annotate(pd.DataFrame(), "louvain")


@pytest.mark.parametrize("option", ["--obs", "-o"])
def test_a_table_of_labels_may_be_all_that_is_written(blood_graph, source, tmp_path, option) -> None:
    folder = blood_graph.save(tmp_path / "graph")
    before = set(tmp_path.iterdir())
    words = [
        "annotate",
        str(source),
        "--groupby",
        "group",
        "-g",
        str(folder),
        option,
        str(tmp_path / "labels.csv"),
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert set(tmp_path.iterdir()) - before == {tmp_path / "labels.csv"}
    assert f"wrote {tmp_path / 'labels.csv'}" in done.stderr.replace("\n", "")
    labels = pd.read_csv(tmp_path / "labels.csv", index_col=0)
    assert labels.index.tolist() == ad.read_h5ad(source).obs_names.tolist()
    with pytest.raises(InputError, match="--cellxgene adds columns to the annotated copy; give it by -o"):
        annotate_file(source, None, blood_graph, Options("group"), obs=tmp_path / "b.csv", cellxgene=True)
