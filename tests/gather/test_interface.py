"""The Python interface: what a notebook prints, what a table holds, what is drawn, and examples that run."""

import doctest
import importlib
import json
import subprocess
import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import gather
from gather.annotation import Annotation
from gather.labelling.frames import KEPT_VERSION, packed, tables, unpacked
from gather.retrieval.scores import Retriever
from vckg.base.errors import InputError

mpl.use("Agg")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:anndata.*", "ignore::FutureWarning:scanpy.*")


@pytest.fixture
def named(blood_graph, blood_cells):
    assert gather.annotate(blood_cells, "group", graph=blood_graph) is None
    return blood_cells


def test_annotate_returns_nothing_or_the_copy(blood_graph, blood_cells):
    copied = gather.annotate(blood_cells, "group", graph=blood_graph, copy=True)
    assert "gather" not in blood_cells.uns
    assert not [c for c in blood_cells.obs if c.startswith("gather")]
    assert gather.annotate(blood_cells, "group", graph=blood_graph) is None
    pd.testing.assert_frame_equal(copied.obs, blood_cells.obs)
    assert gather.results(copied) == gather.results(blood_cells)


def test_every_repr_is_one_short_line(named, blood_graph):
    found = gather.results(named)
    explained = gather.explain(["CD3D", "CD3E"], graph=blood_graph)
    for shown in (found, found["T cells"], found["T cells"].evidence[0], explained):
        assert len(repr(shown)) < 200
        assert "\n" not in repr(shown)
    assert repr(found) == f"gather.Results: 3 cell sets, 3 named, graph {blood_graph.content_hash[:8]}"


def test_results_are_a_table_and_a_mapping(named):
    found = gather.results(named)
    table = found.table()
    assert table.index.tolist() == ["B cells", "T cells", "monocytes"]
    assert table.loc["T cells", "id"] == "CL:0000084"
    assert table["cells"].sum() == named.n_obs
    assert table["best evidence"].str.contains("source").all()
    assert [a.cell_set for a in found] == table.index.tolist()
    assert "T cells" in found
    with pytest.raises(KeyError, match="did you mean 'T cells'"):
        found["T cell"]


def test_html_shows_the_table_and_escapes_every_text(named, blood_graph):
    html = gather.results(named)._repr_html_()
    assert html.count("<tr") == 5  # two of the head
    assert "CL:0000236" in html
    answer = Annotation("<script>alert(1)</script>", 1, "named", "<b>T</b>", "CL:1", 0.5, 0.1)
    hostile = gather.Results((answer,), "<i>")._repr_html_()
    assert "<script>" not in hostile
    assert "<b>" not in hostile
    assert "<i>" not in hostile
    explained = gather.explain(["CD3D", "CD3E"], graph=blood_graph)
    assert "CL:0000084" in explained._repr_html_()
    assert explained.table().loc["E1", "genes"] == "CD3D, CD3E"
    assert explained["CL:0000084"].name == "T cell"


def test_results_of_other_entries_are_refused(named):
    named.uns["other"] = {"format": "another tool"}
    with pytest.raises(InputError, match="found gather; run"):
        gather.results(named, "other")
    named.uns["old"] = named.uns["gather"] | {"format_version": 1}
    with pytest.raises(InputError, match=f"format version 1, wanted {KEPT_VERSION}"):
        gather.results(named, "old")
    whole = named.uns["gather"]["evidence"]
    for cut in (whole[:-9], whole[9:], whole[:0], np.array([1.5]), packed(())[::-1], None):
        named.uns["cut"] = named.uns["gather"] | {"evidence": cut}
        with pytest.raises(InputError, match="evidence is damaged"):
            gather.results(named, "cut")


@given(st.text(), st.floats(), st.lists(st.text(max_size=5)))
def test_any_text_and_number_survives_packing(text, number, genes):
    answer = Annotation(text, 1, "named", text, "CL:1", number, float("nan"), query_genes=tuple(genes))
    (again,) = unpacked(packed([answer]))
    assert repr(again.to_dict()) == repr(answer.to_dict())  # NaN is not equal to itself


