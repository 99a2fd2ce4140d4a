from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.cli import SCHEDULERS, make_scheduler
from serve.engine.engine import Engine, EngineConfig
from serve.errors import InputError, RequestError
from serve.kv_cache.attention_metadata import Segment, plan_attention
from serve.request import FinishReason, Priority, Request, SamplingParams
from serve.spec_decode.proposer import DraftTree


def plain_greedy(model, prompt, n, eos=frozenset({0})):
    """The definition: one request alone, one token at a time, no engine."""
    cache, tokens = model.new_cache(256, 4), list(prompt)
    logits, _ = model.forward(
        np.array(tokens), plan_attention([Segment(range(256), 0, len(tokens))], 4), cache
    )
    while True:
        tokens.append(int(logits[-1].argmax()))
        if len(tokens) - len(prompt) == n or tokens[-1] in eos:
            return tokens[len(prompt) :]
        plan = plan_attention([Segment(range(256), len(tokens) - 1, 1)], 4)
        logits, _ = model.forward(np.array(tokens[-1:]), plan, cache)


class RandomTrees:
    """Drafts random trees, now and then with the right continuation inside, and checks what it is shown."""

    wants_taps = True

    def __init__(self, seed, vocabulary, truth):
        self.rng, self.vocabulary, self.truth = np.random.default_rng(seed), vocabulary, truth
        self.seen: dict[str, int] = {}
        self.released: set[str] = set()

    def propose(self, requests, budgets):
        return [self.tree(r, b) for r, b in zip(requests, budgets, strict=True)]

    def tree(self, request, budget):
        n = int(self.rng.integers(0, budget + 1)) if budget else 0
        tokens, parents, at = [], [], {}
        answer = self.truth[request.prompt][request.n_output :]
        for i in range(n):
            parent = int(self.rng.integers(-1, i)) if i else -1
            depth = 0 if parent < 0 else at[parent][1]
            token = int(self.rng.integers(0, self.vocabulary))
            if self.rng.random() < 0.7 and (parent < 0 or at[parent][0]) and depth < len(answer):
                token = answer[depth]
            if any(p == parent and t == token for p, t in zip(parents, tokens, strict=True)):
                return DraftTree(np.array(tokens, np.int64), np.array(parents, np.int64))
            right = (parent < 0 or at[parent][0]) and depth < len(answer) and token == answer[depth]
            at[i] = (right, depth + 1)
            tokens.append(token)
            parents.append(parent)
        return DraftTree(np.array(tokens, np.int64), np.array(parents, np.int64))

    def observe(self, observed):
        for o in observed:
            assert o.taps is not None
            assert len(o.taps) == len(o.slots)
            assert o.start + len(o.slots) == o.request.computed
            assert self.seen.get(o.request.id, o.request.computed - len(o.slots)) == o.start
            assert o.accepted <= o.drafted
            self.seen[o.request.id] = o.request.computed

    def timed(self, timing):
        assert timing.forward_ms > 0

    def release(self, request):
        self.seen.pop(request.id, None)
        self.released.add(request.id)


def random_prompts(rng, n, longest=24):
    """Prompts with shared beginnings."""
    trunk = [int(t) for t in rng.integers(2, 60, longest)]
    return [
        tuple(
            trunk[: int(rng.integers(0, longest))] + [int(t) for t in rng.integers(2, 60, rng.integers(1, 9))]
        )
        for _ in range(n)
    ]


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_batch_arrival_cancellation_preemption_and_draft_gives_the_plain_answer(tiny, tiny_model, data):
    """Random traffic through a cache too small for it, under either scheduler, drafting or not, in float64."""
    seed = data.draw(st.integers(0, 2**32 - 1))
    family = data.draw(st.sampled_from(["llama", "qwen2", "qwen3"]))
    rng = np.random.default_rng(seed)
    model, limit = tiny_model(family), 20
    prompts = random_prompts(rng, data.draw(st.integers(1, 7)))
    truth = {p: plain_greedy(model, p, limit) for p in prompts}
    proposer = RandomTrees(seed, 60, truth) if data.draw(st.booleans()) else None
    config = EngineConfig(
        cache_tokens=data.draw(st.sampled_from([56, 72, 400])), block_tokens=4, max_running=4,
        step_tokens=data.draw(st.sampled_from([4, 9, 64])), max_draft_nodes=7,
    )  # fmt: skip
    scheduler = make_scheduler(data.draw(st.sampled_from(sorted(SCHEDULERS))), config, 0.2)
    engine = Engine(model, tiny(family), config, proposer, scheduler)
    waiting = [
        Request(f"r{i}", p, SamplingParams(max_tokens=limit), Priority(int(rng.integers(2))))
        for i, p in enumerate(prompts)
    ]
    events: dict[str, list[int]] = {r.id: [] for r in waiting}
    submitted, cancelled = [], set()
    for _step in range(10_000):
        if not (waiting or engine.has_work):
            break
        if waiting and (rng.random() < 0.4 or not engine.has_work):
            submitted.append(waiting.pop())
            engine.add(submitted[-1])
        if rng.random() < 0.02:
            victim = submitted[int(rng.integers(len(submitted)))]
            if engine.cancel(victim.id):
                cancelled.add(victim.id)
        for event in engine.step():
            events[event.request_id] += event.tokens
        engine.forest.check()
    for request in submitted:
        answer = truth[request.prompt]
        assert events[request.id] == request.output == answer[: request.n_output]
        if request.id not in cancelled:
            assert request.output == answer
            assert request.finish_reason == (FinishReason.STOP if answer[-1] == 0 else FinishReason.LENGTH)
            assert len(request.timeline.token_s) == len(answer)
    assert engine.forest.n_in_use == 0
    if proposer is not None:
        assert proposer.released == {r.id for r in submitted}
        assert engine.stats.decode_forwards + engine.stats.accepted <= engine.stats.output_tokens + sum(
            r.preemptions for r in submitted
        )


