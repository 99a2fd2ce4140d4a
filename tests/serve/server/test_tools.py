"""Tool calls: grammar, parser, and the official client against a real server."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterator
from dataclasses import replace

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.engine.engine import Engine, EngineConfig
from serve.errors import RequestError
from serve.request import SamplingParams
from serve.server.tool_calls import OBJECT, TAGS, CallParser, Tool, ToolFormat, call_grammar, tool_format
from tests.serve.servers import KEY, running

ARGUMENTS = {
    "type": "object",
    "properties": {"gene": {"enum": ["CD4", "CD8A"]}, "up": {"type": "boolean"}},
    "required": ["gene", "up"],
    "additionalProperties": False,
}
TOOLS = [Tool("weigh", ARGUMENTS), Tool("weigh_all", {"type": "object", "properties": {}})]
TEMPLATE = (
    "{% if tools %}{% for t in tools %}{{ t.function.name }} {% endfor %}write <tool_call>\n{% endif %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n{{ c.function | tojson }}\n</tool_call>{% endfor %}\n{% endfor %}"
    "assistant: "
)


def written(form: ToolFormat, name: str, arguments: object) -> str:
    return f"{form.mark}{form.head(name)}{json.dumps(arguments)}{form.end}"


# --- the parser ------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
CALLS = st.lists(
    st.tuples(
        st.sampled_from(["weigh", "weigh_all"]), st.dictionaries(st.text(max_size=4), VALUES, max_size=3)
    ),
    max_size=3,
)


@given(st.sampled_from([TAGS, OBJECT]), st.text('ab<t>{"\n', max_size=12), CALLS, st.data())
def test_a_call_is_found_however_the_text_is_cut(form, content, calls, data) -> None:
    text = content + "".join(written(form, *call) for call in calls)
    parser, pieces = CallParser(form, ["weigh", "weigh_all"]), []
    while text:
        size = data.draw(st.integers(1, len(text)))
        pieces += parser.push(text[:size])
        text = text[size:]
    pieces += parser.finish()
    assert "".join(p.text for p in pieces if p.call is None) == content
    assert [p.name for p in pieces if p.name is not None] == [name for name, _ in calls]
    for i, (_, arguments) in enumerate(calls):
        assert json.loads("".join(p.text for p in pieces if p.call == i)) == arguments


@pytest.mark.parametrize("text", ["<tool_call>", '<tool_call>\n{"name": "other', "a <tool", "<tool_call> x"])
def test_a_mark_without_a_known_call_is_text(text: str) -> None:
    parser = CallParser(TAGS, ["weigh"])
    assert "".join(p.text for p in parser.push(text) + parser.finish()) == text
    assert parser.n_calls == 0


def test_a_template_tells_the_form_of_its_calls() -> None:
    assert tool_format(TEMPLATE) is TAGS
    assert tool_format('{% if tools %} {"name": n, "parameters": p} {{ m.tool_calls }}{% endif %}') is OBJECT
    for template in ("{{ messages }}", None, "{% if tools %}call!{% endif %}"):
        with pytest.raises(RequestError, match="takes no tools"):
            tool_format(template)


# --- the grammar -----------------------------------------------------------------------------------------------------


def taken(engine: Engine, grammar: str, text: str) -> tuple[int, bool]:
    """Characters of an ASCII text that the grammar takes, and whether the answer may end behind them."""
    constraint = engine.grammar.start(SamplingParams(lark=grammar))
    assert constraint is not None
    for i, token in enumerate(engine.tokenizer.backend_tokenizer.encode(text).ids):
        if constraint.finished or not constraint.allowed()[token]:
            return i, constraint.finished
        constraint.consume(token)
    return len(text), constraint.finished or bool(constraint.allowed()[0])


@pytest.mark.parametrize("form", [TAGS, OBJECT])
def test_a_grammar_takes_text_and_calls_of_known_tools_only(tiny_engine, form: ToolFormat) -> None:
    engine = tiny_engine()
    grammar = call_grammar(form, TOOLS, required=False, several=True)
    call = written(form, "weigh", {"gene": "CD4", "up": True})
    for text in (
        "",
        "Any text.",
        call,
        f"Let me see. {call}",
        f"{call}\n{written(form, 'weigh_all', {})} done",
    ):
        assert taken(engine, grammar, text) == (len(text), True), text
    for text in (written(form, "divide", {}), written(form, "weigh", {"gene": "CD3"}), call[:-1]):
        size, ends = taken(engine, grammar, text)
        assert not ends
        assert size == len(text) or text != call[:-1]
    one = call_grammar(form, TOOLS, required=False, several=False)
    assert taken(engine, one, call) == (len(call), True)
    assert taken(engine, one, call + call)[0] == len(call)
    must = call_grammar(form, TOOLS, required=True, several=True)
    assert taken(engine, must, call) == (len(call), True)
    assert taken(engine, must, "Any text.")[0] == 0


# --- the server ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(tiny, tiny_model) -> Iterator[openai.OpenAI]:
    checkpoint = tiny("llama")
    tokenizer = copy.deepcopy(checkpoint.tokenizer)
    tokenizer.chat_template = TEMPLATE
    config = EngineConfig(cache_tokens=4096, block_tokens=4, max_running=16, step_tokens=64)
    engine = Engine(tiny_model("llama"), replace(checkpoint, tokenizer=tokenizer), config)
    with running(engine) as (base, server, _):
        yield openai.OpenAI(base_url=base + "/v1", api_key=KEY, max_retries=0)
    assert server.n_open == 0
    assert engine.forest.n_in_use == 0


HELLO = [{"role": "user", "content": "weigh CD4"}]
WEIGH = {"type": "function", "function": {"name": "weigh", "description": "Weigh.", "parameters": ARGUMENTS}}
OTHER = {"type": "function", "function": {"name": "weigh_all"}}


def ask(client: openai.OpenAI, **settings):
    settings = {"model": "tiny", "messages": HELLO, "max_tokens": 120, "seed": 1, "tools": [WEIGH]} | settings
    return client.chat.completions.create(**settings)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weigh"}}])
def test_a_required_call_has_arguments_of_the_schema(client, choice) -> None:
    tools = [WEIGH] if choice == "required" else [WEIGH, OTHER]
    got = ask(client, tool_choice=choice, tools=tools).choices[0]
    (call,) = got.message.tool_calls
    arguments = json.loads(call.function.arguments)
    assert (got.finish_reason, got.message.content, call.function.name) == ("tool_calls", None, "weigh")
    assert arguments["gene"] in ("CD4", "CD8A")
    assert isinstance(arguments["up"], bool)
    history = [*HELLO, got.message, {"role": "tool", "tool_call_id": call.id, "content": "3 g"}]
    assert ask(client, messages=history, tool_choice="none").choices[0].message.tool_calls is None


def test_a_streamed_call_is_the_whole_one(client) -> None:
    whole = ask(client, tool_choice="required").choices[0].message.tool_calls[0].function
    name = arguments = ""
    for chunk in ask(client, tool_choice="required", stream=True):
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.index == 0
            name += call.function.name or ""
            arguments += call.function.arguments or ""
        reason = chunk.choices[0].finish_reason
    assert (name, arguments, reason) == (whole.name, whole.arguments, "tool_calls")


def test_allowed_tools_are_the_only_ones(client) -> None:
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "weigh_all"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    (call,) = ask(client, tools=[WEIGH, OTHER], tool_choice=choice).choices[0].message.tool_calls
    assert call.function.name == "weigh_all"


def test_the_clients_helper_assembles_a_streamed_call(client) -> None:
    settings = {"model": "tiny", "messages": HELLO, "max_tokens": 200, "seed": 1, "tools": [WEIGH]}
    with client.chat.completions.stream(**settings, tool_choice="required") as stream:
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert json.loads(call.function.arguments)["gene"] in ("CD4", "CD8A")


@pytest.mark.filterwarnings("ignore:The 'initial' parameter is deprecated:DeprecationWarning")
def test_inspect_calls_a_tool_and_sends_its_result_back(client) -> None:
    inspect = pytest.importorskip("inspect_ai.model")
    tool = pytest.importorskip("inspect_ai.tool")
    info = tool.ToolInfo(
        name="weigh",
        description="Weigh.",
        parameters=tool.ToolParams(
            properties={"gene": {"type": "string", "enum": ["CD4", "CD8A"]}, "up": {"type": "boolean"}},
            required=["gene", "up"],
        ),
    )
    config = inspect.GenerateConfig(max_tokens=120, seed=1)

    async def converse():
        model = inspect.get_model(
            "openai-api/vckg/tiny", base_url=str(client.base_url), api_key=KEY, config=config
        )
        asked = inspect.ChatMessageUser(content="weigh CD4")
        first = await model.generate([asked], tools=[info], tool_choice="any")
        (call,) = first.message.tool_calls
        result = inspect.ChatMessageTool(content="3 g", tool_call_id=call.id, function=call.function)
        second = await model.generate([asked, first.message, result], tools=[info], tool_choice="none")
        return first, call, second

    first, call, second = asyncio.run(converse())
    assert (first.stop_reason, call.function, call.parse_error) == ("tool_calls", "weigh", None)
    assert call.arguments["gene"] in ("CD4", "CD8A")
    assert isinstance(call.arguments["up"], bool)
    assert second.message.tool_calls is None
    assert second.usage.output_tokens > 0


def test_auto_may_answer_in_text(client) -> None:
    got = ask(client, tool_choice="auto", max_tokens=8, extra_body={"ignore_eos": True}).choices[0]
    streamed = ask(client, tool_choice="auto", max_tokens=8, stream=True, extra_body={"ignore_eos": True})
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == (got.message.content or "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tools": [WEIGH, WEIGH]}, "two tools have the same name"),
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "not among the tools"),
        ({"response_format": {"type": "json_object"}}, "exclude each other"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"const": "x" * 9000}}}]},
            "at most 4096",
        ),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": []}] * 2, "tools": [{}]}, "tools.0"),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [
                            {"id": "a", "type": "function", "function": {"name": "weigh", "arguments": "{"}}
                        ],
                    }
                ]
            },
            "not JSON",
        ),
    ],
)
def test_tools_that_cannot_be_used_are_refused(client, settings, message) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        ask(client, **settings)


# --- several choices, penalties, biases ------------------------------------------------------------------------------


def test_several_choices_are_those_of_their_seeds(client) -> None:
    settings = {"tools": openai.NOT_GIVEN, "max_tokens": 12, "extra_body": {"ignore_eos": True}}
    got = ask(client, n=3, seed=5, **settings)
    assert [choice.index for choice in got.choices] == [0, 1, 2]
    alone = [ask(client, seed=5 + i, **settings).choices[0].message.content for i in range(3)]
    assert [choice.message.content for choice in got.choices] == alone
    assert len(set(alone)) == 3
    assert got.usage.completion_tokens == 36
    texts = ["", "", ""]
    for chunk in ask(client, n=3, seed=5, stream=True, **settings):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == alone


def test_a_bias_decides_and_a_penalty_ends_repetition(client) -> None:
    token = 1 + sorted(map(ord, "!ab")).index(ord("!"))  # "!" is the first character of the byte alphabet
    settings = {
        "tools": openai.NOT_GIVEN, "max_tokens": 12, "temperature": 0, "extra_body": {"ignore_eos": True},
    }  # fmt: skip
    forced = ask(client, logit_bias={str(token): 100}, **settings).choices[0].message.content
    assert forced == "!" * 12
    freed = (
        ask(client, logit_bias={str(token): 12}, frequency_penalty=2, **settings).choices[0].message.content
    )
    assert 1 <= freed.count("!") < 12


def test_embeddings_are_refused_clearly(client) -> None:
    with pytest.raises(openai.NotFoundError, match="computes no embeddings"):
        client.embeddings.create(model="tiny", input="x")
