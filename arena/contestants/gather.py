"""The `gather` contestant: what the graph alone answers, and what it hands to a model as evidence.

Annotation and captioning go through gather's walks; the other tasks look the named genes up. Nothing here
reads a sample's gold. On the fresh set some golds come from this very graph, which the tables say
(`reads_graph`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from arena.contestants.baselines import Markers
from arena.datasets.fresh import markers_of_types, signed_targets
from arena.datasets.questions import listed
from arena.tasks import TASK_TABLE
from arena.types import Sample
from gather.llm.evidence_text import evidence_text, plain

if TYPE_CHECKING:
    from gather.annotation import Annotation
    from gather.labelling.annotator import Annotator
    from vckg.graph.graph import Graph

MAX_FACTS = 30
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,14}")
_VERB = {1: "activates", -1: "represses"}


LONGEST_FACT = 2_000
"""Characters of one fact in a prompt: a hundred gene symbols fit."""


class Fact(NamedTuple):
    """An edge as a sentence."""

    text: str
    publications: tuple[str, ...]
    source: str

    @property
    def line(self) -> str:
        """The fact with its source and publications."""
        cited = f"; {', '.join(self.publications[:3])}" if self.publications else ""
        return f"{plain(self.text, LONGEST_FACT)} ({self.source}{cited})"


def answer_by_retrieval(sample: Sample, graph: Graph, measured: tuple[str, ...] = ()) -> str:
    """Return the reply of the graph alone, in the task's format; empty where it knows nothing.

    Parameters
    ----------
    measured
        Genes that the cells of the data set were measured for; the sample's own where it is empty.
    """
    if sample.task in _CELL_ANSWERS:
        answer = _CELL_ANSWERS[sample.task](_walks(sample, graph, measured), graph)
    else:
        answer = _ANSWERS[sample.task](sample, graph)
    return "" if answer is None else TASK_TABLE[sample.task].wrap(answer)


def evidence_for(sample: Sample, graph: Graph, measured: tuple[str, ...] = ()) -> str:
    """Return what the graph knows of a sample's genes, as text for a prompt; `measured` as above."""
    if sample.task in _CELL_ANSWERS:
        return evidence_text(_walks(sample, graph, measured)) or "(nothing was found)"
    find = _FACTS.get(sample.task)
    facts = find(sample, graph)[:MAX_FACTS] if find else []
    return "\n".join(f"- {fact.line}" for fact in facts) or "(nothing was found)"


# ---- cells: gather's walks --------------------------------------------------------------------------------


def _walks(sample: Sample, graph: Graph, measured: tuple[str, ...]) -> Annotation:
    genes = tuple(dict.fromkeys(sample.fields["genes"]))
    return annotation_of(genes, measured or genes, graph)


@lru_cache(maxsize=4096)
def annotation_of(genes: tuple[str, ...], measured: tuple[str, ...], graph: Graph) -> Annotation:
    """Annotate a ranked gene list; kept, because two tasks ask about the same cells."""
    from gather.retrieval.query import CellSet

    return _annotator(measured, graph).annotate_one(CellSet("cell", genes))


@lru_cache(maxsize=4)
def _annotator(measured: tuple[str, ...], graph: Graph) -> Annotator:
    from gather.labelling.annotator import Annotator
    from gather.retrieval.query import ground_panel

    return Annotator(graph, ground_panel(graph, measured))


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
    node = _nodes([*sample.fields["perturbed"], *sample.fields["candidates"]], graph)
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
    genes = _nodes([*sample.fields["perturbed"], *sample.fields["candidates"]], graph)
    regulators = {genes[g] for g in sample.fields["perturbed"] if g in genes}
    return _edges_among(graph, regulators, set(genes.values()), ("regulates",))


# ---- questions: what joins the named genes
# -------------------------------------------------------------------------


def _question(sample: Sample, graph: Graph) -> dict[str, Any] | None:
    facts = _question_facts(sample, graph)[:6]
    return {"answer": " ".join(f"{fact.text}." for fact in facts)} if facts else None


