"""What enters the fresh set, and the count of what does not, by its reason.

A type enters where it is one of a known lineage, is not too general to be an answer, and can be told from the
genes that a sample shows by an oracle that sees reference profiles (`arena.datasets.oracle`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from arena.datasets.cell_files import Labelled
from arena.datasets.facts import markers_shown
from arena.datasets.lineages import CellTerms
from arena.datasets.virtual_cell import VirtualCell
from vckg.base.resources import table

TOO_GENERAL: Final = 200
"""A type with more kinds below it is no answer to a question about one cell."""
NEAR: Final = 0.7
"""Lin similarity from which two types are close kin."""
CANARY: Final = (
    "vckg-arena-fresh canary 5d1f7a52-6f0e-4a7b-9c55-2f4b7c1e8a90: keep these samples out of training data"
)
"""Stands in every sample's provenance and on every printed form."""

UNINFORMATIVE: Final = re.compile(
    r"MT-|M?RP[LS]\d|RPLP\d|RPSA$|IG[HKL][VDJ]\d|IGHGP|TR[ABDG][VDJ]\d", re.IGNORECASE
)
"""Mitochondrial and ribosomal genes: how high they are is the state and the quality of a cell, not its type. Segments
of antigen receptors: which one a cell shows is its clone.
"""

FILTERED = "file filtered to few genes, without housekeeping genes"
TWICE = "perturbation in another order of its names"
POWERLESS = "perturbed gene that nothing says regulates others"
DRIFT = "perturbation whose genes all move as under most others, or one way"
UNNAMED = "label without one sure type"
GENERAL = "no type of one lineage, or too general"
FEW = "fewer than 20 cells"
ALONE = "no second type in its file"
BLURRED = "not separable on the measured genes"
UNSEEN = "no profile of the type in another set"
NEARER = "another type's profile is nearer"
DOUBTED = "label that its genes contradict"
SPREAD = "real cells of the type differ as much as from other types"


@cache
def doubted() -> frozenset[tuple[str, str]]:
    """Return the sets and types of which a biologist who read the samples doubts the label."""
    return frozenset((row["set"], row["cl_id"]) for row in table("data", "arena", "doubted_labels.tsv"))


@dataclass
class Admission:
    """Decides what enters and counts what does not."""

    terms: CellTerms
    seed: int
    rejected: Counter[str] = field(default_factory=Counter)
    """Classes (a type of a set, or a label without a type) by the reason."""
    absent: dict[tuple[str, str], str] = field(default_factory=dict)
    """Reason by set and type of cells that no sample shows."""
    uninformative: Counter[str] = field(default_factory=Counter)
    """Genes of `UNINFORMATIVE` that were no markers of a type, by symbol."""
    oracle: dict[str, str] = field(default_factory=dict)
    """Cell Ontology id that the oracle names for each virtual cell, by id."""

    def reject(self, labelled: Labelled, cl_id: str, reason: str) -> None:
        """Count a type of a set of cells, and keep why no sample shows it."""
        self.rejected[reason] += 1
        self.absent[labelled.source.name, cl_id] = reason

    def is_type(self, cl_id: str) -> bool:
        """Tell whether a term is a type that one cell can be."""
        ontology = self.terms.ontology
        if cl_id not in ontology:
            return False
        at = ontology.position(cl_id)
        return ontology.lineage(at) is not None and int(ontology.n_descendants[at]) <= TOO_GENERAL

    def agree(self, one: str, other: str) -> bool:
        """Tell whether two terms are the same type, or one is a kind of the other."""
        ontology = self.terms.ontology
        a, b = ontology.position(one), ontology.position(other)
        return ontology.same(a, b) or bool(ontology.closure[a, b] or ontology.closure[b, a])

    def difficulty(self, cl_id: str, rival: str) -> str:
        """Return the stratum of a sample by how near the nearest other type is."""
        ontology = self.terms.ontology
        a, b = ontology.position(cl_id), ontology.position(rival)
        if ontology.lin(a, b) >= NEAR:
            return "hard: nearest other type is close kin"
        if ontology.lineage(a) == ontology.lineage(b):
            return "medium: nearest other type is of the lineage"
        return "easy: nearest other type is of another lineage"

    def cell(
        self, labelled: Labelled, cl_id: str, item: str, rows: Sequence[int], shown: Sequence[str], rival: str
    ) -> VirtualCell:
        """Return the virtual cell of some rows of a set."""
        source, term = labelled.source, self.terms.describe(cl_id)
        return VirtualCell(
            id=item,
            dataset="fresh",
            cell_type=term.name,
            cl_id=term.cl_id,
            tissue=source.tissue,
            species=source.species,
            state=source.state,
            expression=tuple(shown),
            mean=True,
            partial=True,
            description=term.description,
            evident=markers_shown(self.terms, term.cl_id, shown),
            lineage=term.lineage,
            difficulty=self.difficulty(cl_id, rival),
            cluster=term.cl_id,  # several cells of a type count as one in the bootstrap
            provenance={
                "set": source.name,
                "study": source.study,
                "sha256": labelled.sha256,
                "rows": [labelled.rows[i] for i in rows],
                "seed": self.seed,
                "canary": CANARY,
            },
        )
