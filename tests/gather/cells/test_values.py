"""Which values of a file are annotated: one choice for cell sets and for single cells, made on every value."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import gather
import gather.cells.row_blocks
from gather.cells.adata import work_out
from gather.cells.file import open_h5ad
from gather.cells.options import Options
from gather.cells.row_blocks import Rows
from gather.cells.values import Survey, survey_of, survey_rows
from vckg.base.errors import InputError

WAYS = ["group", "cell"]


def tall(blood_cells, n=3000):
    """The ninety cells again and again: more rows than a sample would look at; nothing but X."""
    rows = np.resize(np.arange(90), n)
    made = blood_cells[rows].copy()
    made.obs_names = [f"c{i}" for i in range(n)]
    del made.layers["counts"]
    return made


def logs(values):
    return np.log1p(values / values.sum(axis=1, keepdims=True) * 1e4)


def negative(x):
    x[2500, 3] = -0.5


def huge(x):
    x[2500, 3] = 1e38


def counts_behind_logs(x):
    whole = x[2000:].copy()
    x[:] = logs(x)
    x[2000:] = whole * 9000


def not_finite(x):
    x[2999, 0] = np.nan


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("groupby", WAYS)
@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
@pytest.mark.parametrize(
    ("change", "said"),
    [(negative, "negative"), (huge, "1e"), (counts_behind_logs, "mixes logarithms"), (not_finite, "NaN")],
)
def test_a_value_beyond_any_sample_is_seen(blood_graph, blood_cells, change, said, form, groupby):
    cells = tall(blood_cells)
    change(cells.X)
    if form != "dense":
        cells.X = getattr(sp, f"{form}_matrix")(cells.X)
    with pytest.raises(InputError, match=said):
        gather.annotate(cells, graph=blood_graph, groupby=groupby)


@pytest.mark.parametrize("groupby", WAYS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x.astype(complex), "complex128"),
        (lambda x: sp.csr_matrix(x.astype(complex)), "complex128"),
        (lambda x: np.where(x > 5, 2**62, x.astype(np.int64)), "no count and no logarithm"),
    ],
)
def test_values_that_are_no_expression_are_refused(blood_graph, blood_cells, change, said, groupby):
    del blood_cells.layers["counts"]
    blood_cells.X = change(blood_cells.X)
    with pytest.raises(InputError, match=said):
        gather.annotate(blood_cells, graph=blood_graph, groupby=groupby)


def scaled(cells):
    cells.X = (cells.X - cells.X.mean(axis=0)) / cells.X.std(axis=0)


def scaled_with_raw(cells):
    cells.raw = cells.copy()
    scaled(cells)


def scaled_with_small_raw(cells):
    cells.raw = cells[:, :25].copy()
    scaled(cells)
    del cells.layers["counts"]


def with_small_raw(cells):
    cells.raw = cells[:, :25].copy()


def plain(_cells):
    pass


@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize(
    ("change", "place"),
    [(plain, "X"), (scaled, "layers/counts"), (scaled_with_raw, "raw"), (scaled_with_small_raw, "raw"),
     (with_small_raw, "X")],
)  # fmt: skip
def test_cell_sets_and_single_cells_choose_the_same(
    blood_graph, blood_cells, tmp_path, change, place, backed
):
    change(blood_cells)
    blood_cells.write_h5ad(tmp_path / "in.h5ad")
    for groupby in WAYS:
        if backed:
            cells = open_h5ad(tmp_path / "in.h5ad", backed=groupby == "cell", known=True)
            outcome = work_out(cells, blood_graph, Options(groupby=groupby))
            if cells.isbacked:
                cells.file.close()
            chosen = outcome.kept["parameters"]["values"]
        else:
            gather.annotate(blood_cells, graph=blood_graph, groupby=groupby)
            chosen = blood_cells.uns["gather"]["parameters"]["values"]
        assert chosen == place


def slow_survey(values):
    """By its definition, cell by cell."""
    rows = [row for row in values if (row > 0).any()]
    return (
        min(0.0, float(values.min(initial=0))), max(0.0, float(values.max(initial=0))),
        all(float(v).is_integer() for v in values.ravel()), len(rows),
        sum(not all(float(v).is_integer() for v in row) and row.max() <= 30 for row in rows),
        [int((column > 0).sum()) for column in values.T],
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_a_survey_is_what_its_definition_says_in_blocks_of_any_size(monkeypatch, seed):
    rng = np.random.default_rng(seed)
    values = rng.poisson(0.7, (17, 5)) * rng.choice([1.0, 0.5, 40.0], (17, 1))
    for size in (1, 9, 1000):
        monkeypatch.setattr(gather.cells.row_blocks, "ENTRIES", size)
        for matrix in (values, sp.csr_matrix(values), sp.csc_matrix(values)):
            s = survey_rows(Rows(matrix))
            found = (s.least, s.largest, s.whole, s.cells, s.like_logs, s.detected.tolist())
            assert found == slow_survey(values)
            assert s.finite


def test_surveys_add_up():
    values = np.array([[0, 1.5], [-1, 0], [3, 40]])
    parts = [survey_of(values[i : i + 1]) for i in range(3)]
    total = sum(parts, Survey.empty(2))
    whole = survey_of(values)
    assert [getattr(total, f) for f in ("least", "largest", "whole", "cells", "like_logs")] == [
        getattr(whole, f) for f in ("least", "largest", "whole", "cells", "like_logs")
    ]
    assert total.detected.tolist() == whole.detected.tolist()


# ---- matrices whose indices lie


def lying(change):
    matrix = sp.random(6, 4, 0.5, format="csr", dtype=np.float32, random_state=0)
    change(matrix)
    return matrix


def beyond(m):
    m.indices[0] = 4


def below(m):
    m.indices[1] = -5


def backwards(m):
    m.indptr[2] = m.indptr[5] + 1


def too_many(m):
    m.indptr[-1] += 3


def no_zero(m):
    m.indptr[0] = 1


def short(m):
    m.data = m.data[:-1]


@pytest.mark.parametrize("change", [beyond, below, backwards, too_many, no_zero, short])
@pytest.mark.parametrize("form", ["memory", "csr", "csc"])
def test_indices_are_checked_before_compiled_code_follows_them(tmp_path, change, form):
    import h5py

    matrix = lying(change)
    if form == "memory":
        source = matrix
    else:
        group = h5py.File(tmp_path / "x.h5", "w").create_group("X")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(matrix, name)
        group.attrs["shape"] = (6, 4) if form == "csr" else (4, 6)
        group.attrs["encoding-type"] = f"{form}_matrix"
        source = group
    with pytest.raises(InputError, match="damaged"):
        survey_rows(Rows(source))


def test_a_matrix_of_another_shape_than_its_names_is_refused():
    with pytest.raises(InputError, match=r"shape \(3, 4\), wanted \(3, 5\)"):
        Rows(np.zeros((3, 4)), expected=(3, 5))


@pytest.mark.data
def test_real_files_are_as_they_were(mirror):
    """Every file of the mirror is counts or logarithms, and nothing about its values is refused."""
    for path in sorted((mirror / "h5ad").glob("*.h5ad")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cells = ad.read_h5ad(path)
        values = cells.raw.X if cells.raw is not None else cells.X
        found = survey_rows(Rows(values))
        found.check(path.name)
        assert found.cells == ((values > 0).sum(axis=1) > 0).sum(), path.name


# ---- ranking without scanpy


@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
@pytest.mark.parametrize("ranking", ["specific", "t-test"])
def test_the_t_ranking_is_that_of_scanpy(blood_graph, blood_cells, monkeypatch, form, ranking):
    """Names and strengths of every group, to single precision, in which scanpy keeps them."""
    import scanpy as sc

    from gather.cells.expression import rank_cell_sets, read_expression

    monkeypatch.setattr("gather.cells.expression._BLOCK_ROWS", 7)
    if form != "dense":
        blood_cells.X = getattr(sp, f"{form}_matrix")(blood_cells.X)
    expression = read_expression(blood_cells, blood_graph)
    groups = blood_cells.obs["group"].astype(str)
    ranked = rank_cell_sets(expression, groups.tolist(), ranking=ranking)
    columns = np.flatnonzero(expression.panel.nodes >= 0)
    view = ad.AnnData(expression.matrix[:, columns], var=pd.DataFrame(index=columns.astype(str)))
    view.obs["group"] = pd.Categorical(groups.to_numpy())
    view.uns["log1p"] = {"base": None}
    sc.tl.rank_genes_groups(view, "group", method="t-test", pts=True)
    table = view.uns["rank_genes_groups"]
    assert [s.name for s in ranked] == ["B cells", "T cells", "monocytes"]
    for cell_set in ranked:
        order = np.array([int(n) for n in table["names"][cell_set.name]])
        strength = table["scores"][cell_set.name].astype(float)
        if ranking == "specific":
            fold = np.minimum(table["logfoldchanges"][cell_set.name].astype(float), 5.0)
            pts = table["pts"].loc[order.astype(str), cell_set.name].to_numpy()
            strength = np.where(strength > 0, fold * pts, 0.0)
        expected = {expression.panel.names[c]: s for c, s in zip(order, strength, strict=True) if s > 0}
        assert set(cell_set.genes) == set(expected)
        assert cell_set.strengths == pytest.approx([expected[g] for g in cell_set.genes], rel=1e-5)
        assert list(cell_set.strengths) == sorted(cell_set.strengths, reverse=True)


def test_an_annotation_by_a_column_loads_no_scanpy(blood_graph, blood_cells, tmp_path):
    import subprocess
    import sys

    blood_cells.write_h5ad(tmp_path / "in.h5ad")
    blood_graph.save(tmp_path / "graph")
    script = (
        "import sys; from pathlib import Path; from gather.cells.command import annotate_file\n"
        "from gather.cells.options import Options; from vckg.graph.graph import Graph\n"
        "annotate_file(Path('in.h5ad'), Path('out.h5ad'), Graph.load(Path('graph')), Options('group'))\n"
        "print([m for m in ('scanpy', 'numba', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=tmp_path, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.stdout.strip() == "[]", done.stderr