def _question_facts(sample: Sample, graph: Graph) -> list[Fact]:
    """Edges among the genes that the question names, the cell types they mark together, else each type's own
    edges.
    """
    question = sample.fields["question"]
    genes = list(_nodes(_gene_words(question), graph).values())
    among = _edges_among(graph, set(genes), set(genes), ("regulates", "ligand_receptor"))
    if among and not re.search(r"cell type", question):
        return among
    shared = _shared_types(graph, genes) if len(genes) > 1 else []
    if shared:
        return shared
    partners = [f for g in genes[:4] for f in _partners(graph, g)]
    return among + partners


def _gene_words(text: str) -> list[str]:
    """Words that may be gene symbols: with two capitals or a digit in them."""
    words = (w.strip("-") for w in _WORD.findall(text))
    return list(dict.fromkeys(w for w in words if sum(c.isupper() or c.isdigit() for c in w) >= 2))


def _shared_types(graph: Graph, genes: Sequence[int]) -> list[Fact]:
    """Cell types by how many of the genes mark them, weighed by how few types each gene marks."""
    weight: Counter[int] = Counter()
    marks: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for gene in genes:
        rows = graph.out_edges(gene, "is_marker_for").tolist()
        cells = {int(graph.object[r]): r for r in rows}
        for cell, row in cells.items():
            weight[cell] += 1_000_000 + 1_000 // len(cells)
            marks[cell].append((gene, row))
    best = sorted(weight, key=lambda c: (-weight[c], len(graph.in_edges(c, "is_marker_for")), c))[:1]
    best = [c for c in best if len(marks[c]) > 1]
    facts = []
    for cell in best:
        name = graph.names[cell]
        facts.append(Fact(f"The cell type is {name}", (), "graph"))
        for gene, row in marks[cell]:
            edge = graph.edge(row)
            facts.append(
                Fact(f"{graph.names[gene]} is a published marker of {name}", edge.publications, edge.source)
            )
    return facts


def _partners(graph: Graph, gene: int) -> list[Fact]:
    """Receptors (or ligands) of one gene, then the cell types it marks best."""
    facts = []
    name = graph.names[gene]
    for row in graph.out_edges(gene, "ligand_receptor").tolist():
        edge = graph.edge(row)
        receptor = graph.names[int(graph.object[row])]
        facts.append(
            Fact(f"{name} is sensed through the receptor {receptor}", edge.publications, edge.source)
        )
    rows = sorted(
        graph.out_edges(gene, "is_marker_for").tolist(), key=lambda r: (-graph.n_publications[r], r)
    )
    for row in rows[:3]:
        edge = graph.edge(row)
        cell = graph.names[int(graph.object[row])]
        facts.append(Fact(f"{name} is a published marker of {cell}", edge.publications, edge.source))
    return _distinct(facts)


def _edges_among(
    graph: Graph, subjects: Iterable[int], objects: set[int], relations: Sequence[str]
) -> list[Fact]:
    facts = []
    for subject in sorted(set(subjects)):
        for relation in relations:
            for row in graph.out_edges(subject, relation).tolist():
                target, sign = int(graph.object[row]), int(graph.sign[row])
                if target in objects and target != subject and (sign or relation != "regulates"):
                    edge = graph.edge(row)
                    verb = _VERB.get(sign, relation.replace("_", " "))
                    text = f"{graph.names[subject]} {verb} {graph.names[target]}"
                    facts.append(Fact(text, edge.publications, edge.source))
    return _distinct(facts)


def _distinct(facts: Iterable[Fact]) -> list[Fact]:
    """One fact a text, the one with the most publications, in the order of first appearance."""
    best: dict[str, Fact] = {}
    for fact in facts:
        had = best.get(fact.text)
        if had is None or len(fact.publications) > len(had.publications):
            best[fact.text] = fact
    return list(best.values())


def _nodes(names: Sequence[str], graph: Graph) -> dict[str, int]:
    """Graph node of each name that grounds."""
    return {g.name: graph.index(g.curie) for g in graph.genes.ground(names) if g.curie}


_CELL_ANSWERS = {"annotation": _annotation, "captioning": _caption}
_ANSWERS = {
    "generation": _generation,
    "perturbation": _perturbation,
    "qa": _question,
}
_FACTS = {"generation": _generation_facts, "perturbation": _perturbation_facts, "qa": _question_facts}
