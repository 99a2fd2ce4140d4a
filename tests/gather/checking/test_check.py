"""`gather.check`: labels that are right, swapped, merged, unknown or unmapped, on toy cells and on real ones."""

import doctest
import importlib
import json

import numpy as np
import pytest

import gather
from gather.checking.mapping import map_labels, read_mapping, write_mapping
from gather.checking.opinion import TABLE, Marker
from gather.checking.queue import reasons, worth
from gather.checking.terminal import against, print_check
from gather.checking.weighing import all_absent
from gather.retrieval.candidates import ground_cell_types
from vckg.base.errors import GraphError, InputError
from vckg.base.resources import resource

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:anndata.*", "ignore::FutureWarning")


def swapped(column, first, second):
    return column.astype(str).replace({first: second, second: first})


def test_right_labels_are_not_in_the_queue(blood_graph, blood_cells):
    before = blood_cells.obs.copy()
    found = gather.check(blood_cells, ["group"], graph=blood_graph)
    assert [one.cell_set for one in found] == ["B cells", "T cells", "monocytes"]
    assert {check.relation for check in found.checks} == {"same"}
    assert found.queue == ()
    (check,) = found["T cells"].labels
    assert (check.mapped.curie, check.mapped.how, check.share, check.rank) == (
        "CL:0000084",
        "normalised",
        1.0,
        1,
    )
    assert set(check.with_state("present")) == {"CD3D", "CD3E", "CD2", "IL7R", "LCK", "TRAC"}
    assert check.evidence is not None
    assert check.evidence.walks[0].nodes[-1] == "CL:0000084"
    assert check.worth == pytest.approx(1 - check.standing)
    assert found["T cells"].consensus is None
    assert blood_cells.obs.equals(before)


def test_swapped_lineages_lead_the_queue_with_their_evidence(blood_graph, blood_cells):
    blood_cells.obs["wrong"] = swapped(blood_cells.obs["group"], "T cells", "monocytes")
    found = gather.check(blood_cells, "wrong", graph=blood_graph)
    assert {check.cell_set for check in found.queue} == {"T cells", "monocytes"}
    first = found.queue[0]
    assert first.reasons == ("conflict",)
    assert first.worth > 0.9
    assert first.fdr > 0.5
    assert set(found["monocytes"].labels[0].with_state("absent")) <= {
        "CD14",
        "LYZ",
        "FCN1",
        "S100A8",
        "VCAN",
        "CSF1R",
    }
    assert found["B cells"].labels[0].reasons == ()


def test_a_merged_cluster_shows_as_a_mixture(blood_graph, blood_cells):
    obs = blood_cells.obs
    obs["cluster"] = np.where(obs["group"] == "B cells", "1", "0")
    found = gather.check(blood_cells, ["group"], "cluster", graph=blood_graph)
    merged, pure = (found[name].labels[0] for name in "01")
    assert merged.share == 0.5
    assert "mixed" in merged.reasons
    assert merged.worth >= 0.5
    assert (pure.share, pure.reasons) == (1.0, ())


def test_columns_are_compared_and_the_evidence_says_who_is_right(blood_graph, blood_cells):
    obs = blood_cells.obs
    obs["other"] = swapped(obs["group"], "T cells", "monocytes")
    obs["coarse"] = "hematopoietic cell"
    found = gather.check(blood_cells, ["group", "other", "coarse"], graph=blood_graph, weights={"group": 3.0})
    agreed = found["T cells"].consensus
    assert (agreed.curie, agreed.share, agreed.supporting) == ("CL:0000084", 0.6, ("group",))
    assert [(d.column, d.evidence) for d in agreed.dissents] == [("other", "consensus")]
    misled = gather.check(blood_cells, ["group", "other"], graph=blood_graph, weights={"other": 3.0})
    agreed = misled["T cells"].consensus
    assert agreed.curie == "CL:0000576"
    assert [(d.column, d.evidence) for d in agreed.dissents] == [("group", "theirs")]
    assert misled["T cells"].labels[1].reasons == ("conflict",)


