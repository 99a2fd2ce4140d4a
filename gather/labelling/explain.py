"""``gather explain GENE ...``: where genes converge, without any cells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gather.annotation import Annotation, EvidenceItem
from gather.labelling import plain_words
from gather.labelling.annotator import Annotator, Parameters
from gather.labelling.decide import SHOWN_CANDIDATES
from gather.labelling.frames import html_table
from gather.labelling.two_types import Voice, in_words, two_types
from gather.retrieval.candidates import types_of_tissue
from gather.retrieval.query import DEFAULT_TOP, CellSet, GeneQuery, panel_of_list, query_genes
from gather.retrieval.scores import Retriever
from gather.retrieval.unknown_names import is_renamed, meant_genes, with_hints
from gather.retrieval.walks import SHOWN_WALKS, evidence_items
from gather.species import HUMAN, MOUSE, detect, graph_for
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

ALONE = (
    "a list alone has no other cells to compare with: the answer for a cluster with these genes may differ"
)
ORDER = "the order is that of the choice, which weighs the score and how alike the candidates are"
"""Says why the nodes may stand in another order than that of their scores."""
MOST_HINTS = 20
"""So many names at most get a hint of what they may mean."""


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """The convergence nodes of a gene list, best first, each with its evidence.

    Examples
    --------
    >>> found = gather.explain(["CD3D", "CD3E", "IL7R"], graph=graph)
    >>> found
    gather.Explanation: 3 genes, 1 Cell, best T cell (CL:0000084)
    >>> found.table()[["name", "genes"]]
       name             genes
    id
    E1  T cell  CD3D, CD3E, IL7R
    """

    query: GeneQuery
    target: str
    score: str
    items: tuple[EvidenceItem, ...]
    species: str = HUMAN
    """Whose genes they are."""
    read_as: dict[str, str] = field(default_factory=dict)
    """Symbols of the genes that were named otherwise: by an alias, an older symbol, or a spreadsheet's date."""
    hints: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Symbols that unknown and ambiguous names may mean."""
    answer: Annotation | None = None
    """What `gather annotate` answers of this list alone; None for other targets than cell types."""
    two_types: tuple[Voice, ...] = ()
    """The two cell types of different lineages that the list may mix, as a doublet does; empty where it is one."""

    def __repr__(self) -> str:
        genes = f"{len(self.query)} gene" + ("" if len(self.query) == 1 else "s")
        best = f", best {self.items[0].name} ({self.items[0].curie})" if self.items else ""
        return f"gather.Explanation: {genes}, {len(self.items)} {self.target}{best}"

    @property
    def verdict(self) -> str:
        """The answer with its certainty, or why there is none; empty for other targets than cell types."""
        if self.answer is None:
            return ""
        words, status = plain_words.answer(self.answer), plain_words.status_reason(self.answer)
        if not self.answer.curie:
            return f"answer: {words} ({status})"
        second = ", but a second cell type speaks" if self.two_types else ""
        certainty = plain_words.certainty(self.answer)
        return f"answer: {words}, {certainty} {self.answer.confidence:.2f}, {status}{second}"

    @property
    def remark(self) -> str:
        """Name the two cell types that the list may mix, with their genes; empty where it is one."""
        return in_words(self.two_types)

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.table())

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[EvidenceItem]:
        return iter(self.items)

    def __getitem__(self, curie: str) -> EvidenceItem:
        """Return the evidence for a node."""
        for item in self.items:
            if item.curie == curie:
                return item
        raise KeyError(f"{curie!r} is not among the nodes shown: {', '.join(i.curie for i in self.items)}")

    def table(self, *, genes: int = 8) -> pd.DataFrame:
        """Return one row a node: name, CURIE, score, p, FDR and the `genes` that contribute most."""
        rows = [
            (i.name, i.curie, i.score, i.p, i.fdr, ", ".join(g.symbol for g in i.genes[:genes]))
            for i in self.items
        ]
        index = pd.Index([i.id for i in self.items], name="id", dtype=object)
        return pd.DataFrame(rows, columns=["name", "curie", "score", "p", "FDR", "genes"], index=index)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "genes": list(self.query.names),
            "ambiguous": list(self.query.ambiguous),
            "ungrounded": list(self.query.ungrounded),
            "technical": list(self.query.technical),
            "read_as": dict(self.read_as),
            "hints": {name: list(symbols) for name, symbols in self.hints.items()},
            "species": self.species,
            "target": self.target,
            "score": self.score,
            "answer": self._answer_in_plain_values(),
            "two_types": [asdict(voice) for voice in self.two_types],
            "evidence": [asdict(item) for item in self.items],
        }

    def _answer_in_plain_values(self) -> dict[str, Any] | None:
        if self.answer is None:
            return None
        return {
            "label": self.answer.label,
            "curie": self.answer.curie,
            "status": self.answer.status,
            "confidence": self.answer.confidence,
            "certainty": plain_words.certainty(self.answer),
            "reason": plain_words.status_reason(self.answer),
        }


def explain(
    genes: Sequence[str] | str,
    *,
    graph: Graph | Path | str | None = None,
    target: str = "Cell",
    score: str = "calibrated",
    hops: int = 2,
    top: int = 5,
    walks: int = SHOWN_WALKS,
    tissue: str | None = None,
    exclude_source: Iterable[str] = (),
    species: str = "auto",
    retriever: Retriever | None = None,
) -> Explanation:
    """Find the `top` nodes of a target category where ranked genes converge.

    Cell types come in the order in which `gather annotate` prefers them; its answer is the field `answer`.

    Parameters
    ----------
    genes
        Names or ids, best first; symbols, previous symbols, aliases, Ensembl ids. A text is parted at blanks
        and commas.
    graph
        A graph or its folder; ``vckg.load()`` by default.
    target
        A category of nodes: ``Cell``, ``BiologicalProcess``, ``Pathway``, ``AnatomicalEntity``, ``Disease``, ...
    score
        ``calibrated``, or ``paper``: that of the published method.
    hops
        Most edges of a walk, 1 to 3; steps of is_a may follow.
    top
        Number of nodes to return.
    walks
        Most walks of each node.
    tissue
        UBERON id or name: cell types known there are preferred.
    exclude_source
        Sources or parts (``cellmarker:cancer``) whose edges are left out.
    species
        ``human`` or ``mouse``: whose genes they are; ``auto``: told by their ids and symbols.
    retriever
        A retriever to use again; it holds the graph, target, score, hops, tissue, sources and species, so give none
        of them.

    Returns
    -------
    Explanation
        The nodes, best first, with genes and walks; a notebook shows it as a table.

    Raises
    ------
    InputError
        No gene is known, there is no such target, score, tissue, source or species, a tissue is given for another
        target than ``Cell``, or `retriever` comes with one of them.

    Examples
    --------
    >>> gather.explain(["MS4A1", "CD79A"], graph=graph).items[0].name
    'B cell'
    """
    if top < 1:
        raise InputError(f"top is {top}; wanted at least one node")
    genes = re.findall(r"[^\s,;]+", genes) if isinstance(genes, str) else list(genes)
    excluded = (exclude_source,) if isinstance(exclude_source, str) else tuple(exclude_source)
    if retriever is None:
        import vckg

        species = detect(genes).species if species == "auto" else species
        if species not in (HUMAN, MOUSE):
            raise InputError(f"no list of {species!r} genes is explained; give human or mouse genes")
        seen = graph_for(vckg.as_graph(graph), species)
        if tissue is not None and target != "Cell":
            raise InputError(f"a tissue prefers cell types, not {target}; leave it out")
        preferred = None if tissue is None else types_of_tissue(seen, tissue)
        retriever = Retriever(
            seen, target=target, score=score, hops=hops, preferred=preferred, exclude=excluded
        )
    elif (graph, target, score, hops, tissue, excluded, species) != (
        None, "Cell", "calibrated", 2, None, (), "auto",
    ):  # fmt: skip
        raise InputError(
            "retriever was given with graph, target, score, hops, tissue, exclude_source or species, "
            "which it holds; give either"
        )
    # genes that the user names are asked, also housekeeping genes: other targets may be reached by these alone
    query = query_genes(retriever.graph, genes, top=max(DEFAULT_TOP, len(genes)), keep_technical=True)
    unknown = [*query.ambiguous, *query.ungrounded]
    hints = meant_genes(retriever.graph, unknown[:MOST_HINTS])
    if not len(query):
        raise InputError(
            f"none of the genes is known and unambiguous ({with_hints(unknown[:5], hints)}); "
            "give HGNC symbols or Ensembl ids"
        )
    convergence = retriever.converge([query])[0]
    found = convergence.best(max(top, SHOWN_CANDIDATES))
    answer = _answer(retriever, genes) if retriever.target.name == "Cell" else None
    if answer is not None:
        preferred = [retriever.graph.index(c.curie) for c in answer.candidates]
        first = np.flatnonzero(np.isin(convergence.nodes, preferred) & (convergence.score > 0)).tolist()
        first.sort(key=lambda i: preferred.index(int(convergence.nodes[i])))
        found = np.array([*first, *(i for i in found.tolist() if i not in first)], np.intp)
    if answer is not None and answer.status == "ungrounded":
        found = found[:0]  # all genes are of families that tell no cell type
    items = evidence_items(retriever, convergence, found[:top], walks=walks)
    answer = answer and replace(answer, evidence=items)
    voices = two_types(retriever, answer, query.names) if answer is not None else ()
    return Explanation(
        query,
        retriever.target.name,
        retriever.score,
        items,
        retriever.graph.species,
        _read_as(retriever.graph, query),
        hints,
        answer,
        voices,
    )


def _read_as(graph: Graph, query: GeneQuery) -> dict[str, str]:
    symbols = zip(query.names, (graph.names[node] for node in query.genes.tolist()), strict=True)
    return {name: symbol for name, symbol in symbols if is_renamed(name, symbol)}


def _answer(given: Retriever, genes: Sequence[str]) -> Annotation:
    """What `gather annotate` answers of a list of genes; a retriever of a panel decides itself."""
    panel = panel_of_list(given.graph, genes)
    closed = len(given.nodes) < int(given.weights.own.sum())
    liked = given.preference == 1
    annotator = Annotator(
        given.graph,
        panel,
        Parameters(
            score=given.score, hops=given.hops, exclude_source=given.exclude, hyper_entities=(), evidence=0
        ),
        candidates=given.nodes.tolist() if closed else None,
        preferred=None if liked.all() else given.nodes[liked].tolist(),
        contrast=False,
    )
    if given.panel is not None:
        annotator.retriever = given
    return annotator.annotate_one(CellSet("query", panel.names[: len(dict.fromkeys(genes))]))
