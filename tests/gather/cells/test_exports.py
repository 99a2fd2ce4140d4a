"""What leaves gather beside the h5ad: labels alone, CELLxGENE's columns, the methods paragraph."""

import json
import os
import re
import subprocess

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cellxgene_ontology_guide.ontology_parser import OntologyParser

import gather
import vckg
from gather.cells.cite import cite
from gather.cells.command import annotate_file
from gather.cells.exports import CELL_TYPE, ONLY_THE_AUTHOR_KNOWS, cellxgene_columns
from gather.cells.options import Options
from gather.inputs.jobs import jobs_of
from tests.battery.rows import ensembl_ids
from vckg.base.errors import InputError


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_labels_alone_are_a_table_of_all_cells(blood_graph, source, tmp_path, ending) -> None:
    table = tmp_path / f"labels.{ending}"
    annotate_file(source, tmp_path / "out.h5ad", blood_graph, Options("group"), obs=table)
    labels = pd.read_csv(table, index_col=0) if ending == "csv" else pd.read_parquet(table)
    obs = ad.read_h5ad(tmp_path / "out.h5ad").obs
    assert labels.index.tolist() == obs.index.tolist()
    assert labels["gather_cell_type"].tolist() == obs["gather_cell_type"].tolist()
    assert list(labels) == [c for c in obs if c.startswith("gather_")]


def test_a_table_of_labels_has_one_of_two_endings_and_one_input(source, tmp_path) -> None:
    with pytest.raises(InputError, match=r"ends in \.csv or \.parquet"):
        jobs_of([source], None, None, tmp_path / "labels.xlsx", overwrite=False)
    with pytest.raises(InputError, match="one by one"):
        jobs_of([source, source], tmp_path, None, tmp_path / "labels.csv", overwrite=False)
    (tmp_path / "labels.csv").write_text("old")
    with pytest.raises(InputError, match="exists"):
        jobs_of([source], None, None, tmp_path / "labels.csv", overwrite=False)


def test_the_columns_of_cellxgene_are_terms_of_its_ontologies(blood_graph, source, tmp_path, capsys) -> None:
    annotate_file(source, tmp_path / "out.h5ad", blood_graph, Options("group"), cellxgene=True)
    assert "only you know assay_ontology_term_id, disease_ontology_term_id" in capsys.readouterr().err
    obs, guide = ad.read_h5ad(tmp_path / "out.h5ad").obs, OntologyParser()
    assert obs[CELL_TYPE].tolist() == obs["gather_cell_type_ontology_term_id"].tolist()
    for term in obs[CELL_TYPE].cat.categories:
        assert guide.is_valid_term_id(term, "CL")
        assert not guide.is_term_deprecated(term)
        assert "CL:0000000" in guide.get_term_ancestors(term)
    assert set(obs["sex_ontology_term_id"]) == {"unknown"}
    with pytest.raises(InputError, match="which the file has already; rename"):
        annotate_file(
            tmp_path / "out.h5ad", tmp_path / "b.h5ad", blood_graph, Options("group"), cellxgene=True
        )


def test_too_general_a_type_is_unknown_to_cellxgene_and_columns_of_the_author_stay() -> None:
    obs = pd.DataFrame(
        {"sex_ontology_term_id": ["PATO:0000384"] * 3, "assay_ontology_term_id": ["EFO:0009922"] * 3}
    )
    written, wanted = cellxgene_columns(obs, ["CL:0000548", "CL:0000084", "unknown"], human=False)
    assert written[CELL_TYPE].tolist() == ["unknown", "CL:0000084", "unknown"]
    assert written["self_reported_ethnicity_ontology_term_id"].tolist() == ["na"] * 3
    assert "sex_ontology_term_id" not in written
    assert wanted == ONLY_THE_AUTHOR_KNOWS[1:]


