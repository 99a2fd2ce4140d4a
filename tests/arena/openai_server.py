"""An OpenAI-compatible server for tests, on 127.0.0.1: counts what it is asked and answers by a function."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[str], str]


class OpenAIServer:
    """Serves ``/v1/chat/completions``; `reply` maps the last user message to the answer, or raises `Refuse`."""

    def __init__(self, reply: Reply, *, latency_s: float = 0.0, model: str = "toy-2026-01-01") -> None:
        self.reply, self.latency_s, self.model = reply, latency_s, model
        self.prompts: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self._send(200, {"object": "list", "data": [{"id": "toy", "object": "model"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][-1]["content"]
                prompt = (
                    prompt if isinstance(prompt, str) else "".join(part.get("text", "") for part in prompt)
                )
                with outer._lock:
                    outer.prompts.append(prompt)
                    outer.bodies.append(body)
                time.sleep(outer.latency_s)
                try:
                    text = outer.reply(prompt)
                except Refuse as refusal:
                    self._send(refusal.status, {"error": {"message": str(refusal), "type": "test"}})
                    return
                self._send(
                    200,
                    {
                        "id": "x",
                        "object": "chat.completion",
                        "created": 0,
                        "model": outer.model,
                        "choices": [
                            {
                                "index": 0,
                                "finish_reason": "stop",
                                "message": {"role": "assistant", "content": text},
                            }
                        ],
                        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
                    },
                )

            def _send(self, status: int, value: dict[str, Any]) -> None:
                data = json.dumps(value).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client was killed, which is what the test is about

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_args: None  # clients are killed on purpose
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "OpenAIServer":
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Refuse(Exception):
    """Makes the server answer with an HTTP status."""

    def __init__(self, status: int, message: str = "no") -> None:
        super().__init__(message)
        self.status = status
