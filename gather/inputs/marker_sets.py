"""Cell sets that come as ranked genes, without cells: named like any other, with the same outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gather.inputs.marker_tables import MarkerTable
from gather.inputs.text import open_text
from gather.retrieval.query import CellSet, Panel, contrasts, ground_panel, make_query
from gather.retrieval.unknown_names import unknown_in_words
from gather.species import HUMAN, detect, graph_for, ground, in_words
from vckg.base.errors import InputError

if TYPE_CHECKING:
    import anndata as ad

    from gather.annotation import Annotation
    from gather.cells.adata import Outcome
    from gather.cells.options import Options
    from gather.labelling.annotator import Annotator
    from vckg.graph.graph import Graph

LEAST_KNOWN = 3
MOST_FOR_TWO_TYPES = 15
"""Lists of at most so many known genes, as people write them, are asked whether they are of two cell types."""
NO_FDR = "which genes were measured is unknown: no FDR"


def measured_genes(path: Path) -> tuple[str, ...]:
    """Read the names of the measured genes: the first field of every line."""
    with open_text(path) as file:
        names = [line.split("\t")[0].split(",")[0].strip().strip('"') for line in file]
    kept = tuple(dict.fromkeys(name for name in names if name))
    if not kept:
        raise InputError(f"{path}: names no gene; give one gene a line")
    return kept


def as_anndata(table: MarkerTable) -> ad.AnnData:
    """Return the table as an AnnData: one obs a cluster, one var a gene, X what the genes are ranked by (or 1/rank)."""
    import anndata as ad
    import pandas as pd
    import scipy.sparse as sp

    names = list(table.genes)
    genes = list(dict.fromkeys(gene for ranked in table.genes.values() for gene in ranked))
    column = {gene: i for i, gene in enumerate(genes)}
    matrix = sp.lil_matrix((len(names), len(genes)), dtype=np.float32)
    for row, name in enumerate(names):
        strengths = table.strengths.get(name) or tuple(1.0 / (r + 1) for r in range(len(table.genes[name])))
        for gene, strength in zip(table.genes[name], strengths, strict=True):
            matrix[row, column[gene]] = strength
    index = pd.Index([str(name) for name in names])
    return ad.AnnData(
        matrix.tocsr(), obs=pd.DataFrame({"cluster": index}, index=index), var=pd.DataFrame(index=genes)
    )


@dataclass(frozen=True)
class MarkerWork:
    """Works a table out as `gather.cells.adata.work_out` works cells out.

    Attributes
    ----------
    table
        The ranked genes.
    measured
        The measured genes, where a file of them was given; they replace those that the table states.
    """

    table: MarkerTable
    measured: tuple[str, ...] | None = None

    def __call__(
        self,
        adata: ad.AnnData,
        graph: Graph,
        options: Options,
        *,
        relabel: Callable[[tuple[Annotation, ...]], tuple[Annotation, ...]] = tuple,
        done: Callable[[float], None] = lambda _steps: None,
    ) -> Outcome:
        """Return the answers; the obs of `adata` are the clusters of the table."""
        from gather.cells.adata import Outcome, check_key, describe, obs_columns, summary
        from gather.cells.choice import choice_of
        from gather.labelling.annotator import Annotator

        check_key(adata, options.key_added)
        parameters = options.parameters()
        told = detect(list(self.listed), wanted=options.species)
        choice = choice_of(graph, options, None, species=told.species)
        seen = graph_for(graph, told.species)
        panel, source, known = self.panel(seen, told.species)
        annotator = Annotator(
            seen,
            panel,
            parameters,
            candidates=choice.allowed,
            preferred=choice.preferred,
            contrast=known and panel.detected is not None,
        )
        answers = []
        for one in self.cell_sets(panel):
            answers.append(_asking(annotator, one))
            done(1)
        annotations = relabel(tuple(answers))
        if not known:
            annotations = tuple(without_fdr(a) for a in annotations)
        about: dict[str, Any] = describe(options, choice) | {
            "groupby": "clusters of the table",
            "ranking": self.table.used or "order of the table",
            "values": self.table.form,
            "gene_names": "table",
            "measured_genes": source,
            "species": in_words(told, seen, self.of_table(panel)),
            "unknown_genes": unknown_in_words(self.of_table(panel), seen),
        }
        groups = np.array(list(self.table.genes), dtype=object)
        columns = {f"{options.key_added}_{k}": v for k, v in obs_columns(annotations, groups).items()}
        kept_entry = summary(annotations, graph, parameters, about)
        return Outcome(annotations, columns, kept_entry, np.arange(len(groups), dtype=np.int32))

    def cell_sets(self, panel: Panel) -> list[CellSet]:
        """Return the clusters as ranked genes; equals by CURIE, as the genes of cells are.

        The fractions of cells that express each gene stand for its mean expression in the contrast of the clusters,
        and say which markers a cluster lacks; nothing is known of genes that no cluster lists.
        """
        fractions = self.table.fractions
        inside = None if fractions is None else fractions.reindex(list(panel.names))
        most = None if inside is None else inside.max(axis=1).to_numpy(dtype=np.float64)
        node = dict(zip(panel.names, panel.nodes.tolist(), strict=True))
        contrast = self._contrast(panel)
        sets = []
        for name, genes in self.table.genes.items():
            kept = tuple(dict.fromkeys(genes))
            strengths = self.table.strengths.get(name, ()) if len(kept) == len(genes) else ()
            if strengths:
                order = np.lexsort(([node[gene] for gene in kept], -np.array(strengths)))
                kept, strengths = tuple(kept[i] for i in order), tuple(strengths[i] for i in order)
            found = None
            if inside is not None and name in inside:
                found = inside[name].to_numpy(dtype=np.float64)
            sets.append(
                CellSet(
                    name, kept, 1, strengths, found, contrast.get(name), profile=found is not None, most=most
                )
            )
        return sets

    def _contrast(self, panel: Panel) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """Return how each gene of the panel stands out in each cluster; 0 for genes that no cluster lists."""
        fractions = self.table.fractions
        if fractions is None or fractions.shape[1] < 2:
            return {}
        known = fractions.reindex(list(panel.names)).fillna(0.0)
        found = contrasts(known.to_numpy().T)
        return {} if found is None else dict(zip(map(str, known.columns), found, strict=True))

    @property
    def listed(self) -> tuple[str, ...]:
        """The genes of all clusters, each once."""
        return tuple(dict.fromkeys(gene for genes in self.table.genes.values() for gene in genes))

    def panel(self, graph: Graph, species: str = HUMAN) -> tuple[Panel, str, bool]:
        """Return the measured genes on the graph of their species, where they come from, and whether that is known.

        Raises
        ------
        InputError
            The graph knows almost none of the table's genes.
        """
        listed = self.listed
        given = self.measured if self.measured is not None else self.table.background
        known_names = set(listed)
        others = [n for n in (_symbols(graph) if given is None else given) if n not in known_names]
        names = (*listed, *others)
        grounded = ground(graph, listed, species)
        grounded += graph.genes.ground(others) if given is None else ground(graph, others, species)
        panel = ground_panel(graph, names, detected=self.detected(names), grounded=grounded)
        known = int((panel.nodes[: len(listed)] >= 0).sum())
        if known < min(LEAST_KNOWN, len(listed)):
            raise InputError(
                f"known genes of the table: {known} of {len(listed)} ({', '.join(listed[:3])}, ...); give "
                f"{species} symbols or Ensembl ids in the gene column"
            )
        if self.measured is not None:
            return panel, "--measured", True
        return panel, "unknown" if given is None else "table", given is not None

    def of_table(self, panel: Panel) -> Panel:
        """Return the genes that the table lists, which come first in the panel."""
        n, listed = len(self.listed), set(self.listed)
        unknown, technical, ambiguous = (
            tuple(name for name in names if name in listed)
            for names in (panel.ungrounded, panel.technical, panel.ambiguous)
        )
        return replace(panel, names=panel.names[:n], nodes=panel.nodes[:n], detected=None,
                       ungrounded=unknown, technical=technical, ambiguous=ambiguous)  # fmt: skip

    def detected(self, names: tuple[str, ...]) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """Return about which fraction of cells express each gene, float64; the table's median where it lists it not."""
        if self.table.fractions is None:
            return None
        known = self.table.fractions.mean(axis=1)
        return known.reindex(list(names)).fillna(float(known.median())).to_numpy(dtype=np.float64)


