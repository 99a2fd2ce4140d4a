"""Single cells: the stream equals the plain way, whatever the file holds its matrix in, alone or on a
cluster."""

import json
import os
import signal
import warnings
from dataclasses import replace
from itertools import pairwise

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

import gather
import gather.cells.dask_cluster as annotate_dask
from gather.cells._cell_kernels import _discoveries
from gather.cells.cell_answers import REASONS, STATUSES
from gather.cells.cell_contrast import CellContrast, expressed_genes
from gather.cells.command import annotate_file
from gather.cells.expression import names_that_ground, read_expression
from gather.cells.options import Options
from gather.cells.per_cell import make_annotator
from gather.cells.row_blocks import Rows
from gather.cells.values import choose, rows_of, survey_rows
from gather.cli import app
from gather.labelling.annotator import Annotator, Parameters
from gather.labelling.decide import MAX_FDR_OF_CELL
from gather.metrics.multiple_testing import benjamini_hochberg
from gather.retrieval.candidates import Choice, ground_cell_types, types_of_tissue
from gather.retrieval.query import DEFAULT_TOP as TOP
from gather.retrieval.query import CellSet, Panel, contrasts, detection_contrasts
from vckg.base.errors import InputError

COLUMNS = ["cell_type_ontology_term_id", "confidence", "fdr", "status"]


def plain(adata, graph, cells):
    """The label step for cell sets, fed with each cell's genes by expression and with the null of single cells."""
    expression = read_expression(adata, graph)
    values, panel = expression.matrix.toarray(), expression.panel
    ranked = []
    for cell in range(len(values)):
        strength = np.where(panel.nodes >= 0, values[cell], 0)
        order = np.lexsort((panel.nodes, panel.detected, -strength))
        ranked.append([i for i in order.tolist() if strength[i] > 0])
    asked = np.bincount(np.concatenate([r[:TOP] for r in ranked]).astype(int), minlength=len(panel.nodes))
    background = (asked + panel.detected) / (len(values) + 1)
    annotator = Annotator(graph, replace(panel, detected=background))
    lacks, has = detection_contrasts(panel.detected)
    found = []
    for cell in cells:
        contrast = np.where(values[cell] > 0, has, lacks)
        genes = tuple(panel.names[i] for i in ranked[cell])
        found.append(annotator.annotate_one(CellSet(str(cell), genes, contrast=contrast)))
    return found


def test_a_streamed_cell_gets_what_the_plain_way_gives(blood_graph, blood_cells, monkeypatch):
    monkeypatch.setattr(
        "gather.retrieval.scores.TARGETED", 0
    )  # cells of panels keep the null of single cells
    gather.annotate(blood_cells, graph=blood_graph, groupby="cell")
    for cell, expected in zip(range(0, 90, 7), plain(blood_cells, blood_graph, range(0, 90, 7)), strict=True):
        row = blood_cells.obs.iloc[cell]
        assert row["gather_status"] == expected.status
        assert row["gather_cell_type_ontology_term_id"] == (expected.curie or "unknown")
        confidence = expected.confidence if expected.curie else np.nan
        assert row["gather_confidence"] == pytest.approx(confidence, rel=1e-6, nan_ok=True)
        assert row["gather_reason"] == expected.reason
        assert row["gather_best_cell_type"] == expected.best.label
        assert row["gather_best_confidence"] == pytest.approx(expected.best.confidence, rel=1e-6)
    right = blood_cells.obs["group"].map(
        {"T cells": "CL:0000084", "B cells": "CL:0000236", "monocytes": "CL:0000576"}
    )
    assert (
        blood_cells.obs["gather_cell_type_ontology_term_id"].astype(str) == right.astype(str)
    ).mean() > 0.9


