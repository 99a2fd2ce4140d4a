"""Bodies of OpenAI's completion endpoints and of errors.

A field that this server does not honour is refused unless its value asks for nothing. No client then believes that
the server applied it.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from serve.errors import RequestError
from serve.request import Priority, SamplingParams

MAX_CHOICES = 16
MAX_BIASES = 1_024
MAX_TOOLS = 128
MAX_STOPS = 8
MAX_STOP_CHARACTERS = 256


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextPart(_Strict):
    """A piece of a message's content."""

    type: Literal["text"]
    text: str


class CalledFunction(_Strict):
    """Name and arguments (a JSON object as text) of a call."""

    name: str
    arguments: str


class ToolCall(_Strict):
    """A call in an assistant's message."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(_Strict):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: None = None

    @model_validator(mode="after")
    def _content_where_needed(self) -> Message:
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only an assistant's message has tool_calls")
        if self.content is None and not self.tool_calls:
            raise ValueError("content is missing")
        return self

    @property
    def text(self) -> str:
        """The content as one string."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""

    @property
    def size(self) -> int:
        """Characters that the message adds to a prompt at least."""
        return len(self.text) + sum(len(call.function.arguments) for call in self.tool_calls or ())

    def for_template(self) -> dict[str, Any]:
        """The message as chat templates take it: arguments as objects, `developer` (OpenAI's newer word) as `system`.

        Raises
        ------
        RequestError
            if the arguments of a call are not a JSON object.
        """
        message: dict[str, Any] = {
            "role": "system" if self.role == "developer" else self.role,
            "content": self.text,
        }
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        if self.name is not None and self.role == "tool":
            message["name"] = self.name
        if self.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {
                        "name": call.function.name,
                        "arguments": _arguments(call.function.arguments),
                    },
                }
                for call in self.tool_calls
            ]
        return message


def _arguments(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"arguments of a tool call are not JSON: {str(error)[:100]}", param="messages"
        ) from error
    if not isinstance(value, dict):
        raise RequestError(
            f"arguments of a tool call are {type(value).__name__}, wanted a JSON object", param="messages"
        )
    return value


