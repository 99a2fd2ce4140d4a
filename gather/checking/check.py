"""``gather.check(adata, labels=[...])``: an opinion on the labels that a file brings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gather.cells.adata import cell_groups, check_groupby
from gather.cells.choice import choice_of
from gather.cells.expression import rank_cell_sets, read_expression
from gather.cells.groups import refuse_measurement, texts_of
from gather.cells.options import CELL, Options
from gather.checking.consensus import agree
from gather.checking.mapping import map_labels, read_mapping
from gather.checking.opinion import (
    SETTLED,
    CheckResult,
    Consensus,
    Dissent,
    LabelCheck,
    MappedLabel,
    SetCheck,
)
from gather.checking.queue import better_supported, reasons, worth
from gather.checking.weighing import Weighed, all_absent, coverage, relation_to
from gather.labelling.annotator import Annotator
from vckg.base.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import anndata as ad

    from gather.ontology import Ontology
    from vckg.graph.graph import Graph

OPTIONS = ("layer", "species", "tissue", "ranking", "top", "exclude_source", "threshold", "seed")
"""Fields of `gather.Options` that a check takes: answers are open, over all samples."""
Texts = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Question:
    """What is to be checked.

    Attributes
    ----------
    labels
        Columns of ``obs`` with labels, the first also gives the cell sets where `groupby` is None.
    groupby
        A column of ``obs`` with the cell sets, or ``auto`` for Leiden clusters.
    mapping
        CL id of labels that the user decided (`gather.checking.mapping.read_mapping`).
    weights
        Weight of a column's vote in the consensus; 1 by default.
    """

    labels: tuple[str, ...]
    groupby: str | None = None
    mapping: Mapping[str, str] | None = None
    weights: Mapping[str, float] | None = None

    @property
    def sets_from(self) -> str:
        """The column of the cell sets."""
        return self.groupby or self.labels[0]


def check(
    adata: ad.AnnData,
    labels: Sequence[str] | str,
    groupby: str | None = None,
    *,
    graph: Graph | Path | str | None = None,
    mapping: Mapping[str, str] | Path | str | None = None,
    weights: Mapping[str, float] | None = None,
    **options: Any,
) -> CheckResult:
    """Check the labels of an AnnData against the evidence; the AnnData is not changed.

    Parameters
    ----------
    adata
        Cells by genes, as for `gather.annotate`.
    labels
        One or several columns of ``obs`` with labels: an author's, CellTypist's, a model's.
    groupby
        A column of ``obs`` with the cell sets, or ``auto`` for Leiden clusters; by default the first column of
        `labels`. The label of a set is the commonest of its cells.
    graph
        A graph or its folder; ``vckg.load()`` by default.
    mapping
        CL id by label, or a table of such (`gather.checking.mapping.read_mapping`); other labels are ground by name.
    weights
        Weight of a column's vote in the consensus; 1 by default.
    options
        Fields of `gather.Options`, those of `OPTIONS`: ``layer="counts"``, ``species="mouse"``.

    Returns
    -------
    CheckResult
        Opinions on all labels, the review queue, and a table.

    Raises
    ------
    InputError
        A column, the mapping or the file cannot be used.

    Examples
    --------
    >>> found = gather.check(adata, ["group"], graph=graph)
    >>> found["T cells"].labels[0].relation
    'same'
    """
    import vckg

    for name in options:
        if name not in OPTIONS:
            raise InputError(f"no option {name!r}{did_you_mean(name, OPTIONS)}; one of {', '.join(OPTIONS)}")
    graph = vckg.as_graph(graph)
    if isinstance(mapping, (str, Path)):
        mapping = read_mapping(Path(mapping), graph)
    columns = (labels,) if isinstance(labels, str) else tuple(labels)
    question = Question(columns, groupby, mapping, weights)
    return work_out_check(adata, graph, question, Options.of("", options))[0]


def work_out_check(
    adata: ad.AnnData,
    graph: Graph,
    question: Question,
    options: Options,
    *,
    done: Callable[[float], None] = lambda _cells: None,
) -> tuple[CheckResult, Texts]:
    """Return what `check` returns, and the cell set of every cell, "" for none.

    `done` is called with the cells of each checked set, for a progress bar.
    """
    _refuse(adata, question)
    expression = read_expression(adata, graph, layer=options.layer, species=options.species)
    groups = cell_groups(adata, expression, question.sets_from, options.seed)
    texts = {column: texts_of(adata.obs[column]) for column in question.labels}
    mapping = _mapping(graph, texts, question.mapping)
    sets = rank_cell_sets(expression, groups.tolist(), ranking=options.ranking)
    parameters = replace(options.parameters(), hyper_entities=())  # of cell types, nothing else is shown
    choice = choice_of(graph, options, adata, species=expression.graph.species)
    annotator = Annotator(
        expression.graph, expression.panel, parameters, preferred=choice.preferred, contrast=len(sets) > 1
    )
    checked = []
    for ranked in sets:
        weighed = Weighed(annotator, ranked)
        inside = groups == ranked.name
        found = [_checked(weighed, column, texts[column][inside], mapping) for column in question.labels]
        checked.append(
            SetCheck(
                ranked.name,
                ranked.n_cells,
                weighed.answer,
                tuple(found),
                _consensus(found, weighed, question) if len(found) > 1 else None,
            )
        )
        done(ranked.n_cells)
    about = asdict(parameters) | {
        "ranking": options.ranking,
        "values": expression.origin,
        "gene_names": expression.names_from,
        "species": expression.species,
        "tissue": options.tissue or "",
        "weights": {column: _weight(question, column) for column in question.labels},
    }
    about["unlabelled"] = {column: int((of == "").sum()) for column, of in texts.items()}
    meant = tuple(mapping.values())
    sets_from = question.sets_from
    return CheckResult(tuple(checked), meant, question.labels, sets_from, graph.content_hash, about), groups


def _refuse(adata: ad.AnnData, question: Question) -> None:
    """Refuse columns that do not exist or hold no labels, a column named twice, and weights of no column."""
    if not question.labels:
        raise InputError("no column of labels; name one with --labels, such as cell_type")
    for column in question.labels:
        if column not in adata.obs:
            names = [str(c) for c in adata.obs.columns]
            shown = ", ".join(names[:12]) or "none"
            raise InputError(
                f"no column {column!r} in obs{did_you_mean(column, names)}; --labels wants one of: {shown}"
            )
        if question.labels.count(column) > 1:
            raise InputError(f"column {column!r} is named twice by --labels; give it a weight of 2 instead")
        refuse_measurement(adata, column)
    if question.groupby == CELL:
        raise InputError("labels are checked by cell set; give --groupby a column, or auto for clusters")
    check_groupby(adata, question.sets_from)
    for column, weight in (question.weights or {}).items():
        if column not in question.labels:
            hint = did_you_mean(column, question.labels)
            raise InputError(f"a weight is given to {column!r}, which is no column of --labels{hint}")
        if not (np.isfinite(weight) and weight > 0):
            raise InputError(f"weight of {column!r} is {weight}; wanted a positive number such as 2")


def _mapping(
    graph: Graph, texts: Mapping[str, Texts], given: Mapping[str, str] | None
) -> dict[str, MappedLabel]:
    """Return what each label of any column means, ascending; a term goes before a cluster's name."""
    found: dict[str, MappedLabel] = {}
    for of in texts.values():
        read = map_labels(graph, {text for text in of.tolist() if text}, given)
        found |= {label: one for label, one in read.items() if one.curie or label not in found}
    return dict(sorted(found.items()))


