"""``gather annotate IN.h5ad -o OUT.h5ad``: the input is never modified, the output appears whole or not at
all.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vckg.errors import InputError

if TYPE_CHECKING:
    import anndata as ad

_FOLDERS = ("obs", "var")
_RESERVE = 1 << 20


def open_h5ad(path: Path, *, backed: bool = False) -> ad.AnnData:
    """Read an h5ad.

    Raises
    ------
    InputError
        The file is missing, is not HDF5, is cut off, or is HDF5 but no AnnData.
    """
    import anndata as ad
    import h5py

    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of an h5ad")
    if not h5py.is_hdf5(path):
        raise InputError(f"{path}: is not an h5ad (no HDF5 file); export the data with adata.write_h5ad()")
    try:
        with h5py.File(path) as file:
            missing = [name for name in _FOLDERS if name not in file]
        if missing:
            raise InputError(
                f"{path}: is HDF5 but no h5ad (no {missing[0]!r}); export the data with adata.write_h5ad()"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # anndata's remarks on files of its older releases
            return ad.read_h5ad(path, backed="r" if backed else None)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path}: cannot be read, it may be cut off or damaged ({_first_line(error)})"
        ) from error


def check_output(source: Path, out: Path, *, overwrite: bool) -> None:
    """Refuse an output that would overwrite something, or that cannot be written, before any work is done."""
    if out.exists() and source.exists() and out.samefile(source):
        raise InputError(f"{out}: is the input, which is never modified; give another -o")
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give a file name")
    if out.exists() and not overwrite:
        raise InputError(f"{out}: exists; give another -o, or --force")
    folder = out.parent
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; create it first")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: cannot be written to; choose another folder")


@contextmanager
def whole_file(out: Path) -> Iterator[Path]:
    """Yield a temporary sibling that becomes `out` when the block ends well and vanishes when it does not."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent)
    except OSError as error:
        raise InputError(
            f"{out.parent}: cannot be written to ({_first_line(error)}); choose another folder"
        ) from error
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())
        partial.replace(out)
    except OSError as error:
        raise InputError(f"{out}: could not be written ({_first_line(error)}); is the disk full?") from error
    finally:
        partial.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_annotated(source: Path, out: Path, columns: dict[str, Any], key: str, kept: dict[str, Any]) -> None:
    """Write a copy of `source` with our columns and entry added.

    The copy is made byte for byte and then added to, so X, layers, obs and obsm stay exactly as they were,
    however large they are. Files of old anndata keep ``obs`` as one compound table that cannot grow; those are
    rewritten.
    """
    import h5py

    with whole_file(out) as partial:
        with h5py.File(source, "r") as file:
            grows = isinstance(file["obs"], h5py.Group) and "column-order" in file["obs"].attrs
        if grows:
            shutil.copyfile(source, partial)
            _add_to(partial, columns, key, kept)
        else:
            partial.write_bytes(_rewritten(source, columns, key, kept))


def _rewritten(source: Path, columns: dict[str, Any], key: str, kept: dict[str, Any]) -> memoryview:
    """The whole file in today's form."""
    from anndata.io import write_elem

    adata = open_h5ad(source)
    for name, values in columns.items():
        adata.obs[name] = values
    adata.uns[key] = kept
    with _in_memory() as file:
        write_elem(file, "/", adata)
        file.flush()
        return memoryview(file.id.get_file_image())


@contextmanager
def _in_memory() -> Iterator[Any]:
    import h5py

    with h5py.File("annotations", "w", driver="core", backing_store=False) as file:
        yield file


def _add_to(path: Path, columns: dict[str, Any], key: str, kept: dict[str, Any]) -> None:
    """Add to a copy; its growth is reserved first, because HDF5 does not survive a disk that fills up."""
    import h5py
    import pandas as pd
    from anndata.io import write_elem

    stored = {
        name: values if isinstance(values, pd.Categorical) else pd.Series(values).to_numpy()
        for name, values in columns.items()
    }
    with _in_memory() as trial:
        for name, values in stored.items():
            write_elem(trial, f"obs/{name}", values)
        write_elem(trial, f"uns/{key}", kept)
        trial.flush()
        growth = len(memoryview(trial.id.get_file_image()))
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), path.stat().st_size, growth + _RESERVE)
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        order = [str(c) for c in obs.attrs["column-order"]]
        for name, values in stored.items():
            if name in obs:
                del obs[name]
            write_elem(obs, name, values)
            order += [name] if name not in order else []
        obs.attrs["column-order"] = order
        if "uns" not in file:
            write_elem(file, "uns", {})
        write_elem(file["uns"], key, kept)


def write_matrix(store: Any, matrix: Any, *, compression: str | None = None) -> None:
    """Write a matrix as element ``X`` of an open HDF5 or zarr store, in anndata's encoding."""
    from anndata.io import write_elem

    write_elem(store, "X", matrix, dataset_kwargs={"compression": compression} if compression else {})


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
