"""The OpenAI HTTP interface over a `Worker`.

/v1/chat/completions, /v1/completions, /v1/models, /health, /metrics and /openapi.json. Every error is in OpenAI's
form. A client that goes away cancels its request; nothing of a refused request is started.
"""

from __future__ import annotations

import asyncio
import hmac
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from serve.engine.engine import Engine
from serve.engine.structured_output import Constraint
from serve.errors import OverloadedError, RequestError
from serve.request import FinishReason, Request, TokenEvent
from serve.server.engine_loop import Worker
from serve.server.guard import Guard, Hosts
from serve.server.openapi import openapi_document
from serve.server.prometheus import Metrics
from serve.server.protocol import ChatBody, CompletionBody, error_body, parse
from serve.server.responses import Answer, sse

OPEN_PATHS = ("/health", "/openapi.json")
"""Paths that need no API key."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask of the server."""

    body_bytes: int = 1_000_000
    body_s: float = 30.0
    prompt_tokens: int = 8_192
    output_tokens: int = 4_096
    default_output_tokens: int = 512
    open_requests: int = 256
    compile_s: float = 10.0

    @property
    def prompt_bytes(self) -> int:
        """Bytes of a prompt's text, beyond which it is refused before it is tokenised.

        Text has about four bytes a token, tables of numbers fewer; sixteen are reached by runs of white space only.
        """
        return 16 * self.prompt_tokens


