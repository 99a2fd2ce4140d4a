"""Tool calls: the grammar that constrains them, and the parser that finds them in an answer's text.

A model writes calls in the form of its own chat template. Two forms are known: ``<tool_call>`` tags (Qwen, Hermes) and
a bare JSON object with ``parameters`` (Llama 3). The grammar allows free text up to the first mark of a call, then
only a known name and arguments that match the tool's schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from serve.engine.detokenizer import overlap
from serve.engine.structured_output import checked_schema
from serve.errors import RequestError


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """How a model writes a call: `mark`, then ``{"name": NAME, KEY: ARGUMENTS}``, then `end`."""

    mark: str
    before_name: str
    key: str
    end: str

    def head(self, name: str) -> str:
        """Text between the mark and the arguments."""
        return f'{self.before_name}{json.dumps(name)}, "{self.key}": '


TAGS = ToolFormat("<tool_call>", '\n{"name": ', "arguments", "}\n</tool_call>")
OBJECT = ToolFormat('{"name":', " ", "parameters", "}")


def tool_format(template: object) -> ToolFormat:
    """Form of the calls of a model with this chat template; RequestError where the template takes no tools."""
    if isinstance(template, dict):
        template = template.get("tool_use", template.get("default", ""))
    if isinstance(template, str) and "tools" in template:
        if TAGS.mark in template:
            return TAGS
        if '"parameters"' in template and "tool_calls" in template:
            return OBJECT
    raise RequestError(
        "the model's chat template takes no tools; serve a model that does, or use response_format",
        param="tools",
    )


class Tool(NamedTuple):
    """A function that the model may call: its name and the JSON schema of its arguments."""

    name: str
    schema: dict[str, Any]


def call_grammar(form: ToolFormat, tools: Sequence[Tool], *, required: bool, several: bool) -> str:
    """Grammar (llguidance's Lark) of an answer that may call `tools`.

    `required` admits exactly one call and no text. Otherwise text goes before the calls, of which there is at most
    one unless `several`.

    Raises
    ------
    RequestError
        if a schema exceeds the limits of schemas.
    """
    separators = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    calls = []
    for tool in tools:
        checked_schema(tool.schema, "tools")
        schema = json.dumps({"x-guidance": separators} | tool.schema)
        calls.append(f"{json.dumps(form.head(tool.name))} %json {schema} {json.dumps(form.end)}")
    if required:
        start = f"start: {json.dumps(form.mark)} call"
    elif several:
        start = "start: (open call)* TEXT"
    else:
        start = "start: open call | TEXT"
    text = "" if required else f"\nopen[lazy]: TEXT {json.dumps(form.mark)}\nTEXT: /(.|\\n)*/"
    return (
        f"%llguidance {{}}\n{start}\ncall: {' | '.join(f'call_{i}' for i in range(len(calls)))}\n"
        + "\n".join(f"call_{i}: {call}" for i, call in enumerate(calls))
        + text
    )


class Piece(NamedTuple):
    """Part of an answer: `text` of the content (`call` None), or of the arguments of call number `call`.

    The first piece of a call has its `name` and no text.
    """

    call: int | None
    text: str
    name: str | None = None


@dataclass(slots=True)
class CallParser:
    """Splits an answer's text into content and calls as it grows."""

    form: ToolFormat
    names: Iterable[str]
    n_calls: int = 0
    _held: str = ""
    """Text that is undecided: it may begin a mark, a head or an end."""
    _depth: int = -1
    """Open brackets of the arguments; -1 outside of a call."""
    _skip: str = ""
    """Text behind the arguments that is still to come."""
    _quoted: bool = False
    _escaped: bool = False
    _heads: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self._heads = {self.form.mark + self.form.head(name): name for name in self.names}

    def push(self, text: str) -> list[Piece]:
        """Take more text; return what it decided."""
        self._held += text
        pieces: list[Piece] = []
        while self._held:
            if self._skip:
                size = min(len(self._held), len(self._skip))
                self._held, self._skip = self._held[size:], self._skip[size:]
                continue
            piece = self._inside() if self._depth >= 0 else self._outside()
            if piece is None:
                break
            pieces.append(piece)
        return pieces

    def finish(self) -> list[Piece]:
        """Content that is held back when the answer ends."""
        rest, self._held = self._held, ""
        return [Piece(None, rest)] if rest else []

    def _outside(self) -> Piece | None:
        start = self._held.find(self.form.mark)
        if start < 0:
            return self._content(len(self._held) - overlap(self._held, self.form.mark))
        if start:
            return self._content(start)
        for head, name in self._heads.items():
            if self._held.startswith(head):
                self._held = self._held[len(head) :]
                self._depth = 0
                self.n_calls += 1
                return Piece(self.n_calls - 1, "", name)
        if any(head.startswith(self._held) for head in self._heads):
            return None
        return self._content(len(self.form.mark))  # no head follows: the mark is text

    def _content(self, size: int) -> Piece | None:
        text, self._held = self._held[:size], self._held[size:]
        return Piece(None, text) if text else None

    def _inside(self) -> Piece:
        size = 0
        for character in self._held:
            size += 1
            self._depth += self._step(character)
            if self._depth == 0:
                self._depth, self._skip = -1, self.form.end
                break
        text, self._held = self._held[:size], self._held[size:]
        return Piece(self.n_calls - 1, text)

    def _step(self, character: str) -> int:
        """Change of the depth by a character of JSON."""
        if self._escaped:
            self._escaped = False
        elif self._quoted:
            self._escaped, self._quoted = character == "\\", character != '"'
        elif character == '"':
            self._quoted = True
        elif character in "{[":
            return 1
        elif character in "}]":
            return -1
        return 0