def test_a_label_without_a_term_is_shown_and_mended_by_the_table(blood_graph, blood_cells, tmp_path):
    blood_cells.obs["author"] = (
        blood_cells.obs["group"].astype(str).replace({"T cells": "Tc-17, T cell like"})
    )
    found = gather.check(blood_cells, ["author"], graph=blood_graph)
    (lost,) = found.queue
    assert (lost.relation, lost.reasons, lost.worth) == ("not grounded", ("not grounded",), 0.5)
    assert lost.mapped.suggestions == ("CL:0000084",)
    table = tmp_path / "map.tsv"
    write_mapping(table, found.mapping)
    assert read_mapping(table, blood_graph)["Tc-17, T cell like"] == ""
    table.write_text(table.read_text().replace("like\t\t", "like\tCL_0000084\t"))
    mended = gather.check(blood_cells, ["author"], graph=blood_graph, mapping=table)
    assert mended.queue == ()
    assert mended["Tc-17, T cell like"].labels[0].mapped.how == "mapping"


def test_cells_without_label_do_not_count_and_a_set_without_any_is_not_grounded(blood_graph, blood_cells):
    obs = blood_cells.obs
    obs["part"] = obs["group"].astype(str).where(np.arange(90) % 3 == 0)
    obs.loc[obs["group"] == "B cells", "part"] = None
    found = gather.check(blood_cells, ["group", "part"], graph=blood_graph)
    assert found["T cells"].labels[1].share == 1.0
    empty = found["B cells"].labels[1]
    assert (empty.label, empty.share, empty.relation) == ("", 0.0, "not grounded")
    assert found["B cells"].consensus.supporting == ("group",)


def test_the_result_is_a_table_a_mapping_and_json(blood_graph, blood_cells):
    blood_cells.obs["wrong"] = swapped(blood_cells.obs["group"], "T cells", "monocytes")
    found = gather.check(blood_cells, ["group", "wrong"], graph=blood_graph)
    table = found.table()
    assert tuple(table.columns) == TABLE
    assert len(table) == 6
    assert table["worth"].is_monotonic_decreasing
    assert table.loc[0, "column"] == "wrong"
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["format"] == "gather-check"
    assert [q["cell_set"] for q in plain["queue"]] == [c.cell_set for c in found.queue]
    assert repr(found).startswith("gather.CheckResult: 3 cell sets, labels of group, wrong, 2 to review")
    assert "<table" in found._repr_html_()
    with pytest.raises(KeyError, match="did you mean 'T cells'"):
        found["T cell"]


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([], {}, "name one with --labels"),
        (["groop"], {}, r"did you mean 'group'\?"),
        (["group", "group"], {}, "named twice"),
        (["group"], {"groupby": "cell"}, "by cell set"),
        (["group"], {"groupby": "nothing"}, "no column 'nothing'"),
        (["group"], {"weights": {"author": 2.0}}, "no column of --labels"),
        (["group"], {"weights": {"group": -1.0}}, "positive number"),
        (["group"], {"groupby_": "group"}, "no option 'groupby_'"),
        (["value"], {}, "no cell sets"),
    ],
)
def test_what_cannot_be_checked_is_refused_in_one_line(blood_graph, blood_cells, labels, options, message):
    blood_cells.obs["value"] = np.linspace(0, 1, 90)
    with pytest.raises(InputError, match=message) as error:
        gather.check(blood_cells, labels, graph=blood_graph, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,id\n", ":1: no column 'label'"),
        ("label\tcell_type_ontology_term_id\na\tCL:0000084\na\t\n", ":3: label 'a' stands twice"),
        ("label\tcell_type_ontology_term_id\na\tCL:9999999\n", ":2: 'CL:9999999' is no cell type"),
    ],
)
def test_a_wrong_mapping_is_refused_with_its_line(blood_graph, tmp_path, text, message):
    path = tmp_path / "map.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_mapping(path, blood_graph)
    with pytest.raises(InputError, match="cannot be read"):
        read_mapping(tmp_path / "absent.tsv", blood_graph)
    path.write_text("x" * 200_000)
    with pytest.raises(InputError, match="cannot be read as a mapping"):
        read_mapping(path, blood_graph)


def test_an_id_that_is_no_cell_type_is_refused(blood_graph, blood_cells):
    with pytest.raises(GraphError, match="CL:0"):
        gather.check(blood_cells, ["group"], graph=blood_graph, mapping={"T cells": "CL:0"})


def test_a_mapping_may_say_that_a_label_has_no_term(blood_graph):
    found = map_labels(blood_graph, ["T cell"], {"T cell": ""})["T cell"]
    assert (found.curie, found.how) == ("", "mapping")


@pytest.mark.data
def test_a_label_without_the_word_cell_means_the_type_of_that_very_name(core_graph):
    """*Luminal cell* is a synonym of a cell of the prostate: such labels stay with the reader."""
    found = map_labels(core_graph, ["Dendritic", "plasma", "TEC", "Lymphoid", "Luminal"])
    assert {label: found[label].name for label in ("Dendritic", "plasma")} == {
        "Dendritic": "dendritic cell",
        "plasma": "plasma cell",
    }
    assert [found[label].curie for label in ("TEC", "Lymphoid", "Luminal")] == ["", "", ""]


