"""``gather annotate IN.h5ad -o OUT.h5ad``: the input is never modified, the output appears whole or not at
all.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vckg.base.atomic import check_outputs, reason, replacing
from vckg.base.errors import InputError, first_line

if TYPE_CHECKING:
    import anndata as ad

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FOLDERS = ("obs", "var")
_ZARR = (".zgroup", "zarr.json", ".zattrs", ".zmetadata")
WALK_S, WALK_BYTES_PER_S = 60.0, 10e6
"""Seconds the walk of a file may take, and for how many bytes of it one more."""
_RESERVE = 1 << 20
_COMPRESSED = {"compression": "gzip", "compression_opts": 1}
"""Of files that are written anew; others are copied as they are."""


def open_h5ad(path: Path, *, backed: bool = False, known: bool = False) -> ad.AnnData:
    """Read an h5ad.

    A process of its own walks the file first: the HDF5 library may end or hang on a damaged one, and links may lead
    out of it (docs/security.md).

    Parameters
    ----------
    backed
        Whether X stays on disk.
    known
        Whether this file was walked already, as the workers of a cluster may take for granted.

    Raises
    ------
    InputError
        The file is missing, is not HDF5, is cut off or damaged, has links, or is HDF5 but no AnnData.
    """
    check_input(path)
    walker = None if known else _start_walk(path)
    try:
        import anndata as ad  # while the walker is at work
    finally:
        if walker is not None:
            _end_walk(walker, path)
    import h5py

    try:
        with h5py.File(path) as file:
            missing = [name for name in _FOLDERS if name not in file]
        if missing:
            raise InputError(
                f"{path}: is HDF5 but no h5ad (no {missing[0]!r}); export the data with adata.write_h5ad()"
            )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # anndata's remarks on files of its older releases, and on odd values
            return ad.read_h5ad(path, backed="r" if backed else None)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path}: cannot be read, it may be cut off or damaged ({first_line(error)})"
        ) from error


def check_paths(
    source: Path,
    out: Path | None,
    report: Path | None,
    obs: Path | None = None,
    *,
    overwrite: bool,
    writes: bool = True,
) -> None:
    """Refuse paths and types of file before anything is loaded; `writes` is False for a run that writes nothing.

    Raises
    ------
    InputError
        The input is no h5ad, the output has another name, or an output exists, is the input, or cannot be written.
    """
    check_input(source)
    if out is not None and out.suffix != ".h5ad":
        raise InputError(f"{out}: the output is an h5ad; give a name that ends in .h5ad")
    if writes:
        check_outputs([path for path in (out, report, obs) if path], inputs=[source], overwrite=overwrite)


def check_input(path: Path) -> None:
    """Refuse a path that is missing, a folder or no HDF5 file, by its first bytes."""
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except ValueError:  # a name that no file can have
        is_folder = is_file = False
    if is_folder:
        kind = "a zarr store" if any((path / n).is_file() for n in _ZARR) else "a folder"
        raise InputError(f"{path}: is {kind}; wanted an h5ad file; write one with adata.write_h5ad()")
    if not is_file:
        raise InputError(f"{path}: no such file; give the path of an h5ad")
    if not _is_hdf5(path):
        raise InputError(f"{path}: {_what_it_is(path)}; wanted an h5ad, as adata.write_h5ad() writes it")


def _is_hdf5(path: Path) -> bool:
    """Whether the signature of HDF5 stands at byte 0, 512, 1,024 or a later power of two (HDF5 format, II.A)."""
    size, place = path.stat().st_size, 0
    try:
        with path.open("rb") as file:
            while place + len(_SIGNATURE) <= size:
                file.seek(place)
                if file.read(len(_SIGNATURE)) == _SIGNATURE:
                    return True
                place = max(512, 2 * place)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); give the path of an h5ad") from error
    return False


def _what_it_is(path: Path) -> str:
    """Name a file that is not HDF5 in the words of who made it."""
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        return "is empty"
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        text = head[: error.start].decode() if error.start > len(head) - 4 else ""
    first = text.splitlines()[0] if text else ""
    if "\0" in text or not text:
        return "is not an h5ad (no HDF5 file)"
    if any(mark in first for mark in ("\t", ",", ";")):
        return "is a text table (no HDF5 file)"
    return "is a text file (no HDF5 file)"


def _start_walk(path: Path) -> subprocess.Popen[bytes]:
    """Start the walk of a file (`gather.cells._h5_walk`)."""
    script = Path(__file__).with_name("_h5_walk.py")
    return subprocess.Popen(
        [sys.executable, "-P", str(script), str(path.absolute())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _end_walk(walker: subprocess.Popen[bytes], path: Path) -> None:
    """Wait for the walk and raise what it found."""
    limit = WALK_S + path.stat().st_size / WALK_BYTES_PER_S
    try:
        printed, _ = walker.communicate(timeout=limit)
        problem = _problem_in(printed)
    except subprocess.TimeoutExpired:
        problem = f"cannot be read within {limit:.0f} s, it may be damaged"
    except ValueError:
        problem = f"cannot be read, it is damaged (the HDF5 library ended with {_how_it_ended(walker)})"
    finally:
        walker.kill()
        walker.wait()
        if walker.stdout is not None:
            walker.stdout.close()
    if problem:
        raise InputError(f"{path}: {problem}")


def check_hdf5(path: Path) -> None:
    """Walk an HDF5 file in a process of its own; InputError where it is damaged or has links out of it."""
    _end_walk(_start_walk(path), path)


def _problem_in(printed: bytes) -> str:
    """Return the problem that the walk printed, empty for a sound file; ValueError where it printed no answer."""
    answer = json.loads(printed)
    if not isinstance(answer, dict) or not isinstance(answer.get("problem"), str):
        raise ValueError("no answer of the walk")
    return str(answer["problem"])


def _how_it_ended(walker: subprocess.Popen[bytes]) -> str:
    code = walker.returncode
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"


@contextmanager
def whole_file(out: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `out` when the block ends well and vanishes when it does not."""
    try:
        with replacing(out) as new:
            yield new
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({reason(error)}); make room or choose another folder"
        ) from error


