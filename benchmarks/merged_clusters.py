"""``python -m benchmarks.merged_clusters``: are clusters of two lineages called mixed, and pure ones not?

Of six labelled files, whole cells of every two unrelated lineages are put into one cluster at 50:50, 70:30 and 90:10,
up to 200 cells. The file keeps no other cell of the two. A cluster counts where it is `mixed` with both lineages right;
a name above several lineages is right for each of them.
Pure sets are the label groups and the Leiden clusters with at least 80 % of one lineage.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.doublets import FILES, PURITY, RATIOS, Cells, File, Texts
from gather.annotation import Annotation
from gather.benchmark.suite_data import label_maps
from gather.cells.expression import rank_cell_sets
from gather.cells.mixtures import kin
from gather.cells.populations import LEAST_CELLS, with_mixed_sets
from vckg.base.atomic import write_text
from vckg.base.console import out, run
from vckg.graph.manifest import graph_label

MOST_CELLS = 200
"""Cells of a merged cluster."""
MERGED, PURE = "merged", "pure"


@dataclass(frozen=True, slots=True)
class Case:
    """One set: what it is (``50:50`` ... or `PURE`), and whether it is called mixed, with both lineages right."""

    file: str
    kind: str
    name: str
    flagged: bool
    right: bool
    merged: bool


def pure(file: File) -> Iterator[Case]:
    """Yield the label groups and clusters of one lineage."""
    for groups in (file.groups, file.clusters):
        answers = answered(file, groups)
        for name, n in Counter(groups.tolist()).items():
            inside = Counter(file.lineage[groups == name].tolist())
            if name and n >= LEAST_CELLS and inside.most_common(1)[0][1] >= PURITY * n:
                yield case(file, PURE, name, answers[name])


def merged(file: File) -> Iterator[Case]:
    """Yield the merged clusters of every two unrelated lineages."""
    cells = {str(x): np.flatnonzero(file.lineage == x) for x in sorted(set(file.lineage.tolist()) - {""})}
    known = answered(file, file.groups)
    for one, other in combinations(cells, 2):
        if kin(one, other):
            continue
        for a, b in RATIOS:
            for first, second in [(one, other)] if a == b else [(one, other), (other, one)]:
                size = min(len(cells[first]) / a, len(cells[second]) / b, MOST_CELLS / 100)
                if min(a, b) * size >= LEAST_CELLS:
                    taken = _taken(cells[first], int(a * size)), _taken(cells[second], int(b * size))
                    groups = file.groups.copy()
                    groups[np.isin(file.lineage, [first, second])] = ""
                    groups[np.concatenate(taken)] = MERGED
                    answer = answered(file, groups, known)[MERGED]
                    yield case(file, f"{a}:{b}", f"{first} + {second}", answer, {first, second})


def _taken(cells: Cells, n: int) -> Cells:
    return np.random.default_rng(len(cells)).choice(cells, n, replace=False)


def answered(
    file: File, groups: Texts, known: Mapping[str, Annotation] | None = None
) -> dict[str, Annotation]:
    """Return the product's answer to every set; those of `known` sets are not asked again."""
    known = known or {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ranked = rank_cell_sets(file.expression, groups.tolist())
        answers = [known.get(one.name) or file.annotator.annotate_one(one) for one in ranked]
        return {a.cell_set: a for a in with_mixed_sets(answers, file.expression, groups, file.annotator)}


def case(file: File, kind: str, name: str, answer: Annotation, truth: Set[str] = frozenset()) -> Case:
    """Return what became of one set."""
    mixture = answer.mixture
    if mixture is None:
        return Case(file.name, kind, name, False, False, False)
    one, other = (_lineages(file, curie) for curie in mixture.curies)
    right = any({a, b} == truth for a in one for b in other)
    return Case(file.name, kind, f"{name} as {' + '.join(mixture.labels)}", True, right, mixture.merged)


def _lineages(file: File, curie: str) -> set[str | None]:
    """Return the lineage of a name or, of a name above lineages (mononuclear phagocyte), those below it."""
    terms = file.ontology
    own = terms.lineage(terms.position(curie))
    if own is not None:
        return {own}
    return {terms.lineage(int(i)) for i in np.flatnonzero(terms.at_or_below(terms.position(curie)))}


def report(cases: Sequence[Case], graph: str) -> Iterator[str]:
    """Yield the page."""
    kinds = [f"{a}:{b}" for a, b in RATIOS]
    yield "# Merged clusters"
    yield ""
    yield "Printed by `python -m benchmarks.merged_clusters --data MIRROR --output docs/results/merged-clusters.md`;"
    yield f"{graph}."
    yield ""
    yield from (__doc__ or "").split("\n\n", 1)[1].strip().splitlines()
    yield ""
    yield f"| file | {' | '.join(f'{kind} mixed' for kind in kinds)} | pure flagged |"
    yield "|---|" + "--:|" * (len(kinds) + 1)
    for file in (*dict.fromkeys(c.file for c in cases), ""):
        cells = []
        for kind in (*kinds, PURE):
            own = [c for c in cases if c.kind == kind and c.file in (file or c.file)]
            hits = sum(c.flagged if kind == PURE else c.right for c in own)
            cells.append(f"{hits} of {len(own)}" + ("" if file or not own else f" ({hits / len(own):.0%})"))
        yield f"| {file or '**all**'} | {' | '.join(cells)} |"
    yield ""
    alarms = [
        f"{c.name} of {c.file}{'' if c.merged else ' (doublets)'}"
        for c in cases
        if c.kind == PURE and c.flagged
    ]
    yield f"Pure sets that are called mixed: {'; '.join(alarms) or 'none'}."
    missed = [f"{c.name} of {c.file}" for c in cases if c.kind == "50:50" and not c.right]
    yield f"50:50 clusters that are missed or misnamed: {'; '.join(missed) or 'none'}."


def main() -> None:
    """Entry point of ``python -m benchmarks.merged_clusters``."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

    @app.command()
    def merged_clusters(
        data: Annotated[Path, typer.Option(envvar="VCKG_MIRROR", help="Folder with h5ad/ and h5ad_more/.")],
        graph: Annotated[Path | None, typer.Option(help="Graph folder.")] = None,
        output: Annotated[
            Path | None, typer.Option(help="Where to write the page; printed otherwise.")
        ] = None,
    ) -> None:
        """Merge lineages into clusters, ask what each cluster is, and print how many are called mixed."""
        import vckg

        loaded, maps, cases = vckg.load(graph), label_maps(data), list[Case]()
        for name in FILES:
            file = File(loaded, data / f"{name}.h5ad", maps[Path(name).name])
            cases += [*pure(file), *merged(file)]
        text = "\n".join(report(cases, graph_label(loaded.manifest))) + "\n"
        if output is None:
            out().print(text, markup=False, highlight=False)
        else:
            write_text(output, text)

    run(app, "benchmarks.merged_clusters")


if __name__ == "__main__":
    main()