@pytest.mark.parametrize("seed", range(10))
def test_a_cell_stands_out_by_the_genes_it_has_and_by_those_it_lacks(seed):
    """The quick sums are those of the contrasts, which tend to those of `contrasts` over many cells."""
    rng = np.random.default_rng(seed)
    expresses = rng.random((2000, 30)) < rng.random(30)
    detected = expresses.mean(axis=0)
    lacks, has = detection_contrasts(detected)
    plain = np.where(expresses, has, lacks)
    np.testing.assert_allclose(plain, contrasts(expresses.astype(float)), atol=2e-3)
    nodes = np.where(rng.random(30) < 0.8, np.arange(30), -1)
    panel = Panel(tuple(f"G{i}" for i in range(30)), nodes, detected)
    evidence = sp.csr_array(rng.random((30, 7)) * (rng.random((30, 7)) < 0.4))
    contrast = CellContrast.of(panel, evidence)
    for row, wanted in zip(expresses[:20], plain[:20], strict=True):
        of_cell = contrast.of_cell(np.flatnonzero(row))
        np.testing.assert_allclose(of_cell, np.where(nodes >= 0, wanted, 0) @ evidence.toarray())


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_a_stored_zero_is_no_expressed_gene(form):
    values = np.array([[0, 2.0, 0], [1.0, 0, 3.0]])
    block = form(values)
    if sp.issparse(block):
        block.data[1] = 0
    starts, genes = expressed_genes(block)
    rows = [genes[low:high].tolist() for low, high in pairwise(starts)]
    assert rows == [[1], [2] if sp.issparse(block) else [0, 2]]


def test_a_run_of_single_cells_says_what_it_found_and_where(blood_graph, blood_cells, tmp_path):
    """On the terminal, as JSON, in Python and in the methods paragraph; there is no evidence, and it is said."""
    blood_cells.write_h5ad(tmp_path / "in.h5ad")
    graph = str(blood_graph.save(tmp_path / "graph"))
    arguments = ["annotate", str(tmp_path / "in.h5ad"), "-o", str(tmp_path / "out.h5ad"), "--groupby", "cell"]
    ran = CliRunner().invoke(app, [*arguments, "-g", graph])
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    status = found.obs["gather_status"].astype(str).value_counts()
    labels = found.obs["gather_cell_type"].astype(str).value_counts().drop("unknown", errors="ignore")
    for count, name in [*((n, s.replace("_", " ")) for s, n in status.items())]:
        assert f"{count} {name}" in ran.stderr
    assert f"answers: {labels.index[0]} {labels.iloc[0]}" in ran.stderr
    ran = CliRunner().invoke(app, [*arguments, "-g", graph, "--force", "--json"])
    (counted,) = json.loads(ran.stdout)
    assert counted["cells"] == 90
    assert counted["status"] == status.to_dict()
    with pytest.raises(InputError, match="answers stand in obs"):
        gather.results(found)
    said = CliRunner().invoke(app, ["cite", str(tmp_path / "out.h5ad"), "-g", graph]).stdout
    assert "Cell types of single cells" in said
    assert "ranked by expression, equals the rarer first, with the values of " in said


@pytest.mark.parametrize("seed", range(40))
def test_discoveries_lie_between_the_bounds(seed):
    rng = np.random.default_rng(seed)
    counts, p = np.array([*(2 ** np.arange(6)), 40]), rng.beta(0.3, 3 * (1 + seed % 3), 40) * (1 + seed % 4)
    levels = MAX_FDR_OF_CELL * counts / 40
    critical = np.repeat(-levels[:, None], 40, axis=1)
    low, high = _discoveries(-p, critical, counts)
    many = [(p <= q).sum() >= k for q, k in zip(levels, counts, strict=True)]
    assert low == max((i for i, yes in enumerate(many) if yes), default=-1)
    discovered = benjamini_hochberg(np.minimum(p, 1)) <= MAX_FDR_OF_CELL
    assert discovered[p <= (levels[low] if low >= 0 else -1)].all()
    assert (p[discovered] <= (levels[high] if high >= 0 else -1)).all()


