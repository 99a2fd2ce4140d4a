"""What one client can do to the others: nothing that a real server on 127.0.0.1 does not bound."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.engine import structured_output as grammar
from serve.engine.engine import Engine, EngineConfig
from serve.request import FinishReason, Request, SamplingParams
from serve.server.guard import Hosts
from serve.server.preparation import Limits
from tests.serve.servers import HEADERS, KEY, another, running, wait_until

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]
LONG = {"const": "x" * 800_000}


@pytest.fixture(scope="module")
def engine(tiny, tiny_model) -> Engine:
    config = EngineConfig(cache_tokens=2048, block_tokens=4, max_running=16, step_tokens=64)
    return Engine(tiny_model("llama"), tiny("llama"), config)


@pytest.fixture(scope="module")
def served(engine: Engine) -> Iterator[tuple[str, int]]:
    """Base address and port of a server that waits a second for a head and lets 30 connections in."""
    limits = Limits(prompt_tokens=200, compile_s=120)  # a busy machine compiles the largest schemas slowly
    with running(engine, limits, head_s=1.0, most_connections=30) as (base, _, _):
        yield base, int(base.rsplit(":", 1)[1])


@pytest.fixture
def client(served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served[0], headers=HEADERS, timeout=60) as client:
        yield client


def schema_body(schema, **more) -> dict:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    return {"messages": HELLO, "response_format": form, "max_tokens": 8} | more


# --- a constraint that fails ends its request only ---------------------------------------------------------------


def test_a_grammar_that_fails_on_the_way_ends_its_request_only(tiny_engine, monkeypatch, caplog):
    monkeypatch.setattr(grammar, "MAX_SCHEMA_BYTES", 2_000_000)
    monkeypatch.setattr(grammar, "MAX_STRING_CHARACTERS", 2_000_000)
    engine = tiny_engine()
    plain = SamplingParams(max_tokens=6, ignore_eos=True)
    engine.add(Request("good", (5, 6, 7), plain))
    engine.add(Request("bad", (5, 6, 7), SamplingParams(max_tokens=6, json_schema=LONG)))
    events = []
    while engine.has_work:
        events += engine.step()
    (bad,) = [e for e in events if e.request_id == "bad" and e.finish_reason]
    assert (bad.finish_reason, bad.param) == (FinishReason.ERROR, "response_format")
    assert "cannot be held to its JSON schema" in bad.error
    (good,) = [e for e in events if e.request_id == "good" and e.finish_reason]
    assert good.finish_reason == FinishReason.LENGTH
    assert "x" * 300 not in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_over_http_such_a_request_gets_400_and_the_server_goes_on(client, monkeypatch, stream):
    monkeypatch.setattr(grammar, "MAX_SCHEMA_BYTES", 900_000)
    monkeypatch.setattr(grammar, "MAX_STRING_CHARACTERS", 900_000)
    response = client.post(CHAT, json=schema_body(LONG, stream=stream))
    if stream:
        lines = [line[6:] for line in response.text.splitlines() if line]
        error = json.loads(lines[-1])["error"]
    else:
        assert response.status_code == 400
        error = response.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", "response_format")
    assert len(error["message"]) < 400
    assert client.get("/health").status_code == 200
    assert client.post(CHAT, json={"messages": HELLO, "max_tokens": 2}).status_code == 200


@pytest.mark.parametrize(
    "schema", [{"const": "x" * 100_000}, {"enum": [f"v{i}" for i in range(30_000)]}, {"const": "x" * 5_000}]
)
def test_a_schema_is_refused_by_its_size_before_it_is_compiled(client, schema):
    response = client.post(CHAT, json=schema_body(schema))
    assert response.status_code == 400
    assert "at most" in response.json()["error"]["message"]


def test_while_a_schema_compiles_others_get_their_tokens(client, engine, monkeypatch):
    began, go_on = threading.Event(), threading.Event()
    compile_one = engine.grammar._compile

    def slow(*given):
        began.set()
        assert go_on.wait(60)
        return compile_one(*given)

    monkeypatch.setattr(engine.grammar, "_compile", slow)
    answers = []
    asked = threading.Thread(
        target=lambda: answers.append(client.post(CHAT, json=schema_body({"enum": ["slow"]}, max_tokens=20)))
    )
    asked.start()
    try:
        assert began.wait(60)
        with httpx.Client(base_url=client.base_url, headers=HEADERS, timeout=60) as other:
            assert other.post(CHAT, json={"messages": HELLO, "max_tokens": 4}).status_code == 200
        assert answers == []
    finally:
        go_on.set()
        asked.join(60)
    assert json.loads(answers[0].json()["choices"][0]["message"]["content"]) == "slow"


def test_a_schema_that_does_not_compile_in_time_is_given_up(engine, monkeypatch):
    go_on = threading.Event()
    own = another(engine)
    with (
        running(own, Limits(compile_s=0.05)) as (base, server, _),
        httpx.Client(base_url=base, headers=HEADERS, timeout=60) as client,
    ):
        monkeypatch.setattr(own.grammar, "_compile", lambda *_given: go_on.wait(60))
        response = client.post(CHAT, json=schema_body({"enum": ["late"]}))
        go_on.set()
        assert response.status_code == 503
        assert "not compiled within" in response.json()["error"]["message"]
        wait_until(lambda: server.n_open == 0)


def test_json_under_a_schema_has_no_white_space_between_its_parts(tiny_engine):
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    schema["additionalProperties"] = False
    params = SamplingParams(temperature=1.0, seed=3, max_tokens=40, json_schema=schema)
    for got in tiny_engine().generate([(5, 6, t) for t in range(1, 9)], params):
        assert got.text in ('{"a":true}', '{"a":false}')


# --- prompts -----------------------------------------------------------------------------------------------------


def test_a_prompt_is_refused_by_its_bytes_before_it_is_tokenised(client, engine, monkeypatch):
    class Untouched:
        """Stands in for the tokenizer; a prompt that is refused by its size never reaches it."""

        def __getattr__(self, name):
            raise AssertionError(f"{name} of the tokenizer was used")

    monkeypatch.setattr(engine, "tokenizer", Untouched())
    for path, body in (
        (CHAT, {"messages": [{"role": "user", "content": "word " * 20_000}]}),
        ("/v1/completions", {"prompt": "word " * 20_000}),
        (CHAT, {"messages": [{"role": "user", "content": ""}] * 10_000}),
    ):
        response = client.post(path, json=body)
        assert response.status_code == 400
        assert "at most" in response.json()["error"]["message"]


# --- connections -------------------------------------------------------------------------------------------------


def closed(raw: socket.socket, seconds: float = 30.0) -> bool:
    raw.settimeout(seconds)
    try:
        while raw.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


def test_half_open_connections_are_closed_and_do_not_keep_others_out(served):
    base, port = served
    held = []
    try:
        for _ in range(60):  # twice as many as are let in
            raw = socket.create_connection(("127.0.0.1", port))
            raw.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            held.append(raw)
        assert httpx.get(base + "/health", timeout=30).status_code == 200
        assert all(closed(raw) for raw in held)
    finally:
        for raw in held:
            raw.close()


def test_half_bodies_do_not_keep_others_out(served):
    """Bodies may take longer than heads, but not the place of a client that sends its whole request."""
    base, port = served
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    held = []
    try:
        for _ in range(60):  # twice as many as are let in
            held.append(socket.create_connection(("127.0.0.1", port)))
            held[-1].sendall(head.encode())
        with httpx.Client(base_url=base, headers=HEADERS, timeout=30) as other:
            assert other.get("/health").status_code == 200
            assert other.post(CHAT, json={"messages": HELLO, "max_tokens": 4}).status_code == 200
        assert all(closed(raw, 0.5) for raw in held[:20])  # those that waited longest made room
    finally:
        for raw in held:
            raw.close()


def test_a_head_that_drips_is_cut_off(served):
    with socket.create_connection(("127.0.0.1", served[1])) as raw:
        began = time.monotonic()
        raw.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            drip(raw)
    assert time.monotonic() - began < 29


def drip(raw: socket.socket) -> None:
    for _ in range(600):
        raw.sendall(b"a")
        time.sleep(0.05)


def test_a_body_that_drips_after_its_refusal_does_not_hold_the_connection(served):
    with socket.create_connection(("127.0.0.1", served[1])) as raw:
        raw.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 900000\r\n\r\n{"
        )
        assert b" 401 " in raw.recv(4096)
        assert closed(raw)


def test_a_connection_serves_one_request_after_another(served):
    with httpx.Client(base_url=served[0], headers=HEADERS, timeout=30) as client:
        for _ in range(3):
            assert client.get("/v1/models").status_code == 200


# --- who is answered ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keyless(engine: Engine) -> Iterator[str]:
    with running(another(engine), key=None) as (base, _, _):
        yield base


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/nowhere"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "10.0.0.7"]
)
def test_a_foreign_host_is_not_answered(keyless, path, host):
    response = httpx.get(keyless + path, headers={"Host": host})
    assert response.status_code == 421
    assert "--allowed-host" in response.json()["error"]["message"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "[::1]:9", "localhost."])
def test_this_machines_own_names_are_answered(keyless, host):
    assert httpx.get(keyless + "/v1/models", headers={"Host": host}).status_code == 200


def test_hosts_follow_the_address_bound_and_the_list():
    anywhere = Hosts("0.0.0.0", ["gpu-box"])
    assert all(map(anywhere.admits, ("10.0.0.7:8000", "gpu-box", "localhost", "[fe80::1]:8000")))
    assert not anywhere.admits("evil.example")
    assert Hosts("127.0.0.1", ["*"]).admits("evil.example")
    assert not Hosts("10.0.0.7").admits("localhost")


@given(st.text(max_size=40))
@settings(max_examples=300)
def test_no_text_but_a_known_name_is_admitted(text):
    name = text.strip().lower()
    known = ("127.0.0.1", "localhost", "::1")
    if Hosts().admits(text):
        assert any(known_name in name for known_name in known)


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"]
)
def test_a_body_that_is_not_named_json_is_refused(keyless, media):
    body = json.dumps({"messages": HELLO, "max_tokens": 1})
    headers = {"Content-Type": media, "Origin": "http://evil.example"}
    assert httpx.post(keyless + CHAT, content=body, headers=headers).status_code == 415
    named = {"Content-Type": "application/json; charset=utf-8"}
    assert httpx.post(keyless + CHAT, content=body, headers=named, timeout=60).status_code == 200


@pytest.mark.parametrize(
    ("host", "media", "status"),
    [("localhost", "text/plain", 415), ("evil.example", "application/json", 421)],
)
def test_a_refusal_before_the_body_came_is_read_and_the_connection_serves_on(served, host, media, status):
    """A close with the body unread would reset the connection, and the client would lose the answer."""
    with closing(HTTPConnection("127.0.0.1", served[1], timeout=30)) as connection:
        connection.putrequest("POST", CHAT, skip_host=True)
        for name, value in (("Host", host), ("Content-Type", media), ("Content-Length", "900")):
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (status, True)
        connection.sock.sendall(b"x" * 900)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200


def test_two_lengths_of_one_body_are_refused_and_the_connection_ends(served):
    with socket.create_connection(("127.0.0.1", served[1])) as raw:
        raw.sendall(
            f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
            "Content-Type: application/json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            "0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        got = b""
        raw.settimeout(30)
        while part := raw.recv(4096):
            got += part
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in got.lower()
    assert got.count(b"HTTP/1.1 ") == 1
