"""What the graph and the paper say about one answer: numbered pieces of evidence that a judge may cite.

SC-Arena pulls the ontology paths of the reference only and leaves the predicted type for the judge to place;
here both are placed, with their relation computed, and marker and regulation edges come with their sources
and publications. Each piece has an id; a judge has to cite ids and quote their words, and both are checked.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from arena.datasets.virtual_cell import rng_of
from arena.scoring.grounding import Names, names_of
from arena.tasks import OWN
from arena.types import Answer, Sample, TaskName
from vckg.graph.graph import Graph

MARKERS_SHOWN: Final = 8
"""Marker edges shown for each of the two types."""
TOP_GENES: Final = 100
"""Highest genes of a cell whose marker edges are looked up."""
REGULATIONS_SHOWN: Final = 20
ANNOTATIONS_SHOWN: Final = 8
PUBLICATIONS_SHOWN: Final = 4
LONGEST_TEXT: Final = 4000
"""Letters of a passage or abstract that are shown."""
LONGEST_QUOTE: Final = 160
SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+")


class Fact(NamedTuple):
    """A statement before it is numbered."""

    kind: str
    text: str
    publications: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One numbered statement."""

    id: str
    """``E1``, ``E2`` ... in the order that the judge sees."""
    kind: str
    """``ontology``, ``definition``, ``marker``, ``regulation``, ``annotation``, ``passage``, ``abstract``."""
    text: str
    publications: tuple[str, ...]
    source: str

    def line(self) -> str:
        """The statement as a judge reads it, with its source and publications."""
        where = "; ".join(part for part in (self.source, ", ".join(self.publications)) if part)
        return f"[{self.id}] {self.text}" + (f" ({where})" if where else "")

    def quotable(self) -> list[str]:
        """The sentences of the text, long ones in pieces: what a judge may quote of it."""
        pieces = (textwrap.wrap(part, LONGEST_QUOTE) for part in SENTENCE_END.split(self.text))
        return list(dict.fromkeys(piece for wrapped in pieces for piece in wrapped)) or [self.text]


def evidence(sample: Sample, answer: Answer, graph: Graph) -> tuple[Evidence, ...]:
    """Everything the graph and the sample's paper hold on this answer: of the sample first, then of the answer.

    What is known of the sample is the same for every answer to it, and all of it for every rating of one answer,
    so a server with a prefix cache reads it once. Within the two parts the order is shuffled by the sample's id.
    """
    names = names_of(graph)
    of_sample, of_answer = FACTS[sample.task]
    shared = list(dict.fromkeys(of_sample(sample, names)))
    own = [fact for fact in dict.fromkeys(of_answer(sample, answer, names)) if fact not in shared]
    rng = rng_of(sample.id)
    ordered = [part[at] for part in (shared, own) for at in rng.permutation(len(part)).tolist()]
    return tuple(Evidence(f"E{number}", *fact) for number, fact in enumerate(ordered, start=1))


# ---- cell types -------------------------------------------------------------------------------------------


def named_type(sample: Sample, answer: Answer, names: Names) -> str | None:
    """The cell type an annotation or a caption names, as a CURIE."""
    if answer.parsed is None:
        return None
    if sample.task == "captioning":
        return names.claimed_type(str(answer.parsed["caption"])).curie
    return names.resolve(str(answer.parsed["cell_type"])).curie


def _cell(sample: Sample, names: Names) -> Iterator[Fact]:
    truth = names.truth(sample)
    if truth:
        yield from _type_facts(truth, names.gene_keys(sample.fields["genes"][:TOP_GENES]), names)


def _named_cell(sample: Sample, answer: Answer, names: Names) -> Iterator[Fact]:
    truth, named = names.truth(sample), named_type(sample, answer, names)
    if named:
        yield from _type_facts(named, names.gene_keys(sample.fields["genes"][:TOP_GENES]), names)
    if truth and named:
        yield _relation(named, truth, names)


def _type_facts(curie: str, genes: Iterable[str], names: Names) -> Iterator[Fact]:
    yield Fact("ontology", chain(curie, names), source="Cell Ontology")
    node = names.graph.node(names.graph.index(curie))
    if node.description:
        yield Fact("definition", f"Definition of {node.name}: {node.description}", source="Cell Ontology")
    yield from marker_facts(curie, genes, names)


def chain(curie: str, names: Names) -> str:
    """A type and all types above it, the most specific first."""
    ontology = names.ontology
    at = ontology.position(curie)
    above = sorted(ontology.ancestors(at).tolist(), key=lambda i: (-ontology.depth[i], ontology.terms[i]))
    called = [f"{ontology.names[i]} [{ontology.terms[i]}]" for i in (at, *above)]
    return f"{called[0]} is a kind of: " + (", ".join(called[1:]) or "nothing more general")


def _relation(named: str, truth: str, names: Names) -> Fact:
    ontology = names.ontology
    a, b = ontology.position(named), ontology.position(truth)
    words = {
        "exact": "the same type as",
        "ancestor": "a more general type than",
        "descendant": "a more specific type than",
        "sibling": "a sibling of",
        "other": "neither above nor below nor a sibling of",
    }[ontology.relation(a, b)]
    common = ontology.lowest_common_ancestor([a, b])
    shared = f"; the most specific type above both is {ontology.names[common]}" if common is not None else ""
    text = f"{ontology.names[a]} is {words} {ontology.names[b]}{shared}."
    return Fact("ontology", text, source="Cell Ontology")


