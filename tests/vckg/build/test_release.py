"""A graph is released as one archive and installed from it; a damaged archive leaves nothing."""

import io
import json
import random
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import zstandard

from vckg.base.errors import GraphError, InputError, SourceError
from vckg.base.resources import resource
from vckg.build.build_folder import make
from vckg.build.fetch import Places
from vckg.build.install import install
from vckg.build.release import release
from vckg.build.source_table import read_sources
from vckg.export.redistributable import redistributable
from vckg.graph.graph import Graph
from vckg.quality.audit import audit

TOY = resource("data", "toy")
NAME = "vckg-graph-2026.1.tar.zst"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    folder = tmp_path_factory.mktemp("toy") / "graph"
    places = Places(folder.parent / "cache", (TOY,), offline=True)
    rows = read_sources(TOY / "sources.toml")
    rows = tuple(replace(s, redistribute=s.name != "cellmarker") for s in rows)
    return make(folder, rows, places, profile="core")


@pytest.fixture(scope="module")
def archive(toy: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("release") / NAME
    release(toy, path)
    return path


def edges(graph: Graph) -> set[tuple[object, ...]]:
    every = (graph.edge(row) for row in range(graph.m))
    return {
        (e.subject, e.relation, e.object, e.source, e.evidence_count, e.publications, e.tissues, e.evidence)
        for e in every
    }


def test_the_released_graph_is_the_graph_without_what_may_not_be_passed_on(toy: Graph) -> None:
    open_ = {name for name in toy.sources if toy.manifest["sources"][name]["redistribute"] is True}
    closed = set(toy.sources) - open_
    assert closed, "the toy has a source that may not be passed on"
    released = redistributable(toy, "1")
    expected = {e for e in edges(toy) if e[3] in open_}
    assert edges(released) == expected
    said = released.manifest["released"]
    assert said["of"] == toy.content_hash
    assert said["left_out"]["edges"] == toy.m - len(expected)
    assert set(said["left_out"]["sources"]) == closed
    assert closed <= set(released.manifest["absent"])
    assert not closed & set(released.manifest["sources"])
    kept = set(released.ids.pick(np.arange(released.n)))
    touched = {end for e in edges(toy) for end in (e[0], e[2])}
    assert kept >= {end for e in expected for end in (e[0], e[2], *e[6])}
    assert set(toy.ids.pick(np.arange(toy.n))) - kept <= touched
    assert released.cells.ground(["T cell"])[0].curie == "CL:0000084"
    assert audit(released).counts["error"] == audit(toy).counts["error"]


def test_nothing_of_a_closed_source_stays_in_any_text(toy: Graph) -> None:
    released = redistributable(toy, "1")
    for name in ("publications", "evidence"):
        used = {w for row in range(released.m) for w in getattr(released.edge(row), name)}
        assert set(released.parts.dictionaries[name].to_pylist()) == used
    assert all(kind != "cells.mapped" for kind in _kinds(released))


def _kinds(graph: Graph) -> set[str]:
    from vckg.graph.grounding import NAME_KINDS

    return {NAME_KINDS[k] for k in np.unique(graph.parts.arrays["name_kind"])}


def test_an_archive_has_licences_and_what_a_doi_needs_and_the_same_bytes_again(
    toy: Graph, archive: Path, tmp_path: Path
) -> None:
    content = zstandard.ZstdDecompressor().stream_reader(archive.read_bytes()).read()
    with tarfile.open(fileobj=io.BytesIO(content)) as members:
        texts = {m.name.partition("/")[2]: members.extractfile(m).read() for m in members}  # type: ignore[union-attr]
    assert next(iter(texts)) == "manifest.json"
    doi = json.loads(texts["datacite.json"])
    assert doi["version"] == "2026.1"
    assert {"titles", "creators", "publisher", "publicationYear", "types", "rightsList"} <= set(doi)
    licences = texts["LICENCES.md"].decode()
    for name, entry in redistributable(toy, "1").manifest["sources"].items():
        assert f"| {name} | " in licences
        assert entry["licence"] in licences
    assert "Left out" in licences
    (tmp_path / "again").mkdir()
    release(toy, tmp_path / "again" / NAME)
    assert (tmp_path / "again" / NAME).read_bytes() == archive.read_bytes()
    with pytest.raises(InputError, match="exists"):
        release(toy, archive)
    with pytest.raises(InputError, match=r"ends in \.tar\.zst"):
        release(toy, tmp_path / "graph.zip")


@pytest.fixture
def server(archive: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(archive.parent)))
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{site.server_port}"
    site.shutdown()
    site.server_close()


