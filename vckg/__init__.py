"""VCKG: a cell-centric knowledge graph in one memory-mapped folder.

``vckg.load()`` gives the default `Graph`; ``vckg.load(folder)`` one that was built with ``vckg build``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vckg.default import load
    from vckg.graph import Edge, Graph, Node
    from vckg.ground import Grounded

__all__ = ["Edge", "Graph", "Grounded", "Node", "load"]
_HOME = {"Edge": "graph", "Graph": "graph", "Node": "graph", "Grounded": "ground", "load": "default"}


def __getattr__(name: str) -> object:
    """Import on first use, so that ``import vckg`` costs nothing (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'vckg' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"vckg.{_HOME[name]}"), name)
