"""How an answer's events reach the client: collected, or as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import StreamingResponse

from serve.request import FinishReason, TokenEvent
from serve.server.protocol import error_body
from serve.server.responses import Answer, sse


async def event_stream(answer: Answer, events: asyncio.Queue[TokenEvent]) -> AsyncIterator[str]:
    """The answer as server-sent events."""
    for chunk in answer.opening():
        yield sse(chunk)
    open_choices = len(answer.requests)
    while open_choices:
        event = await events.get()
        if problem := problem_of(event):
            yield sse(problem)
            return
        chunks = await asyncio.to_thread(answer.piece, event) if answer.slow else answer.piece(event)
        for chunk in chunks:
            yield sse(chunk)
        open_choices -= event.finish_reason is not None
    for chunk in answer.closing():
        yield sse(chunk)
    yield "data: [DONE]\n\n"


def problem_of(event: TokenEvent) -> dict[str, Any] | None:
    """Error body of an answer that the server broke off; None for a complete one."""
    if event.finish_reason not in (FinishReason.ERROR, FinishReason.CANCELLED):
        return None
    message = event.error or "the server stopped before the answer was complete"
    kind = "invalid_request_error" if event.param else "server_error"
    return error_body(message, kind, param=event.param)


def status_of(event: TokenEvent) -> int:
    """HTTP status of an answer that failed before anything was sent."""
    if event.param:
        return 400
    return 500 if event.error else 503


class EventStream(StreamingResponse):
    """Server-sent events whose `close` runs once, however the stream ends, also before its first chunk."""

    def __init__(
        self, chunks: AsyncIterator[str], close: Callable[[], None], headers: dict[str, str]
    ) -> None:
        super().__init__(chunks, media_type="text/event-stream", headers=headers)
        self._close_once = close

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the stream, then close."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close_once()


async def collect(events: asyncio.Queue[TokenEvent], choices: int) -> list[TokenEvent]:
    """Every event of an answer of so many choices, or up to the first that failed."""
    collected: list[TokenEvent] = []
    while choices:
        collected.append(await events.get())
        if problem_of(collected[-1]):
            return collected
        choices -= collected[-1].finish_reason is not None
    return collected


async def until_gone(http: HttpRequest) -> None:
    """Return when the client has hung up (its body was read to the end before)."""
    while (await http.receive())["type"] != "http.disconnect":
        pass
