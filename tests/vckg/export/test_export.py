"""Exports: what the formats hold, what licences keep out, and that a killed export leaves nothing half done."""

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from tests.vckg.toy import random_graph, toy
from vckg.base.errors import GraphError, InputError
from vckg.export.export import export
from vckg.export.networks import to_networkx
from vckg.export.writers import FORMATS
from vckg.graph.graph import Graph
from vckg.graph.schema import AGENT_TYPES, KNOWLEDGE_LEVELS


def read_kgx(path):
    """As the kgx package reads TSV: no quoting, all text, lists split at the bar."""
    return pd.read_csv(path, sep="\t", dtype=str, quoting=csv.QUOTE_NONE, keep_default_na=False).to_dict(
        "records"
    )


# ---- KGX ---------------------------------------------------------------------------------------------------


def test_kgx_edges_say_what_the_graph_says(graph, everything):
    rows = read_kgx(everything / "kgx" / "edges.tsv")
    assert len(rows) == graph.m
    assert len({r["id"] for r in rows}) == graph.m
    for row, index in zip(rows, range(graph.m), strict=True):
        edge = graph.edge(index)
        assert (row["subject"], row["predicate"], row["object"]) == (
            edge.subject,
            edge.predicate,
            edge.object,
        )
        assert row["original_predicate"] == f"vckg:{edge.relation}"
        assert row["knowledge_level"] == edge.knowledge_level
        assert row["agent_type"] == edge.agent_type
        assert row["publications"] == "|".join(edge.publications)
        assert row["anatomical_context_qualifier"] == "|".join(edge.tissues)
        assert row["evidence_count"] == str(edge.evidence_count)
        assert row["weight"] == ("" if np.isnan(edge.weight) else str(edge.weight))
        assert row["object_direction_qualifier"] == {1: "upregulated", -1: "downregulated", 0: ""}[edge.sign]


def test_kgx_required_columns_are_filled_with_biolinks_own_words(everything):
    for row in read_kgx(everything / "kgx" / "edges.tsv"):
        assert row["knowledge_level"] in KNOWLEDGE_LEVELS
        assert row["agent_type"] in AGENT_TYPES
        assert row["primary_knowledge_source"].startswith("infores:")
        assert re.fullmatch(r"biolink:[a-z_]+", row["predicate"])
    for row in read_kgx(everything / "kgx" / "nodes.tsv"):
        assert re.fullmatch(r"biolink:([A-Z][a-z]+)+", row["category"])
        assert row["name"]


def test_a_bar_in_a_synonym_does_not_make_two(everything):
    (gene,) = [n for n in read_kgx(everything / "kgx" / "nodes.tsv") if n["id"] == "HGNC:1"]
    assert gene["synonym"].split("|") == ["T3D", "x y;z"]
    assert gene["description"] == "a cell surface protein"
    assert gene["taxon"] == "NCBITaxon:9606"


def test_json_lines_and_tsv_say_the_same(everything):
    for kind in ("nodes", "edges"):
        rows = read_kgx(everything / "kgx" / f"{kind}.tsv")
        objects = [
            json.loads(line) for line in (everything / "kgx-jsonl" / f"{kind}.jsonl").read_text().splitlines()
        ]
        assert len(rows) == len(objects)
        for row, result in zip(rows, objects, strict=True):
            for name, value in row.items():
                entry = result.get(name, "")
                flat = "|".join(v.replace("|", " ") for v in entry) if isinstance(entry, list) else str(entry)
                assert re.sub(r"[\t\n]+", " ", flat) == value


# ---- GraphML ----------------------------------------------------------------------------------------------------


def test_graphml_opens_in_networkx_with_types(graph, everything):
    result = nx.read_graphml(everything / "graphml" / "graph.graphml", force_multigraph=True)
    assert dict(result.nodes(data="name")) == dict(zip(graph.ids, graph.names, strict=True))
    expected = to_networkx(graph)
    for u, v, key, entry in result.edges(keys=True, data=True):
        wanted = expected.edges[u, v, key]
        flat = {k: "|".join(w) if isinstance(w, list) else w for k, w in wanted.items()}
        assert {k: w for k, w in entry.items() if k != "id"} == flat
    assert result.number_of_edges() == graph.m


# ---- licences ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_nothing_of_a_closed_source_leaves_without_the_right(graph, tmp_path, form):
    manifest = export(graph, form, tmp_path / "out")
    text = "".join(p.read_text() for p in (tmp_path / "out").iterdir() if p.name != "manifest.json")
    assert "closed" not in text
    assert "KEGG" not in text  # a node that only the closed source mentions
    assert manifest["left_out"]["closed"]["edges"] == 2
    assert manifest["left_out"]["closed"]["licence"] == "academic use only"
    assert (manifest["edges"], manifest["nodes_left_out"]) == (graph.m - 2, 1)
    assert set(manifest["sources"]) == {"cl", "go", "open"}


def test_with_the_right_everything_leaves(graph, tmp_path):
    manifest = export(graph, "graphml", tmp_path / "out", i_have_the_right=True)
    assert manifest["left_out"] == {}
    assert manifest["edges"] == graph.m


