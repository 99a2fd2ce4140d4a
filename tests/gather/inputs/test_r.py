"""Objects of R, read by rdata, and the script that writes cells and reads labels where R is."""

import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from gather.cells.exports import write_labels
from gather.inputs.command import annotate_inputs
from gather.inputs.jobs import Reading, jobs_of
from gather.inputs.kinds import kind_of
from gather.inputs.marker_tables import MarkerTable
from tests.battery.files import for_r
from vckg.base.errors import InputError
from vckg.base.resources import resource

SCRIPT = resource("data", "vckg.R")
MAKE = Path(__file__).with_name("make_objects.R")
GENES = [f"G{i}" for i in range(8)]
CELLS = [f"c{i}" for i in range(6)]


def counts() -> np.ndarray:
    values = np.random.default_rng(0).poisson(1.5, (6, 8))
    values[3:, 7] = 0  # the second layer of Seurat 5 lacks this gene
    return values


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """Folder of the objects of R and of what the script made of them."""
    if shutil.which("Rscript") is None:
        pytest.skip("Rscript is not installed (Debian: r-base-core)")
    folder = tmp_path_factory.mktemp("r")
    pd.DataFrame(counts().T, index=GENES, columns=CELLS).to_csv(folder / "counts.csv")
    labels = {
        "gather_cell_type": ["T cell"] * 4 + ["B cell"] * 2,
        "gather_confidence": np.linspace(0.5, 1, 6),
    }
    write_labels(folder / "labels.csv", pd.Index(CELLS), labels)
    done = subprocess.run(
        ["Rscript", MAKE, SCRIPT.resolve(), folder], capture_output=True, text=True, check=False
    )
    if "there is no package called" in done.stderr:
        pytest.skip(f"a package of R is missing: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", ["seurat", "sce"])
def test_the_script_writes_an_h5ad_and_reads_the_labels_back(objects, name: str) -> None:
    cells = ad.read_h5ad(objects / f"{name}.h5ad")
    np.testing.assert_array_equal(cells.X.toarray(), counts())
    assert (list(cells.obs_names), list(cells.var_names)) == (CELLS, GENES)
    assert list(cells.obs["cluster"]) == ["a", "b"] * 3
    assert list(cells.obs["note"].astype(object).fillna("")) == ["", *["é"] * 5]
    back = pd.read_csv(objects / f"{name}.labels.csv", index_col=0)
    assert list(back.iloc[:, 0]) == ["T cell"] * 4 + ["B cell"] * 2
    np.testing.assert_allclose(back.iloc[:, 1], np.linspace(0.5, 1, 6))


@pytest.mark.parametrize("name", ["seurat", "seurat5", "sce", "matrix"])
def test_rds_of_cells_is_read_without_r(objects, name: str) -> None:
    pytest.importorskip("rdata", reason="rdata is not installed: pip install 'vckg[inputs]'")
    from gather.inputs.rds import read_rds

    assert kind_of(objects / f"{name}.rds") == "rds"
    cells = read_rds(objects / f"{name}.rds")
    assert isinstance(cells, ad.AnnData)
    np.testing.assert_array_equal(cells.X.toarray(), counts())
    assert (list(cells.obs_names), list(cells.var_names)) == (CELLS, GENES)
    if name != "matrix":
        assert list(cells.obs["cluster"]) == ["a", "b"] * 3
    if name.startswith("seurat"):
        assert list(cells.obs["ident"]) == ["a", "b"] * 3


MARKERS = pd.DataFrame(
    {
        "p_val_adj": 1e-9, "avg_log2FC": [3.0, 2.5, 2.0, 3.0, 2.5, 2.0], "pct.1": 0.9, "pct.2": 0.1,
        "cluster": ["T"] * 3 + ["B"] * 3, "gene": ["CD3D", "CD3E", "IL7R", "CD79A", "MS4A1", "CD19"],
    }
)  # fmt: skip