def test_a_label_of_another_tool_whose_term_a_graph_lacks_is_unknown_there(blood_graph):
    """The toy graph has no such types; the words of one are in another order than in the table."""
    found = map_labels(blood_graph, ["Mk Prog", "Podo"])
    assert [(one.curie, one.how) for one in found.values()] == [("", "unknown")] * 2


@pytest.mark.data
def test_a_label_on_four_cells_is_last_and_says_so(blood_graph, blood_cells):
    labels = swapped(blood_cells.obs["group"], "T cells", "monocytes").to_numpy()
    labels[:4] = "B lymphocytes of mine"
    blood_cells.obs["wrong"] = labels
    found = gather.check(blood_cells, "wrong", graph=blood_graph)
    assert len(found.queue) == 3
    last = found.queue[-1]
    assert (last.label, last.worth, last.reasons) == ("B lymphocytes of mine", 0.0, ("few cells",))
    assert against(last).startswith("4 of the 5 cells that a set needs")


@pytest.mark.parametrize(
    ("labels", "clusters"),
    [
        (["A", "B", "C"], True),
        (["a", "b", "d"], True),
        (["cluster 1", "c2", "10", "0,1"], True),
        (["B", "T"], False),
        (["B"], False),
        (["A", "B", "T cell"], False),
    ],
)
def test_a_column_of_numbers_or_of_letters_names_clusters(blood_graph, labels, clusters):
    found = map_labels(blood_graph, labels)
    assert all(one.how == "cluster" and not one.curie for one in found.values()) is clusters


def test_names_of_clusters_are_not_asked_about_and_a_term_goes_before_them(blood_graph, blood_cells, capsys):
    kinds = blood_cells.obs["group"].astype(str)
    letters = dict(zip(sorted(set(kinds)), "ABCDEFGHIJ", strict=False))
    blood_cells.obs["my letters"] = kinds.map(letters)
    found = gather.check(blood_cells, "my letters", graph=blood_graph)
    assert not found.queue
    print_check(found)
    said = capsys.readouterr().err
    assert "'my letters' holds names of clusters" in said
    assert "gather annotate --groupby 'my letters'" in said
    assert "--write-mapping" not in said
    blood_cells.obs["short"] = kinds.map({"B cells": "B"}).fillna("T")
    both = gather.check(blood_cells, ["my letters", "short"], graph=blood_graph)
    assert {m.label: m.curie for m in both.mapping}["B"] == "CL:0000236"


def test_labels_of_other_tools_have_a_term(core_graph):
    """10x, Azimuth, CellTypist, SingleR's references and CIBERSORT; states and numbers are no part of a type."""
    wanted = {
        "CD19+ B": "B cell",
        "CD4+/CD25 T Reg": "CD4-positive, CD25-positive, alpha-beta regulatory T cell",
        "NK Proliferating": "natural killer cell",
        "L2/3 IT": "L2/3 intratelencephalic projecting glutamatergic neuron",
        "DC2": "CD1c-positive myeloid dendritic cell",
        "T_cell:CD4+": "CD4-positive, alpha-beta T cell",
        "Pre-B_cell_CD34-": "precursor B cell",
        "CD8+ T-cells": "CD8-positive, alpha-beta T cell",
        "T cells CD4 memory resting": "CD4-positive, alpha-beta memory T cell",
        "T cells regulatory (Tregs)": "regulatory T cell",
        "Mast cells resting": "mast cell",
        "Fibroblasts_1": "fibroblast",
        "Monocyte.1": "monocyte",
    }
    found = map_labels(core_graph, [*wanted, "Doublets", "Unknown", "7"])
    assert {label: found[label].name for label in wanted} == wanted
    assert [found[label].how for label in ("CD19+ B", "T_cell:CD4+", "Monocyte.1")] == [
        "tool_label", "word_order", "without_state",
    ]  # fmt: skip
    assert [found[label].curie for label in ("Doublets", "Unknown", "7")] == ["", "", ""]


@pytest.mark.data
def test_every_label_of_the_table_stands_for_a_class_of_that_name(core_graph):
    with resource("data", "tool_labels.tsv").open(encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines if not line.startswith("#")][1:]
    assert len({label for label, _, _ in rows}) == len(rows)
    assert [row for row in rows if core_graph.names[core_graph.index(row[1])] != row[2]] == []