def test_a_source_that_states_no_licence_is_closed(tmp_path):
    unsaid = Graph.from_frames(*(toy_frames()))
    with pytest.raises(InputError, match="--i-have-the-right"):
        export(unsaid, "kgx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def toy_frames():
    nodes = pd.DataFrame([("HGNC:1", "Gene", "A"), ("CL:1", "Cell", "c")], columns=["id", "category", "name"])
    edges = pd.DataFrame(
        [("HGNC:1", "is_marker_for", "CL:1", "x")], columns=["subject", "relation", "object", "source"]
    )
    return nodes, edges


# ---- whole or not at all -----------------------------------------------------------------------------------------


def visible(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def assert_whole(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["format"] == "vckg-export"
    assert {p.name for p in folder.iterdir()} == {*manifest["files"], "manifest.json"}
    for name, entry in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry["sha256"]
    return manifest


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_an_export_is_described_by_its_manifest_and_repeats_to_the_byte(graph, tmp_path, form):
    export(graph, form, tmp_path / "a")
    export(graph, form, tmp_path / "b")
    export(graph, form, tmp_path / "a")  # over the old one
    assert assert_whole(tmp_path / "a") == assert_whole(tmp_path / "b")
    assert visible(tmp_path) == ["a", "b"]


def test_an_export_never_replaces_a_graph_or_other_files(graph, tmp_path):
    folder = graph.save(tmp_path / "graph")
    before = sorted((p, p.read_bytes()) for p in folder.rglob("*") if p.is_file())
    with pytest.raises(InputError, match="holds a vckg-graph"):
        export(graph, "graphml", folder)
    assert sorted((p, p.read_bytes()) for p in folder.rglob("*") if p.is_file()) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not an export"):
        export(graph, "graphml", tmp_path / "mine")
    with pytest.raises(InputError, match="not an export"):
        export(graph, "graphml", tmp_path / "mine" / "thesis.txt")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_an_unknown_format_names_the_nearest(graph, tmp_path):
    with pytest.raises(InputError, match="did you mean 'graphml'"):
        export(graph, "graphlm", tmp_path / "out")


def test_a_failing_export_leaves_no_trace(graph, tmp_path, monkeypatch):
    def full(_selection, folder):
        (folder / "half.tsv").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMATS, "kgx", full)
    with pytest.raises(GraphError, match=r"No space left on device; is the disk full\?"):
        export(graph, "kgx", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == [".out.lock"]


_EXPORTER = """
import sys, time
from vckg.graph.graph import Graph
from vckg.export.export import export
graph = Graph.load(sys.argv[1])
print("ready", flush=True)
export(graph, "kgx", sys.argv[2])
print("done", flush=True)
"""


def exporter(folder, out):
    return subprocess.Popen(
        [sys.executable, "-c", _EXPORTER, str(folder), str(out)],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )


@pytest.mark.slow
def test_kill_9_at_random_moments_leaves_the_old_export_or_none(tmp_path):
    graph = random_graph(0, genes=4_000, cells=500, others=3_000, edges=60_000)
    folder = graph.save(tmp_path / "graph")
    out = tmp_path / "kgx"
    clean = exporter(folder, out)
    assert clean.stdout.readline() == "ready\n"
    began = time.monotonic()
    assert clean.stdout.readline() == "done\n"
    span = time.monotonic() - began
    clean.wait()
    clean.stdout.close()
    old = assert_whole(out)
    rng = np.random.default_rng(9)
    killed = 0
    for moment in rng.uniform(0, span, size=20):
        with exporter(folder, out) as running:
            assert running.stdout.readline() == "ready\n"
            time.sleep(moment)
            running.send_signal(signal.SIGKILL)
            killed += running.wait() == -signal.SIGKILL
        if out.exists():
            assert assert_whole(out) == old
    assert killed >= 10
    with exporter(folder, out) as last:  # and the next run succeeds
        assert last.stdout.read() == "ready\ndone\n"
    assert assert_whole(out) == old
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".kgx.lock",
        "graph",
        "kgx",
    ]  # nothing of the killed is left


# ---- kgx itself --------------------------------------------------------------------------------------------------

KGX = ("kgx==2.6.0", "biolink-model==4.4.6")


@pytest.fixture(scope="session")
def kgx_python(request):
    """A Python that has kgx: VCKG_KGX_PYTHON, else one made once beside pytest's cache.

    kgx brings most of LinkML, too much for the environment of the other tests.
    """
    if named := os.environ.get("VCKG_KGX_PYTHON"):
        return named
    folder = request.config.cache.mkdir("kgx-venv")
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *KGX], check=True)
        (folder / "complete").touch()
    return str(python)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("name", ["toy", "random"])
def test_kgx_validate_is_clean_and_the_model_refuses_nothing(kgx_python, tmp_path, name):
    graph = toy() if name == "toy" else random_graph(5)
    for form in ("kgx", "kgx-jsonl"):
        export(graph, form, tmp_path / form, i_have_the_right=True)
    script = Path(__file__).with_name("kgx_validate.py")
    done = subprocess.run(
        [kgx_python, str(script), str(tmp_path)], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["tsv"] == result["jsonl"] == {"seen": {"NODE": graph.n, "EDGE": graph.m}, "told": {}}
    assert result["refused"] == {}
