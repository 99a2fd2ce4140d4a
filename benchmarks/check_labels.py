"""``python -m benchmarks.check_labels``: how well `gather check` finds labels that were damaged on purpose.

The cuts of the review queue are chosen on averaged profiles, where at most `MOST_FALSE` of the undamaged labels may be
flagged for a reason, and measured on the eight labelled files of cells that hold more than one lineage. A damaged set
gets the label of another set of its file (swaps, always both ways), the name of a kind of its type (over-fine), or
cells of another set (merged).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from gather.benchmark.suite_data import label_maps
from gather.cells.expression import rank_cell_sets, read_expression
from gather.cells.file import open_h5ad
from gather.cells.options import Options
from gather.checking.check import Question, work_out_check
from gather.checking.opinion import LabelRelation, Reason
from gather.checking.queue import CUTS, reasons, worth
from gather.checking.weighing import Weighed, all_absent, relation_to
from gather.labelling.annotator import Annotator, Parameters
from vckg.base.atomic import write_text
from vckg.base.console import err, run
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

REPORTED = {
    "h5ad/colon_kinchen2018_mini": "cell_type",
    "h5ad/pancreas_wang2016_scclassify": "cell_type",
    "h5ad/pbmc3k_clustifyr_2000hvg": "classified",
    "h5ad/pbmc68k_reduced": "bulk_labels",
    "h5ad/pbmc_kang18_ifnb_muscat": "cluster_id",
    "h5ad_more/breast_tnbc_wu2021_cid4465": "cell_type",
    "h5ad_more/marrow_he2020_scdiagnostics": "cell_type",
    "h5ad_more/mouse_cortex_zeisel2015_scenic": "cell_type",
}
"""Files of cells and their columns of labels; the last is of mouse."""
UNREADABLE = ("h_adult_skin_hca",)
"""A file of profiles that `gather annotate` refuses: its values are no logarithms throughout."""
MOST_FALSE = 0.02
RATES = (0.05, 0.1, 0.2)
DRAWS = 500
MOST_KINDS = 20
"""Over-fine names drawn for one set."""
DAMAGES: Mapping[str, Reason] = {
    "lineages swapped": "conflict",
    "siblings swapped": "other kind",
    "over-fine name": "too fine",
    "merged, labels of the cells": "mixed",
    "merged under one name": "mixed",
}
"""Kinds of damage, and the reason that names each."""
Flags = frozenset[Reason]


@dataclass(frozen=True, slots=True)
class Pair:
    """A label beside a set: its relation to our answer, its worth, and its reasons by the shipped cuts."""

    relation: LabelRelation
    worth: float
    flags: Flags


@dataclass
class File:
    """The labelled sets of one file, s sets.

    `pairs[i][j]` is set i with the label of set j; `finer[i]` are pairs of set i with names of kinds of its type;
    `merged` are the flags of merged sets, by kind of damage.
    """

    name: str
    truths: list[str]
    pairs: list[list[Pair]]
    apart: list[list[LabelRelation]]
    finer: list[list[Pair]]
    merged: dict[str, list[Flags]] = field(default_factory=dict)


def weigh_file(graph: Graph, path: Path, column: str, known: Mapping[str, tuple[str, str]]) -> File:
    """Weigh every label of a file against every set of it."""
    adata = open_h5ad(path)
    expression = read_expression(adata, graph)
    graph = expression.graph
    groups = adata.obs[column].astype(str).to_numpy().astype(object)
    sets = rank_cell_sets(expression, groups.tolist())
    parameters = Parameters(hyper_entities=(), evidence=0)
    annotator = Annotator(graph, expression.panel, parameters, contrast=len(sets) > 1)
    ontology, rng = annotator.ontology, np.random.default_rng(0)
    told = [one for one in sets if known.get(one.name, ("", ""))[0] and known[one.name][1] != "qc"]
    truths = [known[one.name][0] for one in told]
    candidates = {graph.ids[i] for i in annotator.retriever.nodes.tolist()}
    found = File(path.stem, truths, [], [], [])
    for one, truth in zip(told, truths, strict=True):
        weighed = Weighed(annotator, one)
        position = ontology.position(truth)
        below = [ontology.terms[i] for i in ontology.descendants(position).tolist()]
        kinds = [c for c in below if c in candidates and not ontology.same(ontology.position(c), position)]
        kinds = [kinds[i] for i in rng.permutation(len(kinds))[:MOST_KINDS].tolist()]
        found.pairs.append([_pair(weighed, label) for label in truths])
        found.apart.append([relation_to(ontology, label, truth) for label in truths])
        found.finer.append([_pair(weighed, label) for label in kinds])
    return found


def _pair(weighed: Weighed, label: str) -> Pair:
    relation = relation_to(weighed.annotator.ontology, label, weighed.answer.curie)
    how_much = worth(weighed.standing(label), 1.0)
    absent = all_absent(weighed.markers(label))
    return Pair(relation, how_much, frozenset(reasons(relation, how_much, 1.0, absent=absent)))


def merge_sets(
    graph: Graph, path: Path, column: str, known: Mapping[str, tuple[str, str]]
) -> dict[str, list[Flags]]:
    """Check a file in which every two sets, drawn at random, are one; return the flags of the merged sets."""
    adata = open_h5ad(path)
    labels = adata.obs[column].astype(str)
    names = sorted({n for n in labels.unique() if known.get(n, ("", ""))[0]})
    drawn = np.random.default_rng(0).permutation(len(names)).tolist()
    into: dict[str, str] = {}
    for first, second in zip(drawn[::2], drawn[1::2], strict=False):
        if known[names[first]][0] != known[names[second]][0]:
            larger = max((names[first], names[second]), key=lambda n: (int((labels == n).sum()), n))
            into |= {names[first]: larger, names[second]: larger}
    adata.obs["merged"] = [into.get(n, n if n in names else None) for n in labels]
    mapping = {name: known[name][0] for name in names}
    question = Question((column, "merged"), "merged", mapping)
    result, _ = work_out_check(adata, graph, question, Options(column))
    merged = [result[name] for name in sorted(set(into.values()))]
    by_cells, one_name = ([frozenset(one.labels[i].reasons) for one in merged] for i in (0, 1))
    return {"merged, labels of the cells": by_cells, "merged under one name": one_name}


def choose(files: Sequence[File]) -> dict[Reason, float]:
    """Return for each reason the least cut, in steps of 0.05, that flags at most `MOST_FALSE` of undamaged labels."""
    own = [file.pairs[i][i] for file in files for i in range(len(file.truths))]
    relation_of: dict[Reason, LabelRelation] = {
        "conflict": "conflict",
        "other kind": "related",
        "too fine": "finer",
        "not supported": "no answer",
    }
    cuts = {}
    for reason, relation in relation_of.items():
        grid = [round(step / 20, 2) for step in range(21)]
        share = [np.mean([p.relation == relation and p.worth >= cut for p in own]) for cut in grid]
        cuts[reason] = next(cut for cut, s in zip(grid, share, strict=True) if s <= MOST_FALSE)
    return cuts


def draw(file: File, damage: str, rate: float, rng: np.random.Generator) -> Iterator[tuple[bool, Flags]]:
    """Damage some sets of a file; yield for every set whether it was damaged, and its flags."""
    n = len(file.truths)
    flags = {i: file.pairs[i][i].flags for i in range(n)}
    wanted: LabelRelation = "conflict" if damage.startswith("lineages") else "related"
    damaged: set[int] = set()
    if damage.endswith("swapped"):
        for i in rng.permutation(n).tolist():
            partners = [j for j in range(n) if file.apart[i][j] == wanted and j not in damaged and j != i]
            if i not in damaged and partners and rng.random() < rate / 2:
                j = int(rng.choice(partners))
                flags |= {i: file.pairs[i][j].flags, j: file.pairs[j][i].flags}
                damaged |= {i, j}
    else:
        for i in range(n):
            kinds = [p.flags for p in file.finer[i]] if damage == "over-fine name" else file.merged[damage]
            if kinds and rng.random() < rate:
                flags[i] = kinds[int(rng.integers(len(kinds)))]
                damaged.add(i)
    yield from ((i in damaged, flags[i]) for i in range(n))


@dataclass(frozen=True, slots=True)
class Figure:
    """A ratio with its 95 % interval over draws of files and of damage."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "none flagged"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def measure(files: Sequence[File], damage: str, rate: float, reason: Reason | None) -> tuple[Figure, Figure]:
    """Return precision and recall of the whole queue, or of the sets flagged for one reason.

    The value pools all draws on all files; each draw of the interval takes as many files with replacement.
    """
    rng = np.random.default_rng(0)
    whole = np.array([_counts(files, damage, rate, reason, rng) for _ in range(DRAWS)])
    drawn = []
    for _ in range(DRAWS):
        chosen = [files[i] for i in rng.integers(0, len(files), len(files)).tolist()]
        drawn.append(_counts(chosen, damage, rate, reason, rng))
    right, flagged, damaged = np.array(drawn, dtype=np.float64).T
    total = whole.sum(axis=0)
    return _figure(total[0] / total[1] if total[1] else np.nan, right, flagged), _figure(
        total[0] / max(total[2], 1), right, damaged
    )


