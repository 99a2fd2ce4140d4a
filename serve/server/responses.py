"""Answers in the shapes of OpenAI's API: the whole object, or the chunks of a stream."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from serve.request import Request, TokenEvent, TokenLogprob


@dataclass(slots=True)
class Answer:
    """One answer under way: the request, the endpoint (`chat` or text completion), and how it is presented."""

    request: Request
    tokenizer: Any
    model_name: str
    chat: bool
    with_usage: bool
    created: int = field(default_factory=lambda: int(time.time()))
    _offset: int = 0
    """Characters of the tokens whose log-probabilities were given so far."""

    def whole(self, events: Sequence[TokenEvent]) -> dict[str, Any]:
        """The response's body, from every event of the request."""
        text = "".join(event.text for event in events)
        choice: dict[str, Any] = {"index": 0, "finish_reason": str(events[-1].finish_reason)}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = text
        choice["logprobs"] = self._logprobs([p for event in events for p in event.logprobs])
        kind = "chat.completion" if self.chat else "text_completion"
        return self._frame(kind) | {"choices": [choice], "usage": self._usage()}

    def opening(self) -> list[dict[str, Any]]:
        """Chunks before the first token."""
        return [self._chunk([_delta({"role": "assistant", "content": ""})])] if self.chat else []

    def piece(self, event: TokenEvent) -> list[dict[str, Any]]:
        """Chunks of an event; none where it released no text."""
        if not (event.text or event.logprobs or event.finish_reason):
            return []
        reason = None if event.finish_reason is None else str(event.finish_reason)
        logprobs = self._logprobs(event.logprobs)
        if self.chat:
            return [self._chunk([_delta({"content": event.text} if event.text else {}, reason, logprobs)])]
        return [
            self._chunk([{"index": 0, "text": event.text, "logprobs": logprobs, "finish_reason": reason}])
        ]

    def closing(self) -> list[dict[str, Any]]:
        """Chunks after the last token."""
        return [self._chunk([]) | {"usage": self._usage()}] if self.with_usage else []

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        usage = {"usage": None} if self.with_usage else {}
        return (
            self._frame("chat.completion.chunk" if self.chat else "text_completion")
            | usage
            | {"choices": choices}
        )

    def _frame(self, kind: str) -> dict[str, Any]:
        return {"id": self.request.id, "object": kind, "created": self.created, "model": self.model_name}

    def _usage(self) -> dict[str, Any]:
        request = self.request
        return {
            "prompt_tokens": len(request.prompt),
            "completion_tokens": request.n_output,
            "total_tokens": len(request.tokens),
            "prompt_tokens_details": {"cached_tokens": request.cached_prompt_tokens},
        }

    def _logprobs(self, given: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if self.request.params.logprobs is None:
            return None
        if self.chat:
            content = [
                self._token(p.token, p.logprob) | {"top_logprobs": [self._token(t, lp) for t, lp in p.top]}
                for p in given
            ]
            return {"content": content, "refusal": None}
        names = [self.tokenizer.decode([p.token]) for p in given]
        offsets = list(itertools.accumulate(map(len, names), initial=self._offset))
        self._offset = offsets.pop()
        return {
            "tokens": names,
            "token_logprobs": [_finite(p.logprob) for p in given],
            "top_logprobs": [{self.tokenizer.decode([t]): _finite(lp) for t, lp in p.top} for p in given],
            "text_offset": offsets,
        }

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        text = self.tokenizer.decode([token])
        return {"token": text, "logprob": _finite(logprob), "bytes": list(token_bytes(self.tokenizer, token))}


def token_bytes(tokenizer: Any, token: int) -> bytes:
    """The bytes a token stands for; those of a part of a character are not text by themselves."""
    text: str = tokenizer.decode([token])
    if "\N{REPLACEMENT CHARACTER}" not in text:
        return text.encode()
    name: str = tokenizer.convert_ids_to_tokens(token)
    if len(name) == 6 and name.startswith("<0x"):  # SentencePiece's byte fallback
        return bytes.fromhex(name[3:5])
    known = _byte_level()
    return bytes(known[c] for c in name) if all(c in known for c in name) else text.encode()


@lru_cache(maxsize=1)
def _byte_level() -> dict[str, int]:
    """Byte of each character of GPT-2's byte-level alphabet: printable bytes are themselves."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(256 + i): byte for i, byte in enumerate(rest)}


def sse(value: dict[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"


def _delta(
    content: dict[str, str], reason: str | None = None, logprobs: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {"index": 0, "delta": content, "logprobs": logprobs, "finish_reason": reason}


def _finite(logprob: float) -> float:
    """JSON has no infinity; -9999 is what OpenAI writes for probability 0."""
    return max(logprob, -9999.0)
