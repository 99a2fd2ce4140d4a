"""The commands ``gather apply`` and ``gather cas``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vckg.base.console import err

AnnotatedFile = Annotated[Path, typer.Argument(metavar="OUT.h5ad", help="What gather annotate wrote.")]
ForceOption = Annotated[bool, typer.Option("--force", "-f", help="Replace an existing output.")]


def apply(
    source: AnnotatedFile,
    decisions: Annotated[
        Path, typer.Argument(metavar="decisions.json", help="What the page of --report saved.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A copy to write; by default the file itself.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Write the labels of a review next to ours, with reviewer, date and reason; twice changes nothing."""
    from gather.review.apply import apply_decisions

    applied = apply_decisions(source, decisions, output, overwrite=force)
    states = ", ".join(f"{n:,} {state}" for state, n in sorted(applied.states.items()))
    err().print(
        f"{applied.path}: entries: {applied.new:,} new, {applied.known:,} known; cell sets: {states}",
        soft_wrap=True,
    )


def cas(
    source: AnnotatedFile,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.json", help="The file to write.")],
    key_added: Annotated[
        str, typer.Option(help="Name of the uns entry, as given to gather annotate.")
    ] = "gather",
    author: Annotated[str, typer.Option(help="First and last name of the author.")] = "",
    title: Annotated[str, typer.Option(help="Title of the data set; by default that of the file.")] = "",
    published_at: Annotated[str, typer.Option(help="Address where the annotations are published.")] = "",
    force: ForceOption = False,
) -> None:
    """Export labels and evidence to the Cell Annotation Standard, for CAP and its tools."""
    import json

    from gather.review.annotated import read_annotated
    from gather.review.cas import to_cas
    from vckg.base.atomic import check_outputs, write_text

    check_outputs([output], inputs=[source], overwrite=force)
    document = to_cas(read_annotated(source, key_added), author=author, title=title, url=published_at)
    write_text(output, json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    err().print(f"wrote {output}", soft_wrap=True)
