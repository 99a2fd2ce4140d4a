"""Questions of the fresh set: two facts each, stated by two independent resources, with publications.

The answer to each half is one name that the question does not hold, and that its genes single out: no other type
has all markers of the panel, no other regulator acts so on all targets.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, islice
from typing import Final, NamedTuple

from arena.datasets.admission import CANARY, Admission
from arena.datasets.facts import attested, markers_of, publications, replicated
from arena.datasets.virtual_cell import Question, VirtualCell, item_rng
from vckg.base.words import listed
from vckg.graph.graph import Graph

PER_KIND: Final = 25
"""Questions of one kind at most."""
PANEL: Final = 4
"""Genes from which one name is to be told."""
CHOICE: Final = 12
"""Best attested markers of which a panel is chosen."""
OWN: Final = 2
"""Markers of a panel that are no better known for a type above it."""
FEW: Final = 5
"""Regulators that act so on one target of a question at most: what dozens do tells nobody apart."""
CITED: Final = 6
"""Publications of one question."""
RECEPTOR: Final = re.compile(r"TR[ABDG](?:[VDJC](?:\d.*)?)?$|IG[HKL](?:[VDJCGAME]P?(?:\d.*)?)?$")
"""Segments, constant parts and loci of antigen receptors: which one a cell shows is its clone."""
FAMILY: Final = re.compile(r"\d+[A-Z]?$")
RNA: Final = re.compile(
    r"non-protein coding|antisense|\btranscript\b|\bmicroRNA\b|pseudogene|host gene", re.IGNORECASE
)


class Half(NamedTuple):
    """What one half of a question shows, and the name that answers it."""

    node: int
    shown: tuple[int, ...]
    """Genes of the question."""
    rows: tuple[int, ...]
    repressed: int = -1
    """Of a regulator: the target that it represses."""

    @property
    def nodes(self) -> frozenset[int]:
        """What is shown and what answers it."""
        return frozenset((self.node, *self.shown))


class Kind(NamedTuple):
    """A kind of question in several wordings."""

    name: str
    find: Callable[[Graph, Admission], list[Half]]
    wordings: tuple[str, ...]
    """With {first} and {second}."""


def questions(graph: Graph, entry: Admission) -> Iterator[VirtualCell]:
    """Yield questions of every kind, as many as the facts allow; no fact is asked from both of its ends."""
    asked: set[frozenset[int]] = set()
    for kind in KINDS:
        halves = sorted(kind.find(graph, entry), key=lambda half: graph.ids[half.node])
        halves = [half for half in halves if half.nodes not in asked and not _told(graph, half)]
        rng = item_rng(entry.seed, f"qa {kind.name}\n{graph.content_hash}")
        drawn = [halves[int(i)] for i in rng.permutation(len(halves))]
        for number, (first, second) in enumerate(islice(_pairs(drawn, graph, entry), PER_KIND)):
            asked |= {first.nodes, second.nodes}
            yield _question(graph, entry, kind, first, second, number)


def _pairs(halves: Sequence[Half], graph: Graph, entry: Admission) -> Iterator[tuple[Half, Half]]:
    """Yield each half with the next one that can be told from it."""
    left = list(halves)
    while left:
        first = left.pop(0)
        for at, second in enumerate(left):
            if _apart(first, second, graph, entry):
                yield first, left.pop(at)
                break


def _apart(first: Half, second: Half, graph: Graph, entry: Admission) -> bool:
    """Tell whether two halves show other genes, and neither answer is a kind of the other or of its family."""
    one, other = (graph.ids[half.node] for half in (first, second))
    if not first.nodes.isdisjoint(second.nodes):
        return False
    if graph.categories[graph.category[first.node]] == "Cell":
        return not entry.agree(one, other)
    return stem(graph.names[first.node]) != stem(graph.names[second.node])


def stem(symbol: str) -> str:
    """Return the family of a gene by its symbol: what precedes the last number.

    Examples
    --------
    >>> stem("E2F4") == stem("E2F1"), stem("STAT5A") == stem("STAT1"), stem("SP1") == stem("SPI1"), stem("AR")
    (True, True, False, 'AR')
    """
    return FAMILY.sub("", symbol)


def _question(
    graph: Graph, entry: Admission, kind: Kind, first: Half, second: Half, number: int
) -> VirtualCell:
    text = kind.wordings[number % len(kind.wordings)]
    halves = {"first": first, "second": second}
    claims = [f"{which.capitalize()}: {graph.names[half.node]}" for which, half in halves.items()]
    rows = [row for half in (first, second) for row in half.rows]
    edges = [graph.edge(row) for row in rows]
    facts = [
        f"{graph.names[graph.index(e.subject)]} {e.relation.replace('_', ' ')} {graph.names[graph.index(e.object)]} "
        f"({e.source}{'; ' if e.publications else ''}{', '.join(e.publications[:2])})."
        for e in edges
    ]
    question = Question(
        kind=kind.name,
        text=text.format(**{which: _shown(graph, half) for which, half in halves.items()}) + FORM,
        answer=". ".join(claims) + ".",
        claims=tuple(claims),
        passage=" ".join(facts),
        publications=publications(graph, rows)[:CITED],
        provenance={"edges": [[e.subject, e.relation, e.object, e.source] for e in edges]},
    )
    return VirtualCell(
        id=f"{kind.name.replace(' ', '-')}/{graph.ids[first.node]}+{graph.ids[second.node]}",
        dataset="fresh",
        species="human",
        questions=(question,),
        cluster=graph.ids[first.node],
        provenance={"graph": graph.content_hash, "seed": entry.seed, "canary": CANARY},
    )


def _told(graph: Graph, half: Half) -> bool:
    """Tell whether a shown name holds the answer or the answer holds it: MST1 gives MST1R away."""
    answer = graph.names[half.node].upper()
    return any((name := graph.names[g].upper()) in answer or answer in name for g in half.shown)


def _shown(graph: Graph, half: Half) -> str:
    genes = [graph.names[g] for g in half.shown]
    if half.repressed >= 0:
        return f"{listed(genes[:-1])}, and it represses {genes[-1]}"
    return listed(genes)


# ---- kinds ------------------------------------------------------------------------------------------------


def _types(graph: Graph, entry: Admission) -> list[Half]:
    """Cell types with markers that no type of another line shares as a whole, the best attested ones."""
    facts, every = replicated(graph, "is_marker_for"), attested(graph)
    found = []
    for cell, genes in sorted(markers_of(graph).items()):
        if not entry.is_type(graph.ids[cell]):
            continue
        lead = {gene: _lead(graph, entry, gene, cell) for gene in genes if _stains(graph, gene)}
        telling = [gene for gene, by in lead.items() if by > 0]
        best = sorted(telling, key=lambda g: (-lead[g], -every[g][cell], g))[:CHOICE]
        for least in (1, 2):  # resources by which a rival has a marker
            rivals = {
                g: {c for c, n in every[g].items() if n >= least and _is_rival(graph, entry, c, cell)}
                for g in best
            }
            panels = (p for p in combinations(best, PANEL) if not set.intersection(*(rivals[g] for g in p)))
            panels = (p for p in panels if _own(graph, entry, p, cell) >= OWN)
            if panel := next(panels, None):
                found.append(Half(cell, panel, tuple(facts[g, cell].rows[0] for g in panel)))
                break
    return found


def _own(graph: Graph, entry: Admission, panel: Sequence[int], cell: int) -> int:
    """Return how many markers are no better known for a type above: those say that the cell is of this very kind."""
    ontology, every = entry.terms.ontology, attested(graph)
    at = ontology.position(graph.ids[cell])
    above = {int(ontology.nodes[i]) for i in ontology.ancestors(at)}
    return sum(all(every[g].get(a, 0) <= every[g][cell] for a in above) for g in panel)


def _is_rival(graph: Graph, entry: Admission, other: int, cell: int) -> bool:
    """Tell whether a type lies on another line of the ontology."""
    return graph.ids[other] in entry.terms.ontology and not entry.agree(graph.ids[other], graph.ids[cell])


def _lead(graph: Graph, entry: Admission, gene: int, cell: int) -> int:
    """Return by how many resources more a gene marks a type than any other; a kind of the type may be level with it.

    A gene of a type above it is no rival. There is no lead where two resources state a type of another lineage.
    """
    ontology, every, facts = entry.terms.ontology, attested(graph)[gene], replicated(graph, "is_marker_for")
    at, best = ontology.position(graph.ids[cell]), 0
    for other, n in every.items():
        if graph.ids[other] not in ontology:
            continue
        place = ontology.position(graph.ids[other])
        if (gene, other) in facts and ontology.lineage(place) not in (None, ontology.lineage(at)):
            return 0
        if not (ontology.same(place, at) or ontology.closure[at, place]):
            best = max(best, n - bool(ontology.closure[place, at]))
    return every[cell] - best


def _stains(graph: Graph, gene: int) -> bool:
    """Tell whether a gene can be stained for: no RNA gene, no segment or locus of an antigen receptor."""
    return not (RECEPTOR.match(graph.names[gene]) or RNA.search(graph.node(gene).description))


def _regulators(graph: Graph, entry: Admission) -> list[Half]:
    """Regulators that alone activate three genes and repress a fourth.

    An edge without a sign counts as either, and targets come first on which no other of the family acts so.
    """
    facts = replicated(graph, "regulates")
    targets: dict[int, dict[int, int]] = defaultdict(dict)
    for (regulator, target), fact in facts.items():
        if fact.sign:
            targets[regulator][target] = fact.sign
    acting: dict[tuple[int, int], set[int]] = defaultdict(set)
    span = graph.rows("regulates")
    for regulator, target, sign in zip(
        *(c[span].tolist() for c in (graph.subject, graph.object, graph.sign)), strict=True
    ):
        for way in (sign,) if sign else (1, -1, 0):
            acting[target, way].add(regulator)
    found = []
    for regulator, signs in sorted(targets.items()):
        kin = {
            r: stem(graph.names[r]) == stem(graph.names[regulator])
            for t in signs
            for r in acting[t, signs[t]]
        }
        few = [t for t in signs if len(acting[t, signs[t]]) <= FEW]
        few.sort(key=lambda t: (sum(kin[r] for r in acting[t, signs[t]]), len(acting[t, signs[t]]), t))
        up, down = ([t for t in few if signs[t] == sign] for sign in (1, -1))
        panel = (*up[: PANEL - 1], *down[:1])
        if len(panel) == PANEL and len(set.intersection(*(acting[t, signs[t]] for t in panel))) == 1:
            found.append(Half(regulator, panel, tuple(facts[regulator, t].rows[0] for t in panel), down[0]))
    return found


def _partners(graph: Graph, *, ligands: bool) -> list[Half]:
    """Genes of which all resources know one partner: the receptor of a ligand, or the ligand of a receptor.

    No resource takes the ligand for a receptor of another, or the receptor for a ligand.
    """
    facts = {
        pair: fact
        for pair, fact in replicated(graph, "ligand_receptor", 1).items()
        if all(graph.categories[graph.category[node]] == "Gene" for node in pair)
    }
    partners: dict[int, set[int]] = defaultdict(set)
    span = graph.rows("ligand_receptor")
    for ligand, receptor in zip(graph.subject[span].tolist(), graph.object[span].tolist(), strict=True):
        partners[ligand if ligands else receptor].add(receptor if ligands else ligand)
    as_ligand, as_receptor = ({*column[span].tolist()} for column in (graph.subject, graph.object))
    found = []
    for pair, fact in facts.items():
        shown, answer = pair if ligands else pair[::-1]
        if partners[shown] == {answer} and pair[0] not in as_receptor and pair[1] not in as_ligand:
            found.append(Half(answer, (shown,), fact.rows))
    return list({half.node: half for half in found}.values())


KINDS: Final = (
    Kind(
        "cell types",
        _types,
        (
            "Two groups of human cells were sorted. The first expresses {first}; the second expresses {second}. "
            "Which cell type do published markers point to in each group?",
            "In a tissue section, a first group of cells stains for {first}, and a second group for {second}. "
            "Which cell type is each group?",
        ),
    ),
    Kind(
        "regulators",
        _regulators,
        (
            "Two human transcription factors are hidden. Published experiments say that the first activates {first}, "
            "and that the second activates {second}. Which factor is each?",
            "Two knock-outs were mixed up. The factor missing in the first activates {first}; the factor missing in "
            "the second activates {second}. Which factor is missing in each?",
        ),
    ),
    Kind(
        "receptors",
        lambda graph, _entry: _partners(graph, ligands=True),
        (
            "Human cells release or present {first} as a first ligand and {second} as a second. "
            "Through which receptor do their neighbours sense each?",
            "Cells present {first} as a first ligand and {second} as a second. "
            "Name the receptor of each on other human cells.",
        ),
    ),
    Kind(
        "ligands",
        lambda graph, _entry: _partners(graph, ligands=False),
        (
            "A human cell carries {first} as a first receptor and {second} as a second receptor. "
            "Which ligand of a neighbouring cell does each bind?",
            "An antibody blocks {first} in a first culture and {second} in a second. "
            "Which ligand finds no receptor in each culture?",
        ),
    ),
)
FORM: Final = " Name both, in the form [Answer: First: NAME. Second: NAME.]"
