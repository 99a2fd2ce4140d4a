"""Drafting with DART's head: one pass with masks.

The head's keys and values have the same cache slots as the target's. A prefix that the engine reuses is there for the
head too. Where two requests share a prefix and continue differently, the last shared row has the first one's next
token. That costs the draft a little, and the answer nothing. Masks are never stored.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from serve.kv_cache.attention_metadata import slots_of
from serve.model.linear import make_linear
from serve.request import Request
from serve.spec_decode.dart_head import DraftHead, rotate
from serve.spec_decode.ngram_trie import Trie
from serve.spec_decode.proposer import DraftTree, Observed, RoundTiming
from serve.spec_decode.proposers import NgramProposer, path_of
from serve.spec_decode.tree import Candidates, SearchSettings, TreeSearch, path_chances
from serve.spec_decode.tree_budget import Levels, Trial, choose

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

log = logging.getLogger(__name__)

SURE_TOKENS = 1.0
"""Tokens a round that the n-gram tree must promise for the head not to be asked."""

LEAST_SHARE = 0.2
"""A tree of n nodes keeps paths of a chance around 1/n. The head is not asked for levels it reaches with less than this
share of that."""


@dataclass(frozen=True, slots=True)
class LastRow:
    """A request's newest real row: its position, features g [H] and attention input z [2H]."""

    position: int
    g: Tensor
    z: Tensor


class PackedLinear(torch.nn.Module):
    """A linear layer with float16 weights packed for the CPU and float32 arithmetic; half the memory to read."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.product = make_linear(linear.weight.detach(), None, "float16", torch.device("cpu"))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply x [rows, in]."""
        return self.product(x.contiguous())


def pack(head: DraftHead) -> DraftHead:
    """Pack the products of a head for drafting, in place; it cannot be trained or saved any more."""
    for name, child in list(head.named_children()):
        if isinstance(child, torch.nn.Linear):
            setattr(head, name, PackedLinear(child))
    return head


class HeadCache:
    """Keys and values of the head's one layer by cache slot; grows with the highest slot seen."""

    def __init__(self, kv_heads: int, width: int, device: torch.device | str = "cpu") -> None:
        self.keys, self.values = (torch.zeros(0, kv_heads, width, device=device) for _ in range(2))

    def write(self, slots: Int64, keys: Tensor, values: Tensor) -> None:
        """Store rows at slots."""
        most = int(slots.max()) + 1
        if most > len(self.keys):
            more = self.keys.new_zeros(max(most, 2 * len(self.keys)) - len(self.keys), *self.keys.shape[1:])
            self.keys, self.values = torch.cat([self.keys, more]), torch.cat([self.values, more])
        index = torch.as_tensor(slots, device=self.keys.device)
        self.keys[index], self.values[index] = keys, values

    def read(self, slots: Int64) -> tuple[Tensor, Tensor]:
        """Rows at slots, [n, kv_heads, width] each."""
        index = torch.as_tensor(slots, device=self.keys.device)
        return self.keys[index], self.values[index]


