"""``gather annotate --groupby cell --dask ADDRESS``: blocks of cells spread over a Dask cluster.

Each task opens the file and the graph by path on its worker (a shared file system), so nothing large travels. A
block's answer depends only on the block and the counts of the first pass: the result is the serial one, byte
for byte, whichever worker did what and however often a lost one's blocks were done again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gather.cells.adata import Outcome, check_key, describe, summary
from gather.cells.cell_answers import CellAnswers, obs_of
from gather.cells.choice import choice_of
from gather.cells.expression import names_that_ground, species_of
from gather.cells.file import open_h5ad
from gather.cells.options import Options
from gather.cells.per_cell import (
    CellAnnotator,
    make_annotator,
    opened_file,
    stream,
    survey_in_threads,
)
from gather.cells.row_blocks import Rows
from gather.cells.values import Place, Survey, choose, places, rows_of
from gather.ontology import Ontology
from gather.retrieval.candidates import Choice
from gather.species import declared_taxon, in_words
from vckg.base.errors import InputError

if TYPE_CHECKING:
    import anndata as ad

    from vckg.graph.graph import Graph

CELLS_PER_TASK = 20_000
RETRIES = 3


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs to know; small and hashable."""

    source: str
    graph: str
    options: Options
    choice: Choice


def work_out_on_dask(
    source: Path,
    adata: ad.AnnData,
    graph: Graph,
    options: Options,
    address: str,
    *,
    done: Callable[[float], None] = lambda _steps: None,
    client: Any = None,
) -> Outcome:
    """Return what `gather.cells.adata.work_out` returns for single cells, worked out by a cluster.

    Parameters
    ----------
    address
        Of a scheduler (``tcp://host:8786``), or ``local`` for two workers on this machine.
    client
        A connected client, used instead of `address`.

    Raises
    ------
    InputError
        Dask is not installed, the scheduler does not answer, or the graph has no folder that workers could
        open.
    """
    earlier = check_key(adata, options.key_added)
    parameters = options.parameters()
    choice = choice_of(graph, options, adata)
    if graph.folder is None:
        raise InputError(
            "the graph is in memory only; save it with graph.save(folder) so that workers can open it"
        )
    job = Job(str(source.resolve()), str(graph.folder), options, choice)
    with ExitStack() as stack:
        client = client or stack.enter_context(_connected(address))
        n = adata.n_obs
        spans = [(low, min(low + CELLS_PER_TASK, n)) for low in range(0, n, CELLS_PER_TASK)]

        def survey(place: Place) -> Survey:
            calls = [(job, place.where, low, high) for low, high in spans]
            total: Survey = reduce(operator.add, _gathered(client, _survey, calls, spans, done))
            return total

        place, found = choose(adata, options.layer, survey, file=opened_file(adata, stack))
        declared = declared_taxon(adata.obs, adata.uns)
        told = species_of(place.var, wanted=options.species, declared=declared)
        job = replace(job, options=replace(options, species=told.species))
        names_from, panel, seen = names_that_ground(graph, place.var, told)
        shared = client.scatter(found, broadcast=True)
        calls = [(job, place.where, shared, low, high) for low, high in spans]
        parts = _gathered(client, _annotate, calls, spans, done)
    answers = CellAnswers.joined(parts)
    columns = obs_of(answers, Ontology.of_cells(graph))
    named = {f"{options.key_added}_{suffix}": values for suffix, values in columns.items()}
    about = describe(options, choice) | {"values": place.where, "gene_names": names_from}
    about |= {"species": in_words(told, seen, panel)} | answers.changes(choice, Ontology.of_cells(seen))
    kept = summary((), graph, parameters, about)
    return Outcome((), named, kept, np.full(n, -1, np.int32), earlier - named.keys())


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError as error:
        raise InputError("--dask needs Dask; run `pip install 'vckg[dask]'`") from error
    if address == "local":
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address!r} ({error}); start one, or use --dask local"
        ) from error
    with client:
        yield client


def _gathered(
    client: Any,
    task: Callable[..., Any],
    calls: list[tuple[Any, ...]],
    spans: list[tuple[int, int]],
    done: Callable[[float], None],
) -> list[Any]:
    """Results in the order of the calls; lost ones are done again."""
    from dask.distributed import as_completed

    futures = [client.submit(task, *call, pure=False, retries=RETRIES) for call in calls]
    place = {future.key: at for at, future in enumerate(futures)}
    for future in as_completed(futures):
        low, high = spans[place[future.key]]
        done((high - low) / 2)
    return list(client.gather(futures))


@contextmanager
def _opened(job: Job, where: str) -> Iterator[tuple[Rows, Any]]:
    with ExitStack() as stack:
        adata = open_h5ad(Path(job.source), backed=True, known=True)
        stack.callback(adata.file.close)
        found = places(adata, job.options.layer, opened_file(adata, stack))
        place = next(p for p in found if p.where == where)
        yield stack.enter_context(rows_of(place, adata.n_obs)), place.var


def _survey(job: Job, where: str, low: int, high: int) -> Survey:
    with _opened(job, where) as (rows, _var):
        return survey_in_threads(rows, start=low, stop=high)


def _annotate(job: Job, where: str, found: Survey, low: int, high: int) -> CellAnswers:
    with _opened(job, where) as (rows, var):
        annotator = _annotator(job, where, found, rows, var)
        return CellAnswers.joined(stream(rows, annotator, start=low, stop=high, threads=1))


_kept: dict[tuple[Job, str, bytes], CellAnnotator] = {}


def _annotator(job: Job, where: str, found: Survey, rows: Rows, var: Any) -> CellAnnotator:
    """The annotator of a job, made once a worker; a worker that serves another job forgets the last."""
    key = (job, where, found.detected.tobytes())
    if key not in _kept:
        _kept.clear()
        told = species_of(var, wanted=job.options.species)
        _, panel, graph = names_that_ground(_graph(job.graph), var, told)
        parameters = job.options.parameters()
        _kept[key] = make_annotator(rows, panel, found, graph, parameters, job.choice)
    return _kept[key]


@lru_cache(maxsize=1)
def _graph(folder: str) -> Graph:
    from vckg.graph.graph import Graph

    return Graph.load(folder)
