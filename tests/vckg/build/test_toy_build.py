"""The toy sources, every edge of whose graph can be checked by hand."""

import random
import shutil
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from vckg.base.errors import BuildError, GraphError, InputError, SourceError
from vckg.base.resources import resource
from vckg.build.build_folder import make
from vckg.build.fetch import Places
from vckg.build.source_table import choose, read_sources
from vckg.graph.graph import Graph

TOY = resource("data", "toy")


def build(folder: Path, mirror: Path = TOY, table: Path = TOY / "sources.toml", **chosen: object) -> Graph:
    places = Places(folder.parent / "cache", (mirror,), offline=True)
    return make(folder, read_sources(table), places, profile="core", **chosen)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return build(tmp_path_factory.mktemp("toy") / "graph")


def edges(graph: Graph, relation: str) -> set[tuple[str, str, str]]:
    found = [graph.edge(r) for r in range(*graph.rows(relation).indices(graph.m))]
    return {(e.subject, e.object, e.source) for e in found}


def unpinned(folder: Path) -> Path:
    """A copy of the toy sources whose table names no checksums."""
    shutil.copytree(TOY, folder)
    table = folder / "sources.toml"
    lines = [line for line in table.read_text().splitlines() if not line.startswith("sha256")]
    table.write_text("\n".join(lines) + "\n")
    return folder


def test_the_marker_edges_are_those_read_off_by_hand(toy: Graph) -> None:
    assert edges(toy, "is_marker_for") == {
        ("HGNC:1673", "CL:0000084", "cellmarker"),
        ("HGNC:7315", "CL:0000236", "cellmarker"),
        ("HGNC:1633", "CL:0000236", "cellmarker:cancer"),
        ("HGNC:1628", "CL:0000576", "cellmarker"),
    }


def test_rows_that_say_the_same_are_one_edge_with_all_their_evidence(toy: Graph) -> None:
    (row,) = toy.out_edges(toy.index("HGNC:1673"), "is_marker_for")
    edge = toy.edge(row)
    assert edge.evidence_count == 3  # two rows for T cell, one for the obsolete class it replaced
    assert edge.publications == ("PMID:111", "PMID:112", "PMID:115")
    assert edge.tissues == ("UBERON:0000178",)
    assert edge.evidence == ("Experiment", "Single-cell sequencing")
    assert (edge.predicate, edge.knowledge_level) == ("biolink:expressed_in", "knowledge_assertion")


def test_a_marker_seen_in_a_tissue_is_expressed_there(toy: Graph) -> None:
    assert ("HGNC:7315", "UBERON:0002106", "cellmarker") in edges(toy, "expressed_in")


def test_every_rejected_row_has_its_reason(toy: Graph) -> None:
    said = toy.manifest["sources"]
    assert said["cellmarker"]["rejected"] == {
        "gene ambiguous": 1,
        "gene not known": 1,
        "id obsolete, not replaced": 1,
        "no cell type id": 1,
        "mouse gene not known": 1,
    }
    assert said["cellmarker"]["examples"]["gene not known"] == ["NOTAGENE"]
    assert said["cl"]["rejected_terms"] == {"obsolete": 2}
    assert said["hgnc"]["rejected_terms"] == {"withdrawn": 1}
    assert said["go"]["rejected"] == {"relation happens_during is not one of the graph's": 1}


def test_signs_and_publications_of_regulation_are_kept(toy: Graph) -> None:
    found = [toy.edge(r) for r in toy.out_edges(toy.index("HGNC:8619"), "regulates")]
    assert {(e.object, e.sign, e.publications) for e in found} == {
        ("HGNC:1633", 1, ("PMID:201", "PMID:202")),
        ("HGNC:1673", -1, ("PMID:203",)),
        ("HGNC:7315", 1, ("PMID:204",)),
    }


def test_names_of_every_kind_ground(toy: Graph) -> None:
    names = [
        "CD3D",
        "T3D",
        "CD20",
        "ENSG00000167286.5",
        "915",
        "P11836",
        "cd19",
        "OLDGENE",
        "HGNC:9",
        "p40",
        "xyz",
    ]
    hows = [(g.curie, g.how) for g in toy.genes.ground(names)]
    assert hows == [
        ("HGNC:1673", "symbol"),
        ("HGNC:1673", "alias"),
        ("HGNC:7315", "previous"),
        ("HGNC:1673", "ensembl"),
        ("HGNC:1673", "entrez"),
        ("HGNC:7315", "uniprot"),
        ("HGNC:1633", "case"),
        ("HGNC:1633", "previous"),
        ("HGNC:1633", "replaced"),
        (None, "ambiguous"),
        (None, "unknown"),
    ]


