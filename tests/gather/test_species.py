"""Species of a file: what tells it, what is refused, and the genes that its names lead to."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import gather
from gather.annotation import sources_in_words
from gather.cells.choice import choice_of
from gather.cells.expression import names_that_ground, species_of
from gather.cells.file import open_h5ad
from gather.cells.options import Options
from gather.inputs.marker_sets import MarkerWork, as_anndata
from gather.inputs.marker_tables import MarkerTable
from gather.mcp.folder import Folder
from gather.mcp.session import Session
from gather.mcp.tools import call
from gather.retrieval.edges import edges_between
from gather.retrieval.evidence_weights import TRUST, evidence_weights
from gather.retrieval.metapaths import target_named
from gather.retrieval.query import ground_panel
from gather.species import (
    HUMAN,
    MACAQUE,
    MOUSE,
    PIG,
    RAT,
    Detected,
    by_upper_case,
    declared_taxon,
    detect,
    graph_for,
    ground,
    mapped,
)
from vckg.base.errors import InputError
from vckg.graph.graph import Graph
from vckg.graph.species import of_species

SHARED = ["CD3D", "CD79A", "LYZ", "GAPDH", "ACTB", "MS4A1"]


@pytest.mark.parametrize(
    "own", [["GM38380", "H2-AB1", "1110017D15RIK"], ["Gm38380", "H2-Ab1", "1110017D15Rik"]]
)
def test_mouse_is_told_by_its_own_symbols_whatever_their_case(own) -> None:
    found = detect(SHARED + own)
    assert (found.species, found.by) == (MOUSE, "3 symbols of mouse alone")


@pytest.mark.parametrize(
    "names",
    [
        SHARED,
        [*SHARED, "HLA-DRA", "LINC01234", "C1orf127"],
        ["GM2A", "GMNN", "GMPR", *SHARED],
        [*SHARED, "HLA-A", "HLA-B", "HLA-DRA", "AC012345.1", "AL590822.3"],
    ],
)
def test_human_symbols_are_human(names) -> None:
    assert detect(names).species == HUMAN


@pytest.mark.parametrize(
    ("species", "own"),
    [
        (RAT, ["RT1-A1", "RT1-Da", "RGD1309534"]),
        (MACAQUE, ["MAMU-A", "MAMU-DRA", "MAFA-A1"]),
        (PIG, ["SLA-1", "SLA-DRA", "SLA-DQB1"]),
    ],
)
def test_other_species_are_told_by_their_own_symbols(species, own) -> None:
    assert detect(SHARED + own).species == species


def test_case_alone_is_said() -> None:
    assert detect([n.capitalize() for n in SHARED]).by == "the case of its symbols alone"
    assert detect([n.capitalize() for n in SHARED], wanted=HUMAN).species == HUMAN
    assert detect(SHARED, declared="NCBITaxon:10090").species == MOUSE


@pytest.mark.parametrize(
    ("species", "start"),
    [(HUMAN, "ENSG"), (MOUSE, "ENSMUSG"), (RAT, "ENSRNOG"), (MACAQUE, "ENSMMUG"), (PIG, "ENSSSCG")],
)
def test_ids_tell(species, start) -> None:
    assert detect([f"{start}{i:011}.3" for i in range(9)]) == Detected(species, "gene ids")


@pytest.mark.parametrize(
    ("first", "second", "split"),
    [
        ("GRCh38_{}", "mm10___{}", r"match\('mm10___'\)"),
        ("ENSG{:011}", "ENSMUSG{:011}", r"match\('ENSMUSG'\)"),
        ("LINC{:05}", "Gm{:05}", r"match\('\[A-Z\]\[a-z\]'\)"),
    ],
)
def test_two_species_are_refused_with_the_split(first, second, split) -> None:
    names = [form.format(i) for form in (first, second) for i in range(8)]
    with pytest.raises(InputError, match=rf"8 human and 8 mouse.*{split}"):
        detect(names)


def test_symbols_in_two_cases_are_two_species() -> None:
    names = [f"CD{i}A" for i in range(20)]
    with pytest.raises(InputError, match="20 symbols come twice but for their case"):
        detect(names + [n.capitalize() for n in names])


def test_the_declared_taxon() -> None:
    obs = pd.DataFrame({"organism_ontology_term_id": ["NCBITaxon:10090", "NCBITaxon:10090"]})
    assert declared_taxon(obs, {}) == "NCBITaxon:10090"
    assert declared_taxon(pd.DataFrame(), {"organism": "Mus musculus"}) == "Mus musculus"
    assert declared_taxon(pd.DataFrame(), {}) is None
    with pytest.raises(InputError, match=r"2 species.*give each a file of its own"):
        declared_taxon(pd.DataFrame({"organism": ["human", "mouse"]}), {})
    for taxon, species in (("NCBITaxon:10116", RAT), ("Macaca mulatta", MACAQUE), ("9823", PIG)):
        assert detect(SHARED, declared=taxon).species == species
    with pytest.raises(InputError, match="served are human, mouse, rat, macaque, pig"):
        detect(SHARED, declared="NCBITaxon:7955")


def test_what_only_one_species_has_gets_no_human_name() -> None:
    names = ["Cd3d", "Gm38380", "ENSMUSG00000032094", "mm10___Lyz"]
    assert by_upper_case(names, MOUSE) == ["CD3D", "", "", "LYZ"]
    assert by_upper_case(["CD3D", "SLA-1"], PIG) == ["CD3D", ""]


# ---- on a graph with both kinds of evidence -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def both() -> Graph:
    """Cd3d marks T cells in mouse by one source and in human by two; Cd8b1 has two human orthologues; Gm1 has none."""
    nodes = {
        "HGNC:1": "CD3D", "HGNC:2": "CD8B", "HGNC:3": "CD8B2", "HGNC:4": "LYZ", "MGI:1": "Cd3d", "MGI:2": "Cd8b1",
        "MGI:3": "Gm12345", "MGI:4": "Lyz2", "CL:1": "T cell", "CL:2": "monocyte", "UBERON:1": "spleen",
    }  # fmt: skip
    categories = {"HGNC": "Gene", "MGI": "OrthologGene", "CL": "Cell", "UBERON": "AnatomicalEntity"}
    rows = [
        ("HGNC:1", "is_marker_for", "CL:1", "a", ""), ("HGNC:1", "is_marker_for", "CL:1", "b", ""),
        ("HGNC:3", "is_marker_for", "CL:1", "a", ""), ("HGNC:4", "is_marker_for", "CL:2", "a", ""),
        ("MGI:1", "is_ortholog_marker_for", "CL:1", "c", ""), ("MGI:3", "is_ortholog_marker_for", "CL:2", "c", ""),
        ("MGI:1", "orthologous_to", "HGNC:1", "o", "one2one"), ("MGI:4", "orthologous_to", "HGNC:4", "o", "one2one"),
        ("MGI:2", "orthologous_to", "HGNC:2", "o", "one2many"), ("MGI:2", "orthologous_to", "HGNC:3", "o", "one2many"),
    ]  # fmt: skip
    frame = pd.DataFrame({"id": list(nodes), "name": list(nodes.values())})
    frame["category"] = [categories[i.partition(":")[0]] for i in nodes]
    edges = pd.DataFrame(rows, columns=["subject", "relation", "object", "source", "type"])
    edges["tissues"] = [["UBERON:1"] if subject == "MGI:1" else [] for subject in edges["subject"]]
    edges["evidence"] = [[kind] if kind else [] for kind in edges.pop("type")]
    return Graph.from_frames(frame, edges)


def weight(graph: Graph, gene: str, cell: str) -> float:
    weights = evidence_weights(graph, target_named("Cell"))
    return float(weights.direct[graph.index(gene), weights.column_of[graph.index(cell)]])


def test_a_resource_counts_by_how_near_the_gene_is_it_speaks_of(both: Graph) -> None:
    mouse, log2 = of_species(both, MOUSE), float(np.log(2.0))
    native, one, many = TRUST
    assert weight(mouse, "MGI:1", "CL:1") == pytest.approx((native + 2 * one - native / 2) * log2)
    assert weight(mouse, "MGI:4", "CL:2") == pytest.approx(one / 2 * log2)
    assert weight(mouse, "MGI:2", "CL:1") == pytest.approx(many / 2 * log2)
    assert weight(mouse, "MGI:3", "CL:2") == pytest.approx(native / 2 * log2)


def test_human_answers_take_nothing_from_mouse(both: Graph) -> None:
    assert weight(both, "HGNC:1", "CL:1") == pytest.approx(1.5 * np.log(2.0))
    assert graph_for(both, HUMAN) is both


def test_native_and_borrowed_sources_are_counted_apart(both: Graph) -> None:
    mouse = graph_for(both, MOUSE)
    step = edges_between(mouse, mouse.index("MGI:1"), mouse.index("CL:1"))
    assert sources_in_words(step) == "1 mouse and 2 human sources"
    assert {e.orthologue for e in step} == {"", "CD3D (HGNC:1), one to one"}
    human = edges_between(both, both.index("HGNC:1"), both.index("CL:1"))
    assert sources_in_words(human) == "2 sources"
    explained = gather.explain(["Cd3d", "Gm12345"], graph=mouse)
    assert explained.items[0].name == "T cell"


def test_genes_are_counted_by_what_they_have_in_human(both: Graph) -> None:
    names, mouse = ["Cd3d", "Lyz2", "MGI:2", "mm10___Gm12345", "Nothing", "MGI:3"], graph_for(both, MOUSE)
    counts = mapped(mouse, ground_panel(mouse, names, grounded=ground(mouse, names, MOUSE)))
    assert (counts.known, counts.one_to_one, counts.one_to_many, counts.alone) == (4, 2, 1, 1)
    assert counts.unknown == 2, "a name that the graph does not know, and one that names a gene again"


def test_the_types_of_a_tissue_are_those_of_the_species(both: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    spleen = Options(tissue="spleen")
    monkeypatch.setattr("gather.retrieval.candidates.ENOUGH", 1)
    assert choice_of(both, spleen, None, species=MOUSE) == (None, [both.index("CL:1")], "UBERON:1")
    assert choice_of(both, spleen, None, species=HUMAN) == (None, [], "UBERON:1")


def test_a_table_of_mouse_markers_is_answered_by_mouse_evidence(both: Graph) -> None:
    table = MarkerTable({"0": ("Cd3d", "Cd8b1"), "1": ("Lyz2", "Gm12345")}, {}, "list")
    outcome = MarkerWork(table)(as_anndata(table), both, Options())
    assert {a.cell_set: a.best.label for a in outcome.annotations} == {"0": "T cell", "1": "monocyte"}
    assert outcome.kept["parameters"]["species"].startswith(
        "mouse, told by the case of its symbols alone: 4 of 4"
    )
    assert outcome.kept["graph"] == both.content_hash


def test_the_known_genes_of_a_human_table_are_counted(both: Graph) -> None:
    table = MarkerTable({"0": ("CD3D", "CD8B"), "1": ("LYZ", "NOGENE1")}, {}, "list")
    kept = MarkerWork(table)(as_anndata(table), both, Options(species="human")).kept
    assert kept["parameters"]["species"].startswith("human, told by --species: ")
    assert kept["parameters"]["species"].endswith(" genes known")


def test_without_mouse_genes_in_the_graph_capitals_stand_for_them(blood_graph: Graph) -> None:
    assert graph_for(blood_graph, MOUSE) is blood_graph
    found = ground(blood_graph, ["Cd3d", "Gm38380"], MOUSE)
    assert [blood_graph.names[blood_graph.index(f.curie)] if f.curie else "" for f in found] == ["CD3D", ""]


# ---- real files on the real graph ---------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize("upper", [False, True])
def test_a_mouse_file_is_answered_by_mouse_evidence(core_graph: Graph, mirror, upper) -> None:
    adata = open_h5ad(mirror / "h5ad_more" / "mouse_cortex_zeisel2015_scenic.h5ad")
    if upper:
        adata.var_names = [str(n).upper() for n in adata.var_names]
    told = species_of(adata.var)
    assert told.species == MOUSE
    found = names_that_ground(core_graph, adata.var, told)
    counts = mapped(found.graph, found.panel)
    assert counts.known > 0.9 * len(found.panel.names), "symbols of 2015: some have another name today"
    assert counts.one_to_one > 0.85 * counts.known
    symbols = ["C1qa", "C1qb", "Cx3cr1", "P2ry12", "Tmem119", "Csf1r"]
    first = {item.name: item for item in gather.explain(symbols, graph=found.graph).items[:3]}
    assert "microglial cell" in first, "six genes that Kupffer cells share: no tissue is given"
    best = first["microglial cell"]
    steps = [edge for walk in best.walks for edge in walk.steps[0]]
    assert {bool(edge.orthologue) for edge in steps} == {True, False}


@pytest.mark.data
def test_rat_names_lead_to_human_genes(core_graph: Graph) -> None:
    found = ground(core_graph, ["Cd8a", "Cd3d", "RT1-Da", "Nosuchgene"], RAT)
    assert [f.curie and core_graph.names[core_graph.index(f.curie)] for f in found][:2] == ["CD8A", "CD3D"]
    assert found[3].curie is None


def test_the_tools_of_a_model_speak_of_mouse_genes_for_a_file_of_mouse(
    both: Graph, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("gather.cells.expression.MIN_GROUNDED", 3)
    cells = pd.DataFrame({"group": ["t"] * 8 + ["m"] * 8}, index=[f"c{i}" for i in range(16)])
    counts = np.where((cells["group"] == "t").to_numpy()[:, None], [9, 5, 0, 0], [0, 0, 9, 5])
    names = pd.DataFrame(index=["Cd3d", "Cd8b1", "Gm12345", "Lyz2"])
    ad.AnnData(counts.astype(np.float32), cells, names).write_h5ad(tmp_path / "mouse.h5ad")
    session = Session(Folder(tmp_path), both.save(tmp_path / "graph"))
    types = {"a": "T cell", "b": "monocyte", "file": "mouse.h5ad", "groupby": "group", "cell_set": "t"}
    found = call(session, "compare", types)
    assert [(g["gene"], g["in_set"], g["in_rest"]) for g in found["a"]["genes"]] == [
        ("Cd3d", 1.0, 0.0), ("Cd8b1", 1.0, 0.0),
    ]  # fmt: skip
    assert found["a"]["not_measured"] == []
    claim = found["a"]["genes"][0]["claims"][0]
    assert claim["id"].startswith("vckg:is_marker_for/MGI:1/CL:1/")
    assert call(session, "edge", {"id": claim["id"]})["claim"] == claim
    assert call(session, "cite", {"ids": [claim["id"]]})["sources"]


def test_a_list_of_mouse_symbols_is_explained_by_mouse(both: Graph) -> None:
    told = gather.explain(["Cd3d"], graph=both)
    assert (told.species, told.query.names) == (MOUSE, ("Cd3d",))
    assert told.to_dict() == gather.explain(["Cd3d"], graph=both, species=MOUSE).to_dict()
    assert gather.explain(["CD3D"], graph=both).species == HUMAN
