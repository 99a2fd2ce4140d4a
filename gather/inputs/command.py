"""``gather annotate INPUT...``: inputs of any kind, one after the other, with one load of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gather.cells.command import annotate_file
from gather.cells.options import AUTO
from gather.cells.samples import DIFFERING, OF_ONE_SAMPLE
from gather.inputs.jobs import Job, Reading
from gather.inputs.kinds import stem_of
from gather.inputs.marker_sets import NO_FDR, MarkerWork, as_anndata, measured_genes
from gather.inputs.marker_tables import MarkerTable, read_marker_table, table_of_uns
from gather.inputs.opened import as_h5ad, written
from gather.inputs.rds import read_rds
from gather.labelling.plain_words import TWO_TYPES
from vckg.base.atomic import write_text
from vckg.base.console import err
from vckg.base.errors import InputError
from vckg.base.words import counted

if TYPE_CHECKING:
    from gather.cells.adata import Outcome
    from gather.cells.options import LlmStep, Options
    from vckg.graph.graph import Graph

FEW_GENES = 20
"""Cells that express fewer known genes at the median are warned of."""


def annotate_inputs(
    jobs: Sequence[Job],
    graph: Graph,
    options: Options,
    reading: Reading,
    *,
    overwrite: bool = False,
    cellxgene: bool = False,
    llm: LlmStep | None = None,
    dask: str | None = None,
) -> list[Outcome]:
    """Annotate inputs in order; the results of one are whole before the next begins.

    Raises
    ------
    InputError
        An input is wrong; results of earlier inputs stay.
    """
    outcomes = []
    for job in jobs:
        asked: dict[str, Any] = {"overwrite": overwrite, "report": job.report, "obs": job.obs, "llm": llm}
        read = read_rds(job.source) if job.kind == "rds" else None
        table = read if isinstance(read, MarkerTable) else None
        if job.kind == "marker table" or reading.markers or table is not None:
            if cellxgene:
                raise InputError(
                    f"{job.source}: holds no cells, which CELLxGENE asks for; leave --cellxgene out"
                )
            outcomes.append(_annotate_markers(job, graph, options, reading, asked, table))
            continue
        if reading.measured is not None:
            raise InputError(
                f"{job.source}: is a file of cells, which says what it measured; leave --measured out"
            )
        asked["cellxgene"] = cellxgene
        with as_h5ad(job.source, job.kind, graph, reading.modality, read=read) as h5ad:
            asked["known"] = job.kind != "h5ad"
            outcomes.append(annotate_file(h5ad, job.out, graph, options, dask=dask, **asked))
        _say_which_cells_lack_what(outcomes[-1].kept["parameters"])
        _say_what_samples_gave(outcomes[-1])
    reports = [job for job in jobs if job.report is not None]
    if len(reports) > 1:
        _write_index(reports, outcomes)
    return outcomes


def _annotate_markers(
    job: Job,
    graph: Graph,
    options: Options,
    reading: Reading,
    asked: dict[str, Any],
    table: MarkerTable | None,
) -> Outcome:
    """Annotate a table of markers, which may have been read, or the ranking that an h5ad holds."""
    import tempfile

    if options.candidates_from_obs is not None:
        raise InputError(
            f"{job.source}: a table of markers has no obs; give the cell types by --candidates FILE"
        )
    if options.sample_key is not None:
        raise InputError(f"{job.source}: a table of markers has no samples; leave --sample-key out")
    if table is None and job.kind not in ("marker table", "h5ad"):
        raise InputError(f"{job.source}: is a {job.kind}; --markers reads tables and h5ad files only")
    if table is None:
        column = None if options.groupby == AUTO else options.groupby
        table = table_of_uns(job.source) if job.kind == "h5ad" else read_marker_table(job.source, column)
    measured = None if reading.measured is None else measured_genes(reading.measured)
    ranked = len({gene for genes in table.genes.values() for gene in genes})
    by = f", ranked by {table.used}" if table.used else ", in the order of the table"
    clusters, genes = counted(len(table.genes), "cluster"), counted(ranked, "gene")
    line = f"{job.source}: {table.form}, {clusters}, {genes}{by}"
    if measured is None and table.background is None:
        line += f"; {NO_FDR} (give them by --measured GENES)"
    err().print(line, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="gather-") as scratch:
        h5ad = written(as_anndata(table), Path(scratch) / f"{stem_of(job.source)}.h5ad")
        work = MarkerWork(table, measured)
        outcome = annotate_file(h5ad, job.out, graph, options, work=work, known=True, **asked)
    for answer in outcome.annotations:
        for asks in (part for part in answer.note.split("; ") if part.startswith(TWO_TYPES)):
            err().print(f"cluster {answer.cell_set}: {asks}", soft_wrap=True)
    return outcome


def _say_which_cells_lack_what(parameters: dict[str, Any]) -> None:
    """Print how many cells have no group, how many no expression, and whether cells express few genes."""
    lacks = {
        f"a value in {parameters['groupby']!r}": "cells_without_group",
        "expression": "cells_without_expression",
    }
    for what, key in lacks.items():
        if left := parameters.get(key, 0):
            line = f"cells without {what}: {left:,}; they are unknown, with status ungrounded"
            err().print(line, soft_wrap=True)
    if (genes := parameters.get("genes_per_cell", FEW_GENES)) < FEW_GENES:
        line = f"half of the cells express at most {genes:g} known genes: too few to tell most cell types"
        err().print(line, soft_wrap=True)


def _say_what_samples_gave(outcome: Outcome) -> None:
    """Print how many samples agree with their set, and the sets that differ or are of one sample."""
    table = outcome.kept["tables"].get("samples")
    if table is None:
        return
    lines = [f"samples that alone agree with their set: {int(table['agrees'].sum())} of {len(table)}"]
    for answer in outcome.annotations:
        parts = [p for p in answer.note.split("; ") if p.startswith(DIFFERING) or OF_ONE_SAMPLE in p]
        lines += [f"{answer.cell_set}: {'; '.join(parts)}"] if parts else []
    for line in lines:
        err().print(line, soft_wrap=True)


def _write_index(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Write a page that links the pages of all inputs."""
    from gather.report.page import TEMPLATES
    from vckg.base.html import render

    first = jobs[0].report
    assert first is not None
    rows = [
        {
            "href": quote(job.report.name),
            "name": job.report.stem,
            "cells": sum(a.n_cells for a in outcome.annotations),
            "sets": len(outcome.annotations),
            "named": sum(bool(a.curie) for a in outcome.annotations),
            "labels": list(dict.fromkeys(a.label for a in outcome.annotations if a.curie)),
        }
        for job, outcome in zip(jobs, outcomes, strict=True)
        if job.report is not None
    ]
    page = render(TEMPLATES / "index.html.j2", title="Annotated inputs", rows=rows)
    write_text(first.parent / "index.html", page)
