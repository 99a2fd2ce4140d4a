"""The command ``gather``: parse the words, call, print."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gather.benchmark.command import benchmark
from gather.benchmark.llm_command import benchmark_llm
from gather.mcp.command import mcp
from gather.review.command import apply, cas
from vckg.base.console import err, out, run
from vckg.base.errors import InputError
from vckg.base.words import counted, json_text
from vckg.command_app import Application

if TYPE_CHECKING:
    from gather.annotation import EvidenceItem
    from vckg.graph.graph import Graph

app = Application(
    "gather", "Name cells with evidence from a knowledge graph: where the genes of a cell set converge."
)

GraphOption = Annotated[
    Path | None, typer.Option("--graph", "-g", help="Graph folder; by default the one `vckg` keeps.")
]
ScoreOption = Annotated[str, typer.Option(help="calibrated (the default) or paper (the published score).")]
HopsOption = Annotated[int, typer.Option(help="Longest walk of a gene, 1 to 3 edges; is_a may follow.")]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option("--exclude-source", help="Source whose edges do not count; may be repeated."),
]
TissueOption = Annotated[
    str | None, typer.Option(help="UBERON id or name: cell types known there are preferred.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command()
def annotate(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="h5ad, 10x .h5 or folder, loom, zarr, h5mu, csv or tsv, or a table of markers; never modified.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT.h5ad|csv",
            help="The annotated copy, or the labels alone as .csv; by default NAME.gather.h5ad. A folder for several.",
        ),
    ] = None,
    groupby: Annotated[
        str,
        typer.Option(help="Column of obs or of a table, or auto (Leiden clusters), or cell (every cell)."),
    ] = "auto",
    score: ScoreOption = "calibrated",
    hops: HopsOption = 2,
    top: Annotated[int, typer.Option(help="Query genes of a cell set.")] = 50,
    ranking: Annotated[
        str, typer.Option(help="specific, t-test, t-test_overestim_var, wilcoxon or logreg.")
    ] = "specific",
    layer: Annotated[str | None, typer.Option(help="Layer with counts or log-normalised values.")] = None,
    tissue: TissueOption = None,
    candidates: Annotated[
        Path | None, typer.Option(help="File with one CL id or label a line: only these.")
    ] = None,
    candidates_from_obs: Annotated[
        str | None, typer.Option(help="Column of obs with CL ids or labels: only these.")
    ] = None,
    exclude_source: ExcludeOption = None,
    threshold: Annotated[
        float | None, typer.Option(help="Least confidence of an answer, 0 to 1. Default 0.65.")
    ] = None,
    key_added: Annotated[
        str, typer.Option(help="Prefix of the new obs columns, name of the uns entry.")
    ] = "gather",
    seed: Annotated[int, typer.Option(help="Seed of the clustering.")] = 0,
    report: Annotated[Path | None, typer.Option(help="Also write a self-contained HTML page.")] = None,
    obs: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.csv|parquet",
            help="Table of the labels alone, a row a cell; without -o nothing else is written.",
        ),
    ] = None,
    cellxgene: Annotated[
        bool, typer.Option("--cellxgene", help="Also write the ontology columns of CELLxGENE's schema 7.")
    ] = False,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="LLM for at most one call a cell set.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint of the LLM.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --model: count calls and tokens, ask nothing.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, help="With --model: seconds a reply may take.")] = 120.0,
    connections: Annotated[int, typer.Option(min=1, help="With --model: calls in flight.")] = 8,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="With --groupby cell: a Dask scheduler, or local.")
    ] = None,
    sample_key: Annotated[
        str | None, typer.Option(help="Column of obs with the sample or donor: genes are ranked within each.")
    ] = None,
    species: Annotated[
        str, typer.Option(help="human, mouse, rat, macaque, pig, or auto (told by the genes).")
    ] = "auto",
    modality: Annotated[
        str | None, typer.Option(help="Modality of an h5mu, or table of a SpatialData store; RNA by default.")
    ] = None,
    markers: Annotated[
        bool, typer.Option("--markers", help="Of an h5ad: annotate its uns['rank_genes_groups'].")
    ] = False,
    measured: Annotated[
        Path | None,
        typer.Option(metavar="GENES", help="With a table of markers: all genes that were measured."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing output.")] = False,
    graph: GraphOption = None,
    as_json: JsonOption = False,
) -> None:
    """Annotate cells or markers: labels with Cell Ontology ids, confidence, false discovery rate and evidence."""
    from gather.cells.options import LlmStep, Options, require_grouping
    from gather.inputs.jobs import Reading, jobs_of

    if model is None and (dry_run or base_url is not None):
        given = "--dry-run" if dry_run else "--base-url"
        raise InputError(f"{given} is about a language model; name one with --model, or leave {given} out")
    writes = not (dry_run and model)
    jobs = jobs_of(
        sources, output, report, obs, overwrite=force or not writes
    )  # before the libraries are loaded
    if not markers and any(job.kind != "marker table" for job in jobs):
        require_grouping(groupby)

    from gather.cells.terminal import as_dicts, print_outcome
    from gather.inputs.command import annotate_inputs
    from gather.retrieval.candidates import read_candidate_names

    names = None if candidates is None else tuple(read_candidate_names(candidates))
    options = Options(
        groupby=groupby, score=score, hops=hops, top=top, ranking=ranking, layer=layer,  # type: ignore[arg-type]
        tissue=tissue, candidates=names, candidates_from_obs=candidates_from_obs,
        exclude_source=tuple(exclude_source or ()), threshold=threshold, key_added=key_added, seed=seed,
        sample_key=sample_key, species=species,
    )  # fmt: skip
    step = None if model is None else LlmStep(model, base_url, dry_run, timeout, connections)
    reading = Reading(modality, markers, measured)
    outcomes = annotate_inputs(
        jobs, _graph(graph), options, reading, overwrite=force, cellxgene=cellxgene, llm=step, dask=dask
    )
    if as_json:
        typer.echo(json_text([d for o in outcomes for d in as_dicts(o, key_added)]))
    for job, outcome in zip(jobs, outcomes, strict=True):
        if not as_json:
            print_outcome(outcome, key_added)
        if writes:
            written = " and ".join(str(path) for path in (job.out, job.report, job.obs) if path)
            err().print(f"wrote {written}")


@app.command()
def cite(
    source: Annotated[Path, typer.Argument(metavar="OUT.h5ad", help="What `gather annotate` wrote.")],
    key_added: Annotated[str, typer.Option(help="Name of the uns entry.")] = "gather",
    graph: GraphOption = None,
) -> None:
    """Print a methods paragraph and the BibTeX of exactly what an annotation used."""
    from gather.cells.file import check_input

    check_input(source)  # before the libraries are loaded
    from gather.cells.cite import cite as cited

    typer.echo(cited(source, _graph(graph), key_added), nl=False)


@app.command()
def check(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Labelled cells: h5ad, loom, zarr, h5mu.")],
    labels: Annotated[
        list[str],
        typer.Option("--labels", metavar="COLUMN", help="Column of obs with labels; may be repeated."),
    ],
    groupby: Annotated[
        str | None, typer.Option(help="Column of obs with the cell sets, or auto; else the first labels.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT.h5ad", help="Copy with the opinions.")
    ] = None,
    table: Annotated[Path | None, typer.Option(help="One row a label, as .tsv or .csv.")] = None,
    report: Annotated[Path | None, typer.Option(help="A self-contained HTML page.")] = None,
    mapping: Annotated[
        Path | None, typer.Option(metavar="MAP.tsv", help="CL ids of labels that you decided.")
    ] = None,
    write_mapping: Annotated[
        Path | None, typer.Option("--write-mapping", metavar="MAP.tsv", help="What labels mean, to edit.")
    ] = None,
    weight: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=NUMBER", help="Weight in the consensus; 1 by default.")
    ] = None,
    top: Annotated[int, typer.Option(help="Query genes of a cell set.")] = 50,
    ranking: Annotated[
        str, typer.Option(help="specific, t-test, t-test_overestim_var, wilcoxon or logreg.")
    ] = "specific",
    layer: Annotated[str | None, typer.Option(help="Layer with counts or log-normalised values.")] = None,
    tissue: TissueOption = None,
    species: Annotated[str, typer.Option(help="human, mouse, or auto (told by the genes).")] = "auto",
    modality: Annotated[str | None, typer.Option(help="Modality of an h5mu; RNA by default.")] = None,
    exclude_source: ExcludeOption = None,
    key_added: Annotated[str, typer.Option(help="Prefix of the new obs columns.")] = "check",
    seed: Annotated[int, typer.Option(help="Seed of the clustering.")] = 0,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing outputs.")] = False,
    graph: GraphOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check labels against the evidence: what each means, what speaks for and against it, which to look at first."""
    from gather.inputs.kinds import kind_of

    kind_of(source)

    from gather.cells.options import Options
    from gather.checking.check import Question
    from gather.checking.command import Outputs, check_file, weights_of
    from gather.checking.mapping import read_mapping
    from gather.checking.terminal import print_check

    outputs = Outputs(output, table, report, write_mapping)
    outputs.refuse(source, mapping, overwrite=force)
    weights = weights_of(weight or [])
    options = Options(
        top=top, ranking=ranking, layer=layer, tissue=tissue, species=species,  # type: ignore[arg-type]
        key_added=key_added, seed=seed,
        exclude_source=tuple(exclude_source or ()),
    )  # fmt: skip
    loaded = _graph(graph)
    decided = None if mapping is None else read_mapping(mapping, loaded)
    question = Question(tuple(labels), groupby, decided, weights)
    found = check_file(source, loaded, question, options, outputs, modality=modality)
    if as_json:
        typer.echo(json_text(found.to_dict()))
    else:
        print_check(found)
    if outputs.paths:
        err().print(f"wrote {', '.join(map(str, outputs.paths))}", soft_wrap=True)


