"""Texts of a column of ``obs``, and gene names as files bring them."""

import numpy as np
import pandas as pd
import pytest

import gather
from gather.cells.expression import names_that_ground
from gather.cells.groups import columns_of_clusters, texts_of
from gather.species import HUMAN, ground
from vckg.base.errors import InputError


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pd.Series([0.0, 10.0, np.nan]), ["0", "10", ""]),
        (pd.Series(pd.Categorical([1.0, None, 2.0])), ["1", "", "2"]),
        (pd.Series([0.5, 1.0, np.inf]), ["0.5", "1.0", "inf"]),
        (pd.Series([1, 2, 3]), ["1", "2", "3"]),
        (pd.Series([1, None], dtype="Int64"), ["1", ""]),
        (pd.Series([True, False]), ["True", "False"]),
        (pd.Series(["NA", "T cell", None, " nan "]), ["", "T cell", "", ""]),
        (pd.Series([1e300, 1.0]), ["1e+300", "1.0"]),
        (pd.Series([np.nan, np.nan]), ["", ""]),
    ],
)
def test_values_are_texts_and_missing_ones_are_empty(values: pd.Series, texts: list[str]) -> None:
    assert texts_of(values).tolist() == texts


def test_clusters_are_suggested_before_labels_and_the_columns_of_an_earlier_run_never(
    blood_graph, blood_cells
) -> None:
    blood_cells.obs["cell_type"] = blood_cells.obs["seurat_clusters"] = blood_cells.obs["group"]
    gather.annotate(blood_cells, "group", graph=blood_graph)
    blood_cells.obs["nCount_RNA"] = np.arange(90.0) + 0.5
    assert columns_of_clusters(blood_cells) == ["seurat_clusters", "cell_type", "group"]
    with pytest.raises(InputError, match="did you mean 'seurat_clusters'"):
        gather.annotate(blood_cells, "nCount_RNA", graph=blood_graph)


def test_cells_that_r_calls_na_are_in_no_set(blood_graph, blood_cells) -> None:
    labels = blood_cells.obs["group"].astype(str).to_numpy().astype(object)
    labels[:5] = "NA"
    blood_cells.obs["label"] = labels
    gather.annotate(blood_cells, "label", graph=blood_graph)
    assert [a.cell_set for a in gather.results(blood_cells)] == ["B cells", "T cells", "monocytes"]
    assert set(blood_cells.obs["gather_reason"][:5]) == {"no_group"}
    assert blood_cells.uns["gather"]["parameters"]["cells_without_group"] == 5


def test_symbols_in_a_column_of_any_name_are_found(blood_graph, blood_cells) -> None:
    blood_cells.var["GeneSymbol_v38"] = list(blood_cells.var_names)
    blood_cells.var["chromosome"] = "1"
    blood_cells.var_names = [f"feat_{i}" for i in range(blood_cells.n_vars)]
    found = names_that_ground(blood_graph, blood_cells.var)
    assert found.names_from == "GeneSymbol_v38"
    assert found.panel.n_grounded == 18


def test_known_names_are_preferred_to_another_column(blood_graph, blood_cells) -> None:
    """A column of orthologues or aliases must not replace names that the graph knows."""
    blood_cells.var["also"] = list(reversed(blood_cells.var_names))
    assert names_that_ground(blood_graph, blood_cells.var).names_from == "var_names"


def test_dots_that_r_wrote_for_hyphens_are_read(core_graph) -> None:
    dotted, lost, clone = ground(core_graph, ["HLA.DRA", "HLA.NOTHING", "AC004.1"], HUMAN)
    assert (dotted.name, dotted.curie) == ("HLA.DRA", core_graph.genes.ground(["HLA-DRA"])[0].curie)
    assert lost.curie is None
    assert clone.curie is None


def test_a_layer_that_may_hold_counts_is_named(blood_graph, blood_cells) -> None:
    blood_cells.layers["rawcounts"] = blood_cells.layers.pop("counts")
    blood_cells.X = blood_cells.X - 1.0
    with pytest.raises(InputError, match="the layer 'rawcounts' may hold them: --layer rawcounts"):
        gather.annotate(blood_cells, "group", graph=blood_graph)
    gather.annotate(blood_cells, "group", graph=blood_graph, layer="rawcounts")
