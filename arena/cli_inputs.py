"""Arguments of ``arena`` turned into what its commands work with: data sets, samples, contestants, prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from arena.cli_output import reason_missing, say_missing, say_replayed
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from arena.contestants.resolve import Contestant
    from arena.official import Official
    from arena.types import Sample, TaskName
    from vckg.graph.graph import Graph


def load_graph(folder: Path | None) -> Graph:
    """Return the graph of a folder, or the default graph."""
    import vckg

    return vckg.load(folder)


def dataset_name(dataset: str, compat: str) -> str:
    """Return the data set that ``--dataset`` and ``--compat`` name together."""
    if not compat:
        return dataset
    if compat != "sc-arena" or dataset not in ("fresh", "sc-arena", "sc-arena-compat"):
        raise InputError(
            f"--compat {compat!r}: only 'sc-arena' has an untouched form; write --compat sc-arena"
        )
    return "sc-arena-compat"


def make_all_samples(
    dataset: str, graph: Graph, tasks: Sequence[TaskName], seed: int, limit: int | None
) -> tuple[str, dict[TaskName, list[Sample]]]:
    """Return the name and the samples of a data set, and name the tasks that it does not allow."""
    from arena.datasets import make_cells
    from arena.tasks.samples import make_samples
    from vckg.base.console import progress

    with progress(f"making samples ({dataset})"):
        name, cells = make_cells(dataset, graph, seed=seed)
        samples = make_samples(cells, tasks, seed=seed, limit=limit)
    if not samples:
        raise InputError(
            f"{dataset} has no samples of {', '.join(tasks)}"
            + (reason_missing(dataset, *tasks) or f"; see `arena data -d {dataset}`")
        )
    say_missing(name, tasks, samples)
    return name, samples


def official_words(checkout: Path | None, dataset: str) -> Official | None:
    """Return SC-Arena's own words for its untouched data; None without a checkout."""
    from arena.official import Official

    if checkout is not None and dataset != "sc-arena-compat":
        raise InputError(
            f"--official: SC-Arena's words fit its untouched data, not {dataset}; add --compat sc-arena"
        )
    return None if checkout is None else Official(checkout)


def add_cells(path: Path, graph: Graph, *, label: str, tissue: str, species: str, seed: int) -> None:
    """Add a file of labelled cells to the fresh set; print how its labels were read and which types give no sample."""
    from arena.datasets.admission import Admission
    from arena.datasets.cell_files import LABEL_MAP, list_own, read_own, user_table
    from arena.datasets.lineages import CellTerms
    from arena.datasets.real import cells_of
    from gather.retrieval.tissue_names import tissue_in_words, tissue_node

    if species not in ("human", "mouse"):
        raise InputError(f"--species {species!r}: wanted human or mouse")
    where = graph.names[tissue_node(graph, tissue)] if tissue else ""
    added = read_own(path, graph, label=label, species=species, tissue=where)
    types, entry = set(added.types) - {""}, Admission(CellTerms(graph), seed)
    if not any(map(entry.is_type, types)):
        general = [f"{graph.names[graph.index(one)]}: too general" for one in sorted(types)]
        examples = _first([*sorted(added.unnamed), *general] or ["it is empty"], 5)
        raise InputError(
            f"{path}: no label of {label!r} names a cell type ({examples}); name another "
            f"column by --label, or write a {LABEL_MAP} next to it with the columns set, label, cl_id"
        )
    unnamed = [f"{name} {n:,}" for name, n in sorted(added.unnamed.items())]
    earlier, name = list_own(added.source), added.source.name
    of_types = f"rows: {len(added.types):,}, cell types: {len(types)}"
    print(f"{path}: is {name!r} in the fresh set; {of_types}; listed in {user_table()}")
    if earlier is not None:
        print(f"replaced: the earlier {name!r}, the labels of {earlier.label!r} in {earlier.file}")
    if tissue:
        print(f"tissue: {tissue_in_words(graph, tissue)}")
    for what, words in (("labels read", added.readings), ("labels without a cell type", unnamed)):
        if words:
            print(f"{what}: {_first(words, 10)}")
    list(cells_of(added, entry))
    if entry.absent:
        print(f"types without a sample of a cell (seed {seed}): {len(entry.absent)} of {len(types)}")
    for reason in sorted(set(entry.absent.values())):
        ids = [cl_id for (_set, cl_id), why in entry.absent.items() if why == reason]
        print(f"  {reason} ({len(ids)}): {_first([graph.names[graph.index(i)] for i in ids], 5)}")
    if added.filtered:
        print(
            f"warning: {path} lacks most housekeeping genes; it may be filtered to its {len(added.genes)} genes, and a "
            "model cannot tell a gene that was left out from one that the cells lack"
        )


def _first(words: Sequence[str], most: int) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if words[most:] else "")


def programs(tasks: Sequence[TaskName]) -> list[str]:
    """Return contestants without a model: retrieval, and the baselines that take part in one of the tasks."""
    from arena.contestants.baselines import BASELINES

    return ["gather", *(n for n, b in BASELINES.items() if b.kind != "ceiling" and set(b.tasks) & set(tasks))]


def url_for(model: str, base_url: str) -> str:
    """Return the URL for a model, none for programs."""
    from arena.contestants.baselines import BASELINES

    return "" if model in BASELINES or model == "gather" or model.startswith("replay:") else base_url


def check_tasks(contestant: Contestant, tasks: Sequence[TaskName]) -> None:
    """Raise `InputError` where a contestant takes part in none of the tasks."""
    if not set(contestant.tasks) & set(tasks):
        raise InputError(
            f"{contestant.name} takes part in {', '.join(contestant.tasks)} only, not in {', '.join(tasks)}; "
            "leave it out, or choose one of its tasks with --task"
        )


def samples_for(
    samples: Mapping[TaskName, list[Sample]], contestant: Contestant
) -> dict[TaskName, list[Sample]]:
    """Return the samples of the tasks that the contestant takes part in."""
    check_tasks(contestant, tuple(samples))
    chosen = {task: listed for task, listed in samples.items() if task in contestant.tasks}
    if contestant.content:
        say_replayed(Path(contestant.args["answers"]), [s for listed in chosen.values() for s in listed])
    return chosen


def read_prices(text: str) -> tuple[float, float] | None:
    """Return the two prices of ``--price``; None where it is empty."""
    if not text:
        return None
    try:
        price_in, price_out = (float(part) for part in text.split(","))
    except ValueError:
        price_in = price_out = -1.0
    if not (0 <= price_in < inf and 0 <= price_out < inf):
        raise InputError(f"--price {text!r}: wanted two numbers from 0 on, e.g. --price 0.15,0.60")
    return price_in, price_out
