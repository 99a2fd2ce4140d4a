"""A folder that is damaged, copied or made by hand is refused in one line; what is sound is hashed once."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.vckg.toy import toy
from vckg.base.errors import GraphError
from vckg.graph import folder as store
from vckg.graph.folder import sha256_of
from vckg.graph.graph import Graph
from vckg.graph.manifest import manifest_seal
from vckg.quality.audit import audit_folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stamps of its own for every test."""
    monkeypatch.setenv("VCKG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy().save(tmp_path / "graph")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were hashed, in order."""
    found: list[Path] = []

    def counted(path: Path) -> str:
        found.append(path)
        return sha256_of(path)

    monkeypatch.setattr(store, "sha256_of", counted)
    return found


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    with path.open("r+b") as file:  # the same inode and size
        file.write(data)


def test_every_flipped_bit_is_refused_also_after_a_sound_load(folder: Path) -> None:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    rng = random.Random(0)
    Graph.load(folder)
    for i in range(384):
        path = files[i % len(files)]
        bit, times = rng.randrange(8 * path.stat().st_size), path.stat()
        flip(path, bit)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as tools that keep times do
        with pytest.raises(GraphError):
            Graph.load(folder)
        flip(path, bit)
    assert Graph.load(folder).content_hash == toy().content_hash


def test_a_folder_is_hashed_once_and_again_when_copied_or_asked(
    folder: Path, tmp_path: Path, hashed: list[Path]
) -> None:
    n = len(json.loads((folder / "manifest.json").read_text())["files"])
    for expected in (n, 0, 0):
        hashed.clear()
        Graph.load(folder)
        assert len(hashed) == expected
    Graph.load(folder, verify=True)
    assert len(hashed) == n
    hashed.clear()
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copy2)
    Graph.load(tmp_path / "copy")
    assert len(hashed) == n
    hashed.clear()
    shutil.rmtree(folder)
    (tmp_path / "copy").rename(folder)  # another folder in the place of the first
    Graph.load(folder)
    assert len(hashed) == n


def test_stamps_of_folders_that_are_gone_are_dropped(folder: Path, tmp_path: Path, cache: Path) -> None:
    Graph.load(folder)
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    shutil.rmtree(folder)
    Graph.load(other)
    (left,) = cache.glob("verified/*")
    assert json.loads(left.read_text())["folder"] == str(other)


