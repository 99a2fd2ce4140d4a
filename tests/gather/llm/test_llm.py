"""The counted, cached client against a real local server that answers well, badly, late or never."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gather.llm.base import Counted, Counters, ModelFailure, Scripted, estimate_tokens
from gather.llm.cache import ReplyCache
from gather.llm.client import Client, concurrently
from gather.llm.label import label_with_llm
from vckg.base.errors import InputError

Action = tuple[Any, ...]  # ("say", text) | ("status", code, headers) | ("raw", bytes) | ("hang",) | ("drop",)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ReplyCache]:
    replies = ReplyCache(tmp_path / "replies.sqlite3")
    yield replies
    replies.close()


def client(server: Any, **settings: Any) -> Client:
    return Client(
        "m", base_url=server.url, **{"timeout_s": 0.4, "backoff_s": 0.01, "attempts": 3, **settings}
    )


def test_a_reply_comes_with_the_tokens_the_endpoint_counted(endpoint) -> None:
    server = endpoint(lambda *_: ("say", "hello"))
    model = Counted(client(server))
    reply = model.complete("hi")
    assert (reply.text, reply.usage.prompt_tokens, reply.usage.completion_tokens) == ("hello", 7, 3)
    assert model.counters == Counters(asked=1, calls=1, prompt_tokens=7, completion_tokens=3)
    assert server.requests[0] == {
        "model": "m",
        "temperature": 0.0,
        "seed": 0,
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": "hi"}],
        "service_tier": "flex",  # batch work, for a server that has classes
    }


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (("status", 429), "429"),
        (("status", 500), "500"),
        (("status", 503), "503"),
        (("drop",), "connection failed"),
        (("hang",), "no answer within 0.4 s"),
        (("raw", b"<html>gateway</html>"), "no chat completion"),
        (("raw", b'{"choices": []}'), "no chat completion"),
    ],
)
def test_trouble_is_retried_then_told(endpoint, trouble: Action, said: str) -> None:
    server = endpoint(lambda _body, n: trouble if n < 3 else ("say", "at last"))
    model = Counted(client(server))
    assert model.complete("hi").text == "at last"
    assert (model.counters.retries, model.counters.calls) == (2, 1)

    model = Counted(client(endpoint(lambda *_: trouble)))
    with pytest.raises(ModelFailure, match=said):
        model.complete("hi")
    assert (model.counters.failures, model.counters.retries, model.counters.calls) == (1, 2, 0)


def test_the_endpoint_says_how_long_to_wait(endpoint) -> None:
    server = endpoint(lambda _b, n: ("status", 429, {"retry-after": "0.3"}) if n == 1 else ("say", "x"))
    start = time.monotonic()
    client(server, backoff_s=0.0).complete("hi")
    assert time.monotonic() - start >= 0.3


@pytest.mark.parametrize(
    ("status", "fix"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "--model m")]
)
def test_what_no_retry_can_mend_ends_the_run_with_the_fix(endpoint, status: int, fix: str) -> None:
    server = endpoint(lambda *_: ("status", status))
    with pytest.raises(InputError, match=fix):
        client(server).complete("hi")
    assert len(server.requests) == 1


def test_a_bad_request_is_a_failure_of_its_prompt_and_not_retried(endpoint) -> None:
    server = endpoint(lambda *_: ("status", 400))
    with pytest.raises(ModelFailure, match=r"400 .*no luck"):
        client(server).complete("hi")
    assert len(server.requests) == 1


def test_identical_prompts_are_asked_once_also_while_the_first_is_under_way(
    endpoint, cache: ReplyCache
) -> None:
    server = endpoint(lambda *_: (time.sleep(0.1), ("say", "x"))[1])
    model = Counted(client(server, cache=cache))
    replies = concurrently(model.complete, ["same"] * 20 + ["other"], workers=8, model=model)
    assert len(server.requests) == 2
    assert [r.text for r in replies] == ["x"] * 21
    assert (model.counters.asked, model.counters.calls, model.counters.cached) == (21, 2, 19)
    assert model.counters.prompt_tokens == 21 * 7


def test_a_second_run_asks_nothing(endpoint, tmp_path: Path) -> None:
    server = endpoint(lambda *_: ("say", "x"))
    for _ in range(2):
        replies = ReplyCache(tmp_path / "replies.sqlite3")
        model = client(server, cache=replies)
        model.complete("hi")
        assert model.cached("hi")
        assert not model.cached("ho")
        replies.close()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "change", [{"temperature": 0.5}, {"seed": 1}, {"max_tokens": 5}], ids=lambda change: next(iter(change))
)
def test_another_parameter_is_another_reply(endpoint, cache: ReplyCache, change: dict[str, Any]) -> None:
    server = endpoint(lambda *_: ("say", "x"))
    client(server, cache=cache).complete("hi")
    client(server, cache=cache, **change).complete("hi")
    assert len(server.requests) == len(cache) == 2


def test_a_schema_is_sent_in_the_form_servers_know(endpoint) -> None:
    server = endpoint(lambda *_: ("say", "{}"))
    client(server).complete("hi", schema=SCHEMA)
    form = server.requests[0]["response_format"]
    assert form == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
    }


@pytest.mark.parametrize("status", [400, 422])
def test_an_endpoint_that_refuses_schemas_is_found_out_once(endpoint, status: int) -> None:
    server = endpoint(lambda body, _n: ("status", status) if "response_format" in body else ("say", "{}"))
    model = client(server)
    ask = partial(model.complete, schema=SCHEMA)
    replies = concurrently(ask, [f"hi {i}" for i in range(12)], workers=6, model=model)
    assert [r.text for r in replies] == ["{}"] * 12
    assert sum("response_format" in body for body in server.requests) == 1
    assert len(server.requests) == 13


def test_an_endpoint_that_takes_schemas_but_not_this_one_is_asked_without_it(endpoint) -> None:
    odd = {**SCHEMA, "title": "odd"}
    server = endpoint(lambda body, _n: ("status", 400) if "odd" in json.dumps(body) else ("say", "{}"))
    model = Counted(client(server))
    for prompt, schema in (("a", SCHEMA), ("b", odd), ("c", odd), ("d", SCHEMA)):
        assert model.complete(prompt, schema=schema).text == "{}"
    assert ["response_format" in body for body in server.requests] == [True, True, False, False, True]
    assert (model.counters.calls, model.counters.failures) == (4, 0)


def test_a_prompt_that_is_refused_in_any_form_does_not_blame_the_schema(endpoint) -> None:
    server = endpoint(
        lambda body, _n: ("status", 400) if body["messages"][0]["content"] == "too long" else ("say", "{}")
    )
    model = client(server)
    with pytest.raises(ModelFailure):
        model.complete("too long", schema=SCHEMA)
    model.complete("hi", schema=SCHEMA)
    assert "response_format" in server.requests[-1]


def test_concurrency_is_bounded_and_results_keep_their_order(endpoint) -> None:
    server = endpoint(lambda body, _n: (time.sleep(0.02), ("say", body["messages"][0]["content"]))[1])
    model = client(server)
    replies = concurrently(model.complete, [str(i) for i in range(30)], workers=3, model=model)
    assert [r.text for r in replies] == [str(i) for i in range(30)]
    assert server.most_at_once <= 3


def test_a_dead_endpoint_is_given_up_on_instead_of_waited_for_a_thousand_times(endpoint) -> None:
    server = endpoint(lambda *_: ("status", 500))
    model = Counted(client(server, attempts=2))

    def ask(prompt: str) -> None:
        with pytest.raises(ModelFailure):
            model.complete(prompt)

    concurrently(ask, [str(i) for i in range(100)], workers=1, model=model)
    assert model.counters.failures == 100
    assert len(server.requests) == 16


def test_an_address_where_nothing_listens_ends_the_run_with_the_fix() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nobody = Client("m", base_url=f"http://127.0.0.1:{port}/v1", attempts=2, backoff_s=0.01)
    with pytest.raises(
        InputError, match=r"connection failed .*, 2 times; start the server, or check --base-url"
    ):
        nobody.complete("Hello")


def test_a_server_that_goes_away_later_costs_answers_not_the_run(endpoint) -> None:
    server = endpoint(lambda *_: ("say", "ok"))
    asked = client(server)
    assert asked.complete("one").text == "ok"
    server.close()
    with pytest.raises(ModelFailure, match="connection failed"):
        asked.complete("two")


def test_without_a_key_and_without_an_address_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(InputError, match=r"OPENAI_API_KEY .*--base-url"):
        Client("m")


def test_the_key_comes_from_the_environment_and_is_written_nowhere(
    endpoint, cache: ReplyCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    caplog.set_level("DEBUG")
    server = endpoint(lambda *_: ("say", "x"))
    client(server, cache=cache).complete("hi")
    assert server.keys == ["Bearer sk-very-secret"]
    assert "sk-very-secret" not in caplog.text
    assert b"sk-very-secret" not in cache.path.read_bytes()


def test_a_message_that_echoes_the_key_is_masked(endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "luck")  # the scripted error message says "no luck"
    with pytest.raises(ModelFailure) as failure:
        client(endpoint(lambda *_: ("status", 400))).complete("hi")
    assert "no ***" in str(failure.value)


def test_a_scripted_model_answers_from_a_mapping_or_a_function_and_remembers() -> None:
    model = Scripted({"CD3D": "T cell", "MS4A1": "B cell"})
    assert model.complete([{"role": "user", "content": "genes: MS4A1"}]).text == "B cell"
    assert model.prompts == ["genes: MS4A1"]
    with pytest.raises(ModelFailure, match="no scripted answer"):
        model.complete("nothing known")
    assert Scripted(str.upper).complete("abc").text == "ABC"


def test_counters_differ_by_what_happened_between() -> None:
    model = Counted(Scripted(str.upper))
    model.complete("a")
    before = model.counters
    model.complete("bc")
    assert (model.counters - before).asked == 1


@given(st.text())
def test_more_text_is_never_fewer_tokens(text: str) -> None:
    assert estimate_tokens(text + "x") >= estimate_tokens(text) >= 0


@pytest.mark.parametrize(
    ("text", "tokens"),  # counted with the tokeniser of SmolLM2
    [
        ("Genes, most distinctive first: CD3D, IL7R, LTB, TRAC, LDHB, MALAT1", 29),
        ("[E1] Cell: T cell (CL:0000084), score 3.86, FDR 3.9e-12; 36 genes: CD3D, CD3E", 48),
        ("CD3D -is_marker_for-> T cell (14 sources)", 17),
        ("A lymphocyte whose defining characteristic is the expression of a T cell receptor.", 15),
    ],
)
def test_an_estimate_is_near_what_a_real_tokeniser_counts(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == pytest.approx(tokens, rel=0.3)


def test_every_cell_set_gets_a_label_whatever_the_endpoint_does(
    endpoint, cache: ReplyCache, make_annotation
) -> None:
    right = '{"cell_type_ontology_term_id": "CL:0000236", "reasons": ["E2"]}'
    by_gene: dict[str, Action] = {
        "GOOD": ("say", right),
        "PROSE": ("say", "A T cell, surely."),
        "BROKEN": ("say", right[:-5]),
        "OUTSIDE": ("say", right.replace("236", "999")),
        "LIMIT": ("status", 429),
        "FAIL": ("status", 500),
        "HANG": ("hang",),
        "DROP": ("drop",),
    }

    def script(body: dict[str, Any], _n: int) -> Action:
        if "response_format" in body:
            return "status", 400
        asked = body["messages"][1]["content"]
        return next(action for gene, action in by_gene.items() if gene in asked)

    server = endpoint(script)
    sets = [make_annotation(gene, query_genes=(gene,)) for gene in (*by_gene, "GOOD", "PROSE")]
    model = Counted(client(server, cache=cache, attempts=2, timeout_s=0.8))
    run = label_with_llm(sets, model, workers=4)

    assert [a.cell_set for a in run.annotations] == [a.cell_set for a in sets]
    for before, after in zip(sets, run.annotations, strict=True):
        if before.cell_set == "GOOD":
            assert (after.curie, after.decided_by) == ("CL:0000236", "llm")
        else:
            assert (after.curie, after.label, after.decided_by) == (before.curie, before.label, "fallback")
    assert run.fallbacks == {"no_reply": 4, "not_json": 3, "outside_candidates": 1}
    paid, failed = 4, 4
    assert (run.counters.asked, run.counters.calls, run.counters.cached) == (10, paid, 2)
    assert (run.counters.failures, len(cache)) == (failed, paid)
    bodies = [json.dumps(body, sort_keys=True) for body in server.requests]
    answered = [body for body in bodies if not any(g in body for g in ("LIMIT", "FAIL", "HANG", "DROP"))]
    assert len(answered) - len(set(answered)) == 0  # nothing that was answered is asked again
    assert sum("response_format" in body for body in bodies) == 1

    again = label_with_llm(sets, Counted(client(server, cache=cache, attempts=1, timeout_s=0.8)), workers=4)
    assert again.counters.calls == 0
    assert again.annotations[0] == run.annotations[0]


def test_a_server_too_slow_for_many_at_once_is_asked_fewer_at_once(endpoint) -> None:
    """Eight requests share the server's speed: side by side each takes 0.8 s, alone 0.1 s."""
    under_way, lock = [0], threading.Lock()

    def shared(*_: Any) -> Action:
        with lock:
            under_way[0] += 1
            together = under_way[0]
        time.sleep(0.1 * together)
        with lock:
            under_way[0] -= 1
        return ("say", "ok")

    server = endpoint(shared)
    asked = client(server, timeout_s=0.45, attempts=5)
    texts = concurrently(
        lambda at: asked.complete(f"prompt {at}").text, range(8), workers=8, model=Counted(asked)
    )
    assert texts == ["ok"] * 8
