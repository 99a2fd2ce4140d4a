"""What proposers for the engine share, and the n-gram proposer.

All draft for every decoding request at once and give back `DraftTree`s. Which tokens are kept is the
engine's affair (`serve.spec_decode.verify`), so no draft, however bad, can change an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np

from serve.request import Request
from serve.spec_decode.ngram_trie import GrowingGrams, Trie
from serve.spec_decode.proposer import DraftTree, Observed, RoundTiming
from serve.spec_decode.tree import Candidates, best_first, path_chances, union
from serve.spec_decode.tree_budget import Arms, Calibration, CostCurve, choose

LEAST_CHANCE = 0.04
"""Of a path of n-grams, where sizes are measured: a less likely one is never worth a row of a pass, nor its search. Nor
is one with less than half the chance of the least likely that were chosen of late."""


@dataclass(slots=True)
class DraftStats:
    """Time and results of drafting since the start; milliseconds."""

    rounds: int = 0
    head_ms: float = 0.0
    search_ms: float = 0.0
    drafted: int = 0
    accepted: int = 0
    requests: int = 0
    reached: list[int] = field(default_factory=lambda: [0] * 64)  # rounds in which a depth was accepted


class Sized:
    """What every proposer shares: trees cut to their measured worth, and confidences calibrated by what was
    accepted.

    A proposer may draft from several sources (`sources` of them); each has its own calibration, and their
    trees are united. `nodes` fixes the size per request; None lets cost and acceptance decide, and then
    drafting turns itself off where it does not pay.
    """

    wants_taps = False
    sources = 1
    ways = (
        2  # 0: none, 1: from the first source that costs nothing to ask, and so on; the last is the richest
    )

    def __init__(self, nodes: int | None = None, explore_every: int = 24) -> None:
        self.nodes, self.explore_every = nodes, explore_every
        self.cost = CostCurve()
        self.calibrations = [Calibration() for _ in range(self.sources)]
        self.stats = DraftStats()
        self.arms = Arms(self.ways)
        self.way = self.ways - 1
        self._overhead_ms = 1.0
        self._quiet = 0
        self._brought = 0
        self._floor = LEAST_CHANCE  # the least likely path that was chosen, fading mean
        self._drafts: dict[str, _Draft] = {}

    def candidates(self, requests: Sequence[Request], budgets: Sequence[int]) -> list[tuple[Candidates, ...]]:
        """Return per request one uncut tree per source, with raw confidences; each kind of proposer has its own."""
        raise NotImplementedError

    def pick(self, requests: int) -> int:
        """Choose the way of the next round."""
        return self.arms.pick(requests)

    def propose(self, requests: Sequence[Request], budgets: Sequence[int]) -> list[DraftTree]:
        """Draft for every request; an empty tree where nothing is worth its verification."""
        self.stats.rounds += 1
        if self.nodes is None:
            self.way = self.pick(len(requests))
        if self.way == 0:
            return [DraftTree.empty()] * len(requests)
        raw = self.candidates(requests, budgets)
        judged = [
            reduce(
                union,
                (
                    replace(c, chance=known(c.chance))
                    for known, c in zip(self.calibrations, trees, strict=True)
                ),
            )
            for trees in raw
        ]
        least = 2 * len(requests) if self._quiet >= self.explore_every else 0
        cut = choose(judged, budgets, self.cost, self._overhead_ms, nodes=self.nodes, least=least)
        self._quiet = 0 if any(map(len, cut)) else self._quiet + 1
        self._floor += 0.1 * (_lowest(judged, cut) - self._floor)
        for request, tree, trees in zip(requests, cut, raw, strict=True):
            if len(tree):
                self._drafts[request.id] = _Draft(len(request.tokens), tree, trees)
        return [tree.tree for tree in cut]

    def observe(self, observed: Sequence[Observed]) -> None:
        """Learn from what became of the last drafts."""
        for seen in observed:
            self._brought += seen.accepted
            if draft := self._drafts.pop(seen.request.id, None):
                self._judge(seen, draft)

    def _judge(self, seen: Observed, draft: _Draft) -> None:
        """Compare a tree with the tokens that were committed since."""
        place = _places(draft.tree)
        path = {-1, *path_of(draft.tree, seen.request.tokens[draft.start :])}
        for calibration, tree in zip(self.calibrations, draft.sources, strict=True):
            own, offered, kept = np.empty(len(tree), np.int64), list[float](), list[bool]()
            for i, (token, parent) in enumerate(
                zip(tree.tokens.tolist(), tree.parents.tolist(), strict=True)
            ):
                above = int(own[parent]) if parent >= 0 else -1
                own[i] = place.get((above, token), -2) if above > -2 else -2
                if own[i] >= 0 and above in path:
                    offered.append(float(tree.chance[i]))
                    kept.append(int(own[i]) in path)
            calibration.add(np.asarray(offered), np.asarray(kept, np.bool_))
        self.stats.drafted += seen.drafted
        self.stats.accepted += seen.accepted
        self.stats.requests += 1
        for depth in range(seen.accepted + 1):
            self.stats.reached[min(depth, 63)] += 1

    def timed(self, timing: RoundTiming) -> None:
        """Learn the cost of a pass by its rows; rounds with prompt rows do not count."""
        if not timing.prefill_rows and timing.decode_requests:
            self.cost.add(timing.rows, timing.forward_ms)
            self._overhead_ms += 0.1 * (timing.verify_ms + timing.draft_ms - self._overhead_ms)
            spent = timing.draft_ms + timing.forward_ms + timing.verify_ms
            requests = timing.decode_requests
            plain = self.pass_of(requests, timing) + timing.verify_ms if self.way else None
            self.arms.add(self.way, requests, requests + self._brought, spent, plain)
        self._brought = 0

    def pass_of(self, rows: int, timing: RoundTiming) -> float:
        """Milliseconds that a round's pass had taken with so many rows, at the speed that the machine had then."""
        asked, measured = self.cost(np.array([rows, timing.rows])).tolist()
        return timing.forward_ms * float(asked / measured)

    def release(self, request: Request) -> None:
        """Forget a request."""
        self._drafts.pop(request.id, None)


