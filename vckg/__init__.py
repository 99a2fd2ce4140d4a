"""VCKG: a cell-centric knowledge graph in one memory-mapped folder.

``vckg.load()`` gives the default `Graph` and builds it the first time. ``vckg.read(folder)`` and
``vckg.write(graph, folder)`` read and write a graph folder. ``vckg.subgraph``, ``vckg.metapaths``,
``vckg.to_networkx`` and ``vckg.to_rustworkx`` derive other objects from a graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vckg.build.default_graph import as_graph, load
    from vckg.export.networks import to_networkx, to_rustworkx
    from vckg.graph.example import example_graph
    from vckg.graph.graph import Edge, Graph, Node, read, write
    from vckg.graph.grounding import Grounded
    from vckg.graph.metapaths import Metapath, metagraph, metapaths
    from vckg.graph.subgraph import subgraph

__version__: str
__all__ = [
    "Edge",
    "Graph",
    "Grounded",
    "Metapath",
    "Node",
    "__version__",
    "as_graph",
    "example_graph",
    "load",
    "metagraph",
    "metapaths",
    "read",
    "subgraph",
    "to_networkx",
    "to_rustworkx",
    "write",
]
_HOME = {
    "build.default_graph": ("as_graph", "load"),
    "export.networks": ("to_networkx", "to_rustworkx"),
    "graph.example": ("example_graph",),
    "graph.graph": ("Edge", "Graph", "Node", "read", "write"),
    "graph.grounding": ("Grounded",),
    "graph.metapaths": ("Metapath", "metagraph", "metapaths"),
    "graph.subgraph": ("subgraph",),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> object:
    """Import on first use, so that ``import vckg`` costs nothing (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("vckg")
    if name not in _MODULE:
        raise AttributeError(f"module 'vckg' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"vckg.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
