"""SuffixDecoding by lookup in the texts, and the replay of stored answers."""

from collections import Counter

import numpy as np
import pytest

from benchmarks.draft_choice import AUTO, METHODS, PASS_MS, Known, speedups
from benchmarks.draft_choice import proposer as proposer_named
from benchmarks.draft_choice import replay as replay_all
from benchmarks.draft_methods import Prompt
from benchmarks.draft_peers import SuffixProposer, Texts
from benchmarks.draft_replay import accepted, replay
from serve.spec_decode.prompt_lookup import LookupProposer
from serve.spec_decode.proposer import DraftTree


def test_matches_are_those_of_a_slow_search() -> None:
    rng = np.random.default_rng(0)
    texts, whole = Texts(), list[int]()
    for n in (30, 50, 20):
        text = rng.integers(0, 3, n).tolist()
        texts.add(text, ends=True)
        whole += [*text, -1]
    context = rng.integers(0, 3, 10).tolist()
    found = texts.matches(context)
    assert len(found) > 2
    for length, places in enumerate(found, 1):
        wanted = [i for i in range(length, len(whole)) if whole[i - length : i] == context[-length:]]
        assert places.tolist() == wanted


def test_a_tree_grows_by_the_chances_of_the_counts() -> None:
    texts = Texts()
    for text in ([9, 1, 2], [9, 1, 2], [9, 1, 3], [9, 4]):
        texts.add(text, ends=True)
    tree = texts.grow(texts.matches([9])[0], 3)
    assert tree.tokens.tolist() == [
        1,
        2,
        4,
    ]  # .75, .75 x 2/3, .25 before .75 x 1/3: of equals the first offered
    assert tree.parents.tolist() == [-1, 0, -1]
    np.testing.assert_allclose(tree.chance, [0.75, 2 / 3, 0.25])


def test_the_accepted_path_is_the_answers() -> None:
    tree = DraftTree(np.array([5, 6, 7]), np.array([-1, 0, 0]))
    assert [accepted(tree, a) for a in ([5, 7, 1], [5, 1], [6], [])] == [2, 1, 0, 0]


@pytest.mark.parametrize(
    "method", [LookupProposer(nodes=4), SuffixProposer(4), SuffixProposer(4, [[1, 2, 3, 4] * 4])]
)
def test_a_repeating_answer_takes_few_passes_and_every_token_is_counted(method) -> None:
    prompt = Prompt("a", "chat", (1, 2, 3, 4) * 3)
    tokens, passes = replay(method, prompt, [1, 2, 3, 4] * 4, 4)
    assert tokens == 15
    assert passes == 3  # five tokens a pass
    assert Counter(method._drafts) == Counter()


def test_the_automatic_size_is_replayed_beside_every_fixed_one() -> None:
    found = speedups(batch=8, draw=0, each=9, warm=1, most=24)
    assert found.keys() == {*METHODS[8], AUTO}
    workloads = ["annotation", "chat", "judging", "qa", "all"]
    assert all(list(row) == workloads and min(row.values()) > 0.3 for row in found.values())


def test_a_copied_answer_is_replayed_faster_than_plain_decoding() -> None:
    text = Known("copy", tuple(range(10, 40)), list(range(10, 40)))
    counted = replay_all(proposer_named("lookup:8"), [text], 1, np.random.default_rng(0))
    assert counted.tokens == 29  # the first token is the prompt's
    assert counted.tokens * PASS_MS[1][1][0] > counted.ms
