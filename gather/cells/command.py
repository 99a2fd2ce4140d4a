"""``gather annotate``: read a file, annotate it, ask the language model, write the copy and the page."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gather.annotation import OTHERWISE, Annotation
from gather.cells.adata import Outcome, asking, work_out
from gather.cells.choice import declared_terms, tissue_of_file
from gather.cells.exports import CELL_TYPE, cellxgene_columns, write_labels
from gather.cells.file import check_paths, open_h5ad, write_annotated
from gather.cells.options import CELL, LlmStep, Options
from gather.cells.results import Results
from gather.labelling.decide import UNKNOWN
from gather.retrieval.candidates import ground_cell_types, more_exact_tissues, types_of_tissue
from gather.retrieval.cell_names import readings
from gather.retrieval.tissue_names import tissue_in_words
from gather.species import HUMAN, graph_for
from vckg.base.console import err, progress
from vckg.base.errors import InputError
from vckg.base.words import counted

if TYPE_CHECKING:
    import anndata as ad

    from gather.report.page import Embedding
    from vckg.graph.graph import Graph

FITS = 0.5
"""A tissue fits where the best types of so many cells are known there, of single cells those without the tissue."""
SHOWN_CHANGES = 5
"""Cell sets named whose label the tissue changed."""
Work = Callable[..., Outcome]
"""A function with the parameters of `work_out`."""


def annotate_file(
    source: Path,
    out: Path | None,
    graph: Graph,
    options: Options,
    *,
    overwrite: bool = False,
    report: Path | None = None,
    obs: Path | None = None,
    cellxgene: bool = False,
    llm: LlmStep | None = None,
    dask: str | None = None,
    work: Work = work_out,
    known: bool = False,
) -> Outcome:
    """Annotate one file and write the copy, and the page where one is wanted; without `out` there is no copy.

    `obs` is a table for the labels alone, CSV or Parquet; a cluster of a table of markers has its evidence there. With
    `cellxgene` the columns of its schema are written, too.
    `work` is what works the answers out: `work_out`, or another of its form for obs that are no cells. A file that is
    `known` was written here and is not walked.

    Raises
    ------
    InputError
        Anything the user can correct about the input, the arguments or the output; no file is left behind.
    """
    check_paths(source, out, report, obs, overwrite=overwrite, writes=llm is None or not llm.dry_run)
    by_cell = options.groupby == CELL
    _refuse_what_does_not_fit(
        by_cell,
        of_sets=report is not None or llm is not None,
        dask=dask is not None,
        lost=cellxgene and not out,
    )
    adata = open_h5ad(source, backed=by_cell, known=known)
    asked: dict[str, Any] = {}
    try:
        rounds = 2.0 if llm is not None and not llm.dry_run else 1.0  # the model's answers are the second
        with progress(f"annotating {source.stem}", total=rounds * adata.n_obs) as done:
            if dask is not None:
                from gather.cells.dask_cluster import work_out_on_dask

                outcome = work_out_on_dask(source, adata, graph, options, dask, done=done)
            else:
                relabel = tuple if llm is None else _with_model(llm, adata, graph, options, asked, done)
                outcome = work(adata, graph, options, relabel=relabel, done=done)
    finally:
        if adata.isbacked:
            adata.file.close()
    _say_what_was_read(outcome, graph, options, adata)
    if llm is not None and llm.dry_run:
        return outcome
    if asked:
        outcome.kept["llm"] = asked
        err().print(_what_it_took(asked), highlight=False, markup=False)
    if obs is not None:
        evidence = {} if work is work_out else _evidence_in_words(outcome, options.key_added)
        write_labels(obs, adata.obs_names, outcome.columns | evidence)
    if cellxgene:
        _add_cellxgene(adata, outcome, options)
    if out is not None:
        held = None if by_cell else adata
        write_annotated(
            source,
            out,
            outcome.columns,
            options.key_added,
            outcome.kept,
            held=held,
            outdated=outcome.outdated,
        )
    if report is not None:
        _write_report(report, source, adata, graph, outcome, options, asked, of_cells=work is work_out)
    return outcome


def _evidence_in_words(outcome: Outcome, key: str) -> dict[str, Any]:
    """Return what speaks for and against the label of every cluster, as the terminal says it."""
    table = Results(outcome.annotations, "").table()
    return {f"{key}_{name.replace(' ', '_')}": table[name].tolist() for name in ("best evidence", "against")}


def _refuse_what_does_not_fit(by_cell: bool, *, of_sets: bool, dask: bool, lost: bool) -> None:
    """Refuse outputs of cell sets for single cells, Dask for cell sets, and columns that no file would hold."""
    if lost:
        raise InputError("--cellxgene adds columns to the annotated copy; give it by -o OUT.h5ad")
    if dask and not by_cell:
        raise InputError("--dask spreads single cells; add --groupby cell")
    if by_cell and of_sets:
        raise InputError("--report and --model are for cell sets; choose another --groupby than cell")


def _say_what_was_read(outcome: Outcome, graph: Graph, options: Options, adata: ad.AnnData) -> None:
    """Say the species, the names that are no genes, and which cell types are preferred and left."""
    parameters = outcome.kept["parameters"]
    told = str(parameters.get("species") or HUMAN)
    lines = [told, str(parameters.get("unknown_genes", ""))]
    column, tissue = ("", "") if options.tissue else tissue_of_file(graph, adata.obs)
    if tissue:
        hint = f"obs[{column!r}] names the tissue: --tissue {shlex.quote(tissue)} would prefer its cell types"
        lines.append(hint)
    seen = graph_for(graph, told.partition(",")[0])
    if options.tissue:
        lines += _what_the_tissue_did(seen, options, outcome)
    if (left := parameters["candidate_types"]) >= 0:
        lines.append(f"candidates left: {left:,} of {seen.nodes_of('Cell').size:,} cell types")
    if read := readings(seen, options.candidates or ()):
        lines.append(f"candidates read: {', '.join(read)}")
    for line in filter(None, lines):
        err().print(line, highlight=False, markup=False, soft_wrap=True)


def _what_the_tissue_did(graph: Graph, options: Options, outcome: Outcome) -> Iterator[str]:
    """Say how many types the tissue prefers, what it may mean, what it changed, and whether it fits the cells."""
    tissue = str(options.tissue)
    where, preferred = tissue_in_words(graph, tissue), types_of_tissue(graph, tissue)
    what = "are preferred" if preferred else "are known there, so that it changes nothing"
    yield f"tissue {where}: {len(preferred):,} of {graph.nodes_of('Cell').size:,} cell types {what}"
    if exact := more_exact_tissues(graph, tissue):
        yield f"{tissue!r} is a part of several organs; name one: {', '.join(exact)}"
    if options.candidates and preferred:
        listed = ground_cell_types(graph, list(options.candidates), where="candidates")
        yield f"{len(np.intersect1d(listed, preferred)):,} of the {len(listed):,} candidates are preferred"
    noted = ((a, a.note.partition(OTHERWISE)[2].partition(";")[0]) for a in outcome.annotations)
    changed = [(a.cell_set, a.label, before) for a, before in noted if before not in ("", a.label)]
    if changed:
        shown = "; ".join(f"{name}: {label}, not {before}" for name, label, before in changed[:SHOWN_CHANGES])
        more = "; ..." * (len(changed) > SHOWN_CHANGES)
        yield f"the tissue changed {len(changed)} of {counted(len(outcome.annotations), 'label')}: {shown}{more}"
    elif outcome.annotations and preferred:
        yield "the tissue changed no label"
    elif preferred:
        cells = int(outcome.kept["parameters"]["cells_changed_by_tissue"])
        yield f"the tissue changed the answer of {cells:,} of {counted(len(outcome.cell_set), 'cell')}"
    best = pd.Series(outcome.columns[f"{options.key_added}_best_{CELL_TYPE}"].astype(str))
    inside = best.isin([graph.ids[i] for i in preferred])[best != UNKNOWN].mean() if preferred else 1.0
    inside = outcome.kept["parameters"].get("answers_known_in_tissue", inside)  # only single cells have it
    if inside < FITS:
        yield f"is the tissue right? only {inside:.0%} of the best types are known there"


def _add_cellxgene(adata: ad.AnnData, outcome: Outcome, options: Options) -> None:
    """Add the columns of CELLxGENE's schema, and say which are still wanted."""
    terms = outcome.columns[f"{options.key_added}_{CELL_TYPE}"]
    human = str(outcome.kept["parameters"].get("species") or "human").startswith("human")
    written, wanted = cellxgene_columns(adata.obs, terms, human=human)
    outcome.columns.update(written)
    still = f"; only you know {', '.join(wanted)}" if wanted else ""
    err().print(
        f"CELLxGENE: wrote {', '.join(written)}{still}", highlight=False, markup=False, soft_wrap=True
    )