class Server:
    """The application's state: worker, tokenizer, limits, key and counters."""

    def __init__(
        self,
        engine: Engine,
        model_name: str,
        limits: Limits | None = None,
        api_key: str | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        self.engine = engine
        self.worker = Worker(engine)
        self.model_name = model_name
        self.limits = limits or Limits()
        self.metrics = Metrics()
        self.started = int(time.time())
        self._api_key = api_key.encode() if api_key else None
        self.hosts = hosts or Hosts()
        self._tokenize = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._compile = ThreadPoolExecutor(2, thread_name_prefix="compile")
        self.n_open = 0
        self.on_ready: Callable[[], object] = lambda: None
        """Called once the server has answered itself and takes requests."""

    def app(self) -> Starlette:
        """The ASGI application; the engine runs from its start-up to its shut-down."""

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            await asyncio.to_thread(self._warm_up)
            self.worker.start()
            self.on_ready()
            yield
            await asyncio.to_thread(self.worker.stop)
            self._tokenize.shutdown()
            self._compile.shutdown(cancel_futures=True)

        routes = [
            Route(path, self._guarded(path, handler), methods=[method])
            for path, method, handler in (
                ("/v1/chat/completions", "POST", self._chat),
                ("/v1/completions", "POST", self._complete),
                ("/v1/models", "GET", self._models),
                ("/health", "GET", self._health),
                ("/metrics", "GET", self._metrics),
                ("/openapi.json", "GET", self._openapi),
            )
        ]
        return Starlette(
            routes=routes,
            middleware=[Middleware(Guard, hosts=self.hosts)],
            lifespan=lifespan,
            exception_handlers={HTTPException: _http_error},
        )

    def _warm_up(self) -> None:
        """Answer once, by the way that requests take, before anyone is told that the server is ready."""
        hello = parse(ChatBody, b'{"messages": [{"role": "user", "content": "Hello"}]}')
        self.engine.warm_up(self._chat_ids(hello))

    # --- routes ---

    async def _chat(self, http: HttpRequest) -> Response:
        body = parse(ChatBody, await self._body(http))
        self._check_model(body.model)
        ids = await self._in_tokenizer(self._chat_ids, body)
        return await self._answer(http, body, ids, chat=True)

    async def _complete(self, http: HttpRequest) -> Response:
        body = parse(CompletionBody, await self._body(http))
        self._check_model(body.model)
        ids = await self._in_tokenizer(self._prompt_ids, body)
        return await self._answer(http, body, ids, chat=False)

    async def _models(self, _http: HttpRequest) -> Response:
        one = {"id": self.model_name, "object": "model", "created": self.started, "owned_by": "vckg-serve"}
        return JSONResponse({"object": "list", "data": [one | {"max_model_len": self.engine.longest}]})

    async def _health(self, _http: HttpRequest) -> Response:
        well = self.worker.alive
        return JSONResponse({"status": "ok" if well else "failed"}, 200 if well else 503)

    async def _metrics(self, _http: HttpRequest) -> Response:
        text = self.metrics.text(self.engine, self.n_open)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _openapi(self, _http: HttpRequest) -> Response:
        return JSONResponse(openapi_document())

    # --- what every route passes ---

    def _guarded(
        self, path: str, handler: Callable[[HttpRequest], Awaitable[Response]]
    ) -> Callable[[HttpRequest], Awaitable[Response]]:
        async def guarded(http: HttpRequest) -> Response:
            response = await self._checked(path, handler, http)
            self.metrics.responded(path, response.status_code)
            return response

        return guarded

    async def _checked(
        self, path: str, handler: Callable[[HttpRequest], Awaitable[Response]], http: HttpRequest
    ) -> Response:
        if path not in OPEN_PATHS and not self._authorised(http):
            body = error_body(
                "missing or wrong API key; send it as 'Authorization: Bearer KEY'",
                "invalid_request_error",
                code="invalid_api_key",
            )
            return JSONResponse(body, 401, {"WWW-Authenticate": "Bearer"})
        try:
            return await handler(http)
        except RequestError as error:
            return JSONResponse(error_body(str(error), "invalid_request_error", param=error.param), 400)
        except OverloadedError as error:
            body = error_body(str(error), "server_error", code="overloaded")
            return JSONResponse(body, 503, {"Retry-After": "1"})
        except HTTPException as error:
            return _http_error(http, error)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it; counted in the metrics

    def _authorised(self, http: HttpRequest) -> bool:
        if self._api_key is None:
            return True
        scheme, _, key = http.headers.get("authorization", "").partition(" ")
        given = key.strip().encode("utf-8", "surrogateescape")
        return scheme.lower() == "bearer" and hmac.compare_digest(given, self._api_key)

    def _check_model(self, named: str | None) -> None:
        if named not in (None, self.model_name):
            message = f"the model {named[:100]!r} is not served here; this server has {self.model_name!r}"
            raise HTTPException(404, message)

    async def _body(self, http: HttpRequest) -> bytes:
        limit, parts, size = self.limits.body_bytes, [], 0
        try:
            async with asyncio.timeout(self.limits.body_s):
                async for part in http.stream():
                    size += len(part)
                    if size > limit:
                        raise HTTPException(413, f"the body exceeds {limit} bytes")
                    parts.append(part)
        except TimeoutError as error:
            raise HTTPException(408, f"the body did not arrive within {self.limits.body_s} s") from error
        return b"".join(parts)

    # --- tokens ---

    async def _in_tokenizer(self, function: Callable[[Any], list[int]], body: Any) -> list[int]:
        """Tokenise off the event loop, one at a time: a long prompt must not stall the streams."""
        return await asyncio.get_running_loop().run_in_executor(self._tokenize, function, body)

    def _chat_ids(self, body: ChatBody) -> list[int]:
        from jinja2 import TemplateError

        messages = [{"role": m.role, "content": m.text} for m in body.messages]
        if len(messages) > self.limits.prompt_tokens:
            raise RequestError(
                f"{len(messages)} messages; at most {self.limits.prompt_tokens}", param="messages"
            )
        self._check_size(sum(len(message["content"]) for message in messages), "messages")
        for message in messages:
            if message["role"] == "developer":  # OpenAI's newer word
                message["role"] = "system"
        try:
            text = self.engine.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            )
        except (TemplateError, ValueError) as error:
            raise RequestError(
                f"the model's chat template refuses this: {str(error)[:200]}", param="messages"
            ) from error
        return self._encode(text, special=False, param="messages")

    def _prompt_ids(self, body: CompletionBody) -> list[int]:
        if isinstance(body.prompt, str):
            return self._encode(body.prompt, special=True, param="prompt")
        first = body.prompt[:1]
        if first and isinstance(first[0], str):
            return self._encode(first[0], special=True, param="prompt")
        return [int(t) for t in body.prompt]

    def _check_size(self, size: int, param: str) -> None:
        if size > self.limits.prompt_bytes:
            raise RequestError(
                f"the prompt has {size} bytes; at most {self.limits.prompt_bytes} "
                f"for {self.limits.prompt_tokens} prompt tokens",
                param=param,
            )

    def _encode(self, text: str, *, special: bool, param: str) -> list[int]:
        self._check_size(len(text), param)
        try:
            self._check_size(len(text.encode()), param)
        except UnicodeEncodeError as error:
            raise RequestError("the text is not valid Unicode (a lone surrogate)", param=param) from error
        # The Rust tokenizer itself: unlike the wrapper's methods, it may be read from several threads.
        encoding = self.engine.tokenizer.backend_tokenizer.encode(text, add_special_tokens=special)
        return list(encoding.ids)

    # --- answers ---

    def _request(self, body: ChatBody | CompletionBody, ids: list[int], name: str) -> Request:
        limits, param = self.limits, "messages" if isinstance(body, ChatBody) else "prompt"
        if len(ids) > limits.prompt_tokens:
            raise RequestError(f"{len(ids)} prompt tokens; at most {limits.prompt_tokens}", param=param)
        room = self.engine.longest - len(ids)
        if room < 1:
            raise RequestError(
                f"{len(ids)} prompt tokens leave no room; the model holds {self.engine.longest}", param=param
            )
        params = body.parameters(min(limits.default_output_tokens, limits.output_tokens, room))
        if params.max_tokens > limits.output_tokens:
            raise RequestError(
                f"max_tokens is {params.max_tokens}; at most {limits.output_tokens}", param="max_tokens"
            )
        request = Request(name, tuple(ids), params, body.offline)
        self.engine.check(request)
        return request

    async def _answer(
        self, http: HttpRequest, body: ChatBody | CompletionBody, ids: list[int], *, chat: bool
    ) -> Response:
        if self.n_open >= self.limits.open_requests:
            message = f"{self.n_open} requests are open; at most {self.limits.open_requests}"
            return JSONResponse(
                error_body(message, "rate_limit_error", code="rate_limit_exceeded"), 429, {"Retry-After": "1"}
            )
        name = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        loop, events = asyncio.get_running_loop(), asyncio.Queue[TokenEvent]()
        request = self._request(body, ids, name)
        self.n_open += 1
        try:
            accepted = self.worker.submit(
                request,
                lambda event: loop.call_soon_threadsafe(events.put_nowait, event),
                await self._constraint(request),
            )
            await asyncio.wrap_future(accepted)
        except BaseException:
            self._close(request)
            raise
        options = body.stream_options
        with_usage = options is not None and options.include_usage
        answer = Answer(request, self.engine.tokenizer, self.model_name, chat, with_usage)
        if body.stream:
            headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            return _Stream(_sse(answer, events), lambda: self._close(request), headers)
        return await self._whole(http, answer, events)

    async def _constraint(self, request: Request) -> Constraint | None:
        """Compile a request's schema off the event loop and off the engine's thread."""
        schema = request.params.json_schema
        if schema is None:
            return None
        made = asyncio.get_running_loop().run_in_executor(self._compile, self.engine.grammar.start, schema)
        try:
            return await asyncio.wait_for(made, self.limits.compile_s)
        except TimeoutError as error:
            raise OverloadedError(
                f"the JSON schema was not compiled within {self.limits.compile_s} s; send a smaller one"
            ) from error

    def _close(self, request: Request) -> None:
        """Count a request out; if it still runs, its client is gone."""
        self.n_open -= 1
        if request.finish_reason is None:
            self.worker.cancel(request.id)
        else:
            self.metrics.finished(request.timeline)

    async def _whole(self, http: HttpRequest, answer: Answer, queue: asyncio.Queue[TokenEvent]) -> Response:
        """The answer in one piece; a client that hangs up meanwhile cancels it."""
        gone = asyncio.create_task(_until_gone(http))
        collected = asyncio.create_task(_collect(queue))
        try:
            await asyncio.wait({gone, collected}, return_when=asyncio.FIRST_COMPLETED)
            if not collected.done():
                return Response(status_code=499)
            events = collected.result()
        finally:
            gone.cancel()
            collected.cancel()
            self._close(answer.request)
        if problem := _problem(events[-1]):
            return JSONResponse(problem, _status(events[-1]))
        return JSONResponse(answer.whole(events))


