"""What a path holds: told by its content, not by its name alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gather.inputs.marker_tables import is_marker_table
from gather.inputs.text import OPENED, head_of_text
from vckg.base.errors import InputError

Kind = Literal["h5ad", "10x h5", "10x folder", "loom", "zarr", "h5mu", "rds", "marker table", "text table"]

ZARR_FILES = (".zgroup", "zarr.json", ".zattrs", ".zmetadata")
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_CLOSED_WORKBOOKS = (".xls", ".xlsb", ".ods")
_MATRIX_NAMES = ("matrix.mtx", "matrix.mtx.gz")


def kind_of(path: Path) -> Kind:
    """Return what a path holds.

    Raises
    ------
    InputError
        There is no such path, or nothing in it is an input; the message says what is wanted.
    """
    if path.is_dir():
        return _kind_of_folder(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of {OPENED}")
    if path.suffix == ".h5ad":
        return "h5ad"
    if path.suffix.lower() == ".rds":
        return "rds"
    if path.suffix.lower() in (".rdata", ".rda"):
        raise InputError(
            f'{path}: may hold several R objects; write one of them in R: saveRDS(object, "object.rds")'
        )
    if path.suffix.lower() in _CLOSED_WORKBOOKS:
        raise InputError(
            f"{path}: is a workbook of a kind that is not read; save it as xlsx or csv and give that"
        )
    if path.name.endswith(_MATRIX_NAMES):
        return "10x folder"
    with path.open("rb") as file:
        is_hdf5 = file.read(len(HDF5_MAGIC)) == HDF5_MAGIC
    if is_hdf5:
        return _kind_of_hdf5(path)
    head = head_of_text(path)
    if path.name.removesuffix(".gz").endswith(".gmt"):
        return "marker table"
    return "marker table" if is_marker_table(head) else "text table"


def _kind_of_folder(path: Path) -> Kind:
    if any((path / name).is_file() for name in ZARR_FILES):
        return "zarr"
    if matrix_files(path):
        return "10x folder"
    below = [child for child in sorted(path.iterdir()) if child.is_dir() and matrix_files(child)]
    hint = f"; did you mean {below[0]}?" if below else ""
    raise InputError(
        f"{path}: is a folder without matrix.mtx(.gz) and no zarr store{hint or f'; give {OPENED}'}"
    )


def matrix_files(folder: Path) -> list[Path]:
    """Return the ``matrix.mtx`` files of a folder, also those with a sample's name before it."""
    return sorted(child for child in folder.iterdir() if child.name.endswith(_MATRIX_NAMES))


def _kind_of_hdf5(path: Path) -> Kind:
    """Tell the kinds of HDF5 apart by their groups; the file is walked first, as every HDF5 input is."""
    import h5py

    from gather.cells.file import check_hdf5

    check_hdf5(path)
    with h5py.File(path) as file:
        if "mod" in file:
            return "h5mu"
        if "obs" in file and "var" in file:
            return "h5ad"
        if {"matrix", "row_attrs", "col_attrs"} <= set(file):
            return "loom"
        groups = [item for item in file.values() if isinstance(item, h5py.Group)]
        if any({"barcodes", "indptr", "data"} <= set(group) for group in groups):
            return "10x h5"
        shown = ", ".join(sorted(file)[:6]) or "nothing"
    raise InputError(f"{path}: is HDF5 with {shown}, which is no file of cells; give {OPENED}")


def stem_of(path: Path) -> str:
    """Return the name of an input without the endings of its kind."""
    name = path.resolve().name
    for ending in (
        ".gz",
        ".h5ad",
        ".h5mu",
        ".h5",
        ".loom",
        ".zarr",
        ".rds",
        ".csv",
        ".tsv",
        ".txt",
        ".xlsx",
        ".xlsm",
        ".gmt",
        ".mtx",
    ):
        name = name.removesuffix(ending)
    return name or "cells"
