"""Limits of connections, and checks of each request before the application sees it.

uvicorn limits neither the time of a request's head nor the number of open connections; `config` gives it a protocol
that does. `Guard` refuses requests that a page of another site can make a browser send.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from starlette.responses import JSONResponse
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from serve.server.protocol import error_body

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ANY = ("0.0.0.0", "::", "")


class Hosts:
    """Names that a request's Host header may have.

    These are the bound address and `allowed`, plus this machine's own names for a loopback or wildcard address.
    ``*`` allows every name. A server bound to a wildcard address also accepts any IP address: DNS rebinding, which
    makes a browser send requests to another server, needs a name.
    """

    def __init__(self, bound: str = "127.0.0.1", allowed: Iterable[str] = ()) -> None:
        self._any_address = bound in _ANY
        own = {bound, *allowed}
        if bound in (*_LOOPBACK, *_ANY):
            own.update(_LOOPBACK)
        if self._any_address:
            own.add(socket.gethostname())
        self._names = {name.lower().strip("[]").rstrip(".") for name in own}

    def admits(self, header: str) -> bool:
        """Whether a Host header (``name``, ``name:port``, ``[address]:port``) names this server."""
        name = header.strip().lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        name = name.rstrip(".")
        return bool(name) and (
            name in self._names or "*" in self._names or (self._any_address and _is_address(name))
        )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """ASGI middleware that refuses a foreign Host, an ambiguous length, and a media type other than JSON.

    A page of another site can send text/plain freely. It can send application/json only after a preflight request,
    which this server does not grant.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        if "transfer-encoding" in headers and "content-length" in headers:
            both = "Content-Length and Transfer-Encoding both say where the body ends; send one"
            return _refuse(400, both, {"Connection": "close"})  # where the next request begins is not known
        hosts = headers.get("host", [])
        if len(hosts) != 1 or not self.hosts.admits(hosts[0]):
            named = hosts[0][:100] if hosts else "none"
            return _refuse(
                421, f"the host {named!r} is not served here; its operator may allow it by --allowed-host"
            )
        media = headers.get("content-type", [""])[0].partition(";")[0].strip().lower()
        if scope["method"] == "POST" and media != "application/json":
            return _refuse(415, f"Content-Type is {media[:100]!r}, wanted application/json")
        return None


def _refuse(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A refusal. The connection stays open: closed before the body came, it is reset, and the answer is lost."""
    return JSONResponse(error_body(message, "invalid_request_error"), status, headers)


class Protocol(H11Protocol):
    """HTTP/1.1 with limits on how long and how many clients may hold a connection without a request.

    A connection closes `head_s` after its start or its last response unless the next head is complete by then. It
    closes `write_s` after its client stops reading. The application limits the time of a body. With
    `most_connections` open, a new connection replaces the one that has waited longest for a head or a body. If none
    waits, the new connection closes.
    """

    head_s: ClassVar[float] = 10.0
    write_s: ClassVar[float] = 60.0
    most_connections: ClassVar[int] = 512
    waits_since: float | None = None
    """Start of the wait for the client, on the loop's clock; None while a complete request is under way."""
    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head; make room first."""
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self.most_connections:
            waiting = [c for c in self.connections if isinstance(c, Protocol) and c.waits_since is not None]
            min(waiting, key=lambda c: c.waits_since or 0.0, default=self).abort()

    def abort(self) -> None:
        """Close now."""
        self._cancel_head()
        self.connections.discard(self)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read bytes. A complete head stops its timer, a complete body ends the wait."""
        before = self.cycle
        super().data_received(data)
        self._note_request(before)
        if self.cycle is not before and self.cycle.response_complete and not self.transport.is_closing():
            self._await_head()

    def on_response_complete(self) -> None:
        """Wait for the next head; a body that is still being sent does not extend the wait."""
        before = self.cycle
        self._await_head()
        super().on_response_complete()
        self._note_request(before)  # a pipelined request

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the timers."""
        self._cancel_head()
        self._cancel_write()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give the client `write_s` to read on."""
        super().pause_writing()
        self._cancel_write()
        self._write_timer = self.loop.call_later(self.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads."""
        self._cancel_write()
        super().resume_writing()

    def _note_request(self, before: object) -> None:
        if self.cycle is not before:
            self._cancel_head()
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            self.waits_since = None

    def _await_head(self) -> None:
        self._cancel_head()
        self.waits_since = self.loop.time()
        self._head_timer = self.loop.call_later(self.head_s, self.abort)

    def _cancel_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cancel_write(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def config(app: Any, *, drain_s: int = 120, **limits: float) -> Config:
    """Uvicorn's settings for an application; `limits` change those of `Protocol`."""
    protocol = type("Protocol", (Protocol,), limits)
    return Config(
        app,
        http=protocol,
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=drain_s,
        h11_max_incomplete_event_size=16_384,
        server_header=False,
        backlog=256,
    )