def test_rds_of_markers_is_named_as_the_table_is(tmp_path, blood_graph) -> None:
    rdata = pytest.importorskip("rdata", reason="rdata is not installed: pip install 'vckg[inputs]'")
    from gather.cells.options import Options

    MARKERS.to_csv(tmp_path / "table.csv")
    rdata.write_rds(tmp_path / "frame.rds", for_r(MARKERS))
    rdata.write_rds(
        tmp_path / "genes.rds", {c: np.array(rows["gene"].tolist()) for c, rows in MARKERS.groupby("cluster")}
    )
    sources = [tmp_path / name for name in ("table.csv", "frame.rds", "genes.rds")]
    outcomes = annotate_inputs(
        jobs_of(sources, tmp_path / "out", None, overwrite=False), blood_graph, Options(), Reading()
    )
    # Three of six markers among 18 genes come by chance, too: compared is the best candidate.
    answers = [{a.cell_set: a.best.label for a in outcome.annotations if a.best} for outcome in outcomes]
    assert answers[0] == {"T": "T cell", "B": "B cell"}
    assert answers[1:] == answers[:1] * 2


def test_markers_of_one_cluster_have_their_genes_as_row_names(tmp_path) -> None:
    rdata = pytest.importorskip("rdata", reason="rdata is not installed: pip install 'vckg[inputs]'")
    from gather.inputs.rds import read_rds

    one = MARKERS[:3].drop(columns="cluster").set_index("gene")
    rdata.write_rds(tmp_path / "one.rds", for_r(one))
    table = read_rds(tmp_path / "one.rds")
    assert isinstance(table, MarkerTable)
    assert table.genes == {"0": ("CD3D", "CD3E", "IL7R")}


def test_what_cannot_be_read_is_refused_with_the_next_command(tmp_path, monkeypatch) -> None:
    rdata = pytest.importorskip("rdata", reason="rdata is not installed: pip install 'vckg[inputs]'")
    from gather.inputs.rds import read_rds

    rdata.write_rds(tmp_path / "number.rds", [1.5])
    with pytest.raises(InputError, match="wanted a Seurat or SingleCellExperiment object"):
        read_rds(tmp_path / "number.rds")
    rdata.write_rds(tmp_path / "other.rds", pd.DataFrame({"a": [1.0]}))
    with pytest.raises(InputError, match=r"is a data\.frame; .* column of genes.*columns here are a$"):
        read_rds(tmp_path / "other.rds")
    (tmp_path / "cut.rds").write_bytes((tmp_path / "number.rds").read_bytes()[:40])
    with pytest.raises(InputError, match=r"Rscript .*vckg\.R export .*cut\.rds cut\.h5ad"):
        read_rds(tmp_path / "cut.rds")
    monkeypatch.setitem(sys.modules, "rdata", None)
    monkeypatch.setattr("gather.inputs.rds.find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"pip install 'vckg\[inputs\]', or let R write it: Rscript"):
        read_rds(tmp_path / "number.rds")
    with pytest.raises(InputError, match="saveRDS"):
        kind_of_file(tmp_path / "session.RData")


def kind_of_file(path):
    path.write_bytes(b"RDX3\n")
    return kind_of(path)


def test_the_script_runs_from_the_command_line(tmp_path) -> None:
    if shutil.which("Rscript") is None:
        pytest.skip("Rscript is not installed (Debian: r-base-core)")
    made = 'd <- data.frame(cluster = factor(c("x", "y")), gene = c("CD3D", "LYZ")); saveRDS(d, "m.rds")'
    subprocess.run(["Rscript", "-e", made], cwd=tmp_path, check=True)
    subprocess.run(["Rscript", SCRIPT.resolve(), "export", "m.rds", "m.csv"], cwd=tmp_path, check=True)
    assert list(pd.read_csv(tmp_path / "m.csv")["gene"]) == ["CD3D", "LYZ"]
    write_labels(tmp_path / "l.csv", pd.Index(["x", "y"]), {"gather_cell_type": ["T cell", "monocyte"]})
    subprocess.run(
        ["Rscript", SCRIPT.resolve(), "import", "m.rds", "l.csv", "named.rds"], cwd=tmp_path, check=True
    )
    subprocess.run(
        ["Rscript", SCRIPT.resolve(), "export", "named.rds", "named.csv"], cwd=tmp_path, check=True
    )
    assert list(pd.read_csv(tmp_path / "named.csv")["gather_cell_type"]) == ["T cell", "monocyte"]
    wrong = subprocess.run(["Rscript", SCRIPT.resolve()], capture_output=True, text=True, check=False)
    assert wrong.returncode != 0
    assert "give: export object.rds cells.h5ad" in wrong.stderr
