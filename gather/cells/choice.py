"""Which cell types the options of a run allow and prefer."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from gather.cells.expression import species_of
from gather.retrieval.candidates import Choice, ground_cell_types, types_of_tissue
from gather.retrieval.tissue_names import tissue_node
from gather.species import HUMAN, declared_taxon, graph_for
from vckg.base.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

    from gather.cells.options import Options
    from vckg.graph.graph import Graph


def choice_of(
    graph: Graph, options: Options, adata: ad.AnnData | None, *, species: str | None = None
) -> Choice:
    """Return which cell types may be the answer, and which are preferred.

    A tissue's types are those of the species, which is told by the file where it is not given.
    """
    if options.tissue is None:
        return Choice(_allowed(graph, options, adata))
    if species is None and adata is not None:
        declared = declared_taxon(adata.obs, adata.uns)
        species = species_of(adata.var, wanted=options.species, declared=declared).species
    preferred = types_of_tissue(graph_for(graph, species or HUMAN), options.tissue)
    return Choice(_allowed(graph, options, adata), preferred, graph.ids[tissue_node(graph, options.tissue)])


def tissue_of_file(graph: Graph, obs: pd.DataFrame) -> tuple[str, str]:
    """Return the column that names one tissue, as CELLxGENE does, and its name in the graph; else empty texts."""
    for column in ("tissue_ontology_term_id", "tissue"):
        named = obs[column].dropna().astype(str).unique().tolist() if column in obs else []
        if len(named) == 1:
            with suppress(InputError):
                return column, graph.names[tissue_node(graph, named[0])]
    return "", ""


def _allowed(graph: Graph, options: Options, adata: ad.AnnData | None) -> list[int] | None:
    """Return the candidate nodes of at most one kind of restriction, None for an open set."""
    candidates, column = options.candidates, options.candidates_from_obs
    if candidates is not None and column is not None:
        raise InputError("give only one of --candidates and --candidates-from-obs")
    if candidates is not None:
        return ground_cell_types(graph, list(candidates), where="candidates")
    if column is not None and adata is not None:
        if column not in adata.obs:
            raise InputError(f"no column {column!r} in obs{did_you_mean(column, adata.obs.columns)}")
        names = sorted({str(v) for v in adata.obs[column].dropna().unique()})
        return ground_cell_types(graph, names, where=f"obs[{column!r}]")
    return None


def declared_terms(adata: ad.AnnData, graph: Graph, options: Options) -> list[tuple[str, str]] | None:
    """Return ids and names of the candidates of a closed run, None for an open one."""
    closed = _allowed(graph, options, adata)
    return None if closed is None else [(graph.ids[i], graph.names[i]) for i in closed]
