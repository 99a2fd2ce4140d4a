"""Endpoints that drip, flood, lie and redirect, asked by ``gather annotate --model`` and by ``arena run``."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.conftest import completion
from tests.hostile import h5ad
from tests.hostile.attacks import Attack, Ground, Watched, deep_json, left_over
from tests.hostile.commands import Ended, Limits

KEY = "sk-hostile-0123456789"
TIMEOUT_S = 1
PATIENCE = Limits(cpu_s=60, wall_s=150, memory=5 << 30)
"""A few prompts, five attempts each, at most `TIMEOUT_S` an attempt and half a minute of waiting between them."""
Behaviour = Callable[[socket.socket, int], None]
"""What an endpoint does with a connection on which a request has come, and the number of that request."""


def attacks(ground: Ground) -> list[Attack]:
    """The attacks of this part."""
    from tests.arena.toy import make_fresh_graph

    cells = h5ad.write_synthetic(ground.folder / "cells.h5ad")
    markers = h5ad.graph_of([cells]).save(ground.folder / "markers")
    fresh = make_fresh_graph().save(ground.folder / "fresh")
    return [
        Attack(
            "endpoint: gather annotate --model",
            partial(_annotate, ground, cells, markers),
            len(BEHAVIOURS),
            at_once=8,
        ),
        Attack("endpoint: arena run", partial(_arena, ground, fresh), len(BEHAVIOURS), at_once=8),
    ]


@contextmanager
def endpoint(behaviour: Behaviour) -> Iterator[str]:
    """A server on 127.0.0.1 that reads each request and then does as it likes; its base address."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    stopped = threading.Event()
    numbers = iter(range(1, 1 << 30))

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(60)
            if _request(connection):
                behaviour(connection, next(numbers))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while not stopped.is_set():
                connection, _ = listening.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        stopped.set()
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def _request(connection: socket.socket) -> bytes:
    """The head of a request; its body is read too."""
    seen = b""
    while b"\r\n\r\n" not in seen:
        if not (piece := connection.recv(65_536)):
            return b""
        seen += piece
    head, _, body = seen.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            left = int(value) - len(body)
            while left > 0 and (piece := connection.recv(65_536)):
                left -= len(piece)
    return head


