"""The audit: every check notices what it is for, and a sound graph passes."""

import copy
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from tests.vckg.toy import EDGES, NODES, SOURCES, random_graph, toy
from vckg.base.errors import GraphError
from vckg.base.resources import resource
from vckg.build.build_folder import make
from vckg.build.fetch import Places
from vckg.build.source_table import read_sources
from vckg.export.export import export
from vckg.export.writers import FORMATS
from vckg.graph.graph import Graph
from vckg.graph.manifest import read_manifest
from vckg.quality.audit import FILE_CHECKS, audit, audit_folder, markdown
from vckg.quality.checks import CHECKS, SENTINELS, WHOLE_ONTOLOGY


def ids_of(report, severity=None):
    return {f.id for f in report.findings if severity in (None, f.severity)}


def found(report, name):
    (finding,) = [f for f in report.findings if f.id == name]
    return finding


def test_a_sound_graph_has_no_errors():
    report = audit(toy())
    assert ids_of(report, "error") == set()
    assert {*report.passed, *ids_of(report)} == {c.id for c in CHECKS}


def with_source(**said):
    return Graph.from_frames(NODES, EDGES, SOURCES | {"go": SOURCES["go"] | said})


@pytest.mark.parametrize(
    ("said", "name", "severity"),
    [
        ({"licence": ""}, "source-licence", "error"),
        ({"redistribute": None}, "source-redistribution", "error"),
        ({"infores": None}, "source-infores", "error"),
        ({"release": None}, "source-release", "error"),
        ({"sha256": None}, "source-checksum", "warning"),
        ({"citation": ""}, "source-citation", "warning"),
        ({"knowledge_level": "certain"}, "source-knowledge-level", "error"),
        ({"agent_type": "oracle"}, "source-agent-type", "error"),
        ({"agent_type": "not_provided"}, "source-not-provided", "warning"),
        ({"read": 10, "kept": 0}, "source-empty", "error"),
        ({"read": 10, "kept": 7, "rejected": {"not human": 3}}, "source-rejects", "warning"),
    ],
)
def test_missing_provenance_is_named_with_its_source(said, name, severity):
    finding = found(audit(with_source(**said)), name)
    assert finding.severity == severity
    assert finding.count == 1
    assert finding.examples[0].startswith("go")


def test_a_part_says_what_its_source_says_unless_it_differs():
    edges = EDGES.assign(source=EDGES["source"].replace({"go": "go:part"}))
    part = {"part_of": "go", "licence": "its own"}
    report = audit(Graph.from_frames(NODES, edges, SOURCES | {"go:part": part}))
    assert ids_of(report, "error") == set()


def test_a_licence_that_forbids_redistribution_is_no_fault():
    assert "source-redistribution" in audit(toy()).passed


def test_a_source_the_manifest_does_not_know():
    graph = Graph.from_frames(NODES, EDGES, {k: v for k, v in SOURCES.items() if k != "cl"})
    assert found(audit(graph), "source-undescribed").examples == ("cl",)


def tampered(**columns):
    """The toy graph with some of its columns replaced, as a broken builder would leave it."""
    graph = toy()
    for name, column in columns.items():
        setattr(graph, name, column)
    return graph


def test_an_edge_whose_end_is_not_a_node():
    graph = toy()
    target = graph.object.copy()
    target[3] = graph.n
    graph.object = target
    (check,) = [c for c in CHECKS if c.id == "edge-end-missing"]
    assert check.find(graph) == (1, ("edge row 3",))


def test_a_repeated_edge_and_an_edge_out_of_order():
    graph = toy()
    columns = {c: np.asarray(getattr(graph, c)) for c in ("relation", "subject", "object", "source", "sign")}
    doubled = np.array([0, 0, *range(2, graph.m)])
    swapped = np.array([1, 0, *range(2, graph.m)])
    repeat = audit(tampered(**{name: column[doubled] for name, column in columns.items()}))
    assert found(repeat, "edge-duplicate").count == 1
    order = audit(tampered(**{name: column[swapped] for name, column in columns.items()}))
    assert found(order, "edge-order").count == 1
    assert "edge-duplicate" in order.passed


def with_rows(nodes=(), edges=()):
    more_nodes = pd.DataFrame(list(nodes), columns=["id", "category", "name"])
    more_edges = pd.DataFrame(list(edges), columns=["subject", "relation", "object", "source"])
    return Graph.from_frames(
        pd.concat([NODES, more_nodes], ignore_index=True),
        pd.concat([EDGES, more_edges], ignore_index=True),
        SOURCES,
    )


