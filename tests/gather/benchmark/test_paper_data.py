"""``gather data``: the paper's test sets from files of their public form, written by hand here."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from gather.benchmark.paper_data import prepare, prepare_own, stratified
from gather.benchmark.paper_protocol import official_cells, paper_sets
from tests.gather.benchmark.paper_form import public_form
from vckg.base.errors import InputError

pytestmark = pytest.mark.filterwarnings(
    "ignore::anndata.ImplicitModificationWarning", "ignore:Variable names are not unique:UserWarning"
)


@pytest.fixture(scope="module")
def atlas(core_graph):
    """Ninety cells of three labels and three donors, with the columns of the immune atlas's public file."""
    rng = np.random.default_rng(0)
    genes = [core_graph.names[i] for i in core_graph.nodes_of("Gene")[:300].tolist()]
    counts = sp.csr_matrix(rng.poisson(0.4, (90, 300)).astype(np.float32))
    obs = pd.DataFrame(
        {
            "Manually_curated_celltype": np.repeat(["Memory B cells", "T cell", "no such cell"], 30),
            "Donor": np.tile(["A29", "A31", "A35"], 30),
        },
        index=[f"cell{i}" for i in range(90)],
    )
    return ad.AnnData(counts, obs, pd.DataFrame(index=genes))


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_tenth_of_each_label_of_two_donors_becomes_sentences(atlas, core_graph, tmp_path):
    atlas.write_h5ad(tmp_path / "immune.h5ad")
    done = prepare_own("immune", tmp_path / "immune.h5ad", tmp_path / "out.jsonl", core_graph)
    rows = read(tmp_path / "out.jsonl")
    assert (done.cells, done.sentences, dict(done.unmapped)) == (60, 4, {"no such cell": 20})
    assert {r["cell_ontology_id"] for r in rows} == {"CL:0000787", "CL:0000084"}
    assert {atlas.obs.loc[r["cell"], "Donor"] for r in rows} <= {"A29", "A31"}


def test_genes_come_by_tfidf_over_the_kept_cells(atlas, core_graph, tmp_path):
    atlas.write_h5ad(tmp_path / "immune.h5ad")
    prepare_own(
        "immune", tmp_path / "immune.h5ad", tmp_path / "out.jsonl", core_graph, donors=["A35"], top=20
    )
    kept = atlas[atlas.obs["Donor"] == "A35"]
    counts = kept.X.toarray().astype(float)
    idf = np.log(len(counts) / ((counts > 0).sum(axis=0) + 1))
    for row in read(tmp_path / "out.jsonl"):
        cell = counts[list(kept.obs_names).index(row["cell"])]
        strength = np.where(cell > 0, np.log1p(cell * 1e4 / cell.sum()) * idf, 0)
        order = np.lexsort((np.arange(300), -np.round(strength, 6)))[:20]
        assert set(row["cell_sentence"].split()) == {kept.var_names[i] for i in order if strength[i] > 0}


def test_a_map_names_what_the_ontology_does_not(atlas, core_graph, tmp_path):
    atlas.write_h5ad(tmp_path / "immune.h5ad")
    (tmp_path / "map.tsv").write_text("label\tcl_id\nno such cell\tCL:0000236\n")
    done = prepare_own(
        "immune", tmp_path / "immune.h5ad", tmp_path / "o.jsonl", core_graph, label_map=tmp_path / "map.tsv"
    )
    assert not done.unmapped
    assert "CL:0000236" in {r["cell_ontology_id"] for r in read(tmp_path / "o.jsonl")}


def test_the_sample_is_stratified_and_repeats():
    labels = np.array(["a"] * 50 + ["b"] * 3 + [""] * 7, dtype=object)
    chosen = stratified(labels, 0.1, np.random.default_rng(1))
    assert [sum(labels[chosen] == x) for x in "ab"] == [5, 1]
    assert chosen.tolist() == stratified(labels, 0.1, np.random.default_rng(1)).tolist()


def test_an_absent_file_says_where_it_is_to_be_had(core_graph, tmp_path):
    with pytest.raises(InputError, match=r"abl5197 is not shipped; fetch dominguez_conde_immune"):
        prepare("immune", tmp_path / "absent.h5ad", tmp_path / "o", core_graph)
    with pytest.raises(InputError, match=r"abl5197 is not shipped; fetch https://cellgeni"):
        prepare("immune", tmp_path / "absent.h5ad", tmp_path / "o", core_graph, protocol="own")
    for protocol in ("paper", "own"):
        with pytest.raises(InputError, match=r"TS_Lung.h5ad.zip"):
            prepare("lung", None, tmp_path / "o", core_graph, protocol=protocol)
        with pytest.raises(InputError, match="did you mean 'lung'"):
            prepare("lungs", None, tmp_path / "o", core_graph, protocol=protocol)


def test_another_file_and_another_donor_are_refused(atlas, core_graph, tmp_path):
    atlas.write_h5ad(tmp_path / "immune.h5ad")
    with pytest.raises(InputError, match="no column 'cell_ontology_class'"):
        prepare("lung", tmp_path / "immune.h5ad", tmp_path / "o", core_graph)
    with pytest.raises(InputError, match="no donor 'A30'"):
        prepare_own("immune", tmp_path / "immune.h5ad", tmp_path / "o", core_graph, donors=["A30"])
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"protocol": "papers"}, "did you mean 'paper'"),
        ({"protocol": "own", "small": True}, "--small belongs to --protocol paper"),
        ({"own": {"donors": ["A29"]}}, "--donor is fixed by --protocol paper"),
        ({"own": {"top": 5}}, "--top is fixed by --protocol paper"),
    ],
)
def test_an_option_of_the_other_protocol_is_refused(atlas, core_graph, tmp_path, how, complaint):
    atlas.write_h5ad(tmp_path / "immune.h5ad")
    with pytest.raises(InputError, match=complaint):
        prepare("immune", tmp_path / "immune.h5ad", tmp_path / "o", core_graph, **how)
    assert not (tmp_path / "o").exists()


def test_the_paper_s_sentences_are_written_with_their_terms(core_graph, tmp_path):
    cells = public_form("lung")
    cells.write_h5ad(tmp_path / "lung.h5ad")
    done = prepare("lung", tmp_path / "lung.h5ad", tmp_path / "out.jsonl", core_graph)
    rows = read(tmp_path / "out.jsonl")
    expected = official_cells(cells, paper_sets()["lung"])
    assert [(r["cell_type"], r["cell_sentence"].split(), r["num_genes"]) for r in rows] == [
        (c.label, list(c.genes), len(c.genes)) for c in expected if c.label != "novel cell"
    ]
    assert {r["cell_type"]: r["cell_ontology_id"] for r in rows}["natural killer cell"] == "CL:0000623"
    lost = sum(cell.label == "novel cell" for cell in expected)
    assert lost > 0
    assert dict(done.unmapped) == {"novel cell": lost}
    assert done.sentences == len(rows) == len(expected) - lost
