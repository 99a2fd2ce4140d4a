"""One request to a chat endpoint, bounded in time and in bytes; every fault of the endpoint is one line.

A timeout of the HTTP library bounds each read, so an endpoint that sends a byte a second holds its caller for
ever. Here one clock runs from the connection to the last byte, and a reply beyond `LONGEST_REPLY` is not read on.
"""

from __future__ import annotations

import json
import math
import re
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import httpcore
import httpx

from vckg.base.errors import InputError

LONGEST_REPLY: Final = 8 * 2**20
"""Bytes of a reply that are read."""
LONGEST_SAID: Final = 200
"""Letters of an endpoint's own words that a message shows."""
MOST_TOKENS: Final = 10**12
"""A count of tokens beyond this is no count."""
_TIER: Final = re.compile(r"service.?tier|\bflex\b", re.IGNORECASE)


class Call(NamedTuple):
    """A call of a tool as a model wrote it; `arguments` is JSON where the model kept to the form."""

    id: str
    name: str
    arguments: str


class Answered(NamedTuple):
    """A chat completion as the endpoint sent it."""

    text: str
    tokens: tuple[int, int] | None
    """Of prompt and completion; None where the endpoint counts none."""
    model: str = ""
    """Id of the model as the endpoint names it; empty where it names none."""
    finish: str = ""
    """Reason that the completion ended, e.g. ``stop`` or ``length``; empty where none is given."""
    calls: tuple[Call, ...] = ()
    """Tools that the model asks to call."""


class EndpointFault(Exception):
    """No usable reply; the text says in one line what the endpoint did."""


class TooSlow(EndpointFault):
    """The reply was not complete in time."""


class Unreachable(EndpointFault):
    """The connection failed."""

    nobody: bool = False
    """No host or no listener is there, as against a connection that broke."""


class Unreadable(EndpointFault):
    """What came is no chat completion."""


class Refusal(EndpointFault):
    """The endpoint answered with an error status."""

    def __init__(self, status: int, message: str, retry_after_s: float | None) -> None:
        super().__init__(f"{status} {message}".strip())
        self.status, self.retry_after_s = status, retry_after_s


