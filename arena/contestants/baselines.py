"""Contestants that know little or no biology: a model has to beat them first.

Each is a pure function ``(sample, Peers) -> reply`` and speaks the tasks' answer format, so it passes
through the same prompts, parsers and metrics as a model. Those that learn from other samples leave the asked
one out. ``None`` means that the baseline has nothing to say to this sample.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from arena.datasets.virtual_cell import SENTENCE_LENGTH, item_rng
from arena.tasks import OWN, TASK_TABLE, TASKS
from arena.types import Kind, Sample, TaskName, canonical_json


class Peers:
    """The samples of one task, with sums over them that leave-one-out baselines subtract from."""

    def __init__(self, samples: Mapping[str, Sample], markers: Callable[[], Mapping[str, Markers]]) -> None:
        self.samples = dict(sorted(samples.items()))
        self._markers = markers

    @cached_property
    def markers(self) -> Mapping[str, Markers]:
        """Marker genes by cell type, from the graph; read when first asked for."""
        return self._markers()

    @cached_property
    def directions(self) -> Counter[tuple[str, bool]]:
        """How often a gene rises, and how often it falls."""
        sides = [(s.gold[side], side == "up") for s in self.samples.values() for side in ("up", "down")]
        return Counter((gene, up) for genes, up in sides for gene in genes)

    @cached_property
    def directions_at(self) -> Counter[tuple[int, bool]]:
        """How often the gene at a position of the candidate list rises, and how often it does not."""
        listed = [(s, i, g) for s in self.samples.values() for i, g in enumerate(s.fields["candidates"])]
        return Counter((position, rises(sample, gene)) for sample, position, gene in listed)

    @cached_property
    def types(self) -> Counter[str]:
        """How often a cell type is the gold."""
        return Counter(s.gold["cell_type"] for s in self.samples.values())

    @cached_property
    def rank_sum(self) -> Counter[str]:
        """Sum over gold sentences of ``length - rank`` of each gene: high for what is high in most cells."""
        total: Counter[str] = Counter()
        for sample in self.samples.values():
            total.update(sentence_weights(sample))
        return total

    def others(self, sample: Sample) -> list[Sample]:
        """All samples but this one, by id."""
        return [s for s in self.samples.values() if s.id != sample.id]


class Markers(NamedTuple):
    """A cell type of the graph as the marker-overlap baseline sees it."""

    cl_id: str
    name: str
    description: str
    genes: tuple[str, ...]
    """Marker symbols, the best supported first."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A baseline: its title, what it is to the leaderboard, its tasks and its answers."""

    title: str
    kind: Kind
    """``baseline`` for one that reads the graph, ``trivial``, or ``ceiling``."""
    tasks: tuple[TaskName, ...]
    answer: Callable[[Sample, Peers], dict[str, Any] | None]
    """Bound answer to a sample; the task writes it as a reply."""


def reply(name: str, sample: Sample, peers: Peers) -> str:
    """Return the reply of a baseline to a sample; empty where it gives none."""
    answer = BASELINES[name].answer(sample, peers)
    return "" if answer is None else TASK_TABLE[sample.task].wrap(answer)


def rises(sample: Sample, gene: str) -> bool:
    """Tell whether the gold says that the gene rises."""
    return gene in sample.gold["up"]


def sentence_weights(sample: Sample) -> Counter[str]:
    """Weight ``length - rank`` of each gene of the gold sentences, or of the markers where there is none."""
    lists = sample.gold["sentences"] or [sample.gold["markers"]]
    return Counter({gene: len(genes) - rank for genes in lists for rank, gene in enumerate(genes)})


# ---- the answers ----------------------------------------------------------------------------------------


def majority(sample: Sample, peers: Peers) -> dict[str, Any] | None:
    """Return the most frequent answer to the other samples; ties go to the first by name."""
    if sample.task in ("annotation", "captioning"):
        types = peers.types - Counter([sample.gold["cell_type"]])
        if not types:
            return None
        label = min(types, key=lambda t: (-types[t], t))
        if sample.task == "annotation":
            return {"cell_type": label}
        caption = next(s.gold["caption"] for s in peers.others(sample) if s.gold["cell_type"] == label)
        return {"caption": caption}
    if sample.task == "generation":
        weights = peers.rank_sum - sentence_weights(sample)
        genes = sorted(weights, key=lambda g: (-weights[g], g))[:SENTENCE_LENGTH]
        return {"genes": genes} if genes else None
    if sample.task == "perturbation":
        balance = sum(len(s.gold["up"]) - len(s.gold["down"]) for s in peers.others(sample))
        return _directions(sample, lambda _gene, _position: balance > 0)
    if sample.task in OWN:
        seen = Counter(canonical_json(TASK_TABLE[s.task].perfect(s)) for s in peers.others(sample))
        return json.loads(min(seen, key=lambda text: (-seen[text], text))) if seen else None
    others = peers.others(sample)
    near = [s for s in others if s.fields["kind"] == sample.fields["kind"]] or others
    return {"answer": near[0].gold["answer"]} if near else None


