"""Drafting in the engine: whatever is drafted, the answer is the plain one."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from benchmarks.eagle import EagleProposer
from serve.engine.engine import Engine, EngineConfig
from serve.model.decoder import Model
from serve.model.loader import Checkpoint
from serve.request import Request, SamplingParams
from serve.spec_decode import tree_budget
from serve.spec_decode.dart_head import DraftHead, HeadConfig
from serve.spec_decode.head_drafting import DartProposer
from serve.spec_decode.ngram_trie import Trie
from serve.spec_decode.prompt_lookup import LookupProposer, lookup
from serve.spec_decode.proposer import Proposer
from serve.spec_decode.proposers import NgramProposer, Sized
from serve.spec_decode.tree import Candidates
from serve.spec_decode.tree_budget import Arms, Trial

BLOCK = 4
TINY = EngineConfig(cache_tokens=1024, block_tokens=BLOCK, max_running=4, step_tokens=16, max_draft_nodes=20)


@pytest.fixture(scope="module")
def checkpoint(tiny: Callable[[str], Checkpoint]) -> Checkpoint:
    return tiny("llama")


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoint) -> Model:
    return Model.load(checkpoint, "float64")


class Garbage(Sized):
    """Random trees, now and then with the right token or the end token in them: the adversary."""

    def __init__(self, seed: int, vocabulary: int, answers: dict[tuple[int, ...], list[int]]) -> None:
        super().__init__(nodes=12)
        self.rng, self.vocabulary, self.answers = np.random.default_rng(seed), vocabulary, answers

    def candidates(self, requests: Sequence[Request], budgets: Sequence[int]) -> list[tuple[Candidates, ...]]:
        return [(self.one(request),) for request in requests]

    def one(self, request: Request) -> Candidates:
        right = self.answers.get(request.prompt, [])[request.n_output :]
        seen: dict[tuple[int, int], int] = {}
        depth = [0]
        for _ in range(int(self.rng.integers(0, 12))):
            parent = int(self.rng.integers(-1, len(seen)))
            level = depth[parent + 1]
            pool = [int(self.rng.integers(self.vocabulary)), 0, *right[level : level + 1] * 2]
            key = parent, pool[int(self.rng.integers(len(pool)))]
            if key not in seen:
                seen[key] = len(seen)
                depth.append(level + 1)
        tokens, parents = [t for _, t in seen], [p for p, _ in seen]
        return Candidates(np.array(tokens, np.int64), np.array(parents, np.int64), self.rng.random(len(seen)))


def head_for(checkpoint: Checkpoint, *, autoregressive: bool = False) -> DraftHead:
    torch.manual_seed(1)
    shape = HeadConfig.of(checkpoint.config, 100, 4, autoregressive=autoregressive)
    head = DraftHead(shape, torch.arange(0, 200, 2)).eval()
    return head.requires_grad_(False)


def proposers(checkpoint: Checkpoint, nodes: int | None) -> dict[str, Proposer]:
    trie = Trie.build([[5, 6, 7, 8], [1, 2, 3]], 3, checkpoint.config.vocab_size, 0)
    embedding = checkpoint.tensors["model.embed_tokens.weight"]
    shared = {"block_tokens": BLOCK, "nodes": nodes}
    return {
        "lookup": LookupProposer(nodes=nodes),
        "ngram": NgramProposer(trie, 0, nodes=nodes),
        "dart": DartProposer(head_for(checkpoint), embedding, trie, 0, **shared),
        "head": DartProposer(head_for(checkpoint), embedding, None, 0, grams=False, **shared),
        "eagle": EagleProposer(
            head_for(checkpoint, autoregressive=True), embedding, trie, 0, grams=False, **shared
        ),
    }


def answer(
    model: Model,
    checkpoint: Checkpoint,
    proposer: Proposer | None,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
) -> list[list[int]]:
    engine = Engine(model, checkpoint, TINY, proposer)
    answers = [c.tokens for c in engine.generate(prompts, params)]
    engine.forest.check()
    assert engine.forest.n_in_use == 0
    return answers


prompts_ = st.lists(
    st.lists(st.sampled_from([1, 2, 3, 50, 60]), min_size=1, max_size=24), min_size=1, max_size=5
)


@pytest.mark.parametrize("name", ["lookup", "ngram", "dart", "head", "eagle"])
@pytest.mark.parametrize("nodes", [None, 1, 7])
def test_greedy_answers_are_the_plain_ones(
    name: str, nodes: int | None, model: Model, checkpoint: Checkpoint
) -> None:
    rng = np.random.default_rng(3)
    prompts = [rng.choice([1, 2, 3, 50, 60], size=n).tolist() for n in (1, 3, 17, 9, 30, 5)]
    params = SamplingParams(max_tokens=25)
    plain = answer(model, checkpoint, None, prompts, params)
    assert answer(model, checkpoint, proposers(checkpoint, nodes)[name], prompts, params) == plain


@settings(max_examples=25, deadline=None)
@given(prompts_, st.integers(0, 1000), st.integers(1, 20))
def test_no_draft_however_bad_changes_a_greedy_answer(
    model: Model, checkpoint: Checkpoint, prompts: list[list[int]], seed: int, most: int
) -> None:
    params = SamplingParams(max_tokens=most)
    plain = answer(model, checkpoint, None, prompts, params)
    adversary = Garbage(
        seed, checkpoint.config.vocab_size, {tuple(p): a for p, a in zip(prompts, plain, strict=True)}
    )
    assert answer(model, checkpoint, adversary, prompts, params) == plain


@pytest.mark.parametrize("name", ["ngram", "dart"])
def test_sampled_answers_have_the_plain_distribution(name: str, model: Model, checkpoint: Checkpoint) -> None:
    """Two-token answers, drafted and plain: one contingency table, tested for independence."""
    prompt = [1, 2, 3, 50, 1, 2, 3]

    def draws(proposer: Proposer | None) -> Counter[tuple[int, ...]]:
        params = [SamplingParams(temperature=0.7, top_k=4, max_tokens=3, seed=s) for s in range(600)]
        engine = Engine(model, checkpoint, TINY, proposer)
        return Counter(tuple(c.tokens[:2]) for c in engine.generate([prompt] * len(params), params))

    plain, drafted = draws(None), draws(proposers(checkpoint, 8)[name])
    common = [key for key, n in (plain + drafted).items() if n >= 20]
    table = np.array([[plain[key] for key in common], [drafted[key] for key in common]])
    assert chi2_contingency(table).pvalue > 1e-3


def test_what_the_head_drafts_from_its_cache_is_what_it_computes_afresh(
    model: Model, checkpoint: Checkpoint
) -> None:
    """Rows taken in round by round, compacted trees and thrown-away masks included, against one pass over the text."""
    proposer = proposers(checkpoint, 6)["dart"]
    assert isinstance(proposer, DartProposer)
    engine = Engine(model, checkpoint, TINY, proposer)
    requests = [
        Request(f"r{i}", tuple(p), SamplingParams(max_tokens=20)) for i, p in enumerate(([1, 2, 3], [50] * 9))
    ]
    for request in requests:
        engine.add(request)
    compared = 0
    for _ in range(12):
        engine.step()
        for request in requests:
            proposer.take_in()
            last = proposer._last.get(request.id)
            if request.finish_reason is None and last is not None and request.decoding:
                assert last.position == len(request.tokens) - 2
                tokens, chance = proposer.distributions([last], [request], proposer.head.config.depth)
                fewer = proposer.distributions([last], [request], 2)
                check_levels(proposer.head, checkpoint, model, request.tokens, fewer[0][0], fewer[1][0])
                compared += 1
                check_levels(proposer.head, checkpoint, model, request.tokens, tokens[0], chance[0])
    assert compared > 8


@pytest.mark.parametrize("name", ["head", "dart", "eagle"])
def test_a_head_drafts_on_the_embeddings_device(name: str, model: Model, checkpoint: Checkpoint) -> None:
    """What drafting makes without a device would land on `meta`, and meet the head there."""
    proposer = proposers(checkpoint, 6)[name]
    engine = Engine(model, checkpoint, TINY, proposer)
    propose, observe = proposer.propose, proposer.observe
    proposed = []

    def elsewhere(*given: Any) -> list[Any]:
        with torch.device("meta"):
            proposed.extend(propose(*given))
        return proposed[-len(given[0]) :]

    def seen(observed: Any) -> None:
        with torch.device("meta"):
            observe(observed)

    proposer.propose, proposer.observe = elsewhere, seen  # type: ignore[method-assign]
    drafted = [c.tokens for c in engine.generate([[1, 2, 3], [50] * 9], SamplingParams(max_tokens=12))]
    assert drafted == answer(model, checkpoint, None, [[1, 2, 3], [50] * 9], SamplingParams(max_tokens=12))
    assert any(map(len, proposed))


def check_levels(
    head: DraftHead,
    checkpoint: Checkpoint,
    model: Model,
    text: list[int],
    tokens: np.ndarray,
    chance: np.ndarray,
) -> None:
    from serve.kv_cache.attention_metadata import Segment, plan_attention

    n, c = len(text) - 1, head.config
    cache = model.new_cache(200, BLOCK)
    plan = plan_attention([Segment(list(range(200)), 0, n)], BLOCK)
    _, taps = model.forward(np.asarray(text[:n]), plan, cache, want_taps=True)
    assert taps is not None
    embedding = checkpoint.tensors["model.embed_tokens.weight"].float()
    g = head.fc(taps.float())
    z = torch.cat([head.real_rows(g, embedding[torch.tensor(text[1:])]), head.mask.expand(c.depth - 1, -1)])
    residual = torch.cat([g, head.mask[: c.hidden].expand(c.depth - 1, -1)])
    rows = len(z)
    hidden = head(residual, z, torch.arange(rows), torch.ones(rows, rows, dtype=torch.bool).tril())
    expected = head.logits(hidden[n - 1 :]).softmax(-1)
    place = {int(t): i for i, t in enumerate(head.draft_ids)}
    for level in range(len(tokens)):
        columns = [place[int(t)] for t in tokens[level]]
        np.testing.assert_allclose(expected[level, columns].numpy(), chance[level], atol=1e-4)
        assert chance[level].min() >= np.sort(expected[level].numpy())[-len(columns)] - 1e-4


def test_drafting_turns_itself_off_where_verification_is_dear(model: Model, checkpoint: Checkpoint) -> None:
    proposer = NgramProposer(None, 0)
    for rows in [*range(1, 9)] * 20:
        proposer.cost.add(rows, 10.0 * rows)  # every row costs as much as the first: no draft can pay
    requests = [Request("r", (1, 2, 3, 1, 2), SamplingParams(max_tokens=20))]
    sizes = [len(proposer.propose(requests, [8])[0]) for _ in range(60)]
    assert sizes.count(0) > 50
    assert any(sizes)  # it looks again now and then
    fresh = NgramProposer(None, 0)
    assert len(proposer.gram_tree(requests[0], 8)) < len(
        fresh.gram_tree(requests[0], 8)
    )  # nor does it search deep
    cheap = NgramProposer(None, 0)
    for rows in [*range(1, 30)] * 20:
        cheap.cost.add(rows, 10.0)
    assert len(cheap.propose(requests, [8])[0]) >= 4


def test_the_way_that_brings_most_is_taken_and_the_others_are_tried_again() -> None:
    arms = Arms(3)
    gains = {0: 1.0, 1: 2.0, 2: 1.5}
    taken = []
    for _ in range(2000):
        way = arms.pick(1)
        taken.append(way)
        arms.add(way, 1, 1, 1 / gains[way])
    assert taken[:98] == [2] * 32 + [1] * 33 + [0] * 33  # the first round after a change does not count
    later = Counter(taken[98:])
    assert 12 <= later[0] <= 24  # four rounds in 400: it is half as fast
    assert 30 < later[2] < 60  # four rounds in 200
    assert later[1] == 2000 - 98 - later[0] - later[2]
    assert arms.pick(16) == 2  # another number of requests is judged on its own


@pytest.mark.parametrize("gain", [0.97, 1.05])
def test_a_trial_sees_three_per_cent_through_noise(gain: float) -> None:
    """Rounds of 1 to 8 tokens on a machine whose speed wavers: both sides share the noise, so few drafts suffice."""
    right = 0
    for seed in range(200):
        trial, rng = Trial(), np.random.default_rng(seed)
        while trial.open:
            tokens, ms = float(rng.geometric(0.4)), float(10 * rng.uniform(0.6, 1.6))
            trial.add(1, (tokens + (rng.uniform() < 0.08), ms * 1.08 / gain), (tokens, ms * 1.05))
        right += trial.lost is (gain < 1)
    assert right > 180


def test_a_trial_is_counted_in_drafts() -> None:
    for requests in (1, 8):
        trial, rounds = Trial(), 0
        while trial.open:
            trial.add(requests, (2.0, 1.0), (1.0, 1.0))
            rounds += 1
        assert rounds * requests == tree_budget.TRIAL
        assert not trial.lost


@pytest.mark.parametrize("gain", [0.85, 1.15])
def test_rounds_with_drafts_tell_what_plain_ones_had_brought(gain: float) -> None:
    """On a machine whose speed wavers the better way is taken nearly always, and way 0 is never tried in vain."""
    right = 0
    for seed in range(100):
        arms, rng, taken = Arms(2), np.random.default_rng(seed), []
        for _ in range(60):
            way, ms = arms.pick(8), float(rng.uniform(10, 16))
            taken.append(way)
            tokens = 8 + int(rng.binomial(8, 0.4)) if way else 8
            arms.add(way, 8, tokens, ms * 1.4 / gain if way else ms, ms if way else None)
        assert 0 not in taken[:4]
        right += taken[4:].count(int(gain > 1)) > 40
    assert right > 80


@pytest.mark.parametrize("requests", [1, 31, 32, 33, 64, 300])
def test_every_way_is_known_before_it_is_compared(requests: int) -> None:
    arms = Arms(3)
    for _ in range(400):
        way = arms.pick(requests)
        arms.add(way, requests, requests, requests / (2.0, 1.0, 1.0)[way], requests / 2.0 if way else None)
    assert way == 0
    assert all(np.isfinite(arms._speed(rates)).all() for rates in arms._rates.values())


def test_a_text_of_another_kind_is_soon_drafted_again() -> None:
    """Drafting that has just lost, by a little, is taken up within some dozen rounds where it would win by much."""
    arms = Arms(2)
    for brings in (0.95, 2.0):
        taken = []
        for _ in range(200):
            way = arms.pick(1)
            taken.append(way)
            arms.add(way, 1, 1, 1 / (1.0, brings)[way])
        assert Counter(taken).most_common(1)[0][0] == int(brings > 1)
        assert set(taken[-60:]) == {0, 1} if brings < 1 else set(taken[-60:]) == {1}


@pytest.mark.parametrize("pays", [False, True])
def test_a_head_that_does_not_pay_is_left_out_for_good(
    pays: bool, model: Model, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposer = proposers(checkpoint, None)["dart"]
    monkeypatch.setattr(tree_budget, "TRIAL", 12)
    proposer.trial = Trial()
    real = proposer.trial.add
    monkeypatch.setattr(
        proposer.trial, "add", lambda n, _given, _without: real(n, (n, 1.0), (n, 1.5 if pays else 0.5))
    )
    params = SamplingParams(max_tokens=40, ignore_eos=True)
    prompts = [[1, 2, 3], [5, 6, 7]]
    plain = answer(model, checkpoint, None, prompts, params)
    assert answer(model, checkpoint, proposer, prompts, params) == plain
    assert proposer.wants_taps is pays
    assert proposer.asks_head is pays
    head_ms = proposer.stats.head_ms
    assert answer(model, checkpoint, proposer, prompts, params) == plain
    assert pays or proposer.stats.head_ms == head_ms


def test_a_batch_that_shrinks_is_not_new_to_the_ways() -> None:
    arms = Arms(2)
    for _ in range(40):
        way = arms.pick(8)
        arms.add(way, 8, 8, (1.0, 3.0)[way])
    assert [arms.pick(n) for n in (7, 6, 5)] == [0, 0, 0]
    assert arms.pick(4) == 1  # half of it is


def test_prompt_lookup_copies_what_stood_behind_the_latest_match() -> None:
    assert lookup([1, 2, 3, 9, 1, 2, 3, 4, 5, 1, 2, 3], longest=3, length=4) == [4, 5, 1, 2]
    assert lookup([7, 8, 7], longest=3, length=4) == [8, 7]
    assert lookup([1, 2, 3], longest=3, length=4) == []


def test_counters_add_up(model: Model, checkpoint: Checkpoint) -> None:
    """Forward passes of a request are its rounds and its prefill; accepted nodes and rounds give its tokens."""
    proposer = proposers(checkpoint, 5)["ngram"]
    engine = Engine(model, checkpoint, TINY, proposer)
    done = engine.generate([[1, 2, 3, 50, 1, 2, 3]], SamplingParams(max_tokens=30, ignore_eos=True))
    stats = engine.stats
    assert done[0].request.forwards == stats.decode_forwards + 1
    assert len(done[0].tokens) == 30
    assert (
        stats.decode_forwards + stats.accepted + 1 >= 30
    )  # the last round may have accepted past max_tokens
    assert stats.decode_forwards <= 29
