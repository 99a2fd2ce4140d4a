"""The cache of replies: foreign files, two processes, and Ctrl-C."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gather.llm.base import Counted
from gather.llm.cache import ReplyCache
from gather.llm.client import Client
from vckg.base.errors import InputError

Action = tuple[Any, ...]  # ("say", text) | ("status", code, headers) | ("raw", bytes) | ("hang",) | ("drop",)

# a shell starts background jobs with SIGINT ignored, and children inherit that
HEAR_CTRL_C = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)


def test_a_file_that_is_no_cache_is_refused_and_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("important" * 200)
    with pytest.raises(InputError, match="not a cache"):
        ReplyCache(foreign)
    assert foreign.read_text() == "important" * 200


def test_two_processes_may_share_a_cache(endpoint, tmp_path: Path) -> None:
    server = endpoint(lambda *_: ("say", "x"))
    run = [sys.executable, "-c", RUN, server.url, str(tmp_path / "replies.sqlite3"), "40"]
    both = [subprocess.Popen(run, stdout=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].split()[-1] for process in both] == [b"40", b"40"]
    with sqlite3.connect(tmp_path / "replies.sqlite3") as rows:
        assert rows.execute("select count(*) from reply").fetchone() == (40,)
    rows.close()


RUN = """
import sys
import threading
from gather.llm.client import Client, concurrently
from gather.llm.cache import ReplyCache
from gather.llm.label import label_with_llm
url, path, n = sys.argv[1:]
model = Client("m", base_url=url, cache=ReplyCache(path), timeout_s=20)
print("started", flush=True)
print(len(concurrently(model.complete, [f"prompt {i}" for i in range(int(n))], workers=4, model=model)))
"""


def test_ctrl_c_loses_nothing_that_was_paid_for(endpoint, tmp_path: Path) -> None:
    answered = []

    def script(body: dict[str, Any], n: int) -> Action:
        if n > 6:
            time.sleep(0.5)  # under way when Ctrl-C comes
        answered.append(body["messages"][0]["content"])
        return "say", "x"

    server = endpoint(script)
    path = tmp_path / "replies.sqlite3"
    run = [sys.executable, "-c", RUN, server.url, str(path), "100"]
    with subprocess.Popen(
        run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path.cwd(), preexec_fn=HEAR_CTRL_C
    ) as process:
        while len(server.requests) < 8:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in stderr
    paid = len(server.requests)
    assert paid < 20
    kept = ReplyCache(path)
    assert len(kept) == len(answered) == paid
    model = Counted(Client("m", base_url=server.url, cache=kept))
    for prompt in answered:
        model.complete(prompt)
    kept.close()
    assert (model.counters.cached, model.counters.calls) == (paid, 0)