def test_answers_of_cells_take_the_place_of_those_of_sets_and_back(blood_graph, blood_cells, tmp_path):
    """In memory and in a file: no column of the answers before stays, and none is in the way of the next."""
    path = tmp_path / "in.h5ad"
    blood_cells.write_h5ad(path)
    wanted = {}
    for i, groupby in enumerate(("group", "cell", "group")):
        gather.annotate(blood_cells, groupby, graph=blood_graph)
        annotate_file(path, tmp_path / f"{i}.h5ad", blood_graph, Options(groupby))
        path = tmp_path / f"{i}.h5ad"
        names = sorted(c for c in blood_cells.obs if c.startswith("gather_"))
        assert sorted(c for c in ad.read_h5ad(path).obs if c.startswith("gather_")) == names
        assert wanted.setdefault(groupby, names) == names
    assert not any("mixture" in name or "state" in name for name in wanted["cell"])


def test_no_cell_gets_an_answer_that_is_more_likely_chance_than_not(blood_graph, blood_cells):
    """Cells with their genes mixed up are unknown, whole ones are not; the column says what the status means."""
    mixed = blood_cells.copy()
    rng = np.random.default_rng(0)
    mixed.X = np.stack([row[rng.permutation(len(row))] for row in np.asarray(mixed.X)])
    for cells in (blood_cells, mixed):
        gather.annotate(cells, graph=blood_graph, groupby="cell")
        answered = cells.obs["gather_status"].isin(["named", "backed_off"])
        assert (cells.obs["gather_fdr"][answered] <= MAX_FDR_OF_CELL).all()
    share = [(c.obs["gather_status"] == "unknown").mean() for c in (blood_cells, mixed)]
    assert share[0] < 0.1 < share[1]


@pytest.mark.parametrize("form", ["dense", "csr", "csc", "gzip", "layer", "raw"])
def test_every_storage_gives_the_same_bytes(blood_graph, blood_cells, tmp_path, form):
    expected = blood_cells.copy()
    gather.annotate(expected, graph=blood_graph, groupby="cell")
    if form in ("csr", "csc"):
        blood_cells.X = getattr(sp, f"{form}_matrix")(blood_cells.X)
    if form == "raw":
        blood_cells.raw = blood_cells.copy()
        blood_cells.X = blood_cells.X - 1
    path = tmp_path / "in.h5ad"
    blood_cells.write_h5ad(path, compression="gzip" if form == "gzip" else None)
    options = Options(groupby="cell", layer="counts" if form == "layer" else None)
    annotate_file(path, tmp_path / "out.h5ad", blood_graph, options)
    found = ad.read_h5ad(tmp_path / "out.h5ad").obs
    for column in COLUMNS:
        pd.testing.assert_series_equal(found[f"gather_{column}"], expected.obs[f"gather_{column}"])


def test_blocks_of_any_size_give_the_same(blood_graph, blood_cells, monkeypatch):
    whole = blood_cells.copy()
    gather.annotate(whole, graph=blood_graph, groupby="cell")
    monkeypatch.setattr("gather.cells.row_blocks.ENTRIES", 100)
    gather.annotate(blood_cells, graph=blood_graph, groupby="cell")
    pd.testing.assert_frame_equal(blood_cells.obs, whole.obs)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("entries", [7, 10_000])
def test_rows_come_out_of_every_storage_as_they_went_in(tmp_path, monkeypatch, entries):
    import h5py
    import zarr
    from anndata.io import write_elem

    monkeypatch.setattr("gather.cells.row_blocks.ENTRIES", entries)
    dense = sp.random(40, 9, 0.3, format="csr", dtype=np.float32, random_state=0).toarray()
    stores = {
        "h5": h5py.File(tmp_path / "x.h5", "w"),
        "zarr": zarr.open_group(str(tmp_path / "x.zarr"), mode="w"),
    }
    for store in stores.values():
        for form in ("dense", "csr", "csc"):
            write_elem(store, form, dense if form == "dense" else getattr(sp, f"{form}_matrix")(dense))
            with Rows(store[form]) as rows:
                blocks = [rows.block(*span) for span in rows.spans()]
                got = np.vstack([b if isinstance(b, np.ndarray) else b.toarray() for b in blocks])
            np.testing.assert_array_equal(got, dense)
    stores["h5"].close()


