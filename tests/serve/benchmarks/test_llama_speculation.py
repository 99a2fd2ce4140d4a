"""llama.cpp's speculation beside ours: the counting and the tables by hand, and errors that name the way out."""

from __future__ import annotations

import json
import sys
from dataclasses import astuple
from types import SimpleNamespace

import pytest

from benchmarks import llama_speculation as speculating
from benchmarks.draft_methods import Prompt
from benchmarks.llama_server import choose
from benchmarks.llama_speculation import OTHER, OWN, PLAIN, Answer, Speculation, measure, pass_table, table
from benchmarks.serving import app
from serve.command_app import run
from serve.errors import InputError, KnownError

ANSWER = list(range(11))
PROMPTS = [Prompt("a", "chat", (1,)), Prompt("b", "qa", (2,)), Prompt("loops", "qa", (3,))]


def ask(ms: float, drafted: int = 0, accepted: int = 0, last: int = 10):
    """A server whose answers take so long; the third prompt's answer loops."""

    def answer(prompt: Prompt) -> Answer:
        tokens = [1, 2, 3, 4] * 12 if prompt.id == "loops" else [*ANSWER[:-1], last]
        return Answer(tokens, ms * (2 if prompt.workload == "qa" else 1), drafted, accepted)

    return answer


def test_speeds_are_against_plain_decoding_of_the_same_server() -> None:
    said: list[str] = []
    methods = {
        (OWN, PLAIN): ask(100),
        (OWN, "ngram N=auto"): ask(50, 20, 5),
        (OTHER, PLAIN): ask(40),
        (OTHER, "ngram-simple"): ask(80, 7, 1, last=99),
    }
    found = measure(methods, PROMPTS, PROMPTS[:1], said.append)
    assert said == [
        "1 of 3 prompts", "2 of 3 prompts", "loops: left out, its plain answer loops or is short",
    ]  # fmt: skip
    assert table(found).splitlines() == [
        "| server | method | answers | chat | qa | all | tokens/s | drafted | accepted | different answers |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |",
        "| vckg-serve | plain | 2 | 1.00 | 1.00 | 1.00 | 66.7 | 0 | 0 | 0 |",
        "| vckg-serve | ngram N=auto | 2 | 2.00 | 2.00 | 2.00 | 133.3 | 40 | 10 | 0 |",
        "| llama.cpp | plain | 2 | 1.00 | 1.00 | 1.00 | 166.7 | 0 | 0 | 0 |",
        "| llama.cpp | ngram-simple | 2 | 0.50 | 0.50 | 0.50 | 83.3 | 14 | 2 | 2 |",
    ]
    kept = json.loads(speculating.as_json(found, {OWN: {1: 2.0}}, {}))
    assert kept["methods"]["llama.cpp ngram-simple"]["all"]["drafted"] == 14


def test_an_answer_of_other_length_is_compared_by_its_tokens() -> None:
    longer = lambda prompt: Answer([*ANSWER, *range(20, 30)], 100.0)  # noqa: E731
    found = measure({(OTHER, PLAIN): ask(100), (OTHER, "ngram-mod"): longer}, PROMPTS[:1])
    assert found[OTHER, "ngram-mod"]["all"].plain_seconds == pytest.approx(0.2)  # 20 tokens, 10 in .1 s


def test_every_method_begins_a_turn() -> None:
    first: list[str] = []
    plain, other = ask(1), ask(1)

    def noted(name, answer):
        return lambda prompt: first.append(name) or answer(prompt)

    measure({(OTHER, PLAIN): noted("plain", plain), (OTHER, "x"): noted("x", other)}, PROMPTS[:2])
    assert first == ["plain", "x", "x", "plain"]


def test_prompts_whose_answers_all_loop_are_an_error() -> None:
    with pytest.raises(KnownError, match="raise --each"):
        table(measure({(OTHER, PLAIN): ask(1)}, PROMPTS[2:]))


def test_costs_of_a_pass_are_over_one_row() -> None:
    assert pass_table({OWN: {1: 10.0, 4: 12.0}, OTHER: {1: 5.0, 4: 20.0}}).splitlines() == [
        "| server | 1 row | 4 rows |",
        "| --- | --: | --: |",
        "| vckg-serve | 10.0 (1.00) | 12.0 (1.20) |",
        "| llama.cpp | 5.0 (1.00) | 20.0 (4.00) |",
    ]


def test_a_kind_has_its_own_sizes_or_llama_cpps() -> None:
    types = SimpleNamespace(COMMON_SPECULATIVE_TYPE_NGRAM_MOD=1, COMMON_SPECULATIVE_TYPE_NGRAM_MAP_K=2)
    own = SimpleNamespace(ngram_mod=SimpleNamespace(), ngram_map_k=SimpleNamespace())
    params, package = SimpleNamespace(speculative=own), SimpleNamespace(common_speculative_type=types)
    for text in ("ngram-map-k:3:6", "ngram-mod:2:4", "ngram-mod"):
        choose(package, params, *astuple(Speculation.parse(text)))
    assert vars(own.ngram_map_k) == {"size_n": 3, "size_m": 6}
    assert vars(own.ngram_mod) == {"n_match": 2, "n_min": 1, "n_max": 4}
    assert own.types == [1]
    for text in ("ngram-mod:2", "ngram-mod:0:4", "ngram-cache:2:4", "ngram"):
        with pytest.raises(InputError, match="wanted"):
            Speculation.parse(text)


def test_without_the_package_the_command_says_how_to_get_it(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    monkeypatch.setattr("sys.argv", ["serving", "llama", "heldout.jsonl", "-o", str(tmp_path / "o.json")])
    with pytest.raises(SystemExit) as ended:
        run(app, "benchmarks.serving")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "run `pip install xllamacpp`" in said
