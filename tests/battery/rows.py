"""The rows of the table: how each input is made, how it is asked for, and what it should get."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from gather.cells.options import Options
from gather.inputs.command import annotate_inputs
from gather.inputs.jobs import Reading, jobs_of
from tests.battery import files
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from vckg.graph.graph import Graph


@dataclass(frozen=True)
class Input:
    """One row before it is tried: `make` writes the input into a folder and returns its path or paths."""

    name: str
    make: Callable[[Path], Path | list[Path]]
    options: dict[str, Any] = field(default_factory=dict)
    reading: dict[str, Any] = field(default_factory=dict)
    refusal: str = ""
    """Words of the refusal it should get; empty where it should be annotated."""
    few: bool = False
    """Whether so few cells may leave every set unknown, each with its reason."""


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    got: str
    seconds: float
    good: bool


def rows_of(
    cells: ad.AnnData,
    logged: ad.AnnData,
    mouse: ad.AnnData,
    ensembl: Mapping[str, str],
    *,
    groupby: str,
    sample: str,
    mouse_groupby: str,
) -> Iterator[Input]:
    """Yield every ordinary input, written from counts, from their logarithms and from cells of mouse.

    `ensembl` are the ids of genes by their symbol (`ensembl_ids`).
    """
    by = {"groupby": groupby}
    yield from _names(cells, ensembl, by)
    yield from _values(cells, logged, groupby)
    yield Input("10x .h5, version 3", lambda d: files.tenx_h5(cells, d / "filtered_feature_bc_matrix.h5"))
    yield Input("10x .h5, version 2", lambda d: files.tenx_h5_v2(cells, d / "old.h5"))
    yield Input("10x .h5, CITE-seq", lambda d: files.tenx_h5(cells, d / "citeseq.h5", antibodies=3))
    yield Input("10x folder, version 3", lambda d: files.tenx_folder(cells, d / "v3"))
    yield Input("10x folder, version 2", lambda d: files.tenx_folder(cells, d / "v2", version=2))
    yield Input(
        "10x folder, version 2, gzipped", lambda d: files.tenx_folder(cells, d / "v2gz", version=2, gz=True)
    )
    yield Input(
        "10x folder, STARsolo, a prefix", lambda d: files.tenx_folder(cells, d / "s", gz=False, prefix="S1_")
    )
    if find_spec("loompy"):
        yield Input("loom", lambda d: files.loom(cells, d / "cells.loom"), by)
    else:
        yield Input(
            "loom without loompy", lambda d: _empty_loom(d / "cells.loom"), by, refusal="vckg[inputs]"
        )
    yield Input("zarr store", lambda d: files.zarr_store(cells, d / "cells.zarr"), by)
    yield Input("SpatialData store", lambda d: files.spatialdata_store(cells, d / "spatial.zarr"), by)
    yield Input("h5mu, RNA", lambda d: files.h5mu(cells, d / "cells.h5mu"), by)
    yield Input(
        "h5mu, no such modality", lambda d: files.h5mu(cells, d / "no.h5mu"), by, {"modality": "rnaa"}, "rna'"
    )
    yield Input("csv, genes in rows", lambda d: files.text_matrix(cells, d / "genes.csv", genes_in_rows=True))
    yield Input(
        "tsv.gz, cells in rows", lambda d: files.text_matrix(cells, d / "c.tsv.gz", genes_in_rows=False)
    )
    yield from _markers(logged, groupby)
    yield from _h5ad(cells, groupby, sample)
    for name, change in (("mouse symbols", str), ("mouse symbols in capitals", str.upper)):
        yield Input(
            name, lambda d, c=change: _renamed(mouse, d / "mouse.h5ad", c), {"groupby": mouse_groupby}
        )  # type: ignore[misc]
    both = [f"{genome}_{name}" for name in cells.var_names for genome in ("GRCh38", "mm10")][: cells.n_vars]
    yield Input(
        "two species", lambda d: _renamed(cells, d / "two.h5ad", both), by, refusal="genes of two species"
    )


def _markers(logged: ad.AnnData, groupby: str) -> Iterator[Input]:
    ranked = files.ranked(logged, groupby)
    frame = files.scanpy_frame(ranked)
    lists = files.top_genes(frame)
    yield Input("Seurat 5 FindAllMarkers", lambda d: files.seurat_csv(frame, d / "seurat5.csv"))
    yield Input("Seurat 4 FindAllMarkers", lambda d: files.seurat_csv(frame, d / "seurat4.csv", v5=False))
    if find_spec("rdata"):
        yield Input("FindAllMarkers by saveRDS", lambda d: files.seurat_rds(frame, d / "seurat.rds"))
    yield Input("presto wilcoxauc", lambda d: files.presto_tsv(frame, d / "presto.tsv"))
    yield Input("scanpy rank_genes_groups_df", lambda d: _csv(frame, d / "scanpy.csv"))
    yield Input("GMT", lambda d: files.gmt(lists, d / "sets.gmt"))
    yield Input("list per cluster (CASSIA)", lambda d: files.cassia_csv(lists, d / "cassia.csv"))
    yield Input("genes by rank, a column a cluster", lambda d: files.wide_csv(lists, d / "wide.csv"))
    yield Input(
        "uns['rank_genes_groups']", lambda d: _h5ad_file(ranked, d / "uns.h5ad"), {}, {"markers": True}
    )


def _h5ad(cells: ad.AnnData, groupby: str, sample: str) -> Iterator[Input]:
    by = {"groupby": groupby}
    measured = cells.copy()
    measured.obs["n_genes"] = np.arange(cells.n_obs)
    gaps = cells.copy()
    gaps.obs[groupby] = gaps.obs[groupby].where(np.arange(cells.n_obs) % 10 != 0)
    yield Input("several files", lambda d: [_h5ad_file(cells, d / f"{n}.h5ad") for n in "ab"], by)
    yield Input(
        "several samples", lambda d: _h5ad_file(cells, d / "samples.h5ad"), by | {"sample_key": sample}
    )
    yield Input(
        "a measurement as --groupby",
        lambda d: _h5ad_file(measured, d / "m.h5ad"),
        {"groupby": "n_genes"},
        {},
        groupby,
    )
    yield Input("cells without a group", lambda d: _h5ad_file(gaps, d / "gaps.h5ad"), by)


def _names(cells: ad.AnnData, ensembl: Mapping[str, str], by: dict[str, Any]) -> Iterator[Input]:
    """Ways to name genes."""
    ids = [ensembl.get(name, f"ENSG{99_000_000_000 + i}") for i, name in enumerate(cells.var_names)]
    numbers = [str(i) for i in range(cells.n_vars)]
    twice = [*cells.var_names[:-2], *cells.var_names[:2]]
    yield Input("Ensembl ids", lambda d: _renamed(cells, d / "ids.h5ad", ids), by)
    yield Input(
        "Ensembl ids with versions", lambda d: _renamed(cells, d / "v.h5ad", [f"{i}.7" for i in ids]), by
    )
    yield Input(
        "numbers as names, symbols in var",
        lambda d: _renamed(cells, d / "var.h5ad", numbers, symbols=True),
        by,
    )
    yield Input(
        "numbers as names alone",
        lambda d: _renamed(cells, d / "n.h5ad", numbers),
        by,
        refusal="instead of gene names",
    )
    yield Input("symbols that occur twice", lambda d: _renamed(cells, d / "twice.h5ad", twice), by)
    yield Input("symbols in small letters", lambda d: _renamed(cells, d / "small.h5ad", str.lower), by)
    rat = [n.capitalize() for n in cells.var_names]
    own = [i for i, name in enumerate(rat) if name.startswith(("Hla-", "Linc")) or "orf" in name]
    for i in {*own, *range(len(rat) - 3, len(rat))}:
        rat[i] = f"RT1-X{i}"  # no rat gene is named as those
    yield Input("rat symbols", lambda d: _renamed(cells, d / "rat.h5ad", rat), by)
    for animal, start in (("macaque", "ENSMMUG"), ("pig", "ENSSSCG")):
        foreign = [f"{start}{i:011}" for i in range(cells.n_vars)]
        yield Input(
            f"Ensembl ids of {animal}",
            lambda d, f=foreign: _renamed(cells, d / "f.h5ad", f),
            by,
            refusal="ENS",
        )  # type: ignore[misc]


def _values(cells: ad.AnnData, logged: ad.AnnData, groupby: str) -> Iterator[Input]:
    """Ways to keep values, and few cells or genes."""
    by = {"groupby": groupby}
    scaled = ad.AnnData(_dense(logged), obs=cells.obs, var=cells.var)
    scaled.X = (scaled.X - scaled.X.mean(axis=0)) / (scaled.X.std(axis=0) + 1e-6)
    kept = scaled.copy()
    kept.layers["counts"] = cells.X
    kept.raw = None
    few = np.sort(
        np.argsort(cells.obs[groupby].astype(str).to_numpy(), kind="stable")[:: cells.n_obs // 12][:12]
    )
    means = _means(logged, groupby)
    intensities = means.copy()
    intensities.X = means.X + 4
    panel = np.sort(np.argsort(-np.asarray(cells.X.sum(axis=0)).ravel())[:300])
    yield Input("log-normalised X", lambda d: _h5ad_file(logged, d / "log.h5ad"), by)
    yield Input("scaled X, counts in a layer", lambda d: _h5ad_file(kept, d / "scaled.h5ad"), by)
    yield Input("scaled X alone", lambda d: _h5ad_file(scaled, d / "z.h5ad"), by, refusal="it was scaled")
    yield Input("12 cells", lambda d: _h5ad_file(cells[few].copy(), d / "few.h5ad"), by, few=True)
    yield Input("a panel of 300 genes", lambda d: _h5ad_file(cells[:, panel].copy(), d / "panel.h5ad"), by)
    yield Input("mean profiles, one a set", lambda d: _h5ad_file(means, d / "means.h5ad"), by)
    yield Input("microarrays, one a set", lambda d: _h5ad_file(intensities, d / "arrays.h5ad"), by)
    yield Input("no column, clusters found", lambda d: _h5ad_file(cells, d / "auto.h5ad"))


def _dense(cells: ad.AnnData) -> Any:
    values: Any = cells.X
    return values.toarray() if hasattr(values, "toarray") else np.asarray(values)


def _means(logged: ad.AnnData, groupby: str) -> ad.AnnData:
    """Return the mean of each group's cells, one obs a group."""
    frame = pd.DataFrame(_dense(logged), columns=logged.var_names)
    means = frame.groupby(logged.obs[groupby].astype(str).to_numpy()).mean().astype(np.float32)
    return ad.AnnData(means, obs=pd.DataFrame({groupby: means.index}, index=means.index))


