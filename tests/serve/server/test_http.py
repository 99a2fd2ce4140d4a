"""The HTTP interface over a real engine (a tiny random model), through a real uvicorn on a free port."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from serve.engine.engine import Engine, EngineConfig
from serve.request import SamplingParams
from serve.server.preparation import Limits
from tests.serve.servers import HEADERS, KEY, another, running, wait_until

HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "weigh", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def engine(tiny, tiny_model):
    config = EngineConfig(cache_tokens=2048, block_tokens=4, max_running=16, step_tokens=64)
    return Engine(tiny_model("llama"), tiny("llama"), config)


@pytest.fixture(scope="module")
def served(engine):
    limits = Limits(
        body_bytes=20_000, body_s=1.0, prompt_tokens=200, output_tokens=64, default_output_tokens=16
    )
    with running(engine, limits) as (base, server, _):
        yield base, server
    engine.forest.check()
    assert engine.forest.n_in_use == 0
    assert server.n_open == 0


@pytest.fixture(scope="module")
def client(served):
    with httpx.Client(base_url=served[0], headers=HEADERS, timeout=30) as client:
        yield client


def chat(client, **body):
    return client.post("/v1/chat/completions", json={"messages": HELLO, "temperature": 0} | body)


def test_a_chat_answer_is_the_engines(client, engine):
    got = chat(client, max_tokens=12, ignore_eos=True).json()
    ids = engine.tokenizer.backend_tokenizer.encode("user: hello\nassistant: ", add_special_tokens=False).ids
    (wanted,) = Engine(engine.model, _checkpoint(engine), EngineConfig(cache_tokens=512)).generate(
        [ids], SamplingParams(max_tokens=12, ignore_eos=True)
    )
    assert got["choices"][0]["message"]["content"] == wanted.text
    assert got["choices"][0]["finish_reason"] == "length"
    assert got["usage"]["prompt_tokens"] == len(ids)
    assert got["usage"]["completion_tokens"] == 12


def _checkpoint(engine):
    class Same:
        tokenizer, eos = engine.tokenizer, engine.eos

    return Same


def test_a_stream_says_the_same_as_the_whole(client):
    whole = chat(client, max_tokens=20, ignore_eos=True).json()
    body = {"messages": HELLO, "temperature": 0, "max_tokens": 20, "ignore_eos": True, "stream": True}
    body["stream_options"] = {"include_usage": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line[6:] for line in response.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"]["completion_tokens"] == 20
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]][-1] == "length"


def test_completions_take_text_or_tokens(client, engine):
    body = {"prompt": "abc", "max_tokens": 8, "temperature": 0, "logprobs": 2, "ignore_eos": True}
    by_text = client.post("/v1/completions", json=body).json()["choices"][0]
    ids = engine.tokenizer.backend_tokenizer.encode("abc").ids
    by_ids = client.post("/v1/completions", json=body | {"prompt": ids}).json()["choices"][0]
    assert by_ids["text"] == by_text["text"]
    assert len(by_text["logprobs"]["tokens"]) == len(by_text["logprobs"]["text_offset"]) == 8
    assert all(1 <= len(top) <= 3 for top in by_text["logprobs"]["top_logprobs"])


def test_chat_logprobs_have_openais_shape(client):
    got = chat(client, max_tokens=3, logprobs=True, top_logprobs=2, ignore_eos=True).json()["choices"][0]
    assert [len(token["top_logprobs"]) for token in got["logprobs"]["content"]] == [2, 2, 2]
    assert {"token", "logprob", "bytes"} <= got["logprobs"]["content"][0].keys()


def test_a_schema_is_obeyed(client):
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    got = chat(client, response_format=form, max_tokens=64).json()
    assert isinstance(json.loads(got["choices"][0]["message"]["content"])["ok"], bool)


@pytest.mark.parametrize(
    ("body", "status", "param", "said"),
    [
        ({"messages": []}, 400, "messages", "at least 1"),
        ({}, 400, "messages", "Field required"),
        ({"messages": HELLO, "n": 17}, 400, "n", "less than or equal to 16"),
        ({"messages": HELLO, "temperature": 3}, 400, "temperature", "less than or equal to 2"),
        ({"messages": HELLO, "frequency_penalty": 2.5}, 400, "frequency_penalty", "less than or equal to 2"),
        ({"messages": HELLO, "logit_bias": {"x": 1}}, 400, "logit_bias", "token id"),
        ({"messages": HELLO, "logit_bias": {"999": 1}}, 400, "logit_bias", "outside 0..256"),
        ({"messages": HELLO, "tools": [{}]}, 400, "tools.0.type", "Field required"),
        ({"messages": HELLO, "tools": [TOOL]}, 400, "tools", "chat template takes no tools"),
        ({"messages": HELLO, "tool_choice": "required"}, 400, "tool_choice", "there are no tools"),
        ({"messages": [{"role": "user"}]}, 400, "messages.0", "content is missing"),
        ({"messages": HELLO, "wisdom": 9}, 400, "wisdom", "no field 'wisdom'"),
        ({"messages": HELLO, "repetition_penalty": 1.1}, 400, "repetition_penalty", "near it: presence_penalty"),
        ({"messages": HELLO, "max_tokens": 65}, 400, "max_tokens", "at most 64 (the server's --max-output)"),
        ({"messages": HELLO, "stop": [""]}, 400, "stop", "1 to 256 characters"),
        ({"messages": HELLO, "model": "gpt-9"}, 404, "model", "'gpt-9' is not served here"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, 400, "messages.0.content.0.type", "text"),
        ({"messages": HELLO, "tool_choice": {"type": "function", "name": "f"}}, 400, "tool_choice.function", "Field"),
        ({"messages": HELLO, "tool_choice": "maybe"}, 400, "tool_choice", "Input should be"),
        ({"messages": [{"role": "user", "content": "x" * 250}]}, 400, "messages", "at most 200"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, "messages", "surrogate"),
        ({"messages": [{"role": "oracle", "content": "x"}]}, 400, "messages.0.role", "Input should be"),
        (
            {"messages": HELLO, "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}},
            400, "response_format", "cannot be used",
        ),
    ],
)  # fmt: skip
def test_a_bad_body_is_refused_in_openais_form(client, body, status, param, said):
    response = client.post("/v1/chat/completions", content=json.dumps(body))
    assert response.status_code == status
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert said in error["message"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 9000, b'{"messages": NaN}'])
def test_what_is_not_a_json_object_is_refused(client, content):
    response = client.post("/v1/chat/completions", content=content)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_key_is_wanted_everywhere_but_for_health_and_the_description(served):
    with httpx.Client(base_url=served[0]) as stranger:
        for path, status in (
            ("/health", 200),
            ("/openapi.json", 200),
            ("/v1/models", 401),
            ("/metrics", 401),
        ):
            assert stranger.get(path).status_code == status, path
        for header in ("Bearer wrong", KEY, "Basic " + KEY, "Bearer \xff"):
            got = stranger.get("/v1/models", headers={"Authorization": header.encode("latin-1")})
            assert got.status_code == 401
            assert got.json()["error"]["code"] == "invalid_api_key"


def test_unknown_paths_and_methods_are_errors_in_openais_form(client):
    assert client.get("/v1/nothing").json()["error"]["code"] == "not_found"
    assert "nothing is at /; the interface is below /v1" in client.get("/").json()["error"]["message"]
    assert client.get("/v1/completions").json()["error"]["code"] == "method_not_allowed"


def test_an_oversize_body_is_cut_off(client):
    response = client.post("/v1/completions", content=b"x" * 30_000)
    assert response.status_code == 413
    assert "20000 bytes" in response.json()["error"]["message"]


def test_a_body_that_never_comes_times_out(served):
    host, port = served[0].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}"
        raw.sendall(f"{head}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{".encode())
        assert b" 408 " in raw.recv(4096)


def test_models_and_metrics_tell_what_runs(client):
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["max_model_len"]) == ("tiny", 512)
    text = client.get("/metrics").text
    assert "vckg_serve_output_tokens_total" in text
    assert 'vckg_serve_ttft_seconds_bucket{le="+Inf"}' in text
    assert 'vckg_serve_responses_total{path="/v1/models",status="200"}' in text


def test_a_client_that_hangs_up_cancels_its_request(served, client):
    _, server = served
    before = server.engine.stats.finished["cancelled"]
    body = {"messages": HELLO, "max_tokens": 64, "ignore_eos": True}
    with client.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as response:
        next(response.iter_lines())
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/chat/completions", json=body, timeout=0.02)
    wait_until(lambda: server.n_open == 0 and not server.engine.has_work)
    assert server.engine.stats.finished["cancelled"] > before


def test_more_open_requests_than_allowed_get_429(engine):
    with (
        running(another(engine), Limits(open_requests=1)) as (base, _, _),
        httpx.Client(base_url=base, headers=HEADERS) as client,
    ):
        body = {"messages": HELLO, "max_tokens": 200, "ignore_eos": True, "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=body):
            refused = chat(client)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"


def test_a_server_told_to_stop_finishes_what_it_has(engine):
    answers = []
    with (
        running(another(engine)) as (base, _, uv),
        httpx.Client(base_url=base, headers=HEADERS, timeout=30) as client,
    ):
        body = {"messages": HELLO, "max_tokens": 150, "ignore_eos": True, "stream": True, "temperature": 0}
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            uv.should_exit = True  # what uvicorn does on SIGTERM
            answers = [line for line in lines if line]
    assert answers[-1] == "data: [DONE]"


def test_a_failing_engine_ends_every_request_and_says_so(tiny, tiny_model, caplog):
    engine = Engine(tiny_model("llama"), tiny("llama"), EngineConfig(cache_tokens=256))

    def broken():
        raise ArithmeticError("planted")

    with running(engine) as (base, _, _), httpx.Client(base_url=base, headers=HEADERS) as client:
        engine.step = broken
        first = chat(client)
        assert (first.status_code, first.json()["error"]["type"]) == (500, "server_error")
        assert client.get("/health").status_code == 503
        assert chat(client).status_code == 503
    assert "planted" in caplog.text


def test_the_openai_client_works_against_it(served):
    import openai

    client = openai.OpenAI(base_url=served[0] + "/v1", api_key=KEY, max_retries=0)
    assert [m.id for m in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    whole = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=9, temperature=0)
    turns = [*HELLO, whole.choices[0].message.model_dump(), *HELLO]  # with every field that the client knows
    assert client.chat.completions.create(model="tiny", messages=turns, max_tokens=1).choices
    stream = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=9, temperature=0, stream=True, extra_body={"priority": 1}
    )
    text = "".join(c.choices[0].delta.content or "" for c in stream)
    assert text == whole.choices[0].message.content
    completion = client.completions.create(model="tiny", prompt="abc", max_tokens=4)
    assert completion.usage.completion_tokens <= 4
    with pytest.raises(openai.BadRequestError, match="less than or equal to 16"):
        client.chat.completions.create(model="tiny", messages=HELLO, n=30)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=served[0] + "/v1", api_key="no", max_retries=0).models.list()
    for unknown in (lambda: client.models.retrieve("gpt/9"), lambda: client.responses.create(input="x")):
        with pytest.raises(openai.NotFoundError) as refused:
            unknown()
        assert refused.value.body["message"]
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x" * 250}])
    assert long.value.code == "context_length_exceeded"


def test_several_prompts_are_answered_in_their_order(client, engine):
    body = {"max_tokens": 5, "temperature": 0, "ignore_eos": True}
    alone = [client.post("/v1/completions", json=body | {"prompt": p}).json() for p in ("abc", "xy")]
    texts = [a["choices"][0]["text"] for a in alone]
    ids = [engine.tokenizer.backend_tokenizer.encode(p).ids for p in ("abc", "xy")]
    for prompt in (["abc", "xy"], ids):
        got = client.post("/v1/completions", json=body | {"prompt": prompt, "n": 2}).json()
        assert [c["text"] for c in got["choices"]] == [texts[0], texts[0], texts[1], texts[1]]
        assert [c["index"] for c in got["choices"]] == [0, 1, 2, 3]
        assert (got["usage"]["prompt_tokens"], got["usage"]["completion_tokens"]) == (5, 20)
    refused = client.post("/v1/completions", json=body | {"prompt": ["a"] * 9, "n": 2}).json()
    assert "at most 16 in all" in refused["error"]["message"]


@pytest.mark.filterwarnings(
    "ignore:The 'initial' parameter is deprecated:DeprecationWarning"
)  # inspect's own
def test_inspect_works_against_it(served):
    model = pytest.importorskip("inspect_ai.model")
    config = model.GenerateConfig(
        max_tokens=7, temperature=0, seed=1, top_p=0.9, stop_seqs=["##"], logprobs=True
    )

    async def ask():
        served_model = model.get_model(
            "openai-api/vckg/tiny", base_url=served[0] + "/v1", api_key=KEY, config=config
        )
        return await served_model.generate("hello")

    answer = asyncio.run(ask())
    assert answer.stop_reason in ("max_tokens", "stop")
    assert answer.usage.output_tokens <= 7


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_works_against_it(served):
    body = json.dumps({"messages": HELLO, "max_tokens": 5, "stream": True})
    command = [
        "curl",
        "-sN",
        served[0] + "/v1/chat/completions",
        "-H",
        f"Authorization: Bearer {KEY}",
        "-H",
        "Content-Type: application/json",
        "-d",
        body,
    ]
    out = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    assert out.strip().endswith("data: [DONE]")


def test_rough_clients_leave_nothing_behind(served):
    """A short form of `python -m benchmarks.soak`."""
    from benchmarks.soak import soak

    base, server = served
    report = asyncio.run(soak(base, KEY, clients=24, seconds=4.0, seed=0))
    assert report.unexpected == []
    assert report.finished > 0
    assert report.refused > 0
    wait_until(lambda: server.n_open == 0 and not server.engine.has_work)
    server.engine.forest.check()


FUZZ_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@pytest.mark.slow
def test_a_fuzz_of_the_interface_finds_no_internal_error(served, tmp_path):
    pytest.importorskip("schemathesis", reason="pip install schemathesis")
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "run", served[0] + "/openapi.json",
        "-H", f"Authorization: Bearer {KEY}", "--checks", ",".join(FUZZ_CHECKS),
        "--max-examples", "500", "--seed", "1", "--no-color",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
