"""``gather benchmark``: print the tables of the development suite as Markdown."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vckg.base.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from vckg.graph.graph import Graph


def benchmark(
    what: Annotated[str, typer.Argument(help="suite or choice.")],
    data: Annotated[Path, typer.Option(envvar="VCKG_MIRROR", help="Folder with h5ad/ and scarena/ in it.")],
    graph: Annotated[Path | None, typer.Option("--graph", "-g", help="Graph folder.")] = None,
) -> None:
    """Print a table of the development suite as Markdown: all methods, or variants of the recipe."""
    if what not in TABLES:
        raise InputError(f"no table {what!r}{did_you_mean(what, TABLES)}; one of {', '.join(TABLES)}")
    from vckg.build.default_graph import load

    for line in TABLES[what](load(graph), data):
        typer.echo(line)


def suite(graph: Graph, data: Path) -> Iterator[str]:
    """Every cell set of the suite, ours and other methods; each study group has the same weight."""
    from gather.benchmark.suite import measured
    from gather.benchmark.suite_data import suite as blocks_of
    from gather.benchmark.suite_report import tables
    from vckg.base.resources import default_cache

    blocks = blocks_of(graph, data, default_cache())
    yield f"Graph {graph.content_hash[:16]}, {graph.n:,} nodes, {graph.m:,} edges; Python {platform.python_version()}."
    yield ""
    yield from tables(measured(graph, blocks))


def choice(graph: Graph, data: Path) -> Iterator[str]:
    """Variants of the recipe on the human sets of the suite, with whole study groups left out."""
    from gather.benchmark.suite_choice import lines, measure
    from gather.benchmark.suite_data import suite as blocks_of
    from vckg.base.resources import default_cache

    yield from lines(measure(graph, blocks_of(graph, data, default_cache())))


TABLES: dict[str, Callable[[Graph, Path], Iterator[str]]] = {"suite": suite, "choice": choice}