@dataclass(frozen=True, slots=True)
class _Draft:
    """Draft of a request with `start` tokens: the verified tree, and the trees it was built from."""

    start: int
    tree: Candidates
    sources: tuple[Candidates, ...]


def _lowest(offered: Sequence[Candidates], chosen: Sequence[Candidates]) -> float:
    """Chance of the least likely path chosen; where nothing was, of the likeliest offered; else `LEAST_CHANCE`."""
    if any(map(len, chosen)):
        return min(float(path_chances(tree).min()) for tree in chosen if len(tree))
    return max((float(path_chances(tree).max()) for tree in offered if len(tree)), default=LEAST_CHANCE)


def path_of(tree: Candidates, tokens: Sequence[int]) -> list[int]:
    """Nodes of a tree along the tokens, from its root on."""
    place, path, node = _places(tree), list[int](), -1
    for token in tokens:
        node = place.get((node, token), -2)
        if node < -1:
            break
        path.append(node)
    return path


def _places(tree: Candidates) -> dict[tuple[int, int], int]:
    """Node of each (parent, token)."""
    return {
        (p, t): i for i, (t, p) in enumerate(zip(tree.tokens.tolist(), tree.parents.tolist(), strict=True))
    }


class GramModel:
    """What may follow a text, from several n-gram counts at once: the longest contexts first, with escapes
    as in PPM.

    A context seen `total` times with `distinct` continuations keeps ``distinct / (total + distinct)`` of the
    chance for shorter contexts and other sources (method C of prediction by partial matching).
    """

    def __init__(self, shared: GrowingGrams, trie: Trie | None, *, longest: int = 4, most: int = 6) -> None:
        self.shared, self.trie, self.longest, self.most = shared, trie, longest, most
        self._static = min(longest, trie.order - 1) if trie else 0
        self._known: dict[tuple[int, ...], tuple[int, int, list[tuple[int, int]]]] = {}

    def _sources(
        self, own: GrowingGrams, context: tuple[int, ...]
    ) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
        """Total, distinct continuations and the commonest of them, source by source, for one context."""
        for grams in (own, self.shared):
            if seen := grams.continuations(context):
                yield sum(seen.values()), len(seen), seen.most_common(self.most)
        if len(context) <= self._static and (found := self._from_trie(context))[0]:
            yield found

    def _from_trie(self, context: tuple[int, ...]) -> tuple[int, int, list[tuple[int, int]]]:
        known = self._known.get(context)
        if known is None:
            assert self.trie is not None
            tokens, counts = self.trie.continuations(context)
            best = np.argsort(-counts, kind="stable")[: self.most]
            pairs = list(zip(tokens[best].tolist(), counts[best].tolist(), strict=True))
            known = int(counts.sum()), len(tokens), pairs
            if len(self._known) > 50_000:
                self._known.clear()
            self._known[context] = known
        return known

    def predict(self, own: GrowingGrams, text: Sequence[int]) -> list[tuple[int, float]]:
        """Likeliest continuations of `text` with their chances, best first."""
        chance: dict[int, float] = {}
        left = 1.0
        for length in range(min(self.longest, len(text)), 0, -1):
            for total, distinct, pairs in self._sources(own, tuple(text[len(text) - length :])):
                scale = left / (total + distinct)
                for token, count in pairs:
                    chance[token] = chance.get(token, 0.0) + scale * count
                left *= distinct / (total + distinct)
            if left < 0.1:
                break
        return sorted(chance.items(), key=lambda item: (-item[1], item[0]))[: self.most]


class NgramProposer(Sized):
    """Trees of n-grams: the request's own prompt and answer, recent answers of others, and a static trie."""

    most = 24

    def __init__(self, trie: Trie | None, end: int, *, nodes: int | None = None, depth: int = 8) -> None:
        super().__init__(nodes)
        self.end, self.depth = end, depth
        self.shared = GrowingGrams()
        self.model = GramModel(self.shared, trie)
        self._own: dict[str, tuple[GrowingGrams, int]] = {}

    def grams(self, request: Request) -> GrowingGrams:
        """The request's own counts, brought up to date; its answer joins the shared ones."""
        own, done = self._own.get(request.id) or (GrowingGrams(), 0)
        if done < len(request.tokens):
            own.extend(request.tokens, done)
            self.shared.extend(request.tokens, max(done, len(request.prompt)))
            self._own[request.id] = own, len(request.tokens)
        return own

    def gram_tree(self, request: Request, budget: int) -> Candidates:
        """The likeliest paths by n-grams alone."""
        own = self.grams(request)
        nodes = min(self.most if self.nodes is None else self.nodes, budget)
        if nodes <= 0:
            return Candidates.empty()
        return best_first(
            lambda path: self.model.predict(own, path),
            request.tokens[-self.model.longest :],
            nodes,
            min(self.depth, budget),
            self.end,
            max(LEAST_CHANCE, self._floor / 2) if self.nodes is None else 0.0,
        )

    def candidates(self, requests: Sequence[Request], budgets: Sequence[int]) -> list[tuple[Candidates, ...]]:
        """One n-gram tree per request."""
        return [(self.gram_tree(r, b),) for r, b in zip(requests, budgets, strict=True)]

    def release(self, request: Request) -> None:
        """Forget a request; what it added to the shared counts stays."""
        super().release(request)
        self._own.pop(request.id, None)
