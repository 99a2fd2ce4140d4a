"""``gather benchmark suite``: the product and other methods on every cell set of the development suite.

Ours are the retriever and the labeller as they ship, with the panel of each file. Macro means weigh study groups
alike: the files of one publication are one group. Intervals come from a bootstrap over study groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gather.benchmark import suite_peers as peers
from gather.benchmark.suite_data import Block
from gather.cells.expression import RANKED_GENES
from gather.labelling.annotator import Parameters
from gather.labelling.decide import Labeller
from gather.metrics.labels import Interval
from gather.ontology import Ontology
from gather.retrieval.query import (
    DEFAULT_TOP,
    CellSet,
    GeneQuery,
    Panel,
    contrasts,
    make_query,
)
from gather.retrieval.scores import Retriever
from gather.species import graph_for

if TYPE_CHECKING:
    from gather.retrieval.evidence_weights import Weights
    from vckg.graph.graph import Graph

Floats = npt.NDArray[np.float64]

METRICS = ("exact", "relation", "adjusted Lin", "lineage", "among five")
MODES = (
    "label groups", "clusters", "profiles", "profile files", "gene lists", "sentences", "panel 300", "panel 1000",
    "50 cells", "cells",
)  # fmt: skip
GROUPS = {"pbmc3k_clustifyr_2000hvg": "10x pbmc3k", "colon_kinchen2018_mini": "Kinchen 2018"}
"""Publications that come both as cells and as averages."""
LEFT_OUT = ("colon_kinchen2018_mini", "mouse_dcprogenitors_schlitzer2015_scorpius")
"""Files without a right answer to find: one measures none of its types' markers, the other's types are no terms."""
ONE_TYPE = ("melanoma_tcells_sadefeldman2018_scfeatures",)
"""Files whose truth is coarse for every set: only relation and lineage count."""
STEPS = 2
"""Steps of is_a within which a term above or below the truth counts as related."""
ON_LINE = ("exact", "ancestor", "descendant")
SENTENCE_TOP = 100
RANKED = 15
OURS, BEST = "answer", "best candidate"
CELLS, LISTS, SENTENCES = "cells", "gene lists", "sentences"
AVERAGES = ("profiles", "profile files", LISTS)
ALONE = (CELLS, LISTS, SENTENCES)
"""Modes whose sets are no sets of cells of a file."""


@dataclass(frozen=True)
class Said:
    """One method's ranked terms for one cell set; `label` is the answer, empty for ``unknown``."""

    ranked: tuple[str, ...]
    label: str
    confidence: float = 1.0
    status: str = "named"


@dataclass(frozen=True, slots=True)
class Unit:
    """One cell set that counts, with the metrics of one method in the order of `METRICS`; NaN where undefined."""

    method: str
    closed: bool
    mode: str
    species: str
    group: str
    study: str
    name: str
    values: tuple[float, ...]
    confidence: float
    status: str
    on_line: float = np.nan
    """Whether the answer is the truth, above it or below it, at any distance."""


