"""Copies with answers: every value is kept, what exists is kept, and a full disk leaves no half file."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import gather
from gather.cells.command import annotate_file
from gather.cells.options import Options
from vckg.base.errors import InputError

ROOT = Path(__file__).parents[3]


def run(source, out, graph, **options):
    more = {k: options.pop(k) for k in ("overwrite", "report") if k in options}
    return annotate_file(source, out, graph, Options(**({"groupby": "group"} | options)), **more)


def test_the_copy_keeps_every_value_and_the_input_every_byte(blood_graph, source, tmp_path):
    before = source.read_bytes()
    run(source, tmp_path / "out.h5ad", blood_graph, report=tmp_path / "out.html")
    assert source.read_bytes() == before
    was, now = ad.read_h5ad(source), ad.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(now.X, was.X)
    np.testing.assert_array_equal(now.layers["counts"], was.layers["counts"])
    np.testing.assert_array_equal(now.obsm["X_umap"], was.obsm["X_umap"])
    pd.testing.assert_frame_equal(now.obs[was.obs.columns], was.obs)
    assert (tmp_path / "out.html").stat().st_size > 10_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.h5ad", "out.h5ad", "out.html"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_results_round_trip_through_h5ad_and_zarr(blood_graph, source, tmp_path):
    run(source, tmp_path / "out.h5ad", blood_graph)
    first = ad.read_h5ad(tmp_path / "out.h5ad")
    first.write_h5ad(tmp_path / "again.h5ad")
    first.write_zarr(tmp_path / "again.zarr")
    for again in (ad.read_h5ad(tmp_path / "again.h5ad"), ad.read_zarr(tmp_path / "again.zarr")):
        pd.testing.assert_frame_equal(again.obs, first.obs)
        assert gather.results(again) == gather.results(first)
        for name, frame in first.uns["gather"]["tables"].items():
            pd.testing.assert_frame_equal(again.uns["gather"]["tables"][name], frame)


def no_hdf5(path):
    path.write_text("barcode,CD3D\nc0,1\n")


def cut_off(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_hdf5(path):
    import h5py

    with h5py.File(path, "w") as file:
        file["x"] = 1


def gone(path):
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [(no_hdf5, "no HDF5"), (cut_off, "cut off"), (other_hdf5, "no h5ad"), (gone, "no such file")],
)
def test_a_file_that_is_no_h5ad_is_refused(blood_graph, source, tmp_path, damage, said):
    damage(source)
    with pytest.raises(InputError, match=said):
        run(source, tmp_path / "out.h5ad", blood_graph)
    assert not (tmp_path / "out.h5ad").exists()


def test_an_existing_output_is_kept_unless_told_otherwise(blood_graph, source, tmp_path):
    out = tmp_path / "out.h5ad"
    out.write_text("precious")
    with pytest.raises(InputError, match="--force"):
        run(source, out, blood_graph)
    assert out.read_text() == "precious"
    run(source, out, blood_graph, overwrite=True)
    assert ad.read_h5ad(out).n_obs == 90


def test_the_input_is_never_the_output(blood_graph, source):
    with pytest.raises(InputError, match="never modified"):
        run(source, source, blood_graph, overwrite=True)


def test_an_output_folder_that_is_missing_or_unwritable_is_refused(blood_graph, source, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        run(source, tmp_path / "nowhere" / "out.h5ad", blood_graph)
    with pytest.raises(InputError, match=r"ends in \.h5ad"):
        run(source, tmp_path / "out.csv", blood_graph)
    with pytest.raises(InputError, match="cannot be written"):
        run(source, Path("/proc/out.h5ad"), blood_graph)


LIMITED = """
import resource, signal, sys
from pathlib import Path
from vckg.graph.graph import Graph
from vckg.base.errors import KnownError
from gather.cells.options import Options
from gather.cells.command import annotate_file
folder = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    annotate_file(folder / "in.h5ad", folder / "out.h5ad", Graph.load(folder / "graph"),
    Options(groupby="group"))
except KnownError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.parametrize("share", [0.5, 1.1])
def test_a_full_disk_leaves_no_half_file(blood_graph, source, tmp_path, share):
    """A limit on file size stands for the full disk: the copy, or what is added to it, does not fit."""
    blood_graph.save(tmp_path / "graph")
    assert hasattr(resource, "RLIMIT_FSIZE")
    assert signal.SIGXFSZ
    limit = str(int(source.stat().st_size * share))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), limit],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "disk full" in done.stdout
    assert not [p.name for p in tmp_path.iterdir() if "out" in p.name]