def test_the_packing_keeps_all_of_an_annotation_and_takes_little_room(named):
    found = gather.results(named).annotations
    data = packed(found)
    assert unpacked(data) == found
    assert unpacked(packed(())) == ()
    assert len(data) < len(json.dumps([a.to_dict() for a in found])) / 5
    assert tables(found)["cell_sets"]["cell_type"].tolist() == [a.label for a in found]
    assert len(tables(found)["candidates"]) == sum(len(a.candidates) for a in found)
    assert list(tables(())["candidates"]) == list(tables(found)["candidates"])


def test_pictures_show_the_genes_of_the_evidence_and_the_confidence(named):
    plot = gather.pl.evidence_dotplot(named, "group", n_genes=2, return_fig=True)
    drawn = {name for genes in gather.pl.supporting_genes(gather.results(named), 2, set(named.var_names)).values()
             for name in genes}  # fmt: skip
    assert set(plot.var_names) == drawn
    assert len(drawn) == 6
    (axes, *_more) = gather.pl.confidence(named, show=False)
    assert axes.get_title() == "gather_cell_type"
    assert len(axes.collections[0].get_offsets()) == named.n_obs
    mpl.pyplot.close("all")


def test_a_mixed_set_is_drawn_with_both_names_and_its_own_colour(named):
    cells = named.copy()
    first = cells.obs["group"] == cells.obs["group"].iloc[0]
    cells.obs["gather_cell_type"] = cells.obs["gather_cell_type"].astype(str).mask(first, "unknown")
    cells.obs["gather_mixture"] = np.where(first, "T cell + B cell", "")
    before = cells.obs["gather_cell_type"].tolist()
    (axes, *_more) = gather.pl.confidence(cells, show=False)
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "mixed: T cell + B cell" in shown
    assert "unknown" not in shown
    colours = {tuple(colour) for colour in axes.collections[0].get_facecolors()}
    assert len(colours) == len(shown) == 3
    assert cells.obs["gather_cell_type"].tolist() == before
    mpl.pyplot.close("all")


def test_pictures_name_genes_as_the_column_of_var_that_gave_their_names(blood_graph, blood_cells):
    """CELLxGENE's files have Ensembl ids as var_names; a symbol that stands twice cannot be drawn."""
    blood_cells.var["feature_name"] = pd.Categorical(blood_cells.var_names)
    blood_cells.var_names = [f"ENSG9{i:010}" for i in range(blood_cells.n_vars)]
    gather.annotate(blood_cells, "group", graph=blood_graph)
    drawn = set(gather.pl.evidence_dotplot(blood_cells, "group", n_genes=2, return_fig=True).var_names)
    assert len(drawn) == 6
    assert drawn <= set(blood_cells.var["feature_name"])
    twice = sorted(drawn)[0]
    blood_cells.var["feature_name"] = [twice, twice, *blood_cells.var["feature_name"].astype(str)[2:]]
    assert twice not in gather.pl.evidence_dotplot(blood_cells, "group", n_genes=2, return_fig=True).var_names
    mpl.pyplot.close("all")


def test_the_dot_plot_shows_the_cell_sets_and_values_that_were_annotated(blood_graph, blood_cells):
    """Numbered clusters are no axis to cut into bins; X was scaled, and ids have symbols."""
    numbers = pd.Categorical(blood_cells.obs["group"]).codes.astype(float)
    numbers[0] = np.nan  # so that pandas keeps them as floats
    blood_cells.obs["cluster"] = numbers
    known = blood_graph.genes.ground(blood_cells.var_names)
    curies = [one.curie or f"ENSG9{i:010}" for i, one in enumerate(known)]
    blood_cells.layers["counts"] = blood_cells.X.copy()
    blood_cells.X = np.asarray(blood_cells.X.todense() if sp.issparse(blood_cells.X) else blood_cells.X) - 1.0
    symbols, blood_cells.var_names = list(blood_cells.var_names), curies
    gather.annotate(blood_cells, "cluster", graph=blood_graph)
    assert [a.cell_set for a in gather.results(blood_cells)] == ["0", "1", "2"]
    assert blood_cells.obs["gather_reason"].iloc[0] == "no_group"
    plot = gather.pl.evidence_dotplot(blood_cells, "cluster", n_genes=2, return_fig=True)
    assert plot.categories.tolist() == ["0", "1", "2"]
    assert set(plot.var_names) <= set(symbols)
    assert plot.dot_color_df.to_numpy().min() >= 0
    mpl.pyplot.close("all")