class Relatives:
    """What an answer is worth against a truth."""

    def __init__(self, ontology: Ontology) -> None:
        self.ontology = ontology
        self._root = ontology.position("CL:0000000") if "CL:0000000" in ontology else -1

    @cache  # noqa: B019 - one object a run
    def near(self, truth: int) -> frozenset[int]:
        """Positions of the truth, its equivalents, and what lies within `STEPS` above or below them."""
        o = self.ontology
        same = set(o.equivalents(truth))
        up, down = set(same), set(same)
        for _step in range(STEPS):
            up |= {p for i in up for p in o.parents(i)}
            down |= {c for i in down for c in self._children.get(i, ())}
        found = {e for i in up | down for e in o.equivalents(i)}
        return frozenset(found - {self._root})

    @cached_property
    def _children(self) -> dict[int, list[int]]:
        children: dict[int, list[int]] = {}
        for i in range(len(self.ontology)):
            for parent in self.ontology.parents(i):
                children.setdefault(parent, []).append(i)
        return children

    @cache  # noqa: B019 - one object a run
    def lin(self, truth: int) -> Floats:
        """Lin of the truth to every term."""
        return self.ontology.lin_to_all(truth)

    def chance(self, truths: Iterable[int], candidates: npt.NDArray[np.intp]) -> float:
        """Mean Lin of the truths with a candidate drawn at random."""
        return float(np.mean([self.lin(t)[candidates].mean() for t in truths]))

    def values(self, label: str, ranked: Sequence[str], truth: int, chance: float) -> tuple[float, ...]:
        """Return the metrics of one answer; one without a term is wrong in all but `among five`.

        A truth without a lineage (a Leydig cell, an osteoclast) has none to find: NaN.
        """
        o = self.ontology
        five = float(any(o.position(c) in self.near(truth) for c in ranked[:5]))
        lineage = o.lineage(truth)
        if not label:
            return (0.0, 0.0, -chance / (1 - chance), np.nan if lineage is None else 0.0, five)
        p = o.position(label)
        same = np.nan if lineage is None else float(lineage == o.lineage(p))
        lin = (float(self.lin(truth)[p]) - chance) / (1 - chance)
        return (float(o.same(p, truth)), float(p in self.near(truth)), lin, same, five)


