"""The compiled n-gram chains against the n-gram model in Python, and what is drafted for; vLLM is not needed."""

import time
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.spec_decode.ngram_trie import GrowingGrams, Trie
from serve.spec_decode.proposers import GramModel
from serve.vllm_plugins import READ_VERSION, VERSION, VersionError, installed_version, proposer, require_vllm
from serve.vllm_plugins.chains import Chains
from serve.vllm_plugins.proposer import LEAST_CHANCE, NgramProposer
from tests.vllm import interfaces


def counted(text: Sequence[int]) -> GrowingGrams:
    own = GrowingGrams()
    own.extend(text, 0)
    return own


def slow_chain(
    model: GramModel, own: GrowingGrams, text: Sequence[int], most: int, end: int | None
) -> list[int]:
    """The definition: every count in a dictionary, every chance in a list."""
    tail = list(text[-4:])
    drafted: list[int] = []
    chance = 1.0
    while len(drafted) < most and (guesses := model.predict(own, tail)):
        token, likely = guesses[0]
        chance *= likely
        if chance < LEAST_CHANCE:
            break
        drafted.append(token)
        tail.append(token)
        if token == end:
            break
    return drafted


def row(text: Sequence[int]) -> np.ndarray:
    return np.asarray(text, np.int32)


def draft(chains: Chains, text: np.ndarray, most: int, end: int | None, least: float) -> list[int]:
    """The draft of one text."""
    return chains.draft_all(text[None], np.array([len(text)]), np.array([most]), end, least)[0]


def test_a_repeating_text_is_drafted_on():
    assert draft(Chains(None), row([1, 2, 3, 4] * 4), 5, 9, LEAST_CHANCE) == [1, 2, 3, 4, 1]


def test_a_draft_ends_with_the_text():
    trie = Trie.build([[5, 6]] * 20, 3, 10, end=9)
    assert draft(Chains(trie), row([5]), 5, 9, LEAST_CHANCE) == [6, 9]


def test_nothing_known_is_nothing_drafted():
    assert draft(Chains(None), row([1, 2, 3]), 5, 9, LEAST_CHANCE) == []
    assert draft(Chains(None), row([]), 5, None, LEAST_CHANCE) == []


texts = st.lists(st.integers(0, 6), min_size=1, max_size=40)


@settings(deadline=None)  # the first example compiles
@given(
    documents=st.lists(texts, max_size=4),
    order=st.integers(1, 6),
    answers=st.lists(st.tuples(texts, st.integers(0, 10)), max_size=4),
    asked=st.lists(texts, min_size=1, max_size=3),
    most=st.integers(1, 6),
)
def test_a_compiled_chain_is_the_slow_one(documents, order, answers, asked, most):
    trie = Trie.build(documents, order, 8, end=7) if documents else None
    shared = GrowingGrams()
    chains = Chains(trie, recent=512)
    for text, start in answers:
        shared.extend(text, start)
        chains.remember(row(text), start)
    model = GramModel(shared, trie, most=10**6)  # no continuation is left out
    for text in asked:
        assert draft(chains, row(text), most, 7, LEAST_CHANCE) == slow_chain(
            model, counted(text), text, most, 7
        )


def test_the_oldest_answers_are_forgotten():
    chains = Chains(None, recent=8)
    chains.remember(row([1, 2, 3, 4, 5]), 1)
    assert draft(chains, row([1]), 1, None, 0.0) == [2]
    chains.remember(row([11, 12, 13, 14, 15]), 0)
    assert draft(chains, row([1]), 1, None, 0.0) == [2]
    chains.remember(row([16, 17]), 0)  # the ninth
    assert draft(chains, row([1]), 1, None, 0.0) == []
    assert draft(chains, row([4]), 1, None, 0.0) == [5]


