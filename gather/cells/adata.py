"""``gather.annotate(adata)``: in place, like scanpy's tools."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gather.annotation import FORMAT, Annotation, Candidate
from gather.cells.choice import choice_of, declared_terms
from gather.cells.clusters import leiden
from gather.cells.expression import Expression, read_expression
from gather.cells.groups import refuse_measurement, require_anndata, texts_of, with_hints, without_group
from gather.cells.options import AUTO, CELL, Options, require_grouping
from gather.cells.populations import with_mixed_sets
from gather.cells.samples import compare_samples, ranked_sets
from gather.labelling.annotator import Annotator, Parameters
from gather.labelling.decide import UNKNOWN
from gather.labelling.frames import KEPT_VERSION, packed, tables
from gather.labelling.states import STATES, states_of
from gather.retrieval.unknown_names import unknown_in_words
from vckg.base.errors import InputError, did_you_mean
from vckg.graph.manifest import graph_label

if TYPE_CHECKING:
    import anndata as ad

    from gather.llm.base import Model
    from gather.retrieval.candidates import Choice
    from vckg.graph.graph import Graph

SUFFIXES = (
    "cell_type", "cell_type_ontology_term_id", "confidence", "fdr", "status", "reason",
    "best_cell_type", "best_cell_type_ontology_term_id", "best_confidence",
)  # fmt: skip
"""Suffixes of the columns of every run. Those of the best candidate hold it whatever the status."""
SET_SUFFIXES = ("mixture", "mixture_share", *(f"state_{name}" for name in STATES))
"""Suffixes of the columns that only runs over cell sets write."""
CELL_SET = "cell_set"
"""Suffix of the column of Leiden clusters, which only ``groupby="auto"`` writes."""
_PLAIN = re.compile(r"\w[\w.-]{0,63}")
_PACKAGES = ("vckg", "anndata", "scanpy", "numpy", "scipy")


@dataclass(frozen=True)
class Outcome:
    """What an annotation of a file gives: `columns` of ``obs`` by name, and the entry `kept` of ``uns``.

    `cell_set` is the position in `annotations` of every cell's set, int32[cells], -1 for cells in none. `outdated` are
    columns of ``obs`` that only the run wrote that this one replaces; they go with it.
    """

    annotations: tuple[Annotation, ...]
    columns: dict[str, Any]
    kept: dict[str, Any]
    cell_set: npt.NDArray[np.int32]
    outdated: frozenset[str] = frozenset()


def annotate(
    adata: ad.AnnData,
    groupby: str = AUTO,
    *,
    graph: Graph | Path | str | None = None,
    model: Model | None = None,
    copy: bool = False,
    **options: Any,
) -> ad.AnnData | None:
    """Name the cell sets of an AnnData, in place.

    Parameters
    ----------
    adata
        Cells by genes: counts or log-normalised values in ``.raw``, ``.X`` or a layer.
    groupby
        A column of ``obs``; ``auto`` for Leiden clusters; ``cell`` for every cell on its own.
    graph
        A graph or its folder; ``vckg.load()`` by default.
    model
        A language model (`gather.Client`, or `gather.Scripted` in tests) that chooses among the candidates of
        each cell set, with one call at most; ``uns[key_added]['llm']`` counts calls and tokens.
    copy
        Annotate a copy and return it.
    options
        Fields of `gather.Options`, which describes each: ``tissue="blood"``, ``threshold=0.6``, ``key_added="named"``.

    Returns
    -------
    AnnData or None
        The copy where one was asked for. Written are ``obs[f'{key_added}_cell_type']``, ``..._confidence``,
        ``..._fdr``, ``..._status``, ``..._reason``, ``..._best_cell_type``, ``..._best_confidence``, the ids,
        and ``uns[key_added]``; of cell sets it holds the evidence, which `gather.results` reads.

    Raises
    ------
    InputError
        The file or an argument cannot be used; nothing is written then.

    Examples
    --------
    >>> gather.annotate(adata, "group", graph=graph)
    >>> gather.results(adata)
    gather.Results: 3 cell sets, 3 named, graph ...
    >>> adata.obs["gather_cell_type"].value_counts().index.tolist()
    ['B cell', 'T cell', 'monocyte']
    """
    import vckg

    require_anndata(adata)
    chosen = Options.of(groupby, options)
    graph = vckg.as_graph(graph)
    if copy:
        adata = adata.copy()
    usage: dict[str, Any] = {}
    relabel = tuple if model is None else asking(model, adata, graph, chosen, usage)
    outcome = work_out(adata, graph, chosen, relabel=relabel)
    if usage:
        outcome.kept["llm"] = usage
    for name, values in outcome.columns.items():
        adata.obs[name] = values
    for name in outcome.outdated:
        del adata.obs[name]
    adata.uns[chosen.key_added] = outcome.kept
    return adata if copy else None


annotate.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # help() lists every option
    [
        *(p for p in inspect.signature(annotate).parameters.values() if p.kind != p.VAR_KEYWORD),
        *(
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type)
            for f in fields(Options)
            if f.name != "groupby"
        ),
    ],
    return_annotation="AnnData | None",
)


def asking(
    model: Model,
    adata: ad.AnnData,
    graph: Graph,
    options: Options,
    usage: dict[str, Any],
    *,
    workers: int = 8,
    done: Callable[[float], None] = lambda _cells: None,
) -> Callable[[tuple[Annotation, ...]], tuple[Annotation, ...]]:
    """Return the LLM step for `work_out`; calls and tokens are put into `usage`."""
    from gather.llm.base import Counted
    from gather.llm.label import label_with_llm

    if options.groupby == CELL:
        raise InputError("a model names cell sets, not single cells; choose another groupby than 'cell'")
    terms = declared_terms(adata, graph, options)

    def relabel(annotations: tuple[Annotation, ...]) -> tuple[Annotation, ...]:
        cells = adata.n_obs / max(len(annotations), 1)
        run = label_with_llm(
            annotations,
            Counted(model),
            candidates=terms,
            tissue=options.tissue or "",
            needs_support=options.candidates is None and options.candidates_from_obs is None,
            workers=workers,
            done=lambda sets: done(sets * cells),
        )
        usage.update(run.summary(model.name))
        return run.annotations

    return relabel


def work_out(
    adata: ad.AnnData,
    graph: Graph,
    options: Options,
    *,
    relabel: Callable[[tuple[Annotation, ...]], tuple[Annotation, ...]] = tuple,
    done: Callable[[float], None] = lambda _steps: None,
) -> Outcome:
    """Return what `annotate` would write, without writing.

    Parameters
    ----------
    relabel
        Sees all annotations and may change their labels (the LLM step).
    done
        Called with the cells done, for a progress bar.
    """
    earlier = check_key(adata, options.key_added)
    parameters = options.parameters()
    choice = choice_of(graph, options, adata)
    about = describe(options, choice)
    by_sample = None
    if options.groupby == CELL:
        require_grouping(CELL)
        from gather.cells.per_cell import annotate_each_cell

        columns, read = annotate_each_cell(
            adata,
            graph,
            parameters,
            layer=options.layer,
            species=options.species,
            choice=choice,
            done=done,
        )
        annotations: tuple[Annotation, ...] = ()
        cell_set = np.full(adata.n_obs, -1, np.int32)
    else:
        check_groupby(adata, options.groupby)
        expression = read_expression(adata, graph, layer=options.layer, species=options.species)
        groups = cell_groups(adata, expression, options.groupby, options.seed)
        sets, samples = ranked_sets(adata, expression, groups, options.sample_key, options.ranking)
        annotator = Annotator(
            expression.graph,
            expression.panel,
            parameters,
            candidates=choice.allowed,
            preferred=choice.preferred,
            contrast=len(sets) > 1,
        )
        answers = []
        for ranked, states in zip(sets, states_of(expression.graph, expression.panel, sets), strict=True):
            answers.append(replace(annotator.annotate_one(ranked), states=states))
            done(ranked.n_cells)
        found = with_mixed_sets(answers, expression, groups, annotator, options.ranking)
        annotations = relabel(with_hints(found, adata.obs, groups))
        if samples is not None:
            annotations, by_sample = compare_samples(annotations, samples, annotator, options.top)
        columns = obs_columns(annotations, groups)
        read = {"values": expression.origin, "gene_names": expression.names_from}
        per_cell = np.asarray((expression.matrix > 0).sum(axis=1)).ravel()
        about |= {
            "cells_without_group": without_group(adata, options.groupby),
            "cells_without_expression": int((per_cell == 0).sum()),
            "genes_per_cell": float(np.median(per_cell)),
            "species": expression.species,
        }
        about["unknown_genes"] = unknown_in_words(expression.panel, expression.graph)
        position = {a.cell_set: i for i, a in enumerate(annotations)}
        cell_set = np.array([position.get(g, -1) for g in groups.tolist()], np.int32)
        if options.groupby == AUTO:
            columns[CELL_SET] = pd.Categorical(groups.tolist())
    named = {f"{options.key_added}_{suffix}": values for suffix, values in columns.items()}
    kept = summary(annotations, graph, parameters, about | read)
    if by_sample is not None:
        kept["tables"]["samples"] = by_sample
    return Outcome(annotations, named, kept, cell_set, earlier - named.keys())


def describe(options: Options, choice: Choice) -> dict[str, Any]:
    """What ``uns`` says about the options, as plain values."""
    return {
        "groupby": options.groupby,
        "ranking": "expression" if options.groupby == CELL else options.ranking,
        "seed": options.seed,
        "sample_key": options.sample_key or "",
        "tissue": options.tissue or "",
        "tissue_ontology_term_id": choice.tissue,
        "candidates_from_obs": options.candidates_from_obs or "",
        "tissue_types": -1 if choice.preferred is None else len(choice.preferred),
        "closed": choice.allowed is not None,
        "candidate_types": -1 if choice.allowed is None else len(choice.allowed),
    }


def check_key(adata: ad.AnnData, key: str) -> frozenset[str]:
    """Return the columns of an earlier run; refuse a key that is no plain name, or in use by what is not ours."""
    if not _PLAIN.fullmatch(key):
        raise InputError(
            f"--key-added {key!r}: wanted a plain name of at most 64 letters, digits, '_', '-' or '.', such as gather"
        )
    if f"{key}_review" in adata.uns:
        raise InputError(f"uns['{key}_review'] reviews the answers that would go; choose another --key-added")
    kept = adata.uns.get(key)
    ours = isinstance(kept, dict) and kept.get("format") == FORMAT
    written: tuple[str, ...] = SUFFIXES if ours else ()
    parameters = kept.get("parameters") if isinstance(kept, dict) and ours else None
    groupby = parameters.get("groupby") if isinstance(parameters, dict) else CELL
    if groupby != CELL:
        written = (*written, *SET_SUFFIXES, *([CELL_SET] if groupby == AUTO else []))
    possible = {f"{key}_{suffix}": suffix in written for suffix in (*SUFFIXES, *SET_SUFFIXES, CELL_SET)}
    found = {str(c): possible[str(c)] for c in adata.obs.columns if str(c) in possible}
    taken = [name for name, is_ours in found.items() if not is_ours]
    taken += [f"uns[{key!r}]"] if key in adata.uns and not ours else []
    if taken:
        raise InputError(
            f"{taken[0]} exists and was not written by gather; choose another name with --key-added"
        )
    return frozenset(found)


def check_groupby(adata: ad.AnnData, groupby: str) -> None:
    """Refuse a column that does not exist, naming the nearest."""
    require_grouping(groupby)
    if groupby not in (AUTO, CELL) and groupby not in adata.obs:
        columns = [str(c) for c in adata.obs.columns]
        shown = ", ".join(columns[:12]) or "none"
        raise InputError(
            f"no column {groupby!r} in obs{did_you_mean(groupby, columns)}; columns: {shown}; or auto, or cell"
        )
    if groupby not in (AUTO, CELL):
        refuse_measurement(adata, groupby)


def cell_groups(
    adata: ad.AnnData, expression: Expression, groupby: str, seed: int
) -> npt.NDArray[np.object_]:
    """Group of every cell as text; "" for cells without a group or without any expression."""
    empty = np.asarray(expression.matrix.sum(axis=1)).ravel() == 0
    groups = leiden(expression, ~empty, seed) if groupby == AUTO else texts_of(adata.obs[groupby])
    groups[empty] = ""
    if empty.all():
        raise InputError("no cell expresses a known gene")
    if not (groups != "").any():
        raise InputError(f"no cell has both expression and a group in {groupby!r}; name another column")
    return groups


def obs_columns(annotations: Sequence[Annotation], groups: npt.NDArray[np.object_]) -> dict[str, Any]:
    """Columns of ``obs`` by suffix; cells without a group are ``unknown`` with status ``ungrounded``."""
    none = Annotation("", 0, "ungrounded", UNKNOWN, "", 0.0, 1.0, reason="no_group")
    nothing = Candidate(0, UNKNOWN, UNKNOWN, 0.0, 1.0, 1.0, np.nan, 0)
    by_name = {a.cell_set: a for a in annotations}
    of_cell = [by_name.get(g, none) for g in groups.tolist()]
    best = [a.best or nothing for a in of_cell]
    texts: dict[str, list[str]] = {
        "cell_type": [a.label for a in of_cell],
        "cell_type_ontology_term_id": [a.curie or UNKNOWN for a in of_cell],
        "status": [a.status for a in of_cell],
        "reason": [a.reason for a in of_cell],
        "best_cell_type": [c.label for c in best],
        "best_cell_type_ontology_term_id": [c.curie for c in best],
        "mixture": [" + ".join(a.mixture.labels) if a.mixture else "" for a in of_cell],
    }
    numbers = {
        "confidence": [a.confidence if a.curie else np.nan for a in of_cell],
        "fdr": [a.fdr for a in of_cell],
        "best_confidence": [c.confidence for c in best],
        "mixture_share": [a.mixture.share if a.mixture else np.nan for a in of_cell],
    }
    active = [{s.name for s in a.states if s.present} for a in of_cell]
    columns: dict[str, Any] = {suffix: pd.Categorical(values) for suffix, values in texts.items()}
    columns |= {suffix: np.array(values) for suffix, values in numbers.items()}
    return columns | {f"state_{name}": np.array([name in found for found in active]) for name in STATES}


def summary(
    annotations: Sequence[Annotation], graph: Graph, parameters: Parameters, about: dict[str, Any]
) -> dict[str, Any]:
    """What ``uns`` keeps: plain strings, numbers and frames, so that h5ad and zarr round-trip it."""
    plain = {k: "|".join(v) if isinstance(v, tuple) else v for k, v in asdict(parameters).items()}
    return {
        "format": FORMAT,
        "format_version": KEPT_VERSION,
        "graph": graph.content_hash,
        "graph_label": graph_label(graph.manifest),
        "parameters": plain | about,
        "versions": {name: _version(name) for name in _PACKAGES},
        "tables": tables(annotations),
        "evidence": packed(annotations),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