def ensembl_ids(graph: Graph, names: Iterable[str]) -> dict[str, str]:
    """Return the Ensembl id of each gene name that the graph knows."""
    found = {}
    for answer in graph.genes.ground(list(names)):
        ids = [
            x for x in (graph.node(answer.curie).xrefs if answer.curie else ()) if x.startswith("ENSEMBL:")
        ]
        found |= {answer.name: ids[0].removeprefix("ENSEMBL:")} if ids else {}
    return found


def _csv(frame: Any, path: Path) -> Path:
    frame.to_csv(path)
    return path


def _h5ad_file(cells: ad.AnnData, path: Path) -> Path:
    cells.write_h5ad(path)
    return path


def _renamed(
    cells: ad.AnnData, path: Path, names: Callable[[str], str] | list[str], *, symbols: bool = False
) -> Path:
    renamed = cells.copy()
    if symbols:
        renamed.var["gene_symbols"] = list(cells.var_names)
    renamed.var_names = [names(n) for n in cells.var_names] if callable(names) else names
    return _h5ad_file(renamed, path)


def _empty_loom(path: Path) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        file["matrix"] = np.zeros((1, 1))
        file.create_group("row_attrs")
        file.create_group("col_attrs")
    return path


def try_row(row: Input, graph: Graph, folder: Path) -> Row:
    """Make an input, annotate it, and say what came of it."""
    made = row.make(folder)
    sources = made if isinstance(made, list) else [made]
    stem = "".join(c if c.isalnum() else "-" for c in row.name)
    out = folder / f"{stem}-out" if len(sources) > 1 else folder / f"{stem}-out.h5ad"
    start = time.perf_counter()
    try:
        jobs = jobs_of(sources, out, None, overwrite=False)
        outcomes = annotate_inputs(jobs, graph, Options(**row.options), Reading(**row.reading))
    except InputError as error:
        seconds = time.perf_counter() - start
        return Row(
            f"refused: {str(error).replace(str(folder) + '/', '')}",
            seconds,
            bool(row.refusal) and row.refusal in str(error),
        )
    seconds = time.perf_counter() - start
    answers = [a for outcome in outcomes for a in outcome.annotations]
    written = all(job.out.is_file() for job in jobs)
    named = sum(a.status in ("named", "backed_off") for a in answers)
    labels = ", ".join(list(dict.fromkeys(a.label for a in answers))[:4])
    reasons = sorted({a.reason for a in answers if not a.curie})
    why = f" ({', '.join(reasons).replace('_', ' ')})" if reasons and not named else ""
    answered = named > 0 or (row.few and "" not in reasons)
    good = written and answered and not row.refusal
    return Row(f"{named} of {len(answers)} sets named: {labels}{why}", seconds, good)