def test_256_requests_cost_a_small_part_of_the_slow_definition(made):
    """The ring is full, and tokens are as uneven as words are, so that common ones have long lists."""
    rng = np.random.default_rng(0)
    phrases = (rng.zipf(1.3, (400, 6)) % 5000).astype(np.int32)
    batch = np.stack([phrases[rng.integers(0, 400, 100)].ravel() for _ in range(256)])
    made.longest_text, lengths = 700, np.full(256, 600, np.int32)
    for text in batch:
        made.chains.remember(text, 0)
    sampled = [[int(text[-1])] for text in batch]

    def fast() -> float:
        began = time.process_time()
        made.propose(sampled, lengths, batch)
        return time.process_time() - began

    fast()  # compiled
    model = GramModel(GrowingGrams(), None)
    few = [text.tolist() for text in batch[:32]]
    began = time.process_time()
    for text in few:  # an eighth of the batch, and no answers of others
        slow_chain(model, counted(text), text, made.most, 9)
    slow = 8 * (time.process_time() - began)
    assert min(fast() for _ in range(5)) < slow / 10


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(proposer, "require_vllm", lambda: None)
    monkeypatch.setattr(proposer, "ngram_file", lambda _: None)
    model = SimpleNamespace(max_model_len=18, tokenizer="", hf_config=SimpleNamespace(eos_token_id=[9]))
    return NgramProposer(
        SimpleNamespace(model_config=model, speculative_config=SimpleNamespace(num_speculative_tokens=3))
    )


def test_only_sampled_rows_with_room_are_drafted_for(made):
    rows = np.zeros((4, 18), np.int32)
    rows[:, :16] = [1, 2, 3, 4] * 4
    rows[3, 16:] = [1, 2]
    drafts = made.propose([[4], [], [4], [2]], np.array([16, 16, 12, 18], np.int32), rows)
    assert drafts == [[1, 2], [], [1, 2, 3], []]  # the first has room for two


def test_answers_are_shared_wherever_their_rows_stand_and_prompts_are_not(made):
    rows = np.zeros((3, 18), np.int32)
    rows[0, :4], rows[1, :4], rows[2, :1] = [1, 2, 3, 7], [1, 2, 4, 8], [2]
    lengths = np.array([4, 4, 1], np.int32)
    made.propose([[7], [8], []], lengths, rows)
    assert draft(made.chains, row([3]), 1, None, 0.0) == [7]
    assert draft(made.chains, row([4]), 1, None, 0.0) == [8]
    assert draft(made.chains, row([1]), 1, None, 0.0) == []  # only prompts hold what follows 1
    rows[[0, 1]] = rows[[1, 0]]  # the rows change places, one says more
    rows[1, 4] = 5
    made.propose([[], [5], []], np.array([4, 5, 1], np.int32), rows)
    assert draft(made.chains, row([3, 7]), 1, None, 0.0) == [5]
    assert draft(made.chains, row([8]), 1, None, 0.0) == []


def test_another_vllm_is_refused(monkeypatch):
    monkeypatch.setattr("serve.vllm_plugins.installed_version", lambda: "0.31.0")
    with pytest.raises(VersionError, match=rf"found version 0\.31\.0, wanted {VERSION}"):
        require_vllm()
    monkeypatch.setattr("serve.vllm_plugins.installed_version", lambda: READ_VERSION)
    require_vllm()
    monkeypatch.setattr("serve.vllm_plugins.installed_version", lambda: None)
    with pytest.raises(VersionError, match="found no vLLM"):
        require_vllm()


def test_the_local_part_of_a_version_is_left_out(monkeypatch):
    monkeypatch.setattr("serve.vllm_plugins.version", lambda name: "0.32.0+cpu")
    assert installed_version() == "0.32.0"


@pytest.mark.parametrize("module", ["scheduler", "goodput"])
def test_a_plugin_without_its_vllm_says_so_in_one_line(module):
    import importlib

    if installed_version() == VERSION:
        pytest.skip("that vLLM is here")
    with pytest.raises(VersionError, match=f"wanted {VERSION}"):
        importlib.import_module(f"serve.vllm_plugins.{module}")


def test_a_vllm_that_lacks_a_name_is_found(tmp_path):
    """The check of `python -m tests.vllm.interfaces`: an empty vLLM lacks them all."""
    lacking = {name for _, name in interfaces.missing(tmp_path)}
    assert {
        "Request.num_computed_tokens",
        "AsyncScheduler.schedule",
        "OutputProcessor.add_request",
    } <= lacking
