"""Models that the run engine learns from the arena: programs, an endpoint with limits, and judges.

``arena/NAME`` answers by a function (baselines, retrieval, replayed answers). ``endpoint/NAME`` asks an
OpenAI-compatible URL through `gather.llm.endpoint`: one clock runs over a whole attempt, a reply has a size at
most, and every fault of the endpoint is one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import anyio
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    ResponseSchema,
    modelapi,
)
from inspect_ai.model._call_tools import parse_tool_call
from inspect_ai.tool import ToolCall, ToolChoice, ToolInfo
from inspect_ai.util import JSONSchema
from pydantic import TypeAdapter
from tenacity import RetryError

from arena.contestants import baselines
from arena.contestants.resolve import ENDPOINT
from arena.run_folder import read_answer_texts
from arena.runner.questions import Questions, questions_of
from arena.tasks.reply import without_thinking
from arena.types import JudgeCallError, Reply, Sample, Usage
from gather.llm.endpoint import Call, Endpoint, Refusal, TooSlow, Unreachable
from vckg.base.errors import InputError

BUSY: Final = frozenset({408, 409, 425, 429})
"""HTTP statuses after which the same request may succeed later; so may any from 500 on."""
STOPPED: Final = {"length": "max_tokens", "content_filter": "content_filter"}
"""Stop reasons of the engine by ``finish_reason``; all others are "stop"."""
PATIENCE_S: Final = 300
"""Seconds of an attempt where the run sets none."""


# ---- programs ---------------------------------------------------------------------------------------------


@modelapi(name="arena")
def arena_provider() -> type[ModelAPI]:
    """Provide ``arena/majority``, ``arena/gather``, ``arena/replay`` ..."""
    return ArenaModel


class ArenaModel(ModelAPI):
    """A contestant that is a function of the sample; usage is always set, so nothing asks for a tokenizer."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),
        answers: str = "",
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self.answers = read_answer_texts(Path(answers)) if answers else {}

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Return the contestant's reply to the sample that the message names."""
        message = next(m for m in reversed(input) if m.role == "user")
        names = message.metadata or {}
        if "sample" not in names:
            raise InputError(f"arena/{self.model_name} answers samples of the arena only, not free prompts")
        questions = questions_of(names["samples"])
        text = self.reply(questions.samples[names["sample"]], questions)
        return output_of(f"arena/{self.model_name}", text, len(message.text.split()), len(text.split()))

    def reply(self, sample: Sample, questions: Questions) -> str:
        """Return the text of the answer."""
        if self.model_name == "replay":
            return self.answers.get(sample.id, "")
        if self.model_name == "gather":
            from arena.contestants.gather import answer_by_retrieval

            return answer_by_retrieval(sample, questions.graph)
        return baselines.reply(self.model_name, sample, questions.peers(sample.task))


# ---- an endpoint ------------------------------------------------------------------------------------------


@modelapi(name=ENDPOINT)
def endpoint_provider() -> type[ModelAPI]:
    """Provide ``endpoint/NAME``: a model behind an OpenAI-compatible URL."""
    return EndpointModel


class EndpointModel(ModelAPI):
    """A model behind an OpenAI-compatible URL, each attempt bounded in time and each reply in bytes."""

    _endpoint: Endpoint | None = None
    _slots: anyio.CapacityLimiter | None = None

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Send the messages in a thread and return the reply without its thinking."""
        if self._endpoint is None or self._slots is None:
            timeout = config.timeout or PATIENCE_S
            self._endpoint = Endpoint(self.base_url or "", self.api_key or "", timeout_s=timeout)
            self._slots = anyio.CapacityLimiter(max(config.max_connections or 1, 1))
        callable_ = bool(tools) and tool_choice != "none"
        settings = {
            "temperature": config.temperature,
            "max_tokens": config.max_tokens,
            "seed": config.seed,
            **(config.extra_body or {}),
        }
        request = {
            "model": self.model_name,
            "messages": [_sent(m) for m in input],
            # A run is batch work: a local server may serve its readers first.
            "service_tier": "flex",
            **{name: value for name, value in settings.items() if value is not None},
            **({"tools": [_offered(tool) for tool in tools], "tool_choice": "auto"} if callable_ else {}),
        }
        answered = await anyio.to_thread.run_sync(
            self._endpoint.ask, request, abandon_on_cancel=True, limiter=self._slots
        )
        model = answered.model or self.model_name
        final = without_thinking(answered.text)
        text = answered.text if final == answered.text.strip() else final
        output = output_of(model, text, *(answered.tokens or (0, 0)))
        output.choices[0].stop_reason = STOPPED.get(answered.finish, "stop")
        if callable_ and answered.calls:
            output.choices[0].message.tool_calls = [_called(call, tools) for call in answered.calls]
            output.choices[0].stop_reason = "tool_calls"
        return output

    def should_retry(self, ex: Exception) -> bool:
        """Retry after a broken connection, an attempt that took too long, or a busy server."""
        if isinstance(ex, Refusal):
            return ex.status in BUSY or ex.status >= 500
        return isinstance(ex, TooSlow | Unreachable)


def _sent(message: ChatMessage) -> dict[str, Any]:
    """Return a message as an OpenAI-compatible endpoint reads it."""
    sent: dict[str, Any] = {"role": message.role, "content": said(message)}
    if isinstance(message, ChatMessageAssistant) and message.tool_calls:
        sent["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function, "arguments": json.dumps(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if isinstance(message, ChatMessageTool):
        sent["tool_call_id"] = message.tool_call_id
    return sent


def said(message: ChatMessage) -> str:
    """Return a message's text; of a call that the engine refused, why."""
    refused = message.error if isinstance(message, ChatMessageTool) else None
    return f"error: {refused.message}" if refused else message.text