async def _sse(answer: Answer, events: asyncio.Queue[TokenEvent]) -> AsyncIterator[str]:
    """The answer as server-sent events."""
    for chunk in answer.opening():
        yield sse(chunk)
    finished = False
    while not finished:
        event = await events.get()
        if problem := _problem(event):
            yield sse(problem)
            return
        for chunk in answer.piece(event):
            yield sse(chunk)
        finished = event.finish_reason is not None
    for chunk in answer.closing():
        yield sse(chunk)
    yield "data: [DONE]\n\n"


def _problem(event: TokenEvent) -> dict[str, Any] | None:
    """The body that tells the client of an answer that the server broke off."""
    if event.finish_reason not in (FinishReason.ERROR, FinishReason.CANCELLED):
        return None
    message = event.error or "the server stopped before the answer was complete"
    kind = "invalid_request_error" if event.param else "server_error"
    return error_body(message, kind, param=event.param)


def _status(event: TokenEvent) -> int:
    """The status of an answer that was broken off before anything was sent."""
    if event.param:
        return 400
    return 500 if event.error else 503


class _Stream(StreamingResponse):
    """Server-sent events whose `close` runs once, however the stream ends, also before its first chunk."""

    def __init__(
        self, chunks: AsyncIterator[str], close: Callable[[], None], headers: dict[str, str]
    ) -> None:
        super().__init__(chunks, media_type="text/event-stream", headers=headers)
        self._close_once = close

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close_once()


async def _collect(events: asyncio.Queue[TokenEvent]) -> list[TokenEvent]:
    collected = [await events.get()]
    while collected[-1].finish_reason is None:
        collected.append(await events.get())
    return collected


async def _until_gone(http: HttpRequest) -> None:
    """Return when the client has hung up (its body was read to the end before)."""
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _http_error(_http: HttpRequest, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}.get(error.status_code)
    body = error_body(str(error.detail), "invalid_request_error", code=code)
    return JSONResponse(body, error.status_code, error.headers)
