"""Write a graph folder atomically, read it memory-mapped, refuse damaged and foreign folders.

docs/graph-format.md describes the files.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import pyarrow as pa

from vckg.base.atomic import reason, replacing
from vckg.base.errors import GraphError, InputError
from vckg.base.types import Array
from vckg.graph.bounds import first_fault
from vckg.graph.manifest import MANIFEST, REBUILD, check_manifest, manifest_seal, read_manifest, read_sealed
from vckg.graph.parts import ARRAYS, DICTIONARIES, Parts
from vckg.graph.schema import CATEGORIES, FORMAT, FORMAT_VERSION, RELATION_NAMES
from vckg.graph.stamps import fingerprint, is_stamped, stamp


def write_folder(parts: Parts, folder: Path) -> Path:
    """Write a graph folder atomically and return its absolute path.

    Raises
    ------
    GraphError
        The graph is one of `vckg.graph.species`, which a folder cannot hold; otherwise as for `new_folder`.
    """
    if "species" in parts.manifest:
        raise GraphError("the graph of one species is not written; write the graph that it was made from")
    with new_folder(folder) as scratch:
        write_files(parts, scratch)
    return folder.absolute()


@contextmanager
def new_folder(folder: Path, form: str = FORMAT) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` when the block succeeds and is removed when it fails.

    Raises
    ------
    GraphError
        The folder cannot be written (no space, no permission).
    InputError
        Its place holds something else, see `refuse_foreign`.
    """
    folder = folder.absolute()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder) as scratch:
            scratch.mkdir()
            yield scratch
            refuse_foreign(folder, form)
    except OSError as error:
        raise GraphError(
            f"{folder}: cannot write it ({reason(error)}); nothing was kept; make room or name another folder"
        ) from error


def refuse_foreign(folder: Path, form: str = FORMAT) -> None:
    """Raise InputError unless a folder is absent, empty, or was written in a format and holds nothing else.

    Many programs write a ``manifest.json``, so its words decide. A damaged graph is one too: it can be built again.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        manifest = read_sealed(folder / MANIFEST, "")
    except GraphError:
        if form == FORMAT and (folder / "graph" / "nodes.arrow").is_file():
            return
        manifest = {}
    if (found := manifest.get("format")) != form:
        what = "is not " + ("a graph folder" if form == FORMAT else "an export of this program")
        what = f"holds a {found}" if isinstance(found, str) else what
        raise InputError(f"{folder}: exists and {what}; name another output folder")
    own = {MANIFEST, "operators", *(name.partition("/")[0] for name in manifest.get("files", ()))}
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in own and not p.name.startswith("."))
    if foreign:
        raise InputError(
            f"{folder}: holds {foreign[0]}, which would be lost; move it, or name another output folder"
        )


def write_files(parts: Parts, folder: Path) -> None:
    """Write the files of a graph into an existing empty folder, the manifest last.

    Raises
    ------
    GraphError
        The manifest does not follow its schema.
    """
    inner = folder / "graph"
    inner.mkdir()
    for name, array in parts.arrays.items():
        np.save(inner / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
    _write_arrow(inner / "nodes.arrow", parts.nodes)
    for name, words in parts.dictionaries.items():
        _write_arrow(inner / f"{name}.arrow", pa.table({name: words}))
    files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **parts.manifest,
        "categories": list(CATEGORIES),
        "relations": list(RELATION_NAMES),
        "files": {name: {"bytes": p.stat().st_size, "sha256": sha256_of(p)} for name, p in files.items()},
    }
    manifest["seal"] = manifest_seal(manifest)
    check_manifest(folder / MANIFEST, manifest)
    (folder / MANIFEST).write_text(
        json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def read_folder(folder: Path, *, verify: bool = False) -> Parts:
    """Return the parts of a graph folder, its arrays memory-mapped.

    The manifest and the sizes of the files are checked each time. Checksums and indices are checked where the folder
    has no stamp (`vckg.graph.stamps`) or `verify` is set.

    Raises
    ------
    GraphError
        The folder is missing, damaged, or of another format version.
    """
    folder = folder.absolute()
    manifest = read_manifest(folder)
    check_files(folder, manifest, verify=False)
    seen = fingerprint(folder, manifest["files"], manifest["seal"])
    known = is_stamped(seen) and not verify
    if not known:
        check_files(folder, manifest, verify=True)
    inner = folder / "graph"
    arrays = {name: _map_array(inner / f"{name}.npy") for name in ARRAYS}
    nodes = _map_table(inner / "nodes.arrow")
    texts = {name: _map_table(inner / f"{name}.arrow") for name in DICTIONARIES}
    if not known:
        fault = first_fault(nodes, texts, arrays, manifest)
        if fault is not None:
            raise GraphError(f"{folder / fault}; {REBUILD}")
        if fingerprint(folder, manifest["files"], manifest["seal"]) == seen:
            stamp(seen)
    words = {name: table[name].combine_chunks() for name, table in texts.items()}
    return Parts(nodes, arrays, words, manifest)


def check_files(folder: Path, manifest: dict[str, Any], *, verify: bool) -> None:
    """Raise GraphError where a file is missing, has another size or, with `verify`, another checksum."""
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise GraphError(f"{path}: missing; {REBUILD}")
        if path.stat().st_size != entry["bytes"]:
            raise GraphError(f"{path}: {path.stat().st_size} bytes, {entry['bytes']} expected; {REBUILD}")
        if verify and (computed := sha256_of(path)) != entry["sha256"]:
            raise GraphError(f"{path}: damaged, sha256 {computed}, {entry['sha256']} expected; {REBUILD}")


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
    except (pa.ArrowException, OSError) as error:
        raise GraphError(f"{path}: damaged ({error}); {REBUILD}") from error
    return table


#: Errors of numpy for a damaged header, which it parses as a Python literal.
_HEADER_ERRORS = (
    ValueError,
    EOFError,
    OSError,
    OverflowError,
    TypeError,
    SyntaxError,
    RecursionError,
    MemoryError,
    TokenError,
)


def _map_array(path: Path) -> Array:
    """Return a plain view of a mapped array; to index a ``np.memmap`` takes ten times as long."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except _HEADER_ERRORS as error:
        raise GraphError(f"{path}: damaged ({error}); {REBUILD}") from error