def test_a_small_cache_preempts_and_still_answers(tiny_engine, tiny_model):
    engine = tiny_engine(cache_tokens=64, step_tokens=8)
    prompts = random_prompts(np.random.default_rng(3), 6)
    got = engine.generate(prompts, SamplingParams(max_tokens=24, ignore_eos=True))
    assert engine.scheduler.preemptions > 0
    assert [c.tokens for c in got] == [plain_greedy(tiny_model("llama"), p, 24, frozenset()) for p in prompts]


def test_tokens_per_forward_count_every_accepted_draft(tiny_engine, tiny_model):
    prompt = (5, 6, 7)
    truth = {prompt: plain_greedy(tiny_model("llama"), prompt, 30, frozenset())}

    class Oracle(RandomTrees):
        def tree(self, request, budget):
            done = request.n_output
            return DraftTree.chain(self.truth[request.prompt][done : done + min(budget, 4)])

    engine = tiny_engine(proposer=Oracle(0, 60, truth))
    (got,) = engine.generate([prompt], SamplingParams(max_tokens=30, ignore_eos=True))
    assert got.tokens == truth[prompt]
    stats = engine.stats
    assert (stats.decode_forwards, stats.accepted) == (
        6,
        23,
    )  # 1 of prefill, 5 x 5, and a last budget of 3 + 1
    assert stats.output_tokens == 1 + stats.decode_forwards + stats.accepted


def test_a_shared_prefix_is_computed_once(tiny_engine):
    engine = tiny_engine(step_tokens=64, cache_tokens=2048)
    trunk = tuple(range(2, 42))
    engine.generate([(*trunk, t) for t in range(43, 51)], SamplingParams(max_tokens=2))
    assert engine.stats.prefill_rows <= 41 + 7 * 5
    assert engine.stats.cached_tokens == 7 * 40


def test_online_requests_go_before_offline_ones(tiny_engine):
    engine = tiny_engine(max_running=1)
    for i, priority in enumerate([Priority.OFFLINE, Priority.OFFLINE, Priority.ONLINE]):
        engine.add(Request(f"{i}", (2, 3, 4 + i), SamplingParams(max_tokens=3, ignore_eos=True), priority))
    order = []
    while engine.has_work:
        order += [e.request_id for e in engine.step() if e.finish_reason]
    assert order == ["2", "0", "1"]


def test_sampling_with_a_seed_does_not_depend_on_the_batch(tiny_engine):
    params = SamplingParams(temperature=1.0, top_p=0.9, seed=11, max_tokens=16)
    prompts = random_prompts(np.random.default_rng(1), 5)
    alone = [tiny_engine().generate([p], params)[0].tokens for p in prompts]
    assert [c.tokens for c in tiny_engine().generate(prompts, params)] == alone
    other = SamplingParams(temperature=1.0, top_p=0.9, seed=12, max_tokens=16)
    assert [c.tokens for c in tiny_engine().generate(prompts, other)] != alone


def test_a_stop_string_ends_the_answer(tiny_engine):
    (whole,) = tiny_engine().generate([(5, 6, 7)], SamplingParams(max_tokens=30, ignore_eos=True))
    stop = whole.text[10:13]
    at = whole.text.find(stop)
    (cut,) = tiny_engine().generate([(5, 6, 7)], SamplingParams(max_tokens=30, stop=(stop,), ignore_eos=True))
    assert cut.text == whole.text[:at]
    assert cut.finish_reason == FinishReason.STOP
    assert len(cut.tokens) < len(whole.tokens)