@pytest.mark.parametrize(
    ("nodes", "edges", "name", "example"),
    [
        (
            [],
            [("HGNC:1", "subclass_of", "CL:0000084", "go")],
            "edge-category",
            "HGNC:1 subclass_of CL:0000084 (go)",
        ),
        ([], [("HGNC:1", "regulates", "HGNC:1", "go")], "edge-self-loop", "HGNC:1 regulates HGNC:1 (go)"),
        ([("no colon", "Gene", "x")], [], "node-curie", "no colon"),
        ([("CPDB:two:colons", "ProteinComplex", "x")], [], "node-curie", "CPDB:two:colons"),
        ([("ENSG:1", "Gene", "x")], [], "node-prefix", "Gene ENSG:1"),
        ([("CL:0000999", "Cell", "")], [], "node-name", "CL:0000999"),
        ([("CL:0000999", "Cell", "obsolete thing")], [], "node-obsolete", "CL:0000999 obsolete thing"),
        ([("CL:0000999", "Cell", "x")], [], "node-orphan", "1 of category Cell"),
        ([], [("CL:0000542", "subclass_of", "CL:0000084", "cl")], "ontology-cycle", "CL:0000084 T cell"),
    ],
)
def test_odd_nodes_and_edges_are_found(nodes, edges, name, example):
    assert found(audit(with_rows(nodes, edges)), name).examples[0] == example


def test_a_publication_that_is_no_curie():
    edges = EDGES.assign(publications=[["see text"], *EDGES["publications"][1:]])
    assert found(audit(Graph.from_frames(NODES, edges, SOURCES)), "edge-publication").examples == (
        "'see text'",
    )


def test_a_hub_is_noted():
    genes = [(f"HGNC:9{i:04d}", "Gene", f"G{i}") for i in range(1_200)]
    graph = with_rows(genes, [(g[0], "is_marker_for", "CL:0000236", "open") for g in genes])
    finding = found(audit(graph), "node-hub")
    assert finding.severity == "info"
    assert finding.examples == ("CL:0000236 B cell: 1,202 edges",)


def cells(parents):
    """A Cell branch large enough to count as the whole ontology."""
    ids = sorted({i for pair in SENTINELS for i in pair} | {f"CL:9{i:06d}" for i in range(WHOLE_ONTOLOGY)})
    nodes = pd.DataFrame([(i, "Cell", f"name {i}") for i in ids], columns=["id", "category", "name"])
    edges = pd.DataFrame(
        [(c, "subclass_of", p, "cl") for c, p in parents], columns=["subject", "relation", "object", "source"]
    )
    return Graph.from_frames(nodes, edges, SOURCES)


def test_a_lost_ancestry_is_an_error():
    assert "ontology-sentinel" in audit(cells(SENTINELS)).passed
    lost = [p for p in SENTINELS if p[0] != "CL:0000236"]
    finding = found(audit(cells(lost)), "ontology-sentinel")
    assert finding.severity == "error"
    assert finding.examples == ("CL:0000236 (name CL:0000236) is not below CL:0000988 (name CL:0000988)",)


def test_a_whole_ontology_without_a_sentinel_is_an_error():
    graph = cells(SENTINELS)
    nodes = [i for i in range(graph.n) if graph.ids[i] != "CL:0000576"]
    from vckg.graph.subgraph import subgraph

    assert found(audit(subgraph(graph, nodes)), "ontology-sentinel").examples[0].startswith("CL:0000576 or")


# ---- folders ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return toy().save(tmp_path_factory.mktemp("audit") / "graph")


def test_a_clean_folder_has_no_errors(folder):
    assert audit_folder(folder).counts["error"] == 0


def test_a_flipped_bit_anywhere_is_noticed(folder, tmp_path):
    """Every file of the folder, the manifest too: noticed by the audit, or already refused at load."""
    rng = np.random.default_rng(3)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        for where in rng.integers(path.stat().st_size, size=3):
            hurt = tmp_path / "hurt"
            shutil.copytree(folder, hurt)
            target = hurt / path.relative_to(folder)
            data = bytearray(target.read_bytes())
            data[where] ^= 1 << int(rng.integers(8))
            target.write_bytes(data)
            try:
                report = audit_folder(hurt)
            except GraphError as error:
                assert "manifest.json" in str(error)  # noqa: PT017
                assert target.name == "manifest.json"
            else:
                finding = found(report, "file-damaged")
                assert finding.severity == "error"
                assert finding.examples[0].startswith(path.relative_to(folder).as_posix())
            shutil.rmtree(hurt)


