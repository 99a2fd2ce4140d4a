"""Real labelled cells as virtual cells: small sets drawn by seed from h5ad files.

One file comes with scanpy (pbmc68k, 700 cells), so that the fresh set works from nothing; the others are
read where a mirror of files has them. Each virtual cell is the mean of some cells of one label, drawn
without replacement within a replicate, its genes ranked by mean expression.
"""

from __future__ import annotations

import csv
import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from arena.datasets.lineages import CellTerms
from arena.datasets.virtual_cell import Interaction, VirtualCell, item_rng
from vckg.base.errors import InputError, SourceError
from vckg.base.resources import resource

if TYPE_CHECKING:
    from anndata import AnnData

REPLICATES = 6
"""Virtual cells of one label."""
CELLS = 20
"""Cells of one replicate; at most half of the label's."""
TOP = 100
"""Genes of a sentence: the files hold 219 to 2,000 variable genes, so SC-Arena's 200 would reach the
noise.
"""


@dataclass(frozen=True, slots=True)
class CellFile:
    """One labelled file."""

    name: str
    file: str
    """Path in a mirror folder; "" is the file that scanpy carries."""
    label: str
    """Column of ``obs``."""
    tissue: str
    title: str
    counts: bool = False
    """Values are counts, not logarithms."""
    where: tuple[str, str] = ("", "")
    """Keep only cells whose column (first) has the value (second)."""


CELL_FILES = (
    CellFile("pbmc68k", "", "bulk_labels", "blood", "10x PBMC 68k, reduced (carried by scanpy)"),
    CellFile(
        "pbmc3k", "h5ad/pbmc3k_clustifyr_2000hvg.h5ad", "classified", "blood", "10x PBMC 3k (clustifyr)"
    ),
    CellFile(
        "kang18",
        "h5ad/pbmc_kang18_ifnb_muscat.h5ad",
        "cluster_id",
        "blood",
        "Kang et al. 2018, PBMC with and without interferon beta (muscat)",
        counts=True,
        where=("group_id", "ctrl"),
    ),
    CellFile(
        "wang2016",
        "h5ad/pancreas_wang2016_scclassify.h5ad",
        "cell_type",
        "pancreas",
        "Wang et al. 2016, pancreatic islets (scClassify)",
    ),
)


def labelled_cells(terms: CellTerms, *, seed: int, mirrors: Sequence[Path]) -> Iterator[VirtualCell]:
    """Yield virtual cells of every available file, by file, label and replicate."""
    labels = read_labels(resource("data", "arena", "cell_labels.tsv"))
    for source in CELL_FILES:
        path = cell_file(source, mirrors)
        if path is not None:
            yield from _cells_of(source, path, labels[source.name], terms, seed)


def cell_file(source: CellFile, mirrors: Sequence[Path]) -> Path | None:
    """Return the path of a file; None where no mirror holds it."""
    if not source.file:
        import importlib.util

        spec = importlib.util.find_spec("scanpy")
        if spec is None or spec.origin is None:
            raise InputError("scanpy is not installed; pip install scanpy")
        return Path(spec.origin).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"
    return next((path for folder in mirrors if (path := folder / source.file).is_file()), None)


def read_labels(path: Path) -> dict[str, dict[str, str]]:
    """Cell Ontology id by data set and label."""
    labels: dict[str, dict[str, str]] = {}
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            labels.setdefault(row["dataset"], {})[row["label"]] = row["cell_type_ontology_term_id"]
    return labels