AUTHOR = {
    "assay_ontology_term_id": "EFO:0009922", "disease_ontology_term_id": "PATO:0000461",
    "tissue_ontology_term_id": "UBERON:0000178", "tissue_type": "tissue", "suspension_type": "cell",
    "donor_id": "d1", "is_primary_data": False,
}  # fmt: skip
"""What only the author of a file knows."""
VALIDATE = """
import json, sys
from cellxgene_schema.validate import Validator
checker = Validator()
print(json.dumps([checker.validate_adata(sys.argv[1]), checker.errors]))
"""


def submission(mirror, graph) -> ad.AnnData:
    """Blood cells as CELLxGENE wants them, but for the columns that gather writes."""
    cells = ad.read_h5ad(mirror / "h5ad" / "pbmc_kang18_ifnb_muscat.h5ad")
    ids = ensembl_ids(graph, cells.var_names)
    cells = cells[:, [name in ids for name in cells.var_names]]
    obs = cells.obs[["cluster_id"]].assign(**AUTHOR)
    var = pd.DataFrame(index=pd.Index([ids[name] for name in cells.var_names]))
    counts = sp.csr_matrix(cells.layers["counts"], dtype=np.float32)
    made = ad.AnnData(counts, obs=obs, var=var)
    made.raw = made.copy()
    made.X = counts.log1p()
    made.var["feature_is_filtered"] = False
    for name in set(AUTHOR) - {"is_primary_data"}:
        made.obs[name] = made.obs[name].astype("category")
    made.obsm["X_umap"] = np.random.default_rng(0).normal(size=(cells.n_obs, 2)).astype(np.float32)
    made.uns = {"title": "blood", "organism_ontology_term_id": "NCBITaxon:9606"}
    return made


@pytest.mark.data
def test_the_validator_of_cellxgene_accepts_a_whole_file(mirror, tmp_path, request) -> None:
    """Run by hand: cellxgene-schema pins other versions, so it has an environment of its own."""
    python = os.environ.get("VCKG_CELLXGENE_PYTHON")
    if python is None:
        pytest.skip("VCKG_CELLXGENE_PYTHON names no Python that has cellxgene-schema")
    graph = request.getfixturevalue("core_graph")
    submission(mirror, graph).write_h5ad(tmp_path / "in.h5ad")
    annotate_file(tmp_path / "in.h5ad", tmp_path / "out.h5ad", graph, Options("cluster_id"), cellxgene=True)
    done = subprocess.run(
        [python, "-W", "ignore", "-c", VALIDATE, tmp_path / "out.h5ad"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [True, []]


def test_what_was_used_is_cited_and_nothing_else(blood_graph, source, tmp_path) -> None:
    out = tmp_path / "out.h5ad"
    annotate_file(source, out, blood_graph, Options("group", threshold=0.55))
    text = cite(out, blood_graph)
    assert blood_graph.content_hash[:12] in text
    assert "confidence of 0.55" in text
    assert "ranked by log2 fold change times the fraction" in text  # in words, not the names of options
    assert "calibrated" not in text
    entries = [part for part in text.split("\n\n") if part.startswith("@")]
    cited, listed = (
        set(re.findall(r"\[@(\w+)\]", text)),
        re.findall(r"^@\w+\{(\w+),", text, re.MULTILINE),
    )
    assert cited == set(listed)
    assert len(listed) == len(set(listed)) == len(entries)
    shown = {
        edge.source
        for answer in gather.results(ad.read_h5ad(out))
        for item in answer.evidence
        for walk in item.walks
        for step in walk.steps
        for edge in step
    }
    assert shown <= cited
    assert "scanpy" not in cited  # neither its clustering nor its tests were used
    assert all(entry.count("{") == entry.count("}") for entry in entries)


def test_another_graph_or_no_annotation_is_told(blood_graph, source, tmp_path) -> None:
    with pytest.raises(InputError, match="no annotation in uns"):
        cite(source, blood_graph)
    annotate_file(source, tmp_path / "out.h5ad", blood_graph, Options("group"))
    with pytest.raises(InputError, match=r"annotated with the graph .* by --graph"):
        cite(tmp_path / "out.h5ad", vckg.example_graph())
