"""The graph that commands use when none is named: built once, and again when a source that was absent lies here."""

from dataclasses import replace
from pathlib import Path

import pytest

import vckg
from vckg.base.resources import resource
from vckg.build import default_graph
from vckg.build.fetch import Places
from vckg.build.install import install
from vckg.build.release import release
from vckg.build.source_table import Source, read_sources
from vckg.graph.manifest import graph_label

TOY = resource("data", "toy")
ESSENTIAL = {"cl", "hgnc", "cellmarker"}


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror folder without the regulons, an empty cache, and the toy's sources in place of the shipped ones."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for file in TOY.iterdir():
        if file.name != "regulons.csv":
            (folder / file.name).write_bytes(file.read_bytes())
    rows: tuple[Source, ...] = tuple(
        replace(s, profiles=("core", "standard"), essential=s.name in ESSENTIAL)
        for s in read_sources(TOY / "sources.toml")
    )
    monkeypatch.setattr(default_graph, "shipped_sources", lambda: rows)
    for name, value in (("CACHE", tmp_path / "cache"), ("MIRROR", folder), ("OFFLINE", "1")):
        monkeypatch.setenv(f"VCKG_{name}", str(value))
    monkeypatch.delenv("VCKG_GRAPH", raising=False)
    return folder


def test_what_is_out_of_reach_is_named_and_added_once_it_lies_here(
    mirror: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = vckg.load()
    assert list(graph.manifest["absent"]) == ["collectri"]
    assert graph.manifest["parameters"]["profile"] == "standard"
    assert graph_label(graph.manifest).endswith(", without collectri")
    assert "without collectri: out of reach" in capfd.readouterr().err
    assert vckg.load().content_hash == graph.content_hash
    assert capfd.readouterr().err == ""
    (mirror / "regulons.csv").write_bytes((TOY / "regulons.csv").read_bytes())
    whole = vckg.load()
    assert whole.manifest["absent"] == {}
    assert whole.m > graph.m
    assert "building" in capfd.readouterr().err


def test_a_released_graph_is_the_default_once_it_is_installed(mirror: Path, tmp_path: Path) -> None:
    archive = tmp_path / "vckg-graph-1.tar.zst"
    release(vckg.load(), archive)
    installed = install(str(archive), default_graph.default_folder(), Places(tmp_path / "cache"))
    (mirror / "regulons.csv").write_bytes((TOY / "regulons.csv").read_bytes())
    assert vckg.load().content_hash == installed.content_hash  # a release is not built over
    assert "release 1" in graph_label(vckg.load().manifest)
