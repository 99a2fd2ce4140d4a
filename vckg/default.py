"""The graph a command uses when none is named."""

from __future__ import annotations

import os
from pathlib import Path

from vckg.errors import GraphError
from vckg.graph import Graph


def load(path: Path | str | None = None) -> Graph:
    """Return the graph of a folder, or the default graph.

    The default is the folder that ``VCKG_GRAPH`` names.
    """
    named = path or os.environ.get("VCKG_GRAPH")
    if not named:
        raise GraphError("no graph folder named; set VCKG_GRAPH or build one with `vckg build`")
    return Graph.load(named)
