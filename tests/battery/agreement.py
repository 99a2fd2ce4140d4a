"""How often a marker table gives the label that its cells give: ``python -m tests.battery.agreement``.

Six labelled files of the mirror; each one's ranking is written as Seurat's csv (all p-values: one file
has no gene below Seurat's usual 0.01) and read back with its measured genes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import anndata as ad
import pandas as pd

import vckg
from gather.cells.expression import rank_cell_sets, read_expression
from gather.inputs.marker_sets import MarkerWork
from gather.inputs.marker_tables import read_marker_table
from gather.labelling.annotator import Annotator, Parameters
from tests.battery import files
from tests.conftest import mirror_folder
from vckg.graph.graph import Graph

SETS = {
    "colon_kinchen2018_mini": "cell_type", "melanoma_tcells_sadefeldman2018_scfeatures": "cellTypes",
    "pancreas_wang2016_scclassify": "cell_type", "pbmc3k_clustifyr_2000hvg": "seurat_clusters",
    "pbmc68k_reduced": "louvain", "pbmc_kang18_ifnb_muscat": "cluster_id",
}  # fmt: skip


def agreement(adata: ad.AnnData, groupby: str, graph: Graph, scratch: Path) -> list[tuple[str, str, str]]:
    """Return name, label by the cells and label by the table of every cell set of two cells or more."""
    expression = read_expression(adata, graph)
    groups = adata.obs[groupby].astype(str).where(adata.obs[groupby].notna(), "")
    parameters = Parameters(hyper_entities=())
    annotator = Annotator(graph, expression.panel, parameters)
    cells = {
        s.name: annotator.annotate_one(s).label
        for s in rank_cell_sets(expression, groups.tolist())
        if s.n_cells > 1
    }
    names = pd.Index(expression.panel.names)
    logged = ad.AnnData(expression.matrix, obs=pd.DataFrame({"g": groups.to_numpy()}, index=adata.obs_names))
    logged.var_names = names
    frame = files.scanpy_frame(files.ranked(logged[logged.obs["g"] != ""], "g"))
    table = read_marker_table(files.seurat_csv(frame, scratch / "markers.csv", return_thresh=1.0))
    work = MarkerWork(table, tuple(names))
    panel, _, _ = work.panel(graph)
    by_table = Annotator(graph, panel, parameters, contrast=panel.detected is not None)
    return [(one.name, cells[one.name], by_table.annotate_one(one).label) for one in work.cell_sets(panel)]


def main() -> None:
    """Print every disagreement and the share of sets with one label."""
    mirror = mirror_folder()
    if mirror is None:
        sys.exit("no mirror of real files: set VCKG_MIRROR")
    graph, rows = vckg.load(), []
    with tempfile.TemporaryDirectory() as scratch:
        for name, groupby in SETS.items():
            pairs = agreement(ad.read_h5ad(mirror / "h5ad" / f"{name}.h5ad"), groupby, graph, Path(scratch))
            rows += pairs
            same = sum(one == other for _, one, other in pairs)
            sys.stdout.write(f"{name}: {same} of {len(pairs)}\n")
            sys.stdout.writelines(f"    {s}: {one} / {other}\n" for s, one, other in pairs if one != other)
            sys.stdout.flush()
    same = sum(one == other for _, one, other in rows)
    sys.stdout.write(f"same label: {same} of {len(rows)} sets ({same / len(rows):.1%})\n")


if __name__ == "__main__":
    main()