def test_without_a_cache_the_files_are_hashed_each_time(
    folder: Path, tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VCKG_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        hashed.clear()
        Graph.load(folder)
        assert hashed


def test_the_audit_hashes_always(folder: Path, hashed: list[Path]) -> None:
    Graph.load(folder)
    flip(folder / "graph" / "weight.npy", 8 * 130)
    assert [f.id for f in audit_folder(folder).findings if f.id == "file-damaged"] == ["file-damaged"]


# ---- folders made by hand ------------------------------------------------------------------------------------


def resealed(folder: Path, change: Callable[[dict[str, Any]], object] = lambda _: None) -> None:
    """Write a manifest that fits the files as they are, and then is changed."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name, entry in manifest["files"].items():
        entry |= {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
    change(manifest)
    manifest["seal"] = manifest_seal(manifest)
    path.write_text(json.dumps(manifest))


def array(name: str, change: Callable[[np.ndarray[Any, Any]], object]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        path = folder / "graph" / f"{name}.npy"
        values = np.load(path)
        changed = change(values)
        np.save(path, values if changed is None else changed)
        resealed(folder)

    return make


def table(name: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        path = folder / "graph" / f"{name}.arrow"
        changed = change(pa.ipc.open_file(path.read_bytes()).read_all())
        with pa.ipc.new_file(str(path), changed.schema) as writer:
            writer.write_table(changed)
        resealed(folder)

    return make


def manifest(**values: Any) -> Callable[[Path], None]:
    return lambda folder: resealed(folder, lambda m: m.update(values))


def without(key: str) -> Callable[[Path], None]:
    return lambda folder: resealed(folder, lambda m: m.pop(key))


def text(content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "manifest.json").write_text(content) and None


def raw(name: str, content: bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "graph" / name).write_bytes(content)
        resealed(folder)

    return make


def put(at: int, value: int) -> Callable[[np.ndarray[Any, Any]], None]:
    return lambda values: values.__setitem__(at, value)


def null_names(t: pa.Table) -> pa.Table:
    return t.set_column(1, "name", pa.array([None] * len(t), pa.string()))


HUGE = b"{'descr':'<i4','fortran_order':False,'shape':(9999999999999,)}"
HEADER = b"\x93NUMPY\x01\x00\x76\x00"
BY_HAND: dict[str, tuple[Callable[[Path], object], str]] = {
    "subject below 0": (array("subject", put(0, -5)), "subject.npy: holds -5"),
    "object too large": (array("object", put(3, 10**6)), "object.npy: holds 1000000"),
    "category": (array("category", put(0, 200)), "category.npy: holds 200"),
    "relation": (array("relation", put(-1, 255)), "relation.npy: holds 255"),
    "relation order": (array("relation", lambda a: a[::-1]), "relation.npy: does not ascend"),
    "source": (array("source", put(0, 77)), "source.npy: holds 77"),
    "sign": (array("sign", put(0, 2)), "sign.npy"),
    "relation start": (array("relation_start", put(1, 9999)), "relation_start.npy"),
    "out rows": (array("out_rows", put(0, 10**6)), "out_rows.npy"),
    "out rows of another node": (array("out_rows", lambda a: a[::-1]), "out_rows.npy"),
    "in indptr": (array("in_indptr", put(2, -1)), "in_indptr.npy"),
    "publications": (array("publications_codes", put(0, 10**6)), "publications_codes.npy"),
    "tissues": (array("tissues_indptr", put(-1, 10**9)), "tissues_indptr.npy"),
    "name kinds": (array("name_kind", put(0, 63)), "name_kind.npy"),
    "name nodes": (array("name_node", put(0, -1)), "name_node.npy"),
    "too short": (array("weight", lambda a: a[:-1]), "weight.npy"),
    "another type": (array("subject", lambda a: a.astype(np.float64)), "subject.npy"),
    "two dimensions": (array("sign", lambda a: a[:, None]), "sign.npy"),
    "records": (array("category", lambda a: a.view([("a", "u1")])), "category.npy"),
    "no array": (raw("object.npy", b"not numpy"), "object.npy"),
    "header": (raw("object.npy", HEADER + b"(" * 117 + b"\n"), "object.npy"),
    "huge shape": (
        raw("object.npy", HEADER + HUGE.ljust(117) + b"\n"),
        "object.npy",
    ),
    "no table": (raw("nodes.arrow", b"ARROW1"), "nodes.arrow"),
    "column gone": (table("nodes", lambda t: t.drop_columns(["xrefs"])), "nodes.arrow: columns"),
    "null names": (table("nodes", null_names), "nodes.arrow: name has missing values"),
    "numbers for names": (table("nodes", lambda t: t.set_column(1, "name", pa.array(range(len(t))))), "nodes.arrow"),
    "node order": (table("nodes", lambda t: t.take(list(range(len(t)))[::-1])), "nodes.arrow: does not ascend"),
    "fewer nodes": (table("nodes", lambda t: t.slice(1)), "nodes.arrow"),
    "name order": (table("names", lambda t: t.take(list(range(len(t)))[::-1])), "names.arrow: does not ascend"),
    "other words": (table("publications", lambda t: t.rename_columns(["words"])), "publications.arrow"),
    "hash of html": (manifest(content_hash="<b>0</b>"), "content_hash"),
    "no hash": (without("content_hash"), "content_hash"),
    "no sources": (without("sources"), "sources"),
    "no source names": (without("source_names"), "source_names"),
    "no files": (without("files"), "files"),
    "files are a list": (manifest(files=[]), "files"),
    "a file is not listed": (
        lambda folder: resealed(folder, lambda m: m["files"].pop("graph/sign.npy")), "graph/sign.npy"),
    "a file outside": (
        lambda folder: resealed(folder, lambda m: m["files"].update({"../x": m["files"]["graph/sign.npy"]})), "../x"),
    "nodes are text": (manifest(nodes="many"), "nodes"),
    "edges below 0": (manifest(edges=-1), "edges"),
    "more edges": (manifest(edges=10**30), "16 values, 1000"),
    "source twice": (manifest(source_names=["cl", "cl", "go", "open"]), "twice"),
    "source is a list": (manifest(sources={"cl": []}), "sources"),
    "counts are text": (manifest(sources={"cl": {"read": "many"}}), "read"),
    "rejected is a list": (manifest(sources={"cl": {"rejected": [1]}}), "rejected"),
    "licence is a number": (manifest(sources={"cl": {"licence": 5}}), "licence"),
    "parameters": (manifest(parameters=None), "parameters"),
    "absent": (manifest(absent=[1]), "absent"),
    "half a surrogate": (manifest(absent={"x": "\ud800"}), "not readable as JSON"),
    "deep JSON": (text("[" * 200_000), "not readable as JSON"),
    "deep objects": (text('{"a":' * 200_000), "not readable as JSON"),
    "endless number": (text('{"format": ' + "9" * 10_000 + "}"), "not readable as JSON"),
    "a list": (text("[]"), "no JSON object"),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_a_folder_made_by_hand_is_refused_with_the_file_at_fault(folder: Path, name: str) -> None:
    make, words = BY_HAND[name]
    make(folder)
    with pytest.raises(GraphError) as refusal:
        Graph.load(folder)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value).strip()
    assert "vckg build" in str(refusal.value)


def test_a_folder_that_no_program_could_read_is_not_written(tmp_path: Path) -> None:
    graph = toy()
    graph.manifest["sources"]["cl"]["licence"] = 5
    with pytest.raises(GraphError, match="licence"):
        graph.save(tmp_path / "graph")
    assert list(tmp_path.iterdir()) == []