def test_scaled_or_broken_values_are_refused(blood_graph, blood_cells):
    del blood_cells.layers["counts"]
    blood_cells.X[80, 0] = -1
    with pytest.raises(InputError, match="negative"):
        gather.annotate(blood_cells, graph=blood_graph, groupby="cell")
    blood_cells.X[80, 0] = np.inf
    with pytest.raises(InputError, match="infinite"):
        gather.annotate(blood_cells, graph=blood_graph, groupby="cell")
    assert not [c for c in blood_cells.obs if c.startswith("gather")]


@pytest.mark.parametrize(
    ("options", "more", "said"),
    [
        ({"groupby": "group"}, {"dask": "local"}, "--groupby cell"),
        ({"groupby": "cell", "score": "paper"}, {}, "not streamed"),
        ({"groupby": "cell", "ranking": "wilcoxon"}, {}, "ranked by expression"),
        ({"groupby": "cell"}, {"report": "page.html"}, "for cell sets"),
    ],
)
def test_what_single_cells_cannot_have_is_said(blood_graph, blood_cells, tmp_path, options, more, said):
    blood_cells.write_h5ad(tmp_path / "in.h5ad")
    if "report" in more:
        more = {"report": tmp_path / more["report"]}
    with pytest.raises(InputError, match=said):
        annotate_file(tmp_path / "in.h5ad", tmp_path / "out.h5ad", blood_graph, Options(**options), **more)
    assert not (tmp_path / "out.h5ad").exists()


# ---- the rule is the labeller's, and no order of storage matters, on real cells


