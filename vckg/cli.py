"""`vckg`: the commands about the graph. Each parses, calls one function, prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from vckg.console import run

if TYPE_CHECKING:
    from vckg.fetch import Places

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Build, inspect and export the cell-centric knowledge graph.",
)

GraphOption = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads this at run time
    typer.Option("--graph", "-g", help="Graph folder; without it VCKG_GRAPH, else the default graph."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
MirrorOption = Annotated[
    Optional[list[Path]],  # noqa: UP045
    typer.Option("--mirror", help="Folder of source files; may be repeated. Beside VCKG_MIRROR."),
]
CacheOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--cache", help="Folder for downloads; without it VCKG_CACHE, else the user's cache."),
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Use only what is at hand.")]
ProfileOption = Annotated[str, typer.Option(help="core, full or paper.")]
SourceOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--source", help="Add a source to the profile; may be repeated."),
]
ExcludeOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--exclude-source", help="Leave a source out, or one part of it (accordion:CELLxGENE)."),
]


@app.command()
def sources(profile: ProfileOption = "", json: JsonOption = False) -> None:
    """List the sources: licence, profiles, routes, what was tried on the full file."""
    from vckg.show import print_sources

    print_sources(profile, as_json=json)


@app.command()
def fetch(
    profile: ProfileOption = "core",
    source: SourceOption = None,
    exclude_source: ExcludeOption = None,
    mirror: MirrorOption = None,
    cache: CacheOption = None,
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """Fetch the files a profile needs and nothing else."""
    from vckg.fetch import fetch as fetch_files
    from vckg.show import print_fetched
    from vckg.sources import choose, shipped_sources

    chosen, _ = choose(shipped_sources(), profile, source or (), exclude_source or ())
    print_fetched(fetch_files(chosen, _places(mirror, cache, offline)), as_json=json)


@app.command()
def build(
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--output", help="Folder to write; without it the default graph's place."),
    ] = None,
    profile: ProfileOption = "core",
    source: SourceOption = None,
    exclude_source: ExcludeOption = None,
    mirror: MirrorOption = None,
    cache: CacheOption = None,
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """Build a graph folder from a profile's sources."""
    from vckg.default import PROFILE, default_folder
    from vckg.errors import InputError
    from vckg.make import make
    from vckg.show import print_info
    from vckg.sources import shipped_sources

    if output is None and (profile != PROFILE or source or exclude_source):
        raise InputError("only the plain profile core has a place of its own; name a folder with --output")
    graph = make(
        output or default_folder(),
        shipped_sources(),
        _places(mirror, cache, offline),
        profile=profile,
        include=source or (),
        exclude=exclude_source or (),
    )
    print_info(graph, as_json=json)


@app.command()
def info(graph: GraphOption = None, json: JsonOption = False) -> None:
    """Say what a graph holds: nodes, edges, sources, what was turned away and why."""
    import vckg
    from vckg.show import print_info

    print_info(vckg.load(graph), as_json=json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A CURIE, a gene name of any kind, or a cell type label.")],
    graph: GraphOption = None,
    limit: Annotated[int, typer.Option(help="Edges to show per relation and direction.")] = 8,
    json: JsonOption = False,
) -> None:
    """Show one node with its neighbours and where each edge comes from."""
    import vckg
    from vckg.show import print_node

    print_node(vckg.load(graph), name, limit=limit, as_json=json)


@app.command()
def path(
    start: Annotated[str, typer.Argument(help="A CURIE, gene name or cell type label.")],
    end: Annotated[str, typer.Argument(help="Another.")],
    graph: GraphOption = None,
    limit: Annotated[int, typer.Option(help="Shortest walks to show.")] = 5,
    json: JsonOption = False,
) -> None:
    """Show the shortest walks between two nodes, edges taken in either direction."""
    import vckg
    from vckg.show import print_paths

    print_paths(vckg.load(graph), start, end, limit=limit, as_json=json)


def _places(mirror: list[Path] | None, cache: Path | None, offline: bool) -> Places:
    from vckg.fetch import Places, default_cache, default_mirrors

    return Places(cache or default_cache(), (*(mirror or ()), *default_mirrors()), offline)


def main() -> None:
    """Run the command line."""
    run(app, "vckg")
