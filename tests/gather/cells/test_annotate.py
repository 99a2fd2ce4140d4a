"""AnnData as people have it: every kind that works, and every kind that does not, with its one line."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import gather
from gather.annotation import Mixture
from gather.cells.command import annotate_file
from gather.cells.expression import rank_cell_sets, read_expression
from gather.cells.options import Options
from gather.labelling.annotator import Annotator
from gather.retrieval.scores import NOT_PREFERRED
from vckg.base.errors import GraphError, InputError

TRUTH = {"T cells": "CL:0000084", "B cells": "CL:0000236", "monocytes": "CL:0000576"}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:anndata.*")


def answers(adata, graph, groupby="group", **options):
    assert gather.annotate(adata, groupby, graph=graph, **options) is None
    return gather.results(adata).annotations


def named(adata, graph, **options):
    return {a.cell_set: a.curie for a in answers(adata, graph, **options)}


def test_cells_are_named_in_place_like_scanpys_tools(blood_graph, blood_cells):
    assert named(blood_cells, blood_graph) == TRUTH
    assert set(blood_cells.obs["gather_cell_type"]) == {"T cell", "B cell", "monocyte"}
    assert (
        blood_cells.obs["gather_cell_type_ontology_term_id"]
        == blood_cells.obs["group"].map(TRUTH).astype(str)
    ).all()
    assert blood_cells.obs["gather_confidence"].between(0, 1).all()
    assert (blood_cells.obs["gather_fdr"] < 0.05).all()
    assert set(blood_cells.obs["gather_status"]) == {"named"}
    assert blood_cells.uns["gather"]["graph"] == blood_graph.content_hash
    assert blood_cells.uns["gather"]["parameters"]["closed"] is False


def test_evidence_names_genes_walks_sources_and_publications(blood_graph, blood_cells):
    found = answers(blood_cells, blood_graph)
    item = found[0].item(found[0].curie)
    best = item.walks[0]
    assert {g.symbol for g in item.genes} >= {"CD79A", "MS4A1"}
    assert sum(g.contribution for g in item.genes) == pytest.approx(1.0)
    assert [w.weight for w in item.walks] == sorted((w.weight for w in item.walks), reverse=True)
    assert best.nodes[-1] == found[0].curie
    assert best.hops == 1
    assert {e.source for e in best.steps[0]} == {"toy", "other"}
    assert best.steps[0][0].licence
    assert best.steps[0][0].publications
    assert best.steps[0][0].knowledge_level
    assert any(e.category == "BiologicalProcess" for e in found[0].convergence)


def test_annotations_survive_json(blood_graph, blood_cells):
    written = answers(blood_cells, blood_graph)[0].to_dict()
    assert json.loads(json.dumps(written)) == json.loads(json.dumps(written, sort_keys=True))
    assert written["candidates"][0]["curie"]


def test_the_same_input_gives_the_same_bytes(blood_graph, blood_cells):
    again = blood_cells.copy()
    gather.annotate(blood_cells, graph=blood_graph, groupby="group")
    gather.annotate(again, graph=blood_graph, groupby="group")
    for name, frame in blood_cells.uns["gather"]["tables"].items():
        pd.testing.assert_frame_equal(frame, again.uns["gather"]["tables"][name], check_exact=True)


def scaled_with_raw(adata):
    adata.raw = adata.copy()
    adata.X = (adata.X - adata.X.mean(axis=0)) / adata.X.std(axis=0)


def log_normalised(adata):
    adata.X = np.log1p(adata.X / adata.X.sum(axis=1, keepdims=True) * 1e4)


def per_million(adata):
    """Not whole, not a logarithm: TPM, or counts cleaned of ambient RNA."""
    adata.X = adata.X / adata.X.sum(axis=1, keepdims=True) * 1e6


def csr(adata):
    adata.X = sp.csr_matrix(adata.X)


def csc(adata):
    adata.X = sp.csc_matrix(adata.X)


def scaled_with_layer(adata):
    adata.X = (adata.X - adata.X.mean(axis=0)) / adata.X.std(axis=0)


def names_in_a_column(adata):
    adata.var["feature_name"] = adata.var_names.to_numpy()
    adata.var_names = [f"row{i}" for i in range(adata.n_vars)]


def ensembl_with_versions(adata):
    symbols = sorted(n for n in adata.var_names if not n.startswith("unheard"))
    version = {s: f"ENSG{i:011}.{i % 7 + 1}" for i, s in enumerate(symbols, start=1)}
    adata.var_names = [version.get(n, n) for n in adata.var_names]


def duplicated_names(adata):
    names = adata.var_names.to_list()
    names[-1] = names[0]
    adata.var_names = names


def text_groups(adata):
    adata.obs["group"] = adata.obs["group"].astype(str).astype(object)


SHAPES = [
    scaled_with_raw, scaled_with_layer, log_normalised, per_million, csr, csc, names_in_a_column,
    ensembl_with_versions, duplicated_names, text_groups,
]  # fmt: skip


def test_query_genes_are_told_by_symbol_where_the_file_has_ids(blood_graph, blood_cells):
    gather.annotate(blood_cells, graph=blood_graph, groupby="group")
    by_symbol = gather.results(blood_cells).annotations[0].query_genes
    ensembl_with_versions(blood_cells)
    gather.annotate(blood_cells, graph=blood_graph, groupby="group")
    assert gather.results(blood_cells).annotations[0].query_genes == by_symbol


@pytest.mark.parametrize("change", SHAPES)
def test_every_usual_shape_of_a_file_is_read(blood_graph, blood_cells, change):
    change(blood_cells)
    assert named(blood_cells, blood_graph) == TRUTH


def test_empty_cells_are_unknown_and_take_no_part(blood_graph, blood_cells):
    blood_cells.X[:3] = 0
    assert named(blood_cells, blood_graph) == TRUTH
    assert set(blood_cells.obs["gather_cell_type"][:3]) == {"unknown"}
    assert set(blood_cells.obs["gather_status"][:3]) == {"ungrounded"}
    assert blood_cells.uns["gather"]["parameters"]["cells_without_expression"] == 3


@pytest.mark.parametrize("value", [np.nan, ""])
def test_missing_groups_are_left_unknown_and_counted(blood_graph, blood_cells, value):
    blood_cells.obs["group"] = blood_cells.obs["group"].astype(object)
    blood_cells.obs.loc["c0", "group"] = value
    gather.annotate(blood_cells, graph=blood_graph, groupby="group")
    assert blood_cells.uns["gather"]["parameters"]["cells_without_group"] == 1
    assert blood_cells.obs["gather_cell_type"].iloc[0] == "unknown"


def test_one_group_or_one_cell_is_ranked_without_a_contrast(blood_graph, blood_cells):
    only = blood_cells[:30].copy()
    only.X[only.X < 3] = (
        0  # noise is as long a list as the 18 genes of the graph, among which nothing stands out
    )
    only.obs["group"] = "all"
    assert named(only, blood_graph) == {"all": "CL:0000084"}


def test_clusters_are_made_when_none_are_named(blood_graph, blood_cells):
    found = answers(blood_cells, blood_graph, "auto")
    assert {a.curie for a in found} == set(TRUTH.values())
    assert "gather_cell_set" in blood_cells.obs


def test_a_closed_set_says_so_and_keeps_to_it(blood_graph, blood_cells):
    found = answers(blood_cells, blood_graph, candidates=["T cell", "CL:0000236"])
    assert all(a.closed for a in found)
    assert {c.curie for a in found for c in a.candidates} <= {"CL:0000084", "CL:0000236"}
    blood_cells.obs["said"] = "B cell"
    found = answers(blood_cells, blood_graph, candidates_from_obs="said")
    assert {c.curie for a in found for c in a.candidates} == {"CL:0000236"}
    assert blood_cells.uns["gather"]["parameters"]["candidates_from_obs"] == "said"


def test_a_tissue_prefers_what_is_known_there_and_closes_nothing(blood_graph, blood_cells, monkeypatch):
    monkeypatch.setattr("gather.retrieval.candidates.ENOUGH", 1)
    plain = answers(blood_cells, blood_graph)
    found = answers(blood_cells, blood_graph, tissue="UBERON:0000178")
    scores = [{(a.cell_set, c.curie): c.score for a in them for c in a.candidates} for them in (plain, found)]
    assert scores[0].keys() == scores[1].keys()
    for (cell_set, curie), score in scores[0].items():
        weight = 1.0 if curie == "CL:0000576" else NOT_PREFERRED
        assert scores[1][cell_set, curie] == pytest.approx(weight * score)
    assert not any(a.closed for a in found)
    again = answers(blood_cells, blood_graph, tissue="blood")
    assert [a.candidates for a in again] == [a.candidates for a in found]
    assert blood_cells.uns["gather"]["parameters"]["tissue_types"] == 1
    assert blood_cells.uns["gather"]["parameters"]["tissue_ontology_term_id"] == "UBERON:0000178"


@pytest.mark.data
@pytest.mark.xdist_group("core-graph")
def test_the_command_names_the_labels_that_a_tissue_changed_and_doubts_a_wrong_one(
    core_graph, mirror, capsys
):
    cells = mirror / "h5ad" / "pbmc68k_reduced.h5ad"
    plain = annotate_file(cells, None, core_graph, Options(groupby="bulk_labels")).annotations
    for tissue, right in (("blood", True), ("retina", False)):
        capsys.readouterr()
        options = Options(groupby="bulk_labels", tissue=tissue)
        found, said = annotate_file(cells, None, core_graph, options).annotations, capsys.readouterr().err
        changed = [(a, b.label) for a, b in zip(found, plain, strict=True) if a.label != b.label]
        assert [a for a, _ in changed] == [a for a in found if "without the tissue: " in a.note]
        assert all(f"without the tissue: {before}" in a.note for a, before in changed)
        assert f"the tissue changed {f'{len(changed)} of 10 labels: ' if changed else 'no label'}" in said
        assert all(f"{a.cell_set}: {a.label}, not {before}" in said for a, before in changed)
        assert ("is the tissue right? only " not in said) is right
    assert changed
    for tissue, right in (("blood", True), ("retina", False)):  # to which a third of the single cells go over
        capsys.readouterr()
        annotate_file(cells, None, core_graph, Options(groupby="cell", tissue=tissue))
        assert ("is the tissue right? only " not in capsys.readouterr().err) is right


def test_a_mixed_set_tells_no_label_that_a_tissue_changed(blood_graph, blood_cells):
    one = replace(answers(blood_cells, blood_graph)[0], note="30 genes asked; without the tissue: T cell; x")
    mixture = Mixture(("CL:1", "CL:2"), ("a", "b"), 0.5, 0.1, 0.0)
    assert one.mixed_of(mixture).note == "30 genes asked; x"


def test_a_tissue_goes_with_a_list_of_candidates(blood_graph, blood_cells):
    found = answers(blood_cells, blood_graph, tissue="blood", candidates=["T cell", "B cell"])
    assert {c.label for a in found for c in a.candidates} <= {"T cell", "B cell"}
    assert all(a.closed for a in found)


def test_the_command_says_how_many_types_a_tissue_prefers(blood_graph, source, tmp_path, capsys, monkeypatch):
    every, options = blood_graph.nodes_of("Cell").size, Options(groupby="group", tissue="blood")
    for n, said in ((1, "are preferred"), (0, "are known there, so that it changes nothing")):
        annotate_file(source, tmp_path / f"{n}.h5ad", blood_graph, options)
        assert f"tissue blood (UBERON:0000178): {n} of {every} cell types {said}" in capsys.readouterr().err
        monkeypatch.setattr("gather.retrieval.candidates._placed", lambda *_: set())


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("tissue", ["blood"], True),
        ("tissue_ontology_term_id", ["UBERON:0000178"], True),
        ("tissue", ["blood", "lung"], False),
        ("tissue", ["no such tissue"], False),
    ],
)
def test_a_tissue_that_the_file_names_is_offered_and_not_taken(
    blood_graph, blood_cells, tmp_path, capsys, column, values, said
):
    blood_cells.obs[column] = [values[i % len(values)] for i in range(blood_cells.n_obs)]
    blood_cells.write_h5ad(tmp_path / "in.h5ad")
    annotate_file(tmp_path / "in.h5ad", tmp_path / "out.h5ad", blood_graph, Options(groupby="group"))
    assert (f"obs[{column!r}] names the tissue: --tissue blood would" in capsys.readouterr().err) is said


def test_unmeasured_markers_are_warned_of_and_negative_ones_reported(blood_graph, blood_cells):
    kept = blood_cells[
        :, [g for g in blood_cells.var_names if g not in ("CD14", "LYZ", "FCN1", "S100A8")]
    ].copy()
    kept.X[:30, kept.var_names.get_loc("CD19")] += 5
    found = {a.cell_set: a for a in answers(kept, blood_graph)}
    said = [w.message for a in found.values() for w in a.coverage]
    assert any("LYZ" in message and "monocyte" in message for message in said)
    against = found["T cells"].contradictions
    assert [(c.symbol, c.kind) for c in against] == [("CD19", "negative_present")]
    assert against[0].edges[0].relation == "is_negative_marker_for"
    expression = read_expression(kept, blood_graph)
    ranked = {one.name: one for one in rank_cell_sets(expression, kept.obs["group"].tolist())}["T cells"]
    gene = np.array(expression.panel.names) == "CD19"
    panel = replace(expression.panel, detected=np.where(gene, 0.1, expression.panel.detected))
    for inside, kinds in ((0.4, ["negative_present"]), (0.3, [])):  # another set has it in .7 of its cells
        seen = {k: np.where(gene, x, getattr(ranked, k)) for k, x in (("detected", inside), ("most", 0.7))}
        again = Annotator(blood_graph, panel).annotate_one(replace(ranked, **seen))
        assert [c.kind for c in again.contradictions] == kinds


# ---- what cannot be read
# --------------------------------------------------------------------------------------


def mouse_ids(adata):
    adata.var_names = [f"ENSMUSG{i:011}" for i in range(adata.n_vars)]


def nothing_grounds(adata):
    adata.var_names = [f"row{i}" for i in range(adata.n_vars)]


def scaled_without_raw(adata):
    del adata.layers["counts"]
    scaled_with_layer(adata)


def holes(adata):
    adata.X[0, 0] = np.nan


BAD = [
    (mouse_ids, "give mouse gene symbols"),
    (nothing_grounds, "gene names are known"),
    (lambda adata: adata._inplace_subset_var(["CD3D", "CD19"]), "measures 2 genes; cells need 5 known"),
    (scaled_without_raw, "no .raw"),
    (holes, "NaN or infinite"),
]


@pytest.mark.parametrize(("change", "said"), BAD)
def test_unusable_data_is_refused_with_a_reason_and_nothing_written(blood_graph, blood_cells, change, said):
    change(blood_cells)
    columns = list(blood_cells.obs)
    with pytest.raises(InputError, match=said):
        gather.annotate(blood_cells, graph=blood_graph, groupby="group")
    assert list(blood_cells.obs) == columns
    assert "gather" not in blood_cells.uns


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"groupby": "groop"}, "did you mean 'group'"),
        ({"groupby": "group", "score": "papers"}, "did you mean 'paper'"),
        ({"groupby": "group", "ranking": "wilcox"}, "did you mean 'wilcoxon'"),
        ({"groupby": "group", "layer": "count"}, "did you mean 'counts'"),
        ({"groupby": "group", "hops": 5}, "hops is 5"),
        ({"groupby": "group", "threshold": 2.0}, "between 0 and 1"),
        ({"groupby": "group", "candidates": ["T cell", "tea cell"]}, "'tea cell'"),
        ({"groupby": "group", "candidates_from_obs": "label"}, "no column 'label'"),
        ({"groupby": "group", "tissue": "UBERON:9"}, "no tissue"),
        ({"groupby": "group", "candidates_from_obs": "group", "candidates": ["T cell"]}, "only one"),
        ({"groupby": "group", "top": 0}, "top is 0"),
        ({"groupby": "group", "exclude_source": ["tay"]}, "did you mean 'toy'"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(blood_graph, blood_cells, options, said):
    with pytest.raises((InputError, GraphError), match=said):
        gather.annotate(blood_cells, graph=blood_graph, **options)


def test_columns_of_others_are_not_overwritten_but_ours_are(blood_graph, blood_cells):
    blood_cells.obs["gather_cell_type"] = "mine"
    with pytest.raises(InputError, match="--key-added"):
        gather.annotate(blood_cells, graph=blood_graph, groupby="group")
    gather.annotate(blood_cells, graph=blood_graph, groupby="group", key_added="named")
    gather.annotate(blood_cells, graph=blood_graph, groupby="group", key_added="named")
    assert set(blood_cells.obs["gather_cell_type"]) == {"mine"}


def test_a_users_column_of_cell_sets_is_kept(blood_graph, blood_cells):
    blood_cells.obs["gather_cell_set"] = "mine"
    with pytest.raises(InputError, match="gather_cell_set exists"):
        gather.annotate(blood_cells, graph=blood_graph)
    del blood_cells.obs["gather_cell_set"]
    gather.annotate(blood_cells, graph=blood_graph, groupby="group")  # writes no such column ...
    blood_cells.obs["gather_cell_set"] = "mine"  # ... so this one is the user's
    with pytest.raises(InputError, match="gather_cell_set exists"):
        gather.annotate(blood_cells, graph=blood_graph)
    del blood_cells.obs["gather_cell_set"]
    gather.annotate(blood_cells, graph=blood_graph)
    gather.annotate(blood_cells, graph=blood_graph)
    assert "mine" not in set(blood_cells.obs["gather_cell_set"])


@pytest.mark.parametrize("key", ["", "a/b", "../x", "a\nb", "a b", "/", ".", "x" * 65, "a\x00b"])
def test_a_key_is_a_plain_name(blood_graph, blood_cells, key):
    with pytest.raises(InputError, match="plain name"):
        gather.annotate(blood_cells, graph=blood_graph, groupby="group", key_added=key)


def test_direct_walks_weigh_what_their_genes_bring_to_the_score(blood_graph, blood_cells):
    for annotation in answers(blood_cells, blood_graph):
        for item in annotation.evidence:
            share = {gene.curie: gene.contribution for gene in item.genes}
            direct = [walk for walk in item.walks if walk.hops == 1]
            scale = sum(walk.weight for walk in direct) / sum(share[walk.gene] for walk in direct)
            assert [walk.weight for walk in direct] == pytest.approx([scale * share[w.gene] for w in direct])
            assert item.walks[: len(direct)] == tuple(direct)


def test_a_graph_may_be_named_by_its_folder(blood_graph, blood_cells, tmp_path):
    folder = blood_graph.save(tmp_path / "graph")
    by_object = answers(blood_cells.copy(), blood_graph)
    by_folder = answers(blood_cells.copy(), str(folder))
    assert [a.to_dict() for a in by_folder] == [a.to_dict() for a in by_object]


def test_a_column_of_symbols_is_found_however_its_name_is_written(blood_cells, blood_graph) -> None:
    symbols = blood_cells.var_names.to_numpy()
    blood_cells.var_names = [f"{name}|chr1" for name in symbols]
    blood_cells.var["Gene Symbol"] = symbols
    gather.annotate(blood_cells, "group", graph=blood_graph)
    assert blood_cells.uns["gather"]["parameters"]["gene_names"] == "Gene Symbol"
