"""``python -m benchmarks.ordinary_call``: processor time of one `gather annotate` beside scanpy's own ranking.

Both name or rank the same sets of the same file in a new process; the second call in one process is a third row.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from vckg.base.console import run

_SCANPY = """
import sys, warnings; warnings.simplefilter("ignore")
import scanpy as sc
adata = sc.read_h5ad(sys.argv[1])
sc.tl.rank_genes_groups(adata, sys.argv[2], method="t-test")
"""
_TWICE = """
import resource, sys
from pathlib import Path
import vckg
from gather.cells.options import Options
from gather.inputs.command import annotate_inputs
from gather.inputs.jobs import Reading, jobs_of
def spent():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)
graph = vckg.load()
for _ in range(2):
    before = spent()
    jobs = jobs_of([Path(sys.argv[1])], Path(sys.argv[3]), None, overwrite=True)
    annotate_inputs(jobs, graph, Options(groupby=sys.argv[2]), Reading(), overwrite=True)
print(spent() - before)
"""


def processor_s(command: list[str]) -> float:
    """Return the processor time of a process and its children, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Entry point of the module."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

    @app.command()
    def ordinary_call(
        data: Annotated[Path, typer.Option(envvar="VCKG_MIRROR", help="Folder with h5ad/.")],
        repeats: Annotated[int, typer.Option(min=1)] = 3,
    ) -> None:
        """Print the table as Markdown: medians of processor seconds."""
        file, column = data / "h5ad" / "pbmc68k_reduced.h5ad", "louvain"
        with tempfile.TemporaryDirectory() as scratch:
            out = str(Path(scratch) / "out.h5ad")
            gather = [
                sys.executable,
                "-m",
                "gather.cli",
                "annotate",
                str(file),
                "--groupby",
                column,
                "-f",
                "-o",
                out,
            ]
            twice = [sys.executable, "-c", _TWICE, str(file), column, out]
            scanpy = [sys.executable, "-c", _SCANPY, str(file), column]
            rows = {
                "scanpy: import, read, rank_genes_groups": [processor_s(scanpy) for _ in range(repeats)],
                "gather annotate, a new process": [processor_s(gather) for _ in range(repeats)],
                "the same, second call in one process": [
                    float(
                        subprocess.run(twice, check=True, capture_output=True, text=True).stdout.split()[-1]
                    )
                    for _ in range(repeats)
                ],
            }
        typer.echo("| 700 cells, 11 sets | processor seconds |\n|---|---:|")
        for name, taken in rows.items():
            typer.echo(f"| {name} | {median(taken):.2f} |")

    run(app, "benchmarks.ordinary_call")


if __name__ == "__main__":
    main()