def _weight(question: Question, column: str) -> float:
    return float((question.weights or {}).get(column, 1.0))


def _checked(weighed: Weighed, column: str, texts: Texts, mapping: Mapping[str, MappedLabel]) -> LabelCheck:
    """Return the opinion on the commonest label of a set's cells; equals by name.

    Labels are counted by the term that they mean. A label on the line of that term is no opposition.
    """
    counts = Counter(t for t in texts.tolist() if t)
    meant = {t: mapping.get(t, MappedLabel(t, "", "", "unknown")) for t in counts}
    by_term: Counter[str] = Counter()
    for text, count in counts.items():
        by_term[meant[text].curie or text] += count
    order = sorted(counts, key=lambda t: (-by_term[meant[t].curie or t], -counts[t], t))
    if not order:
        return opinion_on(weighed, column, MappedLabel("", "", "", "unknown"), 0.0)
    main, total = meant[order[0]], sum(counts.values())
    others = [t for t in order if not _agrees(weighed.annotator.ontology, meant[t], main)]
    share = 1.0 - sum(counts[t] for t in others) / total
    found = opinion_on(weighed, column, main, share)
    return replace(found, others=tuple((t, counts[t] / total) for t in others[:2]))


def _agrees(ontology: Ontology, one: MappedLabel, other: MappedLabel) -> bool:
    """Whether two labels are the same, or their terms lie on one line of the ontology."""
    if not one.curie or not other.curie:
        return one.label == other.label
    found = ontology.relation(ontology.position(one.curie), ontology.position(other.curie))
    return found in ("exact", "ancestor", "descendant")


