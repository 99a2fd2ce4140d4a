"""A conversation in the terminal, on the engine itself."""

from __future__ import annotations

import sys

from serve.engine.engine import Engine
from serve.engine.prompt import encode, render_chat
from serve.errors import RequestError
from serve.request import Request, SamplingParams


def converse(engine: Engine, params: SamplingParams, system: str | None) -> None:
    """Read turns from stdin until it ends; answers stream to stdout, prompts go to stderr where it is a terminal."""
    history = [{"role": "system", "content": system}] if system else []
    turn = 0
    while True:
        if sys.stdin.isatty():
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        if not line.strip():
            continue
        history.append({"role": "user", "content": line.strip()})
        turn += 1
        answer = _answer(engine, history, params, f"turn-{turn}")
        history.append({"role": "assistant", "content": answer})


def _answer(engine: Engine, history: list[dict[str, str]], params: SamplingParams, name: str) -> str:
    ids = encode(engine.tokenizer, render_chat(engine.tokenizer, history), special=False)
    try:
        engine.add(Request(name, tuple(ids), params))
    except RequestError as error:
        raise RequestError(f"the conversation has grown too long: {error}") from error
    answer = ""
    while engine.has_work:
        for event in engine.step():
            answer += event.text
            sys.stdout.write(event.text)
            sys.stdout.flush()
    sys.stdout.write("\n")
    return answer
