"""The OpenAI HTTP interface over a `Worker`.

/v1/chat/completions, /v1/completions, /v1/models, /health, /metrics and /openapi.json. Every error has OpenAI's
form. A client that disconnects cancels its request. A refused request starts nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from serve.engine.engine import Engine
from serve.errors import OverloadedError, RequestError
from serve.request import Request, TokenEvent
from serve.server.delivery import EventStream, collect, event_stream, problem_of, status_of, until_gone
from serve.server.engine_loop import Worker
from serve.server.guard import Guard, Hosts
from serve.server.openapi import openapi_document
from serve.server.preparation import Limits, Preparation
from serve.server.prometheus import Metrics
from serve.server.protocol import ChatBody, CompletionBody, error_body, parse
from serve.server.responses import Answer

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
_REFUSED = {
    "/v1/embeddings": "this server computes no embeddings, its models write text; use a server of embedding models",
    "/v1/responses": "this server has no Responses API; send the conversation to /v1/chat/completions",
}
OPEN_PATHS = ("/health", "/openapi.json")
"""Paths that need no API key."""


class Server:
    """State of the application: worker, limits, key and counters."""

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
        self.preparation = Preparation(engine, self.limits)
        self.n_open = 0
        self.on_ready: Callable[[], object] = lambda: None
        """Called when the warm-up is done and the server takes requests."""
        self.on_end: Callable[[], object] = lambda: None
        """Called when the last request is answered and the engine has ended."""

    def app(self) -> Starlette:
        """The ASGI application; the engine runs from its start-up to its shut-down."""

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            await asyncio.wrap_future(self.worker.start(self._warm_up))
            self.on_ready()
            yield
            await asyncio.to_thread(self.worker.stop)
            self.preparation.close()
            self.on_end()

        routes = [
            Route(path, self._guarded(path, handler), methods=[method])
            for path, method, handler in (
                ("/v1/chat/completions", "POST", self._chat),
                ("/v1/completions", "POST", self._complete),
                *((path, "POST", self._refuse) for path in _REFUSED),
                ("/v1/models", "GET", self._models),
                ("/v1/models/{model:path}", "GET", self._one_model),
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
        """Answer one request on the usual path before the server reports that it is ready."""
        hello = parse(ChatBody, b'{"messages": [{"role": "user", "content": "Hello"}]}')
        self.engine.warm_up(self.preparation.tokens(hello)[0])

    # --- routes ---

    async def _chat(self, http: HttpRequest) -> Response:
        body = parse(ChatBody, await self._body(http))
        self._check_model(body.model)
        return await self._answer(http, body)

    async def _complete(self, http: HttpRequest) -> Response:
        body = parse(CompletionBody, await self._body(http))
        self._check_model(body.model)
        return await self._answer(http, body)

    async def _refuse(self, http: HttpRequest) -> Response:
        raise HTTPException(404, _REFUSED[http.url.path])

    async def _models(self, _http: HttpRequest) -> Response:
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def _one_model(self, http: HttpRequest) -> Response:
        self._check_model(http.path_params["model"])
        return JSONResponse(self._model())

    def _model(self) -> dict[str, object]:
        model = {"id": self.model_name, "object": "model", "created": self.started, "owned_by": "vckg-serve"}
        return model | {"max_model_len": self.engine.longest}

    async def _health(self, _http: HttpRequest) -> Response:
        alive = self.worker.alive
        return JSONResponse({"status": "ok" if alive else "failed"}, 200 if alive else 503)

    async def _metrics(self, _http: HttpRequest) -> Response:
        text = self.metrics.text(self.engine, self.n_open)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _openapi(self, _http: HttpRequest) -> Response:
        return JSONResponse(openapi_document())

    # --- checks of every route ---

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
            body = error_body(str(error), "invalid_request_error", param=error.param, code=error.code)
            return JSONResponse(body, 404 if error.code == "model_not_found" else 400)
        except OverloadedError as error:
            body = error_body(str(error), "server_error", code="overloaded")
            return JSONResponse(body, 503, {"Retry-After": "1"})
        except HTTPException as error:
            return _http_error(http, error)
        except ClientDisconnect:
            return Response(status_code=499)  # the client is gone; the metrics count it

    def _authorised(self, http: HttpRequest) -> bool:
        if self._api_key is None:
            return True
        scheme, _, key = http.headers.get("authorization", "").partition(" ")
        given = key.strip().encode("utf-8", "surrogateescape")
        return scheme.lower() == "bearer" and hmac.compare_digest(given, self._api_key)

    def _check_model(self, named: str | None) -> None:
        if named not in (None, self.model_name):
            message = f"the model {named[:100]!r} is not served here; this server has {self.model_name!r}"
            raise RequestError(message, param="model", code="model_not_found")

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

    # --- answers ---

    async def _answer(self, http: HttpRequest, body: ChatBody | CompletionBody) -> Response:
        choices = body.choices
        if self.n_open + choices > self.limits.open_requests:
            message = f"{self.n_open} requests are open; at most {self.limits.open_requests}"
            return JSONResponse(
                error_body(message, "rate_limit_error", code="rate_limit_exceeded"), 429, {"Retry-After": "1"}
            )
        name = f"{'chatcmpl' if isinstance(body, ChatBody) else 'cmpl'}-{uuid.uuid4().hex}"
        requests: list[Request] = []
        events = asyncio.Queue[TokenEvent]()
        self.n_open += choices
        try:
            requests += await self.preparation.requests(body, name)
            await self._submit(requests, events)
        except BaseException:
            self._close(choices, requests)
            raise
        new_parser = partial(self.preparation.call_parser, body)
        answer = Answer(requests, self.engine.tokenizer, self.model_name, body, new_parser)
        if body.stream:
            headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            return EventStream(event_stream(answer, events), lambda: self._close(choices, requests), headers)
        return await self._whole(http, answer, events)

    async def _submit(self, requests: Sequence[Request], events: asyncio.Queue[TokenEvent]) -> None:
        """Hand requests to the engine, and wait until it has accepted each."""
        loop = asyncio.get_running_loop()

        def deliver(event: TokenEvent) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        constraint = await self.preparation.constraint(requests[0])
        for i, request in enumerate(requests):
            own = constraint.copy() if constraint is not None and i else constraint
            await asyncio.wrap_future(self.worker.submit(request, deliver, own))

    def _close(self, choices: int, requests: Sequence[Request]) -> None:
        """Count requests out; cancel those that still run, since their client is gone."""
        self.n_open -= choices
        for request in requests:
            if request.finish_reason is None:
                self.worker.cancel(request.id)
            else:
                self.metrics.finished(request.timeline)

    async def _whole(self, http: HttpRequest, answer: Answer, queue: asyncio.Queue[TokenEvent]) -> Response:
        """The answer in one piece; a client that hangs up meanwhile cancels it."""
        choices = len(answer.requests)
        gone = asyncio.create_task(until_gone(http))
        collected = asyncio.create_task(collect(queue, choices))
        try:
            await asyncio.wait({gone, collected}, return_when=asyncio.FIRST_COMPLETED)
            if not collected.done():
                return Response(status_code=499)
            events = collected.result()
        finally:
            gone.cancel()
            collected.cancel()
            self._close(choices, answer.requests)
        if problem := problem_of(events[-1]):
            return JSONResponse(problem, status_of(events[-1]))
        whole = await asyncio.to_thread(answer.whole, events) if answer.slow else answer.whole(events)
        return JSONResponse(whole)


def _http_error(http: HttpRequest, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = _CODES.get(error.status_code)
    unknown = f"nothing is at {http.url.path[:100]}; the interface is below /v1, /openapi.json describes it"
    detail = unknown if error.detail == "Not Found" else str(error.detail)
    body = error_body(detail, "invalid_request_error", code=code)
    return JSONResponse(body, error.status_code, error.headers)
