"""Log-probabilities of prompt tokens against a full forward, in every kind of batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.cli import SCHEDULERS, make_scheduler
from serve.engine import prompt_logprobs
from serve.engine.engine import Engine, EngineConfig
from serve.kv_cache.attention_metadata import ALL_LOGITS, Segment, plan_attention
from serve.request import FinishReason, Priority, Request, SamplingParams
from tests.serve.engine.test_engine import RandomTrees, plain_greedy, random_prompts

LIMIT = 12
NOTHING = SamplingParams(max_tokens=0, prompt_logprobs=1)


def by_definition(model, prompt):
    """log p [n - 1, V] of what may follow each prefix of a prompt: one plain forward, all logits at once."""
    plan = plan_attention([Segment(range(256), 0, len(prompt), None, ALL_LOGITS)], 4)
    logits, _ = model.forward(np.array(prompt), plan, model.new_cache(256, 4))
    return logits[:-1].log_softmax(-1).numpy()


def check(request, wanted):
    assert [p.token for p in request.prompt_logprobs] == list(request.prompt[1:])
    for p, row in zip(request.prompt_logprobs, wanted, strict=True):
        assert p.logprob == pytest.approx(row[p.token], abs=1e-9)
        assert p.rank == 1 + np.count_nonzero(row > row[p.token])
        order = np.argsort(-row)[: request.params.prompt_logprobs]
        assert [t for t, _ in p.top] == order.tolist()
        np.testing.assert_allclose([lp for _, lp in p.top], row[order], atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_batch_gives_the_log_probabilities_of_a_full_forward(tiny, tiny_model, data):
    """Chunks, shared prefixes, preemptions, drafts and requests that ask for nothing; the answers stay the same too."""
    seed = data.draw(st.integers(0, 2**32 - 1))
    family = data.draw(st.sampled_from(["llama", "qwen2", "qwen3"]))
    rng = np.random.default_rng(seed)
    model = tiny_model(family)
    prompts = random_prompts(rng, data.draw(st.integers(1, 6)))
    prompts += prompts[:2]  # the second finds the first's blocks
    truth = {p: plain_greedy(model, p, LIMIT) for p in prompts}
    proposer = RandomTrees(seed, 60, truth) if data.draw(st.booleans()) else None
    config = EngineConfig(
        cache_tokens=data.draw(st.sampled_from([48, 72, 400])), block_tokens=4, max_running=4,
        step_tokens=data.draw(st.sampled_from([4, 9, 64])), max_draft_nodes=7,
    )  # fmt: skip
    scheduler = make_scheduler(data.draw(st.sampled_from(sorted(SCHEDULERS))), config, 0.2)
    engine = Engine(model, tiny(family), config, proposer, scheduler)
    asked = [None, 0, 1, 3]
    requests = [
        Request(
            f"r{i}", p,
            SamplingParams(max_tokens=int(rng.choice([0, 1, LIMIT])), prompt_logprobs=asked[rng.integers(4)]),
            Priority(int(rng.integers(2))),
        )
        for i, p in enumerate(prompts)
    ]  # fmt: skip
    waiting = list(requests)
    while waiting or engine.has_work:
        if waiting and (rng.random() < 0.4 or not engine.has_work):
            engine.add(waiting.pop())
        engine.step()
    engine.forest.check()
    assert engine.forest.n_in_use == 0
    for request in requests:
        assert request.output == truth[request.prompt][: request.params.max_tokens]
        if request.params.prompt_logprobs is None:
            assert request.prompt_logprobs == []
        else:
            check(request, by_definition(model, request.prompt))


@pytest.mark.parametrize("step_tokens", [8, 9, 23, 24, 25, 64])
def test_the_borders_of_chunks_and_of_blocks_of_rows_do_not_show(tiny_engine, monkeypatch, step_tokens):
    monkeypatch.setattr(prompt_logprobs, "BLOCK_ROWS", 7)
    prompts = [tuple(range(2, 2 + n)) for n in (1, 2, 7, 8, 9, 24, 25, 49)]
    engine = tiny_engine(step_tokens=step_tokens)
    got = engine.generate(prompts, SamplingParams(max_tokens=0, prompt_logprobs=2))
    for completion in got:
        assert completion.tokens == []
        assert completion.finish_reason is FinishReason.LENGTH
        check(completion.request, by_definition(engine.model, completion.request.prompt))


def test_a_cached_prefix_is_computed_again_and_still_serves_others(tiny_engine):
    engine, prompt = tiny_engine(), tuple(range(2, 42))
    engine.generate([prompt], SamplingParams(max_tokens=2, ignore_eos=True))
    (scored,) = engine.generate([prompt], NOTHING)
    (other,) = engine.generate([prompt], SamplingParams(max_tokens=2, ignore_eos=True))
    assert scored.request.cached_prompt_tokens == 0
    assert len(scored.request.prompt_logprobs) == 39
    assert other.request.cached_prompt_tokens == 36


def test_no_more_rows_of_logits_are_held_than_a_block(tiny_engine, monkeypatch):
    engine = tiny_engine(step_tokens=512, cache_tokens=512)
    rows, head = [], engine.model.head
    monkeypatch.setattr(engine.model, "head", lambda x: rows.append(len(x)) or head(x))
    engine.generate([tuple(i % 90 for i in range(400))], NOTHING)
    assert max(rows) == prompt_logprobs.BLOCK_ROWS
    assert sum(rows) == 399


def test_a_prompt_alone_needs_no_answer(tiny_engine):
    engine = tiny_engine()
    (got,) = engine.generate([(5, 6, 7)], SamplingParams(max_tokens=0))
    assert (got.tokens, got.request.prompt_logprobs) == ([], [])
    assert engine.stats.finished[FinishReason.LENGTH] == 1
