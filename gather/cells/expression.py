"""AnnData as people have it, to what a query needs: gene names that ground, log-normalised expression,
ranked cell sets.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from gather.cells.options import Ranking
from gather.cells.row_blocks import Rows
from gather.cells.values import Place, Survey, choose, rows_of, survey_rows
from gather.retrieval.query import CellSet, Panel, compared, contrasts, ground_panel
from gather.species import HUMAN, Detected, declared_taxon, detect, graph_for, ground, in_words
from vckg.base.errors import InputError
from vckg.base.extras import require_extra
from vckg.base.words import counted, natural_order

if TYPE_CHECKING:
    import anndata as ad

    from vckg.graph.graph import Graph
    from vckg.graph.grounding import Grounded

Matrix = npt.NDArray[Any] | sp.csr_matrix | sp.csr_array | sp.csc_matrix | sp.csc_array
Ranked = tuple[tuple[str, ...], tuple[float, ...]]
"""Gene names and their strengths, best first."""

NAME_COLUMNS = (
    "feature_name", "gene_symbols", "gene_symbol", "gene_name", "gene_names", "symbol", "hgnc_symbol",
    "gene_ids", "gene_id", "ensembl_id", "ensembl", "feature_id", "hgnc_id",
)  # fmt: skip
MIN_GROUNDED = 5
RANKED_GENES = 400
"""Genes of a ranking that are kept: enough to fill a query after unknown and technical names."""
TARGET_SUM = 1e4
_MAX_LOG2FC = 5.0
_LEAST_MEAN = 1e-9
"""Added to both means of a fold change, as scanpy does."""
_ROUNDING = 1e-14
_BLOCK_ROWS = 10_000


@dataclass(frozen=True)
class Expression:
    """Log-normalised expression with grounded genes.

    Attributes
    ----------
    matrix
        ``log1p`` of counts per 10,000 (or what the file had in that form), [cells, genes]; dense or CSR.
    panel
        The measured genes.
    origin
        Where the values come from: ``X``, ``raw``, or ``layers/NAME``.
    names_from
        ``var_names`` or the column of ``var`` that grounded best.
    graph
        The graph of the file's species, whose nodes `panel` names.
    species
        The species of the genes, what tells it, and how its genes were mapped.
    """

    matrix: Matrix
    panel: Panel
    origin: str
    names_from: str
    graph: Graph
    species: str


def read_expression(
    adata: ad.AnnData, graph: Graph, *, layer: str | None = None, species: str = "auto"
) -> Expression:
    """Choose the values and the gene names of a file.

    Raises
    ------
    InputError
        No cells, no usable values (scaled X without raw), too few known genes, or genes of another species.
    """
    place, rows, counts = chosen_values(adata, layer)
    told = species_of(place.var, wanted=species, declared=declared_taxon(adata.obs, adata.uns))
    names_from, panel, graph = names_that_ground(graph, place.var, told)
    values = rows.block(0, adata.n_obs)
    matrix = normalise(values) if counts else values
    panel = Panel(
        panel.names, panel.nodes, detection(matrix), panel.ambiguous, panel.ungrounded, panel.technical
    )
    return Expression(matrix, panel, place.where, names_from, graph, in_words(told, graph, panel))


def chosen_values(adata: ad.AnnData, layer: str | None) -> tuple[Place, Rows, bool]:
    """Return the place of the values that are annotated, its rows, and whether they are counts.

    Raises
    ------
    InputError
        No cells or no usable values.
    """
    held: dict[str, Rows] = {}

    def survey(place: Place) -> Survey:
        held[place.where] = rows_of(place, adata.n_obs)
        return survey_rows(held[place.where])

    place, found = choose(adata, layer, survey)
    return place, held[place.where], found.counts


def normalise(counts: Matrix) -> Matrix:
    """Return ``log1p`` of counts per 10,000, rows of empty cells left at zero; float32."""
    rows = sp.csr_matrix(counts, dtype=np.float32)
    totals = np.asarray(rows.sum(axis=1)).ravel()
    scale = np.divide(TARGET_SUM, totals, out=np.zeros_like(totals), where=totals > 0)
    rows = sp.csr_matrix(sp.diags(scale) @ rows, dtype=np.float32)
    logged: Matrix = rows.log1p()
    return logged


def detection(matrix: Matrix) -> npt.NDArray[np.float64]:
    """Fraction of the rows in which each column is above zero, float64[columns]."""
    n = max(matrix.shape[0], 1)
    counts: Any = (matrix > 0).sum(axis=0)
    return np.asarray(np.asarray(counts).ravel() / n, dtype=np.float64)


def gene_names(var: Any) -> dict[str, list[str]]:
    """Return where `var` may hold gene names, and the names: its index, and columns of known names.

    "Gene Symbol" and "gene.symbol" are `gene_symbol`, too.
    """
    choices = {"var_names": [str(n) for n in var.index]}
    written = {re.sub(r"[\W_]+", "_", str(c)).strip("_").lower(): c for c in reversed(list(var.columns))}
    columns = [written[name] for name in NAME_COLUMNS if name in written]
    return choices | {str(c): ["" if v is None else str(v) for v in var[c]] for c in columns}


def other_names(var: Any) -> dict[str, list[str]]:
    """Return the texts of further columns of `var` that name most genes apart, by column."""
    seen = {*gene_names(var)}
    columns = [c for c in var.columns if str(c) not in seen and not pd.api.types.is_numeric_dtype(var[c])]
    distinct = [c for c in columns if 2 * var[c].astype(str).nunique() > len(var)]
    return {str(c): ["" if v is None else str(v) for v in var[c]] for c in distinct}


def species_of(var: Any, *, wanted: str = "auto", declared: str | None = None) -> Detected:
    """Return the species of the genes: told by the first names that tell one for sure, else by var_names."""
    found = []
    for names in (*gene_names(var).values(), *other_names(var).values()):
        found.append(detect(names, wanted=wanted, declared=declared))
        if found[-1].by != "its symbols":
            return found[-1]
    return found[0]


class Measured(NamedTuple):
    """The genes of a file in the graph of its species."""

    names_from: str
    panel: Panel
    graph: Graph


class _Read(NamedTuple):
    """Gene names of one place, and how many of them the graph knows."""

    grounded: list[Grounded]
    panel: Panel
    known: int

    @classmethod
    def of(cls, graph: Graph, names: Sequence[str], species: str) -> _Read:
        grounded = ground(graph, names, species)
        panel = ground_panel(graph, names, grounded=grounded)
        return cls(grounded, panel, panel.n_grounded + len(panel.technical))


def names_that_ground(graph: Graph, var: Any, told: Detected | None = None) -> Measured:
    """The names of `var` that ground best, its index or a known column, in the graph of the species.

    `told` is the species; it is detected where it is None. Where most of those names are unknown, the other columns of
    text are tried, too.
    """
    told = species_of(var) if told is None else told
    graph = graph_for(graph, told.species)
    choices = gene_names(var)
    read = {where: _Read.of(graph, names, told.species) for where, names in choices.items()}
    if 2 * max(one.known for one in read.values()) < len(var):
        choices |= other_names(var)
        read = {where: _Read.of(graph, names, told.species) for where, names in choices.items()}
    best = max(read, key=lambda where: (read[where].known, where == "var_names"))
    grounded, panel, _known = read[best]
    if _are_positions(choices[best]):
        raise InputError(
            f"{best} holds the numbers {choices[best][0]} to {choices[best][-1]} instead of gene names; give symbols "
            f"or Ensembl ids there, or in a column such as {NAME_COLUMNS[0]!r}"
        )
    if told.species == HUMAN and told.by != "--species":
        _refuse_other_species(grounded)
    if panel.n_grounded < MIN_GROUNDED and 0 < len(panel.names) <= 2 * panel.n_grounded:
        raise InputError(
            f"measures {counted(len(panel.names), 'gene')}; cells need {MIN_GROUNDED} known genes at least, and a "
            "table of markers a column of genes and one of clusters"
        )
    if panel.n_grounded < MIN_GROUNDED:
        shown = ", ".join(choices["var_names"][:3])
        raise InputError(
            f"{panel.n_grounded} of {len(panel.names)} gene names are known ({shown}, ...); give {told.species} gene "
            f"symbols{' or Ensembl ids' * (told.species == graph.species)} in var_names or in a column such as "
            f"{NAME_COLUMNS[0]!r}; where genes are the rows, transpose the table"
        )
    return Measured(best, panel, graph)


def _are_positions(names: Sequence[str]) -> bool:
    """Whether names only count the genes, from 0 or 1; some of the numbers would be ids of NCBI Gene."""
    return any(list(names) == [str(i) for i in range(first, first + len(names))] for first in (0, 1))


def _refuse_other_species(grounded: Sequence[Grounded]) -> None:
    named = [found for found in grounded if found.name]
    foreign = [f.name for f in named if f.name.startswith("ENS") and not f.name.startswith("ENSG")]
    if len(foreign) > 0.5 * max(len(named), 1):
        raise InputError(
            f"gene ids such as {foreign[0]!r} are not human; map them to human orthologues first"
        )
    by_case = [f.name for f in named if f.how == "case"]
    mouse_like = [n for n in by_case if n[:1].isupper() and n[1:] == n[1:].lower()]
    known = sum(f.how not in ("unknown", "ambiguous") for f in named)
    if len(mouse_like) > 0.5 * max(known, 1):
        raise InputError(
            f"gene symbols such as {mouse_like[0]!r} look like mouse; give --species mouse, or human ones"
        )


def rank_cell_sets(
    expression: Expression, groups: Sequence[str], *, ranking: Ranking = "specific"
) -> list[CellSet]:
    """Rank the genes of every group against all other cells.

    Parameters
    ----------
    groups
        Group of every cell; cells of the group "" (no group, or empty cells) take no part.
    ranking
        ``specific``: ``min(log2 fold change, 5) * fraction of the set's cells that express the gene``, among
        genes with a positive Welch t statistic; otherwise the name of a method of scanpy's
        ``rank_genes_groups``, ordered by its score.

    Returns
    -------
    list of CellSet
        In ascending order of group name, numbers by their value.
    """
    labels = np.asarray(groups, dtype=object)
    named = sorted({str(g) for g in labels if g != ""}, key=natural_order)
    sums = _group_sums(expression.matrix, labels, named)
    contrasted = np.flatnonzero(sums.n > 1).tolist() if len(named) > 1 else []
    if ranking in ("specific", "t-test"):
        ranked = {named[i]: _ranked_by_t(expression.panel, sums, i, ranking) for i in contrasted}
    else:
        ranked = _ranked_by_scanpy(expression, labels, [named[i] for i in contrasted], ranking)
    cell_sets = []
    profiles = len(named) == sums.n.sum() > 1
    for i, group in enumerate(named):
        if group not in ranked and profiles:
            ranked[group] = _ranked_profile(expression.panel, sums.means, i)
        elif group not in ranked:
            ranked[group] = _ranked_alone(expression.panel, sums.means[i])
        names, strengths = ranked[group]
        detected = sums.above[i] / sums.n[i]
        cell_sets.append(CellSet(group, names, int(sums.n[i]), strengths, detected, profile=profiles))
    cell_sets, contrast = compared(cell_sets), contrasts(sums.means)
    if contrast is None:
        return cell_sets
    return [replace(one, contrast=z) for one, z in zip(cell_sets, contrast, strict=True)]


@dataclass(frozen=True, eq=False)
class _GroupSums:
    """Sums over the cells of each group, float64[groups, genes].

    `n` are the cells of each group, float64[groups]; `above` counts the cells with a value above zero.
    """

    n: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]
    above: npt.NDArray[np.float64]

    @property
    def means(self) -> npt.NDArray[np.float64]:
        """Mean expression, float64[groups, genes]."""
        return self.values / self.n[:, None]


def _group_sums(matrix: Matrix, labels: npt.NDArray[Any], named: list[str]) -> _GroupSums:
    """Sum over blocks of rows, so that no second copy of the matrix is needed."""
    position = {group: i for i, group in enumerate(named)}
    rows = np.flatnonzero(labels != "")
    groups = np.array([position[str(g)] for g in labels[rows].tolist()], np.intp)
    members = sp.csc_array((np.ones(len(rows)), (groups, rows)), shape=(len(named), len(labels)))
    sums = np.zeros((3, len(named), matrix.shape[1]))
    is_sparse = sp.issparse(matrix)
    for low in range(0, len(labels), _BLOCK_ROWS):
        block: Any = matrix[low : low + _BLOCK_ROWS].astype(np.float64)
        squares: Any = block.power(2) if is_sparse else block * block
        inside: Any = members[:, low : low + _BLOCK_ROWS]
        for total, part in zip(sums, (block, squares, (block > 0).astype(np.float64)), strict=True):
            added: Any = inside @ part
            total += added.toarray() if is_sparse else np.asarray(added)
    return _GroupSums(np.bincount(groups, minlength=len(named)).astype(np.float64), *sums)


def _ranked_by_t(panel: Panel, sums: _GroupSums, group: int, ranking: Ranking) -> Ranked:
    """Rank the genes of one group against the cells of all others by Welch's t, as scanpy's ``t-test`` does."""
    columns = np.flatnonzero(panel.nodes >= 0)
    n, n_rest = sums.n[group], sums.n.sum() - sums.n[group]
    mean, variance = _moments(n, sums.values[group, columns], sums.squares[group, columns])
    rest, rest_variance = _moments(
        n_rest,
        sums.values[:, columns].sum(axis=0) - sums.values[group, columns],
        sums.squares[:, columns].sum(axis=0) - sums.squares[group, columns],
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # genes that do not vary: t is infinite or no number
        t = np.nan_to_num((mean - rest) / np.sqrt(variance / n + rest_variance / n_rest))
    if ranking == "t-test":
        return _best(panel, columns, t)
    fold = np.log2((np.expm1(mean) + _LEAST_MEAN) / (np.expm1(np.maximum(rest, 0.0)) + _LEAST_MEAN))
    fraction = sums.above[group, columns] / n
    return _best(panel, columns, np.where(t > 0, np.minimum(fold, _MAX_LOG2FC) * fraction, 0.0))


def _moments(
    n: float, values: npt.NDArray[np.float64], squares: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and unbiased variance from sums; a variance that rounding alone makes is 0."""
    mean = values / n
    variance = squares / n - mean**2
    variance[variance < _ROUNDING * squares / n] = 0.0
    return mean, variance * n / max(n - 1.0, 1.0)


