"""The folder on disk as a contract: every run reads a folder that this format version wrote long ago.

`fixtures/graph-format-2` is the toy graph, written once and never again: where reading it fails, or gives another
content hash, the format has changed and needs a new version number. Then this folder stays, is refused by name
(or read by a converter), and a new one is written with ``toy().save(...)``.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.vckg.toy import toy
from vckg.base.errors import GraphError
from vckg.graph.graph import Graph
from vckg.graph.manifest import manifest_seal
from vckg.graph.parts import content_hash
from vckg.graph.schema import FORMAT_VERSION

FOLDER = Path(__file__).with_name("fixtures") / "graph-format-2"
OLDER = Path(__file__).with_name("fixtures") / "graph-format-1"


def test_the_old_folder_reads_as_it_did_when_it_was_written():
    graph = Graph.load(FOLDER, verify=True)
    assert graph.manifest["format_version"] == 2
    assert content_hash(graph.parts) == graph.manifest["content_hash"]
    fresh = toy()
    assert [graph.node(i) for i in range(graph.n)] == [fresh.node(i) for i in range(fresh.n)]
    assert [str(graph.edge(r)) for r in range(graph.m)] == [str(fresh.edge(r)) for r in range(fresh.m)]
    assert graph.manifest["sources"] == fresh.manifest["sources"]


def test_a_folder_of_the_first_format_is_refused_with_the_fix():
    with pytest.raises(GraphError, match=r"format version 1, this program reads 2.*vckg build"):
        Graph.load(OLDER)


def test_the_old_folder_still_grounds_names_and_walks_the_ontology():
    graph = Graph.load(FOLDER)
    assert [g.curie for g in graph.genes.ground(["CD3D", "T3D", "ENSG00000167286.12", "nothing"])] == [
        "HGNC:1",
        "HGNC:1",
        "HGNC:1",
        None,
    ]
    assert [g.curie for g in graph.cells.ground(["T-lymphocyte"])] == ["CL:0000084"]
    assert [graph.ids[i] for i in graph.ancestors(graph.index("CL:0000084"))] == ["CL:0000542"]


def test_todays_program_writes_the_same_files_with_the_same_content(tmp_path):
    """While the version is the same, what a new program writes an old one can read."""
    written = toy().save(tmp_path / "graph")
    names = sorted(p.relative_to(FOLDER) for p in FOLDER.rglob("*") if p.is_file())
    assert sorted(p.relative_to(written) for p in written.rglob("*") if p.is_file()) == names
    for name in names:
        old, new = FOLDER / name, written / name
        if name.suffix == ".npy":
            before, after = np.load(old), np.load(new)
            assert before.dtype == after.dtype
            np.testing.assert_array_equal(before, after)
        elif name.suffix == ".arrow":
            assert pa.ipc.open_file(new).read_all().equals(pa.ipc.open_file(old).read_all())
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (FOLDER, written)]
    assert manifests[0].keys() == manifests[1].keys()


def copied(tmp_path, **said):
    folder = tmp_path / "graph"
    shutil.copytree(FOLDER, folder)
    manifest = json.loads((folder / "manifest.json").read_text()) | said
    manifest["seal"] = manifest_seal(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("version", [0, FORMAT_VERSION + 1, 99, "1", None])
def test_an_unknown_version_is_refused_with_both_versions_and_the_fix(tmp_path, version):
    with pytest.raises(GraphError) as refusal:
        Graph.load(copied(tmp_path, format_version=version))
    assert repr(version) in str(refusal.value)
    assert f"reads {FORMAT_VERSION}" in str(refusal.value)
    assert "vckg build" in str(refusal.value)


@pytest.mark.parametrize(
    "said",
    [{"format": "neo4j"}, {"relations": ["friend_of"]}, {"categories": []}],
    ids=["format", "relations", "categories"],
)
def test_a_folder_with_other_words_is_refused(tmp_path, said):
    with pytest.raises(GraphError, match="build it again"):
        Graph.load(copied(tmp_path, **said))


def test_a_manifest_changed_by_hand_is_refused(tmp_path):
    folder = copied(tmp_path)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace("academic use only", "CC0-1.0"))
    with pytest.raises(GraphError, match="not as it was written"):
        Graph.load(folder)