def test_every_file_of_a_built_folder_is_sealed(tmp_path):
    """The interchange tables and the mappings too, which a graph is used without."""
    toys, built = resource("data", "toy"), tmp_path / "graph"
    places = Places(tmp_path / "cache", (toys,), offline=True)
    make(built, read_sources(toys / "sources.toml"), places, profile="core")
    files = {p.relative_to(built).as_posix() for p in built.rglob("*") if p.is_file()}
    assert {"nodes.parquet", "edges.parquet", "mappings.sssom.tsv", "manifest.json"} <= files
    assert set(read_manifest(built)["files"]) == files - {"manifest.json"}
    for name in sorted(files - {"manifest.json"}):
        data = (built / name).read_bytes()
        (built / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert found(audit_folder(built), "file-damaged").examples[0].startswith(name)
        (built / name).write_bytes(data)
    assert not any(f.id == "file-damaged" for f in audit_folder(built).findings)


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_a_flipped_bit_of_an_export_is_noticed(form, tmp_path):
    out = tmp_path / "out"
    export(toy(), form, out, i_have_the_right=True)
    assert audit_folder(out).findings == ()
    assert audit_folder(out).passed == FILE_CHECKS
    rng = np.random.default_rng(4)
    for path in sorted(out.iterdir()):
        data = path.read_bytes()
        for where in rng.integers(len(data), size=5):
            hurt = bytearray(data)
            hurt[where] ^= 1 << int(rng.integers(8))
            path.write_bytes(hurt)
            if path.name == "manifest.json":
                with pytest.raises(GraphError, match=r"manifest\.json"):
                    audit_folder(out)
            else:
                assert found(audit_folder(out), "file-damaged").examples[0].startswith(path.name)
        path.write_bytes(data)
    gone = next(p for p in sorted(out.iterdir()) if p.name != "manifest.json")
    gone.unlink()
    assert found(audit_folder(out), "file-missing").examples == (gone.name,)


def test_missing_and_foreign_files_are_findings(folder, tmp_path):
    hurt = tmp_path / "hurt"
    shutil.copytree(folder, hurt)
    (hurt / "notes.txt").write_text("mine")
    assert found(audit_folder(hurt), "file-unlisted").examples == ("notes.txt",)
    (hurt / "graph" / "subject.npy").unlink()
    report = audit_folder(hurt)
    assert found(report, "file-missing").examples == ("graph/subject.npy",)
    assert report.content_hash is None
    assert set(report.not_run) == {c.id for c in CHECKS}


def test_operators_that_rotted_are_noticed(folder, tmp_path):
    hurt = tmp_path / "hurt"
    shutil.copytree(folder, hurt)
    part = hurt / "operators" / "Cell-2-abc"
    part.mkdir(parents=True)
    np.save(part / "a.npy", np.arange(3))
    (part / "manifest.json").write_text(json.dumps({"sha256": {"a.npy": "0" * 64}}))
    finding = found(audit_folder(hurt), "file-damaged")
    assert finding.examples == (
        "operators/Cell-2-abc/a.npy: changed after it was written; remove operators/Cell-2-abc",
    )


def test_a_content_hash_that_is_not_the_graphs():
    graph = toy()
    graph.manifest = copy.deepcopy(graph.manifest) | {"content_hash": "0" * 64}
    assert found(audit(graph), "content-hash").severity == "error"


# ---- the report --------------------------------------------------------------------------------------------------


def test_the_report_is_versioned_json_and_a_markdown_table():
    report = audit(with_source(licence="", citation="a | b"))
    value = json.loads(json.dumps(report.as_json()))
    assert (value["format"], value["format_version"]) == ("vckg-audit", 1)
    assert value["counts"]["error"] == 1
    assert value["findings"][0]["id"] == "source-licence"
    page = markdown(report)
    assert "| error | `source-licence` | sources without a licence | 1 | go |" in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}


def test_ids_of_checks_are_unique_and_stable_words():
    names = [c.id for c in CHECKS]
    assert len(names) == len(set(names))
    assert all(n == n.lower() and " " not in n for n in names)


@pytest.mark.parametrize("seed", range(3))
def test_a_random_graph_audits_the_same_twice(seed):
    graph = random_graph(seed)
    assert audit(graph).as_json() == audit(graph).as_json()
