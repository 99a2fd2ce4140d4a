"""`vckg audit`, `diff`, `export` and `card` as a shell and a CI job see them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vckg.toy import EDGES, NODES, SOURCES, toy
from vckg.export.writers import FORMATS
from vckg.graph.graph import Graph
from vckg.quality.checks import CHECKS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return toy().save(tmp_path_factory.mktemp("commands") / "graph")


def vckg(*arguments, code=0):
    """Run a command in a process of its own and return (stdout, stderr)."""
    program = "import sys; sys.argv[0] = 'vckg'; from vckg.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_audit_exits_0_when_clean_and_says_so(folder):
    out, _ = vckg("audit", folder)
    assert "0 errors" in out
    assert json.loads(vckg("audit", folder, "--json")[0])["format"] == "vckg-audit"
    assert vckg("audit", folder, "--markdown")[0].startswith("# Audit of")


def test_audit_exits_1_on_an_error(tmp_path):
    graph = Graph.from_frames(NODES, EDGES, SOURCES | {"go": SOURCES["go"] | {"licence": ""}})
    out, _ = vckg("audit", graph.save(tmp_path / "graph"), code=1)
    assert "source-licence" in out


def test_audit_exits_2_where_there_is_no_graph(tmp_path):
    out, err = vckg("audit", tmp_path, code=2)
    assert out == ""
    assert err.count("\n") == 1
    assert "not a graph folder" in err


def test_diff_of_a_graph_with_itself_says_nothing_changed(folder):
    assert vckg("diff", folder, folder)[0] == "no difference\n"


def test_diff_prints_every_kind_of_change(folder, tmp_path):
    new = Graph.from_frames(
        NODES, EDGES.drop(index=[3]), SOURCES | {"go": SOURCES["go"] | {"release": "2027"}}
    )
    out, _ = vckg("diff", folder, new.save(tmp_path / "new"))
    assert "is_marker_for" in out
    assert "2027" in out
    out, _ = vckg("diff", "CL@v2025-02-13", "CL@v2026-03-26")
    assert "use CL:0000062" in out
    _, err = vckg("diff", folder, "CL@v2026-03-26", code=2)
    assert "compare two of a kind" in err


def test_export_names_what_a_licence_kept_out(folder, tmp_path):
    out, err = vckg("export", "--graph", folder, "--format", "graphml", "-o", tmp_path / "out")
    assert "14 edges" in out
    assert "2 edges and 1 nodes of closed" in err
    assert "--i-have-the-right" in err


def test_export_with_the_right_leaves_nothing_out(folder, tmp_path):
    out, err = vckg("export", "-g", folder, "-o", tmp_path / "out", "--i-have-the-right", "--json")
    assert json.loads(out)["edges"] == 16
    assert "left out" not in err


def test_card_writes_one_page(folder, tmp_path):
    out, _ = vckg("card", "-g", folder, "-o", tmp_path / "card.html")
    assert out.strip() == str(tmp_path / "card.html")
    assert [p.name for p in tmp_path.iterdir()] == ["card.html"]


@pytest.mark.parametrize("command", ["audit", "diff", "export", "card"])
def test_help_names_every_option(command):
    out, _ = vckg(command, "--help")
    assert "--" in out


def test_every_check_and_format_stands_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "release.md").read_text(encoding="utf-8")
    for name in (*(c.id for c in CHECKS), "file-missing", "file-damaged", "file-unlisted", *FORMATS):
        assert f"`{name}`" in page, name


@pytest.mark.parametrize("choice", [["--profile", "core"], ["--source", "go"], ["--exclude-source", "go"]])
def test_fetch_of_a_released_graph_takes_no_choice_of_sources(folder, choice):
    _, err = vckg("fetch", "--graph", folder, *choice, code=2)
    assert "leave out --profile" in err
