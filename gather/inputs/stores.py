"""Loom, zarr and h5mu: containers that anndata's own readers open."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vckg.base.errors import InputError, did_you_mean, first_line

if TYPE_CHECKING:
    import anndata as ad

RNA_NAMES = ("rna", "gex", "RNA", "GEX", "Gene Expression")


def read_loom(path: Path) -> ad.AnnData:
    """Read a loom file by anndata and loompy; the genes are named by ``Gene``, ``var_names`` or ``Accession``."""
    if find_spec("loompy") is None:
        raise InputError(
            f"{path}: is a loom file, which loompy reads; install it: pip install 'vckg[inputs]'"
        )
    import h5py
    from anndata.io import read_loom as read

    with h5py.File(path) as file:
        genes = _first(("Gene", "var_names", "gene_name", "Accession"), list(file["row_attrs"]))
        cells = _first(("CellID", "obs_names"), list(file["col_attrs"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read(path, X_name="", obs_names=cells, var_names=genes, validate=False)


def _first(known: tuple[str, ...], names: list[str]) -> str:
    return next((name for name in known if name in names), known[0])


def read_zarr(path: Path, table: str | None = None) -> ad.AnnData:
    """Read a zarr store of anndata, or the table of one that SpatialData wrote.

    Parameters
    ----------
    table
        Which table of a SpatialData store; its only one by default.
    """
    if find_spec("zarr") is None:
        raise InputError(f"{path}: is a zarr store, which zarr reads; install it: pip install 'vckg[inputs]'")
    from anndata.io import read_zarr as read

    tables = path / "tables"
    if tables.is_dir() and not (path / "obs").is_dir():
        names = sorted(child.name for child in tables.iterdir() if child.is_dir())
        chosen = _chosen(path, names, table, "tables", preferred=("table",))
        path = tables / chosen
    elif not (path / "obs").is_dir() or not (path / "var").is_dir():
        raise InputError(f"{path}: is zarr but not of anndata (no obs, no var); write adata.write_zarr()")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(path)
    except Exception as error:
        raise InputError(
            f"{path}: cannot be read, it may be cut off or damaged ({first_line(error)})"
        ) from error


def read_h5mu(path: Path, modality: str | None = None) -> ad.AnnData:
    """Read one modality of a MuData file, with the columns that all modalities share.

    Parameters
    ----------
    modality
        Its name; by default the one that holds RNA, or the only one.
    """
    import h5py
    from anndata.io import read_elem

    with h5py.File(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen = _chosen(path, sorted(file["mod"]), modality, "modalities", preferred=RNA_NAMES)
        adata: ad.AnnData = read_elem(file[f"mod/{chosen}"])
        shared = read_elem(file["obs"]) if "obs" in file else None
    if shared is not None:
        shared = shared.reindex(adata.obs_names)
        own = f"{chosen}:"
        for name in shared.columns:
            if str(name) not in adata.obs and not (":" in str(name) and str(name).startswith(own)):
                adata.obs[str(name)] = shared[name]
    return adata


def _chosen(path: Path, names: list[str], wanted: str | None, what: str, preferred: tuple[str, ...]) -> str:
    if wanted is not None:
        if wanted not in names:
            raise InputError(
                f"{path}: no {wanted!r} among its {what}{did_you_mean(wanted, names)}; it holds {', '.join(names)}"
            )
        return wanted
    found = [name for name in preferred if name in names] or (names if len(names) == 1 else [])
    if not found:
        raise InputError(
            f"{path}: which of its {what} holds RNA? {', '.join(names)}; name it with --modality"
        )
    return found[0]