def _what_it_took(asked: dict[str, Any]) -> str:
    """The counts of the LLM step in one line."""
    said = (
        f"{asked['model']}: {counted(asked['calls'], 'call')}, {asked['cached']} more from the cache, "
        f"{asked['prompt_tokens']:,} prompt and {asked['completion_tokens']:,} completion tokens"
    )
    if asked["fallbacks"] == "none":
        return said
    reasons = asked["fallbacks"].replace("|", ", ").replace(":", " ").replace("_", " ")
    return f"{said}; cell sets that keep retrieval's label: {reasons}"


def _with_model(
    step: LlmStep,
    adata: ad.AnnData,
    graph: Graph,
    options: Options,
    asked: dict[str, Any],
    done: Callable[[float], None],
) -> Callable[[tuple[Annotation, ...]], tuple[Annotation, ...]]:
    """Return the LLM step, or with a dry run one that counts and asks nothing."""
    from gather.llm.cache import ReplyCache, default_cache_path
    from gather.llm.client import OPENAI_URL, Client

    cache = ReplyCache(default_cache_path())
    if not step.dry_run:
        asked_of = Client(step.model, base_url=step.base_url, cache=cache, timeout_s=step.timeout_s)
        err().print(f"{step.model} at {asked_of.base_url} is asked once a cell set", highlight=False)
        return asking(asked_of, adata, graph, options, asked, workers=step.workers, done=done)
    client = Client(step.model, base_url=step.base_url or OPENAI_URL, cache=cache)  # needs no key

    def count(annotations: tuple[Annotation, ...]) -> tuple[Annotation, ...]:
        from gather.llm.label import dry_run

        terms = declared_terms(adata, graph, options)
        plan = dry_run(annotations, client, candidates=terms, tissue=options.tissue or "")
        err().print(
            f"{counted(plan.calls, 'call')} for {counted(plan.cell_sets, 'cell set')} ({plan.cached} in the cache), "
            f"about {plan.prompt_tokens:,} prompt tokens ({plan.shared_prefix_tokens:,} of each shared) "
            f"and {plan.completion_tokens:,} completion tokens; nothing was asked and nothing written",
            highlight=False,
        )
        return annotations

    return count