def test_cell_labels_ground_without_guessing(toy: Graph) -> None:
    names = [
        "T cell",
        "CL_0000084",
        "t-lymphocyte",
        "T-cells",
        "CL:0000085",
        "CL:0000086",
        "T",
        "memory T cell",
    ]
    hows = [(g.curie, g.how) for g in toy.cells.ground(names)]
    assert hows == [
        ("CL:0000084", "label"),
        ("CL:0000084", "id"),
        ("CL:0000084", "exact_synonym"),
        ("CL:0000084", "normalised"),
        ("CL:0000084", "replaced"),
        (None, "unknown"),
        (None, "unknown"),
        (None, "unknown"),
    ]


def test_the_interchange_tables_and_mappings_lie_beside(toy: Graph) -> None:
    assert toy.folder is not None
    nodes, table = (pd.read_parquet(toy.folder / f"{name}.parquet") for name in ("nodes", "edges"))
    assert (len(nodes), len(table)) == (toy.n, toy.m)
    assert {"knowledge_level", "agent_type", "primary_knowledge_source"} <= set(table)
    mappings = pd.read_csv(toy.folder / "mappings.sssom.tsv", sep="\t", comment="#")
    required = ["subject_id", "predicate_id", "object_id", "mapping_justification"]
    assert mappings[required].notna().all().all()
    assert set(mappings["object_id"]) == {"HGNC:7315"}  # CD20 in a pathway, NCBI Gene 931 in a marker row


