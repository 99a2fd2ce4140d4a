"""The definition of reach, gene by gene and hop by hop, over rustworkx.

Slow and plain on purpose: `gather.retrieval.path_matrices` must agree with it exactly, and the tests hold it to that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import log
from typing import TYPE_CHECKING

import numpy as np
import rustworkx as rx

from gather.retrieval.metapaths import Target, target_named, walkable_rows
from gather.retrieval.query import TIE_DECIMALS, rank_weights
from vckg.graph.schema import CATEGORIES

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

HOP_WEIGHTS = (1.0, 0.5, 0.25)
"""Weight of a gene that reaches a node by 1, 2, 3 edges (the published score)."""


class Walker:
    """Walks of one graph to one target."""

    def __init__(self, graph: Graph, target: Target | str = "Cell", *, exclude: Iterable[str] = ()) -> None:
        self.target = target_named(target) if isinstance(target, str) else target
        self._gene = CATEGORIES.index("Gene")
        self._end = CATEGORIES.index(self.target.category)
        self._category = np.asarray(graph.category)
        self._net = rx.PyDiGraph(multigraph=False)
        self._net.add_nodes_from(range(graph.n))
        self._back = rx.PyDiGraph(multigraph=False)
        self._back.add_nodes_from(range(graph.n))
        for relation, rows in walkable_rows(graph, self.target, exclude).items():
            ends = zip(graph.subject[rows].tolist(), graph.object[rows].tolist(), strict=True)
            net = self._back if relation == self.target.back else self._net
            net.extend_from_edge_list(list(ends))

    def _is_inner(self, node: int) -> bool:
        return self._category[node] not in (self._gene, self._end)

    def _forwards(self, node: int) -> list[int]:
        return sorted(set(self._net.successor_indices(node)))

    def _either_way(self, node: int) -> list[int]:
        return sorted({*self._net.successor_indices(node), *self._net.predecessor_indices(node)})

    def walks(self, gene: int, hop: int) -> Iterator[tuple[int, ...]]:
        """Yield the node sequence of every walk of exactly `hop` edges from the gene to a target,
        ascending.
        """
        if hop > self.target.hops:
            return
        if hop == 1 and self.target.back:
            yield from ((gene, i) for i in sorted(set(self._back.predecessor_indices(gene))) if self._ends(i))
            if self.target.category == "Gene":
                return
        yield from self._extend((gene,), self._forwards(gene), hop)

    def _ends(self, node: int) -> bool:
        return bool(self._category[node] == self._end)

    def _extend(self, walk: tuple[int, ...], options: Sequence[int], left: int) -> Iterator[tuple[int, ...]]:
        for node in options:
            if left == 1 and self._ends(node):
                yield (*walk, node)
            elif left > 1 and self._is_inner(node):
                yield from self._extend((*walk, node), self._either_way(node), left - 1)

    def reach(self, gene: int, hop: int) -> set[int]:
        """Targets that the gene reaches by a walk of exactly `hop` edges."""
        return {walk[-1] for walk in self.walks(gene, hop)}

    def paper_scores(
        self, genes: Sequence[int], *, hops: int = 2, keep: Iterable[int] | None = None
    ) -> dict[int, float]:
        """The published score of every target reached, by definition.

        ``s(c) = sum_h 2^-(h-1) sum_{g reaches c in h} (1 / log2(rank_g + 2)) ln(N / df_g + 1)`` where N is the
        number of candidates the query reaches and df_g the number that g reaches, in any of the hops. `keep`
        restricts the candidates.
        """
        allowed = None if keep is None else set(keep)
        reached: list[list[set[int]]] = []
        for gene in genes:
            by_hop = [self.reach(gene, hop) for hop in range(1, hops + 1)]
            reached.append([r if allowed is None else r & allowed for r in by_hop])
        n_reached = len(set().union(*(r for by_hop in reached for r in by_hop)))
        scores: dict[int, float] = {}
        for rank_weight, by_hop in zip(rank_weights(len(genes)).tolist(), reached, strict=True):
            df = len(set().union(*by_hop))
            for hop_weight, nodes in zip(HOP_WEIGHTS, by_hop, strict=False):
                for node in nodes:
                    share = rank_weight * log(n_reached / df + 1.0) * hop_weight
                    scores[node] = scores.get(node, 0.0) + share
        return scores


def in_order(scores: dict[int, float]) -> list[int]:
    """Nodes by descending score; ties, to `TIE_DECIMALS`, by CURIE, which is the order of node indices."""
    return sorted(scores, key=lambda node: (-np.round(scores[node], TIE_DECIMALS), node))
