"""What is answered: a label with its evidence. JSON, h5ad tables, terminal and page all show these types.

Annotation                      one cell set's answer
├── candidates: Candidate       the best cell types, with score, p, FDR and confidence
├── evidence: EvidenceItem      for each shown candidate: supporting genes and best walks
│   ├── genes: GeneSupport
│   └── walks: Walk             nodes, and for each step every parallel edge (EdgeRef) with its provenance
├── convergence: EvidenceItem   hyper-entities: nodes of other categories where the query genes meet
├── contradictions: Contradiction
├── coverage: CoverageWarning
├── mixture: Mixture            the two lineages of a set of doublets or a merged cluster
└── states: State               cycling, interferon, ...: in addition to the type, never instead of it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from vckg.base.words import counted, with_release

Status = Literal["named", "backed_off", "mixed", "unknown", "ungrounded"]
Reason = Literal[
    "", "no_marker", "few_cells", "few_genes", "chance", "unsure", "two_lineages", "no_gene", "no_group"
]
"""Why there is no answer; empty where there is one."""
DecidedBy = Literal["retrieval", "llm", "fallback"]
ContradictionKind = Literal["expected_absent", "negative_present", "disputed"]

OTHERWISE = "without the tissue: "
"""Begins the part of a note that says which label a set would have, had no tissue been named."""
FORMAT = "gather-annotation"
FORMAT_VERSION = 3


@dataclass(frozen=True, slots=True)
class EdgeRef:
    """One edge of the graph, with where it comes from.

    `subject` and `object` are CURIEs as the graph stores the edge; a walk may cross it backwards.
    `publications` holds the first ten of `n_publications`. `orthologue` names the gene of another species that the
    source speaks of, and the kind of orthology; it is empty where the source speaks of the gene itself.
    """

    subject: str
    subject_name: str
    relation: str
    predicate: str
    object: str
    object_name: str
    source: str
    source_title: str
    release: str
    licence: str
    publications: tuple[str, ...]
    evidence_count: int
    knowledge_level: str
    agent_type: str
    sign: int
    tissues: tuple[str, ...] = ()
    n_publications: int = 0
    orthologue: str = ""

    @property
    def cited_source(self) -> str:
        """Title and release of the source."""
        return with_release(self.source_title or self.source, self.release)


def sources_in_words(step: Sequence[EdgeRef]) -> str:
    """Count the sources of parallel edges, those that speak of an orthologue apart.

    E.g. ``3 sources``; for a gene of mouse ``3 mouse and 5 human sources``, the latter of its orthologue.
    """
    native = {edge.source for edge in step if not edge.orthologue}
    borrowed = {edge.source for edge in step if edge.orthologue} - native
    of_mouse = any(curie.startswith("MGI:") for edge in step for curie in (edge.subject, edge.object))
    kinds = [(len(native), " mouse" * of_mouse), (len(borrowed), " human" if of_mouse else " orthologue's")]
    shown = [(n, kind) for n, kind in kinds if n] or kinds[:1]
    last = shown[-1][0]
    return f"{' and '.join(f'{n}{kind}' for n, kind in shown)} source{'s' * (last != 1)}"


@dataclass(frozen=True, slots=True)
class Walk:
    """One walk from a query gene to a node; `steps[i]` are all edges between nodes i and i + 1, best first.

    `weight` is the gene's rank weight times the evidence weight of the edge that speaks for the node, or, inherited,
    for a node above it (what the walk brings to the default score). Of a longer walk it is the rank weight times the
    product of the steps' degree-damped weights (Hetionet's path-degree product): one through a hub weighs little.
    """

    gene: str
    nodes: tuple[str, ...]
    names: tuple[str, ...]
    steps: tuple[tuple[EdgeRef, ...], ...]
    weight: float

    @property
    def hops(self) -> int:
        """Number of steps."""
        return len(self.steps)


@dataclass(frozen=True, slots=True)
class GeneSupport:
    """A query gene that reaches the node: its rank (from 0), its weight, and its share of the score."""

    curie: str
    symbol: str
    name_in_file: str
    rank: int
    weight: float
    contribution: float
    hops: tuple[int, ...]


@dataclass(frozen=True, slots=True, repr=False)
class EvidenceItem:
    """Why query genes converge on a node. `id` is unique within its annotation ("E1", "E2", ...)."""

    id: str
    curie: str
    name: str
    category: str
    description: str
    score: float
    p: float
    fdr: float
    n_genes: int
    genes: tuple[GeneSupport, ...]
    walks: tuple[Walk, ...]

    def __repr__(self) -> str:
        return (
            f"EvidenceItem({self.id!r}: {self.name} ({self.curie}), score {self.score:.3g}, FDR {self.fdr:.1g}, "
            f"{counted(self.n_genes, 'gene')}, {counted(len(self.walks), 'walk')})"
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cell type in the running.

    `confidence` is the calibrated chance that the label is right: the truth itself, or a term above or
    below it. It never falls along is_a: a term is at least as sure as each kind of it.
    """

    rank: int
    curie: str
    label: str
    score: float
    p: float
    fdr: float
    confidence: float
    n_genes: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Confidence and false discovery rate of a term at or above a shown candidate, for a later decision.

    `confidence` as of `Candidate`; `fdr` is the least of the term and its kinds.
    """

    curie: str
    confidence: float
    fdr: float


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A measured gene against `curie`: an expected marker that is absent, or a negative one that is there.

    A gene that is there and that sources call a marker and a negative marker of `curie` is ``disputed``.
    """

    curie: str
    gene: str
    symbol: str
    kind: ContradictionKind
    fraction_in_set: float
    fraction_in_file: float
    edges: tuple[EdgeRef, ...]