def _ranked_by_scanpy(
    expression: Expression, labels: npt.NDArray[Any], groups: list[str], ranking: Ranking
) -> dict[str, Ranked]:
    require_extra("leiden", f"--ranking {ranking}", "scanpy")
    import anndata as ad
    import scanpy as sc

    inside = np.flatnonzero(labels != "")
    columns = np.flatnonzero(expression.panel.nodes >= 0)
    matrix = expression.matrix[inside][:, columns]
    obs = pd.DataFrame({"group": pd.Categorical(labels[inside].astype(str))}, index=inside.astype(str))
    view = ad.AnnData(X=matrix, obs=obs, var=pd.DataFrame(index=columns.astype(str)))
    view.uns["log1p"] = {"base": None}
    with warnings.catch_warnings():
        # scanpy divides by zero variances of genes that are nowhere expressed, and fragments its own frames
        warnings.simplefilter("ignore")
        sc.tl.rank_genes_groups(view, "group", groups=groups, reference="rest", method=ranking, use_raw=False)
    table = view.uns["rank_genes_groups"]
    result = {}
    for group in groups:
        order = np.array([int(n) for n in table["names"][group]])
        strength = np.nan_to_num(np.asarray(table["scores"][group], dtype=float))
        result[group] = _best(expression.panel, order, strength)
    return result


def _ranked_profile(panel: Panel, means: npt.NDArray[np.float64], group: int) -> Ranked:
    """Rank the genes of a profile (pseudobulk, microarray) by how far its logarithm is above the others' mean."""
    columns = np.flatnonzero(panel.nodes >= 0)
    others = (means.sum(axis=0) - means[group]) / (len(means) - 1)
    return _best(panel, columns, (means[group] - others)[columns])


def _ranked_alone(panel: Panel, mean: npt.NDArray[np.float64]) -> Ranked:
    """Rank without a contrast, one cell among others or the only group of a file: by mean expression."""
    order = np.flatnonzero(panel.nodes >= 0)
    return _best(panel, order, mean[order])


def _best(panel: Panel, columns: npt.NDArray[np.intp], strength: npt.NDArray[np.float64]) -> Ranked:
    """The strongest genes with positive strength; equals by CURIE, whatever the order of the file's columns."""
    order = np.lexsort((panel.nodes[columns], -strength))
    order = order[strength[order] > 0][:RANKED_GENES]
    return tuple(panel.names[int(columns[i])] for i in order), tuple(float(strength[i]) for i in order)