class Endpoint:
    """An address that answers chat completions.

    Parameters
    ----------
    base_url
        With or without a slash at its end.
    key
        Sent as a bearer token; shown nowhere.
    timeout_s
        Seconds from the first byte sent to the last byte read.

    Raises
    ------
    InputError
        The address is no HTTP URL, or the key cannot stand in a header.
    """

    def __init__(self, base_url: str, key: str, *, timeout_s: float) -> None:
        parts = urlsplit(base_url)
        self.shown = _shown(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(
                f"--base-url {self.shown!r}: not an address; write it as http://127.0.0.1:8000/v1"
            )
        if not (key.isascii() and key.isprintable()):
            raise InputError("OPENAI_API_KEY holds a letter that no key holds, e.g. a line end; set it again")
        self.timeout_s, self._secret = timeout_s, key
        self._url = urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/chat/completions"))
        self._clock = _Clock()
        self._takes_tiers = True
        # Encodings would let a small reply swell to a large one.
        own = {"authorization": f"Bearer {key or 'none'}", "accept-encoding": "identity"}
        self._http = httpx.Client(
            transport=_TimedTransport(self._clock), timeout=timeout_s, headers=own, follow_redirects=True
        )
        weakref.finalize(self, self._http.close)  # kept connections end with their user

    def ask(self, request: Mapping[str, Any]) -> Answered:
        """Send one request and read its reply.

        A ``service_tier`` that the endpoint refuses is not sent again: it orders work and changes no answer.

        Raises
        ------
        EndpointFault
            No chat completion came within the limits.
        """
        self._clock.start(self.timeout_s)
        sent = request if self._takes_tiers else {k: v for k, v in request.items() if k != "service_tier"}
        try:
            with self._http.stream("POST", self._url, json=sent) as response:
                body = self._body(response)
        except httpx.TimeoutException:
            raise TooSlow(f"no answer within {self.timeout_s:g} s") from None
        except httpx.DecodingError:
            raise Unreadable("the reply is no chat completion (its encoding is broken)") from None
        except httpx.HTTPError as error:
            fault = Unreachable(f"connection failed ({self._masked(error)})")
            fault.nobody = _nobody_there(error)
            raise fault from error
        if response.status_code >= 400:
            wait = _retry_after_s(response.headers.get("retry-after"))
            reason = self._masked(_said(body))
            if response.status_code in (400, 422) and "service_tier" in sent and _TIER.search(reason):
                self._takes_tiers = False
                return self.ask(request)
            raise Refusal(response.status_code, reason, wait)
        return read_completion(body)

    def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            self._clock.left(None)
            if len(body) > LONGEST_REPLY:
                raise Unreadable(f"the reply is longer than {LONGEST_REPLY // 2**20} MiB and was not read on")
        return bytes(body)

    def _masked(self, message: object) -> str:
        text = " ".join(str(message).split())
        return (text.replace(self._secret, "***") if self._secret else text)[:LONGEST_SAID]


def read_completion(body: bytes) -> Answered:
    """Take text and counts out of a chat completion.

    Raises
    ------
    Unreadable
        It is none; the message says where it departs.
    """
    try:
        value = json.loads(body)
        choices = _of(value, dict, "the reply").get("choices")
        choice = _of((_of(choices, list, "choices") or [None])[0], dict, "choices[0]")
        message = _of(choice.get("message"), dict, "message")
        text = message.get("content")
        text = "" if text is None else _of(text, str, "content")
        text.encode()
        calls = _calls(message.get("tool_calls"))
        usage = value.get("usage")
        tokens = None if usage is None else _counts(_of(usage, dict, "usage"))
    except RecursionError:
        raise Unreadable("the reply is no chat completion (its JSON is nested too deep)") from None
    except UnicodeError:
        raise Unreadable("the reply is no chat completion (its text is no Unicode)") from None
    except ValueError:
        raise Unreadable("the reply is no chat completion (not JSON)") from None
    return Answered(text, tokens, _word(value.get("model")), _word(choice.get("finish_reason")), calls)


def _calls(value: object) -> tuple[Call, ...]:
    """Return the calls of a message; none where the endpoint names none."""
    calls = []
    for i, entry in enumerate(_of([] if value is None else value, list, "tool_calls")):
        where = f"tool_calls[{i}]"
        call = _of(entry, dict, where)
        function = _of(call.get("function"), dict, f"{where}.function")
        named = (call.get("id"), function.get("name"), function.get("arguments"))
        calls.append(Call(*(_of(text, str, where) for text in named)))
    return tuple(calls)


def _word(value: object) -> str:
    """Return a short printable text, or nothing: a name that is none says nothing."""
    return value if isinstance(value, str) and value.isprintable() and len(value) <= LONGEST_SAID else ""


def _of(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        found = (
            json.dumps(value)[:40] if isinstance(value, int | float | str | None) else type(value).__name__
        )
        raise Unreadable(f"the reply is no chat completion ({where} is {found})")
    return value


def _counts(usage: Mapping[str, Any]) -> tuple[int, int] | None:
    found = []
    for name in ("prompt_tokens", "completion_tokens"):
        value = usage.get(name)
        if value is None:
            return None
        if type(value) is not int or not 0 <= value <= MOST_TOKENS:
            raise Unreadable(f"the reply is no chat completion (usage.{name} is {str(value)[:40]}, no count)")
        found.append(value)
    return found[0], found[1]


def _said(body: bytes) -> str:
    """What an error reply says: its message where it has one, else its text."""
    try:
        error = json.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, RecursionError, KeyError, TypeError):
        return body[: 4 * LONGEST_SAID].decode(errors="replace")


def _shown(url: str) -> str:
    """An address as messages show it: without a password, and without a query, which may hold a key."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def _nobody_there(error: BaseException | None) -> bool:
    """Whether a connection failed because the address has no listener or no host, and not under way."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError | socket.gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False


def _retry_after_s(header: str | None) -> float | None:
    """Seconds an endpoint asks to be left alone, at most 60; None where it does not say a number."""
    try:
        seconds = float(header or "nan")
    except ValueError:  # an HTTP date: our own back-off does
        return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), 60.0)


# ---- one clock a request ----------------------------------------------------------------------------------


class _Clock(threading.local):
    """When the request of this thread has to be over."""

    end = math.inf

    def start(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self, timeout: float | None) -> float | None:
        """Seconds that one read may take; raises where none is left."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise httpx.ReadTimeout("the time of the whole request is over")
        return timeout if math.isinf(left) else min(left, math.inf if timeout is None else timeout)


class _TimedTransport(httpx.HTTPTransport):
    """The HTTP library's transport over sockets that keep to the clock."""

    def __init__(self, clock: _Clock) -> None:
        super().__init__()
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(), max_connections=None, network_backend=_TimedBackend(clock)
        )


class _TimedBackend(httpcore.NetworkBackend):
    def __init__(self, clock: _Clock) -> None:
        self._clock, self._plain = clock, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._plain.connect_tcp(host, port, self._clock.left(timeout), local_address, socket_options)
        return _TimedStream(stream, self._clock)


class _TimedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, clock: _Clock) -> None:
        self._stream, self._clock = stream, clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._clock.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._clock.left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._clock.left(timeout))
        return _TimedStream(stream, self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
