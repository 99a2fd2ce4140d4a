"""Cell sets in, annotations out: retrieval, label, evidence, contradictions and coverage, in one place.

Knows nothing of files; `gather.cells.adata` and `gather.cells.per_cell` bring the cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gather.annotation import (
    OTHERWISE,
    Annotation,
    Contradiction,
    ContradictionKind,
    CoverageWarning,
    EvidenceItem,
)
from gather.labelling.decide import Decision, Labeller, calibration_with, default_calibration
from gather.ontology import Ontology
from gather.retrieval.edges import edges_between
from gather.retrieval.query import DEFAULT_TOP, CellSet, GeneQuery, Panel, make_query
from gather.retrieval.scores import Convergence, Retriever
from gather.retrieval.unknown_names import is_id
from gather.retrieval.walks import evidence_items

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

HYPER_ENTITIES = ("BiologicalProcess", "Pathway", "AnatomicalEntity", "Disease", "Regulon")
SHOWN_EVIDENCE = 5
SHOWN_CONVERGENCE = 3
SHOWN_WARNINGS = 5
SHOWN_CONTRADICTIONS = 8
SHOWN_SILENT = 3
"""Names in the remark on candidates that no measured gene speaks for."""
DEFINING_MARKERS = 5
COMPETITORS = 5
NEAR = 0.5
"""Least similarity to the answer of a competitor that a coverage warning may speak of."""
ABSENT, PRESENT = 0.05, 0.25
"""A marker in a smaller share of a set's cells is absent, one in a greater share is present."""
AMBIENT = 0.5
"""A gene in a smaller share of a set's cells than this part of the greatest share of any set may be ambient RNA."""
_RELATIONS = ("is_marker_for", "is_negative_marker_for")
_MIN_RESOURCES, _USUAL = 2, 3
"""Resources that attest a marker, and a usual one: CellMatch largely repeats CellMarker, so two may be one."""


@dataclass(frozen=True)
class Parameters:
    """What decides an annotation, besides the graph and the cells; written with every result."""

    score: str = "calibrated"
    hops: int = 2
    top: int = DEFAULT_TOP
    threshold: float = field(default_factory=lambda: default_calibration().threshold)
    exclude_source: tuple[str, ...] = ()
    hyper_entities: tuple[str, ...] = HYPER_ENTITIES
    evidence: int = SHOWN_EVIDENCE


