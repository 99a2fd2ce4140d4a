"""``python -m benchmarks.annotation.stand_in FOLDER``: the 64 questions of `docs/results/paper.md` for a model.

Of each of the paper's two closed lists it writes the sentences (``immune.jsonl``, 50 genes, rarest first) and the
candidates (``immune.txt``) that `gather benchmark-llm` reads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.annotation.data_sets import paper_questions
from gather.benchmark.paper_protocol import paper_sets
from vckg.base.atomic import write_text
from vckg.base.console import run
from vckg.build.default_graph import load

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def write_questions(
    folder: Annotated[Path, typer.Argument(help="Folder to write to.")],
    data: Annotated[Path, typer.Option(envvar="VCKG_MIRROR", help="Folder with scarena/ in it.")],
    graph: Annotated[Path | None, typer.Option("--graph", "-g", help="Graph folder.")] = None,
) -> None:
    """Write the questions and the closed lists of both sets."""
    loaded = load(graph)
    folder.mkdir(parents=True, exist_ok=True)
    for name in paper_sets():
        questions = paper_questions(loaded, data, name)
        rows = [{"cell_sentence": " ".join(q.query.names), "cell_ontology_id": q.truth} for q in questions]
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        write_text(folder / f"{name}.txt", "\n".join(questions[0].closed) + "\n")
        typer.echo(f"{name}: {len(rows)} questions, {len(questions[0].closed)} candidates")


if __name__ == "__main__":
    run(app, "benchmarks.annotation.stand_in")
