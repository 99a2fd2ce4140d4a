"""The plugins in vLLM itself, on the CPU, with the embedded model. `make vllm` runs them."""

import json
from pathlib import Path

import numpy as np
import pytest

from serve.goodput import Ending
from serve.vllm_plugins.settings import read_settings
from serve.vllm_plugins.windows import WindowSettings

pytestmark = pytest.mark.vllm
PROMPTS = Path(__file__).parents[2] / "draft" / "heldout.jsonl"
GOODPUT = "pace_s=1,allowance_s=1,alpha=0.5,window_s=20,drain_s=600"


def test_the_ngram_proposer_is_accepted_and_changes_no_answer(answer, plain):
    speculative = {
        "method": "custom_class",
        "model": "serve.vllm_plugins.proposer.NgramProposer",
        "num_speculative_tokens": 4,
    }
    drafted = answer("ngram", "--speculative", json.dumps(speculative))
    assert drafted["tokens"] == plain["tokens"]
    assert drafted["accepted"] > 0.15 * drafted["drafted"]


def test_the_exported_head_is_accepted_and_changes_no_answer(answer, plain, exported):
    speculative = {
        "method": "eagle3",
        "model": str(exported / "draft"),
        "parallel_drafting": True,
        "num_speculative_tokens": 8,
    }
    drafted = answer("head", "--speculative", json.dumps(speculative))
    assert drafted["tokens"] == plain["tokens"]
    # Of guesses among 6,144 tokens: a head that vLLM computed otherwise than we do would hit next to none.
    assert drafted["accepted_by_position"][0] > 0.1 * drafted["drafts"]


def test_echo_preempts_batch_work_for_interactive_requests_and_changes_no_answer(answer, plain):
    scheduled = answer("echo", "--echo", "--blocks", "12")
    assert scheduled["preemptions"] > 0
    assert scheduled["tokens"] == plain["tokens"]


def test_echo_schedules_drafts_too(answer, plain, exported):
    speculative = {
        "method": "eagle3",
        "model": str(exported / "draft"),
        "parallel_drafting": True,
        "num_speculative_tokens": 8,
    }
    scheduled = answer("echo-head", "--echo", "--blocks", "16", "--speculative", json.dumps(speculative))
    assert scheduled["tokens"] == plain["tokens"]
    assert scheduled["accepted"] > 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of vLLM's own imports
def test_a_flexible_tier_is_batch_work():
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    from serve.vllm_plugins.tiers import read_tier

    class Own(ChatCompletionRequest):
        """A class of our own, so that vLLM's stays as it is."""

    read_tier(Own)
    read_tier(Own)  # two loggers in one process
    said = [{"role": "user", "content": "hi"}]
    for body, expected in (
        ({"service_tier": "flex"}, {"class": "offline"}),
        ({"service_tier": "default"}, None),
        ({}, None),  # most requests: vLLM's class has no such field
    ):
        assert Own(model="m", messages=said, **body).to_sampling_params(8, {}).extra_args == expected


@pytest.fixture(scope="module")
def served(exported):
    """A run of twelve batch prompts and four interactive ones on a server with Echo: both sides' figures."""
    from benchmarks.vllm_server import ECHO, Mixed, run_mixed, server

    rows = [json.loads(line)["messages"] for line in PROMPTS.read_text(encoding="utf-8").splitlines()]
    load = Mixed(rows[:4], rows[8:20], np.array([3.0, 5.0, 8.0, 13.0]))
    options = (*ECHO, "--max-num-seqs", "4")
    with server(
        exported / "model", exported / "server.log", *options, environment={"VCKG_GOODPUT": GOODPUT}
    ) as it:
        online, offline = run_mixed(it, load)
        figure = it.wait_gauge("vckg:smooth_goodput")
    return [s.timeline for s in online], [s.timeline for s in offline], figure


def test_both_classes_are_served_and_interactive_requests_go_first(served):
    online, offline, _ = served
    assert {t.ending for t in (*online, *offline)} == {Ending.FINISHED}
    # Batch prompts came first and fill the four places; a user still gets an answer before most of them.
    for user in online:
        begun_before = [t for t in offline if t.token_s[0] < user.committed_s]
        ahead = [t for t in offline if t not in begun_before and t.token_s[0] < user.token_s[0]]
        assert len(ahead) <= 4
    last_user = max(t.ended_s for t in online if t.committed_s < online[0].committed_s + 6)
    assert sum(t.ended_s > last_user for t in offline) >= 6


def test_the_loggers_smooth_goodput_is_the_clients_within_one_percent(served):
    online, _, figure = served
    settings = read_settings(WindowSettings, GOODPUT, "here")
    expected = settings.measure(online, settings.window_s)
    assert expected > 0
    assert figure == pytest.approx(expected, rel=0.01)
