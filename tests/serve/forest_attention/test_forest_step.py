"""The forest in the engine: steps with shared prefixes and draft trees give what every row alone gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.engine.engine import Engine, EngineConfig
from serve.forest_attention.step import Saving, share
from serve.kv_cache.attention_metadata import ALL_LOGITS, Segment, plan_attention
from serve.model.decoder import Model
from serve.request import Priority, Request, SamplingParams
from serve.spec_decode.proposer import DraftTree

ALWAYS = Saving(task=0.0, read=0.0)
"""Every node is attended together, even one row's."""


def prefilled(model, rng, n_requests, trunk):
    """Requests over a cache: their blocks and context lengths; all begin with `trunk` whole blocks, some share more."""
    cache, pool = model.new_cache(256, 4), list(rng.permutation(256))
    tables, contexts = [], []
    for _ in range(n_requests):
        known = tables[rng.integers(len(tables))][: rng.integers(trunk, trunk + 3)] if tables else []
        own = [int(pool.pop()) for _ in range(rng.integers(2, 6))]
        table = [*known, *(own if known else [*[int(pool.pop()) for _ in range(trunk)], *own])]
        context = int(rng.integers(4 * len(known), 4 * len(table) - 3))
        start = 4 * len(known)
        if context > start:
            tokens = rng.integers(0, 60, context - start)
            model.forward(tokens, plan_attention([Segment(table, start, len(tokens))], 4), cache)
        tables.append(table)
        contexts.append(context)
    return cache, tables, contexts, pool


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_shared_rows_equal_rows_alone_in_the_kernels_and_in_torch(tiny, tiny_model, data):
    """Decodes, short chunks and draft trees of requests that share blocks, in float64."""
    family = data.draw(st.sampled_from(["llama", "qwen3"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    model = tiny_model(family)
    cache, tables, contexts, pool = prefilled(model, rng, data.draw(st.integers(1, 6)), trunk=3)
    segments = []
    for table, context in zip(tables, contexts, strict=True):
        rows = int(rng.choice([1, 1, 3, 7]))
        tree = rows > 1 and rng.random() < 0.7
        parents = np.array([-1, *(int(rng.integers(0, i)) for i in range(1, rows))]) if tree else None
        whole = [*table, *(int(pool.pop()) for _ in range(2))]
        own = [*whole[: context // 4], *(int(pool.pop()) for _ in whole[context // 4 :])]
        for old, new in zip(whole[context // 4 :], own[context // 4 :], strict=True):
            cache.data[:, :, new] = cache.data[:, :, old]  # nobody writes into a block that others read
        segments.append(Segment(own, context, rows, parents, ALL_LOGITS))
    plan = plan_attention(segments, 4)
    tokens = rng.integers(0, 60, plan.rows)
    other = Model.load(tiny(family), "float64")
    other._compiled = False
    results = []
    for which, saving in ((model, None), (model, ALWAYS), (other, ALWAYS), (other, None)):
        try:
            which.saving = saving
            results.append(which.forward(tokens, plan, cache)[0])
        finally:
            which.saving = Saving()
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], atol=1e-9, rtol=1e-9)


def test_the_forest_is_used_where_it_saves_and_only_there():
    prompt = list(range(40))  # 640 tokens
    many = plan_attention([Segment([*prompt, 100 + i], 640 + i, 1) for i in range(8)], 16)
    shared = share(many, np.arange(8), kv_heads=3)
    assert shared is not None
    assert shared.begin.tolist() == [640] * 8
    short = plan_attention([Segment([0, 100 + i], 16 + i, 1) for i in range(8)], 16)
    assert share(short, np.arange(8), kv_heads=3) is None
    strangers = plan_attention([Segment(range(50 * i, 50 * i + 41), 640, 1) for i in range(8)], 16)
    assert share(strangers, np.arange(8), kv_heads=3) is None


def test_the_rows_of_a_draft_tree_read_their_context_once_and_their_requests_prompt_with_the_others():
    """A tree of nine rows over 700 tokens, of which 640 are also another request's."""
    tree = np.array([-1, 0, 0, 1, 1, 2, 2, 3, 4])
    segments = [Segment([*range(40), 90, 91, 92, 93, 94], 700, 9, tree), Segment([*range(40), 95], 645, 1)]
    plan = plan_attention(segments, 16)
    shared = share(plan, np.arange(10), kv_heads=3, saving=ALWAYS)
    assert shared is not None
    assert shared.begin.tolist() == [700] * 9 + [646]  # the other's 6 own tokens are a node of one row
    read = sum(batch.index.shape[0] * batch.index.shape[2] for batch in shared.plan.batches)
    assert read == 640 + 60 + 6


class Guesses:
    """Drafts a tree whose one path is right."""

    wants_taps = False

    def __init__(self, truth):
        self.truth = truth

    def propose(self, requests, budgets):
        trees = []
        for request, budget in zip(requests, budgets, strict=True):
            right = self.truth[request.prompt][request.n_output :][: max(0, budget - 2)]
            tokens = [t for r in right for t in (r, (r + 1) % 60)][:budget]
            parents = [-1 if i < 2 else 2 * (i // 2 - 1) for i in range(len(tokens))]
            trees.append(DraftTree(np.array(tokens, np.int64), np.array(parents, np.int64)))
        return trees

    def observe(self, observed):
        pass

    def timed(self, timing):
        pass

    def release(self, request):
        pass


@pytest.mark.parametrize("drafting", [False, True])
@pytest.mark.parametrize("cache_tokens", [96, 1024])
def test_answers_over_a_shared_prompt_are_those_without_the_forest(tiny, tiny_model, drafting, cache_tokens):
    """With preemptions (the small cache) and with draft trees, token for token, in float64."""
    model, rng = tiny_model("llama"), np.random.default_rng(4)
    trunk = tuple(int(t) for t in rng.integers(2, 60, 40))
    prompts = [trunk + tuple(int(t) for t in rng.integers(2, 60, 3 + i)) for i in range(6)]
    params = SamplingParams(max_tokens=16, ignore_eos=True)

    def answers(saving, proposer=None):
        config = EngineConfig(cache_tokens=cache_tokens, block_tokens=4, max_running=6, step_tokens=16)
        engine = Engine(model, tiny("llama"), config, proposer)
        requests = [Request(f"r{i}", p, params, Priority(i % 2)) for i, p in enumerate(prompts)]
        model.saving = saving
        try:
            for request in requests:
                engine.add(request)
            while engine.has_work:
                engine.step()
        finally:
            model.saving = Saving()
        return {r.prompt: list(r.output) for r in requests}, engine

    plain, _ = answers(None)
    shared, engine = answers(ALWAYS, Guesses(plain) if drafting else None)
    assert shared == plain
    assert engine.stats.accepted > 0 or not drafting
    assert engine.scheduler.preemptions > 0 or cache_tokens > 96


def test_the_engine_shares_by_default(tiny):
    assert Model.load(tiny("llama"), "float64").saving == Saving()


def test_no_sharing_that_the_engine_takes_was_measured_slower_than_row_by_row() -> None:
    """Over the measured grid of docs/results/forest-attention.tsv: small sharings, which lose, take the plain path."""
    grid = Path(__file__).parents[3] / "docs" / "results" / "forest-attention.tsv"
    lines = grid.read_text(encoding="utf-8").splitlines()[1:]
    rows = [[float(cell) for cell in line.split("\t")] for line in lines]
    taken = [row for row in rows if row[0] > 1 and Saving().worth(int(row[0]), int(row[1]))]
    assert len(rows) == 7 * 6 * 3
    assert len(taken) > 50
    assert min(row[8] for row in taken) > 1.1
    losing = [row for row in rows if row[0] > 1 and row[1] and row[8] < 0.95]
    assert losing
    assert not any(row in taken for row in losing)