def _asking(annotator: Annotator, cell_set: CellSet) -> Annotation:
    """Annotate ranked genes; the note asks where a short list seems to be of two cell types."""
    from gather.labelling.two_types import in_words, two_types

    answer = annotator.annotate_one(cell_set)
    names = make_query(annotator.panel, cell_set, top=annotator.parameters.top).names
    if len(names) > MOST_FOR_TWO_TYPES:
        return answer
    asks = in_words(two_types(annotator.retriever, answer, names)).replace(";", " and")
    return replace(answer, note="; ".join(filter(None, (answer.note, asks))))


def _symbols(graph: Graph) -> list[str]:
    return [graph.names[int(node)] for node in graph.nodes_of("Gene")]


def without_fdr(annotation: Annotation) -> Annotation:
    """Return the answer without p-values and FDR: they would say how unusual the genes are among unknown others."""
    nan = float("nan")
    return replace(
        annotation,
        fdr=nan,
        candidates=tuple(replace(c, p=nan, fdr=nan) for c in annotation.candidates),
        evidence=tuple(replace(e, p=nan, fdr=nan) for e in annotation.evidence),
        convergence=tuple(replace(e, p=nan, fdr=nan) for e in annotation.convergence),
        standings=tuple(replace(s, fdr=nan) for s in annotation.standings),
        note="; ".join(filter(None, (annotation.note, NO_FDR))),
    )
