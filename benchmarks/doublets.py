"""``python -m benchmarks.doublets``: are mixtures of two lineages called mixed, and pure sets not?

Of six labelled files, every pair of unrelated lineages is mixed at 50:50, 70:30 and 90:10. A cell of a mixture is a
cell of the first lineage and a thinned one of the second, added as counts. Counts of log-normalised files are those
that their least value stands for. Each mixture stands among the file's own sets. Pure sets are the label groups and
the Leiden clusters, those of cycling cells and of types between two others among them. B mixed with plasma cells is a
hard negative. Names are what the product answers for the sets that explain a mixture best. A lineage may have ten
cells and no set of ten (*without a set*): its small sets stand together. There the mixtures are made of the very cells
that they are compared with, as everywhere; with ten cells that helps more.

The two thresholds are chosen on all files but one, and reported on that one.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import typer

from gather.benchmark.suite_data import label_column, label_maps
from gather.cells import mixtures
from gather.cells.adata import cell_groups
from gather.cells.expression import rank_cell_sets, read_expression
from gather.cells.file import open_h5ad
from gather.cells.options import AUTO
from gather.labelling.annotator import Annotator, Parameters
from gather.ontology import Ontology
from vckg.base.atomic import write_text
from vckg.base.console import out, run
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

Texts = npt.NDArray[np.object_]
Floats = npt.NDArray[np.float64]
Cells = npt.NDArray[np.intp]

FILES = (
    "h5ad/pbmc68k_reduced", "h5ad/pbmc3k_clustifyr_2000hvg", "h5ad/pbmc_kang18_ifnb_muscat",
    "h5ad/pancreas_wang2016_scclassify",
    "h5ad_more/breast_tnbc_wu2021_cid4465", "h5ad_more/marrow_he2020_scdiagnostics",
)  # fmt: skip
RATIOS = ((50, 50), (70, 30), (90, 10))
CELLS = 60
"""Cells of a mixture."""
MOST_CELLS = 1500
PURITY = 0.8
"""Share of one lineage in a cluster that counts as pure."""
LEAST_CELLS = 10
"""Cells that a lineage needs to be mixed, and a set to be counted."""
SHARES = (0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8)
OWNS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
PURE, HARD = "pure", "hard negative"
ALLOWED = 0.03
"""Share of pure sets that a choice may flag on the files it is made on."""


@dataclass(frozen=True, slots=True)
class Case:
    """One cell set and the pair of others that explains it best; `kind` is ``50:50`` etc. or `PURE` or `HARD`.

    `apart` says whether each lineage of a mixture has a set of `LEAST_CELLS` cells.
    """

    file: str
    kind: str
    name: str
    truth: tuple[str, ...]
    lineages: tuple[str, ...]
    pair: mixtures.Pair | None
    apart: bool = True

    def flagged(self, share: float, own: float) -> bool:
        """Whether thresholds call it mixed."""
        pair = self.pair
        if pair is None or not pair.of_lineages:
            return False
        return pair.share >= max(share, pair.expected + 1e-9) and pair.own <= own

    @property
    def right(self) -> bool:
        """Whether both lineages are those that were mixed."""
        return set(self.lineages) == set(self.truth)


@dataclass(frozen=True)
class Sets:
    """The sets of one file: their profiles, the lineages that the product answers, and what tells them apart."""

    profiles: dict[str, mixtures.Profile]
    lineages: dict[str, str]
    asked: list[mixtures.Question]


class File:
    """One labelled file: its expression, and the label, lineage and cluster of every cell."""

    def __init__(self, graph: Graph, path: Path, labels: dict[str, tuple[str, str]]) -> None:
        adata = open_h5ad(path)
        chosen = np.random.default_rng(0).permutation(adata.n_obs)[:MOST_CELLS]
        adata = adata[np.sort(chosen)].copy()
        self.name, self.ontology = path.stem, Ontology.of_cells(graph)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.expression = read_expression(adata, graph)
            column = "louvain" if "louvain" in adata.obs else AUTO
            self.clusters: Texts = np.asarray(cell_groups(adata, self.expression, column, 0), dtype=object)
        self.groups: Texts = adata.obs[label_column(adata.obs, labels)].astype(str).to_numpy().astype(object)
        self.matrix = sp.csr_matrix(self.expression.matrix)
        lineage = {g: self._lineage(labels.get(g, ("", ""))[0]) for g in set(self.groups.tolist())}
        self.lineage: Texts = np.array([lineage[g] for g in self.groups], dtype=object)
        self.annotator = Annotator(graph, self.expression.panel, Parameters(evidence=0, hyper_entities=()))
        self.by_labels, self.by_clusters = (self._sets(g) for g in (self.groups, self.clusters))

    def _lineage(self, curie: str) -> str:
        known = curie in self.ontology
        return (self.ontology.lineage(self.ontology.position(curie)) or "") if known else ""

    def _sets(self, groups: Texts) -> Sets:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sets = rank_cell_sets(self.expression, groups.tolist())
        answers, groups = mixtures.with_small_sets_joined(
            self.annotator.annotate(sets), groups, self.ontology
        )
        profiles = mixtures.profiles_of(self.matrix, groups)
        lineages = mixtures.lineages_of(answers, self.ontology)
        lineages = {name: one for name, one in lineages.items() if name in profiles}
        return Sets(profiles, lineages, mixtures.questions(profiles, lineages))

    def pure(self) -> Iterator[Case]:
        """The label groups and the clusters as they are."""
        for groups, sets in ((self.groups, self.by_labels), (self.clusters, self.by_clusters)):
            for name, profile in sets.profiles.items():
                inside = self.lineage[groups == name]
                if not len(inside):  # small sets that stand together
                    continue
                most = max(set(inside.tolist()), key=lambda x: (inside == x).mean())
                if most == "" or (inside == most).mean() >= PURITY:
                    yield self._case(PURE, name, (most,), profile, sets)

    def mixed(self) -> Iterator[Case]:
        """Mixtures of all pairs of unrelated lineages, and of B with plasma cells."""
        many = {str(x): np.flatnonzero(self.lineage == x) for x in sorted(set(self.lineage.tolist()) - {""})}
        big = {name: cells for name, cells in many.items() if len(cells) >= LEAST_CELLS}
        for one, other in combinations(big, 2):
            if mixtures.kin(one, other):
                continue
            for a, b in RATIOS:
                for first, second in [(one, other)] if a == b else [(one, other), (other, one)]:
                    yield self._mixture(f"{a}:{b}", (first, second), big[first], big[second], b / a)
        plasma = np.flatnonzero(["plasma" in g.lower() and g != "B_and_plasma" for g in self.groups])
        b_cells = np.setdiff1d(many.get("B", np.zeros(0, np.intp)), plasma)
        if min(len(plasma), len(b_cells)) >= LEAST_CELLS:
            yield self._mixture(HARD, ("B", "B"), b_cells, plasma, 1.0)

    def _mixture(self, kind: str, truth: tuple[str, str], first: Cells, second: Cells, thin: float) -> Case:
        rng = np.random.default_rng(len(first) * 1000 + len(second))
        (major, unit), (minor, other) = (
            counts(self.matrix[rng.choice(cells, CELLS)]) for cells in (first, second)
        )
        minor = rng.binomial(minor.astype(np.int64), thin).astype(np.float64)
        values = np.log1p((major + minor) / (1 / unit + thin / other)[:, None])
        return self._case(kind, " + ".join(truth), truth, mixtures.Profile.of(values), self.by_labels)

    def _case(
        self, kind: str, name: str, truth: tuple[str, ...], profile: mixtures.Profile, sets: Sets
    ) -> Case:
        pair = mixtures.best_pair(name, profile, sets.profiles, sets.asked)
        both = () if pair is None else (sets.lineages[pair.one], sets.lineages[pair.other])
        apart = kind in (PURE, HARD) or set(truth) <= self._of_sets
        return Case(self.name, kind, name, truth, both, pair, apart)

    @cached_property
    def _of_sets(self) -> set[str]:
        """Lineages of the label groups of `LEAST_CELLS` cells."""
        big = {g for g, n in Counter(self.groups.tolist()).items() if n >= LEAST_CELLS}
        return {lineage for lineage, g in zip(self.lineage, self.groups, strict=True) if g in big}


def counts(logged: Any) -> tuple[Floats, Floats]:
    """Return about the counts behind log-normalised cells, and what one count is worth in each, by its least value."""
    linear = np.expm1(logged.toarray().astype(np.float64))
    unit = np.where(linear > 0, linear, np.inf).min(axis=1)
    return np.rint(linear / unit[:, None]), unit


def choose(cases: Sequence[Case]) -> tuple[float, float]:
    """Return the thresholds that flag most 50:50 mixtures rightly at `ALLOWED` false alarms at most."""

    def worth(pair: tuple[float, float]) -> tuple[float, float, float]:
        pure = rate([c for c in cases if c.kind == PURE], *pair)
        return -max(pure - ALLOWED, 0.0), rate([c for c in cases if c.kind == "50:50"], *pair), pair[0]

    return max(product(SHARES, OWNS), key=worth)


def rate(cases: Sequence[Case], share: float, own: float) -> float:
    """Return the fraction flagged; of mixtures only those with both lineages right count."""
    hits = [c.flagged(share, own) and (c.kind in (PURE, HARD) or c.right) for c in cases]
    return float(np.mean(hits)) if hits else float("nan")


def report(cases: Sequence[Case]) -> Iterator[str]:
    """Yield the page."""
    kinds = [f"{a}:{b}" for a, b in RATIOS]
    yield "# Doublets"
    yield ""
    yield "`python -m benchmarks.doublets --data MIRROR --output docs/results/doublets.md` prints this page."
    yield ""
    yield from (__doc__ or "").split("\n\n", 1)[1].strip().splitlines()
    yield ""
    yield "## Each file, with thresholds chosen on the others"
    yield ""
    yield "A mixture counts where both lineages are right. Related lineages are not mixed: "
    yield "; ".join(" and ".join(sorted(group)) for group in mixtures.KIN) + "; stem cells with any."
    yield ""
    yield (
        "| file | least share, most own | "
        + " | ".join(f"{k} mixed" for k in kinds)
        + " | pure flagged | hard flagged |"
    )
    yield "|---|---|" + "--:|" * (len(kinds) + 2)
    total: dict[str, list[bool]] = {}
    apart: dict[str, list[bool]] = {}
    for file in dict.fromkeys(c.file for c in cases):
        pair = choose([c for c in cases if c.file != file])
        cells = []
        for kind in (*kinds, PURE, HARD):
            own = [c for c in cases if c.file == file and c.kind == kind]
            hits = [c.flagged(*pair) and (kind in (PURE, HARD) or c.right) for c in own]
            total.setdefault(kind, []).extend(hits)
            apart.setdefault(kind, []).extend(h for h, c in zip(hits, own, strict=True) if c.apart)
            cells.append(f"{sum(hits)} of {len(hits)}")
        yield f"| {file} | {pair[0]:g}, {pair[1]:g} | {' | '.join(cells)} |"
    for name, part in (("all, left out", total), ("of these, both with a set", apart)):
        cells = [f"{sum(h)} of {len(h)} ({np.mean(h):.0%})" if h else "-" for h in part.values()]
        yield f"| **{name}** | | {' | '.join(cells)} |"
    yield ""
    shipped = mixtures.LEAST_SHARE, mixtures.MOST_OWN
    yield f"Shipped: share {shipped[0]:g}, own {shipped[1]:g}; the choice on all files is "
    yield "{:g}, {:g}.".format(*choose(cases))
    yield ""
    yield f"## Detection curve: all files, at most {shipped[1]:g} own genes"
    yield ""
    yield "| least share | " + " | ".join(kinds) + " | pure flagged | hard flagged |"
    yield "|--:|" + "--:|" * (len(kinds) + 2)
    for share in SHARES:
        rates = [
            rate([c for c in cases if c.kind == kind], share, shipped[1]) for kind in (*kinds, PURE, HARD)
        ]
        yield f"| {share:g} | " + " | ".join(f"{r:.0%}" if np.isfinite(r) else "-" for r in rates) + " |"
    yield ""
    alarms = [c for c in cases if c.kind in (PURE, HARD) and c.flagged(*shipped)]
    shown = "; ".join(
        f"{c.name} of {c.file} as {' + '.join(c.lineages)} ({c.pair.share:.2f})" for c in alarms if c.pair
    )
    yield f"Pure and hard sets that the shipped thresholds flag: {shown or 'none'}."
    yield ""
    yield from _missed(cases, shipped)


def _missed(cases: Sequence[Case], shipped: tuple[float, float]) -> Iterator[str]:
    """Yield the 50:50 mixtures that the shipped thresholds miss, and why."""
    yield "50:50 mixtures that the shipped thresholds miss:"
    yield ""
    yield "| file | mixed | best explained by | share | own genes |"
    yield "|---|---|---|--:|--:|"
    for c in cases:
        if c.kind == "50:50" and not (c.flagged(*shipped) and c.right):
            pair = c.pair
            cells = f"{' + '.join(c.lineages)} | {pair.share:.2f} | {pair.own:.2f}" if pair else "- | - | -"
            yield f"| {c.file} | {c.name}{'' if c.apart else ' (without a set)'} | {cells} |"


TRIED = """
Other forms, left out by file, 50:50 mixtures at pure sets flagged: genes beyond both by their mean logarithm,
relative to those that set the two apart (before): 67 % at 3 %, B with plasma cells flagged; the same by mean
expression: 81 % at 1 %, B with plasma cells flagged; genes beyond every set of the two lineages: 81 % at 3 %;
endocrine and neural cells as kin: 81 % at 3 %. The mean of logarithms of a doublet can be above those of both
types, its mean expression cannot: that is why of the pancreas, where most genes are seen in a good part of all
cells, none was found."""


def main() -> None:
    """Entry point of ``python -m benchmarks.doublets``."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

    @app.command()
    def doublets(
        data: Annotated[Path, typer.Option(help="Folder with h5ad/ and h5ad_more/.")],
        graph: Annotated[Path | None, typer.Option(help="Graph folder.")] = None,
        output: Annotated[
            Path | None, typer.Option(help="Where to write the page; printed otherwise.")
        ] = None,
    ) -> None:
        """Mix lineages, ask what each mixture is, and print how many are called mixed."""
        import vckg

        loaded, maps, cases = vckg.load(graph), label_maps(data), []
        for name in FILES:
            path = data / f"{name}.h5ad"
            if not path.is_file():
                raise InputError(f"{path}: no such file; --data names a folder with h5ad/ and h5ad_more/")
            file = File(loaded, path, maps[path.stem])
            cases += [*file.pure(), *file.mixed()]
        text = "\n".join(report(cases)) + f"\n{TRIED}\n"
        if output is None:
            out().print(text, markup=False, highlight=False)
        else:
            write_text(output, text)

    run(app, "benchmarks.doublets")


if __name__ == "__main__":
    main()
