"""`vckg-serve start` as a process: what it prints, when it is ready, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from serve.cli import bind, listens
from serve.errors import InputError
from serve.server.app import Server
from serve.server.guard import Protocol, config
from tests.serve.conftest import save_tiny
from tests.serve.servers import HEADERS, another, running, wait_until

HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
BREAKS = """
import sys
from serve.server.engine_loop import Worker

def broken():
    raise ArithmeticError("planted")

start = Worker.start
def start_broken(self, first):
    def then_break():
        first()
        self.engine.step = broken
    return start(self, then_break)
Worker.start = start_broken
from serve.cli import main
main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), num_hidden_layers=1)


@contextmanager
def started(folder: Path, *program: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A process that serves; its lines on stderr up to the one that says so."""
    words = ["start", "--model", str(folder), "--port", "0", "--threads", "1", "--cache-tokens", "256"]
    environment = {k: v for k, v in os.environ.items() if k != "VCKG_SERVE_API_KEY"}
    command = [sys.executable, *(program or ("-m", "serve.cli")), *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        lines: list[str] = []
        try:
            for line in process.stderr:
                lines.append(line.rstrip())
                if line.startswith("serving "):
                    break
            yield process, lines
        finally:
            process.kill()


def test_start_says_what_it_does_and_is_ready_when_it_says_so(folder: Path) -> None:
    with started(folder) as (process, lines):
        assert lines[0].startswith("vckg-serve: starting")
        own = [line for line in lines if line.startswith(("reading ", "answering ", "serving "))]
        assert own[:2] == [f"reading {folder} ...", "answering once to warm up ..."]
        name, _, base = own[2].removeprefix("serving ").partition(" at ")
        assert name == folder.name
        assert httpx.get(base.removesuffix("/v1") + "/health", timeout=30).json() == {"status": "ok"}
        assert httpx.post(base + "/chat/completions", json=HELLO, timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)  # uvicorn passes the signal on when it has drained
        assert process.stderr is not None
        assert process.stderr.read().splitlines()[-1] == "stopped"


def test_a_process_whose_engine_fails_ends_with_one_line(folder: Path) -> None:
    with started(folder, "-c", BREAKS) as (process, lines):
        base = lines[-1].partition(" at ")[2]
        assert httpx.post(base + "/chat/completions", json=HELLO, timeout=60).status_code == 500
        assert process.wait(60) == 2
        assert process.stderr is not None
        last = process.stderr.read().splitlines()[-1]
    assert last == "vckg-serve: error: the engine failed (its log is above); start the server again"


def test_a_port_is_refused_while_its_server_still_reads_the_model() -> None:
    with bind("127.0.0.1", 0) as address, pytest.raises(InputError, match="Address already in use"):
        bind(*address.getsockname())


def test_a_port_is_free_again_right_after_its_server_ended() -> None:
    with bind("127.0.0.1", 0) as address:
        where = address.getsockname()
        assert listens(address)
        with socket.create_connection(where) as client:
            accepted, _ = address.accept()
            accepted.close()  # the side that ends first lingers
            assert client.recv(1) == b""
    with bind(*where) as again:
        assert listens(again)


LOSES_THE_PORT = """
import socket, sys
from serve import cli

def shared(host, port):
    address, other = socket.socket(), socket.socket()
    for one in (address, other):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    address.bind((host, port))
    other.bind(address.getsockname())
    other.listen()
    cli.others = [other]
    return address

cli.bind = shared
cli.main()
"""


def test_a_server_that_cannot_listen_says_so_in_one_line_and_nothing_else(folder: Path) -> None:
    with started(folder, "-c", LOSES_THE_PORT) as (process, lines):
        assert process.wait(60) == 2
    assert not [line for line in lines if line.startswith(("serving", "Traceback", "nanobind"))]
    assert lines[-1].startswith("vckg-serve: error: another server took 127.0.0.1:0 meanwhile")


def test_nobody_is_answered_before_the_warm_up(tiny_engine, monkeypatch) -> None:
    """The port is taken, but it refuses connections until the server has answered itself."""
    engine = tiny_engine(cache_tokens=512)
    began, go_on = threading.Event(), threading.Event()
    warm_up = engine.warm_up

    def slow(prompt) -> None:
        began.set()
        assert go_on.wait(60)
        warm_up(prompt)

    monkeypatch.setattr(engine, "warm_up", slow)
    server = Server(engine, "tiny")
    ready = threading.Event()
    server.on_ready = ready.set
    uv = uvicorn.Server(config(server.app()))
    with bind("127.0.0.1", 0) as address:
        base = f"http://127.0.0.1:{address.getsockname()[1]}"
        thread = threading.Thread(target=uv.run, kwargs={"sockets": [address]})
        thread.start()
        try:
            assert began.wait(60)
            with pytest.raises(httpx.ConnectError):
                httpx.get(base + "/health", timeout=5)
            assert not ready.is_set()
            go_on.set()
            wait_until(lambda: uv.started)
            assert ready.is_set()
            assert engine.model.forwards > 0
            assert httpx.get(base + "/health", timeout=30).status_code == 200
        finally:
            go_on.set()
            uv.should_exit = True
            thread.join()


def test_a_client_that_stops_reading_loses_its_connection(tiny_engine) -> None:
    assert Protocol.write_s == 60
    get = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with (
        running(another(tiny_engine()), write_s=0.5) as (base, _, uv),
        socket.create_connection(("127.0.0.1", int(base.rsplit(":", 1)[1]))) as raw,
    ):
        raw.setblocking(False)
        for _ in range(2_000):  # answers of some twenty megabytes, which no buffer holds
            try:
                raw.send(get)
            except BlockingIOError:
                break
        wait_until(lambda: uv.server_state.connections)
        wait_until(lambda: not uv.server_state.connections)
        with httpx.Client(headers=HEADERS, timeout=30) as other:
            assert other.get(base + "/health").status_code == 200
