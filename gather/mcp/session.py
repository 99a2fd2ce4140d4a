"""What the tools of one server share: the folder, the graph, and the files that were read last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from gather.mcp.folder import Folder
from vckg.base.errors import InputError
from vckg.graph.graph import Graph

KEPT_FILES = 2
Value = TypeVar("Value")


@dataclass
class Session:
    """One server's folder and graph.

    Attributes
    ----------
    folder
        Where files may be.
    graph_folder
        The graph to load; None for the default one, which is never built or fetched here.
    """

    folder: Folder
    graph_folder: Path | None = None
    _kept: OrderedDict[tuple[Any, ...], Any] = field(default_factory=OrderedDict)

    @cached_property
    def graph(self) -> Graph:
        """The graph, loaded by the first tool that asks.

        Raises
        ------
        InputError
            There is no default graph yet.
        GraphError
            The folder is damaged.
        """
        from vckg.build.default_graph import default_hash

        if self.graph_folder is not None:
            return Graph.load(self.graph_folder)
        folder, content_hash = default_hash()
        if content_hash is None:
            raise InputError("no graph on this machine; run `vckg build` once, this server fetches nothing")
        return Graph.load(folder)

    def of_file(self, name: str, what: tuple[Any, ...], make: Callable[[Path], Value]) -> Value:
        """Return what `make` gives for a file, made once for each state of the file and each `what`."""
        path = self.folder.reading(name)
        status = path.stat()
        key = (str(path), status.st_mtime_ns, status.st_size, *what)
        if key not in self._kept:
            self._kept[key] = make(path)
            while len(self._kept) > KEPT_FILES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        value: Value = self._kept[key]
        return value
