"""Messages and tools of a chat body, as OpenAI's API has them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serve.errors import RequestError

MAX_TOOLS = 128


class Strict(BaseModel):
    """A body that refuses unknown fields and values of another type (`n: true`)."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(Strict):
    """A piece of a message's content."""

    type: Literal["text"]
    text: str


class CalledFunction(Strict):
    """Name and arguments (a JSON object as text) of a call."""

    name: str
    arguments: str


class ToolCall(Strict):
    """A call in an assistant's message."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Strict):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: None = None  # the fields from here on are those of an answer that a client sends back
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    audio: None = None
    function_call: None = None

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


class Function(Strict):
    """A function that the model may call."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolBody(Strict):
    """A tool; every tool is a function."""

    type: Literal["function"]
    function: Function


class NamedFunction(Strict):
    """The name of a function."""

    name: str


class NamedTool(Strict):
    """The one tool that the model must call."""

    type: Literal["function"]
    function: NamedFunction


class Allowed(Strict):
    """Some of the tools, and whether one of them must be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=MAX_TOOLS)]


class AllowedTools(Strict):
    """A choice among some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: Allowed