def test_logprobs_come_with_every_token(tiny_engine):
    (got,) = tiny_engine().generate([(5, 6, 7)], SamplingParams(max_tokens=9, logprobs=3, ignore_eos=True))
    assert [p.token for p in got.logprobs] == got.tokens
    assert all(p.top[0] == (p.token, p.logprob) and len(p.top) == 3 for p in got.logprobs)


SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}, "ok": {"type": "boolean"}},
    "required": ["n", "ok"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("drafting", [False, True])
def test_a_schema_holds_whatever_the_model_wants(tiny_engine, temperature, drafting):
    proposer = RandomTrees(0, 60, {(5, 6, t): [] for t in range(1, 5)}) if drafting else None
    engine = tiny_engine(proposer=proposer)
    params = SamplingParams(temperature=temperature, seed=1, max_tokens=200, json_schema=SCHEMA)
    for got in engine.generate([(5, 6, t) for t in range(1, 5)], params):
        answer = json.loads(got.text)
        assert got.finish_reason == FinishReason.STOP
        assert set(answer) == {"n", "ok"}
        assert 0 <= answer["n"] <= 99


def test_drafting_does_not_change_a_constrained_answer(tiny_engine):
    params = SamplingParams(max_tokens=60, json_schema=SCHEMA)
    (plain,) = tiny_engine().generate([(5, 6, 7)], params)
    truth = {(5, 6, 7): plain.tokens}
    engine = tiny_engine(proposer=RandomTrees(3, 60, truth))
    (drafted,) = engine.generate([(5, 6, 7)], params)
    assert drafted.tokens == plain.tokens
    assert engine.stats.accepted > 0


def test_drafting_does_not_change_an_answer_with_penalties(tiny_engine):
    """A drafted token counts for the tokens below it, also before it is committed."""
    params = SamplingParams(
        max_tokens=40, frequency_penalty=0.7, presence_penalty=0.4, logit_bias=((9, 3.0),), ignore_eos=True
    )
    prompt = (5, 6, 7)
    (plain,) = tiny_engine().generate([prompt], params)
    (bare,) = tiny_engine().generate([prompt], SamplingParams(max_tokens=40, ignore_eos=True))
    assert plain.tokens != bare.tokens
    engine = tiny_engine(proposer=RandomTrees(3, 60, {prompt: plain.tokens}))
    (drafted,) = engine.generate([prompt], params)
    assert engine.stats.accepted > 0
    assert drafted.tokens == plain.tokens


class WholeTruth(RandomTrees):
    """Drafts the known continuation as one chain."""

    def tree(self, request, budget):
        chain = self.truth[request.prompt][request.n_output :][:budget]
        return DraftTree(np.array(chain, np.int64), np.arange(len(chain), dtype=np.int64) - 1)


def test_a_draft_that_goes_on_where_the_schema_ends_is_cut_there(tiny_engine):
    """After the last brace the model's own favourite is drafted too: the walk must not take it into the grammar."""
    params = SamplingParams(max_tokens=80, json_schema=SCHEMA)
    (plain,) = tiny_engine().generate([(5, 6, 7)], params)
    said = (5, 6, 7, *plain.tokens)
    (after,) = tiny_engine().generate([said], SamplingParams(max_tokens=4, ignore_eos=True))
    engine = tiny_engine(proposer=WholeTruth(0, 60, {(5, 6, 7): [*plain.tokens, *after.tokens]}))
    (drafted,) = engine.generate([(5, 6, 7)], params)
    assert drafted.tokens == plain.tokens
    assert drafted.finish_reason == FinishReason.STOP


def test_what_cannot_be_served_is_refused_before_anything_is_kept(tiny_engine):
    engine = tiny_engine(cache_tokens=64)
    for prompt, params, said in (
        ((), SamplingParams(), "no tokens"),
        ((2, 257), SamplingParams(), "outside 0..256"),
        (tuple(range(2, 40)), SamplingParams(max_tokens=30), "holds at most 64"),
        (
            (2, 3),
            SamplingParams(max_tokens=4, json_schema={"type": "nonsense"}),
            "JSON schema cannot be used",
        ),
    ):
        with pytest.raises(RequestError, match=said):
            engine.add(Request("a", prompt, params))
    assert not engine.has_work


def test_sizes_that_cannot_work_are_refused():
    with pytest.raises(InputError, match="step_tokens 4 is below max_running 8"):
        EngineConfig(step_tokens=4, max_running=8)


def test_the_answer_equals_transformers_generate_in_a_mixed_batch(tiny, tiny_engine):
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(tiny("qwen3").path).double().eval()
    prompts = random_prompts(np.random.default_rng(7), 8)
    got = tiny_engine("qwen3").generate(prompts, SamplingParams(max_tokens=16))
    for prompt, completion in zip(prompts, got, strict=True):
        ids = torch.tensor([prompt])
        wanted = reference.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False, pad_token_id=0
        )
        assert completion.tokens == wanted[0, len(prompt) :].tolist()