def _counts(
    files: Sequence[File], damage: str, rate: float, reason: Reason | None, rng: np.random.Generator
) -> tuple[int, int, int]:
    """Damaged sets that are flagged, flagged sets, and damaged sets."""
    sets = [pair for file in files for pair in draw(file, damage, rate, rng)]
    hit = [(was, bool(flags) if reason is None else reason in flags) for was, flags in sets]
    return sum(w and f for w, f in hit), sum(f for _, f in hit), sum(w for w, _ in hit)


def _figure(value: float, top: npt.NDArray[Any], bottom: npt.NDArray[Any]) -> Figure:
    ratios = top[bottom > 0] / bottom[bottom > 0]
    low, high = np.quantile(ratios, [0.025, 0.975]) if len(ratios) else (float("nan"), float("nan"))
    return Figure(float(value), float(low), float(high))


def undamaged(files: Sequence[File]) -> Iterator[str]:
    """Yield the rows of the table of undamaged labels: how many are flagged, by reason, with exact intervals."""
    from scipy.stats import binomtest

    own = [file.pairs[i][i].flags for file in files for i in range(len(file.truths))]
    for reason in ("conflict", "weak conflict", "other kind", "too fine", "not supported", None):
        hits = sum(bool(flags) if reason is None else reason in flags for flags in own)
        low, high = binomtest(hits, len(own)).proportion_ci()
        yield f"| {reason or 'any reason'} | {hits} of {len(own)} | {hits / len(own):.3f} [{low:.3f}, {high:.3f}] |"