@app.command()
def data(
    name: Annotated[str, typer.Argument(help="immune or lung.")],
    source: Annotated[
        Path | None, typer.Argument(help="Its public h5ad; without it, where to get it.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON lines to write.")] = None,
    small: Annotated[bool, typer.Option("--small", help="Draw the official small set.")] = False,
    label_map: Annotated[Path | None, typer.Option(help="Table of label and cl_id.")] = None,
    graph: GraphOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one of the paper's two test sets as cell sentences, from its public file."""
    from gather.benchmark.paper_data import prepare

    out = output or Path(f"{name}.jsonl")
    prepared = prepare(name, source, out, _graph(graph), small=small, label_map=label_map)
    if as_json:
        typer.echo(json.dumps(asdict(prepared), sort_keys=True, default=str))
        return
    typer.echo(f"{prepared.sentences:,} sentences of {prepared.cells:,} cells, {prepared.labels} labels")
    for label, cells in prepared.unmapped.items():
        err().print(f"left out, no Cell Ontology term: {label} ({cells:,} cells)")


@app.command()
def explain(
    genes: Annotated[list[str], typer.Argument(metavar="GENE...", help="Genes, best first.")],
    target: Annotated[
        str, typer.Option(help="Cell, BiologicalProcess, Pathway, AnatomicalEntity, Disease, Regulon, ...")
    ] = "Cell",
    score: ScoreOption = "calibrated",
    hops: HopsOption = 2,
    top: Annotated[int, typer.Option(min=1, help="How many nodes to show.")] = 5,
    walks: Annotated[int, typer.Option(min=0, help="How many walks of each.")] = 5,
    tissue: TissueOption = None,
    exclude_source: ExcludeOption = None,
    species: Annotated[str, typer.Option(help="human, mouse, or auto (told by the genes).")] = "auto",
    graph: GraphOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show where genes converge in the graph, with the walks and where every edge comes from."""
    from gather.labelling.explain import ALONE, ORDER
    from gather.labelling.explain import explain as explain_genes
    from gather.retrieval.unknown_names import with_hints

    explained = explain_genes(
        " ".join(genes),
        graph=_graph(graph),
        target=target,
        score=score,
        hops=hops,
        top=top,
        walks=walks,
        tissue=tissue,
        exclude_source=tuple(exclude_source or ()),
        species=species,
    )
    if as_json:
        typer.echo(json_text(explained.to_dict()))
        return
    if species == "auto" and explained.species != "human":
        err().print(f"{explained.species} genes by their symbols; --species human for others")
    for reason, names in (("ambiguous", explained.query.ambiguous), ("unknown", explained.query.ungrounded)):
        if names:
            line = f"{reason}: {with_hints(names, explained.hints)}"
            err().print(line, soft_wrap=True)
    if explained.read_as:
        read = ", ".join(f"{name} is {symbol}" for name, symbol in explained.read_as.items())
        err().print(f"read by other names: {read}", soft_wrap=True)
    if explained.verdict:
        out().print(explained.verdict)
        if explained.remark:
            out().print(explained.remark, soft_wrap=True)
        err().print(ALONE, soft_wrap=True)
    scores = [item.score for item in explained.items]
    if scores != sorted(scores, reverse=True):
        out().print(ORDER, soft_wrap=True)
    for item in explained.items:
        _print_item(item)
    if not explained.items and (explained.answer is None or explained.answer.status != "ungrounded"):
        out().print(f"no {explained.target} is reached by these genes")


def _graph(folder: Path | None) -> Graph:
    import vckg

    return vckg.load(folder)


def _print_item(item: EvidenceItem) -> None:
    """Print one convergence node: genes, walks, and each step's best edge."""
    from gather.annotation import sources_in_words

    say = out().print

    say(f"{item.id} {item.name} ({item.curie}, {item.category})", style="bold")
    reached = f"reached by {counted(item.n_genes, 'gene')}"
    say(f"   score {item.score:.3f}  p {item.p:.2g}  FDR {item.fdr:.2g}  {reached}")
    shown = ", ".join(f"{g.symbol} {g.contribution:.0%}" for g in item.genes[:8])
    say(f"   genes: {shown}")
    for walk in item.walks:
        say(f"   weight {walk.weight:.3g}  {' - '.join(walk.names)}")
        for step in walk.steps:
            best = step[0]
            cited = f", {', '.join(best.publications[:3])}" if best.publications else ""
            more = f" ({sources_in_words(step)})" if len(step) > 1 or best.orthologue else ""
            say(
                f"           {best.subject_name} {best.relation} {best.object_name}: {best.cited_source}, "
                f"{best.licence}, {best.knowledge_level}{cited}{more}"
            )


app.command("apply")(apply)
app.command("cas")(cas)
app.command("mcp")(mcp)
app.command("benchmark")(benchmark)
app.command("benchmark-llm")(benchmark_llm)


def main() -> None:
    """Entry point of the script."""
    run(app, "gather")


if __name__ == "__main__":
    main()