def _write_report(
    path: Path,
    source: Path,
    adata: ad.AnnData,
    graph: Graph,
    outcome: Outcome,
    options: Options,
    asked: dict[str, Any],
    *,
    of_cells: bool,
) -> None:
    from gather.report.page import embedding_of, write_report
    from gather.report.review_block import review_block

    embedding = embedding_of(adata, outcome.cell_set)
    if embedding is None and of_cells:
        embedding = _computed_embedding(adata, graph, outcome, options)
    write_report(
        outcome.annotations,
        path,
        title=source.name if of_cells else source.stem,
        graph=graph.manifest,
        embedding=embedding,
        parameters=outcome.kept["parameters"],
        versions=outcome.kept["versions"],
        model=asked or None,
        review=review_block(graph, adata.obs_names.astype(str), outcome.annotations, options.key_added),
    )


def _computed_embedding(
    adata: ad.AnnData, graph: Graph, outcome: Outcome, options: Options
) -> Embedding | None:
    """Return a UMAP of the cells for a file that brings no embedding; None without scanpy or with too few cells."""
    from gather.cells.clusters import umap
    from gather.cells.expression import read_expression
    from gather.report.page import Embedding

    if find_spec("scanpy") is None:
        err().print(
            "the page has no map of the cells: the file has no embedding, and computing one needs scanpy; run "
            "`pip install 'vckg[leiden]'`",
            highlight=False,
            markup=False,
        )
        return None
    err().print("computing a UMAP for the page, the file has no embedding ...", highlight=False)
    found = umap(read_expression(adata, graph, layer=options.layer, species=options.species), options.seed)
    if found is None:
        return None
    cells, places = found
    return Embedding("UMAP computed for this page", places, outcome.cell_set[cells])