class Function(_Strict):
    """A function that the model may call."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolBody(_Strict):
    """A tool; every tool is a function."""

    type: Literal["function"]
    function: Function


class NamedFunction(_Strict):
    """The name of a function."""

    name: str


class NamedTool(_Strict):
    """The one tool that the model must call."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(BaseModel):
    """A named schema, as in OpenAI's structured outputs."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    name: str = "answer"
    description: str | None = None
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


class ResponseFormat(_Strict):
    """What the answer must look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _schema_where_named(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema is missing")
        return self


class StreamOptions(_Strict):
    """What a stream carries besides the text."""

    include_usage: bool = False
    include_obfuscation: bool = False


class _Common(_Strict):
    """What both endpoints take."""

    model: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    priority: int | Literal["online", "offline"] | None = Field(
        None, description="Class of the request: offline, or any number above 0, is batch work that waits."
    )
    service_tier: Literal["auto", "default", "priority", "flex"] | None = Field(
        None, description="flex is batch work that waits."
    )
    ignore_eos: bool = False
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None

    @field_validator("stop")
    @classmethod
    def _few_short_stops(cls, value: str | list[str] | None) -> str | list[str] | None:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > MAX_STOPS:
            raise ValueError(f"{len(stops)} stop strings; at most {MAX_STOPS}")
        if not all(0 < len(s) <= MAX_STOP_CHARACTERS for s in stops):
            raise ValueError(f"a stop string must have 1 to {MAX_STOP_CHARACTERS} characters")
        return value

    @field_validator("logit_bias")
    @classmethod
    def _biases_of_tokens(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if value is not None and len(value) > MAX_BIASES:
            raise ValueError(f"{len(value)} tokens; at most {MAX_BIASES}")
        if not all(token.isascii() and token.isdigit() and len(token) < 10 for token in value or ()):
            raise ValueError("every key must be a token id")
        return value

    @property
    def offline(self) -> Priority:
        """Class of the request."""
        batch = self.priority == "offline" or (isinstance(self.priority, int) and self.priority > 0)
        return Priority.OFFLINE if batch or self.service_tier == "flex" else Priority.ONLINE

    def refuse_unsupported(self) -> None:
        """Raise RequestError for a field that this server does not honour."""

    def sampling(self, limit: int, logprobs: int | None) -> SamplingParams:
        """Sampling parameters; `limit` tokens at most where the body names none."""
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        schema = None
        if self.response_format is not None and self.response_format.type != "text":
            given = self.response_format.json_schema
            schema = given.schema_ if given is not None else {"type": "object"}
        return SamplingParams(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_k=max(self.top_k or 0, 0),
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=None if self.seed is None else self.seed % 2**63,
            max_tokens=limit if self.max_tokens is None else self.max_tokens,
            stop=stops,
            logprobs=logprobs,
            json_schema=schema,
            min_p=self.min_p or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            logit_bias=tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items()),
            ignore_eos=self.ignore_eos,
        )


class ChatBody(_Common):
    """Body of /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    modalities: list[Literal["text"]] | None = None
    tools: Annotated[list[ToolBody], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None

    def refuse_unsupported(self) -> None:
        """Raise RequestError for a field that this server does not honour."""
        super().refuse_unsupported()
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise RequestError("two tools have the same name", param="tools")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise RequestError(
                f"tool_choice names {self.tool_choice.function.name[:64]!r}, which is not among the tools",
                param="tool_choice",
            )
        if self.tool_choice == "required" and not names:
            raise RequestError("tool_choice is required, but there are no tools", param="tool_choice")
        if self.callable_tools and self.response_format is not None and self.response_format.type != "text":
            raise RequestError(
                "response_format and tools exclude each other; send tool_choice none", param="response_format"
            )
        if self.top_logprobs is not None and not self.logprobs:
            raise RequestError("top_logprobs needs logprobs: true", param="top_logprobs")

    @property
    def callable_tools(self) -> list[ToolBody]:
        """The tools that the answer may call."""
        if self.tool_choice == "none":
            return []
        if isinstance(self.tool_choice, NamedTool):
            return [tool for tool in self.tools or () if tool.function.name == self.tool_choice.function.name]
        return self.tools or []

    @property
    def call_required(self) -> bool:
        """Whether the answer must be a call."""
        return self.tool_choice == "required" or isinstance(self.tool_choice, NamedTool)

    def parameters(self, limit: int) -> SamplingParams:
        """Sampling parameters of the body."""
        if self.max_completion_tokens is not None:
            self.max_tokens = self.max_completion_tokens
        return self.sampling(limit, (self.top_logprobs or 0) if self.logprobs else None)


class CompletionBody(_Common):
    """Body of /v1/completions."""

    prompt: str | list[str] | list[Annotated[int, Field(ge=0, lt=2**31)]]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    def refuse_unsupported(self) -> None:
        """Raise RequestError for a field that this server does not honour."""
        super().refuse_unsupported()
        for name, value in (("echo", self.echo), ("suffix", self.suffix)):
            if value:
                raise RequestError(f"{name} is not supported by this server", param=name)
        if self.best_of not in (None, 1):
            raise RequestError(f"best_of is {self.best_of}; this server supports only 1", param="best_of")
        if (
            isinstance(self.prompt, list)
            and len(self.prompt) != 1
            and isinstance((self.prompt or [""])[0], str)
        ):
            raise RequestError(f"{len(self.prompt)} prompts; send one per request", param="prompt")

    def parameters(self, limit: int) -> SamplingParams:
        """Sampling parameters of the body."""
        return self.sampling(limit, self.logprobs)


Body = TypeVar("Body", ChatBody, CompletionBody)


def parse(kind: type[Body], raw: bytes) -> Body:
    """Read a body, or raise RequestError saying which field is wrong and how."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {str(error)[:200]}") from error
    if not isinstance(value, dict):
        raise RequestError(f"the body is {type(value).__name__}, wanted a JSON object")
    try:
        body = kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:200]
        raise RequestError(f"{where}: {first['msg'][:300]}", param=where or None) from error
    body.refuse_unsupported()
    return body


def error_body(
    message: str, kind: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """An error in OpenAI's form."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
