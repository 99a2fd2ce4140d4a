"""States beside the type: gene sets against the file's other sets."""

import anndata as ad
import numpy as np
import pytest

from gather.labelling.states import LEAST_GENES, STATES, gene_sets, states_of
from gather.retrieval.query import CellSet, contrasts, ground_panel


@pytest.fixture
def graph(make_graph):
    return make_graph([("HGNC:1", "is_marker_for", "CL:1")], names={"HGNC:1": "CD3D"})


def sets_of(graph, raised, *, genes=None, profile=False):
    """Three sets of 200 other genes and those of the states; `raised` are the states of the first set."""
    symbols = [s for state in STATES for s in gene_sets()[state]] if genes is None else genes
    names = (*symbols, *(f"X{i}" for i in range(200)))
    rng = np.random.default_rng(0)
    detected = rng.uniform(0.1, 0.3, (3, len(names)))
    up = [i for i, name in enumerate(names) if any(name in gene_sets()[state] for state in raised)]
    detected[0, up] += 0.5
    panel = ground_panel(graph, names, detected=detected.mean(axis=0))
    z = contrasts(detected * 2)
    return states_of(
        graph, panel, [CellSet(str(i), (), 50, (), detected[i], z[i], profile=profile) for i in range(3)]
    )


@pytest.mark.parametrize("state", STATES)
def test_a_state_is_present_where_its_genes_stand_out_and_nowhere_else(graph, state):
    found = sets_of(graph, [state])
    assert [{s.name for s in one if s.present} for one in found] == [{state}, set(), set()]
    one = next(s for s in found[0] if s.name == state)
    assert one.fdr <= 0.05
    assert one.fraction_in_set > 1.5 * one.fraction_in_file
    assert set(one.genes) == set(gene_sets()[state])


def test_a_mean_profile_has_no_states(graph):
    """Its fractions are of no cells."""
    assert sets_of(graph, ["cycling"], profile=True) == [(), (), ()]


def test_two_states_at_once_and_none_without_genes_or_other_sets(graph):
    assert {s.name for s in sets_of(graph, ["cycling", "hypoxia"])[0] if s.present} == {"cycling", "hypoxia"}
    few = sets_of(graph, ["cycling"], genes=list(gene_sets()["cycling"][: LEAST_GENES - 1]))
    assert few == [(), (), ()]
    panel = ground_panel(graph, ("MKI67", "TOP2A", "CDK1"), detected=np.ones(3))
    assert states_of(graph, panel, [CellSet("only", ("MKI67",), 9, (), np.ones(3))]) == [()]


def test_every_gene_of_a_state_has_a_source_and_stands_in_one_state():
    every = [symbol for symbols in gene_sets().values() for symbol in symbols]
    assert len(every) == len(set(every))
    assert all(10 <= len(symbols) <= 20 for symbols in gene_sets().values())


def states_of_file(graph, path, group, wanted):
    """Name the states of the wanted sets of a real file; a sample of genes stands for the others."""
    data = ad.read_h5ad(path)
    symbols = {s for state in STATES for s in gene_sets()[state]}
    kept = [i for i, name in enumerate(data.var_names) if name in symbols or i % 20 == 0]
    values = np.asarray(data.X[:, kept].toarray())
    if values.max() > 50:  # counts
        values = np.log1p(values / np.asarray(data.X.sum(axis=1)).reshape(-1, 1) * 1e4)
    groups = group(data.obs).astype(str).to_numpy()
    names = sorted(set(groups))
    mean, detected = (
        np.stack([x[groups == name].mean(axis=0) for name in names]) for x in (values, values > 0)
    )
    panel = ground_panel(graph, tuple(data.var_names[kept]), detected=(values > 0).mean(axis=0))
    z = contrasts(mean)
    sets = [CellSet(name, (), 50, (), detected[i], z[i]) for i, name in enumerate(names)]
    found = dict(zip(names, states_of(graph, panel, sets), strict=True))
    return {name: {s.name for s in states if s.present} for name, states in found.items() if wanted(name)}


@pytest.mark.data
def test_blood_cells_given_interferon_are_in_its_state_and_the_others_in_none(graph, mirror):
    path = mirror / "h5ad" / "pbmc_kang18_ifnb_muscat.h5ad"
    found = states_of_file(graph, path, lambda o: o.cluster_id.astype(str) + o.group_id.astype(str), bool)
    assert len(found) == 10
    assert {name for name, states in found.items() if "interferon" in states} == {
        name for name in found if name.endswith("stim")
    }


@pytest.mark.data
def test_cycling_cells_of_a_tumour_are_cycling_and_settled_ones_are_not(graph, mirror):
    path = mirror / "h5ad_more" / "breast_tnbc_wu2021_cid4465.h5ad"
    cycling = {"Cancer Cycling", "Cycling T-cells", "Cycling_Myeloid"}
    settled = {
        "CAFs MSC iCAF-like",
        "CAFs myCAF-like",
        "Endothelial ACKR1",
        "Plasmablasts",
        "PVL Differentiated",
    }
    found = states_of_file(graph, path, lambda o: o.cell_type, (cycling | settled).__contains__)
    assert {name for name, states in found.items() if "cycling" in states} == cycling
    assert set(found) == cycling | settled