class Annotator:
    """Annotates the cell sets of one file.

    Parameters
    ----------
    graph
        Where the evidence is.
    panel
        The genes the file measured.
    candidates
        Graph nodes the answer must come from; None for the whole Cell branch (an open set).
    preferred
        Graph nodes that are likelier beforehand, such as the types of a tissue.
    contrast
        Whether the cell sets' genes are ranked against other cells of the file. Those of its only cell set are
        not: they are the ones detected most, and p is that of measured genes drawn alike, not as often as the
        file detects them.
    """

    def __init__(
        self,
        graph: Graph,
        panel: Panel,
        parameters: Parameters | None = None,
        *,
        candidates: Iterable[int] | None = None,
        preferred: Iterable[int] | None = None,
        contrast: bool = True,
    ) -> None:
        self.graph, self.panel = graph, panel
        self._null_panel = panel if contrast else replace(panel, detected=None)
        self.parameters = parameters or Parameters()
        self.closed = candidates is not None
        self.retriever = self._retriever("Cell", self.parameters.score, candidates, preferred)
        self.ontology = Ontology.of_cells(graph)
        calibration = calibration_with(self.parameters.threshold)
        self.labeller = Labeller(self.ontology, calibration, back_off=not self.closed)

    def _retriever(
        self,
        target: str,
        score: str,
        candidates: Iterable[int] | None = None,
        preferred: Iterable[int] | None = None,
    ) -> Retriever:
        return Retriever(
            self.graph,
            target=target,
            score=score,
            hops=self.parameters.hops,
            panel=self._null_panel,
            candidates=candidates,
            preferred=preferred,
            exclude=self.parameters.exclude_source,
        )

    @cached_property
    def _hyper(self) -> tuple[Retriever, ...]:
        made = (self._retriever(target, "calibrated") for target in self.parameters.hyper_entities)
        return tuple(retriever for retriever in made if len(retriever.nodes))

    def annotate(self, cell_sets: Sequence[CellSet]) -> list[Annotation]:
        """Annotate cell sets, in order."""
        return [self.annotate_one(cell_set) for cell_set in cell_sets]

    def annotate_one(self, cell_set: CellSet) -> Annotation:
        """Annotate one cell set, with all its evidence."""
        query, convergence, decision = self.decide(cell_set)
        evidence, hyper = self._evidence(convergence, decision)
        return Annotation(
            cell_set=cell_set.name,
            n_cells=cell_set.n_cells,
            status=decision.status,
            label=decision.label,
            curie=decision.curie,
            confidence=decision.confidence,
            fdr=decision.fdr,
            reason=decision.reason,
            candidates=decision.candidates,
            evidence=evidence,
            convergence=hyper,
            contradictions=self._contradictions(decision, cell_set),
            coverage=self._coverage(decision),
            query_genes=self._symbols(query),
            ambiguous_genes=query.ambiguous,
            ungrounded_genes=query.ungrounded,
            closed=self.closed,
            score=self.parameters.score,
            note="; ".join(filter(None, (_note(query), self.silence, self._otherwise(cell_set, decision)))),
            standings=decision.standings,
        )

    def decide(self, cell_set: CellSet, *, preferred: bool = True) -> tuple[GeneQuery, Convergence, Decision]:
        """Return the query of one cell set, what its genes say of every candidate, and the label; no evidence."""
        query = make_query(self.panel, cell_set, top=self.parameters.top)
        convergence = self.retriever.converge([query])[0]
        if not preferred:
            even, apart = 1 / self.retriever.preference, convergence.separation
            apart = None if apart is None else apart * even
            convergence = replace(convergence, score=convergence.score * even, separation=apart)
        cells = None if cell_set.detected is None or cell_set.profile else cell_set.n_cells
        decision = self.labeller.decide(convergence, self.retriever.support(query), cells=cells)
        return query, convergence, decision

    def _otherwise(self, cell_set: CellSet, decision: Decision) -> str:
        """Note the label that the set would have if no types were preferred; empty where it is the same."""
        if (self.retriever.preference == 1).all():
            return ""
        plain = self.decide(cell_set, preferred=False)[2]
        return f"{OTHERWISE}{plain.label}" * (plain.curie != decision.curie)

    def _symbols(self, query: GeneQuery) -> tuple[str, ...]:
        """The query's genes as the file names them; an id gives way to the symbol that the graph has for it."""
        pairs = zip(query.names, query.genes.tolist(), strict=True)
        return tuple(self.graph.names[node] if is_id(name) else name for name, node in pairs)

    @cached_property
    def silence(self) -> str:
        """What to say of candidates that no measured gene speaks for; empty where there are none."""
        silent = self.retriever.silent
        if not len(silent):
            return ""
        total = len(np.union1d(self.retriever.nodes, silent))
        names = ", ".join(self.graph.names[i] for i in silent[:SHOWN_SILENT].tolist())
        more = ", ..." if len(silent) > SHOWN_SILENT else ""
        return f"no measured gene speaks for {len(silent)} of {total} candidates: {names}{more}"

    def _evidence(
        self, convergence: Convergence, decision: Decision
    ) -> tuple[tuple[EvidenceItem, ...], tuple[EvidenceItem, ...]]:
        """Evidence for the best candidates, and the hyper-entities, numbered E1, E2, ... through both."""
        shown = [self.graph.index(c.curie) for c in decision.candidates[: self.parameters.evidence]]
        items = evidence_items(self.retriever, convergence, np.searchsorted(convergence.nodes, shown))
        hyper: list[EvidenceItem] = []
        for retriever in self._hyper if len(convergence.query) else ():
            found = retriever.converge([convergence.query])[0]
            first = len(items) + len(hyper) + 1
            hyper += evidence_items(retriever, found, found.best(SHOWN_CONVERGENCE), first=first, walks=3)
        return items, tuple(hyper)

    # ---- what speaks against -------------------------------------------------------------------------------

    def markers(self, curie: str, least: int = _MIN_RESOURCES) -> list[int]:
        """Genes that define a type by themselves (graph nodes), by descending weight, attested by `least` resources."""
        weights = self.retriever.weights
        column = weights.column_of.get(self.graph.index(curie))
        if column is None:
            return []
        direct, resources = self._by_column
        span = slice(int(direct.indptr[column]), int(direct.indptr[column + 1]))
        genes, weight = direct.indices[span], direct.data[span]
        order = np.lexsort((genes, -weight))
        kept: list[int] = genes[order[resources.data[span][order] >= least]].tolist()
        return kept

    @cached_property
    def _by_column(self) -> tuple[Any, Any]:
        made = (self.retriever.weights.direct.tocsc(), self.retriever.weights.resources.tocsc())
        for matrix in made:
            matrix.sort_indices()
        return made

    @cached_property
    def panel_column(self) -> dict[int, int]:
        """Column of the file that measures each gene node."""
        return {int(node): column for column, node in enumerate(self.panel.nodes) if node >= 0}

    def _expected(self, decision: Decision) -> list[int]:
        """The first markers of the answer that no kind of it has more: CD8A marks some T cells, not each.

        Few edges lead to the general term of an answer that was backed off, and a slip of a source weighs much. No
        other type at all may have its markers more: those of lymphatic vessels that stand below "lymphocyte".
        """
        node, weights = self.graph.index(decision.curie), self.retriever.weights
        genes = self.markers(decision.curie)[: 2 * DEFINING_MARKERS]
        line = np.isin(weights.nodes, [node, *self.graph.ancestors(node)])
        others = np.isin(weights.nodes, self.graph.descendants(node)) if decision.status == "named" else ~line
        direct = weights.direct[genes].toarray()
        own, other = (direct[:, these].max(axis=1, initial=0.0) for these in (line, others))
        return [gene for gene, kept in zip(genes, own >= other, strict=True) if kept]

    def _contradictions(self, decision: Decision, cell_set: CellSet) -> tuple[Contradiction, ...]:
        """Expected markers that are measured and absent, and negative markers that are present.

        A gene that no set of the file has in more than `PRESENT` of its cells is lost to sparse reads rather than
        absent; it is no objection. Nor is one that another set has in far more cells: it leaked from there.
        A gene that some sources call a marker and others a negative one is no objection: it is ``disputed``.
        """
        if not decision.curie or cell_set.detected is None or self.panel.detected is None:
            return ()
        node = self.graph.index(decision.curie)
        negative = self.graph.in_edges(node, "is_negative_marker_for")
        questions: list[tuple[int, ContradictionKind]] = [
            (gene, "expected_absent") for gene in self._expected(decision)
        ]
        questions += [(int(g), "negative_present") for g in np.unique(self.graph.subject[negative])]
        found = []
        for gene, kind in questions:
            column = self.panel_column.get(gene)
            if column is None:
                continue
            inside, overall = float(cell_set.detected[column]), float(self.panel.detected[column])
            seen = float((self.panel.detected if cell_set.most is None else cell_set.most)[column])
            absent = kind == "expected_absent" and inside < ABSENT and seen >= PRESENT
            present = kind == "negative_present" and inside > max(PRESENT, overall, AMBIENT * seen)
            if not absent and not present:
                continue
            edges, others = (
                edges_between(
                    self.graph, gene, node, exclude=self.parameters.exclude_source, relations=(relation,)
                )
                for relation in (_RELATIONS if absent else _RELATIONS[::-1])
            )
            if absent and others:
                continue  # sources disagree whether it is expected
            names = decision.curie, self.graph.ids[gene], self.graph.names[gene]
            shown: ContradictionKind = "disputed" if others else kind
            found.append(Contradiction(*names, shown, inside, overall, (*edges, *others)))
        return tuple(found[:SHOWN_CONTRADICTIONS])

    def missing(self, curie: str, *, answered: bool) -> CoverageWarning | None:
        """Return which usual markers of a type the file lacks, where these are most of them; else None.

        `answered` says whether the type, or a kind of it, is the answer all the same.
        """
        least = min(_USUAL, len({*self.graph.underlying}))
        markers = self.markers(curie, least)[:DEFINING_MARKERS]
        symbols = tuple(self.graph.names[gene] for gene in markers if gene not in self.panel_column)
        if len(markers) < 3 or 2 * len(symbols) <= len(markers):
            return None
        label = self.graph.names[self.graph.index(curie)]
        means = "the call rests on its other markers" if answered else f"{label} is hard to tell"
        message = f"{', '.join(symbols)} not measured: {means}"
        return CoverageWarning(curie, label, symbols, len(symbols), len(markers), message)

    def _coverage(self, decision: Decision) -> tuple[CoverageWarning, ...]:
        """The answer and its competitors, those whose usual markers the file lacks."""
        near = self._near(decision) if decision.candidates else []
        found = (self.missing(curie, answered=curie == decision.curie) for curie in near)
        return tuple(warning for warning in found if warning)[:SHOWN_WARNINGS]

    def _near(self, decision: Decision) -> list[str]:
        """The answer and the first `COMPETITORS` like it (Lin at least `NEAR`) and not above it; each once.

        Only what competes can change the answer: that a pancreas file lacks the markers of kidney says nothing. A
        macrophage is a myeloid cell, whatever was measured.
        """
        answer = decision.curie or decision.candidates[0].curie
        i, o = self.ontology.position(answer), self.ontology
        like = [
            c for c in (c.curie for c in decision.candidates[:COMPETITORS]) if o.lin(i, o.position(c)) >= NEAR
        ]
        return [answer, *(c for c in like if o.relation(o.position(c), i) not in ("exact", "ancestor"))]


def _note(query: GeneQuery) -> str:
    passed = (
        ("ambiguous", query.ambiguous),
        ("unknown to the graph", query.ungrounded),
        ("technical", query.technical),
    )
    said = [f"{len(names)} {reason}" for reason, names in passed if names]
    return f"genes asked: {len(query)}" + (f"; passed over: {', '.join(said)}" if said else "")