class DartProposer(NgramProposer):
    """The head's tree, united with the n-gram tree unless `grams` is off.

    Parameters
    ----------
    head
        A trained head of the served model, on the target's device.
    embedding
        The target's embedding table [V, H].
    trie
        Static n-grams, for the search's pruning and for the n-gram tree.
    end
        The token that ends a text.
    block_tokens
        Tokens in one block of the engine's cache.
    nodes
        Draft nodes per request; None: as many as pay.
    grams
        Whether n-grams bring candidates of their own.
    settings
        Constants of the search.
    """

    wants_taps = True

    def __init__(
        self,
        head: DraftHead,
        embedding: Tensor,
        trie: Trie | None,
        end: int,
        *,
        block_tokens: int,
        nodes: int | None = None,
        grams: bool = True,
        settings: SearchSettings | None = None,
    ) -> None:
        # Where n-grams have their own candidates the head is one way more: it is asked only where it pays
        # its pass.
        self.sources, self.ways = (2, 3) if grams else (1, 2)
        super().__init__(trie, end, nodes=nodes, depth=head.config.depth)
        # The arithmetic of the draft is float32 whatever the target's precision: it decides no answer.
        self.head, self.embedding, self.block_tokens, self.with_grams = (
            head.float().eval(),
            embedding,
            block_tokens,
            grams,
        )
        limit = self.most if nodes is None else nodes
        self.levels = Levels(head.config.depth, LEAST_SHARE / max(limit, 1))
        self.search = TreeSearch(settings or SearchSettings(nodes=limit), trie, end)
        c = head.config
        self.device = embedding.device
        self.cache = HeadCache(c.kv_heads, c.head_width, self.device)
        self.asks_head, self.trial = True, Trial()
        self._asked: list[tuple[Request, Candidates, int, int]] = []  # with n-grams, budget and tokens so far
        self._head_ms = self._prompts_ms = 0.0  # of this round, and of prompts since the last
        self._last: dict[str, LastRow] = {}
        self._waiting: list[Observed] = []
        with torch.inference_mode():
            mask = self.head.mask[None]
            self._mask_q = self.head.q(mask).view(1, c.heads, c.head_width)
            self._mask_k = self.head.k(mask).view(1, c.kv_heads, c.head_width)
            self._mask_v = self.head.v(mask).view(1, c.kv_heads, c.head_width)

    def pick(self, requests: int) -> int:
        """Choose the way of the next round: while its trial is open the head is asked."""
        return self.ways - 1 if self.trial.open and self._judged else super().pick(requests)

    @property
    def _judged(self) -> bool:
        """Whether rounds with the head are compared with what they had been without it."""
        return self.asks_head and self.with_grams and self.nodes is None

    def propose(self, requests: Sequence[Request], budgets: Sequence[int]) -> list[DraftTree]:
        """Draft for every request. A head that has lost its trial is left out for good, with its taps."""
        if self._judged and not self.trial.open and self.trial.lost:
            self.asks_head = self.wants_taps = False
            self.arms.ways -= 1
            self._waiting.clear()
            self._last.clear()
            log.info("the draft head does not pay here: n-grams go on alone")
        return super().propose(requests, budgets)

    def observe(self, observed: Sequence[Observed]) -> None:
        """Learn from the last drafts, and note the rows that were committed."""
        super().observe(observed)
        if not self.asks_head:
            return
        rows = [seen for seen in observed if seen.taps is not None and len(seen.slots)]
        self._waiting += rows
        if any(not seen.request.n_output or len(seen.slots) > self.depth for seen in rows):
            began = time.perf_counter()
            self.take_in()  # a prompt's rows are too many to keep
            self._prompts_ms += 1e3 * (time.perf_counter() - began)

    def timed(self, timing: RoundTiming) -> None:
        """Learn the cost of a pass by its rows; of one with the head, what it had been without, too."""
        brought = timing.decode_requests + self._brought
        super().timed(timing)
        asked, self._asked = self._asked, []
        if timing.prefill_rows or not asked:
            return
        judged = [replace(gram, chance=self.calibrations[-1](gram.chance)) for _, gram, _, _ in asked]
        alone = choose(judged, [budget for _, _, budget, _ in asked], self.cost, self._overhead_ms)
        brought_alone = timing.decode_requests
        for (request, _, _, start), tree in zip(asked, alone, strict=True):
            brought_alone += len(path_of(tree, request.tokens[start:]))
        around = timing.draft_ms + timing.verify_ms
        alone_ms = self.pass_of(timing.decode_requests + sum(map(len, alone)), timing)
        self.trial.add(
            len(asked),
            (brought, around + timing.forward_ms + self._prompts_ms),
            (min(brought_alone, brought), around - self._head_ms + alone_ms),
        )
        self._prompts_ms = 0.0

    @torch.inference_mode()
    def take_in(self) -> None:
        """Compute the head's keys and values of the rows noted so far: one pass for many rounds costs what one does."""
        rows, self._waiting = self._waiting, []
        if not rows:
            return
        taps = torch.cat([seen.taps for seen in rows if seen.taps is not None]).float()
        following = [
            t for seen in rows for t in seen.request.tokens[seen.start + 1 : seen.start + 1 + len(seen.slots)]
        ]
        spans = [(seen.start, seen.start + len(seen.slots)) for seen in rows]
        positions = torch.cat([torch.arange(*span, device=self.device) for span in spans])
        g = self.head.fc(taps)
        z = self.head.real_rows(g, self.embedding[torch.tensor(following, device=self.device)].float())
        keys, values = self.head.keys_values(z, positions)
        self.cache.write(np.concatenate([seen.slots for seen in rows]), keys, values)
        last = -1
        for seen in rows:
            last += len(seen.slots)
            self._last[seen.request.id] = LastRow(seen.start + len(seen.slots) - 1, g[last], z[last])

    def release(self, request: Request) -> None:
        """Forget a request; its rows are taken in before, since another may share them."""
        if any(seen.request is request for seen in self._waiting):
            self.take_in()
        super().release(request)
        self._last.pop(request.id, None)

    def candidates(self, requests: Sequence[Request], budgets: Sequence[int]) -> list[tuple[Candidates, ...]]:
        """The head's tree and the n-gram tree of every request."""
        grams = super().candidates(requests, budgets) if self.with_grams else [()] * len(requests)
        drafted: dict[str, Candidates] = {}
        if self.asks_head and self.way == self.ways - 1:
            began = time.perf_counter()
            asked = [
                r
                for r, budget, gram in zip(requests, budgets, grams, strict=True)
                if budget > 0 and not self._sure(gram)
            ]
            if asked:
                self.take_in()
            ready = [r for r in asked if r.id in self._last]
            drafted = dict(zip((r.id for r in ready), self.head_trees(ready), strict=True)) if ready else {}
            self._head_ms = 1e3 * (time.perf_counter() - began)
            if self._judged and drafted:
                self._asked = [
                    (r, gram[0], budget, len(r.tokens))
                    for r, gram, budget in zip(requests, grams, budgets, strict=True)
                ]
        heads = [drafted.get(r.id, Candidates.empty()) for r in requests]
        return [(head, *gram) for head, gram in zip(heads, grams, strict=True)]

    def _sure(self, grams: tuple[Candidates, ...]) -> bool:
        """Whether the n-grams alone promise enough that the head's pass would not pay."""
        if not grams:
            return False
        tree = replace(grams[0], chance=self.calibrations[-1](grams[0].chance))
        return bool(path_chances(tree).sum() >= SURE_TOKENS)

    def head_trees(self, requests: Sequence[Request]) -> list[Candidates]:
        """One pass of the head for all requests, then one search each."""
        began = time.perf_counter()
        tokens, chance = self.distributions([self._last[r.id] for r in requests], requests, self.levels.count)
        self.levels.add(chance)
        drawn = time.perf_counter()
        roots = [(r.tokens[-2] if len(r.tokens) > 1 else -1, r.tokens[-1]) for r in requests]
        trees = [self.search(t, c, root) for t, c, root in zip(tokens, chance, roots, strict=True)]
        self.stats.head_ms += 1e3 * (drawn - began)
        self.stats.search_ms += 1e3 * (time.perf_counter() - drawn)
        return trees

    @torch.inference_mode()
    def distributions(
        self, last: Sequence[LastRow], requests: Sequence[Request], levels: int
    ) -> tuple[Int64, Float64]:
        """Likeliest tokens int64[B, levels, K] of each depth and their chances float64[B, levels, K]."""
        head, c = self.head, self.head.config
        masks = levels - 1
        where = torch.tensor([row.position for row in last], device=self.device)
        ahead = (where[:, None] + torch.arange(1, levels, device=self.device)).flatten()
        q_real = head.queries(torch.stack([row.z for row in last]), where)
        q_mask = rotate(self._mask_q.expand(len(ahead), -1, -1), ahead, c.rope_theta)
        k_mask = rotate(self._mask_k.expand(len(ahead), -1, -1), ahead, c.rope_theta)
        v_mask = self._mask_v.expand(masks, -1, -1)
        attended = []
        for i, (row, request) in enumerate(zip(last, requests, strict=True)):
            n = row.position + 1
            keys, values = self.cache.read(slots_of(request.blocks, 0, n, self.block_tokens))
            own = slice(i * masks, (i + 1) * masks)
            visible = torch.ones(levels, n + masks, dtype=torch.bool, device=self.device)
            visible[:, n:] = visible[:, n:].tril(-1)
            q = torch.cat([q_real[i : i + 1], q_mask[own]])
            attended.append(
                head.attend(q, torch.cat([keys, k_mask[own]]), torch.cat([values, v_mask]), visible)
            )
        half = head.mask[: c.hidden].expand(masks, c.hidden)
        residual = torch.cat([part for row in last for part in (row.g[None], half)])
        logits = head.logits(head.finish(residual, torch.cat(attended)))
        return self.best(logits, len(last))

    def best(self, logits: Tensor, requests: int) -> tuple[Int64, Float64]:
        """The K likeliest tokens of logits [B d, V_draft], as target ids."""
        k = min(self.search.settings.candidates, logits.shape[1])
        chance, places = logits.softmax(-1).topk(k, sorted=False)
        ids = self.head.draft_ids[places].view(requests, -1, k).cpu().numpy()
        return ids, chance.view(requests, -1, k).double().cpu().numpy()
