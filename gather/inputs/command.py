"""``gather annotate INPUT...``: inputs of any kind, one after the other, with one load of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gather.cells.command import LlmStep, annotate_file
from gather.inputs.kinds import Kind, kind_of
from gather.inputs.marker_sets import NO_FDR, MarkerWork, as_anndata, measured_genes
from gather.inputs.marker_tables import read_marker_table, table_of_uns
from gather.inputs.opened import as_h5ad, stem_of, written
from vckg.base.atomic import check_outputs, write_text
from vckg.base.console import err
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from gather.cells.adata import Options, Outcome
    from vckg.graph.graph import Graph


@dataclass(frozen=True, slots=True)
class Reading:
    """How inputs are read.

    Attributes
    ----------
    modality
        Modality of an h5mu, or table of a SpatialData store.
    markers
        Whether the ranking in ``uns["rank_genes_groups"]`` of an h5ad is annotated instead of its cells.
    measured
        File of the measured genes of a marker table, one a line.
    """

    modality: str | None = None
    markers: bool = False
    measured: Path | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One input and where its results go."""

    source: Path
    kind: Kind
    out: Path
    report: Path | None = None


def jobs_of(sources: Sequence[Path], out: Path | None, report: Path | None, *, overwrite: bool) -> list[Job]:
    """Return what is to be done, all paths checked.

    One input goes to `out` (by default ``NAME.gather.h5ad`` beside it), several into the folder `out`.

    Raises
    ------
    InputError
        A path is wrong, or two inputs would be written to one file.
    """
    if len(sources) == 1:
        source = sources[0]
        target = out or source.resolve().parent / f"{stem_of(source)}.gather.h5ad"
        if target.is_dir():
            target = target / f"{stem_of(source)}.h5ad"
        return [_job(source, target, report, overwrite)]
    if out is None or out.suffix == ".h5ad" or out.is_file():
        raise InputError(
            f"{len(sources)} inputs need a folder for their results: -o FOLDER, not {out or 'nothing'}"
        )
    if report is not None and report.suffix == ".html":
        raise InputError(
            f"{len(sources)} inputs need a folder for their pages: --report FOLDER, not {report}"
        )
    names = [stem_of(source) for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two inputs are named {twice[0]}; annotate them one by one, or rename one")
    for source in sources:
        kind_of(source)  # before the folders are made
    for folder in (out, *([] if report is None else [report])):
        folder.mkdir(exist_ok=True)
    return [
        _job(source, out / f"{name}.h5ad", None if report is None else report / f"{name}.html", overwrite)
        for source, name in zip(sources, names, strict=True)
    ]


def _job(source: Path, out: Path, report: Path | None, overwrite: bool) -> Job:
    kind = kind_of(source)
    if out.suffix != ".h5ad":
        raise InputError(f"{out}: the output is an h5ad; give a name that ends in .h5ad")
    check_outputs([out, report] if report else [out], inputs=[source], overwrite=overwrite)
    return Job(source, kind, out, report)


def annotate_inputs(
    jobs: Sequence[Job],
    graph: Graph,
    options: Options,
    reading: Reading,
    *,
    overwrite: bool = False,
    llm: LlmStep | None = None,
    dask: str | None = None,
) -> list[Outcome]:
    """Annotate inputs in order; the results of one are whole before the next begins.

    Raises
    ------
    InputError
        Anything to be mended about an input; what was written for inputs before it stays.
    """
    outcomes = []
    for job in jobs:
        job.out.parent.mkdir(parents=True, exist_ok=True)
        if job.report is not None:
            job.report.parent.mkdir(parents=True, exist_ok=True)
        asked: dict[str, Any] = {"overwrite": overwrite, "report": job.report, "llm": llm}
        if job.kind == "marker table" or reading.markers:
            outcomes.append(_annotate_markers(job, graph, options, reading, asked))
            continue
        if reading.measured is not None:
            raise InputError(
                f"{job.source}: is a file of cells, which says what it measured; leave --measured out"
            )
        with as_h5ad(job.source, job.kind, graph, reading.modality) as h5ad:
            outcomes.append(annotate_file(h5ad, job.out, graph, options, dask=dask, **asked))
        _say_what_was_read(outcomes[-1].kept["parameters"])
    reports = [job for job in jobs if job.report is not None]
    if len(reports) > 1:
        _write_index(reports, outcomes)
    return outcomes


def _annotate_markers(
    job: Job, graph: Graph, options: Options, reading: Reading, asked: dict[str, Any]
) -> Outcome:
    """Annotate a table of markers, or the ranking that an h5ad holds."""
    import tempfile

    if options.candidates_from_obs is not None:
        raise InputError(
            f"{job.source}: a table of markers has no obs; give the cell types by --candidates FILE"
        )
    if job.kind not in ("marker table", "h5ad"):
        raise InputError(f"{job.source}: is a {job.kind}; --markers reads tables and h5ad files only")
    table = table_of_uns(job.source) if job.kind == "h5ad" else read_marker_table(job.source)
    measured = None if reading.measured is None else measured_genes(reading.measured)
    ranked = sum(len(genes) for genes in table.genes.values())
    by = f", ranked by {table.used}" if table.used else ", in the order of the table"
    line = f"{job.source}: {table.form}, {len(table.genes)} clusters, {ranked:,} genes{by}"
    if measured is None and table.background is None:
        line += f"; {NO_FDR} (give them by --measured GENES)"
    err().print(line, highlight=False, markup=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="gather-") as scratch:
        h5ad = written(as_anndata(table), Path(scratch) / f"{stem_of(job.source)}.h5ad")
        return annotate_file(h5ad, job.out, graph, options, work=MarkerWork(table, measured), **asked)


def _say_what_was_read(parameters: dict[str, Any]) -> None:
    """Print the species where it is not human, and how many cells have no group."""
    lines = (
        [species] if (species := parameters.get("species", "")) and not species.startswith("human") else []
    )
    if left := parameters.get("cells_without_group", 0):
        column = parameters["groupby"]
        lines.append(f"{left:,} cells have no value in {column!r}: they are unknown, with status ungrounded")
    for line in lines:
        err().print(line, highlight=False, markup=False, soft_wrap=True)


def _write_index(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Write a page that links the pages of all inputs."""
    lines = []
    for job, outcome in zip(jobs, outcomes, strict=True):
        assert job.report is not None
        labels = ", ".join(dict.fromkeys(a.label for a in outcome.annotations))
        lines.append(
            f'<li><a href="{escape(job.report.name)}">{escape(str(job.source))}</a>: '
            f"{len(outcome.annotations)} cell sets ({escape(labels)})</li>\n"
        )
    first = jobs[0].report
    assert first is not None
    page = (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Annotated inputs</title>\n'
        f"<h1>Annotated inputs</h1>\n<ul>\n{''.join(lines)}</ul>\n</html>\n"
    )
    write_text(first.parent / "index.html", page)
