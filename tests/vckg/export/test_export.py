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
from collections import Counter
from pathlib import Path

import ladybug
import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tests.vckg.toy import random_graph, toy
from vckg.base.errors import GraphError, InputError
from vckg.export.export import export
from vckg.export.networks import to_networkx
from vckg.export.writers import FORMATS
from vckg.graph.graph import Graph
from vckg.graph.schema import AGENT_TYPES, KNOWLEDGE_LEVELS
from vckg.graph.subgraph import subgraph


@pytest.fixture(scope="module")
def graph():
    return toy()


@pytest.fixture(scope="module")
def everything(graph, tmp_path_factory):
    """The toy graph in every format, closed sources included."""
    folder = tmp_path_factory.mktemp("exports")
    for form in FORMATS:
        export(graph, form, folder / form, i_have_the_right=True)
    return folder


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
    for row, at in zip(rows, range(graph.m), strict=True):
        edge = graph.edge(at)
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
        for row, found in zip(rows, objects, strict=True):
            for name, value in row.items():
                said = found.get(name, "")
                flat = "|".join(v.replace("|", " ") for v in said) if isinstance(said, list) else str(said)
                assert re.sub(r"[\t\n]+", " ", flat) == value


# ---- neo4j and an embedded Cypher database ---------------------------------------------------------------------

NEO4J_TYPES = {
    "int", "long", "float", "double", "boolean", "byte", "short", "char", "string",
    "point", "date", "localtime", "time", "localdatetime", "datetime", "duration",
}  # fmt: skip


def neo4j_files(folder):
    """(kind, header fields, rows) of every file that import.args names."""
    for argument in (folder / "import.args").read_text().splitlines():
        kind, _, files = argument.partition("=")
        if kind != "--id-type":
            header, data = files.split(",")
            (fields,) = csv.reader((folder / header).read_text().splitlines())
            yield kind, fields, list(csv.reader((folder / data).read_text().splitlines())), folder / data


def test_every_neo4j_header_field_follows_the_rules(everything):
    """neo4j-admin's documented rules: `name[:type][[]]`, one :ID or both ends, a :LABEL or :TYPE, known types only."""
    for kind, fields, rows, _ in neo4j_files(everything / "neo4j"):
        special = [f[f.index(":") :] for f in fields if re.search(r":[A-Z_]+$", f)]
        expected = [":ID", ":LABEL"] if kind == "--nodes" else [":START_ID", ":END_ID", ":TYPE"]
        assert special == expected
        for field in fields:
            name, _, kind_of_value = field.partition(":")
            if ":" + kind_of_value not in expected:
                assert re.fullmatch(r"[A-Za-z_]\w*", name)
                assert kind_of_value.removesuffix("[]") in NEO4J_TYPES
        names = [f.partition(":")[0] for f in fields if f.partition(":")[0]]
        assert len(names) == len(set(names))
        for row in rows:
            assert len(row) == len(fields)
            typed = dict(zip(fields, row, strict=True))
            assert all(re.fullmatch(r"-?\d+", v) for f, v in typed.items() if f.endswith(":int") and v)
            assert all(float(v) for f, v in typed.items() if f.endswith(":float") and v)


def test_neo4j_ids_are_unique_and_every_end_is_one(everything):
    ids, ends = Counter(), set()
    for kind, fields, rows, _ in neo4j_files(everything / "neo4j"):
        for row in rows:
            typed = dict(zip(fields, row, strict=True))
            if kind == "--nodes":
                ids[typed["id:ID"]] += 1
            else:
                ends |= {typed[":START_ID"], typed[":END_ID"]}
    assert set(ids.values()) == {1}
    assert ends <= set(ids)


_CYPHER_TYPE = {"int": "INT64", "float": "DOUBLE"}


def load_into_ladybug(folder, scratch):
    """A database made from the neo4j files: labels become node tables, types relationship tables, fields columns.

    This engine wants the file of a relationship table apart for every pair of labels, so rows are dealt out first.
    """
    connection = ladybug.Connection(ladybug.Database(":memory:"))
    label_of = {}
    for kind, fields, rows, path in neo4j_files(folder):
        columns = [(f.partition(":")[0], f.partition(":")[2]) for f in fields]
        properties = ", ".join(f"{n} {_CYPHER_TYPE.get(t, 'STRING')}" for n, t in columns if n)
        kind_of = rows[0][-1]
        assert {r[-1] for r in rows} == {kind_of}
        if kind == "--nodes":
            connection.execute(f"CREATE NODE TABLE {kind_of}({properties}, label STRING, PRIMARY KEY(id))")
            connection.execute(f"COPY {kind_of} FROM '{path}' (HEADER=false)")
            label_of |= {r[0]: kind_of for r in rows}
            continue
        dealt = {}
        for row, line in zip(rows, path.read_text().splitlines(), strict=True):
            dealt.setdefault((label_of[row[0]], label_of[row[1]]), []).append(line)
        pairs = ", ".join(f"FROM {a} TO {b}" for a, b in dealt)
        connection.execute(f"CREATE REL TABLE {kind_of}({pairs}, {properties}, type STRING)")
        for (a, b), lines in dealt.items():
            part = scratch / f"{kind_of}-{a}-{b}.csv"
            part.write_text("\n".join(lines) + "\n")
            connection.execute(f"COPY {kind_of} FROM '{part}' (HEADER=false, from='{a}', to='{b}')")
    return connection


