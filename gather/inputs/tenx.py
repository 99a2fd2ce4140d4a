"""Files of Cell Ranger and of tools that write alike: ``.h5`` and the folder of three files."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from gather.inputs.kinds import matrix_files
from vckg.base.errors import InputError

if TYPE_CHECKING:
    import anndata as ad


def read_h5(path: Path) -> ad.AnnData:
    """Read a 10x ``.h5`` of Cell Ranger 2 or later: the genes, not the antibodies. Symbols name the genes."""
    import h5py
    import scanpy as sc

    with h5py.File(path) as file:
        genomes = [name for name, item in file.items() if isinstance(item, h5py.Group)]
    if "matrix" not in genomes and len(genomes) > 1:
        raise InputError(
            f"{path}: holds {len(genomes)} genomes ({', '.join(genomes)}); write each to a file of its own, e.g. "
            f"scanpy.read_10x_h5(path, genome={genomes[0]!r}).write_h5ad('{genomes[0]}.h5ad')"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names of genes that occur twice are told apart later, by their ids
        return sc.read_10x_h5(path)


def read_folder(path: Path) -> ad.AnnData:
    """Read a folder of matrix, genes or features, and barcodes: versions 2 and 3, gzipped or not.

    The three names may begin with a sample's name.

    Raises
    ------
    InputError
        A file is missing, or the folder holds several matrices.
    """
    import scanpy as sc

    matrix, genes, barcodes, prefix = _three_files(path)
    legacy = "genes.tsv" in genes.name
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = matrix.parent
        usual = "" if legacy else ".gz"
        if any(file.name.endswith(".gz") is not bool(usual) for file in (matrix, genes, barcodes)):
            folder = Path(scratch)
            for file in (matrix, genes, barcodes):
                _copy(file, folder / (file.name.removesuffix(".gz") + usual))
        return sc.read_10x_mtx(folder, prefix=prefix, make_unique=False)


def _three_files(path: Path) -> tuple[Path, Path, Path, str]:
    found = [path] if path.is_file() else matrix_files(path)
    if len(found) > 1:
        shown = ", ".join(file.name for file in found[:4])
        raise InputError(f"{path}: holds {len(found)} matrices ({shown}); give the path of one of them")
    matrix = found[0]
    prefix = matrix.name.removesuffix(".gz").removesuffix("matrix.mtx")
    others = []
    endings: tuple[tuple[str, ...], ...] = (("features.tsv", "genes.tsv"), ("barcodes.tsv",))
    for names in endings:
        candidates = [matrix.parent / f"{prefix}{name}{end}" for name in names for end in (".gz", "")]
        existing = [file for file in candidates if file.is_file()]
        if not existing:
            raise InputError(f"{matrix}: {prefix}{names[0]}(.gz) is missing in its folder; put it there")
        others.append(existing[0])
    return matrix, others[0], others[1], prefix


def _copy(source: Path, target: Path) -> None:
    """Copy a file into another state of compression, as scanpy's reader expects it for its version."""
    opened = gzip.open(source) if source.suffix == ".gz" else source.open("rb")  # noqa: SIM115
    written = gzip.open(target, "wb", compresslevel=1) if target.suffix == ".gz" else target.open("wb")  # noqa: SIM115
    with opened as reader, written as writer:
        shutil.copyfileobj(reader, writer)
