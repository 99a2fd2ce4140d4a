"""One virtual cell, five views of it.

SC-Arena's idea that unifies its tasks is a type here: a `VirtualCell` holds what a cell is (type,
tissue, species, ranked expression, description, markers) and what its genes do (interventions with the
direction of change, questions with their papers). Annotation, captioning, generation, perturbation and QA
are views of it: each view hides one part of the cell and asks for it, so a new data set gives every task
that its fields allow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from arena.types import CLOSED, Sample, TaskName, first_fault
from vckg.base.errors import InputError, did_you_mean

SENTENCE_LENGTH = 200
"""Genes a generated cell sentence should hold, as in SC-Arena."""
EVIDENT = 8
"""Markers that a reference caption names."""


@dataclass(frozen=True, slots=True)
class Interaction:
    """What happens to genes when others are switched: a perturbation screen's row, or a regulator with its
    targets.
    """

    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    regulators: Annotated[tuple[str, ...], Field(min_length=1)]
    """The perturbed genes."""
    effect: str
    """``activation``, ``knockdown``, or the free words of the source."""
    up: tuple[str, ...]
    down: tuple[str, ...]
    control: tuple[str, ...] = ()
    """Expression before, ranked; () where it was not measured."""
    outcome: tuple[str, ...] = ()
    """Expression after, ranked; () where it was not measured."""
    listed: tuple[str, ...] = ()
    """Candidate genes in the source's own order; () lets the view shuffle them."""
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """A question whose answer a paper or a sourced edge supports."""

    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    kind: str
    text: str
    answer: str
    claims: tuple[str, ...]
    """Short statements the answer makes; claim coverage counts them."""
    title: str = ""
    abstract: str = ""
    passage: str = ""
    publications: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VirtualCell:
    """A cell (or a set of like cells) as far as it is known; empty means unknown."""

    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    id: str
    dataset: str
    cell_type: str = ""
    cl_id: str = ""
    tissue: str = ""
    species: str = ""
    expression: tuple[str, ...] = ()
    """Genes by descending expression."""
    mean: bool = False
    """The expression is a mean of several cells of the type."""
    partial: bool = False
    """The expression covers a panel of genes, not the transcriptome, so it is no reference for a generated
    cell.
    """
    description: str = ""
    markers: tuple[str, ...] = ()
    evident: tuple[str, ...] = ()
    """Known markers of the type among the expression."""
    state: str = ""
    """Stage or condition in a word, e.g. ``fetal`` or ``tumour``."""
    references: tuple[tuple[str, ...], ...] = ()
    """Ranked genes of real cells of the type, one of each of several sets."""
    floor: float = 0.0
    """Overlap of cells of other types with the references."""
    ceiling: float = 1.0
    """Overlap of one real cell of the type with the others."""
    shared: float = 0.0
    """Share of one real cell's genes that the others show too."""
    lineage: str = ""
    """Broad lineage, for breakdowns."""
    difficulty: str = ""
    """Stratum of how hard the sample is, in words."""
    cluster: str = ""
    """What makes two cells not independent; the type itself where it is empty."""
    wording: str = ""
    """How the prompts call the cell where the source's own words are kept; "" composes them."""
    interactions: tuple[Interaction, ...] = ()
    questions: tuple[Question, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, Any]:
        """Name and id of its type, as the gold of samples holds them."""
        return {"cell_type": self.cell_type, "cl_id": self.cl_id}

    @property
    def context(self) -> str:
        """The cell in words that do not give its type away, e.g. ``"a human cell from lung"``."""
        if self.wording:
            return self.wording
        species = f"{self.species} " if self.species else ""
        what = f"{species}cells of one type" if self.mean else f"a {species}cell"
        return f"{what} from {self.tissue}" if self.tissue else what


# ---- the five views -------------------------------------------------------------------------------------


def annotation(cell: VirtualCell, seed: int = 0) -> list[Sample]:
    """Hide the type: which cell expresses these genes in this order?"""
    if not (cell.expression and cell.cell_type):
        return []
    return [expression_sample(cell, "annotation", cell.named)]


