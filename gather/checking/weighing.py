"""One cell set weighed against any cell types: our answer, and the score, rank, FDR and markers of each asked type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gather.annotation import Annotation, EvidenceItem
from gather.checking.opinion import LabelRelation, Marker, MarkerState
from gather.labelling.annotator import ABSENT, DEFINING_MARKERS, NEAR, PRESENT, Annotator
from gather.ontology import Ontology
from gather.retrieval.query import CellSet, make_query
from gather.retrieval.walks import evidence_items

SHOWN_MARKERS = 10


@dataclass(frozen=True, slots=True)
class Weight:
    """The evidence for one cell type in one cell set; the fields are those of `gather.checking.opinion.LabelCheck`."""

    score: float
    rank: int
    p: float
    fdr: float
    support: float
    confidence: float
    markers: tuple[Marker, ...]
    decidable: bool
    coverage: str
    evidence: EvidenceItem | None

    def fields(self) -> dict[str, Any]:
        """Return the values by field name."""
        return {name: getattr(self, name) for name in self.__slots__}


class Weighed:
    """One cell set with our answer; `weight` weighs any cell type against it."""

    def __init__(self, annotator: Annotator, cell_set: CellSet) -> None:
        self.annotator, self.cell_set = annotator, cell_set
        self.answer: Annotation = annotator.annotate_one(cell_set)
        query = make_query(annotator.panel, cell_set, top=annotator.parameters.top)
        self._convergence = annotator.retriever.converge([query])[0]
        labeller = annotator.labeller
        self._order = labeller.best(self._convergence, len(self._convergence.nodes))
        self._positions = labeller.positions(self._convergence)
        self._confidence = labeller.confidences(self._convergence, annotator.retriever.support(query))

    def weight(self, curie: str) -> Weight:
        """Weigh one cell type: by the best candidate that is it or a kind of it."""
        ontology, found = self.annotator.ontology, self._convergence
        term = ontology.position(curie)
        at_or_below = ontology.at_or_below(term)[self._positions]
        ranked = np.flatnonzero(at_or_below[self._order])
        markers, decidable, coverage = self._markers(curie)
        fdr = float(found.fdr[at_or_below].min(initial=1.0))
        if not len(ranked):
            return Weight(0.0, 0, 1.0, fdr, 0.0, 0.0, markers, decidable, coverage, None)
        best = self._order[ranked[0]]
        highest = float(found.score.max())
        return Weight(
            score=float(found.score[at_or_below].max()),
            rank=int(ranked[0]) + 1,
            p=float(found.p[at_or_below].min()),
            fdr=fdr,
            support=float(found.score[at_or_below].max()) / highest,
            confidence=float(self._confidence[term]),
            markers=markers,
            decidable=decidable,
            coverage=coverage,
            evidence=evidence_items(self.annotator.retriever, found, [best])[0],
        )

    def _markers(self, curie: str) -> tuple[tuple[Marker, ...], bool, str]:
        """The markers of a type, whether the measured ones can tell it, and a remark where they cannot."""
        graph = self.annotator.graph
        genes = self.annotator.markers(curie)
        markers = tuple(self._marker(gene) for gene in genes[:SHOWN_MARKERS])
        defining = markers[:DEFINING_MARKERS]
        missing = [m.symbol for m in defining if m.state == "not measured"]
        name = graph.names[graph.index(curie)]
        if not genes:
            return (), True, f"the graph knows no marker of {name} attested by two resources"
        if len(defining) < 3 or 2 * len(missing) <= len(defining):
            return markers, True, ""
        return markers, False, f"{', '.join(missing)} not measured: these genes cannot tell {name}"

    def _marker(self, gene: int) -> Marker:
        graph, panel = self.annotator.graph, self.annotator.panel
        curie, symbol = graph.ids[gene], graph.names[gene]
        column = self.annotator.panel_column.get(gene)
        if column is None:
            return Marker(curie, symbol, "not measured")
        if self.cell_set.detected is None or panel.detected is None:
            return Marker(curie, symbol, "unknown")
        inside, overall = float(self.cell_set.detected[column]), float(panel.detected[column])
        state: MarkerState = "present" if inside >= PRESENT else "absent" if inside < ABSENT else "weak"
        return Marker(curie, symbol, state, inside, overall)


def relation_to(ontology: Ontology, label: str, answer: str) -> LabelRelation:
    """Return the relation of a label's term to our answer's; either may be empty.

    Off our answer's line, terms of one lineage (`data/lineages.tsv`) or with a direct parent in common are ``related``.
    Where one has no lineage, Lin's similarity of at least `NEAR` makes them so.
    """
    if not label:
        return "not grounded"
    if not answer:
        return "no answer"
    i, j = ontology.position(label), ontology.position(answer)
    line: dict[str, LabelRelation] = {"exact": "same", "descendant": "finer", "ancestor": "coarser"}
    found = ontology.relation(i, j)
    if found in line:
        return line[found]
    lineages = ontology.lineage(i), ontology.lineage(j)
    near = lineages[0] == lineages[1] if all(lineages) else ontology.lin(i, j) >= NEAR
    return "related" if near or found == "sibling" else "conflict"
