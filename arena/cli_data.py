"""Commands of ``arena`` on questions without a contestant: data sets, forms for people, submissions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from arena.cli_inputs import add_cells, dataset_name, load_graph, make_all_samples
from arena.cli_options import (
    CompatOption,
    DataOption,
    GraphOption,
    JsonOption,
    LimitOption,
    SeedOption,
    TaskOption,
)
from arena.cli_output import print_summary, say_missing, summarise


def data_command(
    dataset: DataOption = "fresh",
    compat: CompatOption = "",
    task: TaskOption = None,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    graph: GraphOption = None,
    example: Annotated[bool, typer.Option("--example", help="Show one whole sample of each task.")] = False,
    cells: Annotated[Path | None, typer.Option("--cells", help="Write virtual cells as JSON lines.")] = None,
    prompts: Annotated[Path | None, typer.Option("--prompts", help="Write ids and prompts (JSON).")] = None,
    add: Annotated[Path | None, typer.Option("--add", help="Add labelled cells (h5ad) to the set.")] = None,
    label: Annotated[str, typer.Option("--label", help="Its column of cell types.")] = "cell_type",
    tissue: Annotated[str, typer.Option("--tissue", help="Its tissue: UBERON id or name.")] = "",
    species: Annotated[str, typer.Option("--species", help="human or mouse.")] = "human",
    remove: Annotated[str, typer.Option("--remove", help="Take out an added file: name or path.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Show the contents of a data set: samples by task and stratum, clusters, hash; or add a file to the fresh set."""
    from arena.datasets import make_cells
    from arena.datasets.cell_files import remove_file
    from arena.datasets.virtual_cell import write_cells
    from arena.tasks import parse_tasks, render
    from arena.tasks.samples import make_samples
    from vckg.base.atomic import write_text

    if remove:
        row = remove_file(remove)
        print(f"{row.name}: no longer in the fresh set; {row.file} stays as it is")
        return
    if add is not None:
        add_cells(add, load_graph(graph), label=label, tissue=tissue, species=species, seed=seed)
        return
    tasks = parse_tasks(task or ["all"])
    name, virtual_cells = make_cells(dataset_name(dataset, compat), load_graph(graph), seed=seed)
    samples = make_samples(virtual_cells, tasks, seed=seed, limit=limit)
    say_missing(name, tasks, samples)
    if cells is not None:
        write_text(cells, write_cells(virtual_cells))
    if prompts is not None:
        asked = [{"sample_id": s.id, "prompt": render(s)} for listed in samples.values() for s in listed]
        write_text(prompts, (json.dumps(one, ensure_ascii=False) + "\n" for one in asked))
    summary = summarise(name, seed, len(virtual_cells), samples)
    if as_json:
        print(json.dumps(summary, indent=1, ensure_ascii=False))
    else:
        print_summary(summary)
    if example:
        for listed in samples.values():
            print(
                f"\n=== {listed[0].id}\n{render(listed[0])}\n--- gold\n{json.dumps(listed[0].gold, ensure_ascii=False)}"
            )


def form_command(
    read: Annotated[Path | None, typer.Option("--read", help="Filled form to make answers of.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of form and key.")] = Path("form"),
    dataset: DataOption = "fresh",
    seed: SeedOption = 0,
    graph: GraphOption = None,
) -> None:
    """Print sixty questions as a form for people, the key apart; or read a filled one back as a submission."""
    from arena.submission import FORM_TASKS, PER_TASK, read_form, write_form

    _name, samples = make_all_samples(dataset, load_graph(graph), FORM_TASKS, seed, PER_TASK)
    listed = [s for group in samples.values() for s in group]
    if read is None:
        form, key = write_form(output, listed)
        print(f"{form}: questions: {len(listed)}\n{key}: their key; keep it from who answers")
        return
    submission = read_form(read, listed)
    scored = f"arena run -m replay:{submission} --name 'human NAME' -d {dataset} --seed {seed} -n {PER_TASK}"
    print(f"{submission}\nscore it: {scored} -t {','.join(samples)}")


def check_command(
    answers: Annotated[Path, typer.Argument(help="JSON lines with sample_id and text.", exists=True)],
    dataset: DataOption = "fresh",
    compat: CompatOption = "",
    task: TaskOption = None,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    graph: GraphOption = None,
) -> None:
    """Check a submission before `arena run -m replay:FILE`; the exit code is 1 where an answer will score 0."""
    from arena.submission import check_submission
    from arena.tasks import parse_tasks

    name, tasks = dataset_name(dataset, compat), parse_tasks(task or ["all"])
    loaded = load_graph(graph)
    _name, samples = make_all_samples(name, loaded, tasks, seed, limit)
    found = check_submission(answers, [s for group in samples.values() for s in group], loaded)
    print(f"{answers}: answers to samples of {name}, seed {seed}: {found.answered}")
    for line in found.lines(most=5):
        print(line)
    if found.missing or found.unread or found.unnamed:
        raise typer.Exit(1)
