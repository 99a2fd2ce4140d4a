"""Bodies of OpenAI's completion endpoints and of errors.

A field that this server does not honour is refused unless its value asks for nothing. docs/serving.md lists the
others that change nothing.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from serve.errors import RequestError
from serve.request import Priority, SamplingParams
from serve.server.messages import MAX_TOOLS, AllowedTools, Message, NamedTool, Strict, ToolBody

MAX_CHOICES = 16
MAX_BIASES = 1_024
MAX_STOPS = 8
MAX_STOP_CHARACTERS = 256


T = TypeVar("T")


class JsonSchema(BaseModel):
    """A named schema, as in OpenAI's structured outputs."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    name: str = "answer"
    description: str | None = None
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


class ResponseFormat(Strict):
    """What the answer must look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _schema_where_named(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema is missing")
        return self


class StreamOptions(Strict):
    """What a stream carries besides the text."""

    include_usage: bool = False
    include_obfuscation: bool = False


class _Common(Strict):
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
    tool_choice: Literal["none", "auto", "required"] | NamedTool | AllowedTools | None = None
    parallel_tool_calls: bool | None = None

    def refuse_unsupported(self) -> None:
        """Raise RequestError for a field that this server does not honour."""
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise RequestError("two tools have the same name", param="tools")
        if missing := (self._named_tools or set()) - set(names):
            raise RequestError(
                f"tool_choice names {min(missing)[:64]!r}, which is not among the tools", param="tool_choice"
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
        named = self._named_tools
        return [tool for tool in self.tools or () if named is None or tool.function.name in named]

    @property
    def _named_tools(self) -> set[str] | None:
        """Names that `tool_choice` has; None where it has none."""
        if isinstance(self.tool_choice, NamedTool):
            return {self.tool_choice.function.name}
        if isinstance(self.tool_choice, AllowedTools):
            return {tool.function.name for tool in self.tool_choice.allowed_tools.tools}
        return None

    @property
    def call_required(self) -> bool:
        """Whether the answer must be a call."""
        if isinstance(self.tool_choice, AllowedTools):
            return self.tool_choice.allowed_tools.mode == "required"
        return self.tool_choice == "required" or isinstance(self.tool_choice, NamedTool)

    @property
    def choices(self) -> int:
        """Number of answers."""
        return self.n or 1

    def parameters(self, limit: int) -> SamplingParams:
        """Sampling parameters of the body."""
        if self.max_completion_tokens is not None:
            self.max_tokens = self.max_completion_tokens
        return self.sampling(limit, (self.top_logprobs or 0) if self.logprobs else None)


_Token = Annotated[int, Field(ge=0, lt=2**31)]
_Few = Annotated[list[T], Field(min_length=1, max_length=MAX_CHOICES)]


class CompletionBody(_Common):
    """Body of /v1/completions."""

    max_tokens: Annotated[int, Field(ge=0)] | None = None
    prompt: str | _Few[str] | _Few[list[_Token]] | Annotated[list[_Token], Field(min_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = Field(None, description="Whether the text begins with the prompt.")
    prompt_logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None, description="Number of alternatives shown with each token of the prompt, in vLLM's form."
    )
    suffix: str | None = None
    best_of: int | None = None

    def refuse_unsupported(self) -> None:
        """Raise RequestError for a field that this server does not honour."""
        if self.suffix:
            raise RequestError("suffix is not supported by this server", param="suffix")
        if self.max_tokens == 0 and not self.echo and self.prompt_logprobs is None:
            raise RequestError("max_tokens is 0: nothing is asked for; send echo: true", param="max_tokens")
        if self.stream and self.prompt_logprobs is not None:
            raise RequestError(
                "prompt_logprobs and stream exclude each other; send echo and logprobs",
                param="prompt_logprobs",
            )
        if self.best_of not in (None, 1):
            raise RequestError(f"best_of is {self.best_of}; this server supports only 1", param="best_of")
        if self.choices > MAX_CHOICES:
            raise RequestError(
                f"{len(self.prompts)} prompts of {self.n} choices; at most {MAX_CHOICES} in all",
                param="prompt",
            )

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, each a text or token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return cast("list[str | list[int]]", self.prompt)

    @property
    def choices(self) -> int:
        """Number of answers, of all prompts together."""
        return len(self.prompts) * (self.n or 1)

    def parameters(self, limit: int) -> SamplingParams:
        """Sampling parameters of the body."""
        either = (self.prompt_logprobs, self.logprobs if self.echo else None)
        most = max((top for top in either if top is not None), default=None)
        return replace(self.sampling(limit, self.logprobs), prompt_logprobs=most)


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
        faults = error.errors(include_url=False, include_context=False)
        places = [_place(value, fault["loc"], missing=fault["type"] == "missing") for fault in faults]
        # Of the forms that a field may have, the one that was meant fits furthest.
        place, fault = max(zip(places, faults, strict=True), key=lambda found: len(found[0]))
        where = ".".join(place)[:200]
        message = f"{where or 'the body'}: {fault['msg'][:300]}"
        if fault["type"] == "extra_forbidden":
            near = ", ".join(difflib.get_close_matches(where, kind.model_fields))
            message = f"no field {where!r}" + (f"; near it: {near}" if near else "")
        raise RequestError(message, param=where or None) from error
    body.refuse_unsupported()
    return body


def _place(value: Any, location: tuple[int | str, ...], *, missing: bool) -> list[str]:
    """Path of a field in a body, without pydantic's names of union members."""
    parts: list[str] = []
    for part in location:
        if _has(value, part):
            value = value[part]
        elif not (missing and part == location[-1]):
            continue
        parts.append(str(part))
    return parts


def _has(value: Any, part: int | str) -> bool:
    if isinstance(part, int):
        return isinstance(value, list) and part < len(value)
    return isinstance(value, dict) and part in value


def error_body(
    message: str, kind: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """An error in OpenAI's form."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