def reply(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole HTTP answer."""
    lines = [
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _says(answer: bytes) -> Behaviour:
    return lambda connection, _number: connection.sendall(answer)


def _with(**changes: object) -> Behaviour:
    """A completion in which something is another; `content` and `message` lie deeper."""
    body = json.loads(completion("hello"))
    for name, value in changes.items():
        holder = (
            body["choices"][0]["message"]
            if name == "content"
            else body["choices"][0]
            if name == "message"
            else body
        )
        holder[name] = value
    return _says(reply(json.dumps(body).encode()))


def _drip(connection: socket.socket, _number: int) -> None:
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
    )
    _every_second(connection, b" ")


def _drip_head(connection: socket.socket, _number: int) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    _every_second(connection, b"x")


def _drip_chunks(connection: socket.socket, _number: int) -> None:
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    _every_second(connection, b"1\r\n \r\n")


def _every_second(connection: socket.socket, piece: bytes) -> None:
    for _ in range(600):
        connection.sendall(piece)
        time.sleep(0.9)


def _flood(head: bytes, piece: bytes, times: int) -> Behaviour:
    """A head, then a piece again and again."""

    def behave(connection: socket.socket, _number: int) -> None:
        connection.sendall(head)
        for _ in range(times):
            connection.sendall(piece)

    return behave


def _reset(connection: socket.socket, _number: int) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _around(connection: socket.socket, number: int) -> None:
    """Redirect to itself without end."""
    connection.sendall(reply(b"{}", "307 Temporary Redirect", f"Location: /v1/chat/completions?{number}"))


def _redirect(where: str) -> Behaviour:
    return _says(reply(b"{}", "307 Temporary Redirect", f"Location: {where}"))


def _status(status: str, *headers: str, body: bytes = b'{"error": {"message": "no"}}') -> Behaviour:
    return _says(reply(body, status, *headers))


_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_BIG = 1 << 30
_USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}

BEHAVIOURS: list[tuple[str, Behaviour]] = [
    ("a byte of the body a second", _drip),
    ("a byte of the head a second", _drip_head),
    ("a chunk a second", _drip_chunks),
    ("nothing", lambda _c, _n: time.sleep(60)),
    ("headers without end", _flood(b"HTTP/1.1 200 OK\r\n", b"X-Header: " + b"x" * 4_000 + b"\r\n", 1 << 20)),
    ("one header without end", _flood(b"HTTP/1.1 200 OK\r\nX-Header: ", b"x" * 65_536, 1 << 16)),
    ("100 Continue without end", _flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000, 1 << 16)),
    ("a reply of 1 GB",
        _flood(_OK + f"Content-Length: {_BIG}\r\n\r\n".encode(), b" " * 65_536, _BIG // 65_536)),
    ("chunks without end",
        _flood(_OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65_536 + b"\r\n", 1 << 16)),
    ("a reply that unpacks to 1 GB",
        _says(reply(gzip.compress(b" " * (1 << 20)) * 1_024, "200 OK", "Content-Encoding: gzip"))),
    ("JSON without end", _says(reply(deep_json("choices").encode()))),
    ("content without end",
        _says(reply(completion("hello").replace(b'"hello"', b"[" * 200_000 + b"]" * 200_000)))),
    ("an empty reply", _says(reply(b""))),
    ("a reply that is no JSON", _says(reply(b"\xff\xfe<html>"))),
    ("a number of 10^5 digits", _says(reply(b'{"choices": ' + b"9" * 100_000 + b"}"))),
    *((f"a reply that is {value}", _says(reply(json.dumps(value).encode()))) for value
        in (None, 5, [], "x", {})),
    *((f"content: {str(value)[:12]}", _with(content=value)) for value
        in (5, None, [], {}, True, [{"type": "text", "text": 5}], "\ud800", "\x00\x1b[2J", "x" * 5_000_000,
            "[" * 100_000)),
    *((f"message: {value}", _with(message=value)) for value in (None, 5, [], "x", {})),
    *((f"choices: {str(value)[:12]}", _with(choices=value)) for value
        in (None, 5, [], {}, [None], [[]], "x")),
    *((f"usage: {value}", _with(usage=value)) for value in (5, [], "x", {})),
    *((f"tokens: {value}", _with(usage=_USAGE | {"prompt_tokens": value})) for value
        in (-1e24, -5, 1e308, float("nan"), float("inf"), 2**80, "x", None, [])),
    ("model: 5", _with(model=5, id=5, created="x")),
    *((f"429 with Retry-After: {value}", _status("429 Too Many Requests", f"Retry-After: {value}"))
        for value in ("0", "-1", "nan", "1e-9", "x" * 1_000, "Fri, 31 Dec 9999 23:59:59 GMT")),
    ("500 with a megabyte", _status("500 Error", body=b"x" * 1_000_000)),
    ("400 with control characters",
        _status("400 Bad", body=b'{"error": {"message": "\\u001b[2J\\n\\nTraceback"}}')),
    ("401 that repeats the key",
        _status("401 No", body=json.dumps({"error": {"message": f"bad key {KEY}"}}).encode())),
    *((f"status {status}", _status(status)) for status
        in ("204 None", "206 Part", "304 Same", "418 Tea", "599 x", "999 x", "000 x")),
    ("redirects without end", _around),
    ("a redirect to a file", _redirect("file:///etc/passwd")),
    ("a redirect to nowhere", _redirect("http://127.0.0.1:1/")),
    ("a redirect that is no address", _redirect("http://[::1")),
    ("no HTTP", _says(b"\x16\x03\x01\x02\x00" * 1_000)),
    ("HTTP of version 9", _says(b"HTTP/9.9 200 OK\r\n\r\n")),
    ("a reset", _reset),
    ("a body that ends early", _says(_OK + b"Content-Length: 5000\r\n\r\n{}")),
    ("a negative length", _says(_OK + b"Content-Length: -5\r\n\r\n{}")),
    ("two lengths", _says(_OK + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}   ")),
    ("a chunk of 2^63 bytes", _says(_OK + b"Transfer-Encoding: chunked\r\n\r\n8000000000000000\r\nx")),
    ("a chunk that has no size", _says(_OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nx")),
    ("an encoding that is none", _says(reply(b"{}", "200 OK", "Content-Encoding: gzip"))),
    ("an alphabet that is none",
        _says(reply(completion("x"), "200 OK", "Content-Type: application/json; charset=rot13"))),
]  # fmt: skip


def _leaked(ended: Ended) -> str | None:
    return "the key is printed" if KEY in ended.out + ended.err else None


def _annotate(ground: Ground, cells: Path, graph: Path, seed: int, folder: Path) -> str | None:
    """Three cell sets are asked about; whatever comes, they keep retrieval's label or the command is refused."""
    name, behaviour = BEHAVIOURS[seed]
    watched, out = Watched(cells, graph), folder / "out.h5ad"
    with endpoint(behaviour) as address:
        words = [
            "gather",
            "annotate",
            cells,
            "-o",
            out,
            "-g",
            graph,
            "--groupby",
            "cell_type",
            "-m",
            "m",
            "--base-url",
            address,
            "--timeout",
            TIMEOUT_S,
        ]
        ended = ground.run(words, folder, limits=PATIENCE, environment={"OPENAI_API_KEY": KEY})
    said = ended.wrong or _leaked(ended) or watched.harmed() or left_over(folder, ["out.h5ad"])
    if not said and ended.code == 0:
        check = ground.run(["check-h5ad", out, cells], folder)
        said = check.wrong and f"exit 0, and the output is not valid: {check.wrong}"
    if not said and ended.code == 2 and out.exists():
        said = "exit 2, and an output is there"
    return said and f"{name}: {said}"


def _arena(ground: Ground, graph: Path, seed: int, folder: Path) -> str | None:
    """Two questions are asked; whatever comes, they have an answer, an error, or the command is refused."""
    name, behaviour = BEHAVIOURS[seed]
    with endpoint(behaviour) as address:
        words = [
            "arena",
            "run",
            "-m",
            "m",
            "--base-url",
            address,
            "-t",
            "qa",
            "-n",
            "2",
            "-g",
            graph,
            "-o",
            folder / "runs",
            "--timeout",
            TIMEOUT_S,
        ]
        ended = ground.run(words, folder, limits=PATIENCE, environment={"OPENAI_API_KEY": KEY})
    said = ended.wrong or _leaked(ended) or left_over(folder, ["runs"])
    return said and f"{name}: {said}"