def opinion_on(weighed: Weighed, column: str, mapped: MappedLabel, share: float = 1.0) -> LabelCheck:
    """Return the opinion on one label that a column gives a share of a set's cells."""
    answer, curie = weighed.answer, mapped.curie
    relation = relation_to(weighed.annotator.ontology, curie, answer.curie)
    figures, markers = (weighed.figures(curie), weighed.markers(curie)) if curie else ({}, ())
    settled = not curie and mapped.how in SETTLED
    standing = figures.get("standing", 0.0)
    how_much = 0.0 if settled or weighed.too_few else worth(standing, share, grounded=bool(curie))
    why = reasons(
        relation, 1.0 - standing, share, mixed=str(answer.status) == "mixed", absent=all_absent(markers)
    )
    why = ("few cells",) if why and weighed.too_few else why
    rival = answer.label if {"conflict", "weak conflict"} & {*why} else ""
    decidable, remark = coverage(weighed, curie, markers, relation, rival) if curie else (True, "")
    return LabelCheck(
        answer.cell_set, column, mapped.label, share, answer.n_cells, mapped, relation, how_much,
        tuple(reason for reason in why if not (settled and reason == "not grounded")),
        markers=markers,
        decidable=decidable,
        coverage=remark,
        evidence=weighed.evidence(curie) if curie else None,
        **figures,
    )  # fmt: skip


def _consensus(found: Sequence[LabelCheck], weighed: Weighed, question: Question) -> Consensus:
    """Return what the grounded labels of a set agree on."""
    ontology: Ontology = weighed.annotator.ontology
    voting = [one for one in found if one.mapped.curie]
    votes = [ontology.position(one.mapped.curie) for one in voting]
    weights = [_weight(question, one.column) for one in voting]
    agreed = agree(ontology, votes, weights, vague=weighed.annotator.labeller.calibration.vague)
    supporting = tuple(voting[i].column for i in agreed.supports)
    if agreed.term is None:
        others = tuple(Dissent(voting[i].column, voting[i].label, "open") for i in agreed.off)
        return Consensus("", "", 0.0, (), others)
    curie = ontology.terms[agreed.term]
    standing = weighed.standing(curie)
    dissents = tuple(
        Dissent(voting[i].column, voting[i].label, better_supported(voting[i].standing, standing))
        for i in agreed.off
    )
    return Consensus(curie, ontology.names[agreed.term], agreed.share, supporting, dissents)