def _offered(tool: ToolInfo) -> dict[str, Any]:
    parameters = tool.parameters.model_dump(exclude_none=True)
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": parameters},
    }


def _called(call: Call, tools: list[ToolInfo]) -> ToolCall:
    return parse_tool_call(call.id, call.name, call.arguments, tools)


def output_of(model: str, text: str, input_tokens: int, output_tokens: int) -> ModelOutput:
    """Return a reply as the engine holds it."""
    message = ChatMessageAssistant(content=text, model=model, source="generate")
    usage = ModelUsage(
        input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=input_tokens + output_tokens
    )
    choice = ChatCompletionChoice(message=message, stop_reason="stop")
    return ModelOutput(model=model, choices=[choice], usage=usage)


def tokens_of(output: ModelOutput) -> tuple[int, int]:
    """Return tokens in and out, with those read from or written to a provider's prompt cache."""
    usage = output.usage or ModelUsage()
    cached = (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
    return int(usage.input_tokens + cached), int(usage.output_tokens)


# ---- judges -----------------------------------------------------------------------------------------------


class JudgeModel:
    """`arena.types.Generate` over a model of the engine; `model` gives it when called."""

    def __init__(self, model: Callable[[], Model], config: GenerateConfig | None = None) -> None:
        self._model = model
        self._config = config or GenerateConfig()
        self.failure: JudgeCallError | None = None

    async def __call__(self, system: str, prompt: str, schema: Mapping[str, Any] | None) -> Reply:
        """Ask the model; `failure` keeps the reason of a call that failed for good."""
        messages: list[ChatMessage] = [ChatMessageSystem(content=system)] if system else []
        messages.append(ChatMessageUser(content=prompt))
        model = self._model()
        constraint = GenerateConfig() if schema is None else _constrained(schema, model)
        try:
            output = await model.generate(
                messages, config=self._config.merge(constraint).merge(GenerateConfig(temperature=0.0))
            )
        except Exception as error:
            cause = error.__cause__ if isinstance(error, RetryError) else error
            self.failure = JudgeCallError(f"{type(cause).__name__}: {plain_cause(str(cause))}")
            raise self.failure from error
        return Reply(output.completion, output.model, Usage(*tokens_of(output)))


def plain_cause(text: str) -> str:
    """Return why a call failed, a time-out in words."""
    return re.sub(r"attempt_timeout '?(\d+)'? exceeded\.?", r"no reply within \1 s, nor in any retry", text)


def _constrained(schema: Mapping[str, Any], model: Model) -> GenerateConfig:
    """Return the configuration that constrains a reply to a JSON schema.

    The engine strips a schema of its bounds (lengths, ranges, numbers of items), and a judge that is constrained by
    the rest cites without end. An endpoint therefore gets the schema as it is.
    """
    if isinstance(model.api, EndpointModel):
        whole = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": dict(schema)}}
        return GenerateConfig(extra_body={"response_format": whole})
    stripped = TypeAdapter(JSONSchema).validate_python(schema)
    return GenerateConfig(response_schema=ResponseSchema(name="verdict", json_schema=stripped))
