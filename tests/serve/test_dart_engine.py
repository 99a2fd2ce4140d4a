"""Drafting in the engine: whatever is drafted, the answer is the plain one."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.dart.draft import DartProposer, EagleProposer
from serve.dart.head import DraftHead, HeadConfig
from serve.dart.lookup import LookupProposer
from serve.dart.ngram import Trie
from serve.dart.propose import NgramProposer, Sized
from serve.dart.tree import Candidates
from serve.engine import Engine, EngineConfig
from serve.model import Model
from serve.propose import Proposer
from serve.request import Request, SamplingParams
from serve.weights import Checkpoint

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
