"""Export a graph atomically to a folder that other tools read, with a manifest.

Sources whose licence forbids redistribution are left out and named in the manifest, unless the caller has the right.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vckg.base.errors import GraphError, InputError, did_you_mean
from vckg.base.lock import locked
from vckg.base.types import Bools
from vckg.export.writers import FORMATS, Selection
from vckg.graph.folder import new_folder, refuse_foreign, sha256_of
from vckg.graph.graph import Graph
from vckg.graph.manifest import MANIFEST, Count, FileEntry, check_seal, manifest_seal, read_sealed

FORMAT = "vckg-export"
FORMAT_VERSION = 1
_SOURCE_KEYS = ("title", "infores", "release", "licence", "redistribute", "citation")


def export(graph: Graph, form: str, folder: Path | str, *, i_have_the_right: bool = False) -> dict[str, Any]:
    """Write a graph in another format and return the manifest of the export.

    Parameters
    ----------
    graph
        The graph to export.
    form
        One of `vckg.export.writers.FORMATS`: ``kgx``, ``kgx-jsonl``, ``neo4j``, ``graphml``.
    folder
        Folder to write. An earlier export is replaced; any other content is an error.
    i_have_the_right
        Also write the sources whose licence forbids redistribution, or that state no licence.

    Returns
    -------
    The manifest: ``files`` with sizes and sha256, ``sources``, ``left_out``, ``nodes``, ``edges``.

    Raises
    ------
    InputError
        The format is unknown, every source is left out, or the folder holds something that is not an export.
    GraphError
        The folder cannot be written.

    Examples
    --------
    >>> import tempfile, vckg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     manifest = export(vckg.example_graph(), "kgx", f"{folder}/kgx")
    >>> manifest["nodes"], manifest["edges"], sorted(manifest["files"])
    (9, 9, ['edges.tsv', 'nodes.tsv', 'prefixes.json'])
    """
    folder = Path(folder).absolute()
    if form not in FORMATS:
        raise InputError(
            f"--format {form}: unknown{did_you_mean(form, FORMATS)}; known: {', '.join(FORMATS)}"
        )
    refuse_foreign(folder, FORMAT)
    closed = np.zeros(len(graph.sources), dtype=bool) if i_have_the_right else closed_sources(graph)
    selection = open_selection(graph, closed)
    if graph.m and not selection.rows.size:
        raise InputError(
            "no source of this graph states a licence that allows redistribution, so nothing would be exported; "
            "pass --i-have-the-right if you have it"
        )
    with (
        locked(folder.parent / f".{folder.name}.lock", f"is exporting to {folder}"),
        new_folder(folder, FORMAT) as scratch,
    ):
        FORMATS[form](selection, scratch)
        manifest = _manifest(selection, form, closed, scratch)
        manifest["seal"] = manifest_seal(manifest)
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        (scratch / MANIFEST).write_text(text, encoding="utf-8")
    return manifest


class ExportManifest(msgspec.Struct, kw_only=True):
    """The keys of an export's manifest that `vckg.quality.audit` reads."""

    graph_content_hash: str
    nodes: Count
    edges: Count
    files: dict[str, FileEntry]


def exported_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of an export, or None where the folder is not an export.

    Raises
    ------
    GraphError
        The manifest was changed.
    """
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


def closed_sources(graph: Graph) -> Bools:
    """Return which sources may not be redistributed (bool[sources]); a source without a statement counts as closed."""
    entries = graph.manifest["sources"]
    return np.array(
        [entries.get(name, {}).get("redistribute") is not True for name in graph.sources], dtype=bool
    )


def open_selection(graph: Graph, closed: Bools) -> Selection:
    """Select the edges of open sources, and all nodes except those that only edges of closed sources touch.

    Such a node (a pathway of a closed database) has texts of the closed source.
    """
    kept = ~closed[graph.source] if graph.m else np.zeros(0, dtype=bool)
    ends = np.zeros((2, graph.n), dtype=bool)
    for side, rows in enumerate((kept, ~kept)):
        ends[side, graph.subject[rows]] = True
        ends[side, graph.object[rows]] = True
    return Selection(graph, np.flatnonzero(ends[0] | ~ends[1]), np.flatnonzero(kept))


def _manifest(selection: Selection, form: str, closed: Bools, folder: Path) -> dict[str, Any]:
    graph = selection.graph
    entries = graph.manifest["sources"]
    per_source = np.bincount(graph.source, minlength=len(graph.sources))
    described = {
        name: {"edges": int(per_source[code])} | {k: entries.get(name, {}).get(k) for k in _SOURCE_KEYS}
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
