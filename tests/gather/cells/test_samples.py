import anndata as ad
import numpy as np
import pytest

from gather.cells.adata import work_out
from gather.cells.options import Options
from gather.cells.samples import OF_ONE_SAMPLE
from gather.inputs.command import annotate_inputs
from gather.inputs.jobs import Reading, jobs_of
from vckg.base.errors import InputError


def test_genes_are_ranked_within_samples_and_disagreement_is_listed(blood_graph, blood_cells) -> None:
    donors = np.array(["d1", "d2"])[np.arange(90) % 2]
    donors[60:] = "d2"  # all monocytes are of one donor
    blood_cells.obs["donor"] = donors
    outcome = work_out(blood_cells, blood_graph, Options(groupby="group", sample_key="donor"))
    assert {a.cell_set: a.label for a in outcome.annotations} == {
        "B cells": "B cell", "T cells": "T cell", "monocytes": "monocyte",
    }  # fmt: skip
    notes = {a.cell_set: a.note for a in outcome.annotations}
    assert "samples that agree: 2 of 2" in notes["T cells"]
    assert "30 of 30 cells are of one sample (d2)" in notes["monocytes"]
    table = outcome.kept["tables"]["samples"]
    assert len(table) == 5
    assert table["agrees"].all()


def test_what_differs_between_samples_is_no_marker(blood_graph, blood_cells) -> None:
    """CD14 soils one sample with most of the T cells: pooled it marks T cells, within samples it does not."""
    from gather.cells.expression import read_expression
    from gather.cells.samples import rank_within_samples

    blood_cells = blood_cells[:60].copy()
    samples = np.where(np.arange(60) < 24, "s1", "s2").astype(object)
    samples[54:] = "s1"
    values = blood_cells.X.copy()
    values[samples == "s1", blood_cells.var_names.get_loc("CD14")] += 9
    blood_cells.X = values
    groups = blood_cells.obs["group"].astype(str).to_numpy().astype(object)
    expression = read_expression(blood_cells, blood_graph)
    alone = np.full(60, "s", dtype=object)
    pooled = next(s for s in rank_within_samples(expression, groups, alone).sets if s.name == "T cells")
    within = next(s for s in rank_within_samples(expression, groups, samples).sets if s.name == "T cells")
    strength = [dict(zip(s.genes, s.strengths, strict=True)).get("CD14", 0.0) for s in (pooled, within)]
    assert strength[0] > 2 * strength[1]


@pytest.mark.data
def test_samples_of_a_study_agree_and_a_cluster_of_one_donor_is_flagged(core_graph, mirror) -> None:
    cells = ad.read_h5ad(mirror / "h5ad" / "pbmc_kang18_ifnb_muscat.h5ad")
    groups = cells.obs["cluster_id"].astype(str)
    planted = (groups == "CD14+ Monocytes") & (cells.obs["sample_id"] == "stim107")
    cells.obs["cluster_id"] = groups.where(~planted, "planted").astype("category")
    outcome = work_out(cells, core_graph, Options(groupby="cluster_id", sample_key="sample_id"))
    table = outcome.kept["tables"]["samples"]
    assert table["agrees"].mean() >= 0.9
    flagged = [a.cell_set for a in outcome.annotations if OF_ONE_SAMPLE in a.note]
    assert flagged == ["planted"]
    assert f"100 of 100 {OF_ONE_SAMPLE} (stim107)" in next(
        a.note for a in outcome.annotations if a.cell_set == "planted"
    )


def test_samples_are_refused_where_there_are_none(blood_graph, blood_cells, tmp_path) -> None:
    blood_cells.obs["donor"] = "d1"
    with pytest.raises(InputError, match="--sample-key is for cell sets"):
        work_out(blood_cells, blood_graph, Options(groupby="cell", sample_key="donor"))
    (tmp_path / "m.gmt").write_text("T\tmarkers\tCD3D\tCD3E\tCD2\n")
    jobs = jobs_of([tmp_path / "m.gmt"], None, None, overwrite=False)
    with pytest.raises(InputError, match="has no samples; leave --sample-key out"):
        annotate_inputs(jobs, blood_graph, Options(sample_key="donor"), Reading())


def test_a_missing_sample_column_is_named(blood_graph, blood_cells) -> None:
    blood_cells.obs["donor"] = "d1"
    with pytest.raises(InputError, match=r"no column 'doner' in obs \(did you mean 'donor'\?\)"):
        work_out(blood_cells, blood_graph, Options(groupby="group", sample_key="doner"))
