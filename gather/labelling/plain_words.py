"""An annotation in the words of a table: how certain the label is, why, what speaks against it, why there is none."""

from __future__ import annotations

import math

from gather.annotation import Annotation, EvidenceItem, GeneSupport, sources_in_words
from gather.labelling.decide import FEW_CELLS, FEW_CELLS_FDR, LEAST_CELLS, LEAST_GENES, supported
from vckg.base.words import counted

HIGH, MEDIUM = 0.9, 0.7
"""Least confidence that is called high, and medium; an answer below is low."""

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


def best_evidence(annotation: Annotation, top: int = 3) -> list[str]:
    """Return the `top` best direct walks to the label in words.

    For a label that was backed off, those to the best candidate. Where no direct walk is among those kept, the genes
    that contribute most to the score.
    """
    item = annotation.item(annotation.curie) or (annotation.evidence[0] if annotation.evidence else None)
    if item is None:
        return []
    disputed = {c.symbol for c in annotation.contradictions if c.kind == "disputed"}
    direct = [walk for walk in item.walks if walk.hops == 1][:top]
    if not direct:
        genes = sorted(item.genes, key=lambda gene: (-gene.contribution, gene.rank))
        return [gene.symbol for gene in genes[:top]]
    return [
        f"{walk.names[0]} ({sources_in_words(walk.steps[0])}, "
        f"{counted(sum(e.n_publications for e in walk.steps[0]), 'paper')}"
        f"{'; disputed' if walk.names[0] in disputed else ''})"
        for walk in direct
    ]


def direct_genes(item: EvidenceItem) -> list[GeneSupport]:
    """Return the genes with an edge of their own to the node that add to its score, the greatest share first."""
    direct = [gene for gene in item.genes if 1 in gene.hops and gene.contribution > 0]
    return sorted(direct, key=lambda gene: (-gene.contribution, gene.rank))


def objections(annotation: Annotation, top: int = 3) -> list[str]:
    """Return what speaks against the label: absent and unexpected markers, then markers that were not measured.

    A gene of which sources disagree stands among the evidence, as disputed.
    """
    words = [
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
        loudest = sorted(item.genes, key=lambda gene: (-gene.contribution, gene.rank)) if item else []
        names = ", ".join(gene.symbol for gene in loudest[: best.n_genes])
        some = f"{counted(best.n_genes, 'gene')} of {len(annotation.query_genes)}"
        speak = "speaks" if best.n_genes == 1 else "speak"
        return f"{some} {speak} for the best, {best.label}{f': {names}' * bool(names)}; a name needs {LEAST_GENES}"
    if annotation.reason == "chance":
        needed = f"; a set of fewer than {FEW_CELLS} cells needs {FEW_CELLS_FDR:g}" * supported(
            annotation.fdr
        )
        return f"{genes}: cannot tell {best.label} from chance (FDR {annotation.fdr:.2g}{needed})"
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
    """Two digits of a confidence below the threshold, which never read as if it were reached."""
    return f"{math.floor(100 * confidence) / 100:.2f}"
