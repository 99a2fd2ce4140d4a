"""What leaves gather beside the h5ad: labels alone, CELLxGENE's columns, the methods paragraph."""

import re

import anndata as ad
import pandas as pd
import pytest
from cellxgene_ontology_guide.ontology_parser import OntologyParser

import gather
import vckg
from gather.cells.cite import cite
from gather.cells.command import annotate_file
from gather.cells.exports import CELL_TYPE, MAY_BE_UNKNOWN, ONLY_THE_AUTHOR_KNOWS, cellxgene_columns
from gather.cells.options import Options
from gather.inputs.jobs import jobs_of
from vckg.base.errors import InputError


@pytest.fixture
def source(blood_cells, tmp_path):
    blood_cells.write_h5ad(tmp_path / "in.h5ad")
    return tmp_path / "in.h5ad"


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


def test_the_schemas_own_validator_has_nothing_against_the_columns(blood_graph, source, tmp_path) -> None:
    validate = pytest.importorskip(
        "cellxgene_schema.validate", reason="cellxgene-schema pins other versions of anndata and dask"
    )
    annotate_file(source, tmp_path / "out.h5ad", blood_graph, Options("group"), cellxgene=True)
    out = ad.read_h5ad(tmp_path / "out.h5ad")
    out.uns["organism_ontology_term_id"] = "NCBITaxon:9606"
    out.obs["tissue_type"] = pd.Categorical(["tissue"] * out.n_obs)
    checker = validate.Validator()
    checker.adata = out
    checker._set_schema_def()
    wanted = checker.schema_def["components"]["obs"]["columns"]
    for name in (CELL_TYPE, *MAY_BE_UNKNOWN):
        checker._validate_column(out.obs[name], name, "obs", wanted[name])
    assert [problem for problem in checker.errors if "ontology_term_id" in problem] == []


def test_what_was_used_is_cited_and_nothing_else(blood_graph, source, tmp_path) -> None:
    out = tmp_path / "out.h5ad"
    annotate_file(source, out, blood_graph, Options("group", threshold=0.55))
    text = cite(out, blood_graph)
    assert blood_graph.content_hash in text
    assert "confidence of 0.55" in text
    paragraph, *entries = text.split("\n\n")
    cited, listed = (
        set(re.findall(r"\[@(\w+)\]", paragraph)),
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
