"""Name cells with evidence: query genes walk the graph at once, and where their walks meet is the answer.

``gather.annotate(adata)`` works in place, like scanpy's tools;
``gather.explain(["CD3D", "CD3E"])`` needs genes only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gather.cells.adata import annotate
    from gather.labelling.explain import explain

__all__ = ["annotate", "explain"]

_HOME = {"annotate": "gather.cells.adata", "explain": "gather.labelling.explain"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that ``gather --help`` loads neither scanpy nor scipy."""
    if name not in _HOME:
        raise AttributeError(f"module 'gather' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