def write_annotated(
    source: Path,
    out: Path,
    columns: dict[str, Any],
    key: str,
    kept: dict[str, Any],
    *,
    held: ad.AnnData | None = None,
    outdated: Collection[str] = (),
) -> None:
    """Write a copy of `source` with our columns and entry added; `held` is its content where it is in memory.

    The columns `outdated` of `obs` are left out.

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
            _add_to(partial, columns, key, kept, outdated)
            _reads_back(source, partial, [*(f"obs/{name}" for name in columns), f"uns/{key}"])
        else:
            partial.write_bytes(_rewritten(source, columns, key, kept, held, outdated))


def _reads_back(source: Path, path: Path, written: list[str]) -> None:
    """Open what was written and its neighbours: damage that a reader does not meet may break what is added to it.

    Raises
    ------
    InputError
        An object of the copy cannot be opened.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            for name in written:
                if isinstance(file[name], h5py.Dataset):
                    file[name][()]
            for group in ("obs", "uns"):
                file[group].visititems(lambda _name, _object: None)
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{source}: damaged; what is added to a copy of it cannot be read ({first_line(error)}); "
            "write the file anew"
        ) from error


def _rewritten(
    source: Path,
    columns: dict[str, Any],
    key: str,
    kept: dict[str, Any],
    held: ad.AnnData | None,
    outdated: Collection[str],
) -> memoryview:
    """The whole file in today's form."""
    from anndata.io import write_elem

    adata = open_h5ad(source, known=True) if held is None else held
    for name, values in columns.items():
        adata.obs[name] = values
    adata.obs.drop(columns=list(outdated), inplace=True)
    adata.uns[key] = kept
    with _in_memory() as file:
        write_elem(file, "/", adata, dataset_kwargs=_COMPRESSED)
        file.flush()
        return memoryview(file.id.get_file_image())


@contextmanager
def _in_memory() -> Iterator[Any]:
    import h5py

    with h5py.File("annotations", "w", driver="core", backing_store=False) as file:
        yield file


def _add_to(
    path: Path, columns: dict[str, Any], key: str, kept: dict[str, Any], outdated: Collection[str]
) -> None:
    """Add to a copy what was written in memory; its growth is reserved first, because HDF5 does not survive a disk that
    fills up.
    """
    import h5py
    import pandas as pd
    from anndata.io import write_elem

    stored = {
        name: values if isinstance(values, pd.Categorical) else pd.Series(values).to_numpy()
        for name, values in columns.items()
    }
    with _in_memory() as added:
        obs, uns = added.create_group("obs"), added.create_group("uns")
        for name, values in stored.items():
            write_elem(obs, name, values)
        write_elem(uns, key, kept)
        added.flush()
        growth = len(memoryview(added.id.get_file_image()))
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), path.stat().st_size, growth + _RESERVE)
        with h5py.File(path, "r+") as file:
            if "uns" not in file:
                write_elem(file, "uns", {})
            for name in (*(f"obs/{column}" for column in stored), f"uns/{key}"):
                if name in file:
                    del file[name]
                added.copy(name, file, name)
            for name in outdated:
                del file["obs"][name]
            order = [c for c in map(str, file["obs"].attrs["column-order"]) if c not in outdated]
            file["obs"].attrs["column-order"] = [*order, *(name for name in stored if name not in order)]
