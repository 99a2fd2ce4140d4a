"""An annotation in the words of a table: how certain the label is, why, what speaks against it, why there is none."""

from __future__ import annotations

import math
from typing import NamedTuple

from gather.annotation import Annotation, EvidenceItem, GeneSupport, Walk, sources_in_words
from gather.labelling.decide import FEW_CELLS, FEW_CELLS_FDR, LEAST_CELLS, LEAST_GENES, MAX_FDR, supported
from gather.retrieval.scores import LEAST_VOICE
from gather.retrieval.unknown_names import is_renamed
from vckg.base.words import counted

HIGH, MEDIUM = 0.9, 0.7
"""Least confidence that is called high, and medium; an answer below is low."""

TWO_TYPES = "two cell types? "
"""Begins the remark on a list of genes that may mix two cell types."""
LEFT_OUT = "every known gene is of a family that is left out: housekeeping, ribosomal, mitochondrial"
"""Why a set has no answer whose known genes are all in `data/gene_families.tsv`."""


def certainty(annotation: Annotation) -> str:
    """Return ``high``, ``medium`` or ``low`` by the two digits that are shown; ``-`` where there is no answer."""
    if not annotation.curie:
        return "-"
    shown = round(annotation.confidence, 2)
    if shown >= HIGH:
        return "high"
    return "medium" if shown >= MEDIUM else "low"


class BestGene(NamedTuple):
    """A gene behind a label: its share of the score, what is known of it in words, and whether sources disagree."""

    symbol: str
    share: float
    known: str
    disputed: bool

    def __str__(self) -> str:
        said = "; ".join(filter(None, (self.known, "disputed" * self.disputed)))
        return self.symbol + f" ({said})" * bool(said)


def best_evidence(annotation: Annotation, top: int = 3) -> list[str]:
    """Return the first of `best_genes` in words; none without a label."""
    return [str(gene) for gene in best_genes(annotation, top)] if annotation.curie else []


def best_genes(annotation: Annotation, top: int) -> list[BestGene]:
    """Return the genes that give a label most of its score, the greatest share first.

    Terminal, tables, tools and page all show these. Each adds at least `LEAST_VOICE` of what the loudest adds, and has
    an edge of its own to the type, unless no gene has. They speak for the best candidate where the label was backed off
    or is missing. The sources and papers are those of the gene's own edge. Where its walk was not kept, they are those
    of a more general type, which is named.
    """
    item = annotation.item(annotation.curie) or next(iter(annotation.evidence), None)
    if item is None:
        return []
    disputed = {c.symbol for c in annotation.contradictions if c.kind == "disputed"}
    walks: dict[str, Walk] = {}
    for walk in sorted(item.walks, key=lambda walk: walk.hops):
        if walk.hops == 1 or {edge.relation for edge in walk.steps[-1]} == {"subclass_of"}:
            walks.setdefault(walk.gene, walk)
    return [
        BestGene(gene.symbol, gene.contribution, _known(gene, walks.get(gene.curie)), gene.symbol in disputed)
        for gene in speaking(direct_genes(item) or by_share(item))[:top]
    ]


def _known(gene: GeneSupport, walk: Walk | None) -> str:
    """What the file calls a gene that has another symbol now, and the sources and papers of its walk."""
    said = [f"{gene.name_in_file} in the file"] if is_renamed(gene.name_in_file, gene.symbol) else []
    if walk is not None:
        papers = counted(sum(edge.n_publications for edge in walk.steps[0]), "paper")
        general = f" for {walk.names[1]}" * (walk.hops > 1)
        said.append(f"{sources_in_words(walk.steps[0])}, {papers}{general}")
    return "; ".join(said)


def by_share(item: EvidenceItem) -> list[GeneSupport]:
    """Return the genes that reach a node, the greatest share of its score first."""
    return sorted(item.genes, key=lambda gene: (-gene.contribution, gene.rank))


