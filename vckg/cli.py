"""The `vckg` commands: each parses its options, calls one function and prints the result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vckg.base.console import run
from vckg.command_app import Application

app = Application("vckg", "Build, inspect and export the cell-centric knowledge graph.")

GraphOption = Annotated[
    Path | None,
    typer.Option("--graph", "-g", help="Graph folder. Default: VCKG_GRAPH, or the default graph."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
MirrorOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--mirror",
        exists=True,
        file_okay=False,
        help="Folder of source files, in addition to VCKG_MIRROR; may be repeated.",
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", help="Folder for downloads. Default: VCKG_CACHE, or the user's cache."),
]
TableOption = Annotated[
    Path | None, typer.Option("--table", help="Source table to use instead of the shipped data/sources.toml.")
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Use only files in the cache and in mirrors.")]
ProfileOption = Annotated[str, typer.Option(help="standard, core, full or paper.")]
SourceOption = Annotated[
    list[str] | None, typer.Option("--source", help="Add a source to the profile; may be repeated.")
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option("--exclude-source", help="Leave out a source, or one part of it (accordion:CELLxGENE)."),
]


@app.command()
def sources(profile: ProfileOption = "", table: TableOption = None, json: JsonOption = False) -> None:
    """List the sources: licence, profiles, routes, test status."""
    from vckg.build.source_table import source_table
    from vckg.printers.sources import print_sources

    print_sources(source_table(table), profile, as_json=json)


@app.command()
def fetch(
    profile: ProfileOption = "",
    graph: Annotated[
        str, typer.Option("--graph", "-g", help="Released graph to install instead: a file or an address.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="With --graph: folder; without it the default graph's place."),
    ] = None,
    sha256: Annotated[str, typer.Option("--sha256", help="With --graph: checksum of the archive.")] = "",
    source: SourceOption = None,
    exclude_source: ExcludeOption = None,
    table: TableOption = None,
    mirror: MirrorOption = None,
    cache: CacheOption = None,
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """Fetch the files that a profile needs, or install a released graph."""
    from vckg.base.errors import InputError
    from vckg.build.fetch import Places, fetch_reachable

    places = Places.named(cache, mirror or (), offline=offline)
    if graph and (profile or source or exclude_source or table):
        raise InputError(
            "--graph installs a whole graph; leave out --profile, --source, --exclude-source and --table"
        )
    if graph:
        from vckg.build.default_graph import default_folder
        from vckg.build.install import install
        from vckg.printers.graph import print_info

        print_info(install(graph, output or default_folder(), places, sha256=sha256), as_json=json)
        return
    if output or sha256:
        raise InputError("--output and --sha256 go with --graph; --cache names the folder of downloads")
    from vckg.build.source_table import choose, source_table
    from vckg.printers.sources import print_fetched

    chosen, _ = choose(source_table(table), profile or "standard", source or (), exclude_source or ())
    print_fetched(*fetch_reachable(chosen, places), as_json=json)


@app.command()
def build(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write. Default: the place of the default graph."),
    ] = None,
    profile: ProfileOption = "standard",
    source: SourceOption = None,
    exclude_source: ExcludeOption = None,
    table: TableOption = None,
    mirror: MirrorOption = None,
    cache: CacheOption = None,
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """Build a graph folder from the sources of a profile."""
    from vckg.base.errors import InputError
    from vckg.build.build_folder import make
    from vckg.build.default_graph import PROFILE, default_folder
    from vckg.build.fetch import Places
    from vckg.build.source_table import source_table
    from vckg.printers.graph import print_info

    if output is None and (profile != PROFILE or source or exclude_source or table):
        raise InputError(
            f"only the plain profile {PROFILE} has a default folder; name a folder with --output"
        )
    graph = make(
        output or default_folder(),
        source_table(table),
        Places.named(cache, mirror or (), offline=offline),
        profile=profile,
        include=source or (),
        exclude=exclude_source or (),
    )
    print_info(graph, as_json=json)


@app.command()
def info(graph: GraphOption = None, json: JsonOption = False) -> None:
    """Print nodes, edges and sources of a graph, and rejected rows by reason."""
    import vckg
    from vckg.printers.graph import print_info

    print_info(vckg.load(graph), as_json=json)


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(help="A CURIE, a gene name of any kind, a cell type label, or any label.")
    ],
    graph: GraphOption = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", min=1, help="Number of neighbours to print per relation and direction."
        ),
    ] = 8,
    json: JsonOption = False,
) -> None:
    """Print one node with its neighbours and the sources of its edges."""
    import vckg
    from vckg.printers.node import print_node

    print_node(vckg.load(graph), name, limit=limit, as_json=json)


@app.command()
def path(
    start: Annotated[
        str, typer.Argument(help="First node: a CURIE, gene name, cell type or any other label.")
    ],
    end: Annotated[str, typer.Argument(help="Last node, named likewise.")],
    graph: GraphOption = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="Number of shortest walks to print.")
    ] = 5,
    json: JsonOption = False,
) -> None:
    """Print the shortest walks between two nodes, in either direction of an edge."""
    import vckg
    from vckg.printers.paths import print_paths

    print_paths(vckg.load(graph), start, end, limit=limit, as_json=json)


@app.command()
def audit(
    graph: Annotated[
        Path | None,
        typer.Argument(help="Folder of a graph or an export. Default: VCKG_GRAPH, or the default graph."),
    ] = None,
    json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a CI summary.")] = False,
) -> None:
    """Check a graph before its release; exit 1 where a check finds an error."""
    import vckg
    from vckg.printers.quality import print_audit
    from vckg.quality.audit import audit as audit_graph
    from vckg.quality.audit import audit_folder

    report = audit_folder(graph) if graph else audit_graph(vckg.load())
    print_audit(report, json=json, as_markdown=markdown)
    if report.counts["error"]:
        raise typer.Exit(1)


@app.command()
def diff(
    old: Annotated[
        str, typer.Argument(help="A graph folder, or an ontology release: CL@v2025-02-13 or a file.")
    ],
    new: Annotated[str, typer.Argument(help="A second one of the same kind.")],
    json: JsonOption = False,
) -> None:
    """Print the changes between two graphs, or between two releases of an ontology."""
    from vckg.printers.quality import print_diff
    from vckg.quality.diff import diff_named

    print_diff(diff_named(old, new), json=json)


@app.command()
def export(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write; an earlier export is replaced.")
    ],
    form: Annotated[str, typer.Option("--format", help="kgx, kgx-jsonl, neo4j or graphml.")] = "kgx",
    graph: GraphOption = None,
    i_have_the_right: Annotated[
        bool,
        typer.Option("--i-have-the-right", help="Also export sources whose licence forbids redistribution."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a graph in a format that other tools read."""
    import vckg
    from vckg.base.console import progress
    from vckg.export.export import export as export_graph
    from vckg.printers.quality import print_exported

    loaded = vckg.load(graph)
    with progress(f"exporting {loaded.m:,} edges as {form}"):
        manifest = export_graph(loaded, form, output, i_have_the_right=i_have_the_right)
    print_exported(output, manifest, json=json)


@app.command()
def release(
    graph: Annotated[Path, typer.Argument(help="Folder of the graph to release.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Archive to write: vckg-graph-VERSION.tar.zst.")
    ],
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an archive of that name.")] = False,
    json: JsonOption = False,
) -> None:
    """Write what may be passed on of a graph as one archive, with its licences and DataCite metadata."""
    from vckg.base.console import progress
    from vckg.build.release import release as release_graph
    from vckg.graph.graph import Graph
    from vckg.printers.quality import print_released

    loaded = Graph.load(graph)
    with progress(f"releasing {graph}"):
        released = release_graph(loaded, output, overwrite=force)
    print_released(output, released, json=json)


@app.command()
def card(
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path(
        "graph-card.html"
    ),
    graph: GraphOption = None,
) -> None:
    """Write the graph card: a self-contained page with the content and the gaps of a graph."""
    import vckg
    from vckg.base.atomic import check_outputs
    from vckg.base.console import out, progress
    from vckg.quality.card import write_card

    check_outputs([output], overwrite=True, missing_folder=True)
    loaded = vckg.load(graph)
    with progress("writing the graph card"):
        path = write_card(loaded, output)
    out().print(str(path))


def main() -> None:
    """Run the command line."""
    run(app, "vckg")
