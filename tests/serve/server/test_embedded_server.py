"""The official client against a real server with the embedded model: fields whose effect shows on a real vocabulary."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import replace

import openai
import pytest

from serve.engine.engine import Engine, EngineConfig
from serve.model.decoder import Model
from tests.serve.server.test_tools import TEMPLATE, WEIGH
from tests.serve.servers import KEY, running

COUNT = [{"role": "user", "content": "Count from one to five in digits."}]


@pytest.fixture(scope="module")
def engine(embedded) -> Engine:
    return Engine(Model.load(embedded, "float16"), embedded, EngineConfig(cache_tokens=2048))


@pytest.fixture(scope="module")
def client(engine) -> Iterator[openai.OpenAI]:
    with running(engine) as (base, server, _):
        yield openai.OpenAI(base_url=base + "/v1", api_key=KEY, max_retries=0)
    assert server.n_open == 0
    assert engine.forest.n_in_use == 0


def ask(client: openai.OpenAI, **settings):
    settings = {"model": "tiny", "messages": COUNT, "max_tokens": 12, "temperature": 0} | settings
    return client.chat.completions.create(**settings)


def test_stop_choices_bias_and_logprobs(client, engine) -> None:
    plain = ask(client, n=2, logprobs=True, top_logprobs=2)
    first, second = (choice.message.content for choice in plain.choices)
    assert first == second
    tokens = plain.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == first
    assert all(token.top_logprobs[0].token == token.token for token in tokens)  # greedy takes the likeliest
    assert all(sum(math.exp(top.logprob) for top in token.top_logprobs) <= 1 for token in tokens)
    streamed = ask(client, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in streamed) == first
    cut = ask(client, stop=[first[4:6]]).choices[0]
    assert (cut.message.content, cut.finish_reason) == (first[: first.index(first[4:6])], "stop")
    (banned, *_) = engine.tokenizer.backend_tokenizer.encode(tokens[0].token, add_special_tokens=False).ids
    other = ask(client, logit_bias={str(banned): -100}).choices[0].message.content
    assert not other.startswith(tokens[0].token)


def test_a_penalty_ends_a_loop(client) -> None:
    messages = [{"role": "user", "content": "Repeat this word many times: cell cell cell cell cell"}]
    settings = {"messages": messages, "max_tokens": 40, "extra_body": {"ignore_eos": True}}
    loop, free = (
        ask(client, frequency_penalty=penalty, **settings).choices[0].message.content.lower().count("cell")
        for penalty in (0, 2)
    )
    assert free < loop


def test_its_own_template_takes_no_tools(client) -> None:
    with pytest.raises(openai.BadRequestError, match="takes no tools"):
        ask(client, tools=[WEIGH])


def test_with_a_template_for_tools_a_call_has_arguments_of_the_schema(engine, embedded) -> None:
    tokenizer = copy.deepcopy(embedded.tokenizer)
    tokenizer.chat_template = TEMPLATE
    own = Engine(engine.model, replace(embedded, tokenizer=tokenizer), EngineConfig(cache_tokens=1024))
    with running(own) as (base, _, _):
        client = openai.OpenAI(base_url=base + "/v1", api_key=KEY, max_retries=0)
        got = ask(client, tools=[WEIGH], tool_choice="required", max_tokens=60).choices[0]
        parts = [
            call.function
            for chunk in ask(client, tools=[WEIGH], tool_choice="required", max_tokens=60, stream=True)
            for call in chunk.choices[0].delta.tool_calls or []
        ]
    (call,) = got.message.tool_calls
    assert (got.finish_reason, call.function.name) == ("tool_calls", "weigh")
    assert json.loads(call.function.arguments).keys() == {"gene", "up"}
    assert "".join(part.arguments or "" for part in parts) == call.function.arguments
