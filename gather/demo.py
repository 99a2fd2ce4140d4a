"""``make demo``: real cells named with evidence, from nothing.

Annotates pbmc68k_reduced (700 blood cells) and prints the table of its cell sets; the annotated file and the page
land in ``demo/``.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from vckg.base.console import err, run
from vckg.build.source_table import Route, Source

FOLDER = Path("demo")
GROUPS = "louvain"
_FILE = "datasets/10x_pbmc68k_reduced.h5ad"
_SHA256 = "e71d41e737c941559b7c57c9243bdb3d2c889c2adfdf00e3422ac6b46783676f"
#: The same cells as scanpy 1.12 stores them.
_SHA256_1_12 = "863e19914ab2d4ba97edc9623ac3a343c0461f1e40b121bfb5fa92638b22e9bd"
CELLS = Source(
    name="pbmc68k_reduced",
    title="700 blood cells and 765 genes, as in scanpy 1.11.5",
    licence="BSD-3-Clause",
    redistribute=True,
    citation="Zheng et al. 2017, doi:10.1038/ncomms14049",
    reader="none",
    routes=(
        Route("package", sha256=_SHA256, package="scanpy", file=_FILE),
        Route("package", sha256=_SHA256_1_12, package="scanpy", file=_FILE),
        Route(
            "pypi",
            sha256=_SHA256,
            package="scanpy",
            archive="scanpy-1.11.5-py3-none-any.whl",
            archive_sha256="fcd383ddcf7acbf7c0ca232c25ad51b00aec9f8d2f7c8954b8c6ee0962257166",
            member=f"scanpy/{_FILE}",
        ),
    ),
)
"""The cells of the demo: a file of scanpy, taken from an installed one or fetched alone."""


def example_file(to: Path | str | None = None) -> Path:
    """Return the path of an h5ad of 700 blood cells, or of a copy at `to`.

    Raises
    ------
    SourceError
        scanpy is not installed, and no package index offers it.
    """
    from vckg.build.fetch import Places, fetch

    path = fetch([CELLS], Places.named())[0].files["main"]
    return path if to is None else Path(shutil.copyfile(path, to))


def demo() -> None:
    """Annotate the example and print what was found."""
    import vckg
    from gather.cells.command import annotate_file
    from gather.cells.options import Options
    from gather.cells.terminal import print_annotations

    started = time.perf_counter()
    graph = vckg.load()
    FOLDER.mkdir(exist_ok=True)
    out, page = FOLDER / "pbmc68k_reduced.gather.h5ad", FOLDER / "pbmc68k_reduced.html"
    cells = example_file(FOLDER / "pbmc68k_reduced.h5ad")
    outcome = annotate_file(cells, out, graph, Options(groupby=GROUPS), overwrite=True, report=page)
    print_annotations(outcome.annotations)
    err().print(
        f"{graph.n:,} nodes and {graph.m:,} edges; {out} and {page} written in {time.perf_counter() - started:.1f} s"
    )


def main() -> None:
    """Entry point of ``python -m gather.demo``."""
    import typer

    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(demo)
    run(app, "gather.demo")


if __name__ == "__main__":
    main()