def test_a_text_in_place_of_a_list_is_one_entry(blood_graph, blood_cells):
    gather.annotate(blood_cells, "group", graph=blood_graph, candidates="T cell", exclude_source="other")
    assert {c.label for a in gather.results(blood_cells) for c in a.candidates} == {"T cell"}
    assert gather.explain("CD3D, CD3E;IL7R  LCK", graph=blood_graph).query.names == (
        "CD3D",
        "CD3E",
        "IL7R",
        "LCK",
    )


def test_explain_takes_the_folder_of_a_graph_and_shows_a_node_at_least(blood_graph, tmp_path):
    blood_graph.save(tmp_path / "graph")
    assert gather.explain(["CD3D"], graph=tmp_path / "graph").items[0].name == "T cell"
    for top in (0, -1):
        with pytest.raises(InputError, match="wanted at least one node"):
            gather.explain(["CD3D"], graph=blood_graph, top=top)


def test_an_explanation_is_a_row_of_evidence(blood_graph):
    found = gather.explain(["CD3D", "CD79A"], graph=blood_graph)
    assert tuple(found) == found.items
    assert len(found) == len(list(found)) > 1


def test_a_retriever_is_used_again_and_nothing_that_it_holds_is_given_twice(blood_graph):
    retriever = Retriever(blood_graph, target="Cell", score="paper")
    found = gather.explain(["CD3D"], retriever=retriever)
    assert found.to_dict() == gather.explain(["CD3D"], graph=blood_graph, score="paper").to_dict()
    held = {"graph": blood_graph, "target": "Disease", "score": "paper", "hops": 1, "exclude_source": "other"}
    for name, value in {**held, "species": "mouse"}.items():
        with pytest.raises(InputError, match="which it holds; give either"):
            gather.explain(["CD3D"], retriever=retriever, **{name: value})


@pytest.mark.parametrize(
    ("title", "release", "cited"),
    [
        ("CellMarker 2.0", "2.0", "CellMarker 2.0"),
        ("CellMarker 2.0, cancer", "2.0", "CellMarker 2.0, cancer"),
        ("PanglaoDB", "2020-03-27", "PanglaoDB 2020-03-27"),
        ("PanglaoDB", "", "PanglaoDB"),
    ],
)
def test_a_release_is_cited_once(make_annotation, title, release, cited):
    edge = make_annotation().evidence[0].walks[0].steps[0][0]
    assert replace(edge, source_title=title, release=release).cited_source == cited


def test_pictures_of_what_was_not_annotated_are_refused(blood_cells):
    with pytest.raises(InputError, match="run gather"):
        gather.pl.confidence(blood_cells)
    with pytest.raises(InputError, match="no column 'cluster'"):
        gather.pl.evidence_dotplot(blood_cells, "cluster")


def test_a_seed_that_no_generator_takes_is_refused(blood_graph, blood_cells):
    with pytest.raises(InputError, match="seed is -1"):
        gather.annotate(blood_cells, "auto", graph=blood_graph, seed=-1)


def test_an_option_that_does_not_exist_is_named(blood_graph, blood_cells):
    with pytest.raises(InputError, match="no option 'treshold'"):
        gather.annotate(blood_cells, "group", graph=blood_graph, treshold=0.5)


def test_what_a_user_builds_on_is_there_and_costs_nothing_to_import():
    assert all(getattr(gather, name) is not None for name in gather.__all__)
    assert gather.__version__
    heavy = (
        "import sys, gather; print([m for m in ('scanpy', 'scipy', 'numpy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["gather.cells.adata", "gather.cells.results", "gather.labelling.explain"])
def test_the_examples_of_the_docstrings_run(module, blood_graph, blood_cells):
    names = {"gather": gather, "graph": blood_graph, "adata": blood_cells, "np": np}
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    found = doctest.testmod(importlib.import_module(module), extraglobs=names, optionflags=flags)
    assert found.attempted > 1
    assert found.failed == 0