def annotator_of(path, graph, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cells = ad.read_h5ad(path)
    held = {}

    def survey(place):
        held[place.where] = rows_of(place, cells.n_obs)
        return survey_rows(held[place.where])

    place, found = choose(cells, None, survey)
    panel = names_that_ground(graph, place.var).panel
    return make_annotator(held[place.where], panel, found, graph, Parameters(), **options), held[place.where]


@pytest.mark.data
@pytest.mark.parametrize("asked", ["open", "closed", "tissue"])
@pytest.mark.parametrize("name", ["pbmc_kang18_ifnb_muscat", "pbmc68k_reduced"])
def test_real_cells_get_what_the_labeller_decides(core_graph, mirror, name, asked):
    """Labels, statuses and confidences of 300 cells, on the core graph; some are left undecided by the fast way."""
    choice = Choice(None, types_of_tissue(core_graph, "bone marrow") if asked == "tissue" else None)
    if asked == "closed":
        names = [
            "CD4-positive, alpha-beta T cell",
            "B cell",
            "monocyte",
            "natural killer cell",
            "dendritic cell",
        ]
        choice = Choice(ground_cell_types(core_graph, names, where="test"))
    annotator, rows = annotator_of(mirror / "h5ad" / f"{name}.h5ad", core_graph, choice=choice)
    block = rows.block(0, 300)
    answers = annotator.annotate(block)
    columns, found = annotator.ranking.ranked(block)
    ontology = annotator.ontology
    statuses = set()
    starts, genes = expressed_genes(block)
    for cell in range(300):
        expected = annotator.decide(columns[cell, : found[cell]], genes[starts[cell] : starts[cell + 1]])
        term = int(answers.term[cell])
        assert STATUSES[answers.status[cell]] == expected.status
        assert (ontology.terms[term] if term >= 0 else "") == expected.curie
        assert answers.confidence[cell] == pytest.approx(expected.confidence, abs=1e-9)
        assert REASONS[answers.reason[cell]] == expected.reason
        if expected.candidates:
            best = expected.candidates[0]
            assert ontology.terms[answers.best[cell]] == best.curie
            assert answers.best_confidence[cell] == pytest.approx(best.confidence, abs=1e-9)
        statuses.add(expected.status)
    assert {"named", "unknown"} <= statuses


def entries_mixed(matrix, rng):
    """The same matrix, the entries of each row stored in another order."""
    spans = zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
    order = np.concatenate([low + rng.permutation(high - low) for low, high in spans])
    parts = (matrix.data[order], matrix.indices[order], matrix.indptr.copy())
    return sp.csr_matrix(parts, shape=matrix.shape)


@pytest.mark.data
def test_no_order_of_storage_or_of_genes_changes_a_label(core_graph, mirror):
    """Kang's cells as stored; with each row's entries mixed up; with the genes in another order; as CSC and dense."""
    cells = ad.read_h5ad(mirror / "h5ad" / "pbmc_kang18_ifnb_muscat.h5ad")[:400].copy()
    cells.X = sp.csr_matrix(cells.X)
    rng = np.random.default_rng(0)
    order = rng.permutation(cells.n_vars)
    mixed = cells.copy()
    mixed.X = entries_mixed(cells.X, rng)
    assert not mixed.X.has_sorted_indices
    before = mixed.X.indices.copy()
    columns, dense = cells.copy(), cells.copy()
    columns.X, dense.X = cells.X.tocsc(), cells.X.toarray()
    for one in (cells, mixed, columns, dense):
        gather.annotate(one, graph=core_graph, groupby="cell")
    moved = cells[:, order].copy()
    del moved.uns["gather"]
    moved.obs = moved.obs[[]]
    gather.annotate(moved, graph=core_graph, groupby="cell")
    for other in (mixed, columns, dense, moved):
        pd.testing.assert_frame_equal(
            other.obs.filter(like="gather_"), cells.obs.filter(like="gather_"), check_categorical=False
        )
    np.testing.assert_array_equal(mixed.X.indices, before)  # the user's matrix stays as it was


def test_a_first_call_says_that_it_compiles(monkeypatch, capsys, tmp_path):
    from numba import njit

    from gather._compiled import say_if_compiling

    source = tmp_path / "fresh_kernel.py"
    source.write_text("def twice(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    import fresh_kernel

    kernel = njit(cache=True)(fresh_kernel.twice)
    assert say_if_compiling(kernel, "a test's loop")
    assert "compiling a test's loop" in capsys.readouterr().err
    kernel(1)
    assert not say_if_compiling(kernel, "a test's loop")
    assert not say_if_compiling(njit(cache=True)(fresh_kernel.twice), "a test's loop")  # kept on disk
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kill", [False, True])
def test_a_cluster_gives_the_serial_bytes_even_if_a_worker_dies(
    blood_graph, blood_cells, tmp_path, monkeypatch, kill
):
    distributed = pytest.importorskip("dask.distributed", reason="the dask extra is not installed")
    monkeypatch.setattr(annotate_dask, "CELLS_PER_TASK", 4)
    blood_graph.save(tmp_path / "graph")
    graph = type(blood_graph).load(tmp_path / "graph")
    blood_cells.write_h5ad(tmp_path / "in.h5ad")
    serial = blood_cells.copy()
    gather.annotate(serial, graph=graph, groupby="cell")
    backed = ad.read_h5ad(tmp_path / "in.h5ad", backed="r")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        steps = 0

        def done(_n):
            nonlocal steps
            steps += 1
            if kill and steps == 5:
                os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

        outcome = annotate_dask.work_out_on_dask(
            tmp_path / "in.h5ad", backed, graph, Options(groupby="cell"), "", done=done, client=client
        )
    backed.file.close()
    for column in COLUMNS:
        values = pd.Series(
            outcome.columns[f"gather_{column}"], index=serial.obs_names, name=f"gather_{column}"
        )
        pd.testing.assert_series_equal(values, serial.obs[f"gather_{column}"])
