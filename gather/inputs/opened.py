"""Any input of cells as an h5ad: the file itself, or one written to a folder that vanishes after use."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gather.inputs.kinds import Kind, stem_of
from gather.inputs.marker_tables import MarkerTable
from vckg.base.console import err
from vckg.base.errors import InputError

if TYPE_CHECKING:
    import anndata as ad

    from vckg.graph.graph import Graph


def read_cells(path: Path, kind: Kind, graph: Graph, modality: str | None = None) -> ad.AnnData:
    """Read cells of any kind but h5ad into memory.

    Raises
    ------
    InputError
        The content is not what the kind asks for; the message says where and what would be right.
    """
    from gather.inputs import stores, tenx
    from gather.inputs.rds import read_rds
    from gather.inputs.text_matrix import read_text_matrix

    if kind == "10x h5":
        return tenx.read_h5(path)
    if kind == "10x folder":
        return tenx.read_folder(path)
    if kind == "loom":
        return stores.read_loom(path)
    if kind == "zarr":
        return stores.read_zarr(path, modality)
    if kind == "h5mu":
        return stores.read_h5mu(path, modality)
    if kind == "rds":
        found = read_rds(path)
        if isinstance(found, MarkerTable):
            raise InputError(f"{path}: holds markers, no cells; give an object of cells")
        return found
    if kind == "marker table":
        raise InputError(
            f"{path}: is a table of markers, without cells; `gather annotate` names its clusters"
        )
    return read_text_matrix(path, graph)


@contextmanager
def as_h5ad(
    path: Path, kind: Kind, graph: Graph, modality: str | None = None, *, read: ad.AnnData | None = None
) -> Iterator[Path]:
    """Yield the path of an h5ad with the cells of any input; `read` are its cells where they were read already.

    Every step behind it then works on one kind of file. Room for the cells is needed in the folder of temporary files
    (``TMPDIR``).
    """
    if kind == "h5ad":
        if modality is not None:
            raise InputError(f"{path}: is an h5ad, which has no modalities; leave --modality out")
        yield path
        return
    adata = read_cells(path, kind, graph, modality) if read is None else read
    err().print(f"{path}: {kind}, {adata.n_obs:,} x {adata.n_vars:,} cells by genes")
    with tempfile.TemporaryDirectory(prefix="gather-") as scratch:
        yield written(adata, Path(scratch) / f"{stem_of(path)}.h5ad")


def written(adata: ad.AnnData, target: Path) -> Path:
    """Write an AnnData and return the path; columns of mixed types become text, as h5ad asks."""
    for frame in (adata.obs, adata.var):
        for name in frame.columns:
            if frame[name].dtype == object:
                frame[name] = frame[name].where(frame[name].isna(), frame[name].astype(str))
    adata.write_h5ad(target)
    return target