class Suite:
    """The suite on one graph.

    Parameters
    ----------
    graph
        Where the evidence is.
    weights
        Evidence weights in place of the graph's.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        weights: Weights | None = None,
    ) -> None:
        self.graph = graph
        self.ontology = Ontology.of_cells(graph)
        self.relatives = Relatives(self.ontology)
        self.open_labeller = Labeller(self.ontology)
        self.closed_labeller = Labeller(self.ontology, back_off=False)
        self.base = Retriever(graph, weights=weights)
        self._position = {n: i for i, n in enumerate(self.ontology.nodes.tolist())}
        self._paper: dict[tuple[str, ...], Retriever] = {}
        self._panel: tuple[Block, Panel] | None = None
        self._last: tuple[Block, bool, Retriever] | None = None

    def panel(self, block: Block) -> Panel:
        """Return the measured genes of a block; averages say nothing of detection."""
        if self._panel is None or self._panel[0] is not block:
            nodes = self.graph.ids.positions(list(block.genes)).astype(np.int32)
            detected = None if (block.background == 1).all() else block.background.astype(np.float64)
            self._panel = block, Panel(block.genes, nodes, detected)
        return self._panel[1]

    def cell_sets(self, block: Block) -> list[CellSet]:
        """Return the sets of a block as the product gets them."""
        contrast = None if block.mode in ALONE else contrasts(block.mean)
        return [
            CellSet(
                name,
                tuple(block.genes[c] for c in block.ranked(i, RANKED_GENES).tolist()),
                block.n_cells[i],
                contrast=None if contrast is None else contrast[i],
            )
            for i, name in enumerate(block.names)
        ]

    def retriever(self, block: Block, closed: bool) -> Retriever:
        """Return the retriever of a block, with its panel and candidates."""
        if self._last is None or self._last[0] is not block or self._last[1] != closed:
            panel = None if block.mode in (LISTS, SENTENCES) else self.panel(block)
            candidates = self._known(block.closed) if closed else None
            made = Retriever(self.graph, panel=panel, candidates=candidates, weights=self.base.weights)
            self._last = block, closed, made
        return self._last[2]

    def _known(self, curies: Sequence[str]) -> list[int]:
        found = self.graph.ids.positions(curies)
        return [int(node) for node in found[found >= 0]]

    def ours(self, block: Block, closed: bool) -> list[Said]:
        """Answer every set of a block as the product does; single cells' sentences get no p-values."""
        if block.mode == CELLS:
            return self._streamed(block, closed)
        retriever, panel = self.retriever(block, closed), self.panel(block)
        labeller = self.closed_labeller if closed else self.open_labeller
        sentences, said = block.mode == SENTENCES, []
        for cell_set in self.cell_sets(block):
            query = make_query(panel, cell_set, top=SENTENCE_TOP if sentences else DEFAULT_TOP)
            if sentences:
                said.append(self._untested(retriever, labeller, query))
                continue
            cells = None if block.mode in AVERAGES else cell_set.n_cells
            decision = labeller.decide(retriever.converge([query])[0], retriever.support(query), cells=cells)
            ranked = tuple(c.curie for c in decision.candidates)
            said.append(Said(ranked, decision.curie, decision.confidence, decision.status))
        return said

    def _streamed(self, block: Block, closed: bool) -> list[Said]:
        """Answer single cells as `gather annotate --groupby cell` does; it tells the best candidate alone."""
        from gather.cells.cell_answers import STATUSES
        from gather.cells.per_cell import CellAnnotator
        from gather.cells.row_blocks import Rows

        candidates = self._known(block.closed) if closed else None
        rows, panel = Rows(block.mean), self.panel(block)
        annotator = CellAnnotator(self.graph, panel, rows, Parameters(), candidates=candidates)
        found, terms = annotator.annotate(block.mean), self.ontology.terms
        return [
            Said(
                (terms[best],) if best >= 0 else (), terms[term] if term >= 0 else "", sure, STATUSES[status]
            )
            for best, term, sure, status in zip(
                found.best.tolist(),
                found.term.tolist(),
                found.confidence.tolist(),
                found.status.tolist(),
                strict=True,
            )
        ]

    def _untested(self, retriever: Retriever, labeller: Labeller, query: GeneQuery) -> Said:
        """Return the best candidates and the confidence of the first, without p-values and status."""
        found = retriever.scored(query)
        best = labeller.best(found, RANKED)
        if not len(best):
            return Said((), "", 0.0, "")
        sure = labeller.confidences(found, retriever.support(query))
        ranked = tuple(self.graph.ids[i] for i in retriever.nodes[best].tolist())
        return Said(ranked, ranked[0], float(sure[labeller.positions(found)[best[0]]]), "")

    def theirs(self, block: Block, closed: bool) -> dict[str, list[Said]]:
        """Answer every set of a block by the published score and by the methods of `suite_peers`."""
        retriever = self.retriever(block, closed)
        nodes = self.panel(block).nodes
        lists = peers.marker_lists(retriever, nodes, least=1 if closed else peers.MIN_LIST)
        expression = peers.scaled(block.mean)
        asked = np.zeros(block.mean.shape, bool)
        top = SENTENCE_TOP if block.mode == SENTENCES else DEFAULT_TOP
        for i in range(len(block.names)):
            asked[i, block.ranked(i, top)] = True
        scores = {
            "ScType's formula": peers.sctype(expression, lists),
            "ulm": peers.ulm(expression, lists),
            "hypergeometric": peers.over_representation(asked, lists),
        }
        found = {name: [self._first(retriever, row) for row in values] for name, values in scores.items()}
        return found | {"published score": self._published(block, closed, top)}

    def _first(self, retriever: Retriever, score: Floats) -> Said:
        order = np.lexsort((np.arange(len(score)), -np.round(score, 9)))
        order = order[np.isfinite(score[order])][:RANKED]
        ranked = tuple(self.graph.ids[i] for i in retriever.nodes[order].tolist())
        return Said(ranked, ranked[0] if ranked else "")

    def _published(self, block: Block, closed: bool, top: int) -> list[Said]:
        key = block.closed if closed else ()
        if key not in self._paper:
            candidates = self._known(key) if closed else None
            self._paper[key] = Retriever(
                self.graph, score="paper", candidates=candidates, weights=self.base.weights
            )
        retriever, panel, said = self._paper[key], self.panel(block), []
        for cell_set in self.cell_sets(block):
            score = retriever.scored(make_query(panel, cell_set, top=top)).score
            said.append(self._first(retriever, np.where(score > 0, score, -np.inf)))
        return said

    def units(self, block: Block, said: Sequence[Said], method: str, closed: bool) -> list[Unit]:
        """Return the units of a block with their metrics; doubtful sets are left out."""
        truth = [self.ontology.position(t) if t in self.ontology else -1 for t in block.truth]
        known = [t for t in truth if t >= 0]
        nodes = self.retriever(block, closed).nodes if closed else self.base.nodes
        candidates = np.array([self._position[n] for n in nodes.tolist()])
        if not known or len(candidates) < 2:
            return []
        chance = self.relatives.chance(known, candidates)
        group = GROUPS.get(block.group, block.group)
        made = []
        for i, (answer, t) in enumerate(zip(said, truth, strict=True)):
            if t < 0 or block.flag[i] == "qc":
                continue
            values = self.relatives.values(answer.label, answer.ranked, t, chance)
            if block.flag[i] == "coarse" or block.study in ONE_TYPE:
                values = (np.nan, values[1], np.nan, *values[3:])
            if block.mode == CELLS:
                values = (*values[:4], np.nan)
            about = (method, closed, block.mode, block.species, group, block.study, block.names[i])
            o = self.ontology
            near = answer.label and o.relation(o.position(answer.label), t) in ON_LINE
            made.append(Unit(*about, values, answer.confidence, answer.status, float(bool(near))))
        return made

    def measure(self, blocks: Iterable[Block], *, others: bool = True) -> list[Unit]:
        """Return the units of all methods, open and closed, over blocks that have a right answer."""
        made: list[Unit] = []
        for block in blocks:
            if block.study in LEFT_OUT:
                continue
            for closed in (False, True) if block.mode != SENTENCES else (False,):
                if closed and len(block.closed) < 2:
                    continue
                said = self.ours(block, closed)
                made += self.units(block, said, OURS, closed)
                first = [Said(s.ranked, next(iter(s.ranked), ""), s.confidence, s.status) for s in said]
                made += self.units(block, first, BEST, closed)
                compared = others and block.mode != LISTS
                for name, answers in (self.theirs(block, closed) if compared else {}).items():
                    made += self.units(block, answers, name, closed)
        return made