def captioning(cell: VirtualCell, seed: int = 0) -> list[Sample]:
    """Hide the description: what is this cell and what does it do?"""
    if not (cell.expression and cell.cell_type and cell.description):
        return []
    said = [f"{cell.cell_type}: {cell.description}"]  # the type is part of what a caption has to say
    said += [f"It expresses {', '.join(cell.evident[:EVIDENT])}."] if cell.evident else []
    where = " ".join(part for part in (cell.state, cell.tissue) if part)
    said += [f"It is from {where}."] if where and not cell.wording else []
    gold = cell.named | {
        "caption": " ".join(said),
        "definition": cell.description,
        "markers": list(cell.evident),
        "tissue": "" if cell.wording else cell.tissue,
        "state": cell.state,
    }
    # Tissue and state are claims to make, so the prompt does not make them.
    hidden = cell if cell.wording else replace(cell, tissue="")
    sample = expression_sample(hidden, "captioning", gold)
    return [replace(sample, strata=_strata(cell))]


def generation(cell: VirtualCell, seed: int = 0) -> list[Sample]:
    """Hide the expression: which genes does this type express, highest first?"""
    sentences = [list(genes) for genes in cell.references]
    if cell.expression and not cell.partial:
        sentences = [list(cell.expression)]
    if not (cell.cell_type and (cell.markers or sentences)):
        return []
    shown = {
        "cell_type": cell.cell_type,
        "description": cell.description or "(no definition is known)",
        "context": cell.context,
        "length": str(SENTENCE_LENGTH),
    }
    fields_ = cell.named | {
        "description": cell.description,
        "tissue": cell.tissue,
        "species": cell.species,
        "length": SENTENCE_LENGTH,
    }
    gold = cell.named | {
        "markers": list(cell.markers),
        "sentences": sentences,
        "floor": cell.floor,
        "ceiling": cell.ceiling,
        "shared": cell.shared,
    }
    return [_cell_sample(cell, "generation", shown, gold, fields_)]


def perturbation(cell: VirtualCell, seed: int = 0) -> list[Sample]:
    """Hide the direction: which of these genes rise and which fall when a regulator is switched?"""
    return [
        _interaction_sample(cell, interaction, number, seed)
        for number, interaction in enumerate(cell.interactions)
        if interaction.up or interaction.down
    ]


def qa(cell: VirtualCell, seed: int = 0) -> list[Sample]:
    """Hide the answer of a question that literature or a sourced edge settles."""
    return [_question_sample(cell, question, number) for number, question in enumerate(cell.questions)]


def item_rng(seed: int, item: str) -> np.random.Generator:
    """A generator that depends on the seed and the item alone, so that no two items share a permutation."""
    return rng_of(f"{seed}\n{item}")


def rng_of(text: str) -> np.random.Generator:
    """A generator that depends on a text alone."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


def expression_sample(cell: VirtualCell, task: TaskName, gold: dict[str, Any]) -> Sample:
    """Return the sample of a task that shows a cell's ranked genes and hides `gold`."""
    shown = {
        "n_genes": str(len(cell.expression)),
        "context": cell.context,
        "sentence": " ".join(cell.expression),
    }
    fields_ = {"genes": list(cell.expression), "tissue": cell.tissue, "species": cell.species}
    return _cell_sample(cell, task, shown, gold, fields_)


def _cell_sample(
    cell: VirtualCell, task: TaskName, shown: dict[str, str], gold: dict[str, Any], fields_: dict[str, Any]
) -> Sample:
    return Sample(
        id=f"{cell.dataset}/{task}/{cell.id}",
        task=task,
        variables=shown,
        gold=gold,
        fields=fields_,
        cluster=cell.cluster or cell.cl_id or cell.cell_type,
        strata=_strata(cell),
        provenance=dict(cell.provenance),
    )


def _strata(cell: VirtualCell) -> dict[str, str]:
    strata = {"tissue": cell.tissue or "not stated", "lineage": cell.lineage or "other"}
    if cell.difficulty:
        strata |= {"difficulty": cell.difficulty, "species": cell.species}
    return strata


