"""One cell set weighed against any cell types: our answer, and the standing, FDR and markers of each asked type."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from gather.annotation import Annotation, EvidenceItem
from gather.checking.opinion import LabelRelation, Marker, MarkerState
from gather.labelling.annotator import ABSENT, NEAR, PRESENT, Annotator
from gather.labelling.decide import LEAST_CELLS, second_stage
from gather.ontology import Ontology
from gather.retrieval.query import CellSet, make_query
from gather.retrieval.walks import evidence_items

SHOWN_MARKERS = 10
Floats = npt.NDArray[np.float64]


class Weighed:
    """One cell set with our answer; a cell type is weighed by the best candidate that is it or a kind of it."""

    def __init__(self, annotator: Annotator, cell_set: CellSet) -> None:
        self.annotator, self.cell_set = annotator, cell_set
        self.answer: Annotation = annotator.annotate_one(cell_set)
        query = make_query(annotator.panel, cell_set, top=annotator.parameters.top)
        self._found = annotator.retriever.converge([query])[0]
        self._positions = annotator.labeller.positions(self._found)
        self._confidence = annotator.labeller.confidences(self._found, annotator.retriever.support(query))

    @property
    def too_few(self) -> bool:
        """Whether the set has so few cells that it is never named; a mean profile stands for many."""
        one = self.cell_set
        return one.detected is not None and not one.profile and one.n_cells < LEAST_CELLS

    @cached_property
    def _standings(self) -> Floats:
        """Of every candidate, relative to the best: by the score and by all measured genes (`second_stage`)."""
        standing, reached = np.zeros(len(self._found.nodes)), np.flatnonzero(self._found.score > 0)
        if len(reached):
            separation = self._found.separation
            both = second_stage(
                self._found.score[reached],
                None if separation is None else separation[reached],
                self.annotator.labeller.separation,
            )
            standing[reached] = both / both.max()
        return standing

    def _inside(self, curie: str) -> npt.NDArray[np.bool_]:
        """Mark the candidates that are a type or a kind of it, bool[candidates].

        Where the graph knows a marker of none of them, a parent with such candidates stands for the type: nothing
        tells the two apart.
        """
        ontology = self.annotator.ontology
        level, seen = [ontology.position(curie)], set[int]()
        while level:
            inside = np.any([ontology.at_or_below(i)[self._positions] for i in level], axis=0)
            if inside.any():
                return np.asarray(inside)
            seen.update(level)
            level = sorted({parent for i in level for parent in ontology.parents(i)} - seen)
        return np.zeros(len(self._positions), np.bool_)

    def standing(self, curie: str) -> float:
        """Return how a type stands against the best supported one: 1 at best, 0 where nothing speaks for it.

        Both count the query genes' score and what all measured genes say against the file's other sets.
        """
        return float(self._standings[self._inside(curie)].max(initial=0.0))

    def figures(self, curie: str) -> dict[str, Any]:
        """Return ``standing``, ``score``, ``rank``, ``p``, ``fdr`` and ``confidence`` of a type."""
        inside, found = self._inside(curie), self._found
        standing = self.standing(curie)
        return {
            "standing": standing,
            "score": float(found.score[inside].max(initial=0.0)),
            "rank": int((self._standings > standing).sum()) + 1 if standing > 0 else 0,
            "p": float(found.p[inside].min(initial=1.0)),
            "fdr": float(found.fdr[inside].min(initial=1.0)),
            "confidence": float(self._confidence[self.annotator.ontology.position(curie)]),
        }

    def evidence(self, curie: str) -> EvidenceItem | None:
        """Return genes and walks of the best candidate that is a type or a kind of it; None without any."""
        standings = np.where(self._inside(curie), self._standings, 0.0)
        if not standings.any():
            return None
        return evidence_items(self.annotator.retriever, self._found, [int(standings.argmax())])[0]

    def markers(self, curie: str) -> tuple[Marker, ...]:
        """Return the best attested markers of a type, each present, absent or not measured."""
        return tuple(self._marker(gene) for gene in self.annotator.markers(curie)[:SHOWN_MARKERS])

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


def all_absent(markers: tuple[Marker, ...]) -> bool:
    """Whether the set lacks every marker that was measured, three at least."""
    measured = [marker.state for marker in markers if marker.state not in ("not measured", "unknown")]
    return len(measured) >= 3 and set(measured) == {"absent"}


def coverage(
    weighed: Weighed, curie: str, markers: tuple[Marker, ...], relation: LabelRelation, rival: str = ""
) -> tuple[bool, str]:
    """Return whether the measured genes can tell a type, and a remark where its usual markers are missing.

    They can where our answer is the type or a kind of it. `rival` is our answer where the label is in conflict with it.
    """
    told = relation in ("same", "coarser")
    missing = weighed.annotator.missing(curie, answered=told)
    if missing is None:
        name = weighed.annotator.graph.names[weighed.annotator.graph.index(curie)]
        return True, "" if markers else f"the graph knows no marker of {name} that two resources attest"
    if rival:
        genes = f"{', '.join(missing.missing)} of {missing.label} are"
        return False, f"{genes} not measured; the measured genes speak for {rival}"
    return told, missing.message


def relation_to(ontology: Ontology, label: str, answer: str) -> LabelRelation:
    """Return the relation of a label's term to our answer's; either may be empty.

    Off our answer's line, terms of one lineage (`data/lineages.tsv`) are ``related``. Where one has no lineage, so are
    terms with a direct parent in common, or a Lin similarity of at least `NEAR`.
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
    if all(lineages):
        return "related" if lineages[0] == lineages[1] else "conflict"
    return "related" if found == "sibling" or ontology.lin(i, j) >= NEAR else "conflict"
