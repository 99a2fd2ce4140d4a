"""The examples in the docstrings of the public interface run and print what they say."""

import doctest
from importlib import import_module

import pytest

import vckg

MODULES = (
    "base.words",
    "export.export",
    "export.networks",
    "graph.example",
    "graph.graph",
    "graph.grounding",
    "graph.metapaths",
    "graph.name_keys",
    "graph.subgraph",
    "graph.tables",
    "quality.audit",
    "quality.rewire",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    done = doctest.testmod(import_module(f"vckg.{name}"), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert done.attempted > 0
    assert done.failed == 0


@pytest.mark.parametrize("name", sorted(set(vckg.__all__) - {"__version__", "load"}))
def test_every_public_name_is_described(name: str) -> None:
    assert (getattr(vckg, name).__doc__ or "").strip()
