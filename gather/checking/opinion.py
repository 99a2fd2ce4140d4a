"""What a check answers: an opinion on every label of every cell set. JSON, tables, terminal and page show these types.

CheckResult                     all cell sets of one file
├── mapping: MappedLabel        what each label means in the Cell Ontology
└── sets: SetCheck              one cell set
    ├── answer: Annotation      our own answer
    ├── labels: LabelCheck      one label column: the evidence for and against its label, and how it relates to ours
    │   └── markers: Marker     the markers that its cell type is known by
    └── consensus: Consensus    what a weighted majority of the columns supports, and who dissents
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pandas as pd

from gather.annotation import Annotation, EvidenceItem
from gather.labelling.frames import html_table
from vckg.base.errors import did_you_mean

LabelRelation = Literal["same", "finer", "coarser", "related", "conflict", "no answer", "not grounded"]
"""A label against our answer: ``finer`` below it in the ontology, ``coarser`` above it, ``related`` another kind of the
same lineage, ``conflict`` of another lineage (`gather.checking.weighing.relation_to`)."""
Reason = Literal[
    "conflict",
    "weak conflict",
    "other kind",
    "too fine",
    "not supported",
    "mixed",
    "not grounded",
    "few cells",
]
"""Why a label is to be reviewed: it conflicts with our answer (weakly: genes speak for both), is another kind of the
same lineage, is finer than the evidence supports, lacks evidence where we have no answer, is one of a mixture, has no
term, or would be here for one of these and has too few cells to tell."""
MarkerState = Literal["present", "weak", "absent", "not measured", "unknown"]

CLUSTER = "cluster"
"""How a column of numbers or of letters such as *A*, *B*, *C* is read (`gather.retrieval.cell_names`)."""
SETTLED = ("mapping", "no_type", CLUSTER)
"""Ways in which a label has no term and needs none: the user's table, a word for unnamed cells, a cluster's name."""
FORMAT = "gather-check"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class MappedLabel:
    """What a label means in the Cell Ontology.

    `how` is the kind of name that decided (``label``, ``exact_synonym``, ...), ``tool_label``, ``word_order`` or
    ``without_state`` (`gather.retrieval.cell_names`), ``mapping`` where the user's table did, ``ambiguous`` or
    ``unknown``, ``no_type`` for a label such as *Doublets*, and ``cluster`` for a cluster's name. Without a term
    `curie` and `name` are empty.
    `suggestions` and `suggested_names` are terms that an ambiguous or misspelt label may mean.
    """

    label: str
    curie: str
    name: str
    how: str
    suggestions: tuple[str, ...] = ()
    suggested_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Marker:
    """A gene that a cell type is known by.

    ``present`` in at least a quarter of the set's cells, ``absent`` in less than one of twenty, ``weak`` between;
    ``unknown`` where the file does not say. The fractions are of the cells of the set and of the file.
    """

    gene: str
    symbol: str
    state: MarkerState
    fraction_in_set: float | None = None
    fraction_in_file: float | None = None


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """Our opinion on the label that one column gives one cell set.

    Attributes
    ----------
    label, share
        The commonest of the set's labels, and the share of its labelled cells that have it, another name of its type,
        or a type above or below that.
    others
        The commonest labels of the other cells, and the share of each.
    mapped
        What the label means.
    standing
        Of the label's type against the best supported one, 0 to 1 (`gather.checking.weighing.Weighed.standing`).
    score, rank, p, fdr
        The best of the candidates that are the label's type or a kind of it; rank counts from 1 by standing, 0 where
        no measured gene speaks for any.
    confidence
        Calibrated chance that the label is right: the truth, or a type above or below it.
    relation
        Of the label to our answer.
    markers
        Markers of the label's type, best attested first.
    decidable, coverage
        Whether the measured genes can tell, and what is missing where they cannot.
    worth
        How much a look is worth, 0 to 1 (`gather.checking.queue.worth`).
    reasons
        Why the label is in the review queue; empty where it is not.
    evidence
        Genes and walks that speak for the label; None where none do.
    """

    cell_set: str
    column: str
    label: str
    share: float
    n_cells: int
    mapped: MappedLabel
    relation: LabelRelation
    worth: float = 0.0
    reasons: tuple[Reason, ...] = ()
    standing: float = 0.0
    score: float = 0.0
    rank: int = 0
    p: float = 1.0
    fdr: float = 1.0
    confidence: float = 0.0
    markers: tuple[Marker, ...] = ()
    decidable: bool = True
    coverage: str = ""
    evidence: EvidenceItem | None = field(default=None, repr=False)
    others: tuple[tuple[str, float], ...] = ()

    def with_state(self, state: MarkerState) -> tuple[str, ...]:
        """Return the symbols of the markers in one state."""
        return tuple(m.symbol for m in self.markers if m.state == state)


@dataclass(frozen=True, slots=True)
class Dissent:
    """A column whose label is off the line of the consensus, and whether the evidence is on its side.

    `evidence` is ``theirs`` where the dissenting label is the better supported, ``consensus`` where the consensus is,
    ``open`` where neither is by far or one cannot be scored.
    """

    column: str
    label: str
    evidence: Literal["theirs", "consensus", "open"]


@dataclass(frozen=True, slots=True)
class Consensus:
    """The deepest cell type that more than half of the columns' weight supports.

    `curie` is empty where no type that says anything has a majority. `share` is the supporting weight over the weight
    of all grounded labels; `supporting` names the columns with the type or a kind of it, `dissents` those off its line.
    """

    curie: str
    name: str
    share: float
    supporting: tuple[str, ...] = ()
    dissents: tuple[Dissent, ...] = ()


@dataclass(frozen=True, slots=True)
class SetCheck:
    """One cell set: our answer, the opinion on each column's label, and the columns' consensus."""

    cell_set: str
    n_cells: int
    answer: Annotation = field(repr=False)
    labels: tuple[LabelCheck, ...]
    consensus: Consensus | None = None
    """None for a single column."""


@dataclass(frozen=True, repr=False)
class CheckResult:
    """Opinions on all labels of a file, in the order of its cell sets."""

    sets: tuple[SetCheck, ...]
    mapping: tuple[MappedLabel, ...]
    columns: tuple[str, ...]
    groupby: str
    graph: str
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def checks(self) -> tuple[LabelCheck, ...]:
        """Every label check, by cell set, then by column."""
        return tuple(check for one in self.sets for check in one.labels)

    @property
    def queue(self) -> tuple[LabelCheck, ...]:
        """The labels to review, the most worth a look first; ties by the number of cells, then by name."""
        return tuple(check for check in self.by_worth if check.reasons)

    @property
    def by_worth(self) -> tuple[LabelCheck, ...]:
        """Every label check in the order of the queue, whether it has a reason or not."""
        return tuple(
            sorted(self.checks, key=lambda c: (-round(c.worth, 9), -c.n_cells, c.cell_set, c.column))
        )

    def __repr__(self) -> str:
        sets = f"{len(self.sets)} cell set" + ("" if len(self.sets) == 1 else "s")
        return (
            f"gather.CheckResult: {sets}, labels of {', '.join(self.columns)}, {len(self.queue)} to review, "
            f"graph {self.graph[:8]}"
        )

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.table())

    def __len__(self) -> int:
        return len(self.sets)

    def __iter__(self) -> Iterator[SetCheck]:
        return iter(self.sets)

    def __getitem__(self, cell_set: object) -> SetCheck:
        """Return the check of a cell set."""
        for one in self.sets:
            if one.cell_set == str(cell_set):
                return one
        names = [one.cell_set for one in self.sets]
        raise KeyError(f"no cell set {str(cell_set)!r}{did_you_mean(str(cell_set), names)}")

    def table(self) -> pd.DataFrame:
        """Return one row a label, the most worth a look first."""
        answers = {one.cell_set: one.answer for one in self.sets}
        agreed = {one.cell_set: one.consensus for one in self.sets}
        rows = [_row(check, answers[check.cell_set], agreed[check.cell_set]) for check in self.by_worth]
        return pd.DataFrame(rows, columns=list(TABLE))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for ``json.dumps``; our answers as `Annotation.to_dict` gives them."""
        plain = asdict(self)
        for one, shown in zip(self.sets, plain["sets"], strict=True):
            shown["answer"] = one.answer.to_dict()
        queue = [{"cell_set": c.cell_set, "column": c.column, "worth": c.worth} for c in self.queue]
        return {"format": FORMAT, "format_version": FORMAT_VERSION} | plain | {"queue": queue}


TABLE = (
    "cell_set", "n_cells", "column", "label", "share", "cell_type", "cell_type_ontology_term_id", "grounded_by",
    "relation", "worth", "reasons", "standing", "score", "rank", "p", "fdr", "confidence", "markers_present",
    "markers_absent", "markers_not_measured", "coverage", "answer", "answer_ontology_term_id", "answer_confidence",
    "consensus", "consensus_ontology_term_id", "consensus_share",
)  # fmt: skip
"""Columns of `CheckResult.table`, of the TSV and of the CSV."""


def _row(check: LabelCheck, answer: Annotation, agreed: Consensus | None) -> tuple[Any, ...]:
    states = (", ".join(check.with_state(s)) for s in ("present", "absent", "not measured"))
    return (
        check.cell_set, check.n_cells, check.column, check.label, check.share, check.mapped.name, check.mapped.curie,
        check.mapped.how, check.relation, check.worth, ", ".join(check.reasons), check.standing, check.score,
        check.rank, check.p, check.fdr, check.confidence, *states, check.coverage, answer.label, answer.curie,
        answer.confidence, *(("", "", float("nan")) if agreed is None else (agreed.name, agreed.curie, agreed.share)),
    )  # fmt: skip
