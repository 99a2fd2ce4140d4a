"""The n-gram chain and whose text a row is; vLLM is not needed."""

from types import SimpleNamespace

import numpy as np
import pytest

from serve.spec_decode.ngram_trie import GrowingGrams, Trie
from serve.spec_decode.proposers import GramModel
from serve.vllm_plugins import VERSION, VersionError, installed_version, proposer, require_vllm
from serve.vllm_plugins.proposer import NgramProposer, Texts, chain


def test_a_repeating_text_is_drafted_on():
    own = GrowingGrams()
    text = [1, 2, 3, 4] * 4
    own.extend(text, 0)
    assert chain(GramModel(None, None), own, text, 5, end=9) == [1, 2, 3, 4, 1]


def test_a_draft_ends_with_the_text():
    trie = Trie.build([[5, 6]] * 20, 3, 10, end=9)
    assert chain(GramModel(None, trie), GrowingGrams(), [5], 5, end=9) == [6, 9]


def test_nothing_known_is_nothing_drafted():
    assert chain(GramModel(None, None), GrowingGrams(), [1, 2, 3], 5, end=9) == []


def test_a_row_is_known_again_wherever_it_moved():
    texts = Texts(GrowingGrams())
    a, b = np.array([1, 2, 3], np.int32), np.array([1, 2, 4], np.int32)
    first_a, first_b = texts.take([a, b])
    second_b, second_a = texts.take([np.append(b, 7).astype(np.int32), np.append(a, 8).astype(np.int32)])
    assert second_a is first_a
    assert second_b is first_b
    assert first_a.continuations((3,)) == {8: 1}
    assert texts.shared.continuations((4,)) == {7: 1}
    (other,) = texts.take([np.array([1, 9], np.int32)])
    assert other not in (first_a, first_b)


def test_prompts_join_no_shared_counts():
    texts = Texts(GrowingGrams())
    texts.take([np.array([1, 2, 3], np.int32)])
    assert texts.shared.continuations((2,)) is None


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


def test_another_vllm_is_refused(monkeypatch):
    monkeypatch.setattr("serve.vllm_plugins.installed_version", lambda: "0.33.0")
    with pytest.raises(VersionError, match=rf"found version 0\.33\.0, wanted {VERSION}"):
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
