"""The export for neo4j: its headers, and an embedded Cypher database that answers as the graph does."""

import csv
import re
from collections import Counter

import ladybug
import numpy as np
import pytest
import scipy.sparse as sp

from tests.vckg.toy import random_graph
from vckg.export.export import export
from vckg.graph.subgraph import subgraph

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
    result = walk[:, cells].tocoo()
    return {(genes[i], graph.ids[cells[j]]) for i, j in zip(result.row, result.col, strict=True)}


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
    result = dict(connection.execute("MATCH (a) RETURN a.id, a.name").get_all())
    assert result == dict(zip(graph.ids, graph.names, strict=True))
    asked = "MATCH ()-[r:REGULATES]->() RETURN r.object_direction_qualifier, r.publications, r.evidence_count"
    assert sorted(connection.execute(asked).get_all()) == [
        ["downregulated", "PMID:9", 1],
        ["upregulated", None, 2],
    ]