def _cells_of(
    source: CellFile, path: Path, labels: dict[str, str], terms: CellTerms, seed: int
) -> Iterator[VirtualCell]:
    data = read_h5ad(path)
    if source.label not in data.obs:
        raise SourceError(path, f"no column {source.label!r} in obs, found {list(data.obs.columns)}")
    genes, values = expression(data, counts=source.counts)
    observed = data.obs[source.label].astype(str).to_numpy()
    column, wanted = source.where
    kept = data.obs[column].astype(str).to_numpy() == wanted if column else np.ones(len(observed), bool)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for label, cl_id in sorted(labels.items()):
        members = np.flatnonzero((observed == label) & kept)
        term = terms.describe(cl_id)
        if len(members) < 4 or not term.name:
            continue
        for replicate in range(REPLICATES):
            item = f"{source.name}/{cl_id}/{replicate}"
            rng = item_rng(seed, item)
            size = min(CELLS, len(members) // 2)
            drawn = np.sort(rng.choice(members, size=size, replace=False))
            yield VirtualCell(
                id=item,
                dataset="fresh",
                cell_type=term.name,
                cl_id=term.cl_id,
                tissue=source.tissue,
                species="human",
                expression=ranked(values[drawn].mean(axis=0), genes),
                partial=True,
                description=term.description,
                lineage=term.lineage,
                cluster=term.cl_id,  # replicates of a type share cells, and so one bootstrap cluster
                provenance={
                    "file": path.name,
                    "title": source.title,
                    "sha256": digest,
                    "label": label,
                    "cells": [str(data.obs_names[i]) for i in drawn],
                    "seed": seed,
                },
            )


def read_h5ad(path: Path) -> AnnData:
    """Read a file; scanpy's own copy has the layout of 2019, so anndata warns at every reading."""
    import anndata

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Moving element from", category=FutureWarning)
        return anndata.read_h5ad(path)


def expression(data: AnnData, *, counts: bool) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Gene names and log-normalised values, float64[cells, genes]; ``.raw`` where ``X`` is scaled."""
    kept = data.raw if data.raw is not None else data
    values = kept.X.toarray() if hasattr(kept.X, "toarray") else np.asarray(kept.X)
    values = np.asarray(values, dtype=np.float64)
    if counts:
        values = np.log1p(values / np.maximum(values.sum(axis=1, keepdims=True), 1.0) * 1e4)
    return [str(name) for name in kept.var_names], values


def ranked(mean: npt.NDArray[np.float64], genes: list[str], top: int = TOP) -> tuple[str, ...]:
    """Return the `top` expressed genes by descending mean; ties by name."""
    order = sorted(range(len(genes)), key=lambda i: (-mean[i], genes[i]))
    return tuple(genes[i] for i in order[:top] if mean[i] > 0)


# ---- a real perturbation: interferon beta on blood cells ------------------------------------------------------

_STIMULATED = 10
"""Genes of each direction that a stimulation sample asks for."""


def stimulated_cells(terms: CellTerms, *, mirrors: Sequence[Path]) -> Iterator[VirtualCell]:
    """Yield Kang et al.'s cell types before and after interferon beta: twenty genes each, ten of either
    direction.
    """
    source = next(f for f in CELL_FILES if f.name == "kang18")
    path = cell_file(source, mirrors)
    if path is None:
        return
    data = read_h5ad(path)
    genes, values = expression(data, counts=source.counts)
    observed = data.obs[source.label].astype(str).to_numpy()
    group = data.obs["group_id"].astype(str).to_numpy()
    for label, cl_id in sorted(
        read_labels(resource("data", "arena", "cell_labels.tsv"))[source.name].items()
    ):
        before, after = (values[(observed == label) & (group == g)] for g in ("ctrl", "stim"))
        term = terms.describe(cl_id)
        if min(len(before), len(after)) < 20 or not term.name:
            continue
        change = _welch(before, after)
        order = sorted(range(len(genes)), key=lambda i: (-change[i], genes[i]))
        yield VirtualCell(
            id=f"{source.name}/{cl_id}",
            dataset="fresh",
            tissue=source.tissue,
            species="human",
            wording=f"a human {term.name} from blood",
            interactions=(
                Interaction(
                    regulators=("IFNB1",),
                    effect="stimulation with interferon beta",
                    up=tuple(genes[i] for i in order[:_STIMULATED]),
                    down=tuple(genes[i] for i in order[-_STIMULATED:]),
                    control=ranked(before.mean(axis=0), genes),
                    outcome=ranked(after.mean(axis=0), genes),
                ),
            ),
            provenance={
                "file": path.name,
                "title": source.title,
                "label": label,
                "publication": "doi:10.1038/nbt.4042",
            },
        )


def _welch(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Welch's t of each gene, float64[genes]; positive where it rises."""
    error = np.sqrt(before.var(axis=0, ddof=1) / len(before) + after.var(axis=0, ddof=1) / len(after))
    difference = after.mean(axis=0) - before.mean(axis=0)
    t: npt.NDArray[np.float64] = np.divide(difference, error, out=np.zeros_like(error), where=error > 0)
    return t
