"""The graph folder: writing it atomically, reading it memory-mapped, refusing what is damaged or foreign.

docs/graph-format.md describes the files.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vckg.atomic import reason, replacing
from vckg.errors import GraphError
from vckg.schema import CATEGORIES, FORMAT, FORMAT_VERSION, RELATION_NAMES

if TYPE_CHECKING:
    from vckg.graph import Graph

MANIFEST = "manifest.json"
_REBUILD = "build it again with `vckg build`"


def write_folder(graph: Graph, folder: Path) -> Path:
    """Write a graph folder beside its place and rename it into it."""
    with new_folder(folder) as scratch:
        write_files(graph, scratch)
    return folder.absolute()


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; it takes its place when the block ends well and is removed else.

    Raises
    ------
    GraphError
        The folder cannot be written (no space, no permission), or something else lies in its place.
    """
    folder = folder.absolute()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder) as scratch:
            scratch.mkdir()
            yield scratch
            if folder.exists() and not (folder / MANIFEST).is_file() and any(folder.iterdir()):
                raise GraphError(f"{folder}: exists and is not a graph folder; name another output folder")
    except OSError as error:
        raise GraphError(
            f"{folder}: cannot write it ({reason(error)}); nothing was kept; make room or name another folder"
        ) from error


def write_files(graph: Graph, folder: Path) -> None:
    """Write the graph's own files into an existing empty folder, the manifest last."""
    inner = folder / "graph"
    inner.mkdir()
    for name, array in graph._arrays.items():
        np.save(inner / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
    _write_arrow(inner / "nodes.arrow", graph.node_table)
    for name, words in graph._dictionaries.items():
        _write_arrow(inner / f"{name}.arrow", pa.table({name: words}))
    files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **graph.manifest,
        "categories": list(CATEGORIES),
        "relations": list(RELATION_NAMES),
        "files": {name: {"bytes": p.stat().st_size, "sha256": sha256_of(p)} for name, p in files.items()},
    }
    manifest["seal"] = manifest_seal(manifest)
    (folder / MANIFEST).write_text(
        json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def manifest_seal(manifest: dict[str, Any]) -> str:
    """Return the sha256 over everything else a manifest says, so that a change of it is noticed too."""
    said = {key: value for key, value in manifest.items() if key != "seal"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a graph folder; GraphError where there is none that this version reads."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GraphError(f"{folder}: no {MANIFEST} there, so not a graph folder; {_REBUILD}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, OSError) as error:
        raise GraphError(f"{path}: not readable as JSON ({error}); {_REBUILD}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise GraphError(f"{path}: not a {FORMAT} manifest; {_REBUILD}")
    if manifest.get("format_version") != FORMAT_VERSION:
        found = manifest.get("format_version")
        raise GraphError(f"{path}: format version {found!r}, this program reads {FORMAT_VERSION}; {_REBUILD}")
    if manifest.get("seal") != manifest_seal(manifest):
        raise GraphError(f"{path}: not as it was written; {_REBUILD}")
    return manifest


def read_folder(folder: Path, *, verify: bool = False) -> Graph:
    """Return the graph of a folder, its arrays memory-mapped."""
    from vckg.graph import Graph

    folder = folder.absolute()
    manifest = read_manifest(folder)
    if manifest["categories"] != list(CATEGORIES) or manifest["relations"] != list(RELATION_NAMES):
        raise GraphError(f"{folder}: other categories or relations than this program knows; {_REBUILD}")
    check_files(folder, manifest, verify=verify)
    arrays: dict[str, npt.NDArray[Any]] = {}
    tables: dict[str, pa.Table] = {}
    for name in manifest["files"]:
        stem = Path(name).stem
        if name.startswith("graph/") and name.endswith(".npy"):
            arrays[stem] = _map_array(folder / name)
        elif name.startswith("graph/") and name.endswith(".arrow"):
            tables[stem] = _map_table(folder / name)
    nodes = tables.pop("nodes")
    return Graph(nodes, arrays, {k: t[k].combine_chunks() for k, t in tables.items()}, manifest, folder)


def check_files(folder: Path, manifest: dict[str, Any], *, verify: bool) -> None:
    """Raise GraphError where a file of the manifest is missing, has another size or, with `verify`, other bytes."""
    for name, said in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise GraphError(f"{path}: missing; {_REBUILD}")
        if path.stat().st_size != said["bytes"]:
            raise GraphError(f"{path}: {path.stat().st_size} bytes, {said['bytes']} expected; {_REBUILD}")
        if verify and (found := sha256_of(path)) != said["sha256"]:
            raise GraphError(f"{path}: damaged, sha256 {found}, {said['sha256']} expected; {_REBUILD}")


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_arrow(path: Path, table: pa.Table) -> None:
    flat = table.combine_chunks()
    with pa.OSFile(os.fspath(path), "wb") as sink, pa.ipc.new_file(sink, flat.schema) as writer:
        writer.write_table(flat)


def _map_table(path: Path) -> pa.Table:
    try:
        table: pa.Table = pa.ipc.open_file(pa.memory_map(os.fspath(path))).read_all()
    except pa.ArrowInvalid as error:
        raise GraphError(f"{path}: damaged ({error}); {_REBUILD}") from error
    return table


def _map_array(path: Path) -> npt.NDArray[Any]:
    """The array, mapped; a plain view of it, since indexing a ``np.memmap`` costs ten times as much."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise GraphError(f"{path}: damaged ({error}); {_REBUILD}") from error