def gene_prior(sample: Sample, peers: Peers) -> dict[str, Any]:
    """Give each gene its direction in most other samples; ties and unseen genes are left out."""

    def direction(gene: str, _position: int) -> bool | None:
        up = peers.directions[gene, True] - rises(sample, gene)
        down = peers.directions[gene, False] - (not rises(sample, gene))
        return None if up == down else up > down

    return _directions(sample, direction)


def position_prior(sample: Sample, peers: Peers) -> dict[str, Any]:
    """Give each gene the direction of its position in the other samples: a probe for leaks by order."""

    def direction(gene: str, position: int) -> bool:
        up = peers.directions_at[position, True] - rises(sample, gene)
        return up >= peers.directions_at[position, False] - (not rises(sample, gene))

    return _directions(sample, direction)


def copy_control(sample: Sample, peers: Peers) -> dict[str, Any] | None:
    """Return the expression before, without a direction."""
    control = sample.fields["control"]
    return {"up": [], "down": [], "sentence": control} if control else None


def random_answer(sample: Sample, peers: Peers) -> dict[str, Any] | None:
    """Draw an answer by the sample's own seed from the answers to other samples."""
    rng = item_rng(0, f"random\n{sample.id}")
    if sample.task == "perturbation":
        coins = rng.random(len(sample.fields["candidates"])) < 0.5
        return _directions(sample, lambda _gene, position: bool(coins[position]))
    if sample.task == "generation":
        universe = sorted(peers.rank_sum - sentence_weights(sample))  # not what only this sample's gold holds
        genes = [universe[i] for i in rng.permutation(len(universe))[:SENTENCE_LENGTH]]
        return {"genes": genes} if genes else None
    others = peers.others(sample)
    if not others:
        return None
    return TASK_TABLE[sample.task].perfect(others[int(rng.integers(len(others)))])


def marker_overlap(sample: Sample, peers: Peers) -> dict[str, Any] | None:
    """Name the cell type of the graph whose markers overlap the sentence most, by cosine.

    A mouse gene stands for its human namesake.
    """
    if sample.task == "generation":
        entry = peers.markers.get(sample.fields["cl_id"])
        if entry is None:
            return None
        filler = [g for g, _n in (peers.rank_sum - sentence_weights(sample)).most_common()]
        return {"genes": list(dict.fromkeys((*entry.genes, *filler)))[:SENTENCE_LENGTH]}
    genes = {form for g in sample.fields["genes"] for form in (g, g.upper())}

    def cosine(entry: Markers) -> float:
        shared = len(genes.intersection(entry.genes))
        return float(shared / (len(entry.genes) * len(genes)) ** 0.5) if shared else 0.0

    best = min(peers.markers.values(), key=lambda e: (-cosine(e), e.cl_id), default=None)
    if best is None or not cosine(best):
        return None
    if sample.task == "annotation":
        return {"cell_type": best.name}
    shared = [g for g in sample.fields["genes"] if {g, g.upper()} & {*best.genes}][:8]
    return {
        "caption": f"This is a {best.name}. {best.description} Its markers {', '.join(shared)} are expressed."
    }


def gold(sample: Sample, peers: Peers) -> dict[str, Any]:
    """Return the reference: the ceiling of every deterministic metric, and a check of the pipeline."""
    if sample.task == "generation":
        genes = (*(sample.gold["sentences"] or [sample.gold["markers"]])[0], *sample.gold["markers"])
        return {"genes": list(dict.fromkeys(genes))[:SENTENCE_LENGTH]}
    return TASK_TABLE[sample.task].perfect(sample)


def _directions(sample: Sample, direction: Callable[[str, int], bool | None]) -> dict[str, Any]:
    sides: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for position, gene in enumerate(sample.fields["candidates"]):
        sides[direction(gene, position)].append(gene)
    return {"up": sides[True], "down": sides[False], "sentence": []}


_CELLS: tuple[TaskName, ...] = ("annotation", "captioning", "generation")
BASELINES: Mapping[str, Baseline] = {
    "majority": Baseline("the most frequent answer of the other samples", "trivial", TASKS, majority),
    "random": Baseline("an answer drawn blindly: labels, genes, coin flips", "trivial", TASKS, random_answer),
    "marker-overlap": Baseline(
        "the cell type whose markers overlap most", "baseline", _CELLS, marker_overlap
    ),
    "copy-control": Baseline("the expression before, unchanged", "trivial", ("perturbation",), copy_control),
    "gene-prior": Baseline("each gene as in most other samples", "trivial", ("perturbation",), gene_prior),
    "position": Baseline("each gene as its place in the list", "trivial", ("perturbation",), position_prior),
    "gold": Baseline("the reference itself (ceiling)", "ceiling", TASKS, gold),
}