def marker_rows(curie: str, genes: Iterable[str], names: Names) -> dict[str, int]:
    """For each gene key that marks the type: the edge row with most evidence."""
    graph = names.graph
    wanted = {at: key for key in genes if (at := graph.get(key)) is not None}
    rows = graph.in_edges(graph.index(curie), "is_marker_for")
    best: dict[str, int] = {}
    for row, subject in zip(rows.tolist(), graph.subject[rows].tolist(), strict=True):
        key = wanted.get(subject)
        if key is not None and (
            key not in best or graph.evidence_count[row] > graph.evidence_count[best[key]]
        ):
            best[key] = row
    return best


def marker_facts(curie: str, genes: Iterable[str], names: Names) -> Iterator[Fact]:
    """Best-evidenced marker edges of a type among the genes, with publications."""
    graph = names.graph
    found = marker_rows(curie, genes, names)
    ordered = sorted(found, key=lambda key: (-int(graph.evidence_count[found[key]]), key))
    for key in ordered[:MARKERS_SHOWN]:
        edge = graph.edge(found[key])
        text = f"{names.symbol(key)} is a marker of {graph.names[graph.index(curie)]}"
        yield Fact("marker", text, edge.publications[:PUBLICATIONS_SHOWN], edge.source)


def _asked_type(sample: Sample, names: Names) -> Iterator[Fact]:
    if sample.fields["description"]:
        yield Fact("definition", f"Definition of {sample.gold['cell_type']}: {sample.fields['description']}")
    if truth := names.truth(sample):
        yield Fact("ontology", chain(truth, names), source="Cell Ontology")


def _listed_genes(sample: Sample, answer: Answer, names: Names) -> Iterator[Fact]:
    listed = names.gene_keys((answer.parsed or {}).get("genes", []))
    markers = names.gene_keys(sample.gold["markers"])
    missing = [names.symbol(k) for k in dict.fromkeys(markers) if k not in set(listed)]
    if markers:
        shown = ", ".join(missing[:30]) or "none"
        yield Fact("marker", f"Reference markers of the type that the list lacks: {shown}")
    if truth := names.truth(sample):
        yield from marker_facts(truth, listed, names)


# ---- genes ------------------------------------------------------------------------------------------------


def _perturbation(sample: Sample, names: Names) -> Iterator[Fact]:
    graph = names.graph
    candidates = names.genes(sample.fields["candidates"])
    shown = 0
    for key in names.gene_keys(sample.fields["perturbed"]):
        at = graph.get(key)
        if at is None:
            continue
        yield from _annotations(at, names)
        for row in graph.out_edges(at, "regulates").tolist():
            if graph.ids[graph.object[row]] in candidates and shown < REGULATIONS_SHOWN:
                shown += 1
                yield _regulation(row, names)


def _regulation(row: int, names: Names) -> Fact:
    edge = names.graph.edge(row)
    verb = {1: "activates", -1: "represses", 0: "regulates (direction not stated)"}[edge.sign]
    text = f"{names.symbol(edge.subject)} {verb} {names.symbol(edge.object)}"
    return Fact("regulation", text, edge.publications[:PUBLICATIONS_SHOWN], edge.source)


def _annotations(gene: int, names: Names) -> Iterator[Fact]:
    graph = names.graph
    rows = [
        r for relation in ("participates_in", "enables") for r in graph.out_edges(gene, relation).tolist()
    ]
    labels = sorted({str(graph.names[graph.object[row]]) for row in rows})
    if labels:
        labels_shown = "; ".join(labels[:ANNOTATIONS_SHOWN])
        yield Fact(
            "annotation",
            f"{graph.names[gene]} takes part in: {labels_shown}",
            source="Gene Ontology, Reactome",
        )


# ---- papers -----------------------------------------------------------------------------------------------


def _qa(sample: Sample, names: Names) -> Iterator[Fact]:
    publications = tuple(sample.fields["publications"])
    for kind in ("passage", "abstract"):
        text = str(sample.fields[kind]).strip()
        if text:
            yield Fact(kind, text[:LONGEST_TEXT], publications, str(sample.fields["title"]))
    question = f"{sample.fields['question']} {sample.gold['answer']}"
    genes = names.claimed_genes(question)
    for curie in sorted(set(names.mentions(question))):
        yield from marker_facts(curie, sorted(genes), names)


def _nothing(*_about: object) -> Iterator[Fact]:
    yield from ()


OfSample = Callable[[Sample, Names], Iterator[Fact]]
OfAnswer = Callable[[Sample, Answer, Names], Iterator[Fact]]
FACTS: Final[Mapping[TaskName, tuple[OfSample, OfAnswer]]] = {
    "annotation": (_cell, _named_cell),
    "captioning": (_cell, _named_cell),
    "generation": (_asked_type, _listed_genes),
    "perturbation": (_perturbation, _nothing),
    "qa": (_qa, _nothing),
    **dict.fromkeys(OWN, (_nothing, _nothing)),
}
