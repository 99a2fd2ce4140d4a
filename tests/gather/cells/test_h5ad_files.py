"""Hostile and damaged h5ad files, and what is left when a run is killed: nothing outside the output is written."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

import gather.cells.file as annotate_file_module
from gather.cells.command import annotate_file
from gather.cells.file import open_h5ad
from gather.cells.options import Options
from vckg.base.errors import InputError

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:anndata.*")


@pytest.fixture
def source(blood_cells, tmp_path):
    path = tmp_path / "in.h5ad"
    blood_cells.layers["sparse"] = sp.csr_matrix(blood_cells.X)
    blood_cells.write_h5ad(path)
    return path


def run(source, out, graph, **more):
    return annotate_file(source, out, graph, Options(groupby="group"), **more)


# ---- links


@pytest.mark.parametrize("elements", [("obs",), ("uns",), ("obs", "uns", "var", "X")])
def test_an_external_link_never_leads_the_output_into_another_file(
    blood_graph, blood_cells, source, tmp_path, elements
):
    victim = tmp_path / "victim.h5ad"
    blood_cells.write_h5ad(victim)
    with h5py.File(source, "r+") as file:
        for name in elements:
            del file[name]
            file[name] = h5py.ExternalLink("victim.h5ad", f"/{name}")
    before = victim.read_bytes()
    with pytest.raises(InputError, match="is an external link"):
        run(source, tmp_path / "out.h5ad", blood_graph)
    assert victim.read_bytes() == before
    assert not (tmp_path / "out.h5ad").exists()


def soft(file, _folder):
    file["obsm"].move("X_umap", "moved")
    file["obsm/X_umap"] = h5py.SoftLink("/obsm/moved")


def dangling(file, _folder):
    file["uns/x"] = h5py.ExternalLink("nowhere.h5", "/x")


def values_elsewhere(file, folder):
    (folder / "raw.bin").write_bytes(b"\0" * 360)
    file.create_dataset("obsm/elsewhere", (90, 1), "f4", external=[(str(folder / "raw.bin"), 0, 360)])


def virtual(file, _folder):
    layout = h5py.VirtualLayout((90, 1), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (90, 1))
    file.create_virtual_dataset("obsm/virtual", layout)


def too_deep(file, _folder):
    group = file["uns"]
    for _ in range(60):
        group = group.create_group("g")


def float_indices(name):
    def change(file, _folder):
        values = file["layers/sparse"][name][:]
        del file["layers/sparse"][name]
        file["layers/sparse"][name] = values.astype(np.float32)

    return change


def bloated(file, _folder):
    file.create_dataset("obsm/huge", (1 << 40, 2), "f8", chunks=(1 << 20, 2))


@pytest.mark.parametrize(
    ("change", "said"),
    [(soft, "soft link"), (dangling, "external link"), (values_elsewhere, "another file"), (virtual, "another file"),
     (too_deep, "deep"), (bloated, "claims"),
     (float_indices("indices"), "indices' holds float32, wanted whole numbers"),
     (float_indices("indptr"), "indptr' holds float32, wanted whole numbers")],
)  # fmt: skip
def test_what_leads_out_of_a_file_or_bloats_it_is_refused(blood_graph, source, tmp_path, change, said):
    with h5py.File(source, "r+") as file:
        change(file, tmp_path)
    with pytest.raises(InputError, match=said):
        run(source, tmp_path / "out.h5ad", blood_graph)
    assert not (tmp_path / "out.h5ad").exists()


def test_a_hard_link_within_the_file_is_no_loop(blood_graph, source, tmp_path):
    with h5py.File(source, "r+") as file:
        file["uns/again"] = file["uns"]
        file["uns/other"] = file["obsm/X_umap"]
    with pytest.raises(InputError, match="cannot be read"):  # anndata's recursion has no end; ours has
        run(source, tmp_path / "out.h5ad", blood_graph)


# ---- damage


@pytest.mark.parametrize(
    ("script", "said"),
    [("import os; os.kill(os.getpid(), 11)", "SIGSEGV"), ("import os; os.abort()", "SIGABRT"),
     ("import time; time.sleep(60)", "within 1 s"), ("import sys; sys.exit(3)", "exit code 3"),
     ("print('no json')", "damaged"), ("print(3)", "damaged"), ("print('{}')", "damaged")],
)  # fmt: skip
def test_a_library_that_ends_or_hangs_is_one_line(source, tmp_path, monkeypatch, script, said):
    """What HDF5 does on some files, said by a script in the walker's place."""
    (tmp_path / "_h5_walk.py").write_text(script)
    monkeypatch.setattr(annotate_file_module, "__file__", str(tmp_path / "annotate_file.py"))
    monkeypatch.setattr(annotate_file_module, "WALK_S", 1.0)
    started = time.monotonic()
    with pytest.raises(InputError, match=said):
        open_h5ad(source)
    assert time.monotonic() - started < 30


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "groupby"), [("pancreas_wang2016_scclassify", "cell"), ("pbmc68k_reduced", "louvain")]
)
def test_flipped_bits_of_real_files_end_in_an_answer_or_one_line(core_graph, mirror, tmp_path, name, groupby):
    """Forty copies, stored without compression so that damage reaches indices: exit 0 or 2, within 60 s, no remains."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ad.read_h5ad(mirror / "h5ad" / f"{name}.h5ad").write_h5ad(tmp_path / "plain.h5ad")
    (tmp_path / "work").mkdir()
    script = [sys.executable, "-P", str(Path(__file__).with_name("flips.py"))]
    files = [str(tmp_path / "plain.h5ad"), str(core_graph.folder), str(tmp_path / "work")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*script, *files, groupby, "0", "40", "60"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 40
    for row in rows:
        assert row["code"] in (0, 2), row
        assert row["wrote"] == (row["code"] == 0)
        assert row["left"] == []
        assert "\n" not in row["said"].strip()
    assert {row["code"] for row in rows} == {0, 2}


def test_a_shell_with_less_memory_than_the_walk_may_take_reads_sound_files(source):
    """As `ulimit -v 6000000` before the command: the walk keeps the lower limit."""
    script = Path(annotate_file_module.__file__).with_name("_h5_walk.py")
    limited = ["bash", "-c", 'ulimit -v 6000000; exec "$@"', "bash", sys.executable, "-P", str(script)]
    done = subprocess.run([*limited, str(source)], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout) == {"problem": ""}, done.stderr


# ---- what is left, and what is never written


KILLED = """
import os, signal, sys
from pathlib import Path
import gather.cells.file as module
from gather.cells.options import Options
from gather.cells.command import annotate_file
from vckg.graph.graph import Graph
folder = Path(sys.argv[1])
module._add_to = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
annotate_file(folder / "in.h5ad", folder / "out.h5ad", Graph.load(folder / "graph"), Options(groupby="group"))
"""


def test_a_copy_that_writing_makes_unreadable_is_no_output(blood_graph, source, tmp_path, monkeypatch):
    """Damage that a reader passes over can break a neighbour of what is added: the index of obs was lost so."""
    add = annotate_file_module._add_to

    def damaging(path, *rest):
        add(path, *rest)
        with h5py.File(path) as file:
            flags = h5py.h5o.get_info(file["obs"][file["obs"].attrs["_index"]].id).addr + 16 + 4
        content = bytearray(path.read_bytes())
        content[flags] = 0xFF
        path.write_bytes(content)

    monkeypatch.setattr(annotate_file_module, "_add_to", damaging)
    with pytest.raises(InputError, match="what is added to a copy of it cannot be read"):
        run(source, tmp_path / "out.h5ad", blood_graph)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.h5ad"]


def test_what_a_killed_run_left_is_removed_by_the_next(blood_graph, source, tmp_path):
    blood_graph.save(tmp_path / "graph")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.glob(".out.h5ad.*.partial")
    assert sum(p.stat().st_size for p in left.iterdir()) >= source.stat().st_size
    run(source, tmp_path / "out.h5ad", blood_graph)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["graph", "in.h5ad", "out.h5ad"]


def test_two_outputs_are_never_one_file(blood_graph, source, tmp_path):
    out = tmp_path / "x.h5ad"
    (tmp_path / "same").symlink_to(tmp_path)
    for page in (out, tmp_path / "same" / "x.h5ad", source):
        with pytest.raises(InputError, match=r"two outputs|never modified"):
            run(source, out, blood_graph, report=page, overwrite=True)
    assert not out.exists()


def test_an_input_is_never_an_output_by_any_name(blood_graph, source, tmp_path):
    before = source.read_bytes()
    (tmp_path / "link.h5ad").symlink_to(source)
    (tmp_path / "hard.h5ad").hardlink_to(source)
    for name in ("link.h5ad", "hard.h5ad"):
        with pytest.raises(InputError, match="never modified"):
            run(source, tmp_path / name, blood_graph, overwrite=True)
    assert source.read_bytes() == before


def table(path):
    path.write_text("gene\tcell type\nCD3D\tT cell\n")


def comma_table(path):
    path.write_text("barcode,CD3D\nc0,1\n")


def zarr_store(path):
    path.mkdir()
    (path / ".zgroup").write_text("{}")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (table, "is a text table"),
        (comma_table, "is a text table"),
        (zarr_store, "is a zarr store"),
        (lambda p: p.mkdir(), "is a folder"),
        (lambda p: p.write_text("hello"), "is a text file"),
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.write_bytes(bytes(range(256))), "is not an h5ad"),
    ],
)
def test_the_words_fit_what_was_given(tmp_path, make, said):
    make(tmp_path / "in.h5ad")
    with pytest.raises(InputError, match=said):
        open_h5ad(tmp_path / "in.h5ad")


def test_an_embedding_that_is_no_numbers_is_passed_over(blood_graph, blood_cells):
    from gather.report.embedding import embedding_of

    blood_cells.obsm["X_umap"] = np.array([["a", "b"]] * 90, dtype=object)
    assert embedding_of(blood_cells, np.zeros(90, np.int32)) is None