def test_a_released_graph_is_installed_from_a_file_and_from_an_address(
    toy: Graph, archive: Path, server: str, tmp_path: Path
) -> None:
    expected = redistributable(toy, "2026.1")
    for number, origin in enumerate((str(archive), f"{server}/{NAME}")):
        installed = install(origin, tmp_path / f"graph{number}", Places(tmp_path / "cache"))
        assert installed.content_hash == expected.content_hash
        assert edges(installed) == edges(expected)
    again = install(str(archive), tmp_path / "graph0", Places(tmp_path / "cache"))
    assert again.content_hash == expected.content_hash
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [".lock"]
    (tmp_path / "file").write_text("no folder")
    assert install(str(archive), tmp_path / "graph0", Places(tmp_path / "file")).n
    with pytest.raises(InputError, match="cannot write there"):
        install(f"{server}/{NAME}", tmp_path / "graph0", Places(tmp_path / "file"))


def test_a_wrong_checksum_or_an_absent_archive_installs_nothing(
    archive: Path, server: str, tmp_path: Path
) -> None:
    for origin, given, words in (
        (str(archive), "0" * 64, "expected"),
        (f"{server}/{NAME}", "0" * 64, "expected"),
        (f"{server}/other.tar.zst", "", "404"),
        ("http://127.0.0.1:9/x.tar.zst", "", "does not answer"),
        (str(tmp_path / "none.tar.zst"), "", "no such file"),
    ):
        with pytest.raises(SourceError, match=words):
            install(origin, tmp_path / "graph", Places(tmp_path / "cache"), sha256=given)
    assert not (tmp_path / "graph").exists()


def test_what_is_no_graph_is_not_replaced(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="not a graph folder"):
        install(str(archive), tmp_path / "mine", Places(tmp_path / "cache"))


def test_a_damaged_archive_leaves_nothing(archive: Path, tmp_path: Path) -> None:
    rng, whole, damaged = random.Random(0), archive.read_bytes(), tmp_path / "damaged.tar.zst"
    content = zstandard.ZstdDecompressor().stream_reader(whole).read()
    refused = 0
    for number in range(24):
        data = bytearray(whole if number % 2 else content)  # the compressed bytes, or the archive inside
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        cut = bytes(data[: rng.randrange(len(data))] if number % 5 == 0 else data)
        damaged.write_bytes(cut if number % 2 else zstandard.ZstdCompressor(level=1).compress(cut))
        message = ""
        try:
            install(str(damaged), tmp_path / "graph", Places(tmp_path / "cache"))
        except (SourceError, GraphError) as error:
            message = str(error)
        if message:
            refused += 1
            assert "\n" not in message
            assert not (tmp_path / "graph").exists()
        else:  # a bit that says nothing: padding, or an unused field of a header
            shutil.rmtree(tmp_path / "graph")
    assert refused > 12
    left = [p.name for p in tmp_path.iterdir() if p.name not in ("damaged.tar.zst", "cache", ".graph.lock")]
    assert left == []


def test_a_member_outside_the_folder_is_refused(archive: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil.tar.zst"
    content = zstandard.ZstdDecompressor().stream_reader(archive.read_bytes()).read()
    name = "vckg-graph-2026.1/graph/nodes.arrow"
    data = content.replace(name.encode(), b"vckg-graph-2026.1/../../../../evil")
    assert data != content
    evil.write_bytes(zstandard.ZstdCompressor().compress(data))
    with pytest.raises(SourceError):
        install(str(evil), tmp_path / "graph", Places(tmp_path / "cache"))
    assert not (tmp_path / "graph").exists()


def vckg(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; sys.argv[0] = 'vckg'; from vckg.cli import main; main()"
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)


def test_the_commands_release_and_install_and_exit_with_2_on_damage(
    toy: Graph, archive: Path, tmp_path: Path
) -> None:
    path = tmp_path / "vckg-graph-1.tar.zst"
    done = vckg("release", str(toy.folder), "-o", str(path))
    assert done.returncode == 0, done.stderr
    assert "left out, because a licence" in done.stderr
    done = vckg("fetch", "--graph", str(path), "-o", str(tmp_path / "graph"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["edges"] < toy.m
    path.write_bytes(path.read_bytes()[:-500])
    done = vckg("fetch", "--graph", str(path), "-o", str(tmp_path / "other"))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "other").exists()