GATHER_HOPS = {
    1: ["(g)-[]->(c)"],
    2: ["(g)-[]->(x)-[]->(c)", "(g)-[]->(x)<-[]-(c)"],
    3: [
        "(g)-[]->(x)-[]->(y)-[]->(c)",
        "(g)-[]->(x)-[]->(y)<-[]-(c)",
        "(g)-[]->(x)<-[]-(y)-[]->(c)",
        "(g)-[]->(x)<-[]-(y)<-[]-(c)",
    ],
}


def cypher_reach(connection, hop, inner, genes):
    """(gene, cell) pairs that GATHER's patterns of a hop find; inner nodes are neither genes nor cells."""
    pairs = set()
    for pattern in GATHER_HOPS[hop]:
        labels = {"g": "Gene", "c": "Cell", "x": "|".join(inner), "y": "|".join(inner)}
        named = re.sub(r"\((\w)\)", lambda m, labels=labels: f"({m[1]}:{labels[m[1]]})", pattern)
        asked = f"MATCH {named} WHERE g.id IN {list(genes)} RETURN DISTINCT g.id, c.id"
        pairs |= {tuple(p) for p in connection.execute(asked).get_all()}
    return pairs


def our_reach(graph, hop, genes):
    """The same from the graph's adjacency."""
    forward = sum((graph.adjacency(r) for r in graph.relations), start=sp.csr_array((graph.n, graph.n)))
    ends = [graph.categories.index(c) for c in ("Gene", "Cell")]
    inner = sp.diags_array(np.where(np.isin(graph.category, ends), 0.0, 1.0))
    either = sp.csr_array(forward + forward.T)
    rows, cells = [graph.index(g) for g in genes], graph.nodes_of("Cell")
    walk = sp.csr_array(forward)[rows]
    for _ in range(hop - 1):
        walk = (walk @ inner @ either).tocsr()
    found = walk[:, cells].tocoo()
    return {(genes[i], graph.ids[cells[j]]) for i, j in zip(found.row, found.col, strict=True)}


@pytest.mark.parametrize("seed", range(3))
def test_a_cypher_database_answers_the_hop_queries_as_the_graph_does(seed, tmp_path):
    graph = random_graph(seed)
    export(graph, "neo4j", tmp_path / "neo4j")
    connection = load_into_ladybug(tmp_path / "neo4j", tmp_path)
    (counted,) = connection.execute("MATCH ()-[r]->() RETURN count(r)").get_all()
    assert counted == [graph.m]
    genes = [graph.ids[i] for i in graph.nodes_of("Gene")]
    for hop in GATHER_HOPS:
        ours = our_reach(graph, hop, genes)
        assert cypher_reach(connection, hop, ("BiologicalProcess", "AnatomicalEntity"), genes) == ours, hop


@pytest.mark.data
def test_hop_queries_over_real_edges_are_answered_alike(full_graph, tmp_path):
    """Everything that five genes' walks of up to three hops can touch, in the database; the whole graph on our side."""
    genes = [g.curie for g in full_graph.genes.ground(["CD3D", "MS4A1", "INS", "SFTPC", "ALB"])]
    starts = [full_graph.index(g) for g in genes]
    cells = full_graph.nodes_of("Cell").tolist()
    touched = np.concatenate([full_graph.neighbours(i) for i in (*starts, *cells)])
    inner = touched[full_graph.category[touched] != full_graph.categories.index("Gene")]
    part = subgraph(full_graph, {*starts, *cells, *inner.tolist()})
    export(part, "neo4j", tmp_path / "neo4j", i_have_the_right=True)
    connection = load_into_ladybug(tmp_path / "neo4j", tmp_path)
    held = {part.categories[c] for c in np.unique(part.category)} - {"Gene", "Cell"}
    for hop in GATHER_HOPS:
        ours = our_reach(full_graph, hop, genes)
        assert len(ours) > 20
        assert cypher_reach(connection, hop, sorted(held), genes) == ours, hop


def test_texts_reach_the_database_unharmed(graph, everything, tmp_path):
    connection = load_into_ladybug(everything / "neo4j", tmp_path)
    found = dict(connection.execute("MATCH (a) RETURN a.id, a.name").get_all())
    assert found == dict(zip(graph.ids, graph.names, strict=True))
    asked = "MATCH ()-[r:REGULATES]->() RETURN r.object_direction_qualifier, r.publications, r.evidence_count"
    assert sorted(connection.execute(asked).get_all()) == [
        ["downregulated", "PMID:9", 1],
        ["upregulated", None, 2],
    ]


# ---- GraphML ----------------------------------------------------------------------------------------------------


def test_graphml_opens_in_networkx_with_types(graph, everything):
    found = nx.read_graphml(everything / "graphml" / "graph.graphml", force_multigraph=True)
    assert dict(found.nodes(data="name")) == dict(zip(graph.ids, graph.names, strict=True))
    expected = to_networkx(graph)
    for u, v, key, said in found.edges(keys=True, data=True):
        wanted = expected.edges[u, v, key]
        flat = {k: "|".join(w) if isinstance(w, list) else w for k, w in wanted.items()}
        assert {k: w for k, w in said.items() if k != "id"} == flat
    assert found.number_of_edges() == graph.m


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
    for name, said in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == said["sha256"]
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
    with pytest.raises(GraphError, match="holds a vckg-graph"):
        export(graph, "graphml", folder)
    assert sorted((p, p.read_bytes()) for p in folder.rglob("*") if p.is_file()) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(GraphError, match="not an export"):
        export(graph, "graphml", tmp_path / "mine")
    with pytest.raises(GraphError, match="not an export"):
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
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tsv"] == found["jsonl"] == {"seen": {"NODE": graph.n, "EDGE": graph.m}, "told": {}}
    assert found["refused"] == {}
