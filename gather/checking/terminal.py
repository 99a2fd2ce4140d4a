"""A check in the terminal: the review queue, and what was found in one line."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator

from gather.checking.opinion import CLUSTER, SETTLED, CheckResult, LabelCheck
from gather.labelling.decide import LEAST_CELLS, MAX_FDR
from vckg.base.console import err, out

SHOWN = 30
"""Rows of the queue in the terminal; the table and the page hold all."""
MOST_MARKERS = 4
"""For or against a label that are named."""
WORTH = "worth: how much a look at the label gains, 0 to 1; the highest first"
LOOSELY = ("word_order", "without_state")
"""Ways of reading a label that the user should see (`gather.retrieval.cell_names`)."""


def print_check(found: CheckResult) -> None:
    """Print the review queue, most worth a look first; on stderr what is not in it."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=None, show_lines=False)
    table.add_column("worth", justify="right")
    for name in ("cell set", "label", "means", "why", "our answer", "against", "for"):
        table.add_column(name, overflow="fold")
    answers = {one.cell_set: one.answer for one in found.sets}
    for check in found.queue[:SHOWN]:
        answer = answers[check.cell_set]
        ours = f"{answer.label} {answer.confidence:.2f}" if answer.curie else answer.label
        label = check.label if len(found.columns) == 1 else f"{check.column}: {check.label}"
        words = (
            check.cell_set,
            label,
            meaning(check),
            ", ".join(check.reasons),
            ours,
            against(check),
            for_it(check),
        )
        table.add_row(f"{check.worth:.2f}", *(escape(word) for word in words))
    console = out()
    console.width = max(console.width, 140)
    if found.queue:
        console.print(table)
    say = err().print
    if found.queue:
        say(WORTH, soft_wrap=True)
    if len(found.queue) > SHOWN:
        say(f"{len(found.queue) - SHOWN} more are in --table and --report")
    counts = Counter(check.relation for check in found.checks)
    relations = ", ".join(f"{n} {relation}" for relation, n in counts.most_common())
    say(
        f"labels to review: {len(found.queue)} of {len(found.checks)}; compared with our answers: {relations}"
    )
    for line in _notes(found):
        say(line, soft_wrap=True)


def _notes(found: CheckResult) -> Iterator[str]:
    """Yield what could not be told, what was read loosely, and labels and cells that were left out."""
    for column in found.columns:
        if {check.mapped.how for check in found.checks if check.column == column} == {CLUSTER}:
            named = f"`gather annotate --groupby {shlex.quote(column)}` names them"
            yield f"{column!r} holds names of clusters, which say no cell type; {named}"
    for check in found.checks:
        if check.coverage and check.markers:
            yield f"{check.cell_set}: {check.coverage}"
    read = [f"{m.label} as {m.name}" for m in found.mapping if m.how in LOOSELY]
    if read:
        yield (
            f"read without a state or a number, or in another order: {', '.join(read[:8])}"
            f"{' ...' if read[8:] else ''}; --write-mapping MAP.tsv to correct it"
        )
    for column, count in found.parameters["unlabelled"].items():
        if count:
            yield f"cells without a label in {column!r}, left out: {count:,}"
    lost = [m.label for m in found.mapping if not m.curie and m.how not in SETTLED]
    if lost:
        yield (
            f"no cell type of the ontology is named {', '.join(map(repr, lost[:8]))}{' ...' if lost[8:] else ''}: "
            "--write-mapping MAP.tsv, fill in the ids, --mapping MAP.tsv"
        )


def meaning(check: LabelCheck) -> str:
    """The cell type that a label means, or why it means none."""
    if check.mapped.curie:
        return f"{check.mapped.name} ({check.mapped.curie})"
    mapped = check.mapped
    if mapped.how in SETTLED:
        return "no cell type"
    hint = f"; {' or '.join(mapped.suggested_names)}?" if mapped.suggested_names else ""
    return f"{mapped.how}{hint}"


def against(check: LabelCheck) -> str:
    """What speaks against a label: too few cells, absent markers, then a mixture of labels."""
    absent = [m for m in check.markers if m.state == "absent"][:MOST_MARKERS]
    words = (
        [f"{check.n_cells} of the {LEAST_CELLS} cells that a set needs"]
        if "few cells" in check.reasons
        else []
    )
    words += [f"{m.symbol} in {m.fraction_in_set:.0%}" for m in absent if m.fraction_in_set is not None]
    words += [f"{share:.0%} of the cells are labelled {label}" for label, share in check.others]
    return ", ".join(words)


def for_it(check: LabelCheck) -> str:
    """What speaks for a label: present markers and the FDR."""
    present = [m for m in check.markers if m.state == "present"][:MOST_MARKERS]
    words = [f"{m.symbol} in {m.fraction_in_set:.0%}" for m in present if m.fraction_in_set is not None]
    return ", ".join(
        [*words, f"FDR {check.fdr:.1g}"] if words and check.rank and check.fdr <= MAX_FDR else words
    )
