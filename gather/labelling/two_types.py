"""Whether a list of genes mixes two cell types, as markers of a doublet or of a merged cluster do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gather.labelling.annotator import NEAR
from gather.labelling.decide import Labeller, supported
from gather.labelling.plain_words import TWO_TYPES
from gather.ontology import Ontology
from gather.retrieval.query import query_genes
from gather.retrieval.scores import Retriever

if TYPE_CHECKING:
    from gather.annotation import Annotation

FAINT = 0.1
"""A gene that adds less to the best type, relative to the one that adds most, may speak for another lineage."""
LEAST_FOR_A_SECOND = 2
"""So many genes may show a second cell type in a list."""


@dataclass(frozen=True, slots=True)
class Voice:
    """Genes of a list, and the cell type that they alone speak for."""

    genes: tuple[str, ...]
    label: str
    curie: str

    def __str__(self) -> str:
        return f"{', '.join(self.genes)}: {self.label} ({self.curie})"


def in_words(voices: Sequence[Voice]) -> str:
    """Name two cell types that a list may mix, with their genes; empty where there are none."""
    return f"{TWO_TYPES}{'; '.join(map(str, voices))}" if voices else ""


def two_types(retriever: Retriever, answer: Annotation, names: Sequence[str]) -> tuple[Voice, ...]:
    """Part known genes by what they add to the answer's best type; the types of both parts if their lineages differ.

    `names` are those of the answer's evidence. Empty where the list is of one type.
    """
    if not answer.evidence or not answer.evidence[0].genes:
        return ()
    adds = {gene.name_in_file: gene.contribution for gene in answer.evidence[0].genes}
    rest = [name for name in names if adds.get(name, 0.0) < FAINT * max(adds.values())]
    second = _voice(retriever, rest)
    if second is None:
        return ()
    first = _voice(retriever, [name for name in names if name not in rest])
    if answer.curie:
        genes = first.genes if first else tuple(n for n in names if n not in rest)
        first = Voice(genes, answer.label, answer.curie)
    return (first, second) if first and _apart(Ontology.of_cells(retriever.graph), first, second) else ()


def _apart(ontology: Ontology, one: Voice, other: Voice) -> bool:
    """Whether two types are of different lineages; where a lineage is unknown, whether they are no kin."""
    i, j = ontology.position(one.curie), ontology.position(other.curie)
    lineages = ontology.lineage(i), ontology.lineage(j)
    if all(lineages):
        return lineages[0] != lineages[1]
    return ontology.relation(i, j) == "other" and ontology.lin(i, j) < NEAR


def _voice(retriever: Retriever, genes: Sequence[str]) -> Voice | None:
    """Return the best type of these genes alone, and those that speak for it; None where it would be no name.

    Where genes of a third type keep it from being one, those that speak for it are asked alone.
    """
    if len(genes) < LEAST_FOR_A_SECOND:
        return None
    asked = query_genes(retriever.graph, genes, keep_technical=True)
    labeller = Labeller(Ontology.of_cells(retriever.graph))
    found = labeller.decide(retriever.converge([asked])[0], retriever.support(asked))
    best = next(iter(found.candidates), None)
    if best is None or best.n_genes < LEAST_FOR_A_SECOND:
        return None
    column = np.searchsorted(retriever.nodes, retriever.graph.index(best.curie))
    weights = retriever.matrix[asked.genes][:, [column]].toarray().ravel()
    speak = tuple(np.array(asked.names)[weights > FAINT * weights.max()].tolist())
    sure = supported(best.fdr) and best.confidence >= labeller.calibration.threshold
    if not found.curie and not sure:  # two genes are no name, however sure
        return _voice(retriever, speak) if LEAST_FOR_A_SECOND < len(speak) < len(genes) else None
    label, curie = (found.label, found.curie) if found.curie else (best.label, best.curie)
    return Voice(speak, label, curie)
