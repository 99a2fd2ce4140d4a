"""The graph of one species: its own edges, and those of orthologues beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vckg.base.errors import GraphError
from vckg.export.kgx import edge_table, node_table
from vckg.graph.graph import Graph
from vckg.graph.schema import OF_ORTHOLOGS, ORTHOLOGY
from vckg.graph.species import ONE_TO_MANY, ONE_TO_ONE, of_species, orthologs
from vckg.graph.subgraph import subgraph
from vckg.quality.audit import audit

NODES = [
    ("HGNC:1", "Gene", "CD3D", "ENSG00000000001"),
    ("HGNC:2", "Gene", "CD8B", "ENSG00000000002"),
    ("HGNC:3", "Gene", "CD8B2", "ENSG00000000003"),
    ("HGNC:4", "Gene", "HUMANONLY", "ENSG00000000004"),
    ("MGI:1", "OrthologGene", "Cd3d", "ENSMUSG00000000001"),
    ("MGI:2", "OrthologGene", "Cd8b1", "ENSMUSG00000000002"),
    ("MGI:3", "OrthologGene", "Gm38380", "ENSMUSG00000000003"),
    ("CL:1", "Cell", "T cell", ""),
    ("CL:2", "Cell", "B cell", ""),
    ("CL:3", "Cell", "cell", ""),
]
EDGES = [
    ("HGNC:1", "is_marker_for", "CL:1", "a", ""),
    ("HGNC:2", "is_marker_for", "CL:1", "a", ""),
    ("HGNC:3", "is_marker_for", "CL:2", "a", ""),
    ("HGNC:4", "is_marker_for", "CL:2", "a", ""),
    ("HGNC:1", "interacts_with", "HGNC:2", "a", ""),
    ("CL:1", "subclass_of", "CL:3", "a", ""),
    ("MGI:1", "is_ortholog_marker_for", "CL:1", "b", ""),
    ("MGI:3", "is_ortholog_marker_for", "CL:2", "b", ""),
    ("MGI:1", "orthologous_to", "HGNC:1", "b", "one2one"),
    ("MGI:2", "orthologous_to", "HGNC:2", "b", "one2one"),
    ("MGI:2", "orthologous_to", "HGNC:2", "a", "one2many"),
    ("MGI:2", "orthologous_to", "HGNC:3", "a", "one2many"),
]


@pytest.fixture(scope="module")
def both() -> Graph:
    nodes = pd.DataFrame(NODES, columns=["id", "category", "name", "xref"])
    nodes["xrefs"] = [[f"ENSEMBL:{x}"] if x else [] for x in nodes.pop("xref")]
    edges = pd.DataFrame(EDGES, columns=["subject", "relation", "object", "source", "type"])
    edges["evidence"] = [[kind] if kind else [] for kind in edges.pop("type")]
    return Graph.from_frames(nodes, edges)


def told(graph: Graph) -> set[tuple[str, str, str, int]]:
    assert graph.orthology is not None
    return {
        (e.subject, e.relation, e.object, int(graph.orthology[row]))
        for row in range(graph.m)
        for e in [graph.edge(row)]
    }


def by_definition(species: str) -> set[tuple[str, str, str, int]]:
    """Every edge with each foreign gene replaced by each of its orthologues, one at a time."""
    foreign = "HGNC:" if species == "mouse" else "MGI:"
    pairs: dict[str, dict[str, int]] = {}
    for mouse, relation, human, _, kind in EDGES:
        if relation == ORTHOLOGY:
            theirs, ours = (human, mouse) if species == "mouse" else (mouse, human)
            code = ONE_TO_ONE if kind == "one2one" else ONE_TO_MANY
            kinds = pairs.setdefault(theirs, {})
            kinds[ours] = min(code, kinds.get(ours, code))
    found = set()
    for subject, relation, target, _, _ in EDGES:
        if relation == ORTHOLOGY:
            continue
        ends = [pairs.get(end, {}) if end.startswith(foreign) else {end: 0} for end in (subject, target)]
        for s, first in ends[0].items():
            for o, second in ends[1].items():
                found.add((s, OF_ORTHOLOGS.get(relation, relation), o, max(first, second)))
    return found


@pytest.mark.parametrize("species", ["human", "mouse"])
def test_the_edges_are_those_of_the_definition(both: Graph, species: str) -> None:
    assert told(of_species(both, species)) == by_definition(species)


def test_genes_of_the_species_are_its_genes_and_their_names_ground(both: Graph) -> None:
    mouse = of_species(both, "mouse")
    assert [mouse.ids[i] for i in mouse.nodes_of("Gene")] == ["MGI:1", "MGI:2", "MGI:3"]
    names = ["Cd3d", "CD3D", "ENSMUSG00000000002.7", "GM38380", "HUMANONLY"]
    assert [g.curie for g in mouse.genes.ground(names)] == ["MGI:1", "MGI:1", "MGI:2", "MGI:3", None]
    assert [g.curie for g in both.genes.ground(names)] == ["HGNC:1", "HGNC:1", None, None, "HGNC:4"]
    assert mouse.borrowed_from is not None
    native = mouse.borrowed_from < 0
    np.testing.assert_array_equal(native, mouse.orthology == 0)
    assert {both.ids[i] for i in mouse.borrowed_from[~native]} == {"HGNC:1", "HGNC:2", "HGNC:3"}


def test_neighbours_of_the_new_graph_follow_its_edges(both: Graph) -> None:
    mouse = of_species(both, "mouse")
    for node in range(mouse.n):
        assert mouse.out_edges(node).tolist() == np.flatnonzero(mouse.subject == node).tolist()
        assert mouse.in_edges(node).tolist() == np.flatnonzero(mouse.object == node).tolist()
    assert mouse.content_hash != both.content_hash


def test_statements_of_mouse_never_pass_as_human_ones(both: Graph) -> None:
    span = both.rows("is_marker_for")
    assert {both.ids[i][:4] for i in both.subject[span]} == {"HGNC"}


def test_exports_name_the_species(both: Graph) -> None:
    nodes = dict(zip(node_table(both)["id"].to_pylist(), node_table(both)["taxon"].to_pylist(), strict=True))
    assert (nodes["MGI:1"], nodes["HGNC:1"], nodes["CL:1"]) == ("NCBITaxon:10090", "NCBITaxon:9606", None)
    table = edge_table(both)
    columns = (table[name].to_pylist() for name in ("id", "species_context_qualifier"))
    species = dict(zip(*columns, strict=True))
    assert species["vckg:is_ortholog_marker_for/MGI:1/CL:1/b"] == "NCBITaxon:10090"
    assert species["vckg:is_marker_for/HGNC:1/CL:1/a"] == "NCBITaxon:9606"
    assert species["vckg:orthologous_to/MGI:1/HGNC:1/b"] is None


def test_what_is_not_there_is_said(both: Graph) -> None:
    with pytest.raises(GraphError, match=r"no species 'mose' \(did you mean 'mouse'\?\)"):
        of_species(both, "mose")
    with pytest.raises(GraphError, match="no mouse genes; build it with the source mouse_genes"):
        of_species(Graph.from_frames(*_human_alone()), "mouse")


def _human_alone() -> tuple[pd.DataFrame, pd.DataFrame]:
    nodes = pd.DataFrame([n[:3] for n in NODES if n[1] != "OrthologGene"], columns=["id", "category", "name"])
    edges = [e[:4] for e in EDGES if not e[0].startswith("MGI:")]
    return nodes, pd.DataFrame(edges, columns=["subject", "relation", "object", "source"])


@pytest.mark.data
def test_mouse_genes_of_the_real_graph(core_graph: Graph) -> None:
    human, mouse, code = orthologs(core_graph)
    counted = np.bincount(code)
    assert counted[ONE_TO_ONE] > 17_000, "HGNC pairs 19,325 genes, Ensembl 17,122 one to one"
    pairs = {
        (core_graph.names[h], core_graph.names[m]): c for h, m, c in zip(human, mouse, code, strict=True)
    }
    assert pairs["CD8A", "Cd8a"] == ONE_TO_ONE
    assert pairs["CD8B2", "Cd8b1"] == ONE_TO_MANY
    names = ["Cd8a", "H2-Aa", "Gm38380", "ENSMUSG00000053044"]
    assert all(core_graph.genes_of("mouse").ground([name])[0].curie for name in names)
    assert core_graph.genes_of("rat").ground(["Cd8a", "ENSRNOG00000007178"])[0].curie == "HGNC:1706"
    kept = core_graph.rows("is_ortholog_marker_for")
    assert kept.stop - kept.start > 30_000
    errors = [f for f in audit(core_graph).findings if f.severity == "error"]
    assert errors == []


def test_a_graph_of_one_species_is_neither_cut_nor_written(both: Graph, tmp_path: Path) -> None:
    mouse = of_species(both, "mouse")
    with pytest.raises(GraphError, match="has no parts"):
        subgraph(mouse, ["CL:1"], hops=1)
    with pytest.raises(GraphError, match="is not written"):
        mouse.save(tmp_path / "graph")
    assert not (tmp_path / "graph").exists()
