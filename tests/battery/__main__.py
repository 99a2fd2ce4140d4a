"""Bring every ordinary input to `gather annotate`: ``python -m tests.battery``.

A table is printed: the input, what it got, and seconds with the graph loaded. Needs the mirror of real files
(``VCKG_MIRROR``). Exit code 1 where an input was neither annotated nor refused as it should be.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import anndata as ad
import scanpy as sc

import vckg
from tests.battery.rows import Row, ensembl_ids, rows_of, try_row
from tests.conftest import mirror_folder


def cells_of_the_mirror(mirror: Path) -> ad.AnnData:
    """Return a file of blood cells as counts, with its columns: cluster, sample, condition."""
    adata = ad.read_h5ad(mirror / "h5ad" / "pbmc_kang18_ifnb_muscat.h5ad")
    adata.X = adata.layers.pop("counts")
    return adata


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    mirror = mirror_folder()
    if mirror is None:
        sys.exit("no mirror of real files: set VCKG_MIRROR")
    cells = cells_of_the_mirror(mirror)
    logged = cells.copy()
    sc.pp.normalize_total(logged, target_sum=1e4)
    sc.pp.log1p(logged)
    mouse = ad.read_h5ad(mirror / "h5ad_more" / "mouse_cortex_zeisel2015_scenic.h5ad")
    graph, well = vckg.load(), True
    sys.stdout.write("| input | what it got | seconds |\n|---|---|---:|\n")
    with tempfile.TemporaryDirectory() as folder:
        ensembl = ensembl_ids(graph, cells.var_names)
        for row in rows_of(
            cells, logged, mouse, ensembl, groupby="cluster_id", sample="sample_id", mouse_groupby="cell_type"
        ):
            result: Row = try_row(row, graph, Path(folder))
            well &= result.good
            sys.stdout.write(f"| {row.name} | {result.got} | {result.seconds:.1f} |\n")
            sys.stdout.flush()
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
