"""The commands on the toy graph: what they print, and one line with exit code 2 where they cannot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from vckg.base.resources import resource
from vckg.graph.graph import Graph
from vckg.printers.node import print_node

TOY = resource("data", "toy")
ROOT = Path(__file__).parents[2]
TABLE = ["--table", str(TOY / "sources.toml")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    done = vckg(folder, "build", *TABLE, "--mirror", str(TOY), "-o", str(folder / "graph"))
    assert done.returncode == 0, done.stderr
    return folder


def vckg(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.argv[0] = 'vckg'; from vckg.cli import main; main()"
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VCKG_")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**kept, "VCKG_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_info_tells_counts_and_reasons(place: Path) -> None:
    done = vckg(place, "info", "-g", str(place / "graph"))
    assert done.returncode == 0, done.stderr
    assert "20 nodes, 23 edges" in done.stdout
    assert "1 mouse gene not known" in done.stdout or "for other reasons" in done.stdout
    facts = json.loads(vckg(place, "info", "--json", VCKG_GRAPH=str(place / "graph")).stdout)
    assert facts["categories"]["Gene"] == 5
    assert facts["sources"]["cellmarker"]["rejected"]["mouse gene not known"] == 1


@pytest.mark.parametrize("name", ["HGNC:7315", "MS4A1", "CD20", "ENSG00000156738.2", "ms4a1"])
def test_show_finds_a_gene_by_any_name(place: Path, name: str) -> None:
    done = vckg(place, "show", name, "-g", str(place / "graph"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["node"]["id"] == "HGNC:7315"


def test_show_prints_edges_with_their_sources(place: Path) -> None:
    done = vckg(place, "show", "T cell", "-g", str(place / "graph"))
    assert "CL:0000084  T cell  (Cell)" in done.stdout
    assert "is_marker_for <-" in done.stdout
    assert "PMID:111 PMID:112 and 1 more" in done.stdout


def test_show_gathers_what_all_sources_say_of_a_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [("CL:1", "Cell", "T cell"), ("HGNC:1", "Gene", "CD3D"), ("HGNC:2", "Gene", "CD3E")]
    entry = [("HGNC:1", "a", 1), ("HGNC:2", "b", 2), ("HGNC:1", "b", 3)]
    graph = Graph.from_frames(
        pd.DataFrame(nodes, columns=["id", "category", "name"]),
        pd.DataFrame(
            [(g, "is_marker_for", "CL:1", s, k) for g, s, k in entry],
            columns=["subject", "relation", "object", "source", "evidence_count"],
        ),
    )
    print_node(graph, "t cell", limit=1, as_json=True)
    (markers,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["edges"]
    assert (markers["total"], markers["neighbours"]) == (3, 2)
    assert [(e["subject"], e["source"]) for e in markers["edges"]] == [("HGNC:1", "b"), ("HGNC:1", "a")]
    print_node(graph, "t cell", limit=1, as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["is_marker_for", "<-", "2", "nodes,", "3", "edges"] in lines
    assert ["HGNC:1", "CD3D", "4", "b", "3,", "a", "1"] in lines
    assert ["and", "1", "more", "(--limit)"] in lines


@pytest.mark.parametrize(("name", "curie"), [("blood", "UBERON:0000178"), (" Immune RESPONSE", "GO:0006955")])
def test_a_node_of_any_category_is_found_by_its_label(place: Path, name: str, curie: str) -> None:
    entry = json.loads(vckg(place, "show", name, "-g", str(place / "graph"), "--json").stdout)
    assert entry["node"]["id"] == curie


def test_path_shows_the_shortest_walks(place: Path) -> None:
    walks = json.loads(vckg(place, "path", "CD14", "PAX5", "-g", str(place / "graph"), "--json").stdout)
    assert {len(w) for w in walks} == {3}
    assert {w[-1]["relation"] for w in walks} == {"regulates"}
    printed = vckg(place, "path", "CD3D", "T cell", "-g", str(place / "graph")).stdout
    lines = [line.split() for line in printed.splitlines()]
    assert lines[1] == ["HGNC:1673", "CD3D"]
    papers = ["PMID:111", "PMID:112", "and", "1", "more"]
    assert lines[2] == ["--is_marker_for-->", "CL:0000084", "T", "cell", "3", "cellmarker", "3", *papers]
    back = vckg(place, "path", "T cell", "CD3D", "-g", str(place / "graph")).stdout
    assert "<--is_marker_for--  HGNC:1673   CD3D" in back


def test_sources_tells_what_was_tried_and_what_to_supply(place: Path) -> None:
    facts = {f["name"]: f for f in json.loads(vckg(place, "sources", "--json").stdout)}
    assert facts["kegg"]["tried"] == "not tried on the full file"
    assert "KEGG's terms" in facts["kegg"]["note"]
    assert facts["hpa"]["note"].startswith("put rna_single_cell_type.tsv into a mirror folder; https://")
    assert facts["trrust"]["note"] == ""
    assert not facts["cellmarker"]["redistribute"]
    assert facts["cl"]["tried"] == "the publisher's whole file"
    assert "CellMarker 2.0" in vckg(place, "sources", "--profile", "core").stdout


def test_fetch_lists_the_files(place: Path) -> None:
    done = vckg(place, "fetch", *TABLE, "--mirror", str(TOY), "--json")
    files = json.loads(done.stdout)["files"]
    assert {f["source"] for f in files} == {
        "cl",
        "uberon",
        "go",
        "hgnc",
        "cellmarker",
        "reactome",
        "collectri",
    }
    assert {f["route"] for f in files} == {"mirror"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "p40"], "could be HGNC:1633 (CD19), HGNC:7315 (MS4A1)"),
        (["show", "no such thing"], "nothing named"),
        (["show", "HGNC:731"], "did you mean 'HGNC:7315'"),
        (["path", "CD20", "MS4A1"], "are the same node"),
        (["info", "-g", "/nonexistent/graph"], "not a graph folder"),
        (["build", "--profile", "ful", "-o", "x"], "did you mean 'full'"),
        (["build", "--profile", "full"], "name a folder with --output"),
        (["build", "--source", "cellmarkr", "-o", "x"], "did you mean 'cellmarker'"),
        (["build", *TABLE, "--profile", "core", "--offline", "-o", "x"], "no route leads to its file (offline)"),
        (["build", *TABLE, "--mirror", "typo", "-o", "x"], "'typo' does not exist"),
        (["fetch", "-o", "x"], "--output and --sha256 go with --graph"),
        (["fetch", "--offline", "--graph", "http://127.0.0.1:9/g.tar.zst"], "offline"),
        (["show", "CD19", "-n", "0"], "--limit"),
        (["path", "CD19", "B cell", "-n", "-1"], "--limit"),
        (["info", "-g", __file__], "a file, not a graph folder"),
        (["audit", __file__], "a file, not a graph folder"),
        (["card", "-o", "."], "is a folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(place: Path, arguments: list[str], said: str) -> None:
    if arguments[0] in ("show", "path", "card"):
        arguments = [*arguments, "-g", str(place / "graph")]
    done = vckg(place, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_a_variable_that_forbids_requests_forbids_them_to_every_command(place: Path, tmp_path: Path) -> None:
    table = tmp_path / "sources.toml"
    table.write_text(
        "[x]\ntitle='x'\nlicence='x'\nredistribute=true\ncitation='x'\nreader='obo'\nprofiles=['core']\n"
        "[[x.routes]]\nkind='url'\nurl='http://127.0.0.1:9/x'\n"
    )
    for command in ("fetch", "build"):
        output = ["-o", str(tmp_path / "graph")] if command == "build" else []
        asked = [command, "--table", str(table), "--profile", "core", *output]
        assert "(offline)" in vckg(place, *asked, VCKG_OFFLINE="1").stderr
        assert "does not answer" in vckg(place, *asked, VCKG_OFFLINE="0").stderr


def test_brackets_in_the_name_of_a_folder_are_printed(place: Path, tmp_path: Path) -> None:
    (tmp_path / "[v2]").symlink_to(place / "graph")
    assert vckg(place, "info", "-g", str(tmp_path / "[v2]")).stdout.startswith(f"{tmp_path}/[v2]\n")


@pytest.mark.network
def test_the_default_graph_builds_itself_with_pip_alone(place: Path) -> None:
    done = vckg(place, "show", "CD3D", "--json")
    assert done.returncode == 0, done.stderr
    assert "fetching" in done.stderr
    assert "building standard" in done.stderr
    again = vckg(place, "info", "--json")
    assert again.stderr == ""
    facts = json.loads(again.stdout)
    assert facts["sources"]["cellmarker"]["kept"] > 47_000
    assert facts["sources"]["singlecellbase"]["rows"] == 9158
