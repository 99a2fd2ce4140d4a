"""Which inputs are annotated, and where their results go: checked before any library is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gather.inputs.kinds import Kind, kind_of, stem_of
from vckg.base.atomic import check_outputs
from vckg.base.errors import InputError

TABLES = (".csv", ".parquet")
"""How the name of a table of labels ends."""


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
    out: Path | None
    """None where the table of labels alone is wanted."""
    report: Path | None = None
    obs: Path | None = None


def jobs_of(
    sources: Sequence[Path],
    out: Path | None,
    report: Path | None,
    obs: Path | None = None,
    *,
    overwrite: bool,
) -> list[Job]:
    """Return what is to be done, all paths checked.

    One input goes to `out` (by default ``NAME.gather.h5ad`` in its folder), several into the folder `out`; `obs` is the
    table of the labels of one, and all that is written of it where `out` is None, or is the table itself.

    Raises
    ------
    InputError
        A path is wrong, or two inputs would be written to one file.
    """
    if len(sources) == 1:
        return [_only_job(sources[0], out, report, obs, overwrite)]
    if obs is not None:
        raise InputError(
            f"--obs {obs}: is one table; annotate {len(sources)} inputs one by one, or leave --obs out"
        )
    if out is None or out.suffix == ".h5ad":
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
        if folder.is_file() or not folder.parent.is_dir():
            wrong = "is a file" if folder.is_file() else f"there is no folder {folder.parent}"
            raise InputError(f"{folder}: {wrong}; give a folder for the results of {len(sources)} inputs")
        folder.mkdir(exist_ok=True)
    if report is not None:
        check_outputs([report / "index.html"], overwrite=overwrite)
    return [
        _job(
            source, out / f"{name}.h5ad", None if report is None else report / f"{name}.html", None, overwrite
        )
        for source, name in zip(sources, names, strict=True)
    ]


def _only_job(source: Path, out: Path | None, report: Path | None, obs: Path | None, overwrite: bool) -> Job:
    """Return the job of one input; an output that is named as a table is the table of labels."""
    if out is not None and obs is None and out.suffix in TABLES:
        out, obs = None, out
    if out is None and obs is not None:
        return _job(source, None, report, obs, overwrite)
    target = out or source.resolve().parent / f"{stem_of(source)}.gather.h5ad"
    if target.is_dir():
        target = target / f"{stem_of(source)}.h5ad"
    return _job(source, target, report, obs, overwrite)


def _job(source: Path, out: Path | None, report: Path | None, obs: Path | None, overwrite: bool) -> Job:
    kind = kind_of(source)
    if out is not None and out.suffix != ".h5ad":
        raise InputError(
            f"{out}: wanted a name that ends in .h5ad, in .csv for the labels alone, or a folder that exists"
        )
    if obs is not None and obs.suffix not in TABLES:
        raise InputError(
            f"{obs}: the table of labels is a CSV or Parquet; give a name that ends in .csv or .parquet"
        )
    check_outputs([path for path in (out, report, obs) if path], inputs=[source], overwrite=overwrite)
    return Job(source, kind, out, report, obs)
