"""Raw HTTP, bodies and JSON schemas against a real ``vckg-serve``, which goes on serving others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.hostile.attacks import HOSTILE_TEXT, Attack, Ground, damaged_json, rng
from tests.hostile.served import HELLO, STALL_S, Served

WAIT_S = 120.0
"""How long an attack may take to be answered."""


def attacks(ground: Ground) -> list[Attack]:
    """The attacks of this part."""
    from tests.serve.conftest import save_tiny

    served = Served(
        ground, save_tiny(ground.folder / "tiny", num_hidden_layers=1, max_position_embeddings=512)
    )
    return [
        Attack("server: raw HTTP", partial(_raw, served), len(RAW), at_once=1),
        Attack("server: half-open connections", partial(_half_open, served), len(OPENINGS), at_once=1),
        Attack("server: JSON schemas", partial(_schema, served), len(SCHEMAS), at_once=1),
        Attack("server: bodies made by hand", partial(_body, served), len(BODIES), at_once=1),
        Attack("server: random bodies", partial(_random, served), share=0.5, at_once=1),
        Attack("server: pages of another site", partial(_foreign, served), len(FOREIGN), at_once=1),
        Attack("server: rough clients", partial(_rough, served), 1, at_once=1),
    ]


def _beside(served: Served, attack: Callable[[], str | None]) -> str | None:
    """Do an attack; while it is under way, and after it, somebody else is served."""
    served.ready()
    found: list[str | None] = []
    thread = threading.Thread(target=lambda: found.append(attack()), daemon=True)
    thread.start()
    thread.join(0.5)
    said = served.well()
    thread.join(WAIT_S)
    if thread.is_alive():
        said = said or f"no answer in {WAIT_S:g} s"
    return said or (found[0] if found else None) or served.quick()


def _posted(served: Served, body: bytes, **headers: str) -> str | None:
    """What is wrong with the answer to a body: it must not be the server's fault."""
    try:
        answer = httpx.post(
            f"{served.base}/v1/chat/completions",
            content=body,
            headers={"Content-Type": "application/json"} | headers,
            timeout=WAIT_S,
        )
    except httpx.HTTPError as error:
        return f"no answer ({error!r})"
    if answer.status_code >= 500:
        return f"status {answer.status_code}: {answer.text[:100]}"
    if answer.status_code == 200:
        json.loads(answer.text)
    return None


# ---- raw HTTP ------------------------------------------------------------------------------------------------------

_POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
_BODY = json.dumps(HELLO).encode()
_LENGTH = f"Content-Length: {len(_BODY)}\r\n".encode()
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_CHUNKS = f"{len(_BODY):x}\r\n".encode() + _BODY + b"\r\n0\r\n\r\n"
_GET_HEALTH = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"
#: Bytes to send, and whether they must be refused (a status of 4xx, 501 or 505, or no answer).
RAW: list[tuple[str, bytes, bool]] = [
    ("length and chunks", _POST + _LENGTH + _CHUNKED + b"\r\n" + _CHUNKS, True),
    ("chunks and length", _POST + _CHUNKED + b"Content-Length: 4\r\n\r\n" + _CHUNKS, True),
    ("two lengths", _POST + _LENGTH + b"Content-Length: 4\r\n\r\n" + _BODY, True),
    ("a negative length", _POST + b"Content-Length: -5\r\n\r\n" + _BODY, True),
    ("a length of 2^70", _POST + b"Content-Length: 1180591620717411303424\r\n\r\n" + _BODY, True),
    ("a length that is a word", _POST + b"Content-Length: many\r\n\r\n" + _BODY, True),
    ("an encoding that is none", _POST + b"Transfer-Encoding: rot13\r\n\r\n" + _BODY, True),
    ("chunks twice", _POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + _CHUNKS, True),
    ("a chunk of 2^63", _POST + _CHUNKED + b"\r\n8000000000000000\r\nx", True),
    ("a chunk without size", _POST + _CHUNKED + b"\r\nzz\r\nx", True),
    ("a header of 10 MB", _POST + b"X: " + b"x" * 10_000_000 + b"\r\n\r\n", True),
    ("100,000 headers", _POST + b"X: y\r\n" * 100_000 + b"\r\n", True),
    ("a path of 1 MB", b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", True),
    ("a path with NUL", b"GET /\x00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", True),
    ("a path that leads out", b"GET /../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", True),
    ("a method that is none", b"\xff\xfe / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", True),
    ("no host", b"GET /v1/models HTTP/1.1\r\n\r\n", True),
    ("a folded header", _POST + b"X: a\r\n b\r\n\r\n", True),
    ("line feeds alone", _POST.replace(b"\r\n", b"\n") + _LENGTH.replace(b"\r\n", b"\n") + b"\n" + _BODY,
        False),
    ("HTTP of version 2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", True),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, True),
    ("1,000 requests at once", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1_000, False),
    ("an empty line and nothing else", b"\r\n\r\n", False),
    ("a line of 1 MB without end", b"x" * 1_000_000 + b"\r\n\r\n", True),
    ("a method of 100,000 letters", b"G" * 100_000 + b" / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", True),
    ("a method in small letters", b"get /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", True),
    ("no version", b"GET /health\r\n\r\n", True),
    ("version 1.2", b"GET /v1/modelz HTTP/1.2\r\nHost: 127.0.0.1\r\n\r\n", True),
    ("version 9.9", b"GET /v1/modelz HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n", True),
    ("a version that is a word", b"GET /health HTTP/one\r\nHost: 127.0.0.1\r\n\r\n", True),
    ("a tab between the words", b"GET\t/health\tHTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", True),
    ("a foreign address as path", b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", True),
    ("a tunnel", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", True),
    ("a path that leads out, encoded", b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", True),
    ("a path with half an escape", b"GET /v1/%zz%2 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", True),
    ("a path of bytes that are no text", b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", True),
    ("a query of 1 MB", b"GET /v1/models?" + b"q" * 1_000_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", True),
    ("a header without colon", _POST + b"X\r\n\r\n", True),
    ("a header without name", _POST + b": x\r\n\r\n", True),
    ("a space before the colon", _POST + b"Content-Length : 5\r\n\r\nhello", True),
    ("a header with NUL", _POST + b"X: a\x00b\r\n\r\n", True),
    ("a header with a carriage return", _POST + b"X: a\rY: b\r\n\r\n", True),
    ("a length with a sign", _POST + b"Content-Length: +5\r\n\r\nhello", True),
    ("a length in hexadecimal", _POST + b"Content-Length: 0x5\r\n\r\nhello", True),
    ("a list of lengths", _POST + b"Content-Length: 5, 6\r\n\r\nhello", True),
    ("an empty length", _POST + b"Content-Length: \r\n\r\n" + _BODY, True),
    ("no length", _POST + b"\r\n" + _BODY, True),
    ("a chunk of negative size", _POST + _CHUNKED + b"\r\n-5\r\nhello", True),
    ("a chunk without end", _POST + _CHUNKED + b"\r\n5\r\nhelloXX0\r\n\r\n", True),
    ("a trailer of 10 MB", _POST + _CHUNKED + b"\r\n0\r\nX: " + b"x" * 10_000_000 + b"\r\n\r\n", True),
    ("an upgrade", _GET_HEALTH + b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: x\r\n\r\n", False),
]  # fmt: skip


def _exchange(served: Served, content: bytes, *, wait_s: float = 20.0) -> bytes:
    """Send bytes and read what comes, up to the first line's end or the connection's."""
    host, _, port = served.base.removeprefix("http://").partition(":")
    seen = b""
    with (
        socket.create_connection((host, int(port)), timeout=wait_s) as connection,
        contextlib.suppress(OSError),
    ):
        connection.sendall(content)
        while b"\r\n" not in seen and (piece := connection.recv(65_536)):
            seen += piece
    return seen


def _raw(served: Served, seed: int, _folder: Path) -> str | None:
    name, content, refused = RAW[seed]

    def attack() -> str | None:
        line = _exchange(served, content).split(b"\r\n")[0]
        status = line[9:12]
        if refused and status[:1] not in (b"4", b"") and status not in (b"501", b"505"):
            return f"answered with {line[:60].decode(errors='replace')}, wanted a refusal"
        return f"status {status.decode(errors='replace')}" if status == b"500" else None

    said = _beside(served, attack)
    return said and f"{name}: {said}"


#: What each of some hundred connections sends before it falls silent.
OPENINGS: list[tuple[str, bytes]] = [
    ("nothing", b""),
    ("half a head", b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "),
    ("half a body", _POST + b"Content-Length: 1000\r\n\r\n{"),
]
CONNECTIONS = 1_500
"""More than a server of 1,024 descriptors holds."""
CLOSED_S = 90.0


def _half_open(served: Served, seed: int, _folder: Path) -> str | None:
    """So many half requests: others are served meanwhile, and they are closed before long."""
    name, opening = OPENINGS[seed]
    served.ready()
    host, _, port = served.base.removeprefix("http://").partition(":")
    with contextlib.ExitStack() as stack:
        mine = []
        for _ in range(CONNECTIONS):
            with contextlib.suppress(OSError):
                connection = socket.create_connection((host, int(port)), timeout=5)
                mine.append(stack.enter_context(connection))
                connection.sendall(opening)
        said = served.well()
        until = time.monotonic() + CLOSED_S
        while not said and (still := sum(not _closed(connection) for connection in mine)):
            if time.monotonic() > until:
                said = f"{still} of {CONNECTIONS} half requests are still open after {CLOSED_S:g} s"
            time.sleep(1)
    said = said or served.well()
    return said and f"{name}: {said}"


def _closed(connection: socket.socket) -> bool:
    """Whether the other side has hung up."""
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


# ---- bodies --------------------------------------------------------------------------------------------------------


def _nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {
            "type": "object",
            "properties": {"a": schema},
            "required": ["a"],
            "additionalProperties": False,
        }
    return schema


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


def _lists(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


SCHEMAS: list[tuple[str, Any]] = [
    ("a constant of 10^6 characters", {"const": "x" * 1_000_000}),
    ("a name of 200,000 characters", _object(**{"x" * 200_000: {"type": "string"}})),
    ("300,000 words to choose from", {"enum": [f"w{i}" for i in range(300_000)]}),
    ("20,000 properties", _object(**{f"p{i}": {"type": "string"} for i in range(20_000)})),
    ("400 levels", _nested(400)),
    ("a pattern in a pattern", {"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"}),
    ("a pattern that is none", {"type": "string", "pattern": "(["}),
    ("a pattern that looks ahead", {"type": "string", "pattern": "(?=a)(?!b)\\1"}),
    ("a schema that holds itself", {"$ref": "#"}),
    ("two that hold each other",
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
    ("a schema elsewhere", {"$ref": "http://127.0.0.1:1/schema.json"}),
    ("a file as schema", {"$ref": "file:///etc/passwd"}),
    ("a kind that is none", {"type": "thing"}),
    ("a kind that is a number", {"type": 5}),
    ("a text of 10^9 at least", {"type": "string", "minLength": 10**9}),
    ("a list of 10^9 at least", {"type": "array", "items": {"type": "integer"}, "minItems": 10**9}),
    ("a number beyond all", {"type": "integer", "minimum": 10**400}),
    ("a multiple of 0", {"type": "integer", "multipleOf": 0}),
    ("nothing", False),
    ("everything", True),
    ("a list", []),
    ("a contradiction", {"allOf": [{"type": "string"}, {"type": "integer"}]}),
    ("10,000 choices", {"anyOf": [_object(**{f"p{i}": {"const": i}}) for i in range(10_000)]}),
    ("2^20 choices by product",
        {"allOf": [{"anyOf": [_object(**{f"p{i}": {"const": j}}) for j in range(2)]} for i in range(20)]}),
    ("a lone surrogate", {"const": "\ud800"}),
    ("a pattern of 100,000 letters", {"type": "string", "pattern": "^" + "a" * 100_000 + "$"}),
    ("a pattern of nested stars", {"type": "string", "pattern": "^((((a*)*)*)*)*$"}),
    ("a pattern of 5,000 choices", {"type": "string", "pattern": "|".join(f"w{i}x*" for i in range(5_000))}),
    ("a text of 10^9 at most", {"type": "string", "maxLength": 10**9}),
    ("a text longer than itself", {"type": "string", "minLength": 5, "maxLength": 2}),
    ("a length that is a word", {"type": "string", "minLength": "x"}),
    ("a list of 10^9 at most", {"type": "array", "items": {"type": "integer"}, "maxItems": 10**9}),
    ("1,000 places of a list", {"type": "array", "prefixItems": [{"enum": [i]} for i in range(1_000)]}),
    ("lists in lists, 300 deep", _lists(300)),
    ("nothing to choose from", {"enum": []}),
    ("properties that are a list", {"type": "object", "properties": [1, 2]}),
    ("properties wanted that are not there", {"type": "object", "properties": {}, "required": ["a"] * 10_000}),
    ("patterns of names", {"type": "object", "patternProperties": {"^(a|b)*$": {"type": "string"}}}),
    ("a reference to nothing", {"$ref": "#/$defs/absent"}),
    ("a name that is a number of braces", _object(**{"}{" * 1_000: {"const": "}" * 1_000}})),
    ("everything but itself", {"not": {"$ref": "#"}}),
    ("markup and control characters", {"const": HOSTILE_TEXT}),
]  # fmt: skip


def _schema(served: Served, seed: int, _folder: Path) -> str | None:
    """A schema that a grammar is to be made of."""
    name, schema = SCHEMAS[seed]
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    body = json.dumps(HELLO | {"response_format": form}).encode()
    said = _beside(served, lambda: _posted(served, body))
    return said and f"{name}: {said}"


BODIES: list[tuple[str, bytes]] = [
    ("JSON without end", b"[" * 1_000_000),
    ("JSON without end, closed", b'{"messages": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"),
    ("a prompt of 3.9 MB",
        json.dumps(HELLO | {"messages": [{"role": "user", "content": "gene " * 780_000}]}).encode()),
    ("a prompt of 3.9 MB without a gap",
        json.dumps(HELLO | {"messages": [{"role": "user", "content": "x" * 3_900_000}]}).encode()),
    ("100,000 messages",
        json.dumps(HELLO | {"messages": [{"role": "user", "content": "x"}] * 60_000}).encode()),
    ("a number of 10^6 digits", b'{"messages": [], "max_tokens": ' + b"9" * 1_000_000 + b"}"),
    ("a text that is none", b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}'),
    *((f"{name}: {str(value)[:20]}", json.dumps(HELLO | {name: value}).encode()) for name, value in (
        ("temperature", 1e-308), ("temperature", -1), ("temperature", float("nan")), ("temperature", 1e308),
            ("top_p", 0), ("top_p", 1e-308),
        ("max_tokens", -1), ("max_tokens", 2**70), ("max_tokens", 0), ("seed", 2**70), ("seed", -1),
            ("n", 10**9), ("stop", ["x" * 100_000] * 4),
        ("stop", ["x"] * 100_000), ("stop", [""]), ("logprobs", True), ("top_logprobs", 10**9),
            ("logit_bias", {"0": 1e308}), ("model", "x" * 1_000_000),
        ("priority", 2**70), ("stream_options", {"include_usage": "x"}), ("messages", []),
            ("messages", [{"role": "x" * 100_000, "content": "x"}]),
        ("messages", [{"role": "user", "content": "\ud800"}]),
            ("messages", [{"role": "user", "content": HOSTILE_TEXT}]), ("tools", [{}] * 1_000))),
]  # fmt: skip


def _body(served: Served, seed: int, _folder: Path) -> str | None:
    name, body = BODIES[seed]
    said = _beside(served, lambda: _posted(served, body))
    return said and f"{name}: {said}"


def _random(served: Served, seed: int, _folder: Path) -> str | None:
    """Any value of a good request is another."""
    chance = rng("body", seed)
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": _object(a={"enum": ["x", "y"]})}}
    more = {
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 1,
        "stop": ["x"],
        "stream": False,
        "priority": 1,
        "response_format": form,
    }
    value: Any = HELLO | more
    for _ in range(chance.choice([1, 1, 2, 4])):
        value = damaged_json(value, chance)
    served.ready()
    return _posted(served, json.dumps(value).encode())


# ---- a browser's page ----------------------------------------------------------------------------------------------

_GET = b"GET /v1/models HTTP/1.1\r\n"
FOREIGN: list[tuple[str, bytes]] = [
    ("Host: evil.example", _GET + b"Host: evil.example\r\n\r\n"),
    ("Host: 127.0.0.1.evil.example", _GET + b"Host: 127.0.0.1.evil.example\r\n\r\n"),
    ("Host: 169.254.169.254", _GET + b"Host: 169.254.169.254\r\n\r\n"),
    ("two hosts", _GET + b"Host: 127.0.0.1\r\nHost: evil.example\r\n\r\n"),
    ("plain text from another origin",
        _POST.replace(b"application/json", b"text/plain") + b"Origin: http://evil.example\r\n" + _LENGTH
            + b"\r\n" + _BODY),
    ("a form from another origin",
        _POST.replace(b"application/json", b"application/x-www-form-urlencoded")
            + b"Origin: http://evil.example\r\n" + _LENGTH + b"\r\n" + _BODY),
    ("no kind of content",
        _POST.replace(b"Content-Type: application/json\r\n", b"") + _LENGTH + b"\r\n" + _BODY),
]  # fmt: skip


def _foreign(served: Served, seed: int, _folder: Path) -> str | None:
    """What a page of another site can make a browser send is refused."""
    name, content = FOREIGN[seed]
    served.ready()
    line = _exchange(served, content).split(b"\r\n")[0].decode(errors="replace")
    said = None if line[9:10] == "4" else f"answered with {line!r}, wanted 4xx"
    said = said or served.well()
    return said and f"{name}: {said}"


def _rough(served: Served, seed: int, _folder: Path) -> str | None:
    """The clients of `python -m benchmarks.soak` for a while: nothing is left of them."""
    from benchmarks.soak import gauges, soak

    base = served.ready()
    report = asyncio.run(soak(base, None, clients=16, seconds=10.0, seed=seed))
    until = time.monotonic() + STALL_S
    while (left := gauges(base, None)["vckg_serve_open_requests"]) and time.monotonic() < until:
        time.sleep(0.2)
    if report.unexpected:
        return report.unexpected[0]
    return f"{left:g} requests are open when all clients have gone" if left else None
