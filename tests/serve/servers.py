"""A real server on 127.0.0.1 for the tests of the HTTP interface."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager

import uvicorn

from serve.engine.engine import Engine
from serve.server.app import Server
from serve.server.guard import config
from serve.server.preparation import Limits

KEY = "sesame-1234"
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}


def wait_until(condition, seconds=60.0):
    """Poll a condition; the bound is for a test that would never end, not a measure."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def another(engine):
    """An engine of its own over the same model: one thread owns an engine."""
    return Engine(engine.model, engine.checkpoint, engine.config)


@contextmanager
def running(engine, limits=None, key=KEY, **connections):
    """A server on a free port; its base address, the Server and uvicorn."""
    server = Server(engine, "tiny", limits or Limits(), key)
    uv = uvicorn.Server(config(server.app(), drain_s=30, **connections))
    sock = socket.create_server(("127.0.0.1", 0), backlog=256)
    thread = threading.Thread(target=uv.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        wait_until(lambda: uv.started or not thread.is_alive())
        assert uv.started, "the server did not start"
        yield f"http://127.0.0.1:{sock.getsockname()[1]}", server, uv
    finally:
        uv.should_exit = True
        thread.join()
        sock.close()
