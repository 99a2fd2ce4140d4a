"""What ``gather annotate`` does: read, work out, ask the LLM if wanted, write the copy and the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gather.annotate_adata import CELL, Options, Outcome, allowed_candidates, work_out
from gather.annotate_file import check_output, open_h5ad, write_annotated
from gather.evidence import Annotation
from vckg.console import err, progress
from vckg.errors import InputError

if TYPE_CHECKING:
    import anndata as ad

    from vckg.graph import Graph


@dataclass(frozen=True, slots=True)
class LlmStep:
    """Which model chooses among the candidates, and whether it is only counted what that would take."""

    model: str
    base_url: str | None = None
    dry_run: bool = False


def annotate_file(
    source: Path,
    out: Path,
    graph: Graph,
    options: Options,
    *,
    overwrite: bool = False,
    report: Path | None = None,
    llm: LlmStep | None = None,
    dask: str | None = None,
) -> Outcome:
    """Annotate one file and write the copy, and the page where one is wanted.

    Raises
    ------
    InputError
        Anything the user can mend about the input, the arguments or the output; no file is left behind.
    """
    if out.suffix != ".h5ad":
        raise InputError(f"{out}: the output is an h5ad; give a name that ends in .h5ad")
    check_output(source, out, overwrite=overwrite)
    if report is not None:
        check_output(source, report, overwrite=overwrite)
    by_cell = options.groupby == CELL
    if dask is not None and not by_cell:
        raise InputError("--dask spreads single cells; add --groupby cell")
    if by_cell and (report is not None or llm is not None):
        raise InputError("--report and --model are for cell sets; choose another --groupby than cell")
    adata = open_h5ad(source, backed=by_cell)
    asked: dict[str, Any] = {}
    try:
        with progress(f"annotating {source.name}", total=float(adata.n_obs)) as done:
            if dask is not None:
                from gather.annotate_dask import work_out_on_dask

                outcome = work_out_on_dask(source, adata, graph, options, dask, done=done)
            else:
                relabel = _no_model if llm is None else _with_model(llm, adata, graph, options, asked)
                outcome = work_out(adata, graph, options, relabel=relabel, done=done)
    finally:
        if adata.isbacked:
            adata.file.close()
    if llm is not None and llm.dry_run:
        return outcome
    if asked:
        outcome.kept["llm"] = asked
    write_annotated(source, out, outcome.columns, options.key_added, outcome.kept)
    if report is not None:
        _write_report(report, source, adata, graph, outcome, asked)
    return outcome


def _no_model(annotations: tuple[Annotation, ...]) -> tuple[Annotation, ...]:
    return annotations


def _with_model(
    step: LlmStep, adata: ad.AnnData, graph: Graph, options: Options, asked: dict[str, Any]
) -> Callable[[tuple[Annotation, ...]], tuple[Annotation, ...]]:
    """Return the LLM step; what it took is put into `asked`."""
    from gather.llm import OPENAI_URL, Client, Counted
    from gather.llm_cache import ReplyCache, default_cache_path
    from gather.llm_label import dry_run, label_with_llm

    closed = allowed_candidates(graph, adata, options.tissue, options.candidates, options.candidates_from_obs)
    terms = None if closed is None else [(graph.ids[i], graph.names[i]) for i in closed]

    def relabel(annotations: tuple[Annotation, ...]) -> tuple[Annotation, ...]:
        cache = ReplyCache(default_cache_path())
        if step.dry_run:
            client = Client(step.model, base_url=step.base_url or OPENAI_URL, cache=cache)  # needs no key
            plan = dry_run(annotations, client, candidates=terms, tissue=options.tissue or "")
            err().print(
                f"{plan.calls} calls for {plan.cell_sets} cell sets ({plan.cached} more are in the cache), "
                f"about {plan.prompt_tokens:,} prompt tokens ({plan.shared_prefix_tokens:,} of each shared) "
                f"and {plan.completion_tokens:,} completion tokens; nothing was asked and nothing written",
                highlight=False,
            )
            return annotations
        client = Client(step.model, base_url=step.base_url, cache=cache)
        err().print(f"asking {step.model} about {len(annotations)} cell sets ...", highlight=False)
        run = label_with_llm(annotations, Counted(client), candidates=terms, tissue=options.tissue or "")
        counts = run.counters
        asked.update(
            model=step.model,
            prompts="|".join(run.prompts),
            calls=counts.calls,
            cached=counts.cached,
            failures=counts.failures,
            prompt_tokens=counts.prompt_tokens,
            completion_tokens=counts.completion_tokens,
            fallbacks="|".join(f"{reason}:{n}" for reason, n in run.fallbacks.items()) or "none",
            not_asked=run.not_asked,
        )
        return run.annotations

    return relabel


def _write_report(
    path: Path, source: Path, adata: ad.AnnData, graph: Graph, outcome: Outcome, asked: dict[str, Any]
) -> None:
    from gather.report import embedding_of, write_report

    write_report(
        outcome.annotations,
        path,
        title=source.name,
        graph=graph.manifest,
        embedding=embedding_of(adata, outcome.cell_set),
        parameters=outcome.kept["parameters"],
        versions=outcome.kept["versions"],
        model=asked or None,
    )


__all__ = ["LlmStep", "annotate_file"]
