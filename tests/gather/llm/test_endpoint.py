"""One request to an endpoint ends in time, within a number of bytes, and says in one line what went wrong."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gather.llm import endpoint
from gather.llm.base import ModelFailure
from gather.llm.client import Client
from gather.llm.endpoint import Endpoint, EndpointFault, Unreadable, read_completion
from vckg.base.errors import InputError

Script = Callable[[socket.socket], None]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture
def raw_server() -> Iterator[Callable[[Script], str]]:
    """A function that starts a server whose connections are a script of bytes."""
    stop, servers = threading.Event(), []

    def start(script: Script) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1 << 16)
                    try:
                        script(connection)
                    except OSError:
                        continue  # the client has hung up, which is what the tests are about

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/v1"

    yield start
    stop.set()
    for server in servers:
        server.close()


def drip(head: bytes, piece: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range(100):
            connection.sendall(piece)
            time.sleep(0.1)

    return script


@pytest.mark.parametrize(
    "script",
    [drip(HEAD + b"Content-Length: 100000\r\n\r\n", b" "), drip(HEAD, b"X-Y: z\r\n"), drip(b"", b"H")],
    ids=["body", "headers", "first line"],
)
def test_an_endpoint_that_drips_is_left_when_the_time_is_over(
    raw_server: Callable[[Script], str], script: Script
) -> None:
    """Each byte comes well within a timeout that bounds single reads."""
    model = Client("m", base_url=raw_server(script), timeout_s=0.5, attempts=1)
    started = time.monotonic()
    with pytest.raises(ModelFailure, match=r"no answer within 0\.5 s"):
        model.complete("hi")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("status", [b"200 OK", b"500 Oops"])
def test_a_reply_without_end_is_not_read_on(raw_server: Callable[[Script], str], status: bytes) -> None:
    sent = [0]

    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 1000000000\r\n\r\n")
        while sent[0] < 1_000_000_000:
            sent[0] += connection.send(b"x" * 65536)

    model = Client("m", base_url=raw_server(flood), timeout_s=20, attempts=1)
    with pytest.raises(ModelFailure, match="longer than 8 MiB"):
        model.complete("hi")
    assert sent[0] < 4 * endpoint.LONGEST_REPLY


def test_a_small_reply_that_swells_is_not_read_on(raw_server: Callable[[Script], str]) -> None:
    packed = gzip.compress(b" " * (64 * 2**20))

    def send(connection: socket.socket) -> None:
        connection.sendall(
            HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
        )

    with pytest.raises(EndpointFault, match="longer than 8 MiB"):
        Endpoint(raw_server(send), "", timeout_s=20).ask({})


def completion(content: object = "x", usage: object = None) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}}], "usage": usage}).encode()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[" * 200_000, "nested too deep"),
        (b'{"choices": [{"message": {"content": "x", "y": ' + b"[" * 200_000, "nested too deep"),
        (completion(5), "content is 5"),
        (completion(["x"]), "content is list"),
        (completion(usage={"prompt_tokens": -1e24, "completion_tokens": 1}), "prompt_tokens is -1e"),
        (completion(usage={"prompt_tokens": 1, "completion_tokens": 10**30}), "completion_tokens is 1000"),
        (completion(usage={"prompt_tokens": True, "completion_tokens": 1}), "prompt_tokens is True"),
        (completion(usage=7), "usage is 7"),
        (b'{"choices": null}', "choices is null"),
        (b'{"choices": []}', r"choices\[0\] is null"),
        (b'{"choices": [{"message": "hello"}]}', "message is"),
        (b"null", "the reply is null"),
        (b"\xff\xfe\x00", "no Unicode|not JSON"),
        (b'{"choices": [{"message": {"content": "\\ud800"}}]}', "no Unicode"),
        (b"1" * 5000, "not JSON"),
        (b"", "not JSON"),
    ],
)
def test_every_fault_of_a_reply_is_one_line(body: bytes, said: str) -> None:
    with pytest.raises(Unreadable, match=said) as caught:
        read_completion(body)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 160


def test_a_reply_without_counts_is_a_reply() -> None:
    assert read_completion(completion()).tokens is None
    assert read_completion(completion(None, {"prompt_tokens": None}))[:2] == ("", None)
    assert read_completion(completion("x", {"prompt_tokens": 3, "completion_tokens": 0})).tokens == (3, 0)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x/v1", "http:///v1", "file:///etc/passwd"])
def test_what_is_no_address_is_said_at_once(url: str) -> None:
    with pytest.raises(InputError, match="not an address"):
        Client("m", base_url=url)


def test_a_key_within_the_address_is_shown_nowhere() -> None:
    model = Client("m", base_url="http://user:secret@127.0.0.1:1/v1?key=secret", attempts=1)
    assert "secret" not in model.base_url
    with pytest.raises(InputError) as caught:
        model.complete("hi")
    assert "secret" not in str(caught.value)


def test_a_key_that_no_header_takes_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abc\n")
    with pytest.raises(InputError) as caught:
        Client("m")
    assert "sk-abc" not in str(caught.value)
