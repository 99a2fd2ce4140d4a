"""``gather benchmark``: print the tables of the development suite as Markdown."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated

import typer

from vckg.base.errors import InputError


def benchmark(
    what: Annotated[str, typer.Argument(help="suite.")],
    data: Annotated[Path, typer.Option(envvar="VCKG_MIRROR", help="Folder with h5ad/ and scarena/ in it.")],
    graph: Annotated[Path | None, typer.Option("--graph", "-g", help="Graph folder.")] = None,
) -> None:
    """Print the tables of the development suite as Markdown: ours and other methods on the same cell sets."""
    if what != "suite":
        raise InputError(f"no table {what!r}; the one table is suite")
    from gather.benchmark.suite import measured
    from gather.benchmark.suite_data import suite
    from gather.benchmark.suite_report import tables
    from vckg.base.resources import default_cache
    from vckg.build.default_graph import load

    loaded = load(graph)
    size = f"{loaded.n:,} nodes, {loaded.m:,} edges"
    typer.echo(f"Graph {loaded.content_hash[:16]}, {size}; Python {platform.python_version()}.\n")
    for line in tables(measured(loaded, suite(loaded, data, default_cache()))):
        typer.echo(line)
