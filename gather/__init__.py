"""Name cells with evidence: query genes walk the graph at once, and where their walks meet is the answer.

``gather.annotate(adata, "louvain")`` works in place, like scanpy's tools; ``gather.results(adata)`` shows the answers;
``gather.pl`` draws them. ``gather.explain(["CD3D", "CD3E"])`` needs genes only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gather import pl
    from gather.annotation import Annotation
    from gather.cells.adata import annotate
    from gather.cells.options import Options
    from gather.cells.results import Results, results
    from gather.checking.check import check
    from gather.checking.opinion import CheckResult, LabelCheck
    from gather.labelling.explain import Explanation, explain
    from gather.llm.base import Scripted
    from gather.llm.client import Client
    from gather.ontology import Ontology
    from gather.retrieval.scores import Retriever

    __version__: str

__all__ = [
    "Annotation",
    "CheckResult",
    "Client",
    "Explanation",
    "LabelCheck",
    "Ontology",
    "Options",
    "Results",
    "Retriever",
    "Scripted",
    "__version__",
    "annotate",
    "check",
    "explain",
    "pl",
    "results",
]

_HOME = {
    "Annotation": "gather.annotation",
    "CheckResult": "gather.checking.opinion",
    "Client": "gather.llm.client",
    "Explanation": "gather.labelling.explain",
    "LabelCheck": "gather.checking.opinion",
    "Ontology": "gather.ontology",
    "Options": "gather.cells.options",
    "Results": "gather.cells.results",
    "Retriever": "gather.retrieval.scores",
    "Scripted": "gather.llm.base",
    "annotate": "gather.cells.adata",
    "check": "gather.checking.check",
    "explain": "gather.labelling.explain",
    "results": "gather.cells.results",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``gather --help`` loads neither scanpy nor scipy."""
    if name == "__version__":
        from importlib.metadata import version

        return version("vckg")
    if name == "pl":
        return import_module("gather.pl")
    if name not in _HOME:
        raise AttributeError(f"module 'gather' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
