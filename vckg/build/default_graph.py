"""The graph a command uses when none is named: built by itself, once, in the user's cache."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from vckg.base.console import err
from vckg.base.errors import GraphError
from vckg.base.lock import locked
from vckg.base.resources import default_cache
from vckg.build.build_folder import make
from vckg.build.fetch import Places, digest_of, now_at_hand
from vckg.build.source_table import Source, choose, shipped_sources
from vckg.graph.graph import Graph
from vckg.graph.manifest import read_manifest
from vckg.graph.schema import FORMAT_VERSION

PROFILE = "standard"


def load(path: Path | str | None = None) -> Graph:
    """Return the graph of a folder, or the default graph.

    The default is the folder that VCKG_GRAPH names, else the profile ``standard`` in the user's cache (VCKG_CACHE),
    which is fetched and built with a progress display the first time. It is built again when the source table or the
    format of the folder has changed, or when a source that was out of reach lies in a mirror folder now.

    Raises
    ------
    GraphError
        The folder is missing, damaged, or of another format version.
    SourceError
        A file the default graph needs cannot be fetched.
    """
    named = path or os.environ.get("VCKG_GRAPH")
    if named:
        return Graph.load(named)
    folder = default_folder()
    places = Places.named()
    if (graph := _usable(folder, places)) is not None:
        return graph
    with locked(folder.parent / f".{folder.name}.default.lock", "is building the default graph"):
        if (graph := _usable(folder, places)) is not None:
            return graph
        graph = make(folder, shipped_sources(), places, profile=PROFILE)
    if absent := graph.manifest.get("absent"):
        err().print(
            f"without {', '.join(absent)}: out of reach; `vckg info` says why, `vckg build` tries again",
        )
    return graph


def as_graph(graph: Graph | Path | str | None) -> Graph:
    """Return a graph as it is, and the graph of a folder, or the default graph, as `load` does."""
    return graph if isinstance(graph, Graph) else load(graph)


def _usable(folder: Path, places: Places) -> Graph | None:
    """The default graph where it lies there whole, with every source that lies here."""
    try:
        graph = Graph.load(folder)
    except GraphError:  # absent, or damaged: either way it is built again
        return None
    manifest = graph.manifest
    absent = () if "released" in manifest else manifest.get("absent", ())
    return None if absent and now_at_hand(choose(shipped_sources(), PROFILE)[0], absent, places) else graph


def default_folder() -> Path:
    """Return where the default graph lies: its name follows the rows of the source table it is built from."""
    chosen, _ = choose(shipped_sources(), PROFILE)
    return default_cache() / "graphs" / f"{PROFILE}-{_key(chosen)}"


def default_hash() -> tuple[Path, str | None]:
    """Return the folder of the graph that `load` would use, and its content hash; None where there is none yet."""
    folder = Path(os.environ.get("VCKG_GRAPH") or default_folder())
    try:
        return folder, str(read_manifest(folder)["content_hash"])
    except GraphError:  # absent or damaged: `load` builds it, or says what is wrong
        return folder, None


def _key(sources: Sequence[Source]) -> str:
    rows = (json.dumps(asdict(s), sort_keys=True, default=dict) for s in sources)
    return digest_of([str(FORMAT_VERSION), *rows])[:12]