def measured(graph: Graph, blocks: Sequence[Block]) -> list[Unit]:
    """Return the units of all blocks, those of each species on the graph of that species."""
    made: list[Unit] = []
    for species in dict.fromkeys(block.species for block in blocks):
        suite = Suite(graph_for(graph, species))
        made += suite.measure(b for b in blocks if b.species == species)
    return made


def select(
    units: Iterable[Unit], *, method: str, mode: str, closed: bool = False, species: str = "human"
) -> list[Unit]:
    """Return the units of one method and mode, in order."""
    wanted = (method, mode, closed, species)
    return [u for u in units if (u.method, u.mode, u.closed, u.species) == wanted]


def by_group(units: Sequence[Unit]) -> dict[str, Floats]:
    """Return the mean metrics of each study group over its studies, float64[metrics]; NaN where undefined."""
    studies: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for unit in units:
        studies.setdefault((unit.group, unit.study), []).append(unit.values)
    groups: dict[str, list[Floats]] = {}
    for (group, _study), values in studies.items():
        groups.setdefault(group, []).append(_mean(np.array(values)))
    return {group: _mean(np.array(rows)) for group, rows in groups.items()}


def _mean(rows: Floats) -> Floats:
    known = ~np.isnan(rows)
    count = known.sum(axis=0)
    total = np.where(known, rows, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), dtype=np.float64)


def over_groups(rows: Floats, *, replicates: int = 2000, seed: int = 0) -> list[Interval]:
    """Return the mean over study groups of each column with its 95 % bootstrap interval; rows are groups."""
    n = len(rows)
    drawn = np.random.default_rng(seed).integers(0, n, (replicates, n))
    draws = _mean(rows[drawn].swapaxes(0, 1))
    middle, found = _mean(rows), []
    for k in range(rows.shape[1]):
        known = draws[:, k][~np.isnan(draws[:, k])]
        low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
        found.append(Interval(float(middle[k]), float(low), float(high), int((~np.isnan(rows[:, k])).sum())))
    return found
