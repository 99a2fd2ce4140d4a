"""``gather explain GENE ...``: where genes converge, without any cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gather.annotation import EvidenceItem
from gather.retrieval.query import DEFAULT_TOP, GeneQuery, query_genes
from gather.retrieval.scores import Retriever
from gather.retrieval.walks import SHOWN_WALKS, evidence_items
from vckg.base.errors import InputError

if TYPE_CHECKING:
    from vckg.graph.graph import Graph


@dataclass(frozen=True, slots=True)
class Explanation:
    """The convergence nodes of a gene list, best first, each with its evidence."""

    query: GeneQuery
    target: str
    score: str
    items: tuple[EvidenceItem, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "genes": list(self.query.names),
            "ambiguous": list(self.query.ambiguous),
            "ungrounded": list(self.query.ungrounded),
            "technical": list(self.query.technical),
            "target": self.target,
            "score": self.score,
            "evidence": [asdict(item) for item in self.items],
        }


def explain(
    genes: Sequence[str],
    *,
    graph: Graph | None = None,
    target: str = "Cell",
    score: str = "calibrated",
    hops: int = 2,
    top: int = 5,
    walks: int = SHOWN_WALKS,
    exclude_source: Iterable[str] = (),
    retriever: Retriever | None = None,
) -> Explanation:
    """Return the best `top` nodes of a target category where ranked genes converge.

    Parameters
    ----------
    genes
        Names or ids, best first; symbols, previous symbols, aliases, Ensembl ids.
    retriever
        To be used again and again; made from the other arguments where absent.

    Raises
    ------
    InputError
        None of the genes is known, or a name in the arguments is not.
    """
    if retriever is None:
        import vckg

        retriever = Retriever(
            vckg.load() if graph is None else graph,
            target=target,
            score=score,
            hops=hops,
            exclude=tuple(exclude_source),
        )
    # what the user asks about by name is asked, housekeeping or not
    query = query_genes(retriever.graph, genes, top=max(DEFAULT_TOP, len(genes)), keep_technical=True)
    if not len(query):
        odd = [*query.ambiguous, *query.ungrounded]
        raise InputError(
            f"none of {len(list(genes))} genes is known and unambiguous ({', '.join(odd[:5])}); "
            "give HGNC symbols or Ensembl ids"
        )
    found = retriever.converge([query])[0]
    items = evidence_items(retriever, found, found.best(top), walks=walks)
    return Explanation(query, retriever.target.name, retriever.score, items)