@dataclass(frozen=True, slots=True)
class CoverageWarning:
    """Markers of a cell type that the file never measured: with too few left it is not decidable."""

    curie: str
    label: str
    missing: tuple[str, ...]
    n_missing: int
    n_markers: int
    message: str


@dataclass(frozen=True, slots=True)
class Mixture:
    """The two types, of unrelated lineages, that a set of doublets or a merged cluster is made of.

    Of doublets these are answers of two other sets of the file. `share` is the fraction of the cells that express both,
    `expected` what independence gives over the file's sets. Of a merged cluster (`merged`) they are the answers of its
    two groups of cells, the greater first, and `share` is the fraction of the smaller. `fdr` is the greater of the
    false discovery rates of the two answers.
    """

    curies: tuple[str, str]
    labels: tuple[str, str]
    share: float
    expected: float
    fdr: float
    merged: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """What the cells of a set are doing, against the file's other sets; never what they are.

    `genes` are the symbols of the state's measured genes. `fraction_in_set` and `fraction_in_file` are the mean
    fractions of cells that express them.
    """

    name: str
    present: bool
    p: float
    fdr: float
    fraction_in_set: float
    fraction_in_file: float
    genes: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Annotation:
    """The answer for one cell set.

    `status` is ``named`` (the best candidate passed), ``backed_off`` (an ancestor of the competitors), ``mixed`` (two
    unrelated lineages, in the same cells or in two groups of them), ``unknown`` (nothing passed) or ``ungrounded`` (no
    gene of the set is in the graph). `label` is ``unknown``, `curie` empty and `confidence` 0 for the last three, and
    `reason` says why; `best` is the refused candidate. `closed` says whether the candidates were restricted. `reasons`
    are ids of evidence items an LLM named.
    """

    cell_set: str
    n_cells: int
    status: Status
    label: str
    curie: str
    confidence: float
    fdr: float
    candidates: tuple[Candidate, ...] = ()
    evidence: tuple[EvidenceItem, ...] = ()
    convergence: tuple[EvidenceItem, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()
    coverage: tuple[CoverageWarning, ...] = ()
    query_genes: tuple[str, ...] = ()
    ambiguous_genes: tuple[str, ...] = ()
    ungrounded_genes: tuple[str, ...] = ()
    closed: bool = False
    score: str = "calibrated"
    decided_by: DecidedBy = "retrieval"
    reasons: tuple[str, ...] = ()
    note: str = ""
    standings: tuple[Standing, ...] = ()
    reason: Reason = ""
    mixture: Mixture | None = None
    states: tuple[State, ...] = ()

    @property
    def best(self) -> Candidate | None:
        """The best candidate, whatever the status: in a closed set always one of the list that a gene speaks for."""
        return self.candidates[0] if self.candidates else None

    def mixed_of(self, mixture: Mixture) -> Annotation:
        """Return the answer ``mixed`` in place of a label; what spoke against the label goes with it."""
        return replace(
            self,
            status="mixed",
            label="unknown",
            curie="",
            confidence=0.0,
            reason="two_lineages",
            contradictions=(),
            note="; ".join(part for part in self.note.split("; ") if not part.startswith(OTHERWISE)),
            mixture=mixture,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, strings and numbers, ready for ``json.dumps``."""
        return {"format": FORMAT, "format_version": FORMAT_VERSION} | asdict(self)

    def __repr__(self) -> str:
        shown = f"{self.label} ({self.curie})" if self.curie else self.label
        return (
            f"Annotation({self.cell_set!r}: {shown}, {self.status}, confidence {self.confidence:.2f}, "
            f"FDR {self.fdr:.1g}, {counted(len(self.candidates), 'candidate')}, evidence: {len(self.evidence)})"
        )

    def standing(self, curie: str) -> Standing | None:
        """Return how a term stands; None where it is neither at nor above a shown candidate.

        Of an annotation that keeps no standings (written before there were any): the candidate's own figures.
        """
        known = self.standings or tuple(Standing(c.curie, c.confidence, c.fdr) for c in self.candidates)
        return next((s for s in known if s.curie == curie), None)

    def item(self, curie: str) -> EvidenceItem | None:
        """Return the evidence for a candidate or convergence node, or None where it was not kept."""
        return next((item for item in (*self.evidence, *self.convergence) if item.curie == curie), None)
