"""The manifest of a graph folder: its schema and its seal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from vckg.base.errors import GraphError
from vckg.graph.edge_table import MOST_SOURCES
from vckg.graph.parts import ARRAYS, DICTIONARIES
from vckg.graph.schema import CATEGORIES, FORMAT, FORMAT_VERSION, RELATION_NAMES

MANIFEST = "manifest.json"
REBUILD = "build it again with `vckg build`"
FILES = (*(f"graph/{n}.npy" for n in ARRAYS), *(f"graph/{n}.arrow" for n in ("nodes", *DICTIONARIES)))
"""The files of every graph folder."""

Count = Annotated[int, msgspec.Meta(ge=0)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class SourceEntry(msgspec.Struct, kw_only=True):
    """The entry of one source or part; every field is optional, other keys are allowed."""

    title: str = ""
    infores: str = ""
    homepage: str = ""
    licence: str = ""
    redistribute: bool | None = None
    citation: str = ""
    knowledge_level: str = ""
    agent_type: str = ""
    underlying: str = ""
    part_of: str = ""
    release: str = ""
    route: str = ""
    sha256: str = ""
    files: dict[str, dict[str, Any]] = {}
    rows: Count = 0
    read: Count = 0
    kept: Count = 0
    terms: Count = 0
    edges: Count = 0
    unknown_tissues: Count = 0
    rejected: dict[str, Count] = {}
    rejected_terms: dict[str, Count] = {}
    unread: dict[str, Count] = {}
    examples: dict[str, list[str]] = {}


class FileEntry(msgspec.Struct, kw_only=True):
    """Size and checksum of one file."""

    bytes: Count
    sha256: Sha256


class Manifest(msgspec.Struct, kw_only=True):
    """The whole manifest; other keys are allowed."""

    format: Literal[FORMAT]  # type: ignore[valid-type]
    format_version: Literal[FORMAT_VERSION]  # type: ignore[valid-type]
    nodes: Count
    edges: Count
    content_hash: Sha256
    source_names: Annotated[list[str], msgspec.Meta(max_length=MOST_SOURCES)]
    sources: dict[str, SourceEntry]
    categories: list[str]
    relations: list[str]
    files: dict[str, FileEntry]
    seal: Sha256
    excluded_parts: list[str] = []
    absent: dict[str, str] = {}
    parameters: dict[str, Any] = {}
    versions: dict[str, str] = {}


def graph_label(manifest: Mapping[str, Any]) -> str:
    """Return which graph this is, for the head of a result: profile, content hash, release, absent sources."""
    profile = manifest.get("parameters", {}).get("profile")
    released = manifest.get("released", {}).get("version")
    words = f"{profile} graph" if profile else "graph"
    words += f" {manifest['content_hash'][:12]}" + (f", release {released}" if released else "")
    names = manifest.get("absent", {})
    absent = ", ".join(
        n for n in names if ":" not in n or n.partition(":")[0] not in names
    )  # a part goes with its source
    return f"{words}, without {absent}" if absent else words


def manifest_seal(manifest: dict[str, Any]) -> str:
    """Return the sha256 over all other keys of a manifest, which reveals a change."""
    rest = {key: value for key, value in manifest.items() if key != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_sealed(path: Path, fix: str) -> dict[str, Any]:
    """Return the JSON object of a manifest file.

    Raises
    ------
    GraphError
        It is missing or is no JSON object that can be written again; the message ends in `fix`.
    """
    try:
        manifest = json.loads(path.read_bytes())
        json.dumps(manifest, ensure_ascii=False).encode()  # half a surrogate pair is valid JSON but no text
    except FileNotFoundError:
        raise GraphError(f"{path.parent}: no {path.name} there, so not a graph folder; {fix}") from None
    except NotADirectoryError:
        fix = "`vckg fetch --graph` makes a folder of an archive"
        raise GraphError(f"{path.parent}: a file, not a graph folder; {fix}") from None
    except (ValueError, RecursionError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise GraphError(f"{path}: not readable as JSON ({reason}); {fix}") from error
    if not isinstance(manifest, dict):
        raise GraphError(f"{path}: holds no JSON object; {fix}")
    return manifest


def check_seal(path: Path, manifest: dict[str, Any], fix: str) -> None:
    """Raise GraphError where a manifest was changed after it was written."""
    if manifest.get("seal") != manifest_seal(manifest):
        raise GraphError(f"{path}: not as it was written; {fix}")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a graph folder.

    Raises
    ------
    GraphError
        It is missing, of another version, was changed, or does not follow the schema.
    """
    path = folder / MANIFEST
    manifest = read_sealed(path, REBUILD)
    if manifest.get("format") != FORMAT:
        raise GraphError(f"{path}: not a {FORMAT} manifest; {REBUILD}")
    if manifest.get("format_version") != FORMAT_VERSION:
        version = manifest.get("format_version")
        raise GraphError(
            f"{path}: format version {version!r}, this program reads {FORMAT_VERSION}; {REBUILD}"
        )
    check_seal(path, manifest, REBUILD)
    check_manifest(path, manifest)
    return manifest


def check_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Raise GraphError where a manifest does not follow the schema, or lists unknown files, categories or relations."""
    try:
        msgspec.convert(manifest, Manifest)
    except msgspec.ValidationError as error:
        raise GraphError(f"{path}: {error}; {REBUILD}") from error
    if manifest["categories"] != list(CATEGORIES) or manifest["relations"] != list(RELATION_NAMES):
        raise GraphError(f"{path}: other categories or relations than this program knows; {REBUILD}")
    if len(set(manifest["source_names"])) != len(manifest["source_names"]):
        raise GraphError(f"{path}: a source is named twice; {REBUILD}")
    files = manifest["files"]
    for name in FILES:
        if name not in files:
            raise GraphError(f"{path}: does not list {name}; {REBUILD}")
    for name in files:
        parts = name.split("/")
        outside = not name or "\\" in name or "\0" in name or any(p in ("", ".", "..") for p in parts)
        if outside or (parts[0] == "graph" and name not in FILES):
            raise GraphError(f"{path}: lists the file {name!r}, which no graph folder has; {REBUILD}")
