"""The `gather` contestant: what the graph alone answers, and what it hands to a model as evidence.

Annotation and captioning go through gather's walks; the other tasks look the named genes up. Nothing here
reads a sample's gold. On the fresh set some golds come from this very graph, which the tables say
(`reads_graph`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from arena.contestants import graph_questions
from arena.contestants.baselines import Markers
from arena.contestants.edge_facts import Fact, edges_among, nodes_named
from arena.datasets.fresh import markers_of_types, signed_targets
from arena.tasks import TASK_TABLE
from arena.types import Sample
from gather.labelling.annotator import Annotator
from gather.llm.evidence_text import evidence_text
from gather.retrieval.query import CellSet, ground_panel
from gather.species import HUMAN, KINDS, graph_for, ground
from vckg.base.words import listed

if TYPE_CHECKING:
    from gather.annotation import Annotation
    from vckg.graph.graph import Graph

MAX_FACTS = 30


def answer_by_retrieval(sample: Sample, graph: Graph) -> str:
    """Return the reply of the graph alone, in the task's format; empty where it knows nothing."""
    if sample.task in _CELL_ANSWERS:
        answer = _CELL_ANSWERS[sample.task](_walks(sample, graph), graph)
    else:
        answer = _ANSWERS[sample.task](sample, graph)
    return "" if answer is None else TASK_TABLE[sample.task].wrap(answer)


def evidence_for(sample: Sample, graph: Graph) -> str:
    """Return what the graph knows of a sample's genes, as text for a prompt."""
    if sample.task in _CELL_ANSWERS:
        return evidence_text(_walks(sample, graph)) or "(nothing was found)"
    find = _FACTS.get(sample.task)
    facts = find(sample, graph)[:MAX_FACTS] if find else []
    return "\n".join(f"- {fact.line}" for fact in facts) or "(nothing was found)"


# ---- cells: gather's walks --------------------------------------------------------------------------------


def _walks(sample: Sample, graph: Graph) -> Annotation:
    species = sample.fields["species"]
    return annotation_of(tuple(sample.fields["genes"]), species if species in KINDS else HUMAN, graph)


@lru_cache(maxsize=4096)
def annotation_of(genes: tuple[str, ...], species: str, graph: Graph) -> Annotation:
    """Annotate a ranked gene list as one of a table whose measured genes are unknown; kept: two tasks ask for it.

    The answer rests on the sample alone, whichever others are asked with it.
    """
    annotator = _annotator(species, graph)
    known = annotator.graph
    nodes = [known.index(g.curie) for g in ground(known, genes, species) if g.curie]
    return annotator.annotate_one(CellSet("cell", tuple(dict.fromkeys(known.names[n] for n in nodes))))


@lru_cache(maxsize=4)
def _annotator(species: str, graph: Graph) -> Annotator:
    known = graph_for(graph, species)
    every = [known.names[int(node)] for node in known.nodes_of("Gene")]
    return Annotator(known, ground_panel(known, every), contrast=False)


def _annotation(found: Annotation, graph: Graph) -> dict[str, Any] | None:
    return {"cell_type": found.label}  # "unknown" where nothing passed: an abstention, not a broken format


def _caption(found: Annotation, graph: Graph) -> dict[str, Any] | None:
    if not found.curie:
        return {"caption": "The cell type is unknown: no type's evidence is better than chance."}
    description = graph.node(graph.index(found.curie)).description
    item = found.item(found.curie)
    genes = [support.symbol for support in item.genes[:6]] if item else []
    markers = f" Its markers {listed(genes)} are expressed." if genes else ""
    themes = [c.name for c in found.convergence[:2]]
    shared = f" Its genes also meet in {listed(themes)}." if themes else ""
    return {"caption": f"{found.label}: {description}{markers}{shared}"}


# ---- generation: the type's markers -----------------------------------------------------------------------


@lru_cache(maxsize=2)
def markers_by_type(graph: Graph) -> Mapping[str, Markers]:
    """Markers of each cell type of the graph by CURIE, the best supported gene first."""
    table = {}
    for cell, genes in markers_of_types(graph).items():
        node = graph.node(cell)
        table[node.id] = Markers(node.id, node.name, node.description, tuple(graph.names[g] for g in genes))
    return table


def _generation(sample: Sample, graph: Graph) -> dict[str, Any] | None:
    """Return the type's own markers, then those of its subtypes, then of its supertypes."""
    table = markers_by_type(graph)
    cell = graph.cells.ground([sample.fields["cl_id"] or sample.fields["cell_type"]])[0].curie
    if cell is None:
        return None
    index = graph.index(cell)
    related = [index, *sorted(graph.descendants(index).tolist()), *sorted(graph.ancestors(index).tolist())]
    genes: dict[str, None] = {}
    for node in related:
        entry = table.get(graph.ids[node])
        genes.update(dict.fromkeys(entry.genes if entry else ()))
    return {"genes": list(genes)[: sample.fields["length"]]} if genes else None


def _generation_facts(sample: Sample, graph: Graph) -> list[Fact]:
    answer = _generation(sample, graph)
    if answer is None:
        return []
    name = sample.fields["cell_type"]
    genes = answer["genes"][:120]
    return [
        Fact(
            f"genes known as markers of {name} or its relatives, best supported first: {' '.join(genes)}",
            (),
            "graph",
        )
    ]


# ---- perturbation: signed edges
# --------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _signs(graph: Graph) -> dict[int, dict[int, int]]:
    return signed_targets(graph)


def _perturbation(sample: Sample, graph: Graph) -> dict[str, Any]:
    """Follow signed edges from what is switched, one step, else two; a gene without a path is left out."""
    switched = -1 if sample.fields["effect"] == "knockdown" else 1
    node = nodes_named([*sample.fields["perturbed"], *sample.fields["candidates"]], graph)
    regulators = [node[g] for g in sample.fields["perturbed"] if g in node]
    reach = _signed_reach(regulators, _signs(graph))
    up: list[str] = []
    down: list[str] = []
    for gene in sample.fields["candidates"]:
        balance = switched * (1 if node.get(gene) in regulators else reach[node.get(gene, -1)])
        if balance:
            (up if balance > 0 else down).append(gene)
    control = sample.fields["control"]
    moved = [g for g in control if g in up] + [g for g in control if g not in up and g not in down]
    return {"up": up, "down": down, "sentence": [*moved, *(g for g in control if g in down)]}


def _signed_reach(regulators: Sequence[int], signs: Mapping[int, Mapping[int, int]]) -> Counter[int]:
    """Sum of signs over one-step edges; over two-step walks where there is none."""
    one: Counter[int] = Counter()
    two: Counter[int] = Counter()
    for regulator in regulators:
        for middle, first in signs.get(regulator, {}).items():
            one[middle] += first
            for target, second in signs.get(middle, {}).items():
                two[target] += first * second
    return Counter({gene: one[gene] or two[gene] for gene in one.keys() | two.keys()})


def _perturbation_facts(sample: Sample, graph: Graph) -> list[Fact]:
    genes = nodes_named([*sample.fields["perturbed"], *sample.fields["candidates"]], graph)
    regulators = {genes[g] for g in sample.fields["perturbed"] if g in genes}
    return edges_among(graph, regulators, set(genes.values()), ("regulates",))


_CELL_ANSWERS = {"annotation": _annotation, "captioning": _caption}
_ANSWERS = {
    "generation": _generation,
    "perturbation": _perturbation,
    "qa": graph_questions.answer,
}
_FACTS = {"generation": _generation_facts, "perturbation": _perturbation_facts, "qa": graph_questions.facts}
