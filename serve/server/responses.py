"""Answers in the shapes of OpenAI's API: the whole object, or the chunks of a stream."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from serve.request import Request, TokenEvent, TokenLogprob
from serve.server.completion_logprobs import CompletionText, finite, joined, prompt_logprobs, token_bytes
from serve.server.protocol import ChatBody, CompletionBody
from serve.server.tool_calls import CallParser, Piece


@dataclass(slots=True)
class _Choice:
    """State of one choice while its answer grows."""

    index: int
    request: Request
    parser: CallParser | None
    text: CompletionText
    begun: bool = False


@dataclass(slots=True)
class Answer:
    """The answer to one call of the API, with a request of the engine per choice.

    `new_parser` gives a parser of tool calls for each choice. Each prompt of `body` has `n` requests, in order.
    """

    requests: Sequence[Request]
    tokenizer: Any
    model_name: str
    body: ChatBody | CompletionBody
    new_parser: Callable[[], CallParser | None] = lambda: None
    created: int = field(default_factory=lambda: int(time.time()))
    _choices: dict[str, _Choice] = field(init=False)

    def __post_init__(self) -> None:
        self._choices = {
            r.id: _Choice(i, r, self.new_parser(), CompletionText(self.tokenizer, r.params.logprobs))
            for i, r in enumerate(self.requests)
        }

    @property
    def chat(self) -> bool:
        """Whether this answers a conversation, and no text completion."""
        return isinstance(self.body, ChatBody)

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with the number of tokens."""
        options = self.body.stream_options
        return options is not None and options.include_usage

    @property
    def slow(self) -> bool:
        """Whether a part of the answer may be so large that it is made off the event loop."""
        return self.requests[0].params.prompt_logprobs is not None

    def whole(self, events: Sequence[TokenEvent]) -> dict[str, Any]:
        """The response's body, from every event of the requests."""
        of_request: dict[str, list[TokenEvent]] = {request.id: [] for request in self.requests}
        for event in events:
            of_request[event.request_id].append(event)
        choices = [self._whole_choice(self._choices[name], own) for name, own in of_request.items()]
        kind = "chat.completion" if self.chat else "text_completion"
        return self._frame(kind) | {"choices": choices, "usage": self._usage()}

    def _whole_choice(self, choice: _Choice, events: Sequence[TokenEvent]) -> dict[str, Any]:
        text = "".join(event.text for event in events)
        reason = str(events[-1].finish_reason)
        given = [p for event in events for p in event.logprobs]
        body: dict[str, Any] = {"index": choice.index}
        if isinstance(self.body, ChatBody):
            message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
            if choice.parser is not None:
                message |= _called(choice.parser.push(text) + choice.parser.finish())
                reason = _reason(choice.parser, reason)
            body["message"] = message
            logprobs = self._content(given)
        else:
            body["text"], logprobs = self._completed(choice, text, given)
            top = self.body.prompt_logprobs
            if top is not None:
                body["prompt_logprobs"] = prompt_logprobs(self.tokenizer, choice.request, top)
        return body | {"finish_reason": reason, "logprobs": logprobs}

    def _completed(
        self, choice: _Choice, text: str, given: Sequence[TokenLogprob]
    ) -> tuple[str, dict[str, Any] | None]:
        """Text and `logprobs` of the next part of a text completion; the first part begins with the echo."""
        before, scores = "", None
        if not choice.begun and isinstance(self.body, CompletionBody) and self.body.echo:
            prompt = self.body.prompts[choice.index // (self.body.n or 1)]
            before, scores = choice.text.echo(choice.request, prompt)
        choice.begun = True
        return before + text, joined(scores, choice.text.answer(given))

    def opening(self) -> list[dict[str, Any]]:
        """Chunks before the first token."""
        if not self.chat:
            return []
        start = {"role": "assistant", "content": ""}
        return [self._chunk([_delta(choice.index, start)]) for choice in self._choices.values()]

    def piece(self, event: TokenEvent) -> list[dict[str, Any]]:
        """Chunks of an event; none where it released no text."""
        choice = self._choices[event.request_id]
        if not (event.text or event.logprobs or event.finish_reason):
            return []
        reason = None if event.finish_reason is None else str(event.finish_reason)
        if not self.chat:
            text, logprobs = self._completed(choice, event.text, event.logprobs)
            body = {"index": choice.index, "text": text, "logprobs": logprobs, "finish_reason": reason}
            return [self._chunk([body])]
        logprobs = self._content(event.logprobs)
        if choice.parser is None:
            content = {"content": event.text} if event.text else {}
            return [self._chunk([_delta(choice.index, content, reason, logprobs)])]
        pieces = choice.parser.push(event.text)
        if reason is not None:
            pieces += choice.parser.finish()
            reason = _reason(choice.parser, reason)
        deltas = [_piece_delta(piece) for piece in pieces]
        if reason is not None or not deltas:
            deltas.append({})
        last = len(deltas) - 1
        return [
            self._chunk(
                [_delta(choice.index, d, reason if i == last else None, logprobs if i == last else None)]
            )
            for i, d in enumerate(deltas)
        ]

    def closing(self) -> list[dict[str, Any]]:
        """Chunks after the last token."""
        return [self._chunk([]) | {"usage": self._usage()}] if self.with_usage else []

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        usage = {"usage": None} if self.with_usage else {}
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return self._frame(kind) | usage | {"choices": choices}

    def _frame(self, kind: str) -> dict[str, Any]:
        return {"id": self.requests[0].id, "object": kind, "created": self.created, "model": self.model_name}

    def _usage(self) -> dict[str, Any]:
        first_choices = self.requests[:: self.body.n or 1]
        prompt = sum(len(request.prompt) for request in first_choices)
        completion = sum(request.n_output for request in self.requests)
        cached = sum(request.cached_prompt_tokens for request in first_choices)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        }

    def _content(self, given: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        """`logprobs` of a part of a chat answer."""
        if self.requests[0].params.logprobs is None:
            return None
        content = [
            self._token(p.token, p.logprob) | {"top_logprobs": [self._token(t, lp) for t, lp in p.top]}
            for p in given
        ]
        return {"content": content, "refusal": None}

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        text = self.tokenizer.decode([token])
        return {"token": text, "logprob": finite(logprob), "bytes": list(token_bytes(self.tokenizer, token))}


def _called(pieces: Sequence[Piece]) -> dict[str, Any]:
    """Content and calls of a message."""
    content = "".join(piece.text for piece in pieces if piece.call is None)
    calls: list[dict[str, Any]] = []
    for piece in pieces:
        if piece.name is not None:
            calls.append(_call(piece.name))
        elif piece.call is not None:
            calls[piece.call]["function"]["arguments"] += piece.text
    if not calls:
        return {"content": content}
    return {"content": content if content.strip() else None, "tool_calls": calls}


def _call(name: str) -> dict[str, Any]:
    return {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": name, "arguments": ""},
    }


def _piece_delta(piece: Piece) -> dict[str, Any]:
    if piece.call is None:
        return {"content": piece.text}
    if piece.name is not None:
        return {"tool_calls": [{"index": piece.call} | _call(piece.name)]}
    return {"tool_calls": [{"index": piece.call, "function": {"arguments": piece.text}}]}


def _reason(parser: CallParser, reason: str) -> str:
    """OpenAI's word where a complete answer has calls."""
    return "tool_calls" if parser.n_calls and reason == "stop" else reason


def sse(value: dict[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"


def _delta(
    index: int, content: dict[str, Any], reason: str | None = None, logprobs: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {"index": index, "delta": content, "logprobs": logprobs, "finish_reason": reason}