def grounding(graph: Graph, data: Path) -> str:
    """Return how many author labels ground by name, in one line."""
    pairs = {(label, curie) for of in label_maps(data).values() for label, (curie, _) in of.items() if curie}
    pairs = {(label, curie) for label, curie in pairs if label != "*"}
    from gather.ontology import Ontology

    ontology, counts = Ontology.of_cells(graph), dict.fromkeys(("same", "line", "other", "none"), 0)
    for (_, truth), found in zip(
        sorted(pairs), graph.cells.ground([label for label, _ in sorted(pairs)]), strict=True
    ):
        relation = relation_to(ontology, found.curie or "", truth)
        group = {"same": "same", "finer": "line", "coarser": "line", "not grounded": "none"}.get(
            relation, "other"
        )
        counts[group] += 1
    return (
        f"Of {len(pairs)} labels as their authors wrote them, {counts['same']} ground by name to the term that was "
        f"assigned by hand, {counts['line']} to one above or below it, {counts['other']} to another, and "
        f"{counts['none']} to none."
    )


def page(graph: Graph, data: Path) -> str:
    """Return the page with all tables."""
    maps, done = label_maps(data), err().print
    chosen_on, reported = [], []
    for path in sorted((data / "profiles").glob("*.h5ad")):
        if path.stem not in UNREADABLE and maps.get(path.stem):
            chosen_on.append(weigh_file(graph, path, "label", maps[path.stem]))
            done(f"{path.stem}: {len(chosen_on[-1].truths)} sets", highlight=False)
    for stem, column in REPORTED.items():
        path = data / f"{stem}.h5ad"
        reported.append(weigh_file(graph, path, column, maps[path.stem]))
        reported[-1].merged = merge_sets(graph, path, column, maps[path.stem])
        done(f"{path.stem}: {len(reported[-1].truths)} sets", highlight=False)
    cuts = choose(chosen_on)
    lines = [
        f"Graph {graph.content_hash[:16]}. "
        f"Chosen on {len(chosen_on)} files of profiles, {sum(len(f.truths) for f in chosen_on)} sets: "
        + ", ".join(f"{reason} {cut:g}" for reason, cut in cuts.items())
        + ". Shipped: " + ", ".join(f"{reason} {cut:g}" for reason, cut in CUTS.items()) + ".",
        "", "### Undamaged labels", "",
        "| flagged for | profiles (chosen on) | share | cells (reported) | share |", "|---|--:|---|--:|---|",
    ]  # fmt: skip
    for left, right in zip(undamaged(chosen_on), undamaged(reported), strict=True):
        lines.append(left + right.partition("|")[2].partition("|")[2])
    lines += [
        "", f"### Damaged labels of {len(reported)} files, {sum(len(f.truths) for f in reported)} sets", "",
        "| damage | sets damaged | its reason | precision | recall | precision of the whole queue | recall of it |",
        "|---|--:|---|---|---|---|---|",
    ]  # fmt: skip
    for damage, reason in DAMAGES.items():
        for rate in RATES:
            own, whole = measure(reported, damage, rate, reason), measure(reported, damage, rate, None)
            figures = " | ".join(map(str, (*own, *whole)))
            lines.append(f"| {damage} | {rate:.0%} | {reason} | {figures} |")
    lines += [
        "", "### Lineages swapped on the profiles, on which the cuts were chosen", "",
        "| sets damaged | precision of conflict | recall |", "|--:|---|---|",
    ]  # fmt: skip
    for rate in RATES:
        precision, recall = measure(chosen_on, "lineages swapped", rate, "conflict")
        lines.append(f"| {rate:.0%} | {precision} | {recall} |")
    return "\n".join([*lines, "", "### Names", "", grounding(graph, data), ""])


MARK = "<!-- written by python -m benchmarks.check_labels -->"


def main() -> None:
    """Entry point of ``python -m benchmarks.check_labels``."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

    @app.command()
    def measure_check(
        data: Annotated[Path, typer.Option(envvar="VCKG_MIRROR", help="Folder with h5ad/ and profiles/.")],
        output: Annotated[
            Path | None, typer.Option("--output", "-o", help="Page to write; its words stay.")
        ] = None,
        graph: Annotated[Path | None, typer.Option(help="Graph folder.")] = None,
    ) -> None:
        """Damage labels on purpose and measure the review queue."""
        import vckg

        words = "" if output is None or not output.is_file() else output.read_text(encoding="utf-8")
        if output is not None and words and MARK not in words:
            raise InputError(f"{output}: has no line {MARK!r}, below which the tables go; add it")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tables = page(vckg.load(graph), data)
        if output is None:
            typer.echo(tables)
        else:
            write_text(output, f"{words.partition(MARK)[0]}{MARK}\n\n{tables}")

    run(app, "benchmarks.check_labels")


if __name__ == "__main__":
    main()
