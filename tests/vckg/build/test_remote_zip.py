"""One member of a wheel by ranges of bytes, from real servers that know ranges, and from those that do not."""

import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random

import pytest

from vckg.build.remote_zip import NoRanges, read_member

MEMBER = "pkg/markers.gmt"
TEXT = Random(0).randbytes(700_000)
Serve = Callable[..., tuple[str, list[int]]]


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that has read enough is no error here."""


def wheel() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pkg/large.bin", Random(1).randbytes(3_000_000))
        archive.writestr(MEMBER, TEXT)
        archive.writestr("pkg/other.bin", Random(2).randbytes(3_000_000))
    return buffer.getvalue()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server of one file; return its address and the bytes of each reply."""
    with ExitStack() as stack:

        def start(data: bytes, *, ranges: bool = True, short: int = 0) -> tuple[str, list[int]]:
            sent: list[int] = []

            class Files(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    body, status = data, 200
                    if ranges and (wanted := self.headers.get("Range")):
                        first, last = map(int, wanted.removeprefix("bytes=").split("-"))
                        body, status = data[first : last + 1 - (short if last - first > 9 else 0)], 206
                    self.send_response(status)
                    if status == 206:
                        self.send_header(
                            "Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(data)}"
                        )
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                    sent.append(len(body))

                def log_message(self, *_: object) -> None:
                    pass

            server = Server(("127.0.0.1", 0), Files)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}/pkg-1.0-py3-none-any.whl", sent

        yield start


def test_a_member_comes_without_the_rest_of_the_wheel(serve: Serve) -> None:
    url, sent = serve(wheel())
    sink = io.BytesIO()
    read_member(url, MEMBER, sink)
    assert sink.getvalue() == TEXT
    assert sum(sent) < 1_600_000  # of 6.7 million


def test_a_member_that_is_not_there_is_named(serve: Serve) -> None:
    url, _sent = serve(wheel())
    with pytest.raises(KeyError, match="pkg/none"):
        read_member(url, "pkg/none", io.BytesIO())


def broken() -> bytes:
    """A wheel whose compressed member holds other bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, "CD3D " * 9_000)
    data = buffer.getvalue()
    start = data.index(MEMBER.encode()) + len(MEMBER)
    return data[:start] + b"\xff" * 20 + data[start + 20 :]


@pytest.mark.parametrize(
    ("data", "options"),
    [(broken(), {}), (wheel(), {"ranges": False}), (wheel(), {"short": 7}), (b"no wheel at all" * 99, {})],
    ids=["damaged", "whole files alone", "shorter than asked", "no wheel"],
)
def test_a_server_without_ranges_and_a_file_that_is_no_wheel_are_told(
    serve: Serve, data: bytes, options: dict[str, int]
) -> None:
    url, _sent = serve(data, **options)
    with pytest.raises(NoRanges):
        read_member(url, MEMBER, io.BytesIO())