def test_worth_and_reasons():
    assert worth(1.0, 1.0) == 0.0
    assert worth(0.5, 0.5) == 0.75
    assert reasons("conflict", 0.95, 1.0) == ("conflict",)
    assert reasons("conflict", 0.1, 1.0) == ("weak conflict",)
    assert reasons("same", 0.9, 1.0, mixed=True) == ("mixed",)
    assert reasons("coarser", 1.0, 1.0) == ()


@pytest.mark.parametrize(
    "module", ["gather.checking.check", "gather.checking.queue", "gather.checking.consensus"]
)
def test_the_examples_of_the_docstrings_run(module, blood_graph, blood_cells):
    names = {"gather": gather, "graph": blood_graph, "adata": blood_cells}
    found = doctest.testmod(importlib.import_module(module), extraglobs=names)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.data
def test_two_swapped_lineages_of_real_cells_are_found_and_nothing_else(mirror, core_graph):
    """Kang's five types of blood: authors' labels raise no conflict, B cells and monocytes swapped raise two."""
    import anndata as ad

    adata = ad.read_h5ad(mirror / "h5ad" / "pbmc_kang18_ifnb_muscat.h5ad")
    adata.obs["wrong"] = swapped(adata.obs["cluster_id"], "B cells", "CD14+ Monocytes")
    found = gather.check(adata, ["cluster_id", "wrong"], graph=core_graph)
    right, wrong = (
        {c.cell_set for c in found.checks if c.column == column and "conflict" in c.reasons}
        for column in ("cluster_id", "wrong")
    )
    assert right == set()
    assert wrong == {"B cells", "CD14+ Monocytes"}
    agreed = found["B cells"].consensus
    assert agreed.share == 1.0
    assert agreed.curie not in ("CL:0000236", "CL:0001054")


def test_labels_of_one_meaning_count_together_and_the_others_are_named(blood_graph, blood_cells):
    obs = blood_cells.obs
    obs["author"] = obs["group"].astype(str)
    first = obs.index[obs["group"] == "T cells"]
    obs.loc[first[::2], "author"] = "T_cell"
    (same,) = gather.check(blood_cells, ["author"], "group", graph=blood_graph)["T cells"].labels
    assert (same.share, same.others, same.reasons) == (1.0, (), ())
    obs.loc[first[: len(first) // 3], "author"] = "B cells"
    (mixed,) = gather.check(blood_cells, ["author"], "group", graph=blood_graph)["T cells"].labels
    assert mixed.share == pytest.approx(2 / 3)
    assert "mixed" in mixed.reasons
    assert mixed.others == (("B cells", pytest.approx(1 / 3)),)


def test_words_for_unnamed_cells_are_in_no_queue_and_cells_without_a_label_are_counted(
    blood_graph, blood_cells
):
    obs = blood_cells.obs
    obs["author"] = obs["group"].astype(str).replace({"B cells": "Doublets", "monocytes": "nan"})
    found = gather.check(blood_cells, ["author"], "group", graph=blood_graph)
    assert found.queue == () or {c.cell_set for c in found.queue} == {"monocytes"}
    (unnamed,) = found["B cells"].labels
    assert (unnamed.mapped.how, unnamed.reasons, unnamed.worth) == ("no_type", (), 0.0)
    assert found.parameters["unlabelled"] == {"author": int((obs["group"] == "monocytes").sum())}


@pytest.mark.parametrize(
    ("states", "lacks"),
    [
        (("absent",) * 3, True),
        (("absent", "absent", "absent", "not measured"), True),
        (("absent", "absent", "weak"), False),
        (("absent", "absent", "not measured"), False),
        ((), False),
    ],
)
def test_a_label_whose_measured_markers_are_all_absent_is_in_the_queue(states, lacks):
    markers = tuple(Marker("HGNC:1", "A", state) for state in states)
    assert all_absent(markers) is lacks
    assert reasons("finer", 0.0, 1.0, absent=lacks) == (("too fine",) if lacks else ())
    assert reasons("no answer", 0.0, 1.0, absent=lacks) == (("not supported",) if lacks else ())


def test_a_list_of_candidates_without_a_type_is_refused_and_a_near_name_given(blood_graph):
    with pytest.raises(InputError, match="names no cell type"):
        ground_cell_types(blood_graph, ["Unknown", "Doublets"], where="candidates")
    with pytest.raises(InputError, match="did you mean 'monocyte'"):
        ground_cell_types(blood_graph, ["monocite"], where="candidates")