_EFFECT_WORDS = {
    "activation": "CRISPR activation (CRISPRa, over-expression) of {genes}",
    "knockdown": "CRISPRi knockdown of {genes}",
}


def _interaction_sample(cell: VirtualCell, interaction: Interaction, number: int, seed: int) -> Sample:
    sample_id = f"{cell.dataset}/perturbation/{cell.id}" + (
        f"/{number}" if len(cell.interactions) > 1 else ""
    )
    candidates = list(interaction.listed)
    if not candidates:
        genes = sorted((*interaction.up, *interaction.down))
        candidates = [genes[i] for i in item_rng(seed, sample_id).permutation(len(genes))]
    words = _EFFECT_WORDS.get(interaction.effect, f"{interaction.effect}: {{genes}}")
    shown = {
        "context": cell.context,
        "perturbation": words.format(genes=" and ".join(interaction.regulators)),
        "candidates": ", ".join(candidates),
    }
    if interaction.control:
        shown |= {"sentence": " ".join(interaction.control), "n_genes": str(len(interaction.control))}
    return Sample(
        id=sample_id,
        task="perturbation",
        variables=shown,
        gold={
            "up": list(interaction.up),
            "down": list(interaction.down),
            "sentence": list(interaction.outcome),
        },
        fields={
            "perturbed": list(interaction.regulators),
            "effect": interaction.effect,
            "candidates": candidates,
            "control": list(interaction.control),
            "context": cell.context,
        },
        cluster=min(interaction.regulators),
        strata={
            "kind": "single" if len(interaction.regulators) == 1 else "double",
            "effect": interaction.effect,
        },
        provenance={**cell.provenance, **interaction.provenance, "seed": seed},
    )


def _question_sample(cell: VirtualCell, question: Question, number: int) -> Sample:
    publications = list(question.publications)
    return Sample(
        id=f"{cell.dataset}/qa/{cell.id}" + (f"/{number}" if len(cell.questions) > 1 else ""),
        task="qa",
        variables={"kind": question.kind, "question": question.text},
        gold={"answer": question.answer, "claims": list(question.claims)},
        fields={
            "question": question.text,
            "kind": question.kind,
            "title": question.title,
            "abstract": question.abstract,
            "passage": question.passage,
            "publications": publications,
        },
        cluster=cell.cluster or (publications[0] if publications else cell.id),
        strata={"kind": question.kind},
        provenance={**cell.provenance, **question.provenance},
    )


# ---- as files: one cell a line ----------------------------------------------------------------------------


def write_cells(cells: Iterable[VirtualCell]) -> str:
    """The cells as JSON lines, empty fields left out."""
    rows = ({k: v for k, v in asdict(cell).items() if v not in ("", (), [], {}, False)} for cell in cells)
    return "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)


def read_cells(path: Path) -> Iterator[VirtualCell]:
    """Yield the cells of a file that `write_cells` (or the user) wrote: one JSON object a line.

    Raises
    ------
    InputError
        The file is missing, a line is not a JSON object, it has a key that no cell has, or a value of another type.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of virtual cells; wanted JSON lines, one cell each")
    shape = TypeAdapter(VirtualCell)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _read_cell(line, shape, f"{path}:{number}", path.stem)


def _read_cell(line: bytes, shape: TypeAdapter[VirtualCell], where: str, dataset: str) -> VirtualCell:
    try:
        row = from_json(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error})") from None
    if not isinstance(row, dict) or "id" not in row:
        raise InputError(f"{where}: wanted an object with at least an 'id'")
    try:
        return shape.validate_json(json.dumps({"dataset": dataset} | row))
    except ValidationError as error:
        key, problem = first_fault(error)
        if problem:
            raise InputError(f"{where}: {key}: {problem}") from None
        known = [f.name for kind in (VirtualCell, Interaction, Question) for f in fields(kind)]
        meant = did_you_mean(key.rpartition(".")[2], known)
        raise InputError(f"{where}: a virtual cell has no {key!r}{meant}") from None
