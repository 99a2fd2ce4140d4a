"""Tools that read a file of cells: annotate, the evidence of one cell set, check, and compare two cell types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from gather.annotation import Annotation, EvidenceItem
from gather.cells.adata import Outcome, work_out
from gather.cells.file import open_h5ad, write_annotated
from gather.cells.options import AUTO, CELL, DEFAULT_KEY, Options
from gather.labelling.plain_words import best_evidence, objections, status_reason
from gather.mcp.claims import Claim, claims_of
from gather.mcp.graph_tools import Answer, Arguments, Name, Support, supports
from gather.mcp.session import Session
from vckg.base.errors import InputError, did_you_mean
from vckg.base.words import plain

FileName = Annotated[str, Field(min_length=1, max_length=500, description="An h5ad, relative to the folder.")]
Column = Annotated[str, Field(min_length=1, max_length=200, description="Column of obs, or auto (Leiden).")]


class AnnotateArguments(Arguments):
    """A file of cells and the column of its clusters."""

    file: FileName
    groupby: Column = AUTO
    tissue: Name | None = None
    output: Annotated[str, Field(max_length=500)] | None = Field(
        default=None, description="Annotated copy to write, relative to the folder, ending in .h5ad."
    )
    first: Annotated[int, Field(ge=0, le=100_000, description="Position of the first set to show.")] = 0


class SetRow(BaseModel):
    """One cell set's label in short."""

    cell_set: str
    cells: int
    label: str
    curie: str
    confidence: float
    status: str
    because: list[str]
    against: list[str]


class AnnotateAnswer(Answer):
    """The labels of all cell sets; `left_out` sets follow with a later `first`."""

    sets: list[SetRow]
    n_sets: int
    written: str | None


def annotate(session: Session, asked: AnnotateArguments) -> AnnotateAnswer:
    """Name the cell sets of a file, with confidence, status and the genes for and against each label."""
    target = None if asked.output is None else session.folder.writing(asked.output)
    if target is not None and target.suffix != ".h5ad":
        raise InputError(f"{asked.output!r}: the output is an h5ad; give a name that ends in .h5ad")
    outcome = _annotated(session, asked.file, asked.groupby, asked.tissue)
    if target is not None:
        source = session.folder.reading(asked.file)
        write_annotated(source, target, outcome.columns, DEFAULT_KEY, outcome.kept, outdated=outcome.outdated)
    shown = outcome.annotations[asked.first :]
    return AnnotateAnswer(
        graph=session.graph.content_hash,
        sets=[_set_row(a) for a in shown[:100]],
        n_sets=len(outcome.annotations),
        written=asked.output,
        left_out=max(len(shown) - 100, 0),
    )


def _annotated(session: Session, name: str, groupby: str, tissue: str | None) -> Outcome:
    if groupby == CELL:
        raise InputError("the tools name cell sets; for single cells use `gather annotate --groupby cell`")

    def make(path: Path) -> Outcome:
        return work_out(open_h5ad(path), session.graph, Options(groupby, tissue=tissue))

    return session.of_file(name, ("answers", groupby, tissue), make)


def _set_row(a: Annotation) -> SetRow:
    return SetRow(
        cell_set=plain(a.cell_set),
        cells=a.n_cells,
        label=plain(a.label),
        curie=a.curie,
        confidence=_rounded(a.confidence),
        status=plain(status_reason(a), 120),
        because=[plain(text) for text in best_evidence(a)],
        against=[plain(text) for text in objections(a, 2)],
    )


class CellSetArguments(Arguments):
    """One cell set of a file."""

    file: FileName
    cell_set: Name
    groupby: Column = AUTO
    tissue: Name | None = None


class CandidateRow(BaseModel):
    """A cell type in the running, with its best genes."""

    curie: str
    label: str
    confidence: float
    fdr: float
    genes: list[Support]


class CellSetAnswer(Answer):
    """The answer for one cell set: candidates, each with evidence, and what speaks against the label."""

    answer: SetRow
    candidates: list[CandidateRow]
    query_genes: list[str]


def cell_set(session: Session, asked: CellSetArguments) -> CellSetAnswer:
    """Show why a cell set has its label: its candidates, their genes, and the claims behind each gene."""
    outcome = _annotated(session, asked.file, asked.groupby, asked.tissue)
    chosen = _chosen(outcome.annotations, asked.cell_set)
    items: dict[str, EvidenceItem] = {item.curie: item for item in chosen.evidence}
    return CellSetAnswer(
        graph=session.graph.content_hash,
        answer=_set_row(chosen),
        candidates=[
            CandidateRow(
                curie=c.curie,
                label=plain(c.label),
                confidence=_rounded(c.confidence),
                fdr=_rounded(c.fdr),
                genes=supports(items[c.curie])[:3] if c.curie in items else [],
            )
            for c in chosen.candidates[:5]
        ],
        query_genes=[plain(gene, 40) for gene in chosen.query_genes[:30]],
    )


def _chosen(annotations: tuple[Annotation, ...], name: str) -> Annotation:
    for annotation in annotations:
        if annotation.cell_set == name:
            return annotation
    raise InputError(f"no cell set {plain(name)!r}{did_you_mean(name, [a.cell_set for a in annotations])}")


class CheckArguments(Arguments):
    """A file of cells and the columns of its labels."""

    file: FileName
    labels: Annotated[list[Name], Field(min_length=1, max_length=8)]
    groupby: Column | None = None


class CheckRow(BaseModel):
    """The opinion on one label."""

    cell_set: str
    column: str
    label: str
    curie: str
    relation: str
    reasons: list[str]
    worth: float
    our_label: str
    our_curie: str
    present: list[str]
    absent: list[str]
    claims: list[Claim]


class CheckAnswer(Answer):
    """Labels worth a look, the most first; the others agree with the evidence."""

    n_labels: int
    n_to_review: int
    queue: list[CheckRow]


def check(session: Session, asked: CheckArguments) -> CheckAnswer:
    """Check labels that a file has: which ones the evidence does not support, and what it supports instead."""
    from gather.checking.check import check as check_labels

    def make(path: Path) -> Any:
        return check_labels(open_h5ad(path), asked.labels, asked.groupby, graph=session.graph)

    result = session.of_file(asked.file, ("check", *asked.labels, asked.groupby), make)
    answers = {one.cell_set: one.answer for one in result.sets}
    rows = []
    for opinion in result.queue[:30]:
        ours = answers[opinion.cell_set]
        walks = opinion.evidence.walks if opinion.evidence else ()
        edges = [edge for walk in walks if walk.hops == 1 for edge in walk.steps[0]]
        rows.append(
            CheckRow(
                cell_set=plain(opinion.cell_set),
                column=plain(opinion.column),
                label=plain(opinion.label),
                curie=opinion.mapped.curie,
                relation=opinion.relation,
                reasons=list(opinion.reasons),
                worth=_rounded(opinion.worth),
                our_label=plain(ours.label),
                our_curie=ours.curie,
                present=[plain(gene) for gene in opinion.with_state("present")[:5]],
                absent=[plain(gene) for gene in opinion.with_state("absent")[:5]],
                claims=claims_of(edges, 1),
            )
        )
    return CheckAnswer(
        graph=session.graph.content_hash,
        n_labels=len(result.checks),
        n_to_review=len(result.queue),
        queue=rows,
        left_out=max(len(result.queue) - 30, 0),
    )


def _rounded(value: float) -> float:
    """Three digits; JSON has no word for NaN, which stands where the measured genes are unknown: 1."""
    return float(f"{value:.3g}") if value == value else 1.0
