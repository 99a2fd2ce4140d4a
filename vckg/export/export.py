"""Exports: a folder in a format other tools read, with a manifest, written whole or not at all.

What a licence forbids to pass on is left out and named in the manifest, unless the caller says that he has the right.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from vckg.base.errors import GraphError, InputError, did_you_mean
from vckg.base.lock import locked
from vckg.export.writers import FORMATS, Selection
from vckg.graph.folder import new_folder, sha256_of
from vckg.graph.graph import Graph
from vckg.graph.manifest import MANIFEST, Count, FileEntry, check_seal, manifest_seal, read_sealed

FORMAT = "vckg-export"
FORMAT_VERSION = 1
_SAID = ("title", "infores", "release", "licence", "redistribute", "citation")


def export(graph: Graph, form: str, folder: Path | str, *, i_have_the_right: bool = False) -> dict[str, Any]:
    """Write a graph in another format and return the manifest of what was written and what was left out.

    Parameters
    ----------
    graph
        What to write.
    form
        One of `vckg.export.writers.FORMATS`.
    folder
        Where to; an earlier export there is replaced, anything else is refused.
    i_have_the_right
        Also write the statements of sources whose licence forbids passing them on (or that state no licence).

    Raises
    ------
    InputError
        The format is unknown, or nothing may be written.
    GraphError
        The folder holds something that is not an export.
    """
    folder = Path(folder).absolute()
    if form not in FORMATS:
        raise InputError(
            f"--format {form}: unknown{did_you_mean(form, FORMATS)}; known: {', '.join(FORMATS)}"
        )
    _refuse_foreign(folder)
    closed = np.zeros(len(graph.sources), dtype=bool) if i_have_the_right else closed_sources(graph)
    selection = open_selection(graph, closed)
    if graph.m and not selection.rows.size:
        raise InputError(
            "no source of this graph states a licence that allows redistribution, so nothing would be exported; "
            "pass --i-have-the-right if you have it"
        )
    with (
        locked(folder.parent / f".{folder.name}.lock", f"is exporting to {folder}"),
        new_folder(folder) as scratch,
    ):
        FORMATS[form](selection, scratch)
        manifest = _manifest(selection, form, closed, scratch)
        manifest["seal"] = manifest_seal(manifest)
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        (scratch / MANIFEST).write_text(text, encoding="utf-8")
    return manifest


class ExportManifest(msgspec.Struct, kw_only=True):
    """What `vckg.quality.audit` reads of an export's manifest; other keys are there."""

    graph_content_hash: str
    nodes: Count
    edges: Count
    files: dict[str, FileEntry]


def exported_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of an export; None where the folder is none; GraphError where it was changed."""
    path, fix = folder / MANIFEST, "export the graph again"
    if not path.is_file() or (manifest := read_sealed(path, fix)).get("format") != FORMAT:
        return None
    check_seal(path, manifest, fix)
    try:
        msgspec.convert(manifest, ExportManifest)
    except msgspec.ValidationError as error:
        raise GraphError(f"{path}: {error}; {fix}") from error
    if any("/" in name or name in ("", ".", "..") for name in manifest["files"]):
        raise GraphError(f"{path}: lists a file outside the folder; {fix}")
    return manifest


def _refuse_foreign(folder: Path) -> None:
    """An export replaces an export or an empty folder, never a graph or somebody's files."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    found = None
    if (folder / MANIFEST).is_file():
        found = read_sealed(folder / MANIFEST, "name another output folder").get("format")
    if found != FORMAT:
        what = f"holds a {found}" if found else "is not an export of this program"
        raise GraphError(f"{folder}: exists and {what}; name another output folder")


def closed_sources(graph: Graph) -> npt.NDArray[np.bool_]:
    """Which sources may not be passed on: bool[sources]; one that does not say counts as closed."""
    said = graph.manifest["sources"]
    return np.array(
        [said.get(name, {}).get("redistribute") is not True for name in graph.sources], dtype=bool
    )


def open_selection(graph: Graph, closed: npt.NDArray[np.bool_]) -> Selection:
    """The edges of open sources, and the nodes but those that only edges of closed sources touch.

    A node that nothing else mentions (a pathway of a closed database) would give away the closed source's own words.
    """
    kept = ~closed[graph.source] if graph.m else np.zeros(0, dtype=bool)
    ends = np.zeros((2, graph.n), dtype=bool)
    for at, rows in enumerate((kept, ~kept)):
        ends[at, graph.subject[rows]] = True
        ends[at, graph.object[rows]] = True
    return Selection(graph, np.flatnonzero(ends[0] | ~ends[1]), np.flatnonzero(kept))


def _manifest(selection: Selection, form: str, closed: npt.NDArray[np.bool_], folder: Path) -> dict[str, Any]:
    graph = selection.graph
    said = graph.manifest["sources"]
    per_source = np.bincount(graph.source, minlength=len(graph.sources))
    described = {
        name: {"edges": int(per_source[code])} | {k: said.get(name, {}).get(k) for k in _SAID}
        for code, name in enumerate(graph.sources)
    }
    files = sorted(p for p in folder.iterdir())
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": form,
        "graph_content_hash": graph.content_hash,
        "nodes": int(selection.nodes.size),
        "edges": int(selection.rows.size),
        "nodes_left_out": graph.n - int(selection.nodes.size),
        "sources": {n: d for code, (n, d) in enumerate(described.items()) if not closed[code]},
        "left_out": {n: d for code, (n, d) in enumerate(described.items()) if closed[code]},
        "files": {p.name: {"bytes": p.stat().st_size, "sha256": sha256_of(p)} for p in files},
    }
