"""VCKG: a cell-centric knowledge graph in one memory-mapped folder.

``vckg.load()`` gives the default `Graph`, built the first time; ``vckg.read(folder)`` and ``vckg.write(graph, folder)``
read and write a folder. ``vckg.subgraph(graph, ["CL:0000236"], hops=1)``, ``vckg.to_networkx(graph)`` and
``vckg.metapaths(graph, "Gene", "Cell")`` make other things of a graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vckg.build.default_graph import load
    from vckg.graph.convert import metagraph, metapaths, read, subgraph, to_networkx, to_rustworkx, write
    from vckg.graph.graph import Edge, Graph, Node
    from vckg.graph.grounding import Grounded

__version__: str
__all__ = [
    "Edge",
    "Graph",
    "Grounded",
    "Node",
    "__version__",
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
    "graph.convert": ("metagraph", "metapaths", "read", "subgraph", "to_networkx", "to_rustworkx", "write"),
    "build.default_graph": ("load",),
    "graph.graph": ("Edge", "Graph", "Node"),
    "graph.grounding": ("Grounded",),
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
