"""Text that was cut off on its way, or that is something else: one line that names the file."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io

from gather.inputs.jobs import jobs_of
from gather.inputs.kinds import kind_of
from gather.inputs.opened import read_cells
from vckg.base.errors import InputError

MATRIX, GENES, CELLS = "matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz"


@pytest.fixture
def folder(blood_cells, tmp_path: Path) -> Path:
    """A folder of Cell Ranger."""
    scipy.io.mmwrite(tmp_path / "matrix.mtx", blood_cells.X.T)
    (tmp_path / MATRIX).write_bytes(gzip.compress((tmp_path / "matrix.mtx").read_bytes()))
    (tmp_path / "matrix.mtx").unlink()
    genes = "".join(f"ENSG{i:011}\t{name}\tGene Expression\n" for i, name in enumerate(blood_cells.var_names))
    (tmp_path / GENES).write_bytes(gzip.compress(genes.encode()))
    (tmp_path / CELLS).write_bytes(gzip.compress("\n".join(blood_cells.obs_names).encode()))
    return tmp_path


@pytest.mark.parametrize("name", [MATRIX, GENES, CELLS])
@pytest.mark.parametrize("harm", ["cut", "empty", "other"])
def test_a_damaged_file_of_a_10x_folder_is_named(folder: Path, blood_graph, name: str, harm: str) -> None:
    assert read_cells(folder, kind_of(folder), blood_graph).n_obs == 90
    whole = (folder / name).read_bytes()
    harmed = {"cut": whole[:-30], "empty": gzip.compress(b""), "other": gzip.compress(b"\xff\xfe\n" * 9)}
    (folder / name).write_bytes(harmed[harm])
    with pytest.raises(InputError, match=f"{name}: cannot be read, it may be cut off or damaged"):
        read_cells(folder, kind_of(folder), blood_graph)


@pytest.mark.parametrize("harm", ["cut", "flipped"])
def test_a_gzipped_matrix_that_is_damaged_late_is_named(tmp_path: Path, blood_graph, harm: str) -> None:
    genes = [blood_graph.names[i] for i in blood_graph.nodes_of("Gene").tolist()]
    counts = np.random.default_rng(0).integers(0, 9, (40_000, len(genes)))
    packed = gzip.compress(pd.DataFrame(counts, columns=genes).to_csv().encode(), 1)
    path = tmp_path / "counts.csv.gz"
    path.write_bytes(packed[:-9000] if harm == "cut" else packed[:-9000] + bytes(8) + packed[-8992:])
    kind = kind_of(path)  # its beginning is whole
    with pytest.raises(InputError, match=r"counts\.csv\.gz: cannot be read, it may be cut off or damaged"):
        read_cells(path, kind, blood_graph)


def test_a_folder_for_several_results_must_have_a_place(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("T: CD3D, CD3E\n")
    sources = [tmp_path / "a.txt", tmp_path / "b.txt"]
    with pytest.raises(InputError, match="there is no folder"):
        jobs_of(sources, tmp_path / "no" / "out", None, overwrite=False)
    with pytest.raises(InputError, match=r"a\.txt: is a file; give a folder"):
        jobs_of(sources, tmp_path / "out", tmp_path / "a.txt", overwrite=False)
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(InputError, match=r"index\.html: exists"):
        jobs_of(sources, tmp_path / "out", tmp_path, overwrite=False)


def test_a_table_of_markers_is_told_from_cells(tmp_path: Path, blood_graph) -> None:
    path = tmp_path / "markers.csv"
    path.write_text("cluster,gene\nT,CD3D\nT,CD3E\n")
    with pytest.raises(InputError, match="is a table of markers, without cells"):
        read_cells(path, kind_of(path), blood_graph)


def test_a_bare_list_of_genes_is_told_from_a_matrix(tmp_path: Path, blood_graph) -> None:
    path = tmp_path / "genes.txt"
    path.write_text("CD3D\nCD3E\nIL7R\nLCK\n")
    with pytest.raises(InputError, match=r"is one column .*gather explain"):
        read_cells(path, kind_of(path), blood_graph)
