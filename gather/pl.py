"""Pictures of annotations, the scanpy way: each function draws with scanpy's own plots and returns what they return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from gather.cells.expression import chosen_values, normalise
from gather.cells.groups import texts_of
from gather.cells.results import Results, results
from gather.labelling.decide import UNKNOWN
from vckg.base.errors import InputError
from vckg.base.extras import require_extra

if TYPE_CHECKING:
    import anndata as ad

    from gather.annotation import GeneSupport

__all__ = ["confidence", "evidence_dotplot"]


def evidence_dotplot(
    adata: ad.AnnData, groupby: str, *, n_genes: int = 3, key: str = "gather", **settings: Any
) -> Any:
    """Draw, for each label, the genes that speak most for it, as a dot plot over the cell sets.

    The values are those that were annotated, log-normalised.

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
    view = _annotated_values(adata, adata.uns[key]["parameters"])
    genes = supporting_genes(answers, n_genes, set(view.var_names))
    if not genes:
        raise InputError(f"uns[{key!r}] holds no supporting gene that the file measures")
    drawn = [name for names in genes.values() for name in names]
    symbols = {g.name_in_file: shown_name(g) for a in answers for e in a.evidence for g in e.genes}
    if len({symbols[name] for name in drawn}) < len(drawn):  # two ids of one symbol
        symbols = dict(zip(drawn, drawn, strict=True))
    shown = view[:, drawn].copy()
    shown.var_names = [symbols[name] for name in drawn]
    sets = texts_of(adata.obs[groupby])
    order = [a.cell_set for a in answers if a.cell_set in set(sets)]
    shown.obs[groupby] = pd.Categorical(sets, categories=order)
    shown = shown[shown.obs[groupby].notna().to_numpy()]  # scanpy cannot draw groups without cells
    markers = {label: [symbols[name] for name in names] for label, names in genes.items()}
    return sc.pl.dotplot(shown, markers, groupby=groupby, **settings)


def _annotated_values(adata: ad.AnnData, parameters: Mapping[str, Any]) -> ad.AnnData:
    """Return the log-normalised values that were annotated, under the gene names that were read, each name once."""
    import anndata as ad

    layer = str(parameters["values"])
    place, rows, counts = chosen_values(adata, layer.removeprefix("layers/") if "/" in layer else None)
    column = parameters["gene_names"]  # of var, where that and not the index gave the names
    names = place.var[column] if column in place.var else place.var.index.to_series()
    values = rows.block(0, adata.n_obs)
    once = (~names.duplicated(keep=False)).to_numpy()  # scanpy draws no name that occurs twice
    matrix = (normalise(values) if counts else values)[:, once]
    obs = pd.DataFrame(index=adata.obs_names.astype(str))
    return ad.AnnData(matrix, obs=obs, var=pd.DataFrame(index=names[once].astype(str)))


def shown_name(gene: GeneSupport) -> str:
    """Return the file's name of a gene, its symbol where that name is an id."""
    is_id = gene.name_in_file.upper().startswith(("ENS", "HGNC:", "MGI:"))
    return gene.symbol if is_id else gene.name_in_file


def confidence(adata: ad.AnnData, *, basis: str = "umap", key: str = "gather", **settings: Any) -> Any:
    """Draw labels and their confidence side by side over an embedding; mixed sets have both names and their own colour.

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
            f"no embedding {basis!r} in obsm; found {found}; scanpy makes one of log-normalised values: "
            "sc.pp.pca, sc.pp.neighbors, sc.tl.umap"
        )
    adata = _with_mixed_sets(adata, key)
    settings.setdefault(
        "wspace", 0.2 + 0.02 * max(map(len, adata.obs[columns[0]].astype(str).unique()), default=0)
    )
    return sc.pl.embedding(adata, basis=basis, color=columns, **settings)


def _with_mixed_sets(adata: ad.AnnData, key: str) -> ad.AnnData:
    """Return the cells with both names where their set is mixed; the AnnData itself where none is."""
    import anndata as ad
    from scanpy.plotting.palettes import default_102

    name, mixture = f"{key}_cell_type", f"{key}_mixture"
    both = adata.obs[mixture].astype(str) if mixture in adata.obs else pd.Series("", index=adata.obs_names)
    mixed = ~both.isin(["", "nan"])
    if not mixed.any():
        return adata
    labels = adata.obs[name].astype(str).mask(mixed, "mixed: " + both)
    shown = ad.AnnData(
        obs=adata.obs.assign(**{name: pd.Categorical(labels)}), obsm=dict(adata.obsm), obsp=dict(adata.obsp)
    )
    named = pd.Categorical(adata.obs[name]).categories.astype(str)
    before = dict(zip(named, adata.uns.get(f"{name}_colors", ()), strict=False)) | {UNKNOWN: "lightgrey"}
    free = iter(colour for colour in default_102 if colour not in before.values())
    categories = shown.obs[name].cat.categories
    shown.uns[f"{name}_colors"] = [before.get(label) or next(free, "grey") for label in categories]
    return shown


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
