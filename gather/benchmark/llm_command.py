"""``gather benchmark-llm``: the tables of `gather.benchmark.llm` on real cells and a real endpoint."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vckg.base.atomic import write_text
from vckg.base.console import err, progress
from vckg.base.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from gather.benchmark.llm import Case
    from gather.llm.base import Model
    from vckg.graph.graph import Graph

Loader = Callable[["Graph"], "list[Case]"]


def sentence_cases(path: Path, *, limit: int, seed: int, candidates: Sequence[str] | None = None) -> Loader:
    """Return a loader of cell sentences: JSON lines with `cell_sentence` and `cell_ontology_id`.

    More than `limit` sentences are sampled. Types outside the graph, or outside the closed list `candidates`, are left
    out and counted.
    """
    import numpy as np

    rows = _sentences(path)
    if len(rows) > limit:
        chosen = np.random.default_rng(seed).choice(len(rows), size=limit, replace=False)
        rows = [rows[index] for index in sorted(chosen.tolist())]

    def load(graph: Graph) -> list[Case]:
        from gather.benchmark.llm import make_cases
        from gather.labelling.annotator import Annotator
        from gather.retrieval.query import CellSet, ground_panel

        allowed = _allowed(graph, candidates)
        known = [(genes, truth) for genes, truth in rows if _may_be(graph, truth, allowed)]
        if len(known) < len(rows):
            where = "graph" if allowed is None else "list of candidates"
            err().print(f"{path.name}: {len(rows) - len(known)} types are not in the {where}, left out")
        names = tuple(dict.fromkeys(gene for genes, _ in known for gene in genes))
        annotator = Annotator(graph, ground_panel(graph, names), candidates=allowed)
        sets = [CellSet(str(index), tuple(dict.fromkeys(genes))) for index, (genes, _) in enumerate(known)]
        return make_cases(annotator, sets, [truth for _, truth in known], dataset=path.stem)

    return load


def _allowed(graph: Graph, candidates: Sequence[str] | None) -> list[int] | None:
    """Return the nodes of a closed list of names or ids; None for an open set."""
    from gather.retrieval.candidates import ground_cell_types

    return None if candidates is None else ground_cell_types(graph, list(candidates), where="--candidates")


def _may_be(graph: Graph, truth: str, allowed: Sequence[int] | None) -> bool:
    node = graph.get(truth)
    return node is not None and (allowed is None or node in allowed)


def _sentences(path: Path) -> list[tuple[list[str], str]]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [(row["cell_sentence"].split(), row["cell_ontology_id"].replace("_", ":")) for row in rows]
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not cell sentences ({error!r}); wanted JSON lines with cell_sentence and cell_ontology_id"
        ) from error


def h5ad_cases(
    path: Path, column: str, labels: Path | None, candidates: Sequence[str] | None = None
) -> Loader:
    """Return a loader of the groups of one column, each with its truth.

    `labels` is a table with the columns dataset (the file's stem), label and cl_id; without it the
    groups must be CL ids or labels. Groups without a truth, or with one outside the closed list `candidates`, are left
    out and counted.
    """
    truths = _label_table(labels, path.stem) if labels else {}

    def load(graph: Graph) -> list[Case]:
        from gather.benchmark.llm import make_cases
        from gather.cells.expression import rank_cell_sets, read_expression
        from gather.cells.file import open_h5ad
        from gather.cells.groups import texts_of
        from gather.labelling.annotator import Annotator

        adata = open_h5ad(path)
        if column not in adata.obs:
            raise InputError(f"{path}: no column {column!r} in obs{did_you_mean(column, adata.obs.columns)}")
        expression = read_expression(adata, graph)
        groups = texts_of(adata.obs[column])
        names = sorted(set(groups) - {""})
        if labels is None:
            found = graph.cells.ground(names)
            truths.update({g.name: g.curie for g in found if g.curie})
        allowed = _allowed(graph, candidates)
        known = {name for name, truth in truths.items() if _may_be(graph, truth, allowed)}
        sets = [s for s in rank_cell_sets(expression, groups.tolist()) if s.name in known]
        if len(sets) < len(names):
            err().print(f"{path.name}: {len(names) - len(sets)} groups have no truth to find, left out")
        annotator = Annotator(graph, expression.panel, candidates=allowed)
        return make_cases(annotator, sets, [truths[s.name] for s in sets], dataset=path.stem)

    return load


def _label_table(path: Path, dataset: str) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
        return {row["label"]: row["cl_id"] for row in rows if row["dataset"] == dataset}
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise InputError(
            f"{path}: wanted a table with the columns dataset, label, cl_id ({error!r})"
        ) from error


def _loader(
    sentences: Path | None,
    h5ad: Sequence[str],
    labels: Path | None,
    candidates: Sequence[str] | None,
    *,
    limit: int,
    seed: int,
) -> Loader:
    """Return one loader of all data sets; means are macro means over them."""
    loaders = list[Loader]()
    if sentences is not None:
        loaders.append(sentence_cases(sentences, limit=limit, seed=seed, candidates=candidates))
    for given in h5ad:
        file, equals, column = given.rpartition("=")
        if not equals or not file or not column:
            raise InputError(f"--h5ad {given}: wanted FILE=COLUMN, e.g. cells.h5ad=cell_type")
        loaders.append(h5ad_cases(Path(file), column, labels, candidates))
    if not loaders:
        raise InputError("nothing to ask about; give --sentences, --h5ad, or both")
    return lambda graph: [case for load in loaders for case in load(graph)]


def tables(
    load: Loader,
    graph: Graph,
    model: Model,
    *,
    candidates: Sequence[str] | None,
    methods: Sequence[str],
    seeds: int,
    seed: int,
    workers: int,
    budgets: Sequence[int],
    items: Sequence[int],
) -> Iterator[str]:
    """Yield the tables as lines of Markdown, each when it is ready."""
    from gather.benchmark.llm import claim, compare, render, render_claim, render_costs, rows
    from gather.llm.evidence_text import KINDS
    from gather.llm.label import shared_candidates
    from gather.ontology import Ontology

    known: dict[str, list[Case]] = {}

    def once(of: Graph) -> list[Case]:
        return known.get(of.content_hash) or known.setdefault(of.content_hash, load(of))

    ontology, cases = Ontology.of_cells(graph), once(graph)
    allowed = _allowed(graph, candidates)
    if allowed is None:
        terms = shared_candidates([case.annotation for case in cases])
    else:
        terms = [(graph.ids[node], graph.names[node]) for node in allowed]
    offered = f"{'open' if allowed is None else 'closed'} set, {len(terms)} candidates"
    yield f"{len(cases)} cell sets, {offered} offered to every method, {seeds} seed genes."
    yield ""
    with progress("asking", total=float(len(methods))) as done:
        results = compare(
            once,
            graph,
            model,
            methods=methods,
            candidates=terms,
            seeds=seeds,
            seed=seed,
            workers=workers,
            done=done,
        )
    yield from render(rows(results, cases, ontology, [curie for curie, _ in terms]))
    if budgets or items:
        steps = float(len(KINDS) * (len(budgets) + len(items)))
        with progress("asking with each kind of evidence", total=steps) as done:
            table = claim(
                cases, model, candidates=terms, budgets=budgets, items=items, workers=workers, done=done
            )
        yield "\nThe same step fed with each kind of evidence; an unusable reply is a wrong answer.\n"
        yield from render_claim(table, cases, ontology)
    yield "\nCalls a question at most, by the number of seed genes.\n"
    yield from render_costs()


def benchmark_llm(
    model: Annotated[str, typer.Option("--model", "-m", help="Name of the model at the endpoint.")],
    sentences: Annotated[
        Path | None, typer.Option(help="Cell sentences: JSON lines (SC-Arena's form).")
    ] = None,
    h5ad: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE=COLUMN", help="Labelled cells and their column of obs; may be repeated."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="With --h5ad: table of dataset (file stem), label, cl_id.")
    ] = None,
    candidates: Annotated[
        Path | None, typer.Option(help="File of names or ids, one a line: only these may be answered.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="With --sentences: how many.")] = 100,
    method: Annotated[list[str] | None, typer.Option(help="Only this method; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Genes the KG-RAG methods start from.")] = 10,
    claim: Annotated[bool, typer.Option(help="Also the table of kinds of evidence.")] = True,
    budget: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="With --claim: tokens of evidence; may be repeated. [default: 200, 400, 800; none with --items]",
        ),
    ] = None,
    items: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="With --claim: items of evidence; may be repeated. [default: 5, 10; none with --budget]",
        ),
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds a reply may take.")] = 120.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a reply at most.")] = 1024,
    connections: Annotated[int, typer.Option(min=1, help="Calls in flight.")] = 4,
    seed: Annotated[int, typer.Option(help="Of random choices.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write the tables here.")] = None,
    graph: Annotated[Path | None, typer.Option("--graph", "-g", help="Graph folder.")] = None,
) -> None:
    """Compare GATHER, ToG, ToG-2, RoG, Plan-on-Graph and the bare model on the same questions."""
    import vckg
    from gather.benchmark.llm import BUDGETS, ITEMS, method_names
    from gather.llm.cache import ReplyCache, default_cache_path
    from gather.llm.client import Client
    from gather.retrieval.candidates import read_candidate_names

    for name in method or ():
        if name not in method_names():
            hint = did_you_mean(name, method_names())
            raise InputError(f"no method {name!r}{hint}; one of {', '.join(method_names())}")
    listed = None if candidates is None else read_candidate_names(candidates)
    load = _loader(sentences, h5ad or (), labels, listed, limit=limit, seed=seed)
    cache = ReplyCache(default_cache_path())
    client = Client(model, base_url=base_url, cache=cache, timeout_s=timeout, max_tokens=max_tokens)
    loaded = vckg.load(graph)
    lines = [
        f"model {model}, {client.sampling}; graph {loaded.content_hash[:12]}; "
        f"Python {platform.python_version()}, {platform.machine()}"
    ]
    typer.echo(lines[0])
    written = tables(
        load,
        loaded,
        client,
        candidates=listed,
        methods=method or method_names(),
        seeds=seeds,
        seed=seed,
        workers=connections,
        budgets=(budget or (() if items else BUDGETS)) if claim else (),
        items=(items or (() if budget else ITEMS)) if claim else (),
    )
    for line in written:
        typer.echo(line)
        lines.append(line)
    if output is not None:
        write_text(output, "\n".join(lines) + "\n")
