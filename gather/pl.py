"""Pictures of annotations, the scanpy way: each function draws with scanpy's own plots and returns what they return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gather.cells.results import Results, results
from vckg.base.errors import InputError
from vckg.base.extras import require_extra

if TYPE_CHECKING:
    import anndata as ad

__all__ = ["confidence", "evidence_dotplot"]


def evidence_dotplot(
    adata: ad.AnnData, groupby: str, *, n_genes: int = 3, key: str = "gather", **settings: Any
) -> Any:
    """Draw, for each label, the genes that speak most for it, as a dot plot over the cell sets.

    Parameters
    ----------
    adata
        An AnnData that `gather.annotate` has annotated.
    groupby
        The column of ``obs`` that was annotated.
    n_genes
        Genes a label, by their share of its score.
    key
        The entry of ``uns`` that holds the annotation.
    settings
        Passed to `scanpy.pl.dotplot`, e.g. ``show=False`` or ``return_fig=True``.

    Raises
    ------
    InputError
        `groupby` is no column, or no supporting gene is among the plotted values.
    """
    require_extra("leiden", "gather.pl", "scanpy")
    import scanpy as sc

    if groupby not in adata.obs:
        if key in adata.uns:
            results(adata, key)  # of single cells it says where their answers stand
        raise InputError(f"no column {groupby!r} in obs; name the column that was annotated")
    answers = results(adata, key)
    var = adata.var if adata.raw is None else adata.raw.var
    column = adata.uns[key]["parameters"]["gene_names"]  # of var, where that and not the index gave the names
    names = var.get(column, var.index)
    if column in var:
        settings.setdefault("gene_symbols", column)
    measured = set(names[~names.duplicated(keep=False)].astype(str))  # scanpy draws no name that stands twice
    genes = supporting_genes(answers, n_genes, measured)
    if not genes:
        raise InputError(f"uns[{key!r}] holds no supporting gene that the file measures")
    grouped = adata[adata.obs[groupby].notna().to_numpy()]  # scanpy cannot draw groups without cells
    return sc.pl.dotplot(grouped, genes, groupby=groupby, **settings)


def confidence(adata: ad.AnnData, *, basis: str = "umap", key: str = "gather", **settings: Any) -> Any:
    """Draw labels and their confidence side by side over an embedding.

    Parameters
    ----------
    adata
        An AnnData that `gather.annotate` has annotated.
    basis
        The embedding: ``obsm[f"X_{basis}"]``.
    key
        Prefix of the columns of ``obs``.
    settings
        Passed to `scanpy.pl.embedding`.

    Raises
    ------
    InputError
        The columns or the embedding are missing.
    """
    require_extra("leiden", "gather.pl", "scanpy")
    import scanpy as sc

    columns = [f"{key}_cell_type", f"{key}_confidence"]
    missing = [name for name in columns if name not in adata.obs]
    if missing:
        raise InputError(f"no column {missing[0]!r} in obs; run gather.annotate(adata, ...) first")
    if f"X_{basis}" not in adata.obsm and basis not in adata.obsm:
        found = ", ".join(map(str, adata.obsm)) or "none"
        raise InputError(
            f"no embedding {basis!r} in obsm; found {found}; scanpy makes one: sc.pp.pca, sc.pp.neighbors, sc.tl.umap"
        )
    settings.setdefault(
        "wspace", 0.2 + 0.02 * max(map(len, adata.obs[columns[0]].astype(str).unique()), default=0)
    )
    return sc.pl.embedding(adata, basis=basis, color=columns, **settings)


def supporting_genes(answers: Results, n_genes: int, measured: set[str]) -> dict[str, list[str]]:
    """Return for each label the measured genes that contribute most to its score, best first, each gene once.

    The genes are those of the label's evidence, or, for a label that was backed off, of its best candidate.
    """
    genes_of: dict[str, list[str]] = {}
    drawn: set[str] = set()
    for annotation in answers:
        item = annotation.item(annotation.curie) or next(iter(annotation.evidence), None)
        if item is None or not annotation.curie:
            continue
        ranked = sorted(item.genes, key=lambda gene: (-gene.contribution, gene.rank))
        names = [g.name_in_file for g in ranked if g.name_in_file in measured and g.name_in_file not in drawn]
        genes = genes_of.setdefault(annotation.label, [])
        genes += names[: max(n_genes - len(genes), 0)]
        drawn.update(genes)
    return {label: genes for label, genes in genes_of.items() if genes}