def direct_genes(item: EvidenceItem) -> list[GeneSupport]:
    """Return the genes with an edge of their own to the node that add to its score, the greatest share first."""
    return [gene for gene in by_share(item) if 1 in gene.hops and gene.contribution > 0]


def speaking(genes: list[GeneSupport]) -> list[GeneSupport]:
    """Return the genes, best first, whose share counts next to the best one's (`LEAST_VOICE`)."""
    return [gene for gene in genes if gene.contribution >= LEAST_VOICE * genes[0].contribution]


def objections(annotation: Annotation, top: int = 3) -> list[str]:
    """Return what speaks against the label: a second type in the list, absent and unexpected markers, unmeasured ones.

    Terminal, tables, tools and page all show these. A gene of which sources disagree is no objection: it is marked
    among the evidence, as disputed.
    """
    words = [part for part in annotation.note.split("; ") if part.startswith(TWO_TYPES)]
    words += [
        f"{c.symbol} {'absent' if c.kind == 'expected_absent' else 'present'} ({c.fraction_in_set:.0%} of cells)"
        for c in annotation.contradictions
        if c.kind != "disputed"
    ]
    for warning in annotation.coverage:
        if warning.curie == annotation.curie:
            words.append(f"{', '.join(warning.missing)} not measured")
    return words[:top]


def status_reason(annotation: Annotation) -> str:
    """Return the status and, where the answer is general or missing, the reason."""
    best, mixture = annotation.best, annotation.mixture
    genes = counted(len(annotation.query_genes), "gene")
    if annotation.status == "named":
        return "named"
    if annotation.status == "backed_off":
        finer = f": {best.label} has confidence {_rounded_down(best.confidence)}" if best else ""
        return f"backed off{finer}"
    if annotation.status == "ungrounded":
        return LEFT_OUT if " technical" in annotation.note else "no gene is known"
    if best is None:
        return f"no cell type has one of {genes} as a marker"
    if mixture is not None:
        if mixture.merged:
            return f"mixed: two groups of cells, the second {mixture.share:.0%} of them; cluster finer"
        return f"mixed: {mixture.share:.0%} of cells express markers of both"
    if annotation.reason == "few_cells":
        return f"{counted(annotation.n_cells, 'cell')}: a name needs {LEAST_CELLS}; best is {best.label}"
    if annotation.reason == "few_genes":
        item = annotation.item(best.curie)
        names = ", ".join(gene.symbol for gene in by_share(item)[: best.n_genes]) if item else ""
        some = f"{counted(best.n_genes, 'gene')} of {len(annotation.query_genes)}"
        speak = "speaks" if best.n_genes == 1 else "speak"
        return f"{some} {speak} for the best, {best.label}{f': {names}' * bool(names)}; a name needs {LEAST_GENES}"
    if annotation.reason == "chance":
        few = supported(annotation.fdr)
        needed = f"{FEW_CELLS_FDR:g} below {FEW_CELLS} cells" if few else f"{MAX_FDR:g}"
        return (
            f"{genes}: cannot tell {best.label} from chance (FDR {annotation.fdr:.2g}; a name needs {needed})"
        )
    return f"not sure enough: best is {best.label} with {_rounded_down(best.confidence)}"


def answer(annotation: Annotation) -> str:
    """Return the label with its id; of a mixed set both names; in a closed set without an answer the best of it."""
    if annotation.curie:
        return f"{annotation.label} ({annotation.curie})"
    if annotation.mixture is not None:
        return " + ".join(annotation.mixture.labels)
    if annotation.closed and annotation.best is not None:
        return f"{annotation.label}; best of the list: {annotation.best.label} ({annotation.best.curie})"
    return annotation.label


def _rounded_down(confidence: float) -> str:
    """Three digits of a confidence below the threshold, which never read as if it were reached; tables round to two."""
    return f"{math.floor(1000 * confidence + 1e-6) / 1000:.3f}"