def test_two_builds_say_the_same_bytes(toy: Graph, tmp_path: Path) -> None:
    again = build(tmp_path / "graph")
    assert again.content_hash == toy.content_hash
    assert again.manifest["files"] == toy.manifest["files"]


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_rows_and_of_sources_does_not_matter(toy: Graph, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    mirror = unpinned(tmp_path / "mirror")
    for name, header in (("markers.tsv", 1), ("hgnc.tsv", 1), ("regulons.csv", 1), ("pathways.gmt", 0)):
        lines = (mirror / name).read_text().splitlines()
        body = lines[header:]
        rng.shuffle(body)
        (mirror / name).write_text("\n".join([*lines[:header], *body]) + "\n")
    table = mirror / "sources.toml"
    head, *blocks = table.read_text().split("\n\n")
    rng.shuffle(blocks)
    table.write_text("\n\n".join([head, *blocks]))
    assert [s.name for s in read_sources(table)] != [s.name for s in read_sources(TOY / "sources.toml")]
    assert build(tmp_path / "graph", mirror, table).content_hash == toy.content_hash


def test_a_part_of_a_source_can_be_left_out(tmp_path: Path) -> None:
    graph = build(tmp_path / "graph", exclude=["cellmarker:cancer", "collectri"])
    assert graph.sources == ("cellmarker", "cl", "go", "reactome", "uberon")
    assert graph.manifest["sources"]["cellmarker"]["rejected"]["part excluded"] == 1
    assert "collectri" not in graph.manifest["sources"]


@pytest.mark.parametrize("exclude", ["cellmarkr", "cellmarkr:cancer"])
def test_an_unknown_source_is_named_with_the_nearest(exclude: str) -> None:
    with pytest.raises(InputError, match="did you mean 'cellmarker'"):
        choose(read_sources(TOY / "sources.toml"), "core", exclude=[exclude])


OWN = """
[own]
title = "Mine"
licence = "none"
redistribute = false
citation = "x"
reader = "table"
profiles = ["core"]
[[own.routes]]
kind = "local"
file = "own.tsv"
release = "1"
[own.options]
relation = "is_marker_for"
subject = [{ space = "genes", column = "gene" }]
object = [{ space = "cells", column = "cell" }]
"""


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (
            "[own.options]",
            "[own.options]\npublication = 'x'",
            "own: its reader has no option 'publication' (did you mean 'publications'?); options: ",
        ),
        ('relation = "is_marker_for"', "", "source own: its reader needs the option 'relation'; add it"),
        ('"is_marker_for"', '"is_markr_for"', "did you mean 'is_marker_for'"),
        (
            "[own.options]",
            "[own.options]\nweight = 1",
            "source own: option weight = 1: Expected `str`, got `int`",
        ),
        ('"is_marker_for"', '"xyz"', "no relation 'xyz'; one of is_marker_for, "),
        ('"cells"', '"cell"', "did you mean 'cells'"),
        (', column = "gene"', "", "missing required field `column`"),
        ("column", "colum", "unknown field `colum`"),
        ('column = "gene"', 'column = "gene", strip = "("', "strip '(' of column 'gene'"),
        ('"table"', '"tabel"', "did you mean 'table'"),
        ("= false", '= "no"', "Expected `bool`, got `str` - at `$.redistribute`"),
        ('title = "Mine"', "", "missing required field `title`"),
        ('["core"]', '"core"', "Expected `array`, got `str` - at `$.profiles`"),
        ("[own", '["own:x"', "a name of letters"),
    ],
)
def test_a_mistake_in_a_row_of_ones_own_is_named(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    (tmp_path / "own.tsv").write_text("gene\tcell\nCD19\tB cell\n")
    table = tmp_path / "sources.toml"
    table.write_text(
        (TOY / "sources.toml").read_text() + OWN.replace(right, wrong, 1 if "[own" not in right else -1)
    )
    with pytest.raises((InputError, BuildError)) as raised:
        make(
            tmp_path / "graph",
            read_sources(table),
            Places(tmp_path / "cache", (TOY, tmp_path), offline=True),
            profile="core",
        )
    assert said in str(raised.value)
    assert not (tmp_path / "graph").exists()


def test_a_part_that_a_source_does_not_have_is_not_left_out_in_silence(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="did you mean 'cellmarker:cancer'"):
        build(tmp_path / "graph", exclude=["cellmarker:cancr"])


def test_a_source_that_keeps_no_row_fails_the_build(tmp_path: Path) -> None:
    mirror = unpinned(tmp_path / "mirror")
    (mirror / "regulons.csv").write_text("source,target,weight,PMID\nTF1,GENE1,1,5\n")
    with pytest.raises(
        BuildError, match=r"collectri \(regulons.csv\): none of 1 rows kept: 1 gene not known"
    ):
        build(tmp_path / "graph", mirror, mirror / "sources.toml")
    assert not (tmp_path / "graph").exists()


def test_a_renamed_column_is_reported_with_file_and_line(tmp_path: Path) -> None:
    mirror = unpinned(tmp_path / "mirror")
    text = (mirror / "markers.tsv").read_text()
    (mirror / "markers.tsv").write_text(text.replace("cellontology_id", "cell_ontology_id", 1))
    with pytest.raises(SourceError, match=r"markers\.tsv:1: no column 'cellontology_id'"):
        build(tmp_path / "graph", mirror, mirror / "sources.toml")


def test_a_wrong_checksum_names_both_sums_and_leaves_nothing(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    shutil.copytree(TOY, mirror)
    with (mirror / "markers.tsv").open("a") as file:
        file.write("\n")
    pinned = tomllib.loads((TOY / "sources.toml").read_text())["cellmarker"]["routes"][0]["sha256"]
    with pytest.raises(SourceError, match=rf"markers\.tsv: sha256 [0-9a-f]{{64}}, {pinned} expected"):
        build(tmp_path / "graph", mirror)
    assert not (tmp_path / "graph").exists()


def test_a_missing_file_offline_says_what_was_tried(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    shutil.copytree(TOY, mirror)
    (mirror / "go.json").unlink()
    with pytest.raises(
        SourceError, match=r"source go: no route leads to its file \(offline\): mirror: no go.json"
    ):
        build(tmp_path / "graph", mirror)


def test_a_folder_that_is_no_graph_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("precious")
    with pytest.raises(InputError, match="is not a graph folder"):
        build(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "precious"


def test_a_manifest_of_another_program_and_files_beside_a_graph_are_kept(tmp_path: Path) -> None:
    run, graph = tmp_path / "run", tmp_path / "graph"
    run.mkdir()
    (run / "manifest.json").write_text('{"format": "my-results"}')
    toy = build(graph)
    (graph / "notes.txt").write_text("precious")
    for folder, words in ((run, "holds a my-results"), (graph, r"holds notes\.txt")):
        before = sorted(p.name for p in folder.iterdir())
        with pytest.raises(InputError, match=words):
            build(folder)
        with pytest.raises(InputError, match=words):
            toy.save(folder)
        assert sorted(p.name for p in folder.iterdir()) == before
    (graph / "notes.txt").unlink()
    (graph / "manifest.json").unlink()  # a damaged graph is built again
    assert build(graph).content_hash == toy.content_hash


def test_a_build_over_an_old_graph_replaces_it_and_leaves_no_litter(tmp_path: Path) -> None:
    build(tmp_path / "graph", exclude=["collectri"])
    graph = build(tmp_path / "graph")
    assert "collectri" in graph.sources
    assert sorted(p.name for p in tmp_path.iterdir()) == [".graph.lock", "cache", "graph"]


@pytest.mark.parametrize("name", ["graph/subject.npy", "graph/nodes.arrow", "manifest.json", "edges.parquet"])
def test_a_damaged_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = build(tmp_path / "graph").folder
    assert folder is not None
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GraphError, match=name.replace(".", r"\.")):
        Graph.load(folder)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes(bytes(flipped))
    with pytest.raises(GraphError):
        Graph.load(folder, verify=True)
    path.unlink()
    with pytest.raises(GraphError, match=r"manifest\.json|missing"):
        Graph.load(folder)


def test_another_format_version_is_refused_with_both_numbers(tmp_path: Path) -> None:
    folder = build(tmp_path / "graph").folder
    assert folder is not None
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format_version": 2', '"format_version": 99'))
    with pytest.raises(GraphError, match="format version 99, this program reads 2"):
        Graph.load(folder)
