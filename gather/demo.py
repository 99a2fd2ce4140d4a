"""``make demo``: real cells named with evidence, from nothing.

Annotates scanpy's own pbmc68k_reduced (700 cells, in the installed package, no network) and prints the table of
its cell sets; the annotated file and the page land in ``demo/``.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

from vckg.base.console import err, run
from vckg.base.errors import InputError

FOLDER = Path("demo")
GROUPS = "louvain"


def example_file() -> Path:
    """Return the h5ad that scanpy carries; found without importing scanpy."""
    spec = find_spec("scanpy")
    if spec is None or spec.origin is None:
        raise InputError("scanpy is not installed; run `pip install vckg`")
    path = Path(spec.origin).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"
    if not path.is_file():
        raise InputError(f"{path}: this scanpy does not carry the example; install scanpy 1.11")
    return path


def demo() -> None:
    """Annotate the example and print what was found."""
    import vckg
    from gather.cells.command import annotate_file
    from gather.cells.options import Options
    from gather.cli import print_annotations

    started = time.perf_counter()
    graph = vckg.load()
    FOLDER.mkdir(exist_ok=True)
    out, page = FOLDER / "pbmc68k_reduced.gather.h5ad", FOLDER / "pbmc68k_reduced.html"
    outcome = annotate_file(example_file(), out, graph, Options(groupby=GROUPS), overwrite=True, report=page)
    print_annotations(outcome.annotations)
    err().print(
        f"{graph.n:,} nodes and {graph.m:,} edges; {out} and {page} written in {time.perf_counter() - started:.1f} s",
        highlight=False,
    )


def main() -> None:
    """Entry point of ``python -m gather.demo``."""
    import typer

    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(demo)
    run(app, "gather.demo")


if __name__ == "__main__":
    main()
